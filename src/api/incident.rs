//! The kind `Incident`: one emergency from detection to report. Its status is the engine's [`IncidentState`],
//! with fields that are derived from it for people.

use std::collections::BTreeSet;

use firebreak_engine::change::{Change, ChangeState};
use firebreak_engine::id::{ChangeId, IncidentId};
use firebreak_engine::incident::IncidentState;
use firebreak_engine::intent::{Approval, Response, Settlement};
use firebreak_engine::phase::Phase;
use firebreak_engine::policy::Severity;
use jiff::Timestamp;
use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::de::MapAccess;
use serde::{Deserialize, Deserializer, Serialize};

use super::condition::Condition;
use super::flat::{self, OwnMembers};
use super::format;

/// The desired response to one emergency.
// The rules that compare with the old object are on the spec, not on the fields, because the rule of a field
// is not evaluated when the field is removed.
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
    doc = "One emergency, from detection to report. Deleting it first reverts its changes.",
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("metadata.name must be at most 63 characters"),
    printcolumn(name = "Severity", type_ = "string", json_path = ".status.shownSeverity"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Steps", type_ = "string", json_path = ".status.progress"),
    printcolumn(name = "Changes", type_ = "integer", json_path = ".status.changesInForce"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".status.policy.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.severityReason", priority = 1),
    printcolumn(name = "Acknowledged", type_ = "string", json_path = ".spec.acknowledgedBy", priority = 1),
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
        "!has(oldSelf.response) || oldSelf.response != 'Withdrawn' || (has(self.response) && self.response in ['Withdrawn', 'Kept'])"
    )
    .message("after response: Withdrawn only Kept can follow: open a new Incident to respond again")
    .reason(Reason::FieldValueForbidden),
    validation = Rule::new(
        "!has(oldSelf.response) || oldSelf.response != 'Kept' || (has(self.response) && self.response == 'Kept')"
    )
    .message("response: Kept is final: open a new Incident to respond again")
    .reason(Reason::FieldValueForbidden)
)]
pub struct IncidentSpec {
    /// The policy that responds. Immutable, even if absent. If absent, Firebreak chooses among the policies
    /// of this namespace whose rules hold: the most severe first, then by name. See `status.policy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_ref: Option<PolicyRef>,
    /// A short description of the emergency, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub summary: Option<String>,
    /// Pins the severity. If absent, the rules of the policy determine it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// The response that a person wants. Defaults to Active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
    /// The person who set `response`. The API server accepts only the name of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub response_by: Option<String>,
    /// The person who acknowledged the emergency. The API server accepts only the name of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub acknowledged_by: Option<String>,
    /// Approved plans of steps. Adding one requires the verb `approve` on this Incident, and the API server
    /// accepts only the name of the caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["step"]))]
    pub approvals: Vec<Approval>,
    /// What people have found out about operations whose outcome is unknown. Settling one requires the verb `approve`
    /// on this Incident, and the API server accepts only the name of the caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["change"]))]
    pub settlements: Vec<Settlement>,
}

impl Incident {
    /// The name of the policy that responds: the named one, or else the chosen one.
    pub fn policy_name(&self) -> Option<&str> {
        let named = self.spec.policy_ref.as_ref().map(|policy| policy.name.as_str());
        let chosen = || self.status.as_ref()?.state.policy.as_ref().map(|policy| policy.name.as_str());
        named.or_else(chosen)
    }

    /// The phase of an Incident.
    pub fn phase(&self) -> Phase {
        self.status.as_ref().and_then(|status| status.phase).unwrap_or(Phase::Open)
    }

    /// Which Incident it is.
    pub fn identity(&self) -> IncidentId {
        IncidentId {
            namespace: self.namespace().unwrap_or_default(),
            name: self.name_any(),
            uid: self.uid().unwrap_or_default(),
        }
    }

    /// The recorded state.
    pub fn state(&self) -> IncidentState {
        self.status.as_ref().map(|status| status.state.clone()).unwrap_or_default()
    }

