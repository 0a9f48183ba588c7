//! Since when this process has watched without a gap. It is not known what the clocks of rules missed before that.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::kubernetes::lease::{ElectionState, Term};

/// A longer gap in the lease means that nobody watched, so clocks reset.
const LONGEST_GAP: SignedDuration = SignedDuration::from_secs(60);

/// The term of leadership in which clocks run.
#[derive(Debug, Default)]
pub struct Clocks {
    /// The number of the term, and when clocks were first assessed in it.
    term: Mutex<(u64, Option<Timestamp>)>,
}

impl Clocks {
    /// A term starts or continues. True if it starts, so that nothing may be assumed about the clocks so far.
    pub fn begin(&self, term: &Term) -> bool {
        let mut current = self.term.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = current.0 != term.number;
        if is_new {
            *current = (term.number, None);
        }
        is_new
    }

    /// When clocks were first assessed in this term.
    pub fn began(&self, now: Timestamp) -> Timestamp {
        *self.term.lock().unwrap_or_else(PoisonError::into_inner).1.get_or_insert(now)
    }

    /// How long nobody had watched before this process did; the longest time if nobody can tell.
    pub fn unwatched(&self, state: &ElectionState, now: Timestamp) -> SignedDuration {
        let began = self.began(now);
        let renewed = match state {
            ElectionState::Leading { term, .. } => term.previous_renewal,
            ElectionState::Unknown | ElectionState::Standby { .. } => None,
        };
        renewed.map_or(SignedDuration::MAX, |renewed| began.duration_since(renewed).max(SignedDuration::ZERO))
    }

    /// Whether nobody watched for too long before this process did.
    pub fn are_broken(&self, state: &ElectionState, now: Timestamp) -> bool {
        self.unwatched(state, now) > LONGEST_GAP
    }
}
