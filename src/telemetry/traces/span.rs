//! A span as plain data, and the ids that every controller computes alike.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// The id of the trace of an Incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);

/// The id of one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);

impl TraceId {
    /// The trace of the Incident with this uid.
    pub fn of(incident: &str) -> Self {
        Self(digest(&[incident]))
    }
}

impl SpanId {
    /// What the parts name, in the Incident with this uid. A controller that continues the work of another one, or its own
    /// after a restart, computes the same id.
    pub fn of(incident: &str, what: &[&str]) -> Self {
        Self(digest(&[&[incident], what].concat()))
    }
}

/// The first bytes of SHA-256. A single part is hashed as it is; otherwise the boundaries between the parts count.
fn digest<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut hasher = Sha256::new();
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            hasher.update((part.len() as u64).to_be_bytes());
        }
        hasher.update(part.as_bytes());
    }
    let mut id = [0; N];
    id.iter_mut().zip(hasher.finalize()).for_each(|(own, byte)| *own = byte);
    id
}

/// A span that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The trace.
    pub trace: TraceId,
    /// Which span of the trace it is.
    pub id: SpanId,
    /// The span that it belongs to; none for the root.
    pub parent: Option<SpanId>,
    /// One of few, because back ends count by it.
    pub name: String,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// What is known of it. A value of a changed field is never among them.
    pub attributes: Vec<Attribute>,
    /// What happened in it.
    pub events: Vec<SpanEvent>,
    /// Why it is an error, in one word; none if it is not.
    pub error: Option<String>,
}

/// The name of an attribute, and its value.
pub type Attribute = (&'static str, Value);

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Several texts.
    Texts(Vec<String>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u8> for Value {
    fn from(number: u8) -> Self {
        Self::Number(number.into())
    }
}

/// Something that happened at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanEvent {
    /// When.
    pub at: Timestamp,
    /// What, in one word.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_everywhere_and_depend_on_every_part() {
        // `printf %s uid-1 | sha256sum`
        let expected = [0x4a, 0x49, 0xac, 0xf8];
        assert_eq!(TraceId::of("uid-1").0[..4], expected);
        let id = SpanId::of("uid-1", &["step", "one"]);
        assert_eq!(id, SpanId::of("uid-1", &["step", "one"]));
        assert_ne!(id, SpanId::of("uid-1", &["ste", "pone"]));
        assert_ne!(id, SpanId::of("uid-2", &["step", "one"]));
    }
}
