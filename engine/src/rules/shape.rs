//! The fields that each kind of signal gives to expressions.

use super::SignalKind;
use crate::expression::{FieldKind, SignalShape};
use crate::policy::SignalSpec;

/// The fields of a signal as it is written. One that is written wrongly is
/// refused elsewhere.
pub(super) fn shape_of_spec(signal: &SignalSpec) -> SignalShape {
    match (&signal.nodes, &signal.workloads) {
        (Some(_), _) => nodes(),
        (None, Some(_)) => workloads(),
        (None, None) => objects(),
    }
}

/// The fields of a signal.
pub(super) fn shape_of_kind(kind: &SignalKind) -> SignalShape {
    match kind {
        SignalKind::Nodes { .. } => nodes(),
        SignalKind::Objects { .. } => objects(),
        SignalKind::Workloads { .. } => workloads(),
    }
}

fn nodes() -> SignalShape {
    let mut shape = shape(
        &[
            "total",
            "expected",
            "missing",
            "ready",
            "notReady",
            "schedulable",
            "memoryPressure",
            "diskPressure",
            "pidPressure",
        ],
        "readyRatio",
    );
    shape.fields.insert("allocatable", FieldKind::IntMap);
    shape
}

fn objects() -> SignalShape {
    shape(&["total", "expected", "missing", "healthy", "unhealthy"], "healthyRatio")
}

fn workloads() -> SignalShape {
    shape(
        &[
            "total",
            "expected",
            "missing",
            "available",
            "unavailable",
            "desiredReplicas",
            "readyReplicas",
            "rolloutsStuck",
        ],
        "availableRatio",
    )
}

fn shape(counts: &[&'static str], ratio: &'static str) -> SignalShape {
    let counts = counts.iter().map(|name| (*name, FieldKind::Int));
    SignalShape { fields: counts.chain([(ratio, FieldKind::Double)]).collect() }
}
