//! Pods by label: how many there are, and what keeps them from running.
//!
//! - `total`: pods that match. One that has succeeded, that is being deleted, or that a scheduling gate holds
//!   back counts in no other field: nobody waits for it.
//! - `pending`, `running`, `failed`: by phase. `unschedulable`: pending ones for which the scheduler has found no node.
//! - `crashLooping`: pods with a container that waits for its next start after a crash (CrashLoopBackOff), and from then on
//!   until all containers are ready: between two crashes, a container runs for a while.
//! - `imagePullBackOff`: pods with a container whose image cannot be pulled.
//! - `oomKilled`: pods of which a container was killed for its memory within the window.
//! - `restarts`: how often their containers have restarted within the window, as far as the watch has seen it.
//! - `oldestPendingSeconds`: the age of the oldest pending pod, 0 without any.
//!
//! # Time
//! What happened is dated by the clock of the operator, when it is seen. Only a kill that happened before the pod was
//! first seen is dated by the clock of its node, and the age of a pod by the clock of the API server. Dates are
//! rounded up to a sixtieth of the window, so that a pod that restarts for ever has few of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use firebreak_engine::expression::FieldValue;
use firebreak_engine::period::after;
use firebreak_engine::signal;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::observe::counts::Counts;
use crate::observe::kind::{Kind, Values};
use crate::observe::window::{Window, moment, second};

/// The age up to which a pending pod changes the reading every second; then every ten.
const YOUNG: i64 = 60;
const STEP: i64 = 10;
/// Why a container waits whose image cannot be pulled, as the kubelet says it.
const IMAGE_FAILS: [&str; 6] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "SignatureValidationFailed",
];

/// Pods, and how long what happened to them counts.
#[derive(Clone, Debug, Default)]
pub(in crate::observe) struct Pods {
    window: Window,
}

/// What is kept of one pod.
#[derive(Debug, PartialEq)]
pub(in crate::observe) struct PodDigest {
    life: Life,
    unschedulable: bool,
    /// A container waits after a crash, or did, and not all containers have been ready since.
    crash_looping: bool,
    ready: bool,
    image_fails: bool,
    /// Since when it waits if it is pending, in seconds: since its creation, or since no gate holds it back any more.
    since: u32,
    /// Restarts of all its containers so far.
    restarts: u32,
    /// None for the many pods to which nothing happened.
    past: Option<Box<Past>>,
}

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// It has succeeded, is being deleted, or its phase is none of these.
    Other,
    /// It waits on purpose.
    Gated,
    Pending,
    Running,
    Failed,
}

/// What happened to a pod, in seconds.
#[derive(Debug, Default, PartialEq)]
struct Past {
    /// When a container was last killed for its memory, as its node says. Only to notice another kill.
    kill: Option<u32>,
    /// From when that counts.
    killed: u32,
    /// When restarts were seen, rounded up, and how many; the oldest first.
    restarts: Vec<(u32, u32)>,
}

#[derive(Deserialize)]
struct SlimPod<'a> {
    metadata: SlimMetadata,
    #[serde(borrow)]
    status: Option<SlimStatus<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimMetadata {
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimStatus<'a> {
    #[serde(borrow)]
    phase: Option<Cow<'a, str>>,
    #[serde(borrow)]
    conditions: Option<Vec<SlimCondition<'a>>>,
    #[serde(borrow)]
    container_statuses: Option<Vec<SlimContainer<'a>>>,
    #[serde(borrow)]
    init_container_statuses: Option<Vec<SlimContainer<'a>>>,
}

#[derive(Deserialize)]
struct SlimCondition<'a> {
    #[serde(borrow, rename = "type")]
    type_: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimContainer<'a> {
    #[serde(default)]
    ready: bool,
    #[serde(default)]
    restart_count: u32,
    #[serde(borrow)]
    state: Option<SlimState<'a>>,
    #[serde(borrow)]
    last_state: Option<SlimState<'a>>,
}

#[derive(Deserialize)]
struct SlimState<'a> {
    #[serde(borrow)]
    waiting: Option<SlimWaiting<'a>>,
    #[serde(borrow)]
    terminated: Option<SlimTerminated<'a>>,
}

#[derive(Deserialize)]
struct SlimWaiting<'a> {
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimTerminated<'a> {
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    finished_at: Option<Timestamp>,
}

