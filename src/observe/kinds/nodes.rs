//! Nodes by label: how many there are, and how many of them work.
//!
//! - `total`: nodes that match; `ready`: those with condition Ready True;
//!   `notReady`: the others, also those whose kubelet is silent (Unknown).
//! - `readyRatio`: `ready / total`, absent over nothing.
//! - `schedulable`: those that are not cordoned, ready or not.
//! - `memoryPressure`, `diskPressure`, `pidPressure`: those with the condition True.
//! - `allocatable["nvidia.com/gpu"]`: per resource with a domain in its name, the
//!   sum over all nodes that match, ready or not, because the status of a node
//!   keeps it. Absent when no node has the resource at all.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firebreak_engine::expression::FieldValue;
use firebreak_engine::value::quantity;
use serde::Deserialize;
use serde_json::Value;

use crate::observe::counts::Counts;
use crate::observe::kind::{Kind, Values};

/// If there are more distinct sets of resources than this, unused ones are removed.
const MANY_POOLS: usize = 1024;

/// Nodes. Those of one pool have the same resources, so these are stored once.
#[derive(Clone, Debug, Default)]
pub(in crate::observe) struct Nodes {
    pools: BTreeSet<Arc<BTreeMap<String, i64>>>,
}

/// What is kept of one node.
#[derive(Debug, PartialEq)]
pub(in crate::observe) struct NodeDigest {
    ready: bool,
    schedulable: bool,
    memory_pressure: bool,
    disk_pressure: bool,
    pid_pressure: bool,
    allocatable: Arc<BTreeMap<String, i64>>,
}

#[derive(Deserialize)]
struct SlimNode<'a> {
    spec: Option<SlimSpec>,
    #[serde(borrow)]
    status: Option<SlimStatus<'a>>,
}

#[derive(Deserialize)]
struct SlimSpec {
    unschedulable: Option<bool>,
}

#[derive(Deserialize)]
struct SlimStatus<'a> {
    #[serde(borrow)]
    conditions: Option<Vec<SlimCondition<'a>>>,
    #[serde(borrow)]
    allocatable: Option<BTreeMap<Cow<'a, str>, Value>>,
}

#[derive(Deserialize)]
struct SlimCondition<'a> {
    #[serde(borrow, rename = "type")]
    type_: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
}

impl Kind for Nodes {
    type Digest = NodeDigest;

    fn digest(&mut self, node: &str) -> Result<(NodeDigest, Option<String>), String> {
        let node: SlimNode<'_> = serde_json::from_str(node).map_err(|error| error.to_string())?;
        let (conditions, allocatable) = node
            .status
            .map(|status| (status.conditions.unwrap_or_default(), status.allocatable.unwrap_or_default()))
            .unwrap_or_default();
        let is = |type_: &str| {
            conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
        };
        let digest = NodeDigest {
            ready: is("Ready"),
            schedulable: !node.spec.and_then(|spec| spec.unschedulable).unwrap_or(false),
            memory_pressure: is("MemoryPressure"),
            disk_pressure: is("DiskPressure"),
            pid_pressure: is("PIDPressure"),
            allocatable: self.shared(extended(allocatable)),
        };
        Ok((digest, None))
    }

    fn count(node: &NodeDigest, times: i64, counts: &mut Counts) {
        let NodeDigest { ready, schedulable, memory_pressure, disk_pressure, pid_pressure, allocatable } =
            node;
        let fields = [
            ("total", true),
            ("ready", *ready),
            ("notReady", !ready),
            ("schedulable", *schedulable),
            ("memoryPressure", *memory_pressure),
            ("diskPressure", *disk_pressure),
            ("pidPressure", *pid_pressure),
        ];
        for (field, holds) in fields {
            counts.add(field, if holds { times } else { 0 });
        }
        for (name, pieces) in allocatable.iter() {
            counts.offer(name, *pieces, times);
        }
    }

    fn unjudged(&self, _: &Counts) -> i64 {
        0
    }

    fn values(&self, counts: &Counts) -> Values {
        const FIELDS: [&str; 7] =
            ["total", "ready", "notReady", "schedulable", "memoryPressure", "diskPressure", "pidPressure"];
        let mut values: Values =
            FIELDS.iter().map(|field| ((*field).to_owned(), FieldValue::Int(counts.of(field)))).collect();
        if let Some(ratio) = counts.ratio("ready", &["total"]) {
            values.insert("readyRatio".to_owned(), FieldValue::Double(ratio));
        }
        values.insert("allocatable".to_owned(), FieldValue::Map(counts.offered()));
        values
    }
}

impl Nodes {
    fn shared(&mut self, offered: BTreeMap<String, i64>) -> Arc<BTreeMap<String, i64>> {
        if let Some(known) = self.pools.get(&offered) {
            return Arc::clone(known);
        }
        if self.pools.len() >= MANY_POOLS {
            self.pools.retain(|pool| Arc::strong_count(pool) > 1);
        }
        let offered = Arc::new(offered);
        self.pools.insert(Arc::clone(&offered));
        offered
    }
}

/// The resources that are counted in pieces: those with a domain in their name.
fn extended(allocatable: BTreeMap<Cow<'_, str>, Value>) -> BTreeMap<String, i64> {
    let extended = allocatable.into_iter().filter(|(name, _)| name.contains('/'));
    extended
        .filter_map(|(name, amount)| {
            let pieces = quantity(&amount)? / 1_000_000_000;
            Some((name.into_owned(), i64::try_from(pieces).ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::kinds::tests::read as read_as;
    use serde_json::json;

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
            .map(|index| nodes.digest(&node(&index.to_string(), "True", json!("8"))).unwrap().0)
            .collect();
        assert_eq!(nodes.pools.len(), 1);
        assert!(std::mem::size_of_val(&digests[0]) <= 16);
    }
}
