//! The words of a query, and where each begins.

use super::Wrong;

/// A word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'q> {
    pub kind: TokenKind,
    /// As it is written.
    pub text: &'q str,
    /// Where it begins, in bytes.
    pub at: usize,
}

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Number,
    Duration,
    /// A name or a keyword.
    Name,
    Text,
    /// An operator or a bracket.
    Symbol,
    End,
}

/// Of two characters before those of one.
const SYMBOLS: [&str; 23] = [
    "==", "!=", "<=", ">=", "=~", "!~", "=", "<", ">", "+", "-", "*", "/", "%", "^", "(", ")", "{", "}", "[",
    "]", ",", "@",
];

/// All words, and the end.
pub(super) fn tokens(query: &str) -> Result<Vec<Token<'_>>, Wrong> {
    let mut tokens = Vec::new();
    let mut at = 0;
    // Within square brackets a colon separates the range of a subquery from its step.
    let mut in_brackets = false;
    while let Some(first) = query[at..].chars().next() {
        let rest = &query[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if first == '#' {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let (kind, length) = if in_brackets && first == ':' {
            (TokenKind::Symbol, 1)
        } else if matches!(first, '"' | '\'' | '`') {
            (
                TokenKind::Text,
                quoted(rest, first).ok_or_else(|| Wrong::at(query, at, "this text has no end"))?,
            )
        } else if first.is_ascii_digit()
            || first == '.' && rest[1..].starts_with(|next: char| next.is_ascii_digit())
        {
            number(rest).ok_or_else(|| Wrong::at(query, at, "neither a number nor a duration such as 5m"))?
        } else if is_name_start(first) {
            (TokenKind::Name, rest.find(|next| !is_name(next)).unwrap_or(rest.len()))
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            (TokenKind::Symbol, symbol.len())
        } else {
            return Err(Wrong::at(query, at, format!("{first:?} has no meaning here")));
        };
        let text = &rest[..length];
        in_brackets = match text {
            "[" => true,
            "]" => false,
            _ => in_brackets,
        };
        tokens.push(Token { kind, text, at });
        at += length;
    }
    tokens.push(Token { kind: TokenKind::End, text: "", at: query.len() });
    Ok(tokens)
}

fn is_name_start(first: char) -> bool {
    first.is_ascii_alphabetic() || first == '_' || first == ':'
}

fn is_name(next: char) -> bool {
    is_name_start(next) || next.is_ascii_digit()
}

/// The length of a text with its quotes; none if it does not end.
fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    for (at, next) in rest.char_indices().skip(1) {
        match next {
            _ if is_escaped => is_escaped = false,
            '\\' if quote != '`' => is_escaped = true,
            '\n' if quote != '`' => return None,
            _ if next == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// A number or a duration, and its length.
fn number(rest: &str) -> Option<(TokenKind, usize)> {
    let mut length = 0;
    let is_hex = rest.starts_with("0x") || rest.starts_with("0X");
    for (at, next) in rest.char_indices() {
        let sign_of_exponent = matches!(next, '+' | '-') && !is_hex && rest[..at].ends_with(['e', 'E']);
        if !(next.is_ascii_alphanumeric() || matches!(next, '.' | '_') || sign_of_exponent) {
            break;
        }
        length = at + 1;
    }
    let text = &rest[..length];
    let plain = text.replace('_', "");
    let is_number = match plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).is_ok(),
        None => plain.parse::<f64>().is_ok(),
    };
    if is_number {
        Some((TokenKind::Number, length))
    } else {
        is_duration(text).then_some((TokenKind::Duration, length))
    }
}

/// Parts such as `1h30m`, each with a unit.
fn is_duration(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit =
            ["ms", "s", "m", "h", "d", "w", "y"].iter().find(|unit| rest[digits..].starts_with(**unit));
        match unit {
            Some(unit) if digits > 0 => rest = &rest[digits + unit.len()..],
            Some(_) | None => return false,
        }
    }
    true
}
