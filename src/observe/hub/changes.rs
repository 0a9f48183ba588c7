//! Which policies are told that a reading has changed, and when time alone changes one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{Inner, PolicyKey, State, lock};

/// The policies of which a reading changed, each once however often it did.
pub struct Changes(pub(super) Arc<Pending>, pub(super) Weak<Inner>);

/// The policies that were not told yet.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) policies: Mutex<BTreeSet<PolicyKey>>,
    pub(super) wake: Notify,
}

impl Changes {
    /// The next policies of which a reading changed: all of them at that time.
    pub async fn next(&mut self) -> BTreeSet<PolicyKey> {
        loop {
            let next = std::mem::take(&mut *lock(&self.0.policies));
            if !next.is_empty() {
                return next;
            }
            let woken = self.0.wake.notified();
            match self.due() {
                None => woken.await,
                Some(wait) => {
                    if tokio::time::timeout(wait, woken).await.is_err() {
                        changed_by_time(&self.1);
                    }
                }
            }
        }
    }

    /// How long it is until the next change by time.
    fn due(&self) -> Option<Duration> {
        let hub = self.1.upgrade()?;
        let state = lock(&hub.state);
        let due = state.policies.values().flat_map(BTreeMap::values).filter_map(|it| it.changes_at).min()?;
        // A moment later, so that the clock is certainly past it.
        let wait = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
        Some(wait + Duration::from_millis(5))
    }
}

/// Compares what was told last with what is the case now, where time alone may have changed it.
fn changed_by_time(hub: &Weak<Inner>) {
    let Some(hub) = hub.upgrade() else { return };
    let mut state = lock(&hub.state);
    let State { policies, read_from, subscribed: _ } = &mut *state;
    let now = Timestamp::now();
    for (policy, signals) in policies {
        let due = signals.values_mut().filter(|it| it.changes_at.is_some_and(|due| due <= now));
        if due.filter_map(|it| it.refresh(read_from).then_some(())).count() > 0 {
            lock(&hub.pending.policies).insert(policy.clone());
        }
    }
}
