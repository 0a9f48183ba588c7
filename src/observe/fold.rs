//! A digest of each object, and the counts over all digests.
//!
//! Object → digest by uid → counts. A digest holds only what a reading needs,
//! so an event that does not change it (a heartbeat) has no further effect,
//! and the objects themselves are never stored: about 50 bytes for each.

use std::any::Any;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

use firebreak_engine::common::Census;
use jiff::Timestamp;
use serde::Deserialize;

use super::counts::Counts;
use super::doubt::{Doubt, Problems};
use super::kind::{Kind, Values};

/// Any kind of signal with its settings.
pub(super) trait Judge: Debug + Send + Sync {
    /// A fold that has seen nothing yet.
    fn fold(&self) -> Box<dyn Fold>;

    /// The fields of a reading at this moment.
    fn values(&self, counts: &Counts, now: Timestamp) -> Values;

    /// See [`Kind::growing`].
    fn growing(&self) -> &'static [&'static str];

    /// See [`Kind::changes_at`].
    fn changes_at(&self, counts: &Counts, read: &BTreeSet<String>, now: Timestamp) -> Option<Timestamp>;

    /// The objects by their labels at this moment.
    fn census(&self, counts: &Counts, now: Timestamp) -> Census;
}

/// A kind of signal restricted to the objects with these names, or unrestricted if there are none.
#[derive(Clone, Debug)]
pub(super) struct Of<K> {
    /// The kind.
    pub kind: K,
    /// The names.
    pub names: BTreeSet<String>,
}

impl<K: Kind> Judge for Of<K> {
    fn fold(&self) -> Box<dyn Fold> {
        Box::new(Digests {
            of: self.clone(),
            digests: HashMap::new(),
            counts: Counts::default(),
            unreadable: 0,
            nameless: 0,
            unread: Problems::default(),
            unjudged: Problems::default(),
            seen_at: Timestamp::UNIX_EPOCH,
        })
    }

    fn values(&self, counts: &Counts, now: Timestamp) -> Values {
        self.kind.values(counts, now)
    }

    fn growing(&self) -> &'static [&'static str] {
        self.kind.growing()
    }

    fn changes_at(&self, counts: &Counts, read: &BTreeSet<String>, now: Timestamp) -> Option<Timestamp> {
        self.kind.changes_at(counts, read, now)
    }

    fn census(&self, counts: &Counts, now: Timestamp) -> Census {
        self.kind.census(counts, now)
    }
}

/// The digests of one scope, whatever kind of signal they are for.
pub(super) trait Fold: Debug + Send {
    /// Adds or updates an object, given as JSON and seen at this moment.
    fn put(&mut self, object: &str, at: Timestamp) -> Put;

    /// Removes an object, given in its last state. An error means that it is not
    /// known which object it was.
    fn remove(&mut self, object: &str) -> Result<Put, String>;

    /// Takes over from the fold before a new list what only it knows of the objects that are still there.
    fn succeed(&mut self, before: &dyn Fold);

    /// Itself, for the fold after it.
    fn as_any(&self) -> &dyn Any;

    /// The counts over all digests.
    fn counts(&self) -> &Counts;

    /// The objects that cannot be read, so that nothing counts them.
    fn uncounted(&self) -> Doubt;

    /// The objects that cannot be judged.
    fn unjudged(&self) -> Doubt;
}

#[derive(Debug)]
struct Digests<K: Kind> {
    of: Of<K>,
    /// None is an object that exists but cannot be read: it is not counted.
    digests: HashMap<u128, Option<K::Digest>>,
    counts: Counts,
    unreadable: usize,
    nameless: usize,
    /// Of the unreadable and nameless ones.
    unread: Problems,
    /// Of those that are counted, but not judged.
    unjudged: Problems,
    /// When the last object was put.
    seen_at: Timestamp,
}

