//! Policies and Incidents as the watches last showed them.
//!
//! Only a hint what to look at: whatever is written is guarded by the version
//! that was read, and a decision that matters reads live.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::core::{DynamicObject, Resource};
use serde::de::DeserializeOwned;

use super::queue::Name;

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

impl<K: Resource + DeserializeOwned> Seen<K> {
    /// Decodes one object.
    pub fn decode(raw: DynamicObject) -> Self {
        match raw.clone().try_parse() {
            Ok(object) => Self::Object(Arc::new(object)),
            Err(error) => Self::Undecodable { raw: Arc::new(raw), why: error.to_string() },
        }
    }
}

/// All objects of one of our kinds.
#[derive(Debug)]
pub struct Shelf<K>(Mutex<BTreeMap<Name, Seen<K>>>);

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone> Shelf<K> {
    /// What was last seen under this name.
    pub fn get(&self, name: &Name) -> Option<Seen<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All objects of a namespace that decode.
    pub fn of_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = shelf.iter().filter(|(name, _)| name.namespace == namespace);
        seen.filter_map(|(_, seen)| match seen {
            Seen::Object(object) => Some(Arc::clone(object)),
            Seen::Undecodable { .. } => None,
        })
        .collect()
    }

    /// Everything that decodes.
    pub fn all(&self) -> Vec<(Name, Arc<K>)> {
        let shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Takes a new state in.
    pub fn put(&self, name: Name, seen: Seen<K>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, seen);
    }

    /// The object is gone.
    pub fn remove(&self, name: &Name) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
