//! Secrets in texts, by their form and by the words before them.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::value::{self, After};
use super::{MARK, Redactions, Rule};

/// Names end in one of these if their value is a secret. Written for regex; `-` and `_` may be absent.
pub(super) const SECRET_WORDS: &str =
    "passw(?:or)?d|passphrase|secret|token|credentials?|(?:api|access|secret|private)[_-]?key";

/// What is redacted in a text.
struct Pattern {
    rule: Rule,
    regex: Regex,
    value: Extent,
}

/// What a pattern redacts of what it finds.
#[derive(Clone, Copy)]
enum Extent {
    /// All but the group `keep` at its beginning.
    Found,
    /// What comes after it. Its group `quote` is there if the key is in quotes, `space` if there is a space before the value.
    Next,
    /// The same of a header.
    Header,
    /// The same of variables, which are a list or a map.
    Variables,
    /// The same of a value that is followed by its name.
    BeforeName,
    /// The values of a flag.
    Flag,
    /// The items of a list after a flag.
    Item,
}

impl Pattern {
    fn new(rule: Rule, value: Extent, pattern: &str) -> Self {
        Self { rule, value, regex: Regex::new(pattern).expect("a constant pattern") }
    }

    fn redact(&self, text: String, counted: &mut Redactions) -> String {
        if !self.regex.is_match(&text) {
            return text;
        }
        let mut redacted = String::new();
        let mut at = 0;
        while let Some(found) = self.regex.captures_at(&text, at) {
            let (from, to) = self.value(&text, &found);
            let rest = text[from..].strip_prefix(MARK);
            // A rule has been here before.
            let is_done =
                rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '('));
            if from == to || is_done {
                let next = found.get_match().end();
                redacted.push_str(&text[at..next]);
                at = next;
                continue;
            }
            redacted.push_str(&text[at..from]);
            redacted.push_str(MARK);
            counted.count(self.rule);
            at = to;
        }
        redacted.push_str(&text[at..]);
        redacted
    }

    /// Where the value begins and ends; an empty one if there is none.
    fn value(&self, text: &str, found: &Captures<'_>) -> (usize, usize) {
        let (key, from) = (found.get_match().start(), found.get_match().end());
        let is_quoted = found.name("quote").is_some();
        let is_spaced = found.name("space").is_some() || text[from..].starts_with(['\n', '\r']);
        let by = if is_spaced { After::Colon } else { After::Sign };
        let to = match self.value {
            Extent::Found => return (found.name("keep").map_or(key, |keep| keep.end()), from),
            Extent::Next => value::end(text, key, from, by),
            Extent::Header => {
                value::end(text, key, from, if is_quoted { After::Colon } else { After::Header })
            }
            Extent::Variables => {
                let is_list = text[from..].starts_with(['[', '{']) && !text[from..].starts_with("[]");
                let is_block = by == After::Colon && text[from..].starts_with('\n');
                if is_list || is_block { value::end(text, key, from, After::Colon) } else { from }
            }
            Extent::BeforeName => {
                let end = value::quoted(text, from).unwrap_or(from);
                if NAME_FOLLOWS.is_match(&text[end..]) { end } else { from }
            }
            Extent::Flag => value::end(text, key, from, After::Flag),
            Extent::Item => value::end(text, key, from, After::Item),
        };
        (from, to)
    }
}

/// Whitespace, which may be escaped.
const SPACE: &str = r"(?:[ \t\r\n]|\\+[nrt])*";
/// A quote, which may be escaped, in JSON inside of JSON.
const QUOTE: &str = r#"\\*["'`]"#;

static NAME_FOLLOWS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(&format!("^{SPACE},?{SPACE}(?:{QUOTE})?(?i-u:name)(?:{QUOTE})?{SPACE}[:=]"))
        .expect("a constant pattern")
});

