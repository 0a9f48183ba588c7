//! Policies and Incidents as the watches last showed them.
//!
//! Only a hint what to look at: whatever is written is guarded by the version
//! that was read, and a decision that matters reads live.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kube::core::{DynamicObject, Resource};
use serde::de::DeserializeOwned;

use super::queue::Name;
use crate::api::{Incident, RemediationPolicy};

/// An object of ours that is kept between events.
pub trait Kept: Resource {
    /// Drops what nobody reads here: closed Incidents stay for weeks.
    fn slim(&mut self) {
        self.meta_mut().managed_fields = None;
    }
}

impl Kept for RemediationPolicy {}

impl Kept for Incident {
    fn slim(&mut self) {
        self.metadata.managed_fields = None;
        if let Some(status) = &mut self.status {
            status.conditions = Vec::new();
            let state = &mut status.state;
            state.changes = Vec::new();
            state.timeline = Vec::new();
            state.steps = Vec::new();
            state.signals = Vec::new();
            state.rules = Vec::new();
        }
    }
}

/// One object of ours, if it can be read at all.
#[derive(Clone, Debug)]
pub enum Seen<K> {
    /// The object.
    Object(Arc<K>),
    /// It does not decode: one object that is wrong, and nothing else suffers.
    Undecodable {
        /// As it came.
        raw: Arc<DynamicObject>,
        /// Why.
        why: String,
    },
}

impl<K: Kept + DeserializeOwned> Seen<K> {
    /// Decodes one object.
    pub fn decode(raw: DynamicObject) -> Self {
        match raw.clone().try_parse::<K>() {
            Ok(mut object) => {
                object.slim();
                Self::Object(Arc::new(object))
            }
            Err(error) => Self::Undecodable { raw: Arc::new(raw), why: error.to_string() },
        }
    }
}

impl<K: Kept> Seen<K> {
    fn version(&self) -> Option<u64> {
        let metadata = match self {
            Self::Object(object) => object.meta(),
            Self::Undecodable { raw, .. } => &raw.metadata,
        };
        metadata.resource_version.as_ref()?.parse().ok()
    }
}

/// All objects of one of our kinds.
#[derive(Debug)]
pub struct Shelf<K> {
    seen: Mutex<BTreeMap<Name, Seen<K>>>,
    primed: AtomicBool,
}

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self { seen: Mutex::default(), primed: AtomicBool::new(false) }
    }
}

impl<K: Kept> Shelf<K> {
    /// Takes in what we wrote, which the watch may not have shown yet. If it has
    /// shown something newer already, or that the object is gone, that stays:
    /// nothing would ever come to correct the older state.
    pub fn note(&self, name: Name, mut object: K) {
        object.slim();
        let noted = Seen::Object(Arc::new(object));
        if let Some(seen) = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&name)
            && seen.version() <= noted.version()
        {
            *seen = noted;
        }
    }
}

impl<K: Clone> Shelf<K> {
    /// Everything that there is was seen once.
    pub fn set_primed(&self) {
        self.primed.store(true, Ordering::Release);
    }

    /// Whether everything that there is was seen once.
    pub fn is_primed(&self) -> bool {
        self.primed.load(Ordering::Acquire)
    }

    /// What was last seen under this name.
    pub fn get(&self, name: &Name) -> Option<Seen<K>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All objects of a namespace that decode.
    pub fn of_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let shelf = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = shelf.iter().filter(|(name, _)| name.namespace == namespace);
        seen.filter_map(|(_, seen)| match seen {
            Seen::Object(object) => Some(Arc::clone(object)),
            Seen::Undecodable { .. } => None,
        })
        .collect()
    }

    /// Everything that decodes.
    pub fn all(&self) -> Vec<(Name, Arc<K>)> {
        let shelf = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        shelf
            .iter()
            .filter_map(|(name, seen)| match seen {
                Seen::Object(object) => Some((name.clone(), Arc::clone(object))),
                Seen::Undecodable { .. } => None,
            })
            .collect()
    }

    /// The names of everything.
    pub fn names(&self) -> Vec<Name> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Takes a new state in.
    pub fn put(&self, name: Name, seen: Seen<K>) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(name, seen);
    }

    /// The object is gone.
    pub fn remove(&self, name: &Name) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(version: &str) -> RemediationPolicy {
        let meta = json!({"name": "p", "namespace": "ns", "resourceVersion": version});
        serde_json::from_value(json!({"apiVersion": "firebreak.dev/v1alpha1", "kind": "RemediationPolicy",
            "metadata": meta, "spec": {}}))
        .unwrap()
    }

    fn version(shelf: &Shelf<RemediationPolicy>) -> Option<u64> {
        shelf.get(&Name::new("ns", "p")).and_then(|seen| seen.version())
    }

    #[test]
    fn what_we_wrote_never_hides_what_came_after_it() {
        let (shelf, name) = (Shelf::default(), Name::new("ns", "p"));
        shelf.put(name.clone(), Seen::Object(Arc::new(policy("9"))));
        shelf.note(name.clone(), policy("10"));
        assert_eq!(version(&shelf), Some(10));
        shelf.put(name.clone(), Seen::Object(Arc::new(policy("12"))));
        shelf.note(name.clone(), policy("11"));
        assert_eq!(version(&shelf), Some(12));
        shelf.remove(&name);
        shelf.note(name, policy("13"));
        assert_eq!(version(&shelf), None, "it is gone");
    }
}
