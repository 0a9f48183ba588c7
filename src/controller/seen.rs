//! Policies and Incidents as the watches last showed them.
//!
//! Only a hint where to look: whatever is written is guarded by the version
//! that was read, and a decision that matters reads live. Data derived from
//! all objects of a kind is updated object by object, so the cost of an event does
//! not grow with their number.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::core::{ObjectMeta, Resource};

use super::queue::Name;
use super::tally::{PolicyTally, Tally};
use crate::api::{Incident, RemediationPolicy};
use crate::kubernetes::guarded::Guarded;

/// An object of ours that is kept between events.
pub trait Kept: Resource + Clone + Debug {
    /// The data that is derived from all objects of the kind.
    type Derived: Derived<Self>;

    /// Drops the parts that are not needed here: closed Incidents stay for weeks.
    fn slim(&mut self) {
        self.meta_mut().managed_fields = None;
    }
}

/// Data that is derived from all objects of a kind, and updated with each of them.
pub trait Derived<K>: Debug {
    /// The object changed from one state to the other; none where it does not exist or does not decode.
    fn moved(&mut self, name: &Name, before: Option<&K>, now: Option<&K>);

    /// How many objects do not decode, whenever that number changes.
    fn undecodable(&mut self, count: usize);
}

impl Kept for RemediationPolicy {
    type Derived = PolicyTally;
}

impl Derived<RemediationPolicy> for PolicyTally {
    fn moved(&mut self, _: &Name, before: Option<&RemediationPolicy>, now: Option<&RemediationPolicy>) {
        self.moved(before, now);
    }

    fn undecodable(&mut self, count: usize) {
        self.not_decoded(count);
    }
}

impl Kept for Incident {
    type Derived = OfIncidents;

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

/// The Incidents of each policy, and how many there are of each sort.
#[derive(Debug)]
pub struct OfIncidents {
    /// By namespace and policy; without a policy those that have not chosen one.
    by_policy: BTreeMap<(String, Option<String>), BTreeSet<Name>>,
    tally: Tally,
}

impl OfIncidents {
    /// Of no Incident.
    pub fn new(tally: Tally) -> Self {
        Self { by_policy: BTreeMap::new(), tally }
    }
}

impl Derived<Incident> for OfIncidents {
    fn moved(&mut self, name: &Name, before: Option<&Incident>, now: Option<&Incident>) {
        self.tally.moved(before, now);
        let group = |incident: &Incident| (name.namespace.clone(), incident.policy_name().map(str::to_owned));
        let (before, now) = (before.map(group), now.map(group));
        if before == now {
            return;
        }
        if let Some(group) = before
            && let Some(names) = self.by_policy.get_mut(&group)
        {
            names.remove(name);
            if names.is_empty() {
                self.by_policy.remove(&group);
            }
        }
        if let Some(group) = now {
            self.by_policy.entry(group).or_default().insert(name.clone());
        }
    }

    fn undecodable(&mut self, count: usize) {
        self.tally.not_decoded(count);
    }
}

/// One object of ours, if it can be read at all.
#[derive(Clone, Debug)]
pub enum Seen<K> {
    /// The object.
    Object(Arc<K>),
    /// It does not decode: one faulty object, which affects no other.
    Undecodable {
        /// The part of it that can be read.
        metadata: Arc<ObjectMeta>,
        /// Why.
        why: String,
    },
}

impl<K: Kept> From<Guarded<K>> for Seen<K> {
    fn from(guarded: Guarded<K>) -> Self {
        match guarded {
            Guarded::Decoded(mut object) => {
                object.slim();
                Self::Object(Arc::from(object))
            }
            Guarded::Undecodable { raw, why } => Self::Undecodable { metadata: Arc::new(raw.metadata), why },
        }
    }
}

impl<K: Kept> Seen<K> {
    /// The object, if it decodes.
    pub fn object(&self) -> Option<&Arc<K>> {
        match self {
            Self::Object(object) => Some(object),
            Self::Undecodable { .. } => None,
        }
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Object(object) => object.meta(),
            Self::Undecodable { metadata, .. } => metadata,
        }
    }

    /// The version, as far as it can be compared with another one of the same object.
    pub fn version(&self) -> Option<u64> {
        self.metadata().resource_version.as_ref()?.parse().ok()
    }
}

/// The version of an object, as far as it can be compared with another one of the same object.
pub fn version(metadata: &ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_ref()?.parse().ok()
}

/// All objects of one of our kinds.
#[derive(Debug)]
pub struct Shelf<K: Kept> {
    contents: Mutex<Contents<K>>,
    tried: AtomicBool,
    primed: AtomicBool,
}

#[derive(Debug)]
struct Contents<K: Kept> {
    seen: BTreeMap<Name, Seen<K>>,
    undecodable: usize,
    derived: K::Derived,
}

