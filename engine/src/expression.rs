//! Expressions over signals and objects (placeholder until the CEL part lands).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::verdict::Verdict;

/// The kind of value of a signal's field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A count.
    Int,
    /// A ratio.
    Double,
    /// Counts by name.
    IntMap,
}

/// The fields of a signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignalShape {
    /// By name.
    pub fields: BTreeMap<&'static str, FieldKind>,
}

/// The value of a signal's field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FieldValue {
    /// A count.
    Int(i64),
    /// A ratio.
    Double(f64),
    /// Counts by name.
    Map(BTreeMap<String, i64>),
}

/// What an evaluation gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// The truth.
    pub verdict: Verdict,
    /// Why it is Unknown.
    pub why: Option<String>,
    /// Whether the expression itself failed.
    pub rule_error: bool,
}

/// What an object expression may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectScope {
    /// Only `object`.
    Object,
    /// `object` and `healthy`.
    ObjectAndHealthy,
}

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpressionError(pub String);

/// An expression over `signals`.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition(String, BTreeSet<String>);

impl Condition {
    /// Parses and checks.
    pub fn parse(source: &str, _signals: &BTreeMap<String, SignalShape>) -> Result<Self, ExpressionError> {
        Ok(Self(source.to_owned(), BTreeSet::new()))
    }
    /// The text.
    pub fn source(&self) -> &str {
        &self.0
    }
    /// The signals it reads.
    pub fn reads(&self) -> &BTreeSet<String> {
        &self.1
    }
    /// Its truth.
    pub fn evaluate(&self, _signals: &BTreeMap<String, BTreeMap<String, FieldValue>>) -> Evaluation {
        Evaluation { verdict: Verdict::Unknown, why: None, rule_error: false }
    }
}

/// An expression over `object`.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectCondition(String);

impl ObjectCondition {
    /// Parses and checks.
    pub fn parse(source: &str, _scope: ObjectScope) -> Result<Self, ExpressionError> {
        Ok(Self(source.to_owned()))
    }
    /// The text.
    pub fn source(&self) -> &str {
        &self.0
    }
    /// Its truth.
    pub fn evaluate(&self, _object: &serde_json::Value, _healthy: Option<Verdict>) -> Evaluation {
        Evaluation { verdict: Verdict::Unknown, why: None, rule_error: false }
    }
}
