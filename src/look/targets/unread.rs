//! What is said where something could not be read.

use firebreak_engine::facts::{ListingRead, ObjectRead};

use crate::actuator::live_read::Read;

/// Why something could not be read, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// The answer was no.
    Refused(String),
    /// There was no answer that says anything.
    Failed(String),
}

impl Unread {
    /// The same, said of something.
    pub(super) fn of(self, what: &str) -> Self {
        match self {
            Self::Refused(why) => Self::Refused(format!("{what} cannot be read: {why}")),
            Self::Failed(why) => Self::Failed(format!("{what} cannot be read: {why}")),
        }
    }
}

impl From<Unread> for ListingRead {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Refused(why) => Self::Refused { why },
            Unread::Failed(why) => Self::Failed { why },
        }
    }
}

impl From<Unread> for ObjectRead {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Refused(why) => Self::Refused { why },
            Unread::Failed(why) => Self::Failed { why },
        }
    }
}

/// What was read; none if it is not there.
pub(super) fn found<T>(read: Read<T>) -> Result<Option<T>, Unread> {
    match read {
        Read::Found(found) => Ok(Some(found)),
        Read::Gone => Ok(None),
        Read::Refused(why) => Err(Unread::Refused(why)),
        Read::Failed(why) => Err(Unread::Failed(why)),
    }
}
