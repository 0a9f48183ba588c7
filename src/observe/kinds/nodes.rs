//! Nodes by label: how many there are, and how many of them work.
//!
//! - `total`: nodes that match; `ready`: those with condition Ready True;
//!   `starting`: those that were never ready and are young; `notReady`: the others,
//!   also those whose kubelet is silent (Unknown). After a new list, a node that is not
//!   ready is judged by its age alone.
//! - `readyRatio`: `ready` over `ready` and `notReady`, absent over nothing.
//! - `healthy`, `unhealthy`, `unknown`: as the expression of the signal says, or by
//!   condition Ready; a node that is starting is none of them. `healthyRatio`:
//!   `healthy` over `healthy` and `unhealthy`.
//! - `schedulable`: those that are not cordoned, ready or not; `cordoned`: those that
//!   were cordoned, but not by a response of Firebreak, whose label is on them. What a
//!   response cordons is judged as if it had not: otherwise, it would keep its
//!   own rule true.
//! - `memoryPressure`, `diskPressure`, `pidPressure`: those with the condition True.
//! - `allocatable["nvidia.com/gpu"]`, `capacity[…]`: per resource with a domain in its
//!   name, the sum over all nodes that match, ready or not, because the status of a node
//!   keeps it. Absent when no node has the resource at all.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firebreak_engine::common::{Census, Labels, PLACES};
use firebreak_engine::expression::{FieldValue, ObjectCondition, SignalShape};
use firebreak_engine::period::after;
use firebreak_engine::signal;
use firebreak_engine::value::quantity;
use firebreak_engine::verdict::Verdict;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::api::names;
use crate::observe::counts::{Counts, Standing};
use crate::observe::kind::{Kind, Values};

/// If there are more distinct sets of resources than this, unused ones are removed.
const MANY_POOLS: usize = 1024;
/// The taint that a cordon brings with it.
const CORDON_TAINT: &str = "node.kubernetes.io/unschedulable";
/// How long the labels of a node that is gone are remembered: as long as it may be expected.
const GONE_FOR: SignedDuration = SignedDuration::from_hours(24);

/// Nodes. Those of one pool have the same resources and places, so these are stored once.
#[derive(Clone, Debug, Default)]
pub(in crate::observe) struct Nodes {
    /// What makes one healthy; none: that it is ready.
    healthy: Option<ObjectCondition>,
    /// How long a new one may take to become ready.
    within: SignedDuration,
    pools: BTreeSet<Arc<Pool>>,
}

/// What the nodes of a pool have in common.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pool {
    allocatable: BTreeMap<String, i64>,
    capacity: BTreeMap<String, i64>,
    /// The labels that say where they are.
    places: Arc<Labels>,
}

/// What is kept of one node.
#[derive(Debug, PartialEq)]
pub(in crate::observe) struct NodeDigest {
    ready: bool,
    /// It was seen ready, now or before.
    was_ready: bool,
    schedulable: bool,
    cordoned: bool,
    memory_pressure: bool,
    disk_pressure: bool,
    pid_pressure: bool,
    health: Verdict,
    /// In seconds.
    created: u32,
    pool: Arc<Pool>,
}

