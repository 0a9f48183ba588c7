//! A digest of each object, and what they count up to.
//!
//! Object → digest by uid → counts. The digest holds what a reading needs and
//! nothing else, so an event that leaves it as it was (a heartbeat) ends here,
//! and the objects themselves are never kept: some 40 bytes for each.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use firebreak_engine::expression::{FieldValue, ObjectCondition};
use firebreak_engine::verdict::Verdict;
use serde::Deserialize;

use super::nodes::{self, NodeDigest, Pools};
use super::objects;
use super::workloads::{self, WorkloadDigest};
use crate::workloads::Profile;

/// What is looked at in each object.
#[derive(Clone, Debug)]
pub(super) enum Judge {
    /// Nodes.
    Nodes,
    /// Objects of any kind.
    Objects {
        /// Only these; empty for all.
        names: BTreeSet<String>,
        /// What healthy means, if anything says so.
        healthy: Option<ObjectCondition>,
    },
    /// Objects that run replicas.
    Workloads {
        /// Only these; empty for all.
        names: BTreeSet<String>,
        /// Where they are, and what healthy and stuck mean.
        profile: Arc<Profile>,
    },
}

impl Judge {
    /// The kind of signal, for the metric.
    pub(super) fn signal_kind(&self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Objects { .. } => "objects",
            Self::Workloads { .. } => "workloads",
        }
    }

    /// The fields of a reading.
    pub(super) fn values(&self, counts: &Counts) -> BTreeMap<String, FieldValue> {
        match self {
            Self::Nodes => nodes::values(counts),
            Self::Objects { healthy, .. } => objects::values(counts, healthy.is_some()),
            Self::Workloads { profile, .. } => workloads::values(counts, profile),
        }
    }

    /// Whether an object of this name is in the scope.
    fn means(&self, name: &str) -> bool {
        match self {
            Self::Nodes => true,
            Self::Objects { names, .. } | Self::Workloads { names, .. } => {
                names.is_empty() || names.contains(name)
            }
        }
    }

    /// How many objects could not be judged.
    fn unjudged(&self, counts: &Counts) -> i64 {
        match self {
            Self::Nodes | Self::Objects { healthy: None, .. } => 0,
            Self::Objects { healthy: Some(_), .. } => counts.of("unknown"),
            Self::Workloads { .. } => counts.of("inDoubt"),
        }
    }
}

/// Sums over digests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counts {
    fields: BTreeMap<&'static str, i64>,
    /// Pieces per resource, and how many objects offer it.
    offered: BTreeMap<String, (i64, i64)>,
}

impl Counts {
    /// Adds to a field.
    pub(super) fn add(&mut self, field: &'static str, amount: i64) {
        *self.fields.entry(field).or_default() += amount;
    }

    /// Adds what one object offers of a resource.
    pub(super) fn offer(&mut self, resource: &str, pieces: i64, times: i64) {
        let (sum, objects) = self.offered.get(resource).copied().unwrap_or_default();
        let (sum, objects) = (sum.saturating_add(pieces.saturating_mul(times)), objects + times);
        if objects == 0 {
            self.offered.remove(resource);
        } else {
            self.offered.insert(resource.to_owned(), (sum, objects));
        }
    }

    /// A field; 0 if nothing was added.
    pub(super) fn of(&self, field: &str) -> i64 {
        self.fields.get(field).copied().unwrap_or_default()
    }

    /// One field over another; none over nothing.
    pub(super) fn ratio(&self, part: &str, whole: &str) -> Option<f64> {
        (self.of(whole) > 0).then(|| self.of(part) as f64 / self.of(whole) as f64)
    }

    /// Pieces per resource.
    pub(super) fn offered(&self) -> BTreeMap<String, i64> {
        self.offered.iter().map(|(resource, (sum, _))| (resource.clone(), *sum)).collect()
    }

    /// Adds the counts of another scope.
    pub(super) fn absorb(&mut self, other: &Self) {
        for (field, amount) in &other.fields {
            self.add(field, *amount);
        }
        for (resource, (sum, objects)) in &other.offered {
            let (own_sum, own_objects) = self.offered.get(resource).copied().unwrap_or_default();
            self.offered.insert(resource.clone(), (own_sum.saturating_add(*sum), own_objects + objects));
        }
    }
}

#[derive(Debug, PartialEq)]
enum Digest {
    Node(NodeDigest),
    Object(Verdict),
    Workload(WorkloadDigest),
    /// It is there, but cannot be read: counted nowhere.
    Unreadable,
}

/// The digests of one scope.
#[derive(Debug)]
pub(super) struct Fold {
    judge: Judge,
    pools: Pools,
    digests: HashMap<u128, Digest>,
    counts: Counts,
    unreadable: usize,
    nameless: usize,
    problem: Option<String>,
}

/// What became of one object that was put in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Put {
    /// Whether a reading may have changed.
    pub changed: bool,
    /// The version to go on from, if it was readable.
    pub version: Option<String>,
    /// Whether the object could be read.
    pub readable: bool,
}

#[derive(Deserialize)]
struct Identified<'a> {
    #[serde(borrow)]
    metadata: Identity<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
}

impl Fold {
    /// Nothing seen yet.
    pub(super) fn new(judge: Judge) -> Self {
        Self {
            judge,
            pools: Pools::default(),
            digests: HashMap::new(),
            counts: Counts::default(),
            unreadable: 0,
            nameless: 0,
            problem: None,
        }
    }

