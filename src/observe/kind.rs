//! What a kind of signal that is counted from objects must define.

use std::collections::BTreeMap;
use std::fmt::Debug;

use firebreak_engine::expression::FieldValue;

use super::counts::Counts;

/// The fields of a reading.
pub(super) type Values = BTreeMap<String, FieldValue>;

/// The digest of each object, and the counts over all digests.
pub(super) trait Kind: Clone + Debug + Send + Sync + 'static {
    /// The digest of one object. A cluster has many objects, so it must be small.
    type Digest: Debug + PartialEq + Send;

    /// The digest of an object, given as JSON, and what is Unknown about it. An object of another form
    /// is an error, for people.
    fn digest(&mut self, object: &str) -> Result<(Self::Digest, Option<String>), String>;

    /// Adds an object to the counts, or removes it with `times` -1.
    fn count(digest: &Self::Digest, times: i64, counts: &mut Counts);

    /// How many objects could not be judged.
    fn unjudged(&self, counts: &Counts) -> i64;

    /// The fields of a reading: those of the engine's shape of the kind, without what the engine adds.
    fn values(&self, counts: &Counts) -> Values;

    /// What distinguishes it from others of its kind that read the same objects.
    fn identity(&self) -> Option<String> {
        None
    }
}
