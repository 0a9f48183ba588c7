//! The policy as users write it: plain data, not yet checked.
//!
//! [`crate::rules::Rules`] is what it becomes. The bounds here end up in the
//! schema of the CRD, so the API server refuses what is too long or too many.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::period::Period;

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

/// One thing that is watched. Exactly one kind of signal must be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.nodes) != has(self.objects)", "message": "exactly one of nodes and objects must be set"}
])))]
#[serde(rename_all = "camelCase")]
pub struct SignalSpec {
    /// The name in expressions: `signals.<name>.<field>`.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 40), regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_]*$"))
    )]
    pub name: String,
    /// How many there should be. Without it the number before the trouble began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 1_000_000)))]
    pub expect: Option<i64>,
    /// Nodes of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodesSpec>,
    /// Objects of any kind, healthy or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<ObjectsSpec>,
}

/// Nodes by label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodesSpec {
    /// Which nodes; without it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Objects of one kind, and what makes one of them healthy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ObjectsSpec {
    /// Group and version, such as `apps/v1`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 317)))]
    pub api_version: String,
    /// Kind, such as `Deployment`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub kind: String,
    /// Only objects with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Only objects with these names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100), inner(length(min = 1, max = 253))))]
    pub names: Vec<String>,
    /// In which namespaces; without it in the policy's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespacesSpec>,
    /// CEL over `object` that is true for a healthy one; without it as the kind's profile says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub healthy: Option<String>,
}

/// Which namespaces. Exactly one member must be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {"rule": "(has(self.all) && self.all) != (has(self.names) && size(self.names) > 0)", "message": "exactly one of all: true and names must be set"}
])))]
#[serde(rename_all = "camelCase")]
pub struct NamespacesSpec {
    /// All namespaces of the cluster. The ServiceAccount must be allowed to list them all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// These namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100), inner(length(min = 1, max = 63))))]
    pub names: Vec<String>,
}

/// Labels that an object must have: as in Kubernetes, but bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schemars(extend("maxProperties" = 16)))]
    pub match_labels: BTreeMap<String, LabelValue>,
    /// Further requirements, all of which must be met.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// The value of a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct LabelValue(#[cfg_attr(feature = "schema", schemars(length(max = 63)))] pub String);

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LabelRequirement {
    /// The label.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 317)))]
    pub key: String,
    /// How the label relates to the values.
    pub operator: LabelOperator,
    /// The values, for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub values: Vec<LabelValue>,
}

/// How a label relates to values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum LabelOperator {
    /// Its value is one of them.
    In,
    /// It is absent or has another value.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
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
}

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
    /// How to tell that the step helped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifySpec>,
}

/// What happens when a target of a step failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnFailure {
    /// The response is Held with StepFailed: a person decides.
    #[default]
    Halt,
}

/// What a step does. Exactly one member must be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.cpuFallback)", "message": "exactly one action must be set"}
])))]
#[serde(rename_all = "camelCase")]
pub struct ActionSpec {
    /// Let workloads run without accelerators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_fallback: Option<CpuFallbackSpec>,
}

/// Requests and limits of accelerators to "0", so that the pods can start on any node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CpuFallbackSpec {
    /// Which objects. `where` is `!healthy` unless said otherwise.
    pub targets: TargetsSpec,
    /// The quantization that the model falls back to, such as `int8`, where the kind has such a field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub quantization: Option<String>,
    /// Whether placement on accelerator nodes is released too.
    #[serde(default)]
    pub placement: Placement,
}

/// What happens to nodeSelector entries, affinity terms and runtime class that pin pods to accelerator nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Placement {
    /// They are removed, or the pods could not start anywhere.
    #[default]
    Release,
    /// They stay.
    Keep,
}

/// Which objects a step changes. Without names and selector every object of the kind in these namespaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TargetsSpec {
    /// Group and version, such as `apps/v1`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 317)))]
    pub api_version: String,
    /// Kind, such as `Deployment`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub kind: String,
    /// Only objects with these names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100), inner(length(min = 1, max = 253))))]
    pub names: Vec<String>,
    /// Only objects with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// In which namespaces; without it in the policy's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespacesSpec>,
    /// CEL over `object` and `healthy`: only objects for which it is true.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "where")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub where_: Option<String>,
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

/// Limits that stand whatever a step says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct GuardrailsSpec {
    /// Objects that one step may change. More is Held. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 300)))]
    pub max_targets: Option<u32>,
}
