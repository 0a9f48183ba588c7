//! What has to be looked at, when, and in which order.
//!
//! # Guarantees
//! A key is never handed out twice at once: a nudge while it is out makes it
//! due again afterwards. Of the keys that are due, the most urgent comes first,
//! so a P0 does not wait behind a thousand P3 events.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::observe::PolicyKey;

/// Something that has to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// An Incident.
    Incident(Name),
    /// A policy.
    Policy(Name),
}

/// An object of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Name {
    /// The name of an object in a namespace.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl From<&Name> for PolicyKey {
    fn from(name: &Name) -> Self {
        Self { namespace: name.namespace.clone(), name: name.name.clone() }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// How urgent a key is: 0 is the most urgent, as in P0.
pub type Urgency = u8;

#[derive(Debug)]
struct Entry {
    due: Instant,
    urgency: Urgency,
    is_out: bool,
    /// Due again once it is back.
    again: Option<Instant>,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    entries: Mutex<BTreeMap<Key, Entry>>,
    changed: Notify,
}

impl Queue {
    /// Makes a key due now.
    pub fn nudge(&self, key: Key, urgency: Urgency) {
        self.due_at(key, urgency, Instant::now());
    }

    /// Makes a key due at a moment, or earlier if it was due earlier.
    pub fn due_at(&self, key: Key, urgency: Urgency, at: Instant) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(key).or_insert(Entry { due: at, urgency, is_out: false, again: None });
        entry.urgency = urgency;
        if entry.is_out {
            entry.again = Some(entry.again.map_or(at, |again| again.min(at)));
        } else {
            entry.due = entry.due.min(at);
        }
        drop(entries);
        self.changed.notify_one();
    }

    /// The most urgent key that is due; waits until there is one. It must be
    /// given back with [`Self::done`].
    pub async fn next(&self) -> Key {
        loop {
            let wait = {
                let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                let due = entries
                    .iter_mut()
                    .filter(|(_, entry)| !entry.is_out && entry.due <= now)
                    .min_by_key(|(_, entry)| (entry.urgency, entry.due));
                if let Some((key, entry)) = due {
                    entry.is_out = true;
                    let key = key.clone();
                    // Another worker may take the next one.
                    self.changed.notify_one();
                    return key;
                }
                entries.values().filter(|entry| !entry.is_out).map(|entry| entry.due).min()
            };
            match wait {
                Some(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// Gives a key back.
    pub fn done(&self, key: &Key) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(key) {
            match entry.again.take() {
                Some(at) => {
                    entry.is_out = false;
                    entry.due = at;
                }
                None => {
                    entries.remove(key);
                }
            }
        }
        drop(entries);
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn incident(name: &str) -> Key {
        Key::Incident(Name::new("ns", name))
    }

    #[tokio::test(start_paused = true)]
    async fn the_most_urgent_comes_first() {
        let queue = Queue::default();
        for number in 0..1000 {
            queue.nudge(incident(&format!("p3-{number}")), 3);
        }
        queue.nudge(incident("p0"), 0);
        assert_eq!(queue.next().await, incident("p0"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_not_handed_out_twice_at_once() {
        let queue = Queue::default();
        queue.nudge(incident("a"), 1);
        let key = queue.next().await;
        queue.nudge(key.clone(), 1);
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err());
        queue.done(&key);
        assert_eq!(queue.next().await, key);
        queue.done(&key);
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_due_at_its_earliest_moment() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.due_at(incident("a"), 1, start + Duration::from_secs(30));
        queue.due_at(incident("a"), 1, start + Duration::from_secs(10));
        queue.due_at(incident("a"), 1, start + Duration::from_secs(20));
        queue.next().await;
        assert_eq!(start.elapsed(), Duration::from_secs(10));
    }
}
