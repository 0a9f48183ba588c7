//! The policy as users write it: plain data, not yet checked.
//!
//! [`crate::rules::Rules`] is what it becomes. The bounds here end up in the
//! schema of the CRD, so the API server refuses what is too long or too many.

mod step;

use serde::{Deserialize, Serialize};

pub use self::step::{
    CelCheck, CheckSpec, OnFailure, Revert, RolloutCheck, StepApproval, StepSpec, VerifySpec,
};
pub use crate::action::ActionSpec;
use crate::period::Period;
pub use crate::selector::{
    LabelOperator, LabelRequirement, LabelSelector, LabelValue, NamespacesSpec, ObjectRef, TargetsSpec,
};
pub use crate::signal::{NodesSpec, ObjectsSpec, SignalSpec, WorkloadsSpec};

/// How bad it is. `P0` is the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Severity {
    /// Critical: immediate response.
    P0,
    /// High.
    P1,
    /// Medium.
    P2,
    /// Low.
    P3,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::P0 => "P0",
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
        })
    }
}

/// Whether a policy may change anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Mode {
    /// Open Incidents and publish the plan, change nothing.
    #[default]
    Observe,
    /// Carry the plan out.
    Enforce,
}

/// What to watch, how severe it is, what to do about it, and the limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PolicySpec {
    /// Start nothing, open nothing. What is in force stays until a person decides.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// Observe opens Incidents and publishes the plan but changes nothing; Enforce carries it out.
    #[serde(default)]
    pub mode: Mode,
    /// The ServiceAccount of this namespace that reads every signal and makes every change.
    #[serde(default = "default_service_account")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))
    )]
    pub service_account_name: String,
    /// What is watched. Each signal yields numbers for the expressions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub signals: Vec<SignalSpec>,
    /// When it is an emergency, and how severe. The first rule that holds counts, P0 first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["reason"])))]
    pub severity: Vec<SeverityRuleSpec>,
    /// When the emergency is over and everything is put back.
    #[serde(default)]
    pub recovery: RecoverySpec,
    /// What to do, in order: a step starts only if those before it did not help.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub steps: Vec<StepSpec>,
    /// The limits of every response of this policy.
    #[serde(default)]
    pub guardrails: GuardrailsSpec,
}

/// The ServiceAccount that a policy uses unless it names another.
pub fn default_service_account() -> String {
    "firebreak-responder".to_owned()
}

/// When it is an emergency of a level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SeverityRuleSpec {
    /// How severe it is while the rule holds.
    pub level: Severity,
    /// The name of the rule, in CamelCase.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 63), regex(pattern = "^[A-Z][A-Za-z0-9]*$"))
    )]
    pub reason: String,
    /// CEL over `signals`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub when: String,
    /// How long `when` must be true without a break before the rule holds.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "for")]
    pub for_: Option<Period>,
    /// CEL over `signals`: once the rule holds, it holds until this is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub until: Option<String>,
}

/// When the emergency is over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RecoverySpec {
    /// How long no rule may hold before everything is put back. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "for")]
    pub for_: Option<Period>,
    /// CEL over `signals` that must be true besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub when: Option<String>,
    /// How many objects are put back at once after the first single one. Default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 300)))]
    pub max_at_once: Option<u32>,
    /// How long the rules are watched after each wave that is healthy again, before the next. Default 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between: Option<Period>,
    /// How often a withdrawal may be taken back because a rule held again; then the response is Held. Default 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 10)))]
    pub relapses: Option<u8>,
}

/// Limits that stand whatever a step says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct GuardrailsSpec {
    /// Objects that one step may change. More needs a person's approval. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 300)))]
    pub max_targets: Option<u32>,
    /// The share of the objects in a step's scope that the step may change, rounded up to at least one.
    /// The scope is what names, selector and namespaces describe, whatever `where` says. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100)))]
    pub max_targets_percent: Option<u32>,
    /// Responses that the policy may open by itself in a stretch of time. More are opened and Held. An
    /// Incident keeps the place that it had when it was opened: one that is Held goes on when the guardrail
    /// is raised, and not because time passes. Those that people apply are neither counted nor Held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_incidents: Option<MaxIncidentsSpec>,
    /// From the end of a response, whoever opened it, to the start of the next that the policy opens by
    /// itself. People need not wait. Default 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Period>,
    /// From the start of one step to the start of the next. Default 0s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_step_interval: Option<Period>,
    /// If a larger share of what the rule that holds reads looks sick, every step needs a person's approval:
    /// it may be the detector that is sick. Default 0: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 100)))]
    pub suspect_detector_above_percent: Option<u32>,
    /// How long an approval counts, from when the Incident's status shows it until the step begins. Default 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_valid_for: Option<Period>,
}

/// How many responses in how much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MaxIncidentsSpec {
    /// So many. Default 3.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 50)))]
    pub count: u32,
    /// In this time. Default 1h.
    pub per: Period,
}
