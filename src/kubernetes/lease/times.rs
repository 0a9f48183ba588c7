//! The times of an election.

use std::time::Duration;

/// The times of an election. They depend on each other, so only the first can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    pub(super) duration: Duration,
    pub(super) renew_deadline: Duration,
    pub(super) retry: Duration,
}

impl LeaseTimes {
    /// The times that follow from how long a Lease outlives its last renewal: a leader stops after
    /// 2/3 of it, and attempts are 2/15 of it apart.
    #[must_use]
    pub fn lasting(duration: Duration) -> Self {
        Self { duration, renew_deadline: duration * 2 / 3, retry: duration * 2 / 15 }
    }

    /// One attempt may take half the deadline, so that a lost reply leaves time for a second.
    pub(super) fn attempt(self) -> Duration {
        self.renew_deadline / 2
    }
}
