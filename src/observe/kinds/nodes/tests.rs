//! What is counted of nodes, at which age, and how they are judged.

use std::collections::BTreeSet;

use firebreak_engine::rules::Rules;
use firebreak_engine::signal::SignalKind;
use serde_json::json;

use super::*;
use crate::observe::fold::{Fold, Judge, Of};
use crate::observe::kinds::tests::{fields, read as read_as};

fn node(name: &str, ready: &str, gpus: Value) -> String {
    json!({
        "metadata": {"name": name, "uid": name, "resourceVersion": "1"},
        "status": {
            "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}],
            "allocatable": {"cpu": "8", "hugepages-2Mi": "0", "nvidia.com/gpu": gpus},
        },
    })
    .to_string()
}

fn read(nodes: &[String]) -> Values {
    read_as(&Nodes::default(), nodes).0
}

#[test]
fn ready_is_only_what_says_so() {
    let silent = json!({"metadata": {"uid": "4", "name": "n"}}).to_string();
    let nodes = [
        node("1", "True", json!("8")),
        node("2", "False", json!(8)),
        node("3", "Unknown", json!("8")),
        silent,
    ];
    let values = read(&nodes);
    assert_eq!(values["total"], FieldValue::Int(4));
    assert_eq!(values["ready"], FieldValue::Int(1));
    assert_eq!(values["notReady"], FieldValue::Int(3));
    assert_eq!(values["readyRatio"], FieldValue::Double(0.25));
    assert_eq!(values["allocatable"], FieldValue::Map([("nvidia.com/gpu".to_owned(), 24)].into()));
}

#[test]
fn over_nothing_there_is_no_ratio_and_no_resource() {
    let values = read(&[]);
    assert_eq!(values["total"], FieldValue::Int(0));
    assert!(!values.contains_key("readyRatio"));
    assert_eq!(values["allocatable"], FieldValue::Map(BTreeMap::new()));
}

#[test]
fn a_cordoned_node_and_one_under_pressure_are_counted() {
    let sick = json!({
        "metadata": {"uid": "1", "name": "n"},
        "spec": {"unschedulable": true},
        "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True"},
            {"type": "PIDPressure", "status": "True"}, {"type": "MemoryPressure", "status": "True"}]},
    });
    let values = read(&[sick.to_string()]);
    assert_eq!(values["schedulable"], FieldValue::Int(0));
    for field in ["memoryPressure", "diskPressure", "pidPressure", "ready"] {
        assert_eq!(values[field], FieldValue::Int(1), "{field}");
    }
}

#[test]
fn a_resource_without_amount_is_zero_and_one_that_no_node_has_is_absent() {
    let gpus = |amount: Value| read(&[node("1", "True", amount)])["allocatable"].clone();
    assert_eq!(gpus(json!("0")), FieldValue::Map([("nvidia.com/gpu".to_owned(), 0)].into()));
    assert_eq!(gpus(json!("many")), FieldValue::Map(BTreeMap::new()));
}

#[test]
fn equal_pools_are_kept_once() {
    let mut nodes = Nodes::default();
    let digests: Vec<_> = (0..100)
        .map(|index| nodes.digest(&node(&index.to_string(), "True", json!("8")), Timestamp::now()).unwrap().0)
        .collect();
    assert_eq!(nodes.pools.len(), 1);
    assert!(std::mem::size_of_val(&digests[0]) <= 24);
}

/// A node that was created this long ago.
fn aged(name: &str, ready: &str, seconds: i64) -> String {
    let mut node: Value = serde_json::from_str(&node(name, ready, json!("8"))).unwrap();
    node["metadata"]["creationTimestamp"] = json!((now() - SignedDuration::from_secs(seconds)).to_string());
    node.to_string()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap()
}

fn within(minutes: i64) -> Nodes {
    Nodes { within: SignedDuration::from_mins(minutes), ..Nodes::default() }
}

/// The counts of these nodes, put one after the other.
fn counts(kind: &Nodes, nodes: &[String]) -> Counts {
    let mut fold = Of { kind: kind.clone(), names: BTreeSet::new() }.fold();
    nodes.iter().for_each(|node| drop(fold.put(node, Timestamp::now())));
    fold.counts().clone()
}

fn shown(values: &Values, fields: [&str; 4]) -> [FieldValue; 4] {
    fields.map(|field| values[field].clone())
}

const STATES: [&str; 4] = ["total", "starting", "ready", "notReady"];

#[test]
fn a_young_node_that_was_never_ready_is_starting_until_its_time_is_over() {
    let kind = within(15);
    let counts =
        counts(&kind, &[aged("old", "True", 9999), aged("new", "False", 60), aged("late", "Unknown", 901)]);
    let values = kind.values(&counts, now());
    assert_eq!(shown(&values, STATES), [3, 1, 1, 1].map(FieldValue::Int));
    assert_eq!(values["readyRatio"], FieldValue::Double(0.5));
    assert_eq!(
        shown(&values, ["total", "healthy", "unhealthy", "unknown"]),
        [3, 1, 1, 0].map(FieldValue::Int)
    );
    let due = kind.changes_at(&counts, &fields(&["notReady"]), now()).unwrap();
    assert_eq!(due, now() + SignedDuration::from_secs(840));
    assert_eq!(
        kind.changes_at(&counts, &fields(&["total", "cordoned"]), now()),
        None,
        "nobody reads what changes"
    );
    assert_eq!(shown(&kind.values(&counts, due), STATES), [3, 0, 1, 2].map(FieldValue::Int));
    assert_eq!(kind.changes_at(&counts, &fields(&["notReady"]), due), None);
}