/// The effect of adding or updating one object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Put {
    /// Whether a reading may have changed.
    pub changed: bool,
    /// The version from which to continue, if it was readable.
    pub version: Option<String>,
    /// Whether the object could be read.
    pub readable: bool,
}

/// The digests of a fold of this kind, in no order.
pub(super) fn digests<K: Kind>(fold: &dyn Fold) -> impl Iterator<Item = &K::Digest> {
    let own = fold.as_any().downcast_ref::<Digests<K>>();
    own.into_iter().flat_map(|own| own.digests.values().flatten())
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

impl<K: Kind> Fold for Digests<K> {
    fn put(&mut self, object: &str, at: Timestamp) -> Put {
        self.seen_at = at;
        let identity = match identify(object) {
            Ok(identity) => identity,
            Err(problem) => {
                self.nameless += 1;
                self.unread.set_nameless(problem);
                return Put { changed: true, version: None, readable: false };
            }
        };
        let key = key(&identity.uid);
        let (digest, problem) = self.digest(&identity, object);
        let readable = !matches!(digest, Some(None));
        let changed = self.put_digest(key, digest, problem);
        Put { changed, version: version(&identity), readable }
    }

    fn remove(&mut self, object: &str) -> Result<Put, String> {
        let identity = identify(object)?;
        let key = key(&identity.uid);
        let changed = self.put_digest(key, None, None);
        Ok(Put { changed, version: version(&identity), readable: true })
    }

    fn succeed(&mut self, before: &dyn Fold) {
        let Some(before) = before.as_any().downcast_ref::<Self>() else { return };
        let Self { of, digests, counts, seen_at, .. } = self;
        counts.remember_gone(&before.counts);
        for (key, old) in &before.digests {
            match (digests.get_mut(key), old) {
                (Some(Some(now)), Some(old)) => {
                    K::count(now, -1, counts);
                    of.kind.succeed(old, now, *seen_at);
                    K::count(now, 1, counts);
                }
                (None, Some(old)) => K::lose(old, counts, *seen_at),
                (Some(None), _) | (_, None) => {}
            }
        }
        of.kind.forget(counts, *seen_at);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }

    fn uncounted(&self) -> Doubt {
        Doubt::of(self.unreadable + self.nameless, &self.unread)
    }

    fn unjudged(&self) -> Doubt {
        Doubt::of(usize::try_from(self.of.kind.unjudged(&self.counts)).unwrap_or(0), &self.unjudged)
    }
}

impl<K: Kind> Digests<K> {
    /// The digest, or none if the signal does not select the object, and what is wrong with it.
    fn digest(
        &mut self,
        identity: &Identity<'_>,
        object: &str,
    ) -> (Option<Option<K::Digest>>, Option<String>) {
        let Of { kind, names } = &mut self.of;
        if !names.is_empty() && !names.contains(&*identity.name) {
            return (None, None);
        }
        let (digest, problem) = match kind.digest(object, self.seen_at) {
            Ok((digest, doubt)) => (Some(digest), doubt),
            Err(problem) => (None, Some(problem)),
        };
        (Some(digest), problem.map(|problem| format!("{}: {problem}", identity.name)))
    }

    /// Replaces the digest of an object and what is wrong with it. Returns whether a reading may have changed.
    fn put_digest(&mut self, key: u128, digest: Option<Option<K::Digest>>, problem: Option<String>) -> bool {
        let (unread, unjudged) = match &digest {
            Some(None) => (problem, None),
            Some(Some(_)) | None => (None, problem),
        };
        self.unread.set(key, unread);
        self.unjudged.set(key, unjudged);
        self.replace(key, digest)
    }

    fn replace(&mut self, key: u128, mut digest: Option<Option<K::Digest>>) -> bool {
        if let (Some(Some(before)), Some(Some(now))) = (self.digests.get(&key), &mut digest) {
            self.of.kind.succeed(before, now, self.seen_at);
        }
        if self.digests.get(&key) == digest.as_ref() {
            return false;
        }
        let is_full = self.digests.len() >= K::MOST && !self.digests.contains_key(&key);
        if is_full && digest.is_some() {
            self.of.kind.left_out(&mut self.counts, self.seen_at);
            return true;
        }
        if let Some(old) = self.digests.remove(&key) {
            self.count(old.as_ref(), -1);
            if let (Some(old), None) = (&old, &digest) {
                K::lose(old, &mut self.counts, self.seen_at);
            }
        }
        if let Some(new) = digest {
            self.count(new.as_ref(), 1);
            self.digests.insert(key, new);
        }
        self.of.kind.forget(&mut self.counts, self.seen_at);
        true
    }

    fn count(&mut self, digest: Option<&K::Digest>, times: i64) {
        match digest {
            Some(digest) => K::count(digest, times, &mut self.counts),
            None => self.unreadable = self.unreadable.saturating_add_signed(times as isize),
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

/// A uid in 16 bytes: its number, or else a hash of it.
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
    use super::super::kinds::{Events, Nodes, Pods};
    use super::*;
    use serde_json::{Value, json};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn nodes(names: &[&str]) -> Box<dyn Fold> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Of { kind: Nodes::default(), names }.fold()
    }

    fn node(uid: &str, ready: Value) -> String {
        json!({"metadata": {"uid": uid, "name": uid, "resourceVersion": "5"},
               "status": {"conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": "x"}]}})
        .to_string()
    }

    #[test]
    fn a_heartbeat_changes_nothing() {
        let mut fold = nodes(&[]);
        assert!(fold.put(&node("a", json!("True")), NOW).changed);
        let later = node("a", json!("True")).replace("\"x\"", "\"y\"");
        assert_eq!(
            fold.put(&later, NOW),
            Put { changed: false, version: Some("5".to_owned()), readable: true }
        );
        assert!(fold.put(&node("a", json!("False")), NOW).changed);
        assert!(fold.remove(&node("a", json!("False"))).unwrap().changed);
        assert!(!fold.remove(&node("a", json!("False"))).unwrap().changed);
        assert_eq!(fold.counts().of("total"), 0);
    }

    #[test]
    fn an_object_that_cannot_be_read_costs_itself_only() {
        let mut fold = nodes(&[]);
        fold.put(&node("good", json!("True")), NOW);
        fold.put(&node("bad", json!(7)), NOW);
        fold.put("{\"metadata\":\"none\"}", NOW);
        assert_eq!(fold.counts().of("total"), 1);
        let told = |fold: &dyn Fold| fold.uncounted().told("read").unwrap();
        assert!(
            told(&*fold).starts_with("2 object(s) cannot be read, for example bad: "),
            "{}",
            told(&*fold)
        );
        fold.put(&node("bad", json!("True")), NOW);
        assert_eq!(fold.counts().of("total"), 2);
        assert!(told(&*fold).starts_with("1 object(s) cannot be read, for example "), "{}", told(&*fold));
        assert_eq!(fold.unjudged(), Doubt::default());
    }

    #[test]
    fn only_the_names_asked_for_are_counted() {
        let mut fold = nodes(&["a"]);
        assert!(fold.put(&node("a", json!("True")), NOW).changed);
        assert!(!fold.put(&node("b", json!("True")), NOW).changed);
        assert_eq!(fold.counts().of("total"), 1);
    }

    #[test]
    fn keys_of_real_uids_are_their_number() {
        assert_eq!(key("00000000-0000-0000-0000-00000000000f"), 15);
        assert_ne!(key("a"), key("b"));
        assert!(std::mem::size_of::<(u128, Option<<Nodes as Kind>::Digest>)>() <= 48);
        assert!(std::mem::size_of::<(u128, Option<<Events as Kind>::Digest>)>() <= 80);
        assert!(std::mem::size_of::<(u128, Option<<Pods as Kind>::Digest>)>() <= 48);
    }
}
