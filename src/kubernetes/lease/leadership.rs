//! The view that the rest of the process has of the election.

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The role of this process in the election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElectionState {
    /// The Lease could not be read yet, or can no longer be read.
    Unknown,
    /// Another process leads; empty while it is not known which.
    Standby {
        /// The identity in the Lease.
        holder: String,
    },
    /// This process may act until the given time, unless the Lease is renewed before.
    Leading {
        /// The term.
        term: Term,
        /// `None` when there is no election.
        valid_until: Option<Instant>,
    },
}

/// A period of leadership without interruption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Counts the terms of this process.
    pub number: u64,
    /// When the Lease was last renewed before this term, by any holder and by that holder's wall
    /// clock. Severity clocks continue after a restart only if this is recent.
    pub previous_renewal: Option<Timestamp>,
}

/// Whether this process may act. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leadership {
    state: watch::Receiver<ElectionState>,
}

impl Leadership {
    /// The leadership of a process that runs without election. It is never lost.
    #[must_use]
    pub fn without_election() -> Self {
        let (_, state) = watch::channel(ElectionState::Leading {
            term: Term { number: 1, previous_renewal: None },
            valid_until: None,
        });
        Self { state }
    }

    /// Whether this process may act at this moment. Ask right before every write: it is
    /// false from the very moment at which the time is over, even if the process was stopped for a
    /// while and no part of it knows yet.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.term().is_some()
    }

    /// The current term, if this process may act at this moment.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        match &*self.state.borrow() {
            ElectionState::Leading { term, valid_until } => {
                valid_until.is_none_or(|end| Instant::now() < end).then(|| term.clone())
            }
            ElectionState::Unknown | ElectionState::Standby { .. } => None,
        }
    }

    /// The role of the process, for people.
    #[must_use]
    pub fn state(&self) -> ElectionState {
        self.state.borrow().clone()
    }

    /// Waits until this process leads.
    pub async fn gained(&mut self) -> Term {
        loop {
            self.state.mark_unchanged();
            if let Some(term) = self.term() {
                return term;
            }
            if self.state.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until a term is over, also if the next one followed at once.
    pub async fn lost(&mut self, term: &Term) {
        loop {
            self.state.mark_unchanged();
            let end = match &*self.state.borrow() {
                ElectionState::Leading { term: current, valid_until } if current.number == term.number => {
                    *valid_until
                }
                ElectionState::Leading { .. } | ElectionState::Unknown | ElectionState::Standby { .. } => {
                    return;
                }
            };
            let Some(end) = end else {
                return std::future::pending().await;
            };
            tokio::select! {
                // The end moves with every renewal, without a notification, so check again when it is reached.
                () = sleep_until(end) => if !self.leads() { return },
                changed = self.state.changed() => if changed.is_err() { sleep_until(end).await },
            }
        }
    }

    /// Waits for any change: gained, lost, another holder. A renewal is not a change.
    pub async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The election's handle of it.
pub(super) struct Publisher {
    state: watch::Sender<ElectionState>,
}

/// Both handles.
pub(super) fn channel() -> (Publisher, Leadership) {
    let (sender, state) = watch::channel(ElectionState::Unknown);
    (Publisher { state: sender }, Leadership { state })
}

impl Publisher {
    pub(super) fn lead(&self, term: Term, valid_until: Instant) {
        self.state.send_replace(ElectionState::Leading { term, valid_until: Some(valid_until) });
    }

    /// Moves the end of the term without waking any waiter.
    pub(super) fn renewed(&self, until: Instant) {
        self.state.send_if_modified(|state| {
            if let ElectionState::Leading { valid_until, .. } = state {
                *valid_until = Some(until);
            }
            false
        });
    }

    pub(super) fn standby(&self, holder: &str) {
        self.publish(ElectionState::Standby { holder: holder.to_owned() });
    }

    pub(super) fn unknown(&self) {
        self.publish(ElectionState::Unknown);
    }

    fn publish(&self, next: ElectionState) {
        self.state.send_if_modified(|state| {
            let moved = *state != next;
            *state = next;
            moved
        });
    }
}