    /// When it was closed.
    pub fn closed_at(&self) -> Option<Timestamp> {
        self.status.as_ref().and_then(|status| status.state.resolved_at)
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.closed_at().is_some()
    }

    /// The loans that it lists as ended.
    pub fn ended_loans(&self) -> BTreeSet<ChangeId> {
        let has_ended = |change: &Change| {
            matches!(change.state, ChangeState::Reverted | ChangeState::Ceded | ChangeState::Kept)
        };
        self.changes().filter(|change| has_ended(change)).map(|change| change.id.clone()).collect()
    }

    /// The changes that are or may be in force.
    pub fn outstanding(&self) -> impl Iterator<Item = &Change> {
        self.changes().filter(|change| change.is_outstanding())
    }

    fn changes(&self) -> impl Iterator<Item = &Change> {
        self.status.iter().flat_map(|status| &status.state.changes)
    }
}

/// A policy of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRef {
    /// The name of the RemediationPolicy.
    // It becomes part of a URL, so only a valid name is allowed here.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// The observed state of an Incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = format::never_older()))]
pub struct IncidentStatus {
    /// The format of this status. Absent in a status of a release before format 2. A release of Firebreak that does not
    /// know it does not lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub format: Option<u16>,
    /// The generation that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The phase of the Incident, for people. Derived from the rest of the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The severity that lists of Incidents show, for people: of a closed Incident the highest that it had, else the
    /// current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_severity: Option<Severity>,
    /// The number of started steps and of all steps, for example `1/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub progress: Option<String>,
    /// The number of changes in force.
    #[serde(default)]
    #[schemars(range(min = 0, max = 300))]
    pub changes_in_force: u32,
    /// Ready, Reconciling, Stalled, Classified, Acknowledged, Mitigated, Verified, Returned, Resolved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The state on which decisions are based.
    #[serde(flatten)]
    pub state: IncidentState,
}

impl<'de> Deserialize<'de> for IncidentStatus {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let (own, state) = flat::read::<_, Self, _>(input)?;
        Ok(Self { state, ..own })
    }
}

impl OwnMembers for IncidentStatus {
    fn read<'de, A: MapAccess<'de>>(&mut self, member: &str, map: &mut A) -> Result<bool, A::Error> {
        match member {
            "format" => self.format = map.next_value()?,
            "observedGeneration" => self.observed_generation = map.next_value()?,
            "phase" => self.phase = map.next_value()?,
            "shownSeverity" => self.shown_severity = map.next_value()?,
            "progress" => self.progress = map.next_value()?,
            "changesInForce" => self.changes_in_force = map.next_value()?,
            "conditions" => self.conditions = map.next_value()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_reads_and_writes_as_one_flat_object() {
        let written = json!({
            "apiVersion": "firebreak.dev/v1alpha1",
            "kind": "Incident",
            "metadata": {"name": "gpu-outage", "namespace": "llm-serving"},
            "spec": {"policyRef": {"name": "gpu-cluster-failure"}, "response": "Withdrawn"},
            "status": {
                "observedGeneration": 2,
                "phase": "Reverting",
                "changesInForce": 1,
                "severity": "P0",
                "openedAt": "2026-03-01T10:00:00.5Z",
                "changes": [{
                    "id": "a",
                    "step": "cpu-fallback",
                    "target": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "n", "name": "d", "uid": "u"},
                    "state": "Reverting",
                    "round": 1,
                    "base": "7",
                    "fields": [{"path": "/spec/x", "before": {"deep": [null, 1, 2.5]}, "after": 0}]
                }]
            }
        });
        let incident: Incident = serde_json::from_value(written.clone()).unwrap();
        let status = incident.status.as_ref().unwrap();
        assert_eq!(status.state.in_force(), 1);
        assert_eq!(serde_json::to_value(&incident).unwrap(), written);
    }

    #[test]
    fn an_empty_status_is_a_status() {
        let status: IncidentStatus = serde_json::from_value(json!({})).unwrap();
        assert_eq!(status, IncidentStatus::default());
    }
}
