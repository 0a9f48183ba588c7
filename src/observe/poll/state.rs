//! What one ServiceAccount knows of the answer to one question, and until when.

use std::time::Duration;

use firebreak_engine::facts::Reading;
use jiff::SignedDuration;
use tokio::time::Instant;

use super::question::Read;
use crate::endpoints::{BUSY, UNREACHABLE, Unanswered};
use crate::observe::doubt::Doubts;
use crate::observe::kind::Values;
use crate::observe::source::unknown;

/// What is known.
#[derive(Clone, Debug, PartialEq)]
pub enum PollState {
    /// Values.
    Known {
        /// The fields.
        values: Values,
        /// The objects of which something is not known.
        doubts: Doubts,
        /// When they are too old.
        until: Instant,
        /// Why there was no newer answer; none if nothing is wrong.
        trouble: Option<Trouble>,
    },
    /// Nothing.
    Unknown(Trouble),
}

/// Why nothing is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// In one word.
    reason: &'static str,
    /// For people.
    detail: String,
}

impl Trouble {
    fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// Whether a request that was not answered says nothing new: a failure is told with its first text, because each
    /// further text would be a change of the status; and a request that was never sent says nothing of the endpoint.
    fn covers(&self, other: &Self) -> bool {
        self.reason == other.reason || (self.reason, other.reason) == (UNREACHABLE, BUSY)
    }
}

impl Default for PollState {
    /// Before the first answer.
    fn default() -> Self {
        Self::Unknown(Trouble::new(Reading::NOT_SYNCED, "it has not been read yet"))
    }
}

impl PollState {
    /// Takes the answer to a request that was sent then.
    pub fn settle(&mut self, answer: Result<&Read, &Unanswered>, sent: Instant, max_age: Duration) {
        match answer {
            Ok(read) => *self = Self::of(read, sent, max_age),
            Err(Unanswered::Unusable { reason, detail }) => {
                *self = Self::Unknown(Trouble::new(reason, detail));
            }
            Err(why @ (Unanswered::NoAnswer(detail) | Unanswered::Busy(detail))) => {
                self.note(Trouble::new(why.kind(), detail));
            }
        }
    }

    fn of(read: &Read, sent: Instant, max_age: Duration) -> Self {
        match max_age.checked_sub(read.age).filter(|left| !left.is_zero()) {
            Some(left) => Self::Known {
                values: read.values.clone(),
                doubts: read.doubts.clone(),
                until: sent + left,
                trouble: None,
            },
            None => {
                let detail = format!("the data itself, by the query in freshness, is {}", older(max_age));
                Self::Unknown(Trouble::new("Stale", detail))
            }
        }
    }

    /// There was no answer. What was read last counts until it is too old.
    fn note(&mut self, new: Trouble) {
        match self {
            Self::Known { trouble: Some(old), .. } | Self::Unknown(old) if old.covers(&new) => {}
            Self::Known { trouble, .. } => *trouble = Some(new),
            // Whatever was wrong before may be mended by now.
            Self::Unknown(old) => *old = new,
        }
    }

    /// When the values become too old.
    pub fn until(&self) -> Option<Instant> {
        match self {
            Self::Known { until, .. } => Some(*until),
            Self::Unknown(_) => None,
        }
    }

    /// Drops values that are too old. Returns whether there were any.
    pub fn expire(&mut self, now: Instant, max_age: Duration) -> bool {
        let is_over = self.until().is_some_and(|until| until <= now);
        if let (true, Self::Known { trouble, .. }) = (is_over, &*self) {
            let old = || Trouble::new("Stale", format!("the last value is {}", older(max_age)));
            *self = Self::Unknown(trouble.clone().unwrap_or_else(old));
        }
        is_over
    }

    /// The objects of which something is not known although the values are.
    pub fn doubts(&self) -> Doubts {
        match self {
            Self::Known { doubts, .. } => doubts.clone(),
            Self::Unknown(_) => Doubts::default(),
        }
    }

    /// For the rules.
    pub fn reading(&self) -> Reading {
        match self {
            Self::Known { values, .. } => Reading::Known { values: values.clone() },
            Self::Unknown(Trouble { reason, detail }) => unknown(reason, detail),
        }
    }
}

fn older(max_age: Duration) -> String {
    let max_age = SignedDuration::try_from(max_age).unwrap_or(SignedDuration::MAX);
    format!("older than maxAge ({max_age:#})")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(60);

    fn no_answer(text: &str) -> Unanswered {
        Unanswered::NoAnswer(text.to_owned())
    }

    /// The state after these failures, and how often what is told has changed.
    fn after(failures: &[Unanswered]) -> (PollState, usize) {
        let mut state = PollState::default();
        let mut changes = 0;
        for failure in failures {
            let before = state.reading();
            state.settle(Err(failure), Instant::now(), MAX_AGE);
            changes += usize::from(state.reading() != before);
        }
        (state, changes)
    }

    #[tokio::test]
    async fn an_outage_is_told_once_with_its_first_text() {
        let outage = ["late", "refused", "late", "refused"].map(no_answer);
        assert_eq!(after(&outage), (PollState::Unknown(Trouble::new(UNREACHABLE, "late")), 1));
        let busy = || Unanswered::Busy("busy".to_owned());
        let crowded = [busy(), no_answer("late"), busy(), no_answer("refused"), busy()];
        assert_eq!(after(&crowded), (PollState::Unknown(Trouble::new(UNREACHABLE, "late")), 2));
        let mended = [no_answer("late"), Unanswered::unusable("Unauthorized", "401"), no_answer("refused")];
        assert_eq!(after(&mended), (PollState::Unknown(Trouble::new(UNREACHABLE, "refused")), 3));
    }
}
