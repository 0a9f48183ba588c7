//! What nodes can allocate, and what pods request: what is watched, so that usage can be set in relation to it.
//!
//! A node counts with `allocatable`, and a pod that runs with its requests: those of the pod itself (`spec.resources`), or else
//! the sum of those of its containers and sidecars. A container without a request counts in neither part of a ratio. A
//! pod that waits, has ended, or is being deleted does not count at all.

use std::borrow::Cow;
use std::collections::BTreeMap;

use firebreak_engine::signal::MetricsOf;
use firebreak_engine::value::quantity;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::observe::counts::Counts;
use crate::observe::kind::{Kind, Values};

const TOTAL: &str = "total";

/// Nodes or pods.
#[derive(Clone, Copy, Debug)]
pub(in crate::observe) struct Sizes {
    /// Which of both.
    pub of: MetricsOf,
}

/// What is kept of one node or pod.
#[derive(Debug, PartialEq)]
pub(in crate::observe) struct Size {
    /// Its name, after its namespace if it has one.
    pub name: Box<str>,
    /// Whether it uses anything that counts.
    pub runs: bool,
    /// When it was started, in seconds.
    pub since: u32,
    /// The containers of a pod that run and are no ephemeral ones; one without a name for a node.
    pub running: Box<[Box<str>]>,
    /// Billionths of a processor.
    pub cpu: Share,
    /// Bytes.
    pub memory: Share,
}

/// One resource of a node or pod.
#[derive(Debug, Default, PartialEq)]
pub(in crate::observe) struct Share {
    /// What can be allocated, or is requested; none if that is nothing.
    pub whole: Option<u64>,
    /// The most that can be used: the capacity, or the limits; none without a limit.
    pub most: Option<u64>,
    /// The containers of a pod that have a request; none if all count, because they share what the pod requests.
    pub requesting: Option<Box<[Box<str>]>>,
}

#[derive(Deserialize)]
struct SlimNode<'a> {
    #[serde(borrow)]
    metadata: SlimMetadata<'a>,
    #[serde(borrow)]
    status: Option<SlimNodeStatus<'a>>,
}

#[derive(Default, Deserialize)]
struct SlimNodeStatus<'a> {
    #[serde(borrow)]
    allocatable: Option<Resources<'a>>,
    #[serde(borrow)]
    capacity: Option<Resources<'a>>,
}

#[derive(Deserialize)]
struct SlimPod<'a> {
    #[serde(borrow)]
    metadata: SlimMetadata<'a>,
    #[serde(borrow)]
    spec: SlimPodSpec<'a>,
    #[serde(borrow)]
    status: Option<SlimPodStatus<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimMetadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimPodSpec<'a> {
    #[serde(borrow)]
    resources: Option<SlimResources<'a>>,
    #[serde(borrow, default)]
    containers: Vec<SlimContainer<'a>>,
    #[serde(borrow)]
    init_containers: Option<Vec<SlimContainer<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimContainer<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    restart_policy: Option<Cow<'a, str>>,
    #[serde(borrow)]
    resources: Option<SlimResources<'a>>,
}

#[derive(Default, Deserialize)]
struct SlimResources<'a> {
    #[serde(borrow)]
    requests: Option<Resources<'a>>,
    #[serde(borrow)]
    limits: Option<Resources<'a>>,
}

type Resources<'a> = BTreeMap<Cow<'a, str>, Value>;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimPodStatus<'a> {
    #[serde(borrow)]
    phase: Option<Cow<'a, str>>,
    start_time: Option<Timestamp>,
    #[serde(borrow)]
    container_statuses: Option<Vec<SlimContainerStatus<'a>>>,
    #[serde(borrow)]
    init_container_statuses: Option<Vec<SlimContainerStatus<'a>>>,
}

#[derive(Deserialize)]
struct SlimContainerStatus<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    state: Option<SlimState>,
}

#[derive(Deserialize)]
struct SlimState {
    running: Option<IgnoredAny>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Cpu,
    Memory,
}

impl Resource {
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }

    /// The amount in its unit: billionths of a processor, or bytes.
    pub(super) fn amount(self, value: &Value) -> Result<u64, String> {
        let billionths = quantity(value).and_then(|amount| u128::try_from(amount).ok());
        let amount = billionths.map(|amount| match self {
            Self::Cpu => amount,
            Self::Memory => amount / 1_000_000_000,
        });
        let amount = amount.and_then(|amount| u64::try_from(amount).ok());
        amount.ok_or_else(|| format!("{} is not a quantity", self.name()))
    }

    /// The amount of it among these; none if there is none of it.
    fn of(self, resources: Option<&Resources<'_>>) -> Result<Option<u64>, String> {
        let value = resources.and_then(|resources| resources.get(self.name())).filter(|it| !it.is_null());
        value.map(|value| self.amount(value)).transpose()
    }
}

