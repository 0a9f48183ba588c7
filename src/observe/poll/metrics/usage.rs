//! What nodes and pods use: the objects of the metrics API.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::sizes::{Resource, Share, Size, named, second};

/// How many objects of an answer are kept. No cluster has more pods.
const MOST: usize = 200_000;
/// How far the time of a metric may lie in the future, because clocks differ.
const SKEW: Duration = Duration::from_secs(60);

/// The metrics of an answer, by the name of their object.
#[derive(Debug, Default)]
pub(super) struct Usages {
    of: BTreeMap<Box<str>, Result<Usage, String>>,
    /// There were more than are kept.
    pub(super) overflows: bool,
}

/// One metric.
#[derive(Debug)]
struct Usage {
    /// When it was taken, by the clock of the node.
    at: Timestamp,
    /// Of each container; of a node one without a name.
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    name: Box<str>,
    cpu: u64,
    memory: u64,
}

/// What an object uses now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Used {
    /// Of its share of the processors, in billionths of one.
    pub(super) cpu: u64,
    /// Of its share of the memory, in bytes.
    pub(super) memory: u64,
    /// All of its memory, in bytes.
    pub(super) all_memory: u64,
}

#[derive(Deserialize)]
struct SlimMetrics<'a> {
    #[serde(borrow)]
    metadata: SlimMetadata<'a>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    usage: Option<SlimUsage>,
    #[serde(borrow)]
    containers: Option<Vec<SlimPart<'a>>>,
}

#[derive(Deserialize)]
struct SlimMetadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct SlimPart<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    usage: Option<SlimUsage>,
}

#[derive(Deserialize)]
struct SlimUsage {
    cpu: Option<Value>,
    memory: Option<Value>,
}

/// Which metrics count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fresh {
    /// When they were asked for.
    pub(super) at: Timestamp,
    /// How old one may be then.
    pub(super) within: Duration,
}

impl Usages {
    /// Takes one object of the answer. What cannot be read at all is no metric.
    pub(super) fn take(&mut self, object: &str) {
        let Ok(metrics) = serde_json::from_str::<SlimMetrics<'_>>(object) else { return };
        if self.of.len() >= MOST {
            self.overflows = true;
            return;
        }
        let name = named(metrics.metadata.namespace.as_deref(), &metrics.metadata.name);
        self.of.insert(name, Usage::of(metrics));
    }

    /// What an object uses, and how old that is; or why that is not known, without numbers, because it stands in the status.
    pub(super) fn find(&self, size: &Size, fresh: Fresh) -> Result<(Used, Duration), Cow<'_, str>> {
        let usage = match self.of.get(&size.name) {
            None => return Err("it has no metric".into()),
            Some(Err(why)) => return Err(format!("its metric cannot be read: {why}").into()),
            Some(Ok(usage)) => usage,
        };
        let age = match Duration::try_from(fresh.at.duration_since(usage.at)) {
            Ok(age) => age,
            Err(_) if usage.at.duration_since(fresh.at).unsigned_abs() > SKEW => {
                return Err("the time of its metric is in the future; the clocks of its node and of the operator differ".into());
            }
            Err(_) => Duration::ZERO,
        };
        if age > fresh.within {
            return Err("its metric is too old, or the clocks of its node and of the operator differ".into());
        }
        if second(usage.at) < size.since {
            return Err("its metric is from before its start".into());
        }
        let is_measured = |name: &str| usage.parts.iter().any(|part| *part.name == *name);
        if !size.running.iter().all(|name| is_measured(name)) {
            return Err("its metric lacks a container that runs".into());
        }
        Ok((usage.of_shares(size), age))
    }
}

impl Usage {
    fn of(metrics: SlimMetrics<'_>) -> Result<Self, String> {
        let at = metrics.timestamp.as_deref().and_then(|at| at.parse().ok()).ok_or("it has no time")?;
        let parts = match (metrics.usage, metrics.containers) {
            (_, Some(containers)) => {
                let parts = containers.into_iter();
                parts.map(|part| Part::of(&part.name, part.usage)).collect::<Result<_, _>>()?
            }
            (usage, None) => vec![Part::of("", usage)?],
        };
        Ok(Self { at, parts })
    }

    fn of_shares(&self, size: &Size) -> Used {
        let of = |share: &Share, amount: fn(&Part) -> u64| {
            let counts = |part: &&Part| share.requesting.as_ref().is_none_or(|all| all.contains(&part.name));
            self.parts.iter().filter(counts).map(amount).fold(0, u64::saturating_add)
        };
        Used {
            cpu: of(&size.cpu, |part| part.cpu),
            memory: of(&size.memory, |part| part.memory),
            all_memory: self.parts.iter().map(|part| part.memory).fold(0, u64::saturating_add),
        }
    }
}

impl Part {
    fn of(name: &str, usage: Option<SlimUsage>) -> Result<Self, String> {
        let usage = usage.ok_or("it has no usage")?;
        let amount = |resource: Resource, value: Option<Value>| resource.amount(&value.unwrap_or_default());
        let cpu = amount(Resource::Cpu, usage.cpu)?;
        Ok(Self { name: name.into(), cpu, memory: amount(Resource::Memory, usage.memory)? })
    }
}