#[derive(Deserialize)]
struct SlimNode<'a> {
    #[serde(borrow)]
    metadata: SlimMetadata<'a>,
    spec: Option<SlimSpec>,
    #[serde(borrow)]
    status: Option<SlimStatus<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimMetadata<'a> {
    creation_timestamp: Option<Timestamp>,
    #[serde(borrow)]
    labels: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
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
    #[serde(borrow)]
    capacity: Option<BTreeMap<Cow<'a, str>, Value>>,
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

    fn digest(&mut self, json: &str, _: Timestamp) -> Result<(NodeDigest, Option<String>), String> {
        let SlimNode { metadata, spec, status } =
            serde_json::from_str(json).map_err(|error| error.to_string())?;
        let (conditions, allocatable, capacity) = status
            .map(|it| {
                let (allocatable, capacity) =
                    (it.allocatable.unwrap_or_default(), it.capacity.unwrap_or_default());
                (it.conditions.unwrap_or_default(), allocatable, capacity)
            })
            .unwrap_or_default();
        let is = |type_: &str| {
            conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
        };
        let ready = is("Ready");
        let schedulable = !spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
        let labels = metadata.labels.unwrap_or_default();
        let is_lent = labels.contains_key(names::INCIDENT);
        let (health, doubt) = match &self.healthy {
            None => (ready.into(), None),
            Some(healthy) => judge(healthy, json, is_lent && !schedulable)?,
        };
        let created = metadata.creation_timestamp.map_or(0, second);
        let digest = NodeDigest {
            ready,
            was_ready: ready,
            schedulable,
            cordoned: !schedulable && !is_lent,
            memory_pressure: is("MemoryPressure"),
            disk_pressure: is("DiskPressure"),
            pid_pressure: is("PIDPressure"),
            health,
            created,
            pool: self.shared(Pool {
                allocatable: extended(allocatable),
                capacity: extended(capacity),
                places: Arc::new(places(&labels)),
            }),
        };
        Ok((digest, doubt))
    }

    fn succeed(&self, before: &NodeDigest, now: &mut NodeDigest, _: Timestamp) {
        now.was_ready |= before.was_ready;
    }

    fn count(node: &NodeDigest, times: i64, counts: &mut Counts) {
        let fields = [
            ("total", true),
            ("schedulable", node.schedulable),
            ("cordoned", node.cordoned),
            ("memoryPressure", node.memory_pressure),
            ("diskPressure", node.disk_pressure),
            ("pidPressure", node.pid_pressure),
        ];
        for (field, holds) in fields {
            counts.add(field, if holds { times } else { 0 });
        }
        let health = match node.health {
            Verdict::True => HEALTHY,
            Verdict::False => UNHEALTHY,
            Verdict::Unknown => UNKNOWN,
        };
        for field in [if node.ready { READY } else { NOT_READY }, health] {
            match node.was_ready {
                true => counts.add(field, times),
                false => counts.add_dated(field, node.created, times),
            }
        }
        let standing = match node.health {
            Verdict::True => Some(Standing::Healthy),
            Verdict::False => Some(Standing::Sick),
            Verdict::Unknown => None,
        };
        if let Some(standing) = standing {
            let from = (!node.was_ready).then_some(node.created);
            counts.place(&node.pool.places, standing, from, times);
        }
        for (field, resources) in [(ALLOCATABLE, &node.pool.allocatable), (CAPACITY, &node.pool.capacity)] {
            for (name, pieces) in resources {
                counts.offer(field, name, *pieces, times);
            }
        }
    }

    fn lose(node: &NodeDigest, counts: &mut Counts, at: Timestamp) {
        // Nobody expects one that was never ready.
        if node.was_ready {
            counts.lose(&node.pool.places, second(at));
        }
    }

    fn forget(&self, counts: &mut Counts, at: Timestamp) {
        counts.forget_gone(second(after(at, -GONE_FOR)));
    }

    fn unjudged(&self, counts: &Counts) -> i64 {
        let late: i64 = counts.dated(UNKNOWN).map(|(_, amount)| amount).sum();
        counts.of(UNKNOWN) + late
    }

    fn values(&self, counts: &Counts, now: Timestamp) -> Values {
        const FIELDS: [&str; 12] = [
            "total",
            STARTING,
            READY,
            NOT_READY,
            HEALTHY,
            UNHEALTHY,
            UNKNOWN,
            "cordoned",
            "schedulable",
            "memoryPressure",
            "diskPressure",
            "pidPressure",
        ];
        let mut counts = counts.clone();
        for field in LATE {
            let late: Vec<_> = counts.dated(field).collect();
            for (created, amount) in late {
                match self.starts_until(created) > now {
                    false => counts.add(field, amount),
                    true if field == NOT_READY => counts.add(STARTING, amount),
                    true => {}
                }
            }
        }
        let mut values: Values =
            FIELDS.iter().map(|field| ((*field).to_owned(), FieldValue::Int(counts.of(field)))).collect();
        let ratios =
            [("readyRatio", READY, [READY, NOT_READY]), ("healthyRatio", HEALTHY, [HEALTHY, UNHEALTHY])];
        for (name, part, whole) in ratios {
            if let Some(ratio) = counts.ratio(part, &whole) {
                values.insert(name.to_owned(), FieldValue::Double(ratio));
            }
        }
        for field in [ALLOCATABLE, CAPACITY] {
            values.insert(field.to_owned(), FieldValue::Map(counts.offered(field)));
        }
        values
    }

    fn census(&self, counts: &Counts, now: Timestamp) -> Census {
        counts.census(|created| self.starts_until(created) <= now)
    }

    fn changes_at(&self, counts: &Counts, read: &BTreeSet<String>, now: Timestamp) -> Option<Timestamp> {
        if !OF_LATE.iter().any(|field| read.contains(*field)) {
            return None;
        }
        let late = LATE.into_iter().flat_map(|field| counts.dated(field));
        late.map(|(created, _)| self.starts_until(created)).filter(|due| *due > now).min()
    }

    fn identity(&self) -> Option<String> {
        self.healthy.as_ref().map(|healthy| healthy.source().to_owned())
    }
}

