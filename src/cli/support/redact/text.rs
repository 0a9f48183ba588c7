//! Secrets in texts, by their form and by the words before them.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{MARK, Redactions, Rule};

/// Names end in one of these if their value is a secret. Written for regex; `-` and `_` may be absent.
pub(super) const SECRET_WORDS: &str =
    "passw(?:or)?d|passphrase|secret|token|credentials?|(?:api|access|secret|private)[_-]?key";

/// What is redacted in a text; the group `keep` at its beginning stays.
struct Pattern {
    rule: Rule,
    regex: Regex,
}

impl Pattern {
    fn new(rule: Rule, pattern: &str) -> Self {
        Self { rule, regex: Regex::new(pattern).expect("a constant pattern") }
    }

    fn redact(&self, text: String, counted: &mut Redactions) -> String {
        if !self.regex.is_match(&text) {
            return text;
        }
        let replaced = self.regex.replace_all(&text, |found: &Captures<'_>| {
            let kept = found.name("keep").map_or("", |kept| kept.as_str());
            let value = &found[0][kept.len()..];
            // A rule has been here before.
            let rest = value.strip_prefix(MARK).unwrap_or(value);
            if rest.len() < value.len() && !rest.contains(char::is_alphanumeric) {
                return found[0].to_owned();
            }
            counted.count(self.rule);
            format!("{kept}{MARK}")
        });
        replaced.into_owned()
    }
}

/// The most specific first: what one has redacted, the others leave alone.
static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    // A quote may be escaped, in JSON inside of JSON.
    let quote = r#"\\*["']"#;
    let quoted = r#"\\*"[^"]*"?|\\*'[^']*'?"#;
    vec![
        Pattern::new(
            Rule::PrivateKey,
            r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
        ),
        Pattern::new(Rule::UrlPassword, r#"(?P<keep>[a-zA-Z][a-zA-Z0-9+.-]*://)[^/ \t\n@"'\\]+@"#),
        Pattern::new(
            Rule::Header,
            &format!(
                r#"(?P<keep>(?i-u:\b(?:proxy-authorization|authorization|set-cookie|cookie|x-api-key))(?:{quote})?[ \t]*[:=][ \t]*)(?:{quoted}|[^ \t\n"][^\n"]*)"#
            ),
        ),
        Pattern::new(Rule::Token, r"(?P<keep>(?i-u:\bbearer)[ \t]+)[A-Za-z0-9._~+/=-]{8,}"),
        Pattern::new(Rule::Token, r"(?P<keep>(?i-u:\bbasic)[ \t]+)[A-Za-z0-9+/=]{16,}"),
        Pattern::new(Rule::Token, r"(?-u:\b)eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"),
        Pattern::new(
            Rule::Token,
            r"(?-u:\b)(?:(?:hf_|gh[oprsu]_|github_pat_|glpat-|xox[abeprs]-|AKIA)[A-Za-z0-9_-]{12,}|sk-[A-Za-z0-9_-]{20,})",
        ),
        // `key: value` up to the end of the line or text, because a value may have spaces; `key=value` up to the next space.
        Pattern::new(
            Rule::NamedSecret,
            &format!(
                r#"(?P<keep>(?i-u:(?:{SECRET_WORDS}))(?:{quote})?[ \t]*:[ \t]+)(?:{quoted}|[^ \t\n"][^\n"]*)"#
            ),
        ),
        Pattern::new(
            Rule::NamedSecret,
            &format!(
                r#"(?P<keep>(?i-u:(?:{SECRET_WORDS}))(?:{quote})?[ \t]*[:=][ \t]*)(?:{quoted}|[^ \t\n,;&"'\\]+)"#
            ),
        ),
        Pattern::new(
            Rule::NamedSecret,
            &format!(r"(?P<keep>--[a-z0-9-]*(?:{SECRET_WORDS})[ \t]+)[^ \t\n-][^ \t\n]*"),
        ),
    ]
});

/// The text without what looks like a secret.
pub fn text(text: &str, counted: &mut Redactions) -> String {
    PATTERNS.iter().fold(text.to_owned(), |text, pattern| pattern.redact(text, counted))
}

/// The same for a text that comes line by line: a private key has several lines.
#[derive(Debug, Default)]
pub struct Lines {
    /// The rules that were used.
    pub redactions: Redactions,
    is_in_key: bool,
}

impl Lines {
    /// The next line; none inside of a private key.
    pub fn redact(&mut self, line: &str) -> Option<String> {
        let was_in_key = self.is_in_key;
        if line.contains("PRIVATE KEY-----") {
            self.is_in_key = line.rfind("-----BEGIN ") > line.rfind("-----END ");
        }
        if was_in_key {
            return None;
        }
        Some(text(line, &mut self.redactions))
    }
}
