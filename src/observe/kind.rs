//! What a kind of signal that is counted from objects has to say.

use std::collections::BTreeMap;
use std::fmt::Debug;

use firebreak_engine::expression::FieldValue;

use super::counts::Counts;

/// The fields of a reading.
pub(super) type Values = BTreeMap<String, FieldValue>;

/// What is kept of each object, and what that counts up to.
pub(super) trait Kind: Clone + Debug + Send + Sync + 'static {
    /// What is kept of one object. A cluster has many, so it must be small.
    type Digest: Debug + PartialEq + Send;

    /// What is kept of an object, given as JSON, and what cannot be told of it. An object that is no such object
    /// is an error, for people.
    fn digest(&mut self, object: &str) -> Result<(Self::Digest, Option<String>), String>;

    /// Adds an object to the counts, or takes it out with `times` -1.
    fn count(digest: &Self::Digest, times: i64, counts: &mut Counts);

    /// How many objects could not be judged.
    fn unjudged(&self, counts: &Counts) -> i64;

    /// The fields of a reading: those of the engine's shape of the kind, but for what the engine adds.
    fn values(&self, counts: &Counts) -> Values;

    /// What tells it apart from others of its kind that look at the same objects.
    fn identity(&self) -> Option<String> {
        None
    }
}
