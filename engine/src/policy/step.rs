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
    /// At which levels the step is for; without it at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 4), extend("x-kubernetes-list-type" = "set")))]
    pub severities: Vec<Severity>,
    /// CEL over `signals`: the step starts only when this is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub when: Option<String>,
    /// What is done. Exactly one member must be set.
    pub action: ActionSpec,
    /// Whether a person must approve the step's plan before anything of it is done, and every object that
    /// joins it later. Default NotRequired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<StepApproval>,
    /// Per target, from when it joined until it is Applied or Failed. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// New tries of a target that was answered 429 or failed. Default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 10)))]
    pub retries: Option<u8>,
    /// For a step without verify: wait up to this long for recovery before the next step. Default 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<Period>,
    /// What happens when a target failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// When the changes go back. Default OnRecovery, for schedulerFallback OnRequest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revert: Option<Revert>,
    /// How to tell that the step helped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifySpec>,
    /// Instead of its action the step rehearses an operation with this delivery. Only stories and proofs say so:
    /// it can neither be written nor read.
    #[serde(skip)]
    pub rehearse: Option<Delivery>,
}

/// Whether a person must approve a step's plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum StepApproval {
    /// Only when a guardrail asks for it.
    #[default]
    NotRequired,
    /// Always.
    Required,
}

/// What happens when a target of a step failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnFailure {
    /// The response is Held with StepFailed: a person decides.
    #[default]
    Halt,
    /// The others stay changed, and the response goes on.
    Continue,
    /// What the step has changed goes back at once, and the response goes on without it.
    Revert,
}

/// When the changes of a step go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Revert {
    /// When the emergency is over.
    OnRecovery,
    /// When a person withdraws the response.
    OnRequest,
    /// Never: they become permanent and only the record of them goes.
    Never,
}

/// How to tell that a step helped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct VerifySpec {
    /// All checks must pass within this time of the last Applied. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Period>,
    /// What must be so.
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
    /// The changed workloads finished rolling out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutCheck>,
    /// An expression over `signals` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cel: Option<CelCheck>,
}

/// The changed workloads finished rolling out. It has no settings.
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