impl Kind for Sizes {
    type Digest = Size;

    fn digest(&mut self, object: &str, _: Timestamp) -> Result<(Size, Option<String>), String> {
        let size = match self.of {
            MetricsOf::Nodes => of_node(object),
            MetricsOf::Pods => of_pod(object),
        };
        Ok((size?, None))
    }

    fn count(_: &Size, times: i64, counts: &mut Counts) {
        counts.add(TOTAL, times);
    }

    fn unjudged(&self, _: &Counts) -> i64 {
        0
    }

    /// None: the values of the signal follow from usage, too.
    fn values(&self, _: &Counts, _: Timestamp) -> Values {
        Values::new()
    }
}

fn of_node(object: &str) -> Result<Size, String> {
    let SlimNode { metadata, status } = serde_json::from_str(object).map_err(|error| error.to_string())?;
    let SlimNodeStatus { allocatable, capacity } = status.unwrap_or_default();
    let share = |resource: Resource| -> Result<Share, String> {
        let whole = resource.of(allocatable.as_ref())?.filter(|amount| *amount > 0);
        Ok(Share { whole, most: resource.of(capacity.as_ref())?, requesting: None })
    };
    Ok(Size {
        runs: true,
        since: metadata.creation_timestamp.map_or(0, second),
        running: Box::new([Box::default()]),
        cpu: share(Resource::Cpu)?,
        memory: share(Resource::Memory)?,
        name: metadata.name(),
    })
}

fn of_pod(object: &str) -> Result<Size, String> {
    let SlimPod { metadata, spec, status } =
        serde_json::from_str(object).map_err(|error| error.to_string())?;
    let status = status.unwrap_or_default();
    let statuses = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let running = statuses.filter(|it| it.state.as_ref().is_some_and(|state| state.running.is_some()));
    let since = status.start_time.or(metadata.creation_timestamp);
    Ok(Size {
        runs: status.phase.as_deref() == Some("Running") && metadata.deletion_timestamp.is_none(),
        since: since.map_or(0, second),
        running: running.map(|it| Box::from(&*it.name)).collect(),
        cpu: spec.share(Resource::Cpu)?,
        memory: spec.share(Resource::Memory)?,
        name: metadata.name(),
    })
}

impl SlimMetadata<'_> {
    fn name(&self) -> Box<str> {
        named(self.namespace.as_deref(), &self.name)
    }
}

impl SlimPodSpec<'_> {
    /// The containers that run at the same time: all but those that end before the others start.
    fn containers(&self) -> impl Iterator<Item = &SlimContainer<'_>> {
        let sidecars = self.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|it| it.restart_policy.as_deref() == Some("Always"));
        self.containers.iter().chain(sidecars)
    }

    fn share(&self, resource: Resource) -> Result<Share, String> {
        let of_pod = self.resources.as_ref();
        let request = resource.of(of_pod.and_then(|it| it.requests.as_ref()))?;
        let (mut requested, mut limited, mut requesting) = (None, Some(0_u64), Vec::new());
        for container in self.containers() {
            let own = container.resources.as_ref();
            let own_request = resource.of(own.and_then(|it| it.requests.as_ref()))?;
            if let Some(amount) = own_request.filter(|amount| *amount > 0) {
                requested = Some(amount.saturating_add(requested.unwrap_or(0)));
                requesting.push(Box::from(&*container.name));
            }
            let limit = resource.of(own.and_then(|it| it.limits.as_ref()))?;
            limited = limited.zip(limit).map(|(all, own)| all.saturating_add(own));
        }
        let limit = resource.of(of_pod.and_then(|it| it.limits.as_ref()))?;
        let whole = request.or(requested).filter(|amount| *amount > 0);
        // What the pod requests, all of its containers share.
        let requesting = request.is_none().then(|| requesting.into());
        Ok(Share { whole, most: limit.or(limited), requesting })
    }
}

/// A name after its namespace.
pub(super) fn named(namespace: Option<&str>, name: &str) -> Box<str> {
    namespace.map_or_else(|| Box::from(name), |namespace| format!("{namespace}/{name}").into())
}

/// A moment in seconds.
pub(super) fn second(at: Timestamp) -> u32 {
    u32::try_from(at.as_second()).unwrap_or_default()
}
