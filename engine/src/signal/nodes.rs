//! Nodes by label: how many of them work.

use serde::{Deserialize, Serialize};

use super::{Kind, Source, Watched, shape};
use crate::expression::{FieldKind, SignalShape};
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
}

/// Nodes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Nodes {
    /// Which; none is all.
    pub selector: Option<LabelSelector>,
}

impl Nodes {
    pub(super) fn parse(spec: &NodesSpec, _: &str, _: &mut Faults) -> Option<Self> {
        Some(Self { selector: spec.selector.clone() })
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
        let counts =
            ["total", "ready", "notReady", "schedulable", "memoryPressure", "diskPressure", "pidPressure"];
        let mut shape = shape(&counts, "readyRatio");
        shape.fields.insert("allocatable", FieldKind::IntMap);
        shape
    }

    fn unknown_when_empty(&self) -> Option<&'static str> {
        Some("no node matches and none is expected; check the selector, or set expect")
    }
}
