//! Why the severity is what it is: signals and rules as they were read.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::change::cut;
use crate::policy::Severity;
use crate::verdict::Verdict;

/// Whether a signal is known, and its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SignalStatus {
    /// The name of the signal.
    #[cfg_attr(feature = "schema", schemars(length(max = 40)))]
    pub name: String,
    /// Known or Unknown.
    pub state: SignalState,
    /// Its values, or the reason why there are none.
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
    /// It has no values, so everything that reads it is Unknown.
    Unknown,
}

/// The truth of one severity rule, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RuleStatus {
    /// The rule.
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub reason: String,
    /// Its level.
    pub level: Severity,
    /// The current truth of `when`.
    pub truth: Verdict,
    /// The last known truth of `when`. Its clock starts in `since`. While `when` is Unknown, the clock stops
    /// for a limited time.
    pub known: Verdict,
    /// When `known` last changed: the start of its clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Since when `when` has been Unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_since: Option<Timestamp>,
    /// Whether the rule holds: it has been True for `for`, and `until` has not been True since.
    #[serde(default)]
    pub holds: bool,
    /// The numbers that the rule read when this status last changed, or why it is Unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 512)))]
    pub evidence: String,
}

/// The maximum length of what is said about Unknown rules, in bytes.
const LONGEST_DOUBT: usize = 400;

/// For people: which rules are Unknown, each with the reason; none if none is.
pub fn doubt(rules: &[RuleStatus]) -> Option<String> {
    let unknown = rules.iter().filter(|rule| rule.truth == Verdict::Unknown);
    let said: Vec<String> =
        unknown.map(|rule| format!("{} is Unknown: {}", rule.reason, rule.evidence)).collect();
    (!said.is_empty()).then(|| cut(&said.join("; "), LONGEST_DOUBT))
}
