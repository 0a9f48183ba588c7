//! One step of a response: when it starts, what it does, how it is verified.

use serde::{Deserialize, Serialize};

use super::Severity;
use crate::action::ActionSpec;
use crate::change::Delivery;
use crate::period::Period;

/// One step of the response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StepSpec {
    /// The name of the step.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    pub name: String,
    /// The severity levels that the step is for. Defaults to all levels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 4), extend("x-kubernetes-list-type" = "set")))]
    pub severities: Vec<Severity>,
    /// CEL over `signals`. The step starts only when this expression is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub when: Option<String>,
    /// The action of the step. Exactly one member must be set.
    pub action: ActionSpec,
    /// Whether a person must approve the plan of the step before it starts, and every object that joins it
    /// later. Defaults to NotRequired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<StepApproval>,
    /// How long one target may take to be applied, from the time it joined the step. Defaults to 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// The number of retries of a target that failed or was answered with 429. Defaults to 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 10)))]
    pub retries: Option<u8>,
    /// For a step without `verify`: how long to wait for recovery before the next step. Defaults to 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<Period>,
    /// What happens when a target fails. Defaults to Halt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// When the changes are reverted. Defaults to OnRecovery; for schedulerFallback, to OnRequest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revert: Option<Revert>,
    /// How to verify that the step helped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifySpec>,
    /// Instead of its action the step rehearses an operation with this delivery. Only stories and proofs say so:
    /// it can neither be written nor read.
    #[serde(skip)]
    pub rehearse: Option<Delivery>,
}

/// Whether a person must approve the plan of a step. Defaults to NotRequired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum StepApproval {
    /// Approval is needed only if a guardrail requires it.
    #[default]
    NotRequired,
    /// Always.
    Required,
}

/// What happens when a target of a step fails. Defaults to Halt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnFailure {
    /// The Incident is Held with StepFailed until a person decides.
    #[default]
    Halt,
    /// The other targets stay changed, and the response continues.
    Continue,
    /// The other targets of the step are reverted at once, and the response continues without the step.
    Revert,
}

/// When the changes of a step are reverted. Defaults to OnRecovery; for schedulerFallback, to OnRequest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Revert {
    /// When the emergency is over.
    OnRecovery,
    /// When a person withdraws the response.
    OnRequest,
    /// Never. The changes become permanent, and only their records are dropped.
    Never,
}

/// How to verify that a step helped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct VerifySpec {
    /// How long the checks may take to pass after the last target was applied. Defaults to 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Period>,
    /// The checks, all of which must pass.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 16)))]
    pub checks: Vec<CheckSpec>,
}

/// One check. Exactly one member must be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.rollout) != has(self.cel)", "message": "exactly one of rollout and cel must be set"}
])))]
#[serde(rename_all = "camelCase")]
pub struct CheckSpec {
    /// The changed workloads have finished rolling out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutCheck>,
    /// An expression over `signals` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cel: Option<CelCheck>,
}

/// The changed workloads have finished rolling out. This check has no settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RolloutCheck {}

/// An expression over `signals`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CelCheck {
    /// CEL that must be true.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub expression: String,
}
