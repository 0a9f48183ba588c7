//! The kinds of signals: the only list of them, and a file for each with how a policy writes it, how it is parsed,
//! where its values come from, and which fields it gives to expressions.
//!
//! How the values are read is in `src/observe/`. ARCHITECTURE.md says how a kind is added.

mod alertmanager;
mod events;
mod http;
mod matcher;
mod metrics;
mod nodes;
mod objects;
mod pods;
mod poll;
mod prometheus;
mod promql;
mod push;
mod workloads;

use std::collections::BTreeMap;

pub use self::alertmanager::{Alertmanager, AlertmanagerSpec, AlertsFrom, ReceiveSpec};
pub use self::events::{EventType, Events, EventsSpec};
pub use self::http::{Http, HttpSpec, HttpTarget, Scheme, ServiceSpec};
pub use self::matcher::Matcher;
pub use self::metrics::{Metrics, MetricsOf, MetricsSpec};
pub use self::nodes::{Nodes, NodesSpec};
pub use self::objects::{Objects, ObjectsSpec};
pub use self::pods::{Pods, PodsSpec};
pub use self::poll::{EndpointType, Pace, Polled};
pub use self::prometheus::{Prometheus, PrometheusSpec};
pub use self::push::Hearing;
pub use self::workloads::{Workloads, WorkloadsSpec};
use crate::expression::{FieldKind, FieldValue, SignalShape};
use crate::one_of::one_of;
use crate::period::Period;
use crate::selector::{LabelSelector, Namespaces};

one_of! {
    /// A signal. Exactly one kind of signal must be set.
    written SignalSpec {
        /// The name in expressions: `signals.<name>.<field>`.
        #[cfg_attr(
            feature = "schema",
            schemars(length(min = 1, max = 40), regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_]*$"))
        )]
        pub name: String,
        /// The expected number of objects. Defaults to the highest number within `expectWithin`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 1_000_000)))]
        pub expect: Option<i64>,
        /// How long the highest number of objects is expected, and how long a new node may take to become ready. At most
        /// 24h. Defaults to 15m.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub expect_within: Option<Period>,
        /// How often the value is asked for; only for signals that are asked. Defaults to 15s.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub every: Option<Period>,
        /// How long one request may take; only for signals that are asked. Defaults to 5s.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub timeout: Option<Period>,
        /// How old a value may be before the signal is Unknown; not for signals that are watched. Defaults to 1m, and to 5h for
        /// alerts that are received.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub max_age: Option<Period>,
    }
    /// What a signal reads.
    parsed SignalKind: dyn Kind
    "kind of signal" {
        /// Alerts that fire in Alertmanager.
        "alertmanager" alertmanager: Alertmanager(AlertmanagerSpec),
        /// Events of Kubernetes, counted within a window.
        "events" events: Events(EventsSpec),
        /// A request over HTTP.
        "http" http: Http(HttpSpec),
        /// What nodes or pods use of their processors and memory.
        "metrics" metrics: Metrics(MetricsSpec),
        /// Nodes of the cluster.
        "nodes" nodes: Nodes(NodesSpec),
        /// Objects of any kind, counted by health.
        "objects" objects: Objects(ObjectsSpec),
        /// Pods, by what keeps them from running.
        "pods" pods: Pods(PodsSpec),
        /// A query of Prometheus.
        "prometheus" prometheus: Prometheus(PrometheusSpec),
        /// Workloads: objects that run replicas.
        "workloads" workloads: Workloads(WorkloadsSpec),
    }
}

/// What a kind of signal declares.
pub trait Kind {
    /// Where its values come from.
    fn source(&self) -> Source<'_>;

    /// The fields that it gives to expressions, without `known`, which every kind has. A kind of which a number of objects is
    /// expected has `expected` and `missing`, which the engine adds.
    fn shape(&self) -> SignalShape;

