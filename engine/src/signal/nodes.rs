//! Nodes by label: how many of them work.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Kind, Source, Watched, count, shape};
use crate::expression::{FieldKind, FieldValue, ObjectCondition, ObjectScope, SignalShape};
use crate::rules::Faults;
use crate::selector::{LabelSelector, Namespaces};

/// Nodes by label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodesSpec {
    /// The nodes to select. Defaults to all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// CEL over `object`, a Node, that is true if the node is healthy. Defaults to its condition Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub healthy: Option<String>,
}

/// Nodes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Nodes {
    /// Which; none is all.
    pub selector: Option<LabelSelector>,
    /// What makes one healthy; none: that it is Ready.
    pub healthy: Option<ObjectCondition>,
}

impl Nodes {
    pub(super) fn parse(spec: &NodesSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        let healthy = spec.healthy.as_ref().and_then(|healthy| {
            faults.object_condition(format!("{field}.healthy"), healthy, ObjectScope::Object)
        });
        Some(Self { selector: spec.selector.clone(), healthy })
    }

    /// What is watched for it.
    pub fn watched(&self) -> Watched<'_> {
        Watched {
            api_version: "v1",
            kind: "Node",
            names: &[],
            selector: self.selector.as_ref(),
            namespaces: Namespaces::All,
        }
    }
}

impl Kind for Nodes {
    fn source(&self) -> Source<'_> {
        Source::Watch(self.watched())
    }

    fn shape(&self) -> SignalShape {
        let counts = [
            "total",
            "starting",
            "ready",
            "notReady",
            "healthy",
            "unhealthy",
            "unknown",
            "cordoned",
            "schedulable",
            "memoryPressure",
            "diskPressure",
            "pidPressure",
        ];
        let mut shape = shape(&counts, "readyRatio");
        shape.fields.insert("healthyRatio", FieldKind::Double);
        shape.fields.extend([("allocatable", FieldKind::IntMap), ("capacity", FieldKind::IntMap)]);
        shape
    }

    fn present(&self, values: &BTreeMap<String, FieldValue>) -> Option<i64> {
        count(values, self.counted())
    }

    fn counted(&self) -> &'static str {
        "ready"
    }

    /// Without an expression of its own, a node is healthy if it is ready.
    fn complete(&self, values: &mut BTreeMap<String, FieldValue>) {
        for (field, same) in [("healthy", "ready"), ("unhealthy", "notReady"), ("healthyRatio", "readyRatio")]
        {
            if let Some(value) = values.get(same).cloned() {
                values.entry(field.to_owned()).or_insert(value);
            }
        }
    }

    fn unknown_when_empty(&self) -> Option<&'static str> {
        Some("no node that matches was ever ready, and none is expected; check the selector, or set expect")
    }
}