/// The most specific first: what one has redacted, the others leave alone.
static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    use Extent::{BeforeName, Flag, Found, Header, Item, Next, Variables};
    // Up to the last @, because a password may have one, or a slash.
    let user = r#"(?:[^ \t\r\n"'`<>\\]|\\+[^ \t\r\n"'`<>\\])*"#;
    let word = r#"(?:[^ \t\r\n"'`<>\\/?#]|\\+[^ \t\r\n"'`<>\\])*"#;
    let flag = format!("--?[A-Za-z0-9_.-]*(?i-u:{SECRET_WORDS})");
    let sign = r"(?:[ \t]*(?::(?P<space>[ \t]+)|[:=]{1,2}>?[ \t]*)|>)";
    // What Go's dumps say about the type, and the source that a variable does not have.
    let kind = r"(?:\((?:\*?string|len=[0-9]+)\)[ \t]*)*";
    let no_source = format!(
        "(?:(?:{QUOTE})?(?i-u:valueFrom)(?:{QUOTE})?{SPACE}:{SPACE}(?:null|nil|<nil>|None){SPACE},{SPACE})?"
    );
    vec![
        Pattern::new(
            Rule::PrivateKey,
            Found,
            r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
        ),
        Pattern::new(
            Rule::UrlPassword,
            Found,
            &format!("(?P<keep>[a-zA-Z][a-zA-Z0-9+.-]*://)(?:{user}:{user}@|{word}@)"),
        ),
        Pattern::new(
            Rule::Header,
            Header,
            &format!(
                r"(?i-u:\b(?:proxy-authorization|authorization|set-cookie|cookie|x-api-key))(?P<quote>{QUOTE})?{sign}"
            ),
        ),
        Pattern::new(
            Rule::Variable,
            Variables,
            &format!(r"(?i-u:\benv)(?P<quote>{QUOTE})?[ \t]*[:=](?P<space>[ \t]*)"),
        ),
        Pattern::new(
            Rule::Variable,
            Next,
            &format!(
                r#"(?i-u:\bname)(?:{QUOTE})?{SPACE}[:=]{SPACE}{kind}(?:{QUOTE})?[A-Za-z0-9_./ -]*(?:{QUOTE})?{SPACE}[,;]?{SPACE}{no_source}(?:{QUOTE})?(?i-u:value)(?:{QUOTE})?{SPACE}[:=](?P<space>{SPACE}){kind}"#
            ),
        ),
        Pattern::new(Rule::Variable, BeforeName, &format!("(?i-u:value)(?:{QUOTE})?{SPACE}[:=]{SPACE}")),
        Pattern::new(
            Rule::RefusedValue,
            Next,
            r"(?i-u:\b(?:invalid|unsupported|duplicate|forbidden) value:)(?P<space>[ \t]*)",
        ),
        Pattern::new(Rule::Token, Found, r"(?P<keep>(?i-u:\bbearer)[ \t]+)[A-Za-z0-9._~+/=-]{8,}"),
        Pattern::new(Rule::Token, Found, r"(?P<keep>(?i-u:\bbasic)[ \t]+)[A-Za-z0-9+/=]{16,}"),
        Pattern::new(
            Rule::Token,
            Found,
            r"(?-u:\b)eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?",
        ),
        Pattern::new(
            Rule::Token,
            Found,
            r"(?-u:\b)(?:(?:hf_|gh[oprsu]_|github_pat_|glpat-|xox[abeprs]-|AKIA)[A-Za-z0-9_-]{12,}|sk-[A-Za-z0-9_-]{20,})",
        ),
        Pattern::new(Rule::NamedSecret, Next, &format!(r"(?i-u:{SECRET_WORDS})(?P<quote>{QUOTE})?\]?{sign}")),
        Pattern::new(
            Rule::NamedSecret,
            Item,
            &format!(r"(?:{QUOTE}){flag}(?:{QUOTE})[ \t\r\n]*,?[ \t\r\n]*"),
        ),
        Pattern::new(
            Rule::NamedSecret,
            Flag,
            &format!(
                r"(?:^|[^A-Za-z0-9_-]){flag}(?:[ \t]*,[ \t]*|[ \t]*\r?\n[ \t]*(?:-[ \t]+)?|(?:\\+[nrt])+(?:-[ \t]+)?|[ \t]+)"
            ),
        ),
    ]
});

/// The text without what looks like a secret.
pub fn text(text: &str, counted: &mut Redactions) -> String {
    PATTERNS.iter().fold(text.to_owned(), |text, pattern| pattern.redact(text, counted))
}

/// The lines of a key that has no end. The longest keys that are in use are shorter.
const LONGEST_KEY: usize = 200;

/// The same for a text that comes line by line: a private key has several lines.
#[derive(Debug, Default)]
pub struct Lines {
    /// The rules that were used.
    pub redactions: Redactions,
    /// How many lines were left out, as parts of private keys.
    pub left_out: usize,
    /// How many lines of a private key came before, if this is in one.
    in_key: Option<usize>,
}

impl Lines {
    /// The next line; none inside of a private key.
    pub fn redact(&mut self, line: &str) -> Option<String> {
        let ends = line.contains("-----END ") && line.contains("PRIVATE KEY-----");
        // A text that only mentions the beginning of a key has other lines after it.
        let before = self.in_key.take().filter(|before| ends || (*before < LONGEST_KEY && is_of_key(line)));
        if line.contains("PRIVATE KEY-----") && line.rfind("-----BEGIN ") > line.rfind("-----END ") {
            self.in_key = Some(0);
        } else if !ends {
            self.in_key = before.map(|before| before + 1);
        }
        if before.is_some() {
            self.left_out += 1;
            return None;
        }
        Some(text(line, &mut self.redactions))
    }
}

/// Whether this may be a line of a key in PEM: base64 or a header, also after the time that a log puts before it.
fn is_of_key(line: &str) -> bool {
    let is_base64 =
        |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    let line = line.trim().trim_end_matches(['"', '\'', ',', '\\']);
    let last = line.rsplit([' ', '\t', '"', '\'']).next().unwrap_or_default();
    let is_header =
        ["Proc-Type:", "DEK-Info:", "Comment:", "Version:"].iter().any(|name| line.contains(name));
    is_base64(line) || is_header || (last.len() >= 32 && is_base64(last))
}
