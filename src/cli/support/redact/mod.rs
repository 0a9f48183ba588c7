//! What an archive never contains, whoever asks for it: values that are secrets, or may be.
//!
//! A rule redacts by the place of a value (a variable, an undo record) or by its form (a token). Each use is counted, so that
//! the index of the archive says what is missing from which file.

mod object;
mod text;
mod value;

use std::collections::BTreeMap;

pub use self::object::object;
pub use self::text::{Lines, text};

/// What stands in place of a value.
pub const MARK: &str = "(redacted)";

/// Why a value is not in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The value of a variable.
    Variable,
    /// The annotation with the undo record.
    UndoRecord,
    /// The values before and after a change, of a variable or a flag, or sealed.
    ChangedValue,
    /// The annotation in which kubectl keeps the whole object.
    LastApplied,
    /// The value of a key or a flag whose name says that it is a secret.
    NamedSecret,
    /// A header that authenticates a request.
    Header,
    /// The form of a token.
    Token,
    /// A private key in PEM.
    PrivateKey,
    /// A user and a password in a URL.
    UrlPassword,
    /// A value that a message quotes because it was refused.
    RefusedValue,
    /// What may be an object, and cannot be read.
    Unreadable,
}

impl Rule {
    /// All rules, in the order of the index.
    pub const ALL: [Self; 11] = [
        Self::Variable,
        Self::UndoRecord,
        Self::ChangedValue,
        Self::LastApplied,
        Self::NamedSecret,
        Self::Header,
        Self::Token,
        Self::PrivateKey,
        Self::UrlPassword,
        Self::RefusedValue,
        Self::Unreadable,
    ];

    /// The name in the index.
    pub fn name(self) -> &'static str {
        match self {
            Self::Variable => "Variable",
            Self::UndoRecord => "UndoRecord",
            Self::ChangedValue => "ChangedValue",
            Self::LastApplied => "LastApplied",
            Self::NamedSecret => "NamedSecret",
            Self::Header => "Header",
            Self::Token => "Token",
            Self::PrivateKey => "PrivateKey",
            Self::UrlPassword => "UrlPassword",
            Self::RefusedValue => "RefusedValue",
            Self::Unreadable => "Unreadable",
        }
    }

    /// What it redacts, for people.
    pub fn says(self) -> &'static str {
        match self {
            Self::Variable => "the values of environment variables",
            Self::UndoRecord => {
                "the annotation firebreak.dev/undo, which has the previous values of a changed object"
            }
            Self::ChangedValue => {
                "the values before and after a change of a variable or a flag, and every sealed value"
            }
            Self::LastApplied => "the annotation kubectl.kubernetes.io/last-applied-configuration",
            Self::NamedSecret => {
                "the values of keys and flags whose name ends in password, passphrase, secret, token, credential, \
                 api key, access key, secret key or private key"
            }
            Self::Header => {
                "the headers Authorization, Proxy-Authorization, Cookie, Set-Cookie and X-Api-Key"
            }
            Self::Token => "bearer tokens, JSON Web Tokens, and tokens with a known prefix",
            Self::PrivateKey => "private keys in PEM",
            Self::UrlPassword => "the user and the password in URLs",
            Self::RefusedValue => {
                "the values that messages quote as invalid, unsupported, duplicate or forbidden, unless they are numbers"
            }
            Self::Unreadable => {
                "binary files of ConfigMaps, and their other files and annotations that cannot be read as one \
                 document, if they have several lines or begin like JSON"
            }
        }
    }
}

/// How often each rule has redacted something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redactions(BTreeMap<Rule, usize>);

impl Redactions {
    /// One more.
    pub fn count(&mut self, rule: Rule) {
        *self.0.entry(rule).or_default() += 1;
    }

    /// By the names of the rules.
    pub fn by_name(&self) -> BTreeMap<&'static str, usize> {
        self.0.iter().map(|(rule, count)| (rule.name(), *count)).collect()
    }
}

#[cfg(test)]
mod tests;
