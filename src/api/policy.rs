//! The kind `RemediationPolicy`. Its spec is the engine's [`PolicySpec`]; its status is written by the
//! controller.

use firebreak_engine::decide_policy::PolicyState;
use firebreak_engine::policy::PolicySpec;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::de::MapAccess;
use serde::{Deserialize, Deserializer, Serialize};

use super::condition::Condition;
use super::flat::{self, OwnMembers};
use super::{format, names};

/// What to watch, how severe it is, what to do about it, and the limits.
#[derive(Clone, Debug, PartialEq, Serialize, CustomResource, KubeSchema)]
#[kube(
    group = "firebreak.dev",
    version = "v1alpha1",
    kind = "RemediationPolicy",
    plural = "remediationpolicies",
    namespaced,
    status = "RemediationPolicyStatus",
    derive = "PartialEq",
    shortname = "rpol",
    category = "firebreak",
    doc = "What to watch, how severe it is, what to do about it, and the limits. It sees and does exactly what its ServiceAccount may.",
    validation = Rule::new("self.metadata.name.size() <= 40")
        .message("metadata.name must be at most 40 characters: the names of its Incidents begin with it"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Incident", type_ = "string", json_path = ".status.activeIncident.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Suspended",
        type_ = "boolean",
        json_path = ".spec.suspend",
        priority = 1
    ),
    printcolumn(
        name = "ServiceAccount",
        type_ = "string",
        json_path = ".spec.serviceAccountName",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    )
)]
pub struct RemediationPolicySpec {
    /// All of it, as the engine reads it.
    #[serde(flatten)]
    pub policy: PolicySpec,
}

impl<'de> Deserialize<'de> for RemediationPolicySpec {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        PolicySpec::deserialize(input).map(|policy| Self { policy })
    }
}

/// The observed state of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = format::never_older()))]
pub struct RemediationPolicyStatus {
    /// The format of this status. Absent in a status of a release before format 2. A release of Firebreak that does not
    /// know it does not lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub format: Option<u16>,
    /// The generation that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling, Stalled, Accepted, Authorized.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What the engine knows.
    #[serde(flatten)]
    pub state: PolicyState,
}

impl<'de> Deserialize<'de> for RemediationPolicyStatus {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let (own, state) = flat::read::<_, Self, _>(input)?;
        Ok(Self { state, ..own })
    }
}

impl OwnMembers for RemediationPolicyStatus {
    fn read<'de, A: MapAccess<'de>>(&mut self, member: &str, map: &mut A) -> Result<bool, A::Error> {
        match member {
            "format" => self.format = map.next_value()?,
            "observedGeneration" => self.observed_generation = map.next_value()?,
            "conditions" => self.conditions = map.next_value()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl RemediationPolicy {
    /// When Firebreak last changed the status, to the second and by the clock of the API server; none if nobody knows.
    pub fn status_written_at(&self) -> Option<Timestamp> {
        let is_ours = |entry: &&ManagedFieldsEntry| {
            entry.subresource.as_deref() == Some("status") && entry.manager.as_deref() == Some(names::MANAGER)
        };
        let entries = self.metadata.managed_fields.iter().flatten().filter(is_ours);
        entries.filter_map(|entry| Some(entry.time.as_ref()?.0)).max()
    }
}

#[cfg(test)]
mod tests {
    use firebreak_engine::policy::Mode;

    use super::*;

    #[test]
    fn a_manifest_reads_into_the_spec_of_the_engine() {
        let policy: RemediationPolicy = serde_saphyr::from_str(
            r#"
apiVersion: firebreak.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: gpu-cluster-failure, namespace: llm-serving}
spec:
  mode: Enforce
  signals:
  - {name: gpuNodes, expect: 8, nodes: {selector: {matchLabels: {nvidia.com/gpu: "true"}}}}
  severity:
  - {level: P0, reason: GpuClusterFailure, when: "signals.gpuNodes.ready == 0", for: 30s}
  steps:
  - name: cpu-fallback
    action:
      cpuFallback: {targets: {apiVersion: apps/v1, kind: Deployment, namespaces: {all: true}}, quantization: int8}
    verify: {checks: [{rollout: {}}]}
"#,
        )
        .unwrap();
        let spec = &policy.spec.policy;
        assert_eq!((spec.mode, spec.service_account_name.as_str()), (Mode::Enforce, "firebreak-responder"));
        assert_eq!(spec.signals[0].expect, Some(8));
        assert_eq!(spec.steps[0].name, "cpu-fallback");
        let again: RemediationPolicy =
            serde_json::from_value(serde_json::to_value(&policy).unwrap()).unwrap();
        assert_eq!(again, policy);
    }

    #[test]
    fn an_empty_spec_changes_nothing_as_the_default_responder() {
        let spec: RemediationPolicySpec = serde_json::from_str("{}").unwrap();
        assert_eq!(spec.policy.mode, Mode::Observe);
        assert_eq!(spec.policy.service_account_name, "firebreak-responder");
    }

    #[test]
    fn only_our_own_writes_of_the_status_say_when_it_was_written() {
        let entry = |manager: &str, subresource: Option<&str>, time: &str| {
            serde_json::json!({"manager": manager, "operation": "Update", "apiVersion": "firebreak.dev/v1alpha1",
                "subresource": subresource, "time": time, "fieldsType": "FieldsV1", "fieldsV1": {}})
        };
        let mut policy =
            RemediationPolicy::new("gpu", RemediationPolicySpec { policy: PolicySpec::default() });
        assert_eq!(policy.status_written_at(), None);
        let entries = serde_json::json!([
            entry("firebreak", Some("status"), "2026-03-01T10:00:00Z"),
            entry("firebreak", None, "2026-03-01T10:05:00Z"),
            entry("kubectl", Some("status"), "2026-03-01T10:06:00Z"),
        ]);
        policy.metadata.managed_fields = serde_json::from_value(entries).unwrap();
        assert_eq!(policy.status_written_at(), Some("2026-03-01T10:00:00Z".parse().unwrap()));
    }
}
