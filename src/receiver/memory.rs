//! Answers that are kept for a short while, in bounded memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long an answer counts. A token that was revoked, or a right that was taken away, is refused so much later.
pub const COUNTS_FOR: Duration = Duration::from_secs(60);
/// How long a refusal counts: so soon a new right is noticed.
pub const REFUSED_FOR: Duration = Duration::from_secs(5);
/// How many answers of each kind are kept, and how many refusals.
pub const MOST: usize = 256;

/// Why no answer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It was accepted once, but that does not count any more.
    Lapsed,
    /// It was never accepted, as far as this is remembered.
    New,
}

/// Answers by question. Refusals have their own place, so that no number of them makes it forget what was accepted.
#[derive(Debug)]
pub struct Memory<K, V>(Mutex<Kept<K, V>>);

#[derive(Debug)]
struct Kept<K, V> {
    accepted: BTreeMap<K, (Instant, V)>,
    refused: BTreeMap<K, (Instant, ())>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Kept { accepted: BTreeMap::new(), refused: BTreeMap::new() }))
    }
}

impl<K: Ord + Clone, V: Clone> Memory<K, V> {
    /// The answer; none is a refusal.
    ///
    /// # Errors
    /// It is not known.
    pub fn recall(&self, key: &K) -> Result<Option<V>, Unknown> {
        let (kept, now) = (self.lock(), Instant::now());
        match (kept.accepted.get(key), kept.refused.get(key)) {
            (Some((until, value)), _) if *until > now => Ok(Some(value.clone())),
            (_, Some((until, ()))) if *until > now => Ok(None),
            (Some(_), _) => Err(Unknown::Lapsed),
            (None, _) => Err(Unknown::New),
        }
    }

    /// Keeps an answer; none is a refusal.
    pub fn keep(&self, key: K, answer: Option<V>) {
        let mut kept = self.lock();
        match answer {
            Some(value) => put(&mut kept.accepted, key, value, COUNTS_FOR),
            None => {
                kept.accepted.remove(&key);
                put(&mut kept.refused, key, (), REFUSED_FOR);
            }
        }
    }

    /// How many are kept: accepted, refused.
    #[cfg(test)]
    pub fn len(&self) -> (usize, usize) {
        let kept = self.lock();
        (kept.accepted.len(), kept.refused.len())
    }

    fn lock(&self) -> MutexGuard<'_, Kept<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// If there are too many, the one that would be too old first gives way.
fn put<K: Ord + Clone, V>(kept: &mut BTreeMap<K, (Instant, V)>, key: K, value: V, length: Duration) {
    if kept.len() >= MOST && !kept.contains_key(&key) {
        let first = kept.iter().min_by_key(|(_, (until, _))| *until).map(|(key, _)| key.clone());
        first.into_iter().for_each(|first| drop(kept.remove(&first)));
    }
    kept.insert(key, (Instant::now() + length, value));
}
