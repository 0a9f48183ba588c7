//! What one watch knows now, like the HasSynced of an informer.
//!
//! ```text
//! NotSynced ── listed and followed ──► Known ── no answer for 2 min ──► Stale
//!     │                                │  ▲                              │
//!     └────────── API server says no ──┴──┼── listed and followed ───────┤
//!                       ▼                 │                              │
//!                  Forbidden, … ──────────┴──────────────────────────────┘
//! ```
//!
//! Whatever made it unknown, everything seen before is dropped, and only a new
//! list makes it known again: a reading never combines data from before and
//! after a gap.

use std::time::Duration;

use tokio::time::Instant;

use super::failure::Failure;
use super::fold::Fold;

/// How long data counts without another answer. Watches ask for half of it, so that one
/// unanswered opening is no gap.
pub(super) const STALE_AFTER: Duration = Duration::from_secs(120);

/// What one watch knows.
#[derive(Debug)]
pub(super) enum SyncState {
    /// Everything in its scope.
    Known {
        /// The objects.
        fold: Box<dyn Fold>,
        /// When an opening of the watch was last answered.
        answered_at: Instant,
        /// Why the watch could not continue since; none if nothing is wrong.
        trouble: Option<String>,
    },
    /// Nothing.
    Unknown {
        /// In one word.
        reason: &'static str,
        /// For people.
        detail: String,
    },
}

impl SyncState {
    /// Before the first list.
    pub(super) fn new() -> Self {
        Self::Unknown { reason: "NotSynced", detail: "it has not been read yet".to_owned() }
    }

    /// The opening of the watch was answered, after a list or in continuation. False if it has become
    /// unknown in the meantime, so that only a list helps.
    pub(super) fn opened(&mut self, listed: Option<Box<dyn Fold>>, now: Instant) -> bool {
        match (self, listed) {
            (this, Some(mut fold)) => {
                if let Self::Known { fold: before, .. } = this {
                    fold.succeed(&**before);
                }
                *this = Self::Known { fold, answered_at: now, trouble: None };
            }
            (Self::Known { answered_at, trouble, .. }, None) => (*answered_at, *trouble) = (now, None),
            (Self::Unknown { .. }, None) => return false,
        }
        true
    }

    /// The watch could not continue.
    pub(super) fn failed(&mut self, failure: &Failure) {
        match (self, failure) {
            (this, Failure::Blind { reason, detail }) => {
                *this = Self::Unknown { reason, detail: detail.clone() };
            }
            (Self::Unknown { reason: "NotSynced", detail }, failure) => {
                *detail = format!("it has not been read yet: {}", failure.text());
            }
            // What was seen last counts until it is too old.
            (Self::Known { trouble, .. }, failure) => *trouble = Some(failure.text().to_owned()),
            (Self::Unknown { .. }, _) => {}
        }
    }

    /// Whether it has not been read yet.
    pub(super) fn is_new(&self) -> bool {
        matches!(self, Self::Unknown { reason: "NotSynced", .. })
    }

    /// When the data becomes too old.
    pub(super) fn stale_at(&self) -> Option<Instant> {
        match self {
            Self::Known { answered_at, .. } => Some(*answered_at + STALE_AFTER),
            Self::Unknown { .. } => None,
        }
    }

    /// Drops data that is too old; true if there was any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let is_stale = self.stale_at().is_some_and(|at| at <= now);
        if let (true, Self::Known { trouble, .. }) = (is_stale, &*self) {
            let seconds = STALE_AFTER.as_secs();
            let detail = match trouble {
                Some(trouble) => format!("it could not be watched for {seconds} s: {trouble}"),
                None => format!("the API server has not replied for {seconds} s"),
            };
            *self = Self::Unknown { reason: "Stale", detail };
        }
        is_stale
    }

    /// The objects, if they are known.
    pub(super) fn fold(&mut self) -> Option<&mut dyn Fold> {
        match self {
            Self::Known { fold, .. } => Some(fold.as_mut()),
            Self::Unknown { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fold::{Judge, Of};
    use super::super::kinds::Nodes;
    use super::*;

    fn reason(sync: &SyncState) -> &str {
        match sync {
            SyncState::Known { .. } => "Known",
            SyncState::Unknown { reason, .. } => reason,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_list_ends_a_gap() {
        let fold = || Some(Of { kind: Nodes::default(), names: Default::default() }.fold());
        let start = Instant::now();
        let mut sync = SyncState::new();
        assert!(!sync.opened(None, start));
        assert_eq!(reason(&sync), "NotSynced");
        assert!(sync.opened(fold(), start));
        sync.failed(&Failure::Trouble("reset".to_owned()));
        sync.failed(&Failure::Expired);
        assert_eq!(reason(&sync), "Known");
        sync.opened(None, start + STALE_AFTER / 2);
        assert!(!sync.expire(start + STALE_AFTER));
        assert!(sync.expire(start + STALE_AFTER + STALE_AFTER / 2));
        sync.opened(None, start + STALE_AFTER * 2);
        assert_eq!(reason(&sync), "Stale");
        sync.failed(&Failure::Blind { reason: "Forbidden", detail: String::new() });
        sync.failed(&Failure::Trouble("reset".to_owned()));
        assert_eq!(reason(&sync), "Forbidden");
        sync.opened(fold(), start + STALE_AFTER * 2);
        assert_eq!(reason(&sync), "Known");
    }
}
