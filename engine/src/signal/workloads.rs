//! Workloads: how many of them serve, and how many replicas run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Kind, Source, Watched, count, shape};
use crate::expression::{FieldValue, SignalShape};
use crate::rules::Faults;
use crate::selector::{LabelSelector, Namespaces, NamespacesSpec};

/// Workloads of one kind. The profile of the kind defines how their replicas are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WorkloadsSpec {
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
}

/// Workloads of a kind, by their replicas.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Workloads {
    /// Which.
    pub scope: Box<WorkloadsSpec>,
}

impl Workloads {
    pub(super) fn parse(spec: &WorkloadsSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        faults.check_namespaces(spec.namespaces.as_ref(), field);
        Some(Self { scope: Box::new(spec.clone()) })
    }

    /// What is watched for it.
    pub fn watched(&self) -> Watched<'_> {
        let WorkloadsSpec { api_version, kind, selector, names, namespaces } = &*self.scope;
        let (selector, namespaces) = (selector.as_ref(), Namespaces::of(namespaces.as_ref()));
        Watched { api_version, kind, names, selector, namespaces }
    }
}

impl Kind for Workloads {
    fn source(&self) -> Source<'_> {
        Source::Watch(self.watched())
    }

    fn shape(&self) -> SignalShape {
        let counts = [
            "total",
            "available",
            "unavailable",
            "idle",
            "desiredReplicas",
            "readyReplicas",
            "rolloutsStuck",
        ];
        shape(&counts, "availableRatio")
    }

    fn present(&self, values: &BTreeMap<String, FieldValue>) -> Option<i64> {
        count(values, self.counted())
    }

    fn counted(&self) -> &'static str {
        "available"
    }

    fn needs_profile(&self) -> Option<(&'static str, &'static str)> {
        Some(("kind", "so Firebreak does not know where its replicas are; use objects"))
    }
}
