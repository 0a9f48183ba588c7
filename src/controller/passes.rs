//! The keys whose pass is running, and the newest version of their objects that the watch has shown meanwhile.
//!
//! The watch shows what a pass writes, usually even before the API server answers the write. That must not make the
//! object due again, because the pass has already decided on this version. A newer version must.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::queue::Key;

/// The passes that are running.
#[derive(Debug, Default)]
pub struct Passes {
    under_way: Mutex<BTreeMap<Key, Shown>>,
}

/// The newest version of an object that was shown during its pass.
type Shown = Option<u64>;

impl Passes {
    /// A pass begins.
    pub fn begin(&self, key: &Key) {
        self.under_way().insert(key.clone(), None);
    }

    /// Notes that the watch has shown this version of the object. Returns whether a pass of the object is running.
    pub fn take_in(&self, key: &Key, version: Option<u64>) -> bool {
        let mut under_way = self.under_way();
        let Some(shown) = under_way.get_mut(key) else { return false };
        // A version that cannot be compared may be newer than any other.
        *shown = (*shown).max(Some(version.unwrap_or(u64::MAX)));
        true
    }

    /// Ends the pass. Returns whether the watch has shown a newer version than the one that the pass has decided on.
    /// Without a decision, every version counts as newer.
    #[must_use]
    pub fn end(&self, key: &Key, decided: Option<u64>) -> bool {
        let shown = self.under_way().remove(key).flatten();
        shown.is_some_and(|shown| decided.is_none_or(|decided| shown > decided))
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<Key, Shown>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::Name;
    use super::*;

    #[test]
    fn only_what_is_newer_than_the_decision_makes_the_object_due_again() {
        let (passes, key) = (Passes::default(), Key::Incident(Name::new("ns", "i")));
        assert!(!passes.take_in(&key, Some(7)), "no pass is under way");
        let ends = |shown: &[Option<u64>], decided| {
            passes.begin(&key);
            assert!(shown.iter().all(|version| passes.take_in(&key, *version)));
            passes.end(&key, decided)
        };
        assert!(!ends(&[], None), "nothing was shown");
        assert!(!ends(&[Some(7), Some(9)], Some(9)), "it is what the pass has written");
        assert!(ends(&[Some(10), Some(9)], Some(9)), "somebody has written it since");
        assert!(ends(&[Some(7)], None), "the pass has not decided");
        assert!(ends(&[None], Some(9)), "nobody knows whether it is newer");
        assert!(!passes.take_in(&key, Some(11)), "the pass has ended");
    }
}
