//! Secrets in texts, by their form and by the words before them.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::value::{self, After};
use super::{MARK, Redactions, Rule};

/// Names end in one of these if their value is a secret. Written for regex; what divides two words may be absent. A message
/// of the kubelet has `secret key: NAME`.
pub(super) const SECRET_WORDS: &str =
    "passw(?:or)?d|passphrase|secret|token|credentials?|(?:api|access|private)[ ._-]?key|secret[._-]?key";
/// Headers that authenticate end in one of these.
pub(super) const HEADER_WORDS: &str = "authorization|cookie|x-api-key";
/// Names of lists and maps of variables end in one of these.
pub(super) const ENV_WORDS: &str = "env(?:s|[_-]?vars?|ironment(?:[_-]?variables?)?)?";

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
    /// The same of a URL, in which the digest of an image may be after an @, too.
    User,
    /// What comes after it. Its group `quote` is there if the key is in quotes, `space` if there is a space before the value.
    Next,
    /// The same of a header.
    Header,
    /// The same of variables, which are a list or a map.
    Variables,
    /// The same of a value that is followed by its name.
    BeforeName,
    /// The same, unless it is a number or the like.
    Refused,
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
            if from == to || text[from..to].trim_matches(['"', '\'', '`', '\\']) == MARK {
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
        let is_done = text[from..]
            .strip_prefix(MARK)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '('));
        let keep = || found.name("keep").map_or(key, |keep| keep.end());
        let to = match self.value {
            Extent::Found => return (keep(), from),
            Extent::User if text[from..].starts_with("sha256:") => {
                let user = text[keep()..from - 1].rfind('@');
                return (keep(), user.map_or(keep(), |at| keep() + at + 1));
            }
            Extent::User => return (keep(), from),
            // A rule has been here before.
            _ if is_done => from,
            Extent::Next => value::end(text, key, from, by),
            Extent::Refused => {
                value::literal(text, from, ":").map_or_else(|| value::end(text, key, from, by), |_| from)
            }
            Extent::Header => {
                value::end(text, key, from, if is_quoted { After::Colon } else { After::Header })
            }
            Extent::Variables => {
                let is_block = text[from..].starts_with(['\n', '\r']);
                let end = is_block.then(|| value::end(text, key, from, After::Colon));
                end.or_else(|| value::bracketed(text, from)).filter(|end| *end > from + 2).unwrap_or(from)
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

/// What is before a word, as a text or as an escape in JSON or in a URL.
const START: &str = r"(?:^|[^A-Za-z0-9_]|\\+[nrt]|\\+u00[0-9A-Fa-f]{2}|%[0-9A-Fa-f]{2})";

/// The colours of a terminal, which are also between a name and its value.
static COLOURS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?:\x1b|\\+u001[bB]|\\+x1[bB])\[[0-9;]*m").expect("a constant pattern"));

static NAME_FOLLOWS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(&format!("^{SPACE},?{SPACE}(?:{QUOTE})?(?i-u:name)(?:{QUOTE})?{SPACE}[:=]"))
        .expect("a constant pattern")
});

