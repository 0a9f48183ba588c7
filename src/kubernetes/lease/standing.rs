//! The view that the rest of the process has of the election.

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Where this process stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The Lease could not be looked at yet, or no longer.
    Unknown,
    /// Somebody else leads; empty while it is not known who.
    Standby {
        /// The identity in the Lease.
        holder: String,
    },
    /// This process may act until the time given, unless renewed before.
    Leading {
        /// What is to be known about the term.
        term: Term,
        /// `None` when there is no election.
        valid_until: Option<Instant>,
    },
}

/// A time of leadership without a break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Counts the terms of this process.
    pub number: u64,
    /// When the Lease was last renewed before this term, by any holder and by that holder's wall
    /// clock. Severity clocks count on after a restart only when this is recent.
    pub previous_renewal: Option<Timestamp>,
}

/// Whether this process may act. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leadership {
    standing: watch::Receiver<Standing>,
}

impl Leadership {
    /// The leadership of a process that runs without election. It is never lost.
    #[must_use]
    pub fn without_election() -> Self {
        let (_, standing) = watch::channel(Standing::Leading {
            term: Term { number: 1, previous_renewal: None },
            valid_until: None,
        });
        Self { standing }
    }

    /// Whether this process may act at this moment. To be asked right before every write: it is
    /// false from the very moment on at which the time ran out, even if the process was stopped for a
    /// while and nobody was told yet.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.term().is_some()
    }

    /// The current term, if this process may act at this moment.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        match &*self.standing.borrow() {
            Standing::Leading { term, valid_until } => {
                valid_until.is_none_or(|end| Instant::now() < end).then(|| term.clone())
            }
            Standing::Unknown | Standing::Standby { .. } => None,
        }
    }

    /// Where the process stands, for people.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Waits until this process leads.
    pub async fn gained(&mut self) -> Term {
        loop {
            self.standing.mark_unchanged();
            if let Some(term) = self.term() {
                return term;
            }
            if self.standing.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until a term is over, also when the next one followed at once.
    pub async fn lost(&mut self, term: &Term) {
        loop {
            self.standing.mark_unchanged();
            let end = match &*self.standing.borrow() {
                Standing::Leading { term: current, valid_until } if current.number == term.number => {
                    *valid_until
                }
                Standing::Leading { .. } | Standing::Unknown | Standing::Standby { .. } => return,
            };
            let Some(end) = end else {
                return std::future::pending().await;
            };
            tokio::select! {
                // The end moves with every renewal, without a notice: look again when it is reached.
                () = sleep_until(end) => if !self.leads() { return },
                changed = self.standing.changed() => if changed.is_err() { sleep_until(end).await },
            }
        }
    }

    /// Waits for any change: gained, lost, another holder. Renewals are no change.
    pub async fn changed(&mut self) {
        if self.standing.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The election's end of it.
pub(super) struct Publisher {
    standing: watch::Sender<Standing>,
}

/// Both ends.
pub(super) fn channel() -> (Publisher, Leadership) {
    let (sender, standing) = watch::channel(Standing::Unknown);
    (Publisher { standing: sender }, Leadership { standing })
}

impl Publisher {
    pub(super) fn lead(&self, term: Term, valid_until: Instant) {
        self.standing.send_replace(Standing::Leading { term, valid_until: Some(valid_until) });
    }

    /// Moves the end of the term, without waking anybody.
    pub(super) fn renewed(&self, until: Instant) {
        self.standing.send_if_modified(|standing| {
            if let Standing::Leading { valid_until, .. } = standing {
                *valid_until = Some(until);
            }
            false
        });
    }

    pub(super) fn standby(&self, holder: &str) {
        self.publish(Standing::Standby { holder: holder.to_owned() });
    }

    pub(super) fn unknown(&self) {
        self.publish(Standing::Unknown);
    }

    fn publish(&self, next: Standing) {
        self.standing.send_if_modified(|standing| {
            let moved = *standing != next;
            *standing = next;
            moved
        });
    }
}