const STARTING: &str = "starting";
const READY: &str = "ready";
const NOT_READY: &str = "notReady";
const HEALTHY: &str = "healthy";
const UNHEALTHY: &str = "unhealthy";
const UNKNOWN: &str = "unknown";
/// What a node that was never ready counts in only when it is not young any more.
const LATE: [&str; 4] = [NOT_READY, HEALTHY, UNHEALTHY, UNKNOWN];
/// The fields that change when such a node is not young any more.
const OF_LATE: [&str; 8] =
    [STARTING, NOT_READY, "readyRatio", HEALTHY, UNHEALTHY, UNKNOWN, "healthyRatio", SignalShape::MISSING];
const ALLOCATABLE: &str = "allocatable";
const CAPACITY: &str = "capacity";

/// Whether a node is healthy, and why that cannot be told. What a response has cordoned is judged without that.
fn judge(healthy: &ObjectCondition, json: &str, is_lent: bool) -> Result<(Verdict, Option<String>), String> {
    let mut node: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
    if is_lent && let Some(spec) = node.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("unschedulable");
        if let Some(taints) = spec.get_mut("taints").and_then(Value::as_array_mut) {
            taints.retain(|taint| taint["key"] != CORDON_TAINT);
        }
    }
    let found = healthy.evaluate(&node, None);
    Ok((found.verdict, found.why.map(|why| format!("cannot tell whether it is healthy: {why}"))))
}

impl Nodes {
    /// The nodes of a signal, of which new ones may take so long to become ready.
    pub(in crate::observe) fn of(nodes: &signal::Nodes, within: SignedDuration) -> Self {
        Self { healthy: nodes.healthy.clone(), within, pools: BTreeSet::new() }
    }

    /// Until when a node that was created then may be starting.
    fn starts_until(&self, created: u32) -> Timestamp {
        after(Timestamp::from_second(created.into()).unwrap_or_default(), self.within)
    }

    fn shared(&mut self, pool: Pool) -> Arc<Pool> {
        if let Some(known) = self.pools.get(&pool) {
            return Arc::clone(known);
        }
        if self.pools.len() >= MANY_POOLS {
            self.pools.retain(|pool| Arc::strong_count(pool) > 1);
        }
        let pool = Arc::new(pool);
        self.pools.insert(Arc::clone(&pool));
        pool
    }
}

/// The labels that say where a node is.
fn places(labels: &BTreeMap<Cow<'_, str>, Cow<'_, str>>) -> Labels {
    let found =
        PLACES.iter().filter_map(|key| Some(((*key).to_owned(), labels.get(*key)?.clone().into_owned())));
    found.collect()
}

fn second(at: Timestamp) -> u32 {
    u32::try_from(at.as_second()).unwrap_or_default()
}

/// The resources that are counted in pieces: those with a domain in their name.
fn extended(resources: BTreeMap<Cow<'_, str>, Value>) -> BTreeMap<String, i64> {
    let extended = resources.into_iter().filter(|(name, _)| name.contains('/'));
    extended
        .filter_map(|(name, amount)| {
            let pieces = quantity(&amount)? / 1_000_000_000;
            Some((name.into_owned(), i64::try_from(pieces).ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests;
