//! What holds for every kind of signal that is counted from objects.

use std::collections::{BTreeMap, BTreeSet};

use firebreak_engine::expression::{FieldKind, FieldValue, SignalShape};
use firebreak_engine::policy::PolicySpec;
use firebreak_engine::rules::Rules;
use firebreak_engine::signal::SignalKind;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::observe::fold::{Judge, Of};
use crate::observe::kind::{Kind, Values};
use crate::observe::source::Source;
use crate::workloads::Profiles;

/// The kinds that are asked instead, see `observe/poll`.
const ASKED: [&str; 4] = ["alertmanager", "http", "metrics", "prometheus"];

/// The names of fields that an expression reads.
pub(super) fn fields(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The reading of a kind on these objects, and what is in doubt of them.
pub(super) fn read(kind: &impl Kind, objects: &[String]) -> (Values, Option<String>) {
    reading(&Of { kind: kind.clone(), names: Default::default() }, objects)
}

fn reading(judge: &dyn Judge, objects: &[String]) -> (Values, Option<String>) {
    let mut fold = judge.fold();
    for object in objects {
        fold.put(object, Timestamp::now());
    }
    let doubt = fold.uncounted().told("read").or(fold.unjudged().told("judged"));
    (judge.values(fold.counts(), Timestamp::now()), doubt)
}

/// A signal of each kind that is counted from objects, and an object of which everything is known.
fn samples() -> BTreeMap<&'static str, (Value, Value)> {
    let deployment = json!({
        "metadata": {"name": "a", "uid": "a", "generation": 1},
        "spec": {"replicas": 2},
        "status": {"readyReplicas": 1, "availableReplicas": 1, "conditions": [{"type": "Available", "status": "True"}]},
    });
    let node =
        json!({"metadata": {"name": "a", "uid": "a"}, "status": {"allocatable": {"nvidia.com/gpu": "8"}}});
    let of_deployments = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
    BTreeMap::from([
        (
            "events",
            (json!({"reason": "FailedMount"}), json!({"metadata": {"name": "a", "uid": "a"}, "count": 3})),
        ),
        ("nodes", (json!({}), node)),
        ("objects", (of_deployments.clone(), deployment.clone())),
        ("pods", (json!({}), json!({"metadata": {"name": "a", "uid": "a"}, "status": {"phase": "Running"}}))),
        ("workloads", (of_deployments, deployment)),
    ])
}

#[test]
fn every_kind_gives_the_fields_of_its_shape_and_no_others() {
    let samples = samples();
    let profiles = Profiles::built_in().unwrap();
    let counted: Vec<&str> = SignalKind::NAMES.iter().copied().filter(|name| !ASKED.contains(name)).collect();
    assert_eq!(samples.keys().copied().collect::<Vec<_>>(), counted, "a kind without a sample");
    for (name, (signal, object)) in samples {
        let spec = json!({"signals": [{"name": "s", name: signal}]});
        let spec: PolicySpec = serde_json::from_value(spec).unwrap();
        let rules = Rules::parse(&spec).unwrap();
        let source = Source::of("ns", "ns/sa", &profiles, &rules.signals[0]).unwrap();
        let Source::Watch { judge, .. } = &source else { panic!("{name} is not counted from objects") };
        let (values, doubt) = reading(judge.as_ref(), &[object.to_string()]);
        assert_eq!(doubt, None, "{name}");
        let given: BTreeMap<&str, FieldKind> = values
            .iter()
            .map(|(field, value)| {
                let kind = match value {
                    FieldValue::Int(_) => FieldKind::Int,
                    FieldValue::Double(_) => FieldKind::Double,
                    FieldValue::Boolean(_) => FieldKind::Boolean,
                    FieldValue::Map(_) => FieldKind::IntMap,
                };
                (field.as_str(), kind)
            })
            .collect();
        // The engine adds these.
        let mut shape = rules.signals[0].kind.kind().shape().fields;
        shape.retain(|field, _| !SignalShape::ADDED.contains(field));
        assert_eq!(given, shape, "{name}");
    }
}
