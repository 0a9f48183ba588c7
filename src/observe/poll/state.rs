//! What one ServiceAccount knows of the answer to one question, and until when.

use std::time::Duration;

use firebreak_engine::facts::Reading;
use jiff::SignedDuration;
use tokio::time::Instant;

use super::question::Read;
use crate::endpoints::Unanswered;
use crate::observe::kind::Values;
use crate::observe::source::unknown;

/// What is known.
#[derive(Clone, Debug, PartialEq)]
pub enum PollState {
    /// Values.
    Known {
        /// The fields.
        values: Values,
        /// When they are too old.
        until: Instant,
        /// Why there was no newer answer; empty if nothing is wrong.
        trouble: String,
    },
    /// Nothing.
    Unknown {
        /// In one word.
        reason: &'static str,
        /// For people.
        detail: String,
    },
}

impl Default for PollState {
    /// Before the first answer.
    fn default() -> Self {
        Self::Unknown { reason: Reading::NOT_SYNCED, detail: "it has not been read yet".to_owned() }
    }
}

impl PollState {
    /// Takes the answer to a request that was sent then.
    pub fn settle(&mut self, answer: Result<&Read, &Unanswered>, sent: Instant, max_age: Duration) {
        match answer {
            Ok(read) => *self = Self::of(read, sent, max_age),
            Err(Unanswered::Unusable { reason, detail }) => {
                *self = Self::Unknown { reason, detail: detail.clone() };
            }
            Err(Unanswered::NoAnswer(why)) => self.note(why),
        }
    }

    fn of(read: &Read, sent: Instant, max_age: Duration) -> Self {
        match max_age.checked_sub(read.age).filter(|left| !left.is_zero()) {
            Some(left) => {
                Self::Known { values: read.values.clone(), until: sent + left, trouble: String::new() }
            }
            None => {
                let detail = format!("the data itself, by the query in freshness, is {}", older(max_age));
                Self::Unknown { reason: "Stale", detail }
            }
        }
    }

    /// There was no answer. What was read last counts until it is too old.
    fn note(&mut self, why: &str) {
        match self {
            Self::Known { trouble, .. } => why.clone_into(trouble),
            // Whatever was wrong before may be mended by now.
            Self::Unknown { .. } => {
                *self = Self::Unknown { reason: "Unreachable", detail: why.to_owned() };
            }
        }
    }

    /// When the values become too old.
    pub fn until(&self) -> Option<Instant> {
        match self {
            Self::Known { until, .. } => Some(*until),
            Self::Unknown { .. } => None,
        }
    }

    /// Drops values that are too old. Returns whether there were any.
    pub fn expire(&mut self, now: Instant, max_age: Duration) -> bool {
        let is_over = self.until().is_some_and(|until| until <= now);
        if let (true, Self::Known { trouble, .. }) = (is_over, &*self) {
            let (reason, detail) = match trouble.as_str() {
                "" => ("Stale", format!("the last value is {}", older(max_age))),
                trouble => ("Unreachable", trouble.to_owned()),
            };
            *self = Self::Unknown { reason, detail };
        }
        is_over
    }

    /// For the rules.
    pub fn reading(&self) -> Reading {
        match self {
            Self::Known { values, .. } => Reading::Known { values: values.clone() },
            Self::Unknown { reason, detail } => unknown(reason, detail),
        }
    }
}

fn older(max_age: Duration) -> String {
    let max_age = SignedDuration::try_from(max_age).unwrap_or(SignedDuration::MAX);
    format!("older than maxAge ({max_age:#})")
}
