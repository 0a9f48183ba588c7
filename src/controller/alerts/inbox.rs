//! Messages that wait for the pass of their policy, folded: only the last state of each alert is kept.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firebreak_engine::alerts::News;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::controller::queue::Name;
use crate::receiver::Answer;

/// At most one write in this time because of alerts, for each policy.
const EVERY: Duration = Duration::from_secs(1);
/// Alerts that wait, of all policies. One message has at most half as many for one signal.
const MOST: usize = 32 * 1024;

/// Messages that wait, by policy.
#[derive(Debug, Default)]
pub struct Inbox(Mutex<BTreeMap<Name, Mail>>);

/// What is counted as the same policy under the same leader. What waits for one counts for no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Epoch {
    /// The uid of the policy.
    pub(super) uid: Option<String>,
    /// Its generation: which alerts match depends on its spec.
    pub(super) generation: Option<i64>,
    /// The term of this process: another leader may have heard of alerts meanwhile.
    pub(super) term: u64,
}

/// What was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recording {
    /// The status has changed because of it.
    Written,
    /// The status said it already.
    NothingNew,
}

/// There is no room. Has the way to answer.
#[derive(Debug)]
pub(super) struct Full(pub(super) oneshot::Sender<Answer>);

#[derive(Debug)]
struct Mail {
    epoch: Epoch,
    /// Came since the last pass took anything.
    waiting: Pile,
    /// Was taken by a pass and is not recorded yet.
    taken: Pile,
    /// No earlier than this is anything taken.
    not_before: Option<Instant>,
    basis: Basis,
}

/// What the status is taken from that a pass knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Basis {
    /// A watch, which may be late: another leader may have recorded more.
    Watched,
    /// The API server has shown or stored it in this term, in which nobody else records alerts.
    Current,
}

/// Folded messages, and their senders. A sender that is dropped is told to send again.
#[derive(Debug, Default)]
struct Pile {
    news: BTreeMap<String, News>,
    senders: Vec<oneshot::Sender<Answer>>,
}

impl Pile {
    fn add(&mut self, later: Self) {
        for (signal, later) in later.news {
            match self.news.get_mut(&signal) {
                Some(news) => news.absorb(later),
                None => drop(self.news.insert(signal, later)),
            }
        }
        self.senders.extend(later.senders);
    }

    fn len(&self) -> usize {
        self.news.values().map(News::len).sum()
    }
}

impl Inbox {
    /// Adds a message.
    pub(super) fn put(
        &self,
        name: &Name,
        epoch: Epoch,
        news: BTreeMap<String, News>,
        sender: oneshot::Sender<Answer>,
    ) -> Result<(), Full> {
        let mut all = self.lock();
        let new = Pile { news, senders: Vec::new() };
        let waiting: usize = all.values().map(|mail| mail.waiting.len() + mail.taken.len()).sum();
        if waiting > 0 && waiting + new.len() > MOST {
            return Err(Full(sender));
        }
        let mail = Mail::of(&mut all, name, &epoch);
        mail.waiting.add(Pile { senders: vec![sender], ..new });
        Ok(())
    }

    /// What is new for the pass of a policy, and when to look again if more waits. It is taken again until it is settled.
    pub(super) fn take(
        &self,
        name: &Name,
        epoch: &Epoch,
        now: Instant,
    ) -> (BTreeMap<String, News>, Option<Duration>) {
        let mut all = self.lock();
        if !all.contains_key(name) {
            return (BTreeMap::new(), None);
        }
        let mail = Mail::of(&mut all, name, epoch);
        let wait = mail.not_before.map(|at| at.saturating_duration_since(now)).filter(|wait| !wait.is_zero());
        match wait {
            Some(wait) => {
                let again = (!mail.waiting.senders.is_empty()).then_some(wait);
                (mail.taken.news.clone(), again)
            }
            None => {
                let waiting = std::mem::take(&mut mail.waiting);
                mail.taken.add(waiting);
                (mail.taken.news.clone(), None)
            }
        }
    }

    /// Whether the API server must be asked for the status before the senders of what was taken may be told that it has nothing
    /// new: a watch that is late does not know what another leader has recorded.
    pub(super) fn is_unsure(&self, name: &Name) -> bool {
        self.lock()
            .get(name)
            .is_some_and(|mail| !mail.taken.senders.is_empty() && mail.basis == Basis::Watched)
    }

    /// The status is as the API server has it.
    pub(super) fn assure(&self, name: &Name) {
        if let Some(mail) = self.lock().get_mut(name) {
            mail.basis = Basis::Current;
        }
    }

    /// What was taken is recorded.
    pub(super) fn settle(&self, name: &Name, recording: Recording, now: Instant) {
        let mut all = self.lock();
        let Some(mail) = all.get_mut(name) else { return };
        let taken = std::mem::take(&mut mail.taken);
        if recording == Recording::Written {
            mail.basis = Basis::Current;
        }
        if recording == Recording::Written && !taken.senders.is_empty() {
            mail.not_before = Some(now + EVERY);
        }
        for sender in taken.senders {
            // It may have gone.
            let _ = sender.send(Answer::Recorded);
        }
    }

    /// Drops what waits for a policy.
    pub fn forget(&self, name: &Name) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Mail>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mail {
    /// The mail of a policy, without what belongs to another epoch.
    fn of<'a>(all: &'a mut BTreeMap<Name, Self>, name: &Name, epoch: &Epoch) -> &'a mut Self {
        let new = |not_before| Self {
            epoch: epoch.clone(),
            waiting: Pile::default(),
            taken: Pile::default(),
            not_before,
            basis: Basis::Watched,
        };
        let mail = all.entry(name.clone()).or_insert_with(|| new(None));
        if mail.epoch != *epoch {
            *mail = new(mail.not_before);
        }
        mail
    }
}

#[cfg(test)]
#[path = "inbox_tests.rs"]
mod tests;