impl<K: Kept> Contents<K> {
    /// Replaces the entry of a name, and returns the previous one.
    fn replace(&mut self, name: &Name, now: Option<Seen<K>>) -> Option<Seen<K>> {
        let before = match now.clone() {
            Some(now) => self.seen.insert(name.clone(), now),
            None => self.seen.remove(name),
        };
        let object = |seen: &Option<Seen<K>>| seen.as_ref().and_then(Seen::object).map(Arc::clone);
        self.derived.moved(name, object(&before).as_deref(), object(&now).as_deref());
        let is_undecodable = |seen: &Option<Seen<K>>| matches!(seen, Some(Seen::Undecodable { .. }));
        let (was, is) = (is_undecodable(&before), is_undecodable(&now));
        if was != is {
            self.undecodable = if is { self.undecodable + 1 } else { self.undecodable.saturating_sub(1) };
            self.derived.undecodable(self.undecodable);
        }
        before
    }
}

impl<K: Kept> Shelf<K> {
    /// An empty shelf.
    pub fn new(derived: K::Derived) -> Self {
        Self {
            contents: Mutex::new(Contents { seen: BTreeMap::new(), undecodable: 0, derived }),
            tried: AtomicBool::new(false),
            primed: AtomicBool::new(false),
        }
    }

    /// Every object that can be listed was seen once; the API server may not have listed those of some namespaces.
    pub fn set_tried(&self) {
        self.tried.store(true, Ordering::Release);
    }

    /// Whether every object that can be listed was seen once.
    pub fn is_tried(&self) -> bool {
        self.tried.load(Ordering::Acquire)
    }

    /// Every object that exists was seen once.
    pub fn set_primed(&self) {
        self.primed.store(true, Ordering::Release);
    }

    /// Whether every object that exists was seen once.
    pub fn is_primed(&self) -> bool {
        self.primed.load(Ordering::Acquire)
    }

    /// What was last seen under this name.
    pub fn get(&self, name: &Name) -> Option<Seen<K>> {
        self.contents().seen.get(name).cloned()
    }

    /// The object of this name as last seen, if it decodes.
    pub fn object(&self, name: &Name) -> Option<Arc<K>> {
        self.contents().seen.get(name).and_then(Seen::object).cloned()
    }

    /// All objects of a namespace that decode.
    pub fn of_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let contents = self.contents();
        let from = contents.seen.range(Name::new(namespace, "")..);
        let theirs = from.take_while(|(name, _)| name.namespace == namespace);
        theirs.filter_map(|(_, seen)| seen.object().cloned()).collect()
    }

    /// Everything that decodes.
    pub fn all(&self) -> Vec<(Name, Arc<K>)> {
        let contents = self.contents();
        let all = contents.seen.iter();
        all.filter_map(|(name, seen)| Some((name.clone(), Arc::clone(seen.object()?)))).collect()
    }

    /// The names of everything.
    pub fn names(&self) -> Vec<Name> {
        self.contents().seen.keys().cloned().collect()
    }

    /// Stores a new state, and returns the previous one.
    pub fn put(&self, name: &Name, seen: Seen<K>) -> Option<Seen<K>> {
        self.contents().replace(name, Some(seen))
    }

    /// The object was deleted. Returns its last state.
    pub fn remove(&self, name: &Name) -> Option<Seen<K>> {
        self.contents().replace(name, None)
    }

    /// The object with this uid was deleted, whatever else has its name by now. Returns its last state.
    pub fn remove_exactly(&self, name: &Name, uid: &str) -> Option<Seen<K>> {
        let mut contents = self.contents();
        let is_it = contents.seen.get(name).is_some_and(|seen| seen.metadata().uid.as_deref() == Some(uid));
        if is_it { contents.replace(name, None) } else { None }
    }

    /// Stores an object that we wrote, which the watch may not have shown yet, and returns the previous state. None if
    /// the watch has already shown something newer, or the deletion of the object: that stays, because nothing would
    /// ever correct the older state.
    pub fn note(&self, name: &Name, mut object: K) -> Option<Seen<K>> {
        object.slim();
        let noted = Seen::Object(Arc::new(object));
        let mut contents = self.contents();
        let is_news = contents.seen.get(name).is_some_and(|seen| seen.version() <= noted.version());
        if is_news { contents.replace(name, Some(noted)) } else { None }
    }

    fn contents(&self) -> MutexGuard<'_, Contents<K>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf<Incident> {
    /// The Incidents that belong to this policy, including closed ones.
    pub fn of_policy(&self, policy: &Name) -> Vec<Arc<Incident>> {
        self.of(&policy.namespace, Some(&policy.name))
    }

    /// The Incidents of a namespace that have not chosen a policy.
    pub fn without_policy(&self, namespace: &str) -> Vec<Arc<Incident>> {
        self.of(namespace, None)
    }

    fn of(&self, namespace: &str, policy: Option<&str>) -> Vec<Arc<Incident>> {
        let contents = self.contents();
        let names = contents.derived.by_policy.get(&(namespace.to_owned(), policy.map(str::to_owned)));
        let names = names.into_iter().flatten();
        names.filter_map(|name| contents.seen.get(name)?.object().cloned()).collect()
    }
}

#[cfg(test)]
mod tests;
