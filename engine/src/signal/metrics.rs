//! What nodes or pods use of their processors and memory.

use serde::{Deserialize, Serialize};

use super::{Kind, Polled, Source, Watched};
use crate::expression::{FieldKind, SignalShape};
use crate::rules::Faults;
use crate::selector::{LabelSelector, Namespaces, NamespacesSpec};

/// What nodes or pods use of their processors and memory, as metrics.k8s.io says, which metrics-server usually serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.of == 'pods' || !has(self.namespaces)", "message": "nodes are in no namespace; remove namespaces"}
])))]
#[serde(rename_all = "camelCase")]
pub struct MetricsSpec {
    /// Whose usage: `nodes`, as a share of what they can allocate, or `pods`, as a share of what they request.
    pub of: MetricsOf,
    /// The nodes or pods to select. Defaults to all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// The namespaces of the pods. Defaults to the namespace of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespacesSpec>,
}

/// Whose usage is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum MetricsOf {
    /// Nodes.
    Nodes,
    /// Pods.
    Pods,
}

impl MetricsOf {
    /// The resource, in the core group as in metrics.k8s.io.
    pub const fn resource(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Pods => "pods",
        }
    }
}

/// What nodes or pods use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Whose usage.
    pub of: MetricsOf,
    /// Which of them; none is all.
    pub selector: Option<LabelSelector>,
    /// Where pods are; none is the namespace of the policy.
    pub namespaces: Option<NamespacesSpec>,
}

impl Metrics {
    /// The group of the metrics API.
    pub const GROUP: &'static str = "metrics.k8s.io";
    /// Its only version.
    pub const VERSION: &'static str = "v1beta1";

    pub(super) fn parse(spec: &MetricsSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        let MetricsSpec { of, selector, namespaces } = spec.clone();
        match of {
            MetricsOf::Nodes if namespaces.is_some() => {
                faults.add(format!("{field}.namespaces"), "nodes are in no namespace; remove it");
            }
            MetricsOf::Nodes | MetricsOf::Pods => faults.check_namespaces(namespaces.as_ref(), field),
        }
        Some(Self { of, selector, namespaces })
    }

    /// The objects whose usage is measured. They are watched for what they can allocate or request.
    pub fn watched(&self) -> Watched<'_> {
        let (kind, namespaces) = match self.of {
            MetricsOf::Nodes => ("Node", Namespaces::All),
            MetricsOf::Pods => ("Pod", Namespaces::of(self.namespaces.as_ref())),
        };
        Watched { api_version: "v1", kind, names: &[], selector: self.selector.as_ref(), namespaces }
    }
}

impl Kind for Metrics {
    fn source(&self) -> Source<'_> {
        Source::Poll(Polled::Metrics(self))
    }

    fn shape(&self) -> SignalShape {
        let fields = [
            ("cpuRatio", FieldKind::Double),
            ("memoryRatio", FieldKind::Double),
            ("maxMemoryBytes", FieldKind::Int),
        ];
        SignalShape { fields: fields.into() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::rules::Rules;
    use crate::signal::SignalKind;

    fn parse(metrics: Value, when: &str) -> Result<Metrics, Vec<String>> {
        let rule = json!({"level": "P1", "reason": "Busy", "when": when});
        let spec = json!({"signals": [{"name": "s", "metrics": metrics}], "severity": [rule]});
        let rules = Rules::parse(&serde_json::from_value(spec).unwrap())
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let SignalKind::Metrics(metrics) = &rules.signals[0].kind else { panic!("{rules:?}") };
        assert!(rules.signals[0].pace.is_some(), "it is asked at intervals");
        Ok(metrics.clone())
    }

    const BUSY: &str = "signals.s.cpuRatio > 0.75 || signals.s.memoryRatio > 0.9 || signals.s.maxMemoryBytes > 0 || !signals.s.known";

    #[test]
    fn nodes_are_everywhere_and_pods_in_the_namespace_of_the_policy_unless_it_names_others() {
        let places = |metrics: Value| parse(metrics, BUSY).unwrap().watched().namespaces.places("own");
        assert_eq!(places(json!({"of": "nodes"})), [""]);
        assert_eq!(places(json!({"of": "pods"})), ["own"]);
        assert_eq!(places(json!({"of": "pods", "namespaces": {"names": ["a", "b"]}})), ["a", "b"]);
        assert_eq!(places(json!({"of": "pods", "namespaces": {"all": true}})), [""]);
    }

    #[test]
    fn what_makes_no_sense_is_a_fault() {
        let table = [
            (
                json!({"of": "nodes", "namespaces": {"all": true}}),
                "spec.signals[0].metrics.namespaces: nodes are in no namespace",
            ),
            (json!({"of": "pods", "namespaces": {}}), "spec.signals[0].metrics.namespaces: "),
        ];
        for (metrics, expected) in table {
            let faults = parse(metrics.clone(), BUSY).unwrap_err();
            assert!(faults.len() == 1 && faults[0].starts_with(expected), "{metrics}: {faults:?}");
        }
        let faults = parse(json!({"of": "pods"}), "signals.s.missing > 0").unwrap_err();
        assert!(faults[0].contains("cpuRatio, known, maxMemoryBytes, memoryRatio"), "{faults:?}");
        let unwritten: Result<MetricsSpec, _> = serde_json::from_value(json!({"of": "containers"}));
        assert!(unwritten.is_err());
    }
}