    /// How many of its objects are there, so that as many are expected later; none if that is not known.
    fn present(&self, values: &BTreeMap<String, FieldValue>) -> Option<i64> {
        Some(count(values, "total")? - count(values, "idle").unwrap_or_default())
    }

    /// What counts as present, in a word. See [`Self::present`].
    fn counted(&self) -> &'static str {
        "total"
    }

    /// Adds to a reading of a story what follows from its other fields where the story does not say it.
    fn complete(&self, _values: &mut BTreeMap<String, FieldValue>) {}

    /// Why a signal of which no object was ever there, without `expect`, has no reading; none if it has one.
    fn unknown_when_empty(&self) -> Option<&'static str> {
        None
    }

    /// The field of the spec that makes no sense for a kind of object without a profile, and what to do; none if
    /// the signal needs no profile.
    fn needs_profile(&self) -> Option<(&'static str, &'static str)> {
        None
    }
}

/// Where the values of a signal come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source<'a> {
    /// Objects that are watched and counted, as the policy's ServiceAccount.
    Watch(Watched<'a>),
    /// Something that is asked at intervals.
    Poll(Polled<'a>),
    /// Alerts that are sent to Firebreak.
    Push,
}

/// The objects that a signal watches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watched<'a> {
    /// Group and version.
    pub api_version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Only these; empty for all.
    pub names: &'a [String],
    /// Only those with these labels.
    pub selector: Option<&'a LabelSelector>,
    /// Where.
    pub namespaces: Namespaces<'a>,
}

/// A count of a reading.
pub(crate) fn count(values: &BTreeMap<String, FieldValue>, field: &str) -> Option<i64> {
    match values.get(field)? {
        FieldValue::Int(number) => Some(*number),
        FieldValue::Boolean(_) | FieldValue::Double(_) | FieldValue::Map(_) => None,
    }
}

/// A shape with counts, a ratio and what the engine adds.
fn shape(counts: &[&'static str], ratio: &'static str) -> SignalShape {
    let added = [SignalShape::EXPECTED, SignalShape::MISSING];
    let counts = counts.iter().chain(&added).map(|name| (*name, FieldKind::Int));
    SignalShape { fields: counts.chain([(ratio, FieldKind::Double)]).collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::rules::Rules;

    /// The faults of a policy with this signal, which a rule reads.
    fn faults(signal: Value) -> Vec<String> {
        let rule = json!({"level": "P0", "reason": "Outage", "when": "signals.s.healthy == 0"});
        let spec = serde_json::from_value(json!({"signals": [signal], "severity": [rule]})).unwrap();
        let faults = Rules::parse(&spec).unwrap_err();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_signal_of_no_kind_or_two_is_one_fault_and_taken_for_none() {
        let known = "exactly one kind of signal must be set; this release has alertmanager, events, http, metrics, nodes, objects, pods, \
                     prometheus, workloads";
        let two =
            json!({"name": "s", "nodes": {}, "objects": {"apiVersion": "apps/v1", "kind": "Deployment"}});
        for signal in [json!({"name": "s"}), json!({"name": "s", "horoscope": {}}), two] {
            assert_eq!(faults(signal), [format!("spec.signals[0]: {known}")]);
        }
    }

    #[test]
    fn what_is_wrong_in_a_signal_hides_nothing_that_is_wrong_in_its_readers() {
        let objects =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "healthy": "object.", "namespaces": {}});
        let faults = faults(json!({"name": "s", "objects": objects}));
        let fields: Vec<&str> =
            faults.iter().filter_map(|fault| fault.split_once(": ")).map(|(f, _)| f).collect();
        assert_eq!(fields, ["spec.signals[0].objects.namespaces", "spec.signals[0].objects.healthy"]);
        let readers =
            self::faults(json!({"name": "s", "workloads": {"apiVersion": "apps/v1", "kind": "Deployment"}}));
        assert!(readers[0].starts_with("spec.severity[0].when: "), "{readers:?}");
    }
}
