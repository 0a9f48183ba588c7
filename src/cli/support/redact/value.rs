//! Where a value in a text ends.

use std::sync::LazyLock;

use regex::Regex;

/// What may be before a quote: a backslash as in JSON inside of JSON, and a type as in `b'…'`, `$'…'` and `Some("…")`.
static QUOTED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"^(?:[A-Za-z]+\()*(?:[bBfFrRuU]{1,2}|\$)?(\\*)["'`]"#).expect("a constant pattern")
});
/// What may be before a bracket: a type in Go.
static BRACKETED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?:(?:\[\]|map\[[a-z]+\])[*A-Za-z0-9_.]+\{|map\[|[\[{])").expect("a constant pattern")
});

/// How a value was introduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// By `=`, or by `:` without a space: it ends at the next whitespace.
    Sign,
    /// By `:` and a space: it ends with its line, or with the more indented lines after it.
    Colon,
    /// By the name of a header: it has quotes of its own, and ends like that of [`After::Colon`].
    Header,
    /// By a flag: it has more values up to the next flag or the end of the line.
    Flag,
    /// By a flag that is an item of a list: the items up to the next flag.
    Item,
}

/// The end of the value that begins at `from`, of a key that begins at `key`.
pub fn end(text: &str, key: usize, from: usize, after: After) -> usize {
    match after {
        After::Item => items(text, from),
        After::Flag => flag_values(text, from),
        After::Header => block(text, key, from),
        After::Sign | After::Colon => {
            if let Some(end) = quoted(text, from).or_else(|| bracketed(text, from)) {
                let goes_on = text[end..].starts_with(|c: char| c.is_alphanumeric() || "\"'".contains(c));
                let end = if goes_on { word(text, end) } else { end };
                let next = text.len() - text[end..].trim_start_matches([' ', '\t']).len();
                return quoted(text, next).filter(|_| next > end).unwrap_or(end);
            }
            // Only a key in quotes is one of JSON.
            if text[key..from].contains(['"', '\''])
                && let Some(end) = literal(text, from, ",}]")
            {
                return end;
            }
            if after == After::Colon {
                return block(text, key, from);
            }
            word(text, from).max(enclosing_quote(text, key).unwrap_or(from))
        }
    }
}

/// To the next whitespace that is not escaped, as in a shell.
fn word(text: &str, from: usize) -> usize {
    let mut spaces = text[from..].match_indices([' ', '\t', '\n', '\r']);
    let space = spaces.find(|(at, _)| !text[from..from + at].ends_with('\\'));
    space.map_or(text.len(), |(length, _)| from + length)
}

fn line(text: &str, from: usize) -> usize {
    text[from..].find('\n').map_or(text.len(), |length| from + length)
}

/// To the end of the line, and of the lines below that are indented more, or are items of its list.
fn block(text: &str, key: usize, from: usize) -> usize {
    let indentation = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let start = text[..key].rfind('\n').map_or(0, |at| at + 1);
    let own = indentation(&text[start..]);
    let mut end = line(text, from);
    let is_empty = text[from..end].trim().is_empty();
    while end < text.len() {
        let next = &text[end + 1..line(text, end + 1)];
        let is_item = is_empty && indentation(next) == own && next.trim_start().starts_with("- ");
        if !next.trim().is_empty() && indentation(next) <= own && !is_item {
            break;
        }
        end += 1 + next.len();
    }
    // Empty lines at the end belong to nothing.
    from + text[from..end].trim_end().len()
}

/// A number, a truth value or null, before one of these.
pub fn literal(text: &str, from: usize, before: &str) -> Option<usize> {
    let rest = &text[from..];
    let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c))?;
    let (value, next) = rest.split_at(length);
    let is_literal = ["true", "false", "null"].contains(&value) || value.parse::<f64>().is_ok();
    (is_literal && next.trim_start().starts_with(|c| before.contains(c))).then_some(from + length)
}

/// The end of a value in quotes, which may be escaped as in JSON inside of JSON, and the end of the text if they do not end.
pub fn quoted(text: &str, from: usize) -> Option<usize> {
    let found = QUOTED.captures(&text[from..])?;
    let open = from + found.get_match().end();
    Some(closing(text, open, text.as_bytes()[open - 1], found[1].len()))
}

/// The end after the quote that closes what was opened by this quote with so many backslashes.
fn closing(text: &str, from: usize, quote: u8, escapes: usize) -> usize {
    let bytes = text.as_bytes();
    let mut run = 0;
    let mut at = from;
    while at < bytes.len() {
        if bytes[at] == b'\\' {
            run += 1;
        } else {
            if bytes[at] == quote {
                if run < escapes {
                    // What is around it has ended.
                    return at - run;
                }
                let is_end = run % (escapes + 1) == escapes && (run / (escapes + 1)).is_multiple_of(2);
                let is_doubled = quote == b'\'' && run == 0 && bytes.get(at + 1) == Some(&quote);
                if is_end && is_doubled {
                    at += 1;
                } else if is_end {
                    return at + 1;
                }
            }
            run = 0;
        }
        at += 1;
    }
    text.len()
}

/// The end of a list or a map, and the end of the text if it does not end.
pub fn bracketed(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = from + BRACKETED.find(&text[from..])?.end() - 1;
    while at < bytes.len() {
        match bytes[at] {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b'"' | b'\\' => {
                if let Some(end) = quoted(text, at) {
                    at = end;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
    Some(text.len())
}

/// If the key begins directly after a quote, the place of the one that closes it.
fn enclosing_quote(text: &str, key: usize) -> Option<usize> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let before = text[..key].trim_end_matches(is_name);
    let quote = before.bytes().last().filter(|byte| b"\"'`".contains(byte))?;
    let escapes = before[..before.len() - 1].bytes().rev().take_while(|byte| *byte == b'\\').count();
    let end = closing(text, before.len(), quote, escapes);
    let is_closed = end > before.len() && text.as_bytes()[end - 1] == quote;
    Some(if is_closed { end - 1 - escapes } else { end })
}

/// Words and values in quotes up to a flag or the end of the line, and the items of a list in YAML after it.
fn flag_values(text: &str, from: usize) -> usize {
    let (mut end, mut at) = (from, from);
    while at < text.len() && !text[at..].starts_with(['\n', '\r']) && !is_flag(&text[at..], at == from) {
        end = quoted(text, at).unwrap_or(at);
        end = word(text, end);
        at = end + (text[end..].len() - text[end..].trim_start_matches([' ', '\t']).len());
        if text[at..].starts_with(['\n', '\r']) {
            let next = text[at..].trim_start();
            let item = next.strip_prefix("- ").map(|item| item.trim_start_matches(' '));
            at = item.filter(|item| !item.is_empty()).map_or(at, |item| text.len() - item.len());
        }
    }
    end
}

/// Items in quotes, with or without commas, up to a flag.
fn items(text: &str, from: usize) -> usize {
    let (mut end, mut at) = (from, from);
    while let Some(item) = quoted(text, at) {
        if is_flag(text[at..].trim_start_matches(['\\', '"', '\'', '`']), at == from) {
            break;
        }
        end = item;
        at = end + (text[end..].len() - text[end..].trim_start_matches([' ', '\t', '\n', '\r', ',']).len());
    }
    end
}

/// Whether this begins a flag. The first value after one may begin with a dash, too.
pub fn is_flag(text: &str, is_first: bool) -> bool {
    text.starts_with(if is_first { "--" } else { "-" })
}
