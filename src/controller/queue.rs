//! The work that is due: what, when, and in which order.
//!
//! # Guarantees
//! A key is never taken by two workers at once: a nudge while it is taken makes it due again later, and no nudge is
//! lost. Of the keys that are due, the most severe comes first, so a P0 does not wait behind a thousand P3 events;
//! of equally severe ones, the one that has been due longest. One that was due for [`PATIENCE`] gets one of
//! [`TURNS`] turns, so that nothing waits forever. Each operation takes time that grows with the logarithm of
//! the number of keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firebreak_engine::policy::Severity;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::observe::PolicyKey;

/// How long a key may be due before it gets a turn although others are more severe.
const PATIENCE: Duration = Duration::from_secs(5);
/// One of this many turns belongs to the key that has been due longest, if it was due for [`PATIENCE`].
const TURNS: u64 = 8;

/// Something that needs a pass.
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

/// When a key is wanted, and how urgently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    at: Instant,
    urgency: Severity,
}

impl Wanted {
    /// The combination of both: as early and as urgent as either.
    fn and(self, other: Self) -> Self {
        Self { at: self.at.min(other.at), urgency: self.urgency.min(other.urgency) }
    }
}

#[derive(Debug)]
enum Entry {
    /// In one of the two sets.
    Waits(Wanted),
    /// A worker has it since then; it may be wanted again.
    Out(Instant, Option<Wanted>),
}

/// What the queue holds at one moment.
#[derive(Debug, Default)]
pub struct Load {
    /// The keys that are due, with their urgency.
    pub due: Vec<(Key, Severity)>,
    /// The keys that workers have, and for how long.
    pub taken: Vec<(Key, Duration)>,
    /// How long the key that has been due longest has waited.
    pub longest_wait: Duration,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Key, Entry>,
    /// The keys that are not due yet, or were not when this was last checked.
    later: BTreeSet<(Instant, Key)>,
    /// The keys that are due, by urgency and since when they are due.
    due: BTreeMap<Severity, BTreeSet<(Instant, Key)>>,
    turns: u64,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

impl Queue {
    /// Makes a key due now.
    pub fn nudge(&self, key: Key, urgency: Severity) {
        self.due_at(key, urgency, Instant::now());
    }

    /// Makes a key due at a moment, or earlier and more urgently if that was requested before.
    pub fn due_at(&self, key: Key, urgency: Severity, at: Instant) {
        self.state().want(key, Wanted { at, urgency });
        self.changed.notify_one();
    }

