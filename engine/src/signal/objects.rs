//! Objects of any kind: how many of them are healthy.

use serde::{Deserialize, Serialize};

use super::{Kind, Source, Watched, shape};
use crate::expression::{ObjectCondition, ObjectScope, SignalShape};
use crate::rules::Faults;
use crate::selector::{LabelSelector, Namespaces, NamespacesSpec};

/// Objects of one kind, and the condition for one of them to be healthy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ObjectsSpec {
    /// Group and version, such as `apps/v1`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 317)))]
    pub api_version: String,
    /// Kind, for example `Deployment`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub kind: String,
    /// Only objects with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Only objects with these names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100), inner(length(min = 1, max = 253))))]
    pub names: Vec<String>,
    /// The namespaces to select. Defaults to the namespace of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespacesSpec>,
    /// CEL over `object` that is true if the object is healthy. Defaults to the profile of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub healthy: Option<String>,
}

/// Objects of a kind.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Objects {
    /// Which.
    pub scope: Box<ObjectsSpec>,
    /// What makes one healthy; none: as the profile of the kind says.
    pub healthy: Option<ObjectCondition>,
}

impl Objects {
    pub(super) fn parse(spec: &ObjectsSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        faults.check_namespaces(spec.namespaces.as_ref(), field);
        let healthy = spec.healthy.as_ref().and_then(|healthy| {
            faults.object_condition(format!("{field}.healthy"), healthy, ObjectScope::Object)
        });
        Some(Self { scope: Box::new(spec.clone()), healthy })
    }

    /// What is watched for it.
    pub fn watched(&self) -> Watched<'_> {
        let ObjectsSpec { api_version, kind, selector, names, namespaces, healthy: _ } = &*self.scope;
        let (selector, namespaces) = (selector.as_ref(), Namespaces::of(namespaces.as_ref()));
        Watched { api_version, kind, names, selector, namespaces }
    }
}

impl Kind for Objects {
    fn source(&self) -> Source<'_> {
        Source::Watch(self.watched())
    }

    fn shape(&self) -> SignalShape {
        shape(&["total", "healthy", "unhealthy", "unknown", "idle"], "healthyRatio")
    }

    fn needs_profile(&self) -> Option<(&'static str, &'static str)> {
        self.healthy.is_none().then_some(("healthy", "so say here what is healthy"))
    }
}
