//! How a policy selects objects: by namespace, label, name and condition.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::TargetId;

/// The namespaces to select. Exactly one member must be set.
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

/// Which namespaces are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespaces<'a> {
    /// The policy's own.
    Own,
    /// All of the cluster, and what lives in none.
    All,
    /// These.
    Named(&'a [String]),
}

impl<'a> Namespaces<'a> {
    /// What a policy says.
    pub fn of(spec: Option<&'a NamespacesSpec>) -> Self {
        match spec {
            None => Self::Own,
            Some(NamespacesSpec { all: true, .. }) => Self::All,
            Some(NamespacesSpec { all: false, names }) => Self::Named(names),
        }
    }

    /// Where to list, for a policy in the namespace `own`; empty text is the whole cluster.
    pub fn places(self, own: &str) -> Vec<String> {
        match self {
            Self::Own => vec![own.to_owned()],
            Self::All => vec![String::new()],
            Self::Named(names) => names.to_vec(),
        }
    }
}

/// A label selector, as in Kubernetes but bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schemars(extend("maxProperties" = 16)))]
    pub match_labels: BTreeMap<String, LabelValue>,
    /// Additional requirements, all of which must be met.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub match_expressions: Vec<LabelRequirement>,
}

impl LabelSelector {
    /// Whether it selects an object.
    pub fn selects(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"].get(key).and_then(Value::as_str);
        let is_met = |requirement: &LabelRequirement| {
            let value = label(&requirement.key);
            let is_listed =
                value.is_some_and(|value| requirement.values.iter().any(|wanted| wanted.0 == value));
            match requirement.operator {
                LabelOperator::In => is_listed,
                LabelOperator::NotIn => !is_listed,
                LabelOperator::Exists => value.is_some(),
                LabelOperator::DoesNotExist => value.is_none(),
            }
        };
        self.match_labels.iter().all(|(key, wanted)| label(key) == Some(wanted.0.as_str()))
            && self.match_expressions.iter().all(is_met)
    }
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
    /// How the label is compared with the values.
    pub operator: LabelOperator,
    /// The values, for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub values: Vec<LabelValue>,
}

/// How a label is compared with values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum LabelOperator {
    /// The label has one of the values.
    In,
    /// The label is absent or has another value.
    NotIn,
    /// The label exists.
    Exists,
    /// The label does not exist.
    DoesNotExist,
}

/// The objects that a step changes. Without names and selector, all objects of the kind in these namespaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TargetsSpec {
    /// Group and version, such as `apps/v1`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 317)))]
    pub api_version: String,
    /// Kind, for example `Deployment`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub kind: String,
    /// Only objects with these names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100), inner(length(min = 1, max = 253))))]
    pub names: Vec<String>,
    /// Only objects with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// The namespaces to select. Defaults to the namespace of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespacesSpec>,
    /// CEL over `object` and `healthy`. Selects only objects for which it is true.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "where")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub where_: Option<String>,
}

/// A reference to one object. The namespace defaults to the namespace of the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Group and version, such as `apps/v1`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 317)))]
    pub api_version: String,
    /// Kind, for example `Deployment`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub kind: String,
    /// Namespace. Defaults to the namespace of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub namespace: Option<String>,
    /// Name.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub name: String,
}

impl ObjectRef {
    /// Whether it refers to this object, for a policy in the namespace `own`.
    pub fn names(&self, target: &TargetId, own: &str) -> bool {
        let group = |api_version: &str| api_version.split_once('/').map(|(group, _)| group.to_owned());
        target.kind == self.kind
            && target.name == self.name
            && target.namespace == self.namespace.as_deref().unwrap_or(own)
            && group(&target.api_version) == group(&self.api_version)
    }
}