    /// The next key that is due; waits until there is one. It must be returned with [`Self::done`].
    pub async fn next(&self) -> Key {
        loop {
            let wait = {
                let mut state = self.state();
                if let Some(key) = state.take(Instant::now()) {
                    // Another worker may take the next one, or must wait for it.
                    self.changed.notify_one();
                    return key;
                }
                state.later.first().map(|(at, _)| *at)
            };
            match wait {
                Some(at) => tokio::select! {
                    biased;
                    () = sleep_until(at) => {}
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// Returns a key that was taken.
    pub fn done(&self, key: &Key) {
        let mut state = self.state();
        if let Some(Entry::Out(_, again)) = state.entries.get(key) {
            let again = *again;
            state.entries.remove(key);
            again.into_iter().for_each(|wanted| state.want(key.clone(), wanted));
        }
        drop(state);
        self.changed.notify_one();
    }

    /// What it holds at this moment.
    pub fn load(&self, now: Instant) -> Load {
        let mut load = Load::default();
        for (key, entry) in &self.state().entries {
            match entry {
                Entry::Waits(wanted) if wanted.at <= now => {
                    load.due.push((key.clone(), wanted.urgency));
                    load.longest_wait = load.longest_wait.max(now - wanted.at);
                }
                Entry::Waits(_) => {}
                Entry::Out(since, _) => load.taken.push((key.clone(), now - *since)),
            }
        }
        load
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn want(&mut self, key: Key, wanted: Wanted) {
        let wanted = match self.entries.get_mut(&key) {
            Some(Entry::Out(_, again)) => {
                *again = Some(again.map_or(wanted, |again| again.and(wanted)));
                return;
            }
            Some(Entry::Waits(before)) => {
                let (before, both) = (*before, before.and(wanted));
                if both == before {
                    return;
                }
                let place = (before.at, key.clone());
                if !self.later.remove(&place)
                    && let Some(due) = self.due.get_mut(&before.urgency)
                {
                    due.remove(&place);
                }
                both
            }
            None => wanted,
        };
        self.later.insert((wanted.at, key.clone()));
        self.entries.insert(key, Entry::Waits(wanted));
    }

    /// The key that is next.
    fn take(&mut self, now: Instant) -> Option<Key> {
        self.sort_out_what_is_due(now);
        let overdue = || self.longest_due().filter(|(since, _)| *since + PATIENCE <= now);
        let of_the_patient = if (self.turns + 1).is_multiple_of(TURNS) { overdue() } else { None };
        let urgency = of_the_patient
            .map(|(_, urgency)| urgency)
            .or_else(|| self.due.iter().find(|(_, keys)| !keys.is_empty()).map(|(urgency, _)| *urgency))?;
        let (_, key) = self.due.get_mut(&urgency)?.pop_first()?;
        self.turns += 1;
        self.entries.insert(key.clone(), Entry::Out(now, None));
        Some(key)
    }

    fn sort_out_what_is_due(&mut self, now: Instant) {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            let Some((at, key)) = self.later.pop_first() else { return };
            if let Some(Entry::Waits(wanted)) = self.entries.get(&key) {
                self.due.entry(wanted.urgency).or_default().insert((at, key));
            }
        }
    }

    /// Since when the key that has been due longest is due, and how urgent it is.
    fn longest_due(&self) -> Option<(Instant, Severity)> {
        self.due.iter().filter_map(|(urgency, keys)| Some((keys.first()?.0, *urgency))).min()
    }
}

#[cfg(test)]
mod storm;

#[cfg(test)]
mod tests {
    use Severity::{P0, P1, P2, P3};
    use tokio::time::{sleep, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn incident(name: &str) -> Key {
        Key::Incident(Name::new("ns", name))
    }

    /// The keys that are taken until nothing is due, each returned at once.
    async fn drained(queue: &Queue) -> Vec<String> {
        let mut names = Vec::new();
        while let Ok(key) = timeout(Duration::ZERO, queue.next()).await {
            queue.done(&key);
            let (Key::Incident(name) | Key::Policy(name)) = key;
            names.push(name.name);
        }
        names
    }

    #[tokio::test(start_paused = true)]
    async fn the_most_severe_comes_first_then_the_one_that_is_due_longest_then_by_name() {
        let queue = Queue::default();
        queue.nudge(incident("d-p3"), P3);
        queue.nudge(incident("c-p3"), P3);
        sleep(SECOND).await;
        queue.nudge(incident("a-p3"), P3);
        queue.nudge(incident("b-p1"), P1);
        sleep(SECOND).await;
        queue.nudge(incident("z-p0"), P0);
        assert_eq!(drained(&queue).await, ["z-p0", "b-p1", "c-p3", "d-p3", "a-p3"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_p0_does_not_wait_behind_a_thousand_p3() {
        let queue = Queue::default();
        for number in 0..1000 {
            queue.nudge(incident(&format!("p3-{number}")), P3);
        }
        queue.nudge(incident("p0"), P0);
        assert_eq!(queue.next().await, incident("p0"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_turns_out_to_be_more_severe_overtakes_and_never_falls_back() {
        let queue = Queue::default();
        queue.nudge(incident("a"), P2);
        queue.nudge(incident("b"), P3);
        queue.nudge(incident("b"), P0);
        queue.nudge(incident("b"), P3);
        assert_eq!(drained(&queue).await, ["b", "a"]);
        // The next time there is no memory of it.
        queue.nudge(incident("a"), P2);
        queue.nudge(incident("b"), P3);
        assert_eq!(drained(&queue).await, ["a", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_p3_is_not_starved_by_p0s_that_never_end() {
        let queue = Queue::default();
        for number in 0..10 {
            queue.nudge(incident(&format!("p0-{number}")), P0);
        }
        queue.nudge(incident("p3"), P3);
        let start = Instant::now();
        let mut turns_of_p0 = 0;
        loop {
            let key = queue.next().await;
            sleep(Duration::from_millis(10)).await;
            queue.done(&key);
            if key == incident("p3") {
                break;
            }
            turns_of_p0 += 1;
            queue.nudge(key, P0);
        }
        let waited = start.elapsed();
        assert!(waited >= PATIENCE, "it came after {waited:?}, although P0s were due");
        assert!(waited < PATIENCE + SECOND, "it came only after {waited:?}");
        assert!(turns_of_p0 > 400, "{turns_of_p0}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_not_handed_out_twice_at_once() {
        let queue = Queue::default();
        queue.nudge(incident("a"), P1);
        let key = queue.next().await;
        queue.nudge(key.clone(), P1);
        assert!(timeout(60 * SECOND, queue.next()).await.is_err());
        queue.done(&key);
        assert_eq!(queue.next().await, key);
        queue.done(&key);
        assert!(timeout(60 * SECOND, queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_due_at_its_earliest_moment() {
        let queue = Queue::default();
        let start = Instant::now();
        for seconds in [30, 10, 20] {
            queue.due_at(incident("a"), P1, start + seconds * SECOND);
        }
        let key = queue.next().await;
        assert_eq!(start.elapsed(), 10 * SECOND);
        for seconds in [30, 15, 20] {
            queue.due_at(incident("a"), P1, start + seconds * SECOND);
        }
        queue.done(&key);
        queue.next().await;
        assert_eq!(start.elapsed(), 15 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_due_later_holds_up_nothing_however_severe_it_is() {
        let queue = Queue::default();
        queue.due_at(incident("p0"), P0, Instant::now() + 10 * SECOND);
        queue.nudge(incident("p3"), P3);
        assert_eq!(drained(&queue).await, ["p3"]);
        sleep(10 * SECOND).await;
        assert_eq!(drained(&queue).await, ["p0"]);
    }
}
