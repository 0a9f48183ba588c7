//! The policy as users write it: plain data, not yet checked.
//!
//! It is parsed into [`crate::rules::Rules`]. The bounds here become part of the CRD schema, so the API
//! server rejects what is too long or too many.

mod step;
mod window;

use serde::{Deserialize, Serialize};

pub use self::step::{
    CelCheck, CheckSpec, OnFailure, Revert, RolloutCheck, StepApproval, StepSpec, VerifySpec,
};
pub use self::window::{Day, WindowSpec};
pub use crate::action::ActionSpec;
use crate::period::Period;
pub use crate::selector::{
    LabelOperator, LabelRequirement, LabelSelector, LabelValue, NamespacesSpec, ObjectRef, TargetsSpec,
};
pub use crate::signal::{
    AlertmanagerSpec, HttpSpec, MetricsSpec, NodesSpec, ObjectsSpec, PodsSpec, PrometheusSpec, SignalSpec,
    WorkloadsSpec,
};

/// The severity level. `P0` is the most severe.
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

impl Severity {
    /// The most severe level for which one of these steps is; without a step, the most severe one.
    pub fn worst_of<'a>(steps: impl Iterator<Item = &'a StepSpec>) -> Self {
        let worst = steps.map(|step| step.severities.iter().min().copied().unwrap_or(Self::P0)).min();
        worst.unwrap_or(Self::P0)
    }
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
    /// Opens Incidents and publishes the plan, but changes nothing.
    #[default]
    Observe,
    /// Carries out the plan.
    Enforce,
}

/// What to watch, how severe it is, what to do about it, and the limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PolicySpec {
    /// Opens no Incidents and starts no steps. Changes in force stay until a person decides.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// Observe opens Incidents and publishes the plan, but changes nothing. Enforce carries out the plan.
    #[serde(default)]
    pub mode: Mode,
    /// The ServiceAccount in the namespace of the policy that reads every signal and makes every change.
    #[serde(default = "default_service_account")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))
    )]
    pub service_account_name: String,
    /// The signals to watch. Each signal provides numbers for the expressions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub signals: Vec<SignalSpec>,
    /// The rules that detect and classify an emergency. The first rule that holds sets the severity, P0
    /// first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["reason"])))]
    pub severity: Vec<SeverityRuleSpec>,
    /// When the emergency is over and the changes are reverted.
    #[serde(default)]
    pub recovery: RecoverySpec,
    /// The steps of the response, in order. A step starts only if the steps before it did not help.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub steps: Vec<StepSpec>,
    /// The limits for every response of this policy.
    #[serde(default)]
    pub guardrails: GuardrailsSpec,
}

/// The default ServiceAccount of a policy.
pub fn default_service_account() -> String {
    "firebreak-responder".to_owned()
}

/// A rule that detects an emergency of one level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SeverityRuleSpec {
    /// The severity while the rule holds.
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
    /// How long `when` must be true without interruption before the rule holds.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "for")]
    pub for_: Option<Period>,
    /// CEL over `signals`. Once the rule holds, it keeps holding until this expression is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub until: Option<String>,
}

/// When the emergency is over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RecoverySpec {
    /// How long no rule may hold before the response is withdrawn. Defaults to 5m.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "for")]
    pub for_: Option<Period>,
    /// CEL over `signals` that must also be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub when: Option<String>,
    /// The maximum number of objects that are reverted at once, after the first single one. Defaults to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 300)))]
    pub max_at_once: Option<u32>,
    /// How long the rules must stay quiet after each wave is healthy, before the next wave starts. Defaults
    /// to 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between: Option<Period>,
    /// How many relapses are allowed. A relapse applies the last wave again because a rule holds again. After
    /// that, the Incident is Held. Defaults to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 10)))]
    pub relapses: Option<u8>,
}

/// Limits that bind every step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct GuardrailsSpec {
    /// The number of objects that one step may change without approval. Defaults to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 300)))]
    pub max_targets: Option<u32>,
    /// The percentage of the objects in the scope of a step that the step may change without approval,
    /// rounded up to at least one object. The scope is defined by names, selector and namespaces, regardless
    /// of `where`. Defaults to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100)))]
    pub max_targets_percent: Option<u32>,
    /// The number of responses that the policy may start automatically in a period. Further Incidents are
    /// opened and Held. A Held Incident keeps its place in the count: it continues when the guardrail is
    /// raised, not when time passes. Incidents that people create are neither counted nor Held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_incidents: Option<MaxIncidentsSpec>,
    /// The minimum time between the end of any response and the start of the next automatic response. People
    /// need not wait. Defaults to 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Period>,
    /// The minimum time between the starts of two steps. Defaults to 0s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_step_interval: Option<Period>,
    /// If more than this percentage of what the rule reads looks sick, every step needs approval, because the
    /// detector itself may be at fault. Defaults to 0, which turns the check off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 100)))]
    pub suspect_detector_above_percent: Option<u32>,
    /// The times at which a step may start without approval. Outside all of them a step needs approval before it starts.
    /// What has started continues, and reverts do not wait. Defaults to every time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub windows: Vec<WindowSpec>,
    /// How long an unused approval is valid, from the time it appears in the status of the Incident. Defaults
    /// to 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_valid_for: Option<Period>,
}

/// A number of responses in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MaxIncidentsSpec {
    /// The number of responses. Defaults to 3.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 50)))]
    pub count: u32,
    /// The period. Defaults to 1h.
    pub per: Period,
}
