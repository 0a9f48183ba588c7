//! cordonNodes: no further pods are scheduled onto nodes.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::edit::{Edit, changes};
use super::targets::UNHEALTHY;
use super::{Autoscalers, Descriptor, Fields, Kind, Plan, Pods, Reach, Room, Targets, Values, Yields};
use crate::change::Change;
use crate::facts::Target;
use crate::path::FieldPath;
use crate::policy::Revert;
use crate::rules::Faults;
use crate::selector::{LabelSelector, NamespacesSpec, TargetsSpec};

/// Nodes are cordoned: no further pods are scheduled onto them, and those that run there stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CordonNodesSpec {
    /// Only nodes with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Only nodes with these names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100), inner(length(min = 1, max = 253))))]
    pub names: Vec<String>,
    /// CEL over `object` and `healthy`: only nodes for which it is true. Default `!healthy`.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "where")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub where_: Option<String>,
    /// The step has at most this many nodes cordoned at the same time. Default: no limit but the guardrails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 300)))]
    pub limit: Option<u32>,
}

/// Cordon nodes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CordonNodes {
    /// The nodes.
    pub targets: Targets,
    /// The maximum number at once.
    pub limit: Option<usize>,
    /// The field has the same place in every Node, so no profile is needed.
    unschedulable: FieldPath,
}

impl CordonNodes {
    pub(super) fn parse(spec: &CordonNodesSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        let CordonNodesSpec { selector, names, where_, limit } = spec;
        let scope = TargetsSpec {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            names: names.clone(),
            selector: selector.clone(),
            namespaces: Some(NamespacesSpec { all: true, names: Vec::new() }),
            where_: where_.clone(),
        };
        Some(Self {
            targets: Targets::written_in(&scope, UNHEALTHY, field, faults)?,
            limit: limit.map(|limit| limit as usize),
            unschedulable: FieldPath::keys(["spec", "unschedulable"]).ok()?,
        })
    }
}

impl Kind for CordonNodes {
    fn targets(&self) -> &Targets {
        &self.targets
    }

    fn targets_mut(&mut self) -> &mut Targets {
        &mut self.targets
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            yields: Yields::Loans,
            pods: Pods::Leaves,
            values: Values::Absolute,
            autoscalers: Autoscalers::Ignored,
            reach: Reach::Cluster,
            fields: Fields::Profile,
            room: Room::AsItIs,
            revert: Revert::OnRecovery,
        }
    }

    fn plan(&self, target: &Target, _: Option<&Change>) -> Plan {
        let cordoned = Edit { path: &self.unschedulable, after: Some(json!(true)), out_of_bounds: None };
        changes(&target.object, std::iter::once(cordoned))
    }

    fn limit(&self) -> Option<usize> {
        self.limit
    }
}
