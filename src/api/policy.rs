//! The kind `RemediationPolicy`: its spec is the engine's
//! [`PolicySpec`], its status is what the controller says about it.

use firebreak_engine::incident::{RuleStatus, SignalStatus};
use firebreak_engine::policy::PolicySpec;
use firebreak_engine::response::RecentResponse;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;

/// What to watch, how severe it is, what to do about it, and the limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
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

/// What the controller says about a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemediationPolicyStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling, Stalled, Accepted, Authorized.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The one Incident that may act for this policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_incident: Option<ActiveIncident>,
    /// The newest responses, the last one last: what `guardrails.maxIncidents` and `guardrails.cooldown` go by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub recent_responses: Vec<RecentResponse>,
    /// Reasons of rules that open nothing until they were False once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub waiting_for: Vec<String>,
    /// How many of each signal there were before the trouble began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["signal"]))]
    pub expected: Vec<Expected>,
    /// What is read, as of the last change of a truth.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub signals: Vec<SignalStatus>,
    /// The truth of the severity rules and since when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub rules: Vec<RuleStatus>,
}

/// The claim of an Incident on its policy. One that the controller is about to
/// create has a nonce, one that exists its uid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveIncident {
    /// The name of the Incident.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// What the Incident's annotation must say for it to be the one that was claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub nonce: Option<String>,
    /// The uid of the Incident, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub uid: Option<String>,
}

/// How many there should be of what a signal counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expected {
    /// The name of the signal.
    #[schemars(length(min = 1, max = 40))]
    pub signal: String,
    /// How many.
    pub value: i64,
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
}