/// The most specific first: what one has redacted, the others leave alone.
static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    use Extent::{BeforeName, Flag, Found, Header, Item, Next, Refused, User, Variables};
    // Up to the last @, because a password may have one, or a slash.
    let user = r#"(?:[^ \t\r\n"'`<>\\]|\\+[^ \t\r\n"'`<>\\])*"#;
    let word = r#"(?:[^ \t\r\n"'`<>\\/?#]|\\+[^ \t\r\n"'`<>\\])*"#;
    let flag = format!("--?[A-Za-z0-9_.-]*(?i-u:{SECRET_WORDS})");
    // Also as an escape in a URL or in JSON.
    let sign = r"(?:[ \t]*(?::(?P<space>[ \t]+)|(?:[:=]{1,2}>?|%3[AaDd]|\\+u003[AaDd])[ \t]*)|>)";
    // What Go's dumps say about the type, and the source that a variable does not have.
    let kind = r"(?:\((?:\*?string|len=[0-9]+)\)[ \t]*)*";
    let no_source = format!(
        "(?:(?:{QUOTE})?(?i-u:valueFrom)(?:{QUOTE})?{SPACE}:{SPACE}(?:null|nil|<nil>|None){SPACE},{SPACE})?"
    );
    // Any name of a variable, but only the key of a secret: labels and taints have keys and values, too.
    let is = format!("(?:{QUOTE})?{SPACE}[:=]{SPACE}{kind}(?:{QUOTE})?[A-Za-z0-9_./ -]*");
    let name = format!(r"(?i-u:\bname){is}|(?i-u:\bkey){is}(?i-u:{SECRET_WORDS})");
    let known = "(?:hf_|gh[oprsu]_|npm_|[rs]k_(?:live|test)_)[A-Za-z0-9]{12,}|(?:AKIA|ASIA)[A-Z0-9]{12,}\
                 |(?:github_pat_|dckr_pat_|glpat-|nvapi-|xox[abeprs]-)[A-Za-z0-9_-]{12,}\
                 |(?:sk-|hvs\\.)[A-Za-z0-9_-]{20,}|AIza[A-Za-z0-9_-]{30,}|sha256~[A-Za-z0-9_-]{40,}";
    vec![
        Pattern::new(
            Rule::PrivateKey,
            Found,
            r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|$)",
        ),
        // The same in base64, as in a kubeconfig: its first words, without those of certificates.
        Pattern::new(
            Rule::PrivateKey,
            Found,
            "LS0tLS1CRUdJTiB(?:QUklW|SU0Eg|FQyBQ|PUEVO|FTkNS|EU0Eg)[A-Za-z0-9+/_-]*=*",
        ),
        Pattern::new(Rule::UndoRecord, Next, &format!(r"firebreak\.dev/undo(?P<quote>{QUOTE})?{sign}")),
        Pattern::new(
            Rule::LastApplied,
            Next,
            &format!(r"kubectl\.kubernetes\.io/last-applied-configuration(?P<quote>{QUOTE})?{sign}"),
        ),
        Pattern::new(
            Rule::UrlPassword,
            User,
            &format!(r"(?P<keep>[a-zA-Z][a-zA-Z0-9+.-]*:(?:\\*/){{2}})(?:{user}:{user}@|{word}@)"),
        ),
        Pattern::new(Rule::Header, Header, &format!(r"(?i-u:{HEADER_WORDS})(?P<quote>{QUOTE})?{sign}")),
        // Pairs in a list, as Python writes headers.
        Pattern::new(Rule::Header, Header, &format!(r"(?i-u:{HEADER_WORDS})(?P<quote>{QUOTE})[ \t]*,[ \t]*")),
        Pattern::new(Rule::Variable, Variables, &format!(r"(?i-u:{ENV_WORDS})(?:{QUOTE})?[ \t]*[:=][ \t]*")),
        Pattern::new(
            Rule::Variable,
            Next,
            &format!(
                r#"(?:{name})(?:{QUOTE})?{SPACE}[,;]?{SPACE}{no_source}(?:{QUOTE})?(?i-u:value)(?:{QUOTE})?{SPACE}[:=](?P<space>{SPACE}){kind}"#
            ),
        ),
        Pattern::new(Rule::Variable, BeforeName, &format!("(?i-u:value)(?:{QUOTE})?{SPACE}[:=]{SPACE}")),
        Pattern::new(
            Rule::RefusedValue,
            Refused,
            r"(?i-u:\b(?:invalid|unsupported|duplicate|forbidden) value:)(?P<space>[ \t]*)",
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
                r"{START}{flag}(?:[ \t]*,[ \t]*|[ \t]*\r?\n[ \t]*(?:-[ \t]+)?|(?:\\+[nrt])+(?:-[ \t]+)?|[ \t]+)"
            ),
        ),
        // After the names, because a value may have more than a token: `credentials: AKIA…:…`.
        Pattern::new(Rule::Token, Found, r"(?P<keep>(?i-u:bearer)(?:[ \t]+|%20))[A-Za-z0-9._~+/=-]{8,}"),
        Pattern::new(Rule::Token, Found, r"(?P<keep>(?i-u:basic)(?:[ \t]+|%20))[A-Za-z0-9+/=]{16,}"),
        Pattern::new(
            Rule::Token,
            Found,
            &format!(
                r"(?P<keep>{START})eyJ[A-Za-z0-9_-]{{8,}}\.(?:[A-Za-z0-9_-]*\.)?[A-Za-z0-9_-]{{8,}}(?:\.[A-Za-z0-9_-]*)*"
            ),
        ),
        Pattern::new(Rule::Token, Found, &format!("(?P<keep>{START})(?:{known})")),
    ]
});

/// The text without what looks like a secret.
pub fn text(text: &str, counted: &mut Redactions) -> String {
    let plain = COLOURS.replace_all(text, "").into_owned();
    PATTERNS.iter().fold(plain, |text, pattern| pattern.redact(text, counted))
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
    /// How many lines of a private key came before, if this is in one, and where it begins in each of them.
    in_key: Option<(usize, usize)>,
}

impl Lines {
    /// The next line; none inside of a private key.
    pub fn redact(&mut self, line: &str) -> Option<String> {
        let (begin, end) = (line.rfind("-----BEGIN "), line.rfind("-----END "));
        let is_bound = line.contains("PRIVATE KEY");
        let ends = is_bound && end.is_some();
        // A text that only mentions the beginning of a key has other lines after it.
        let before = self.in_key.take();
        let before =
            before.filter(|(before, column)| ends || (*before < LONGEST_KEY && is_of_key(line, *column)));
        if is_bound && begin > end {
            self.in_key = begin.map(|column| (0, column));
        } else if !ends {
            self.in_key = before.map(|(before, column)| (before + 1, column));
        }
        if before.is_some() {
            self.left_out += 1;
            return None;
        }
        Some(text(line, &mut self.redactions))
    }
}

/// Whether this may be a line of a key in PEM: base64 or a header, also after the time that a log puts before it.
fn is_of_key(line: &str, column: usize) -> bool {
    let is_base64 =
        |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    let below = line.get(column..).unwrap_or(line).trim().trim_end_matches(['"', '\'', ',', '\\']);
    let last = below.rsplit([' ', '\t', '"', '\'']).next().unwrap_or_default();
    let is_header =
        ["Proc-Type:", "DEK-Info:", "Comment:", "Version:"].iter().any(|name| line.contains(name));
    is_base64(below) || is_header || (last.len() >= 32 && is_base64(last))
}