impl SlimStatus<'_> {
    /// All containers, those that run first among them.
    fn all_containers(&self) -> impl Iterator<Item = &SlimContainer<'_>> {
        self.init_container_statuses.iter().chain(&self.container_statuses).flatten()
    }

    /// Whether a container waits for one of these reasons.
    fn waits(&self, reasons: &[&str]) -> bool {
        let waiting = self.all_containers().filter_map(|it| it.state.as_ref()?.waiting.as_ref());
        waiting.filter_map(|it| it.reason.as_deref()).any(|reason| reasons.contains(&reason))
    }

    /// Whether no node was chosen for this reason.
    fn is_not_placed(&self, why: &str) -> bool {
        self.conditions.iter().flatten().any(|condition| {
            condition.type_ == "PodScheduled"
                && condition.status == "False"
                && condition.reason.as_deref() == Some(why)
        })
    }

    /// Whether all containers are ready, sidecars among them. An init container is ready once it has succeeded.
    fn is_ready(&self) -> bool {
        let has_main = self.container_statuses.iter().flatten().next().is_some();
        has_main && self.all_containers().all(|container| container.ready)
    }

    /// When a container was last killed for its memory.
    fn kill(&self) -> Option<u32> {
        let states = self.all_containers().flat_map(|it| [&it.state, &it.last_state]).flatten();
        let ends = states.filter_map(|state| state.terminated.as_ref());
        let kills = ends.filter(|end| end.reason.as_deref() == Some("OOMKilled"));
        kills.map(|end| end.finished_at.map_or(0, second)).max()
    }

    fn life(&self) -> Life {
        match self.phase.as_deref() {
            Some("Pending") if self.is_not_placed("SchedulingGated") => Life::Gated,
            Some("Pending") => Life::Pending,
            Some("Running") => Life::Running,
            Some("Failed") => Life::Failed,
            _ => Life::Other,
        }
    }
}

impl Kind for Pods {
    type Digest = PodDigest;

    fn digest(&mut self, object: &str, at: Timestamp) -> Result<(PodDigest, Option<String>), String> {
        let SlimPod { metadata, status } = serde_json::from_str(object).map_err(|error| error.to_string())?;
        let status = status.unwrap_or_default();
        let past = status.kill().map(|kill| {
            // A node whose clock is ahead would else date it to the future.
            let killed = self.window.rounded(kill.min(second(at)));
            Box::new(Past { kill: Some(kill), killed, restarts: Vec::new() })
        });
        let digest = PodDigest {
            life: if metadata.deletion_timestamp.is_some() { Life::Other } else { status.life() },
            unschedulable: status.is_not_placed("Unschedulable"),
            crash_looping: status.waits(&["CrashLoopBackOff"]),
            ready: status.is_ready(),
            image_fails: status.waits(&IMAGE_FAILS),
            since: metadata.creation_timestamp.map_or(0, second),
            restarts: status.all_containers().map(|it| it.restart_count).fold(0, u32::saturating_add),
            past,
        };
        Ok((digest, None))
    }

    fn succeed(&self, before: &PodDigest, now: &mut PodDigest, at: Timestamp) {
        let is_released = before.life == Life::Gated && now.life != Life::Gated;
        now.since = if is_released { second(at) } else { before.since };
        now.crash_looping |= before.crash_looping && !now.ready;
        let old = before.past.as_deref();
        let last_kill = old.and_then(|old| Some((old.kill?, old.killed)));
        let kill = now.past.as_ref().and_then(|past| past.kill);
        match last_kill {
            // The containers tell only how they ended last. After another end, or beside an older kill, this one counts on.
            Some((last, killed)) if kill.is_none_or(|kill| kill <= last) => {
                let past = now.past.get_or_insert_default();
                (past.kill, past.killed) = (Some(last), killed);
            }
            Some(_) | None => {
                if let Some(past) = &mut now.past {
                    past.killed = self.window.rounded(second(at));
                }
            }
        }
        let mut dates = old.map(|old| old.restarts.clone()).unwrap_or_default();
        let more = now.restarts.saturating_sub(before.restarts);
        self.window.date(&mut dates, more, at);
        if !dates.is_empty() {
            now.past.get_or_insert_default().restarts = dates;
        }
    }

