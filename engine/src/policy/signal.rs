//! What a policy watches.

use serde::{Deserialize, Serialize};

use super::selector::{LabelSelector, NamespacesSpec};

/// One thing that is watched. Exactly one kind of signal must be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {"rule": "[has(self.nodes), has(self.objects), has(self.workloads)].filter(set, set).size() == 1", "message": "exactly one of nodes, objects and workloads must be set"}
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
    /// Workloads: objects that run replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<WorkloadsSpec>,
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

/// Workloads of one kind, counted by their replicas as the kind's profile reads them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WorkloadsSpec {
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
}