    /// Takes in an object, given as JSON, as it is now.
    pub(super) fn put(&mut self, object: &str) -> Put {
        let identity = match identify(object) {
            Ok(identity) => identity,
            Err(problem) => {
                self.nameless += 1;
                self.problem = Some(problem);
                return Put { changed: true, version: None, readable: false };
            }
        };
        let digest = self.digest(&identity, object);
        let readable = digest != Some(Digest::Unreadable);
        let changed = self.replace(key(&identity.uid), digest);
        Put { changed, version: version(&identity), readable }
    }

    /// Takes out an object, given as it was last. An error means that nobody
    /// knows which one it was.
    pub(super) fn remove(&mut self, object: &str) -> Result<Put, String> {
        let identity = identify(object)?;
        let changed = self.replace(key(&identity.uid), None);
        Ok(Put { changed, version: version(&identity), readable: true })
    }

    /// What the digests count up to.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many objects cannot be read or judged, and what is wrong with one of them.
    pub(super) fn in_doubt(&self) -> Option<(usize, &str)> {
        let unjudged = usize::try_from(self.judge.unjudged(&self.counts)).unwrap_or(0);
        let count = self.unreadable + self.nameless + unjudged;
        (count > 0).then(|| (count, self.problem.as_deref().unwrap_or_default()))
    }

    fn digest(&mut self, identity: &Identity<'_>, object: &str) -> Option<Digest> {
        if !self.judge.means(&identity.name) {
            return None;
        }
        let read = match &self.judge {
            Judge::Nodes => self.pools.digest(object).map(|node| (Digest::Node(node), None)),
            Judge::Objects { healthy, .. } => objects::digest(healthy.as_ref(), object)
                .map(|(health, doubt)| (Digest::Object(health), doubt)),
            Judge::Workloads { profile, .. } => workloads::digest(profile, object)
                .map(|(workload, doubt)| (Digest::Workload(workload), doubt)),
        };
        let (digest, problem) = match read {
            Ok((digest, doubt)) => (digest, doubt),
            Err(problem) => (Digest::Unreadable, Some(problem)),
        };
        if let Some(problem) = problem {
            self.problem = Some(format!("{}: {problem}", identity.name));
        }
        Some(digest)
    }

    fn replace(&mut self, key: u128, digest: Option<Digest>) -> bool {
        if self.digests.get(&key) == digest.as_ref() {
            return false;
        }
        if let Some(old) = self.digests.remove(&key) {
            self.count(&old, -1);
        }
        if let Some(new) = digest {
            self.count(&new, 1);
            self.digests.insert(key, new);
        }
        true
    }

    fn count(&mut self, digest: &Digest, times: i64) {
        match digest {
            Digest::Node(node) => nodes::count(node, times, &mut self.counts),
            Digest::Object(health) => objects::count(*health, times, &mut self.counts),
            Digest::Workload(workload) => workloads::count(workload, times, &mut self.counts),
            Digest::Unreadable => self.unreadable = self.unreadable.saturating_add_signed(times as isize),
        }
    }
}

fn identify(object: &str) -> Result<Identity<'_>, String> {
    let object: Identified<'_> = serde_json::from_str(object).map_err(|error| error.to_string())?;
    if object.metadata.uid.is_empty() { Err("it has no uid".to_owned()) } else { Ok(object.metadata) }
}

fn version(identity: &Identity<'_>) -> Option<String> {
    (!identity.resource_version.is_empty()).then(|| identity.resource_version.clone().into_owned())
}

/// A uid in 16 bytes: as the number that it is, or else a hash of it.
fn key(uid: &str) -> u128 {
    let digits: String = uid.chars().filter(|digit| *digit != '-').collect();
    if digits.len() == 32
        && let Ok(number) = u128::from_str_radix(&digits, 16)
    {
        return number;
    }
    let hash = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, uid).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    hash(0) << 64 | hash(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(uid: &str, ready: Value) -> String {
        json!({"metadata": {"uid": uid, "name": uid, "resourceVersion": "5"},
               "status": {"conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": "x"}]}})
        .to_string()
    }

    #[test]
    fn a_heartbeat_changes_nothing() {
        let mut fold = Fold::new(Judge::Nodes);
        assert!(fold.put(&node("a", json!("True"))).changed);
        let later = node("a", json!("True")).replace("\"x\"", "\"y\"");
        assert_eq!(fold.put(&later), Put { changed: false, version: Some("5".to_owned()), readable: true });
        assert!(fold.put(&node("a", json!("False"))).changed);
        assert!(fold.remove(&node("a", json!("False"))).unwrap().changed);
        assert!(!fold.remove(&node("a", json!("False"))).unwrap().changed);
        assert_eq!(fold.counts().of("total"), 0);
    }

    #[test]
    fn an_object_that_cannot_be_read_costs_itself_only() {
        let mut fold = Fold::new(Judge::Nodes);
        fold.put(&node("good", json!("True")));
        fold.put(&node("bad", json!(7)));
        fold.put("{\"metadata\":\"none\"}");
        assert_eq!(fold.counts().of("total"), 1);
        assert_eq!(fold.in_doubt().unwrap().0, 2);
        fold.put(&node("bad", json!("True")));
        assert_eq!((fold.counts().of("total"), fold.in_doubt().unwrap().0), (2, 1));
    }

    #[test]
    fn only_the_names_asked_for_are_counted() {
        let mut fold = Fold::new(Judge::Objects { names: BTreeSet::from(["a".to_owned()]), healthy: None });
        assert!(fold.put(&node("a", json!(1))).changed);
        assert!(!fold.put(&node("b", json!(1))).changed);
        assert_eq!(fold.counts().of("total"), 1);
    }

    #[test]
    fn keys_of_real_uids_are_their_number() {
        assert_eq!(key("00000000-0000-0000-0000-00000000000f"), 15);
        assert_ne!(key("a"), key("b"));
        assert!(std::mem::size_of::<(u128, Digest)>() <= 64);
    }
}