#[test]
fn a_node_that_was_ready_is_never_starting_again_until_it_is_listed_anew() {
    let kind = within(15);
    let seen = [aged("new", "True", 60), aged("new", "False", 60)];
    assert_eq!(shown(&kind.values(&counts(&kind, &seen), now()), STATES), [1, 0, 0, 1].map(FieldValue::Int));
    let listed = counts(&kind, &seen[1..]);
    assert_eq!(shown(&kind.values(&listed, now()), STATES), [1, 1, 0, 0].map(FieldValue::Int));
}

#[test]
fn a_node_that_starts_and_goes_is_taken_out_again() {
    let kind = within(15);
    let mut fold = Of { kind: kind.clone(), names: BTreeSet::new() }.fold();
    fold.put(&aged("new", "False", 60), Timestamp::now());
    fold.remove(&aged("new", "False", 60)).unwrap();
    assert_eq!(shown(&kind.values(fold.counts(), now()), STATES), [0, 0, 0, 0].map(FieldValue::Int));
    assert_eq!(kind.changes_at(fold.counts(), &fields(&["notReady"]), now()), None);
}

#[test]
fn capacity_is_counted_beside_what_is_allocatable() {
    let mut sick: Value = serde_json::from_str(&node("1", "True", json!("6"))).unwrap();
    sick["status"]["capacity"] = json!({"nvidia.com/gpu": "8", "cpu": "96"});
    let values = read(&[sick.to_string()]);
    let of = |pieces| FieldValue::Map([("nvidia.com/gpu".to_owned(), pieces)].into());
    assert_eq!((&values["allocatable"], &values["capacity"]), (&of(6), &of(8)));
}

/// The nodes of this policy's only signal of nodes.
fn of_policy(spec: &Value) -> Nodes {
    let rules = Rules::parse(&serde_json::from_value(spec.clone()).unwrap()).unwrap();
    let nodes = rules.signals.iter().find_map(|signal| match &signal.kind {
        SignalKind::Nodes(nodes) => Some(Nodes::of(nodes, signal.expect_within)),
        _ => None,
    });
    nodes.expect("a signal of nodes")
}

fn judging(healthy: &str) -> Nodes {
    of_policy(&json!({"signals": [{"name": "s", "nodes": {"healthy": healthy}}]}))
}

/// How many of one node are healthy, unhealthy, unknown and cordoned.
fn judged(kind: &Nodes, node: &Value) -> [FieldValue; 4] {
    let (values, _) = read_as(kind, &[node.to_string()]);
    shown(&values, ["healthy", "unhealthy", "unknown", "cordoned"])
}

const IS_HEALTHY: [i64; 4] = [1, 0, 0, 0];
const IS_SICK: [i64; 4] = [0, 1, 0, 0];
const IS_UNKNOWN: [i64; 4] = [0, 0, 1, 0];

