//! Why the severity is what it is: signals and rules as they were read.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::policy::Severity;
use crate::verdict::Verdict;

/// Whether a signal is known, and what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SignalStatus {
    /// The name of the signal.
    #[cfg_attr(feature = "schema", schemars(length(max = 40)))]
    pub name: String,
    /// Known or Unknown.
    pub state: SignalState,
    /// Its values, or why there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 512)))]
    pub summary: String,
}

/// Whether a signal can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum SignalState {
    /// It has values.
    Known,
    /// It has none, so nothing that needs it is true or false.
    Unknown,
}

/// The truth of one severity rule and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RuleStatus {
    /// The rule.
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub reason: String,
    /// Its level.
    pub level: Severity,
    /// What `when` says now.
    pub truth: Verdict,
    /// What it said when it was last known, and the clock since then; Unknown
    /// stops the clock for a while.
    pub known: Verdict,
    /// The start of the clock of `known`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Since when it is Unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_since: Option<Timestamp>,
    /// Whether the rule holds: true for `for`, and not yet `until`.
    #[serde(default)]
    pub holds: bool,
    /// The numbers that it read, as of the last change of this status, or why it is Unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 512)))]
    pub evidence: String,
}
