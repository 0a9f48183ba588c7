//! The conditions that users write, in CEL.
//!
//! There are two kinds: a [`Condition`] is about `signals` (severity rules, `when` of steps and
//! of recovery, `cel` checks), an [`ObjectCondition`] is about one `object` (`healthy` of a
//! signal, `where` of targets). Both are parsed and checked once, when a policy is read, and
//! then evaluated at every event: about 1 µs, plus the conversion of the parts of the object that it reads.
//!
//! - `check` rejects what would surprise the user or could run for long, because a running
//!   evaluation cannot be stopped. It bounds the number of steps, not the size of each: comparing
//!   whole lists in two comprehensions inside each other can still take seconds.
//! - `evaluate` runs an accepted expression and turns the outcome into an [`Evaluation`].
//!
//! Evaluation is three-valued. A value that is missing is an absent key, reading it is an error
//! in CEL, and CEL's `&&` and `||` yield a result despite an error on one side if the other side
//! decides. That is Kleene's logic with "error" as Unknown, so CEL's own operators are used as
//! they are; what remains is to distinguish missing data from a mistake in the expression.
//!
//! Left out: optional syntax (`a.?b`, which would turn Unknown into a default unnoticed), messages
//! (`Type{…}`), extension libraries, and time. Reasons never contain values of an object, which
//! may be a Secret; they name types and fields. CEL gives the keys of a map in no defined order,
//! so an expression should not depend on it.

mod bounds;
mod check;
mod error;
mod evaluate;
mod kind;
mod partial;
#[cfg(test)]
mod tests;
mod tree;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::verdict::Verdict;

use check::{Checked, Scope, check};
pub use error::ExpressionError;
pub use kind::Kind;
pub use partial::{AT_MOST, MAY_BE_MORE, UNBOUNDED, UNDATED};

/// What kind of value a field of a signal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A count.
    Int,
    /// A ratio or a measured value.
    Double,
    /// Counts by name, read with a key: `allocatable["nvidia.com/gpu"]`.
    IntMap,
    /// A truth.
    Boolean,
}

/// The fields that a declared signal gives to expressions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignalShape {
    /// Kind of value by name of the field.
    pub fields: BTreeMap<&'static str, FieldKind>,
}

impl SignalShape {
    /// The fields that the engine adds to a reading, as far as its kind has them.
    pub const ADDED: [&'static str; 3] = [Self::EXPECTED, Self::MISSING, Self::KNOWN];
    /// How many objects are expected. Only a kind of which a number of objects is expected has it.
    pub const EXPECTED: &'static str = "expected";
    /// How many of them are not there.
    pub const MISSING: &'static str = "missing";
    /// Whether the signal can be read. Every kind has it.
    pub const KNOWN: &'static str = "known";

    /// Whether a number of objects is expected of the kind, and some may be missing.
    pub fn expects_objects(&self) -> bool {
        self.fields.contains_key(Self::EXPECTED)
    }
}

/// The value of a field in a reading. A missing value is an absent key, never a number; a
/// Double that is NaN counts as missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FieldValue {
    /// A truth.
    Boolean(bool),
    /// A count.
    Int(i64),
    /// A ratio or a measured value.
    Double(f64),
    /// Counts by name.
    Map(BTreeMap<String, i64>),
}

/// The result of an expression and, if it is Unknown, the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// The truth, or Unknown.
    pub verdict: Verdict,
    /// Why the verdict is Unknown, in one line.
    pub why: Option<String>,
    /// It is Unknown because the expression itself failed (`RuleError`), not because data is missing.
    pub rule_error: bool,
}

impl Evaluation {
    fn known(truth: bool) -> Self {
        Self { verdict: truth.into(), why: None, rule_error: false }
    }

    fn missing(why: String) -> Self {
        Self { verdict: Verdict::Unknown, why: Some(why), rule_error: false }
    }

    fn failed(why: String) -> Self {
        Self { verdict: Verdict::Unknown, why: Some(why), rule_error: true }
    }
}

/// An expression over `signals`. Cheap to clone; equal when the texts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition(Arc<Checked>);

impl Condition {
    /// Parses and checks an expression over the declared signals.
    ///
    /// An accepted expression has yielded a Boolean on complete synthetic readings, so
    /// only missing data or an overflow can make it fail later.
    ///
    /// # Errors
    ///
    /// When the expression is not CEL, or one of the checks rejects it.
    pub fn parse(source: &str, signals: &BTreeMap<String, SignalShape>) -> Result<Self, ExpressionError> {
        let checked = check(source, Scope::Signals(signals))?;
        evaluate::rehearse(&checked)?;
        Ok(Self(Arc::new(checked)))
    }

    /// The text from which it was parsed.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Names of the signals that it reads.
    #[must_use]
    pub fn reads(&self) -> &BTreeSet<String> {
        &self.0.signals
    }

    /// Whether it reads this field of this signal.
    #[must_use]
    pub fn reads_field(&self, signal: &str, field: &str) -> bool {
        self.0.reads.iter().any(|read| read.signal == signal && read.field == field)
    }

    /// The fields that it reads, each with its signal.
    pub fn fields(&self) -> impl Iterator<Item = (String, String)> {
        self.0.reads.iter().map(|read| (read.signal.clone(), read.field.clone()))
    }

    /// Evaluates it on the values of the signals; what is not known is absent. Where the health of objects is Unknown,
    /// whether alerts still fire, or what some objects use, the result is a truth only if it is the same in each case.
    #[must_use]
    pub fn evaluate(&self, signals: &Readings) -> Evaluation {
        partial::evaluate(&self.0, signals)
    }
}

/// Values by signal and field.
pub type Readings = BTreeMap<String, BTreeMap<String, FieldValue>>;

/// The variables of an [`ObjectCondition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectScope {
    /// `object`, for `healthy` of a signal.
    Object,
    /// `object` and `healthy`, for `where` of targets.
    ObjectAndHealthy,
}

/// An expression over one Kubernetes object. Cheap to clone; equal when the texts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectCondition(Arc<Checked>);

impl ObjectCondition {
    /// Parses and checks an expression over the variables of the scope.
    ///
    /// # Errors
    ///
    /// When the expression is not CEL, or one of the checks rejects it.
    pub fn parse(source: &str, scope: ObjectScope) -> Result<Self, ExpressionError> {
        Ok(Self(Arc::new(check(source, Scope::Object(scope))?)))
    }

    /// The text from which it was parsed.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Evaluates it on an object. `healthy` that is absent or Unknown is a missing value.
    #[must_use]
    pub fn evaluate(&self, object: &serde_json::Value, healthy: Option<Verdict>) -> Evaluation {
        evaluate::over_object(&self.0, object, healthy)
    }
}
