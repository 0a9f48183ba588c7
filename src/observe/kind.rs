//! What a kind of signal that is counted from objects must define.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use firebreak_engine::common::Census;
use firebreak_engine::expression::FieldValue;
use jiff::Timestamp;

use super::counts::Counts;

/// The fields of a reading.
pub(super) type Values = BTreeMap<String, FieldValue>;

/// The count of those idle objects that somebody deletes, in a reading if there are any. No expression reads it.
pub(super) const DELETING: &str = "deleting";

/// The digest of each object, and the counts over all digests.
pub(super) trait Kind: Clone + Debug + Send + Sync + 'static {
    /// How many objects are kept at most. A new one beyond it is left out.
    const MOST: usize = usize::MAX;

    /// The digest of one object. A cluster has many objects, so it must be small.
    type Digest: Debug + PartialEq + Send;

    /// The digest of an object, given as JSON and seen at this moment, and what is Unknown about it. An object of
    /// another form is an error, for people.
    fn digest(&mut self, object: &str, at: Timestamp) -> Result<(Self::Digest, Option<String>), String>;

    /// Adds an object to the counts, or removes it with `times` -1.
    fn count(digest: &Self::Digest, times: i64, counts: &mut Counts);

    /// Takes over from the digest before what only it knows of the object, and dates to this moment what has
    /// happened since.
    fn succeed(&self, _before: &Self::Digest, _now: &mut Self::Digest, _at: Timestamp) {}

    /// Takes note of an object that is gone.
    fn lose(_digest: &Self::Digest, _counts: &mut Counts, _at: Timestamp) {}

    /// Drops from the counts what no longer counts after this moment, whatever happens.
    fn forget(&self, _counts: &mut Counts, _at: Timestamp) {}

    /// An object was left out at this moment, because there is no room.
    fn left_out(&self, _counts: &mut Counts, _at: Timestamp) {}

    /// Which objects are read at all, by their fields, as the API wants it.
    fn fields(&self) -> String {
        String::new()
    }

    /// How many objects could not be judged.
    fn unjudged(&self, counts: &Counts) -> i64;

    /// The fields of a reading at this moment: those of the engine's shape of the kind, without what the engine adds.
    fn values(&self, counts: &Counts, now: Timestamp) -> Values;

    /// The objects by their labels at this moment, if the kind keeps labels.
    fn census(&self, _counts: &Counts, _now: Timestamp) -> Census {
        Census::default()
    }

    /// The fields that grow as long as nothing happens, so that they differ whenever somebody looks.
    fn growing(&self) -> &'static [&'static str] {
        &[]
    }

    /// When one of the fields that are read changes by time alone; none if none does.
    fn changes_at(&self, _counts: &Counts, _read: &BTreeSet<String>, _now: Timestamp) -> Option<Timestamp> {
        None
    }

    /// What distinguishes it from others of its kind that read the same objects.
    fn identity(&self) -> Option<String> {
        None
    }
}
