//! The kind `Incident`: one emergency from detection to report. Its status is
//! the engine's [`IncidentState`] and what is derived from it for people.

use firebreak_engine::incident::IncidentState;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;

/// What a person, or the policy, says about one emergency.
// The rules that compare with the old object sit on the spec and not on the
// fields, because a rule on a field is not asked when the field is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "firebreak.dev",
    version = "v1alpha1",
    kind = "Incident",
    plural = "incidents",
    namespaced,
    status = "IncidentStatus",
    derive = "PartialEq",
    shortname = "inc",
    category = "firebreak",
    doc = "One emergency from detection to report. Deleting it puts back first what it changed.",
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("metadata.name must be at most 63 characters"),
    printcolumn(name = "Severity", type_ = "string", json_path = ".status.severity"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Steps", type_ = "string", json_path = ".status.progress"),
    printcolumn(name = "Changes", type_ = "integer", json_path = ".status.changesInForce"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".status.policy.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.severityReason", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "has(self.policyRef) == has(oldSelf.policyRef) && (!has(self.policyRef) || self.policyRef.name == oldSelf.policyRef.name)"
    )
    .message("policyRef is immutable: open a new Incident for another policy")
    .reason(Reason::FieldValueForbidden),
    validation = Rule::new(
        "!has(oldSelf.response) || oldSelf.response != 'Withdrawn' || (has(self.response) && self.response == 'Withdrawn')"
    )
    .message("response: Withdrawn is final: open a new Incident to respond again")
    .reason(Reason::FieldValueForbidden)
)]
pub struct IncidentSpec {
    /// The policy whose response this is. Immutable. Left out: of the policies whose rules hold the most severe, then by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_ref: Option<PolicyRef>,
    /// What is the matter, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub summary: Option<String>,
    /// What a person wants done. Absent is Active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
}

/// A policy of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRef {
    /// The name of the RemediationPolicy.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
}

/// What a person wants done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Response {
    /// Respond as the policy says.
    #[default]
    Active,
    /// Put everything back now and close. It cannot be taken back.
    Withdrawn,
}

/// Where an Incident stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IncidentStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it stands, in one word. Derived from the rest and never read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Steps that are done, of all that are for this severity, such as `1/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub progress: Option<String>,
    /// How many changes are in force.
    #[serde(default)]
    #[schemars(range(min = 0, max = 300))]
    pub changes_in_force: u32,
    /// Ready, Reconciling, Stalled, Classified, Mitigated, Verified, Returned, Resolved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Everything that a decision starts from.
    #[serde(flatten)]
    pub state: IncidentState,
}

/// Where an Incident stands, in one word, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Nothing has been done yet.
    Open,
    /// Changes are being made.
    Remediating,
    /// Changes are made; whether they help is being checked.
    Verifying,
    /// A step helped; waiting for the cause to go away.
    Monitoring,
    /// Changes are being put back.
    Reverting,
    /// A person is needed.
    Held,
    /// Closed.
    Resolved,
}

impl Phase {
    /// The name, for metrics and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::Remediating => "Remediating",
            Self::Verifying => "Verifying",
            Self::Monitoring => "Monitoring",
            Self::Reverting => "Reverting",
            Self::Held => "Held",
            Self::Resolved => "Resolved",
        }
    }
}