#[test]
fn a_cordon_of_a_response_counts_neither_as_a_cordon_nor_as_sick() {
    let kind = judging(
        "!has(object.spec.unschedulable) && (!has(object.spec.taints) || object.spec.taints.size() == 0)",
    );
    let taint = json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]);
    let cordoned = json!({
        "metadata": {"uid": "1", "name": "n", "labels": {"firebreak.dev/incident": "uid"}},
        "spec": {"unschedulable": true, "taints": taint},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    assert_eq!(judged(&kind, &cordoned), IS_HEALTHY.map(FieldValue::Int));
    let mut by_hand = cordoned;
    by_hand["metadata"]["labels"] = json!({});
    assert_eq!(judged(&kind, &by_hand), [0, 1, 0, 1].map(FieldValue::Int));
}

#[test]
fn what_cannot_be_told_of_a_node_is_in_doubt() {
    let kind = judging("object.status.nodeInfo.bootID != ''");
    let node: Value = serde_json::from_str(&node("1", "True", json!("8"))).unwrap();
    assert_eq!(judged(&kind, &node), IS_UNKNOWN.map(FieldValue::Int));
    let doubt = read_as(&kind, &[node.to_string()]).1.unwrap();
    assert_eq!(
        doubt,
        "1 object(s) cannot be judged, for example 1: cannot tell whether it is healthy: the object has no nodeInfo"
    );
}

/// The shipped policy sees GPUs that are lost while the node stays Ready.
#[test]
fn the_shipped_policy_sees_gpus_that_a_ready_node_has_lost() {
    let policy = include_str!("../../../../examples/llm-d/gpu-cluster-failure.yaml");
    let policy: Value = serde_saphyr::from_str(policy).unwrap();
    let kind = of_policy(&policy["spec"]);
    let well = json!({
        "metadata": {"uid": "1", "name": "n"},
        "spec": {"taints": [{"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}]},
        "status": {
            "conditions": [
                {"type": "Ready", "status": "True"}, {"type": "GpuMemWatch", "status": "False"},
                {"type": "SysLogsXIDError", "status": "False"},
            ],
            "allocatable": {"nvidia.com/gpu": "8"}, "capacity": {"nvidia.com/gpu": "8"},
        },
    });
    let sick = |path: &str, value: Value| {
        let mut node = well.clone();
        *node.pointer_mut(path).unwrap() = value;
        judged(&kind, &node)
    };
    assert_eq!(judged(&kind, &well), IS_HEALTHY.map(FieldValue::Int));
    let table = [
        ("/status/conditions/0/status", json!("Unknown")),
        ("/status/conditions/1/status", json!("True")),
        ("/status/conditions/2/status", json!("True")),
        ("/spec/taints/0/key", json!("nvidia.com/gpu-xid-error")),
        ("/status/allocatable/nvidia.com~1gpu", json!("6")),
        ("/status/allocatable/nvidia.com~1gpu", json!("0")),
    ];
    for (path, value) in table {
        assert_eq!(sick(path, value.clone()), IS_SICK.map(FieldValue::Int), "{path} {value}");
    }
    let mut without = well.clone();
    (without["spec"], without["status"]["capacity"], without["status"]["allocatable"]) =
        (json!({}), json!({}), json!({}));
    assert_eq!(judged(&kind, &without), IS_HEALTHY.map(FieldValue::Int), "devices by claim");
}

fn placed(name: &str, ready: &str, zone: &str) -> String {
    json!({
        "metadata": {"name": name, "uid": name, "labels": {"topology.kubernetes.io/zone": zone, "app": name}},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    })
    .to_string()
}

/// By zone: how many are sick and healthy; and the zones of those that are gone, the newest first.
fn zones(fold: &dyn Fold, kind: &Nodes, now: Timestamp) -> (Vec<(String, usize, usize)>, Vec<String>) {
    let zone = |labels: &Labels| {
        assert!(labels.keys().eq(["topology.kubernetes.io/zone"]), "only places are kept: {labels:?}");
        labels["topology.kubernetes.io/zone"].clone()
    };
    let census = kind.census(fold.counts(), now);
    let present = census.present.iter().map(|alike| (zone(&alike.labels), alike.sick, alike.healthy));
    (present.collect(), census.gone.iter().map(|labels| zone(labels)).collect())
}

#[test]
fn nodes_are_counted_by_place_and_those_that_are_gone_are_remembered_also_over_a_new_list() {
    let kind = Nodes { within: SignedDuration::from_mins(15), ..Nodes::default() };
    let of = || Of { kind: kind.clone(), names: BTreeSet::new() }.fold();
    let now = Timestamp::from_second(1_000_000).unwrap();
    let mut fold = of();
    for (name, zone) in [("1", "a"), ("2", "b"), ("3", "b"), ("4", "b")] {
        fold.put(&placed(name, "True", zone), now);
    }
    fold.put(&placed("2", "False", "b"), now);
    fold.remove(&placed("3", "True", "b")).unwrap();
    let count = |zone: &str, sick, healthy| (zone.to_owned(), sick, healthy);
    let expected = (vec![count("a", 0, 1), count("b", 1, 1)], vec!["b".to_owned()]);
    assert_eq!(zones(&*fold, &kind, now), expected);

    // The others of zone b vanish between two lists, and the sick one was ready before.
    let mut next = of();
    next.put(&placed("1", "True", "a"), now);
    next.succeed(&*fold);
    assert_eq!(zones(&*next, &kind, now), (vec![count("a", 0, 1)], ["b"; 3].map(str::to_owned).to_vec()));

    // A day later nobody expects them any more.
    next.put(&placed("1", "False", "a"), after(now, SignedDuration::from_hours(25)));
    assert_eq!(zones(&*next, &kind, now), (vec![count("a", 1, 0)], vec![]));
}

#[test]
fn a_node_that_never_was_ready_is_sick_only_when_it_is_not_young_any_more_and_nobody_misses_it() {
    let kind = Nodes { within: SignedDuration::from_mins(15), ..Nodes::default() };
    let created = Timestamp::from_second(1_000_000).unwrap();
    let node =
        placed("1", "False", "a").replace(r#""uid""#, &format!(r#""creationTimestamp":"{created}","uid""#));
    let mut fold = Of { kind: kind.clone(), names: BTreeSet::new() }.fold();
    fold.put(&node, created);
    assert_eq!(zones(&*fold, &kind, after(created, SignedDuration::from_mins(14))).0, vec![]);
    let later = after(created, SignedDuration::from_mins(16));
    assert_eq!(zones(&*fold, &kind, later).0, vec![("a".to_owned(), 1, 0)]);
    fold.remove(&node).unwrap();
    assert_eq!(zones(&*fold, &kind, later), (vec![], vec![]));
}