    fn count(pod: &PodDigest, times: i64, counts: &mut Counts) {
        counts.add(TOTAL, times);
        match pod.life {
            Life::Other | Life::Gated => return,
            Life::Pending => {
                counts.add(PENDING, times);
                counts.add_dated(PENDING, pod.since, times);
                counts.add(UNSCHEDULABLE, if pod.unschedulable { times } else { 0 });
            }
            Life::Running => counts.add(RUNNING, times),
            Life::Failed => counts.add(FAILED, times),
        }
        if pod.life != Life::Failed {
            counts.add(CRASH_LOOPING, if pod.crash_looping { times } else { 0 });
            counts.add(IMAGE_PULL_BACK_OFF, if pod.image_fails { times } else { 0 });
        }
        let Some(past) = &pod.past else { return };
        if past.kill.is_some() {
            counts.add_dated(OOM_KILLED, past.killed, times);
        }
        for (date, restarts) in &past.restarts {
            counts.add_dated(RESTARTS, *date, i64::from(*restarts) * times);
        }
    }

    fn forget(&self, counts: &mut Counts, at: Timestamp) {
        for field in WINDOWED {
            counts.forget(field, |date| !self.window.counts_still(date, at));
        }
    }

    fn unjudged(&self, _: &Counts) -> i64 {
        0
    }

    fn values(&self, counts: &Counts, now: Timestamp) -> Values {
        let fields = [TOTAL, RUNNING, PENDING, UNSCHEDULABLE, FAILED, CRASH_LOOPING, IMAGE_PULL_BACK_OFF];
        let mut values: BTreeMap<&str, i64> =
            fields.into_iter().map(|field| (field, counts.of(field))).collect();
        for field in WINDOWED {
            let within = counts.dated(field).filter(|(date, _)| self.window.counts_still(*date, now));
            values.insert(field, within.map(|(_, amount)| amount).sum::<i64>().max(0));
        }
        values
            .insert(OLDEST_PENDING_SECONDS, oldest_pending(counts).map_or(0, |since| age(since, now).max(0)));
        values.into_iter().map(|(field, value)| (field.to_owned(), FieldValue::Int(value))).collect()
    }

    fn growing(&self) -> &'static [&'static str] {
        &[OLDEST_PENDING_SECONDS]
    }

    fn changes_at(&self, counts: &Counts, read: &BTreeSet<String>, now: Timestamp) -> Option<Timestamp> {
        let windowed = WINDOWED.into_iter().filter(|field| read.contains(*field));
        let ends =
            windowed.flat_map(|field| counts.dated(field)).map(|(date, _)| self.window.counts_until(date));
        let oldest = oldest_pending(counts).filter(|_| read.contains(OLDEST_PENDING_SECONDS));
        let older = oldest.map(|since| next_look(since, now));
        ends.filter(|due| *due > now).chain(older).min()
    }

    fn identity(&self) -> Option<String> {
        Some(self.window.0.to_string())
    }
}

const TOTAL: &str = "total";
const RUNNING: &str = "running";
const PENDING: &str = "pending";
const UNSCHEDULABLE: &str = "unschedulable";
const FAILED: &str = "failed";
const CRASH_LOOPING: &str = "crashLooping";
const IMAGE_PULL_BACK_OFF: &str = "imagePullBackOff";
const OOM_KILLED: &str = "oomKilled";
const RESTARTS: &str = "restarts";
const OLDEST_PENDING_SECONDS: &str = "oldestPendingSeconds";
/// What counts for the length of the window.
const WINDOWED: [&str; 2] = [OOM_KILLED, RESTARTS];

impl Pods {
    /// The pods of a signal.
    pub(in crate::observe) fn of(pods: &signal::Pods) -> Self {
        Self { window: Window(pods.window) }
    }
}

/// Since when the oldest pending pod waits.
fn oldest_pending(counts: &Counts) -> Option<u32> {
    counts.dated(PENDING).map(|(since, _)| since).next()
}

/// In whole seconds; negative if the clocks differ.
fn age(since: u32, now: Timestamp) -> i64 {
    now.duration_since(moment(since)).as_secs()
}

/// When the age of a pod is looked at again: every second at first, then at every tenth one and the one after it, so
/// that both `>= 300` and `> 300` are seen at once.
fn next_look(since: u32, now: Timestamp) -> Timestamp {
    let age = age(since, now).max(0);
    let next = if age < YOUNG || age % STEP == 0 { age + 1 } else { age + STEP - age % STEP };
    after(moment(since), SignedDuration::from_secs(next))
}

#[cfg(test)]
mod tests;
