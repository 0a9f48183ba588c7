//! Many policies with one alarm: what a response costs when it is not alone, and whether the most severe comes first.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    numbers::{Spread, Table, percentile},
    process::{Memory, ticks},
    scene,
    shown::{changes, monitoring, wait_for_monitoring},
};
use crate::support::{
    manifest,
    object::{Object, condition},
    operator::Operator,
    rights::Rule,
    world::World,
};

/// The number of policies with the same alarm.
pub const SIZES: [usize; 4] = [50, 200, 400, 1000];
/// One policy in this many is P0, the others are P3.
const ONE_IS_P0_OF: usize = 10;
/// Requests in flight: the saturation point of the API server on two cores, and the operator's maximum.
const IN_FLIGHT: usize = 32;
/// How long one size may take, including everything.
pub const PATIENCE: Duration = Duration::from_secs(280);

/// The results of one burst; times in ms from the answer to the patch that rang the alarm.
struct Burst {
    /// When the targets of the P0 policies were changed while there was nothing else to do.
    alone: Vec<f64>,
    p0: Vec<f64>,
    p3: Vec<f64>,
    /// When every Incident was in Monitoring.
    done: f64,
    /// Processor time of the operator for each Incident, in ms.
    cpu: f64,
    /// Resident memory afterwards, in bytes.
    rss: f64,
    /// Requests for each response, without watches, leases and Events.
    requests: BTreeMap<String, f64>,
    /// As many bare patches as all responses together had requests, in ms.
    bare: f64,
    /// Processor time of the benchmark for these patches, in ms for each Incident.
    bare_cpu: f64,
}

/// Two tables: the bursts, and the requests of a response in the largest of them.
pub async fn measure(sizes: &[usize]) -> String {
    let mut table = Table::new(
        "A burst: all policies of one namespace on one alarm, a tenth P0, the others P3; ms, median (minimum to maximum)",
        &[
            "policies",
            "rounds",
            "first change of a P0",
            "last of a P0",
            "first of a P3",
            "last of a P3",
            "all in Monitoring",
            "p99 of P0, without the P3s",
            "p99 of P0, **ratio** to that",
            "**CPU per Incident**",
            "CPU of as many bare patches",
            "RSS, MB",
            "requests per response",
            "as many bare patches",
            "**ratio** to these",
        ],
    );
    let mut largest = BTreeMap::new();
    for &size in sizes {
        let mut bursts = Vec::new();
        for round in 0..rounds(size) {
            let burst = burst(size).await;
            eprintln!(
                "{size} policies, round {round}: last change after {:.0} ms, {:.1} ms of processor per Incident",
                last(&burst.p0).max(last(&burst.p3)),
                burst.cpu
            );
            bursts.push(burst);
        }
        let of = |number: &dyn Fn(&Burst) -> f64| -> String {
            Spread::of(&bursts.iter().map(number).collect::<Vec<_>>()).to_string()
        };
        table.row([
            size.to_string(),
            bursts.len().to_string(),
            of(&|burst| percentile(&burst.p0, 0.0)),
            of(&|burst| last(&burst.p0)),
            of(&|burst| percentile(&burst.p3, 0.0)),
            of(&|burst| last(&burst.p3)),
            of(&|burst| burst.done),
            of(&|burst| percentile(&burst.alone, 0.99)),
            of(&|burst| percentile(&burst.p0, 0.99) / percentile(&burst.alone, 0.99)),
            of(&|burst| burst.cpu),
            of(&|burst| burst.bare_cpu),
            of(&|burst| burst.rss / 1e6),
            of(&|burst| burst.requests.values().sum()),
            of(&|burst| burst.bare),
            of(&|burst| burst.done / burst.bare),
        ]);
        largest = bursts.pop().map(|burst| burst.requests).unwrap_or_default();
    }
    let title = format!("Requests of one response, of {} at once", sizes.last().unwrap_or(&0));
    let mut requests = Table::new(&title, &["request", "per response"]);
    for (request, count) in largest {
        requests.row([request, format!("{count:.2}")]);
    }
    format!("{table}\n{requests}")
}

/// Small bursts are over so soon that one is not enough.
fn rounds(size: usize) -> usize {
    (400 / size).clamp(1, 3)
}

async fn burst(size: usize) -> Burst {
    let world = World::new("burst").await;
    grant(&world).await;
    let alone = size / ONE_IS_P0_OF;
    for alarm in ["calm", "storm"] {
        manifest::create(&world.client, "bench", &alarm_named(&world, alarm)).await.expect("an alarm");
    }
    let calm = (0..alone).map(|number| format!("calm-{number}"));
    let storm = (0..size).map(|number| format!("storm-{number}"));
    let documents = calm.chain(storm).map(|name| scene::model(&world.a, &name));
    let models = scene::create(&world, documents).await;
    let operator = world.operator().directly().log("info").start().await;
    scene::wait_until_leading(&operator).await;
    let calm = (0..alone).map(|number| policy(&world, "calm", number, "P0"));
    let storm = (0..size).map(|number| policy(&world, "storm", number, level(number)));
    scene::create(&world, calm.chain(storm)).await;
    wait_until_ready(&world, alone + size).await;
    let process = operator.id().expect("it runs");
    rest(process).await;

    let shown = monitoring(&world).await;
    let alone: Vec<f64> = ring(&world, "calm", alone).await.into_values().collect();
    wait_for_monitoring(shown, alone.len(), PATIENCE).await;
    rest(process).await;

    let requests_before = requests(&operator).await;
    let shown = monitoring(&world).await;
    let (ticks_before, start) = (ticks(process), Instant::now());
    let changed = ring(&world, "storm", size).await;
    wait_for_monitoring(shown, size, PATIENCE).await;
    let done = milliseconds(start.elapsed());
    let cpu = per((ticks(process) - ticks_before) as f64 * 10.0, size);
    let rss = Memory::of(process).rss;
    let mut counted = requests(&operator).await;
    for (request, before) in requests_before {
        *counted.entry(request).or_default() -= before;
    }
    counted.retain(|_, count| *count > 0.0);
    counted.values_mut().for_each(|count| *count = per(*count, size));
    operator.kill();

    let of_level = |wanted: &str| -> Vec<f64> {
        changed.iter().filter(|(number, _)| level(**number) == wanted).map(|(_, at)| *at).collect()
    };
    let writes = counted.values().sum::<f64>().round();
    let own = std::process::id();
    let own_ticks = ticks(own);
    let bare = bare_patches(&models[models.len() - size..], writes as usize).await;
    Burst {
        alone,
        p0: of_level("P0"),
        p3: of_level("P3"),
        done,
        cpu,
        rss,
        requests: counted,
        bare,
        bare_cpu: per((ticks(own) - own_ticks) as f64 * 10.0, size),
    }
}

/// The level of the policy with this number.
pub fn level(number: usize) -> &'static str {
    if number.is_multiple_of(ONE_IS_P0_OF) { "P0" } else { "P3" }
}

/// What the policies of a burst need.
pub async fn grant(world: &World) {
    world.grant(&world.a, &rights()).await;
}

/// The same in one namespace.
pub fn rights() -> Vec<Rule<'static>> {
    let watch = &["get", "list", "watch"];
    vec![
        Rule {
            group: "inference.llm-d.io",
            resources: &["llmdeployments"],
            verbs: &["get", "list", "patch"],
        },
        Rule { group: "autoscaling", resources: &["horizontalpodautoscalers"], verbs: watch },
        Rule { group: "keda.sh", resources: &["scaledobjects"], verbs: watch },
        Rule { group: "", resources: &["namespaces"], verbs: &["get"] },
        // The alarm is a ConfigMap, and so is the report.
        Rule { group: "", resources: &["configmaps"], verbs: &["get", "list", "watch", "create", "update"] },
    ]
}

/// A ConfigMap that is silent.
pub fn alarm_named(world: &World, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": world.a},
        "data": {"rings": "no"},
    })
}

/// A policy that scales one model as soon as the alarm rings.
pub fn policy(world: &World, alarm: &str, number: usize, level: &str) -> Value {
    let name = format!("{alarm}-{number}");
    let targets =
        json!({"apiVersion": "inference.llm-d.io/v1alpha1", "kind": "LLMDeployment", "names": [name]});
    json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "RemediationPolicy",
        "metadata": {"name": name, "namespace": world.a},
        "spec": {
            "mode": "Enforce",
            "signals": [{"name": "alarm", "objects": {
                "apiVersion": "v1", "kind": "ConfigMap", "names": [alarm],
                "healthy": "object.data.rings == 'no'",
            }}],
            "severity": [
                {"level": level, "reason": "AlarmRings", "when": "signals.alarm.unhealthy > 0", "for": "0s"},
            ],
            "steps": [{
                "name": "scale-out",
                "action": {"scale": {"targets": targets, "replicas": 3}},
                "verify": {"within": "30s", "checks": [{"cel": {"expression": "signals.alarm.total == 1"}}]},
            }],
        },
    })
}

/// Rings an alarm. Returns, by number, when the target of each policy was changed, in ms from the answer.
pub async fn ring(world: &World, alarm: &str, count: usize) -> BTreeMap<usize, f64> {
    let mut changes = changes(world, alarm).await;
    let alarm = world.object("v1", "ConfigMap", &world.a, alarm);
    alarm.merge("bench", json!({"data": {"rings": "yes"}})).await;
    let start = Instant::now();
    let mut changed = BTreeMap::new();
    let all = async {
        while changed.len() < count {
            let (number, at) = changes.recv().await.expect("the watch goes on");
            changed.entry(number).or_insert_with(|| milliseconds(at.saturating_duration_since(start)));
        }
    };
    if timeout(PATIENCE, all).await.is_err() {
        panic!("{} of {count} targets are changed after {PATIENCE:?}", changed.len());
    }
    changed
}

/// Waits until this many policies are Ready.
pub async fn wait_until_ready(world: &World, count: usize) {
    let kind = manifest::resource("firebreak.dev/v1alpha1", "RemediationPolicy");
    let policies = manifest::api(&world.client, &kind, Some(&world.a));
    let ready = async {
        loop {
            let all = policies.list(&ListParams::default()).await.expect("the policies");
            if all.iter().filter(|policy| condition(policy, "Ready") == Some("True")).count() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    assert!(timeout(PATIENCE, ready).await.is_ok(), "not all policies are Ready within {PATIENCE:?}");
}

/// Waits until the operator has been almost idle for a second: Events come late, at a limited rate.
pub async fn rest(process: u32) {
    let quiet = async {
        loop {
            let before = ticks(process);
            tokio::time::sleep(Duration::from_secs(1)).await;
            if ticks(process) - before <= 3 {
                return;
            }
        }
    };
    assert!(timeout(PATIENCE, quiet).await.is_ok(), "the operator does not come to rest");
}

/// The requests of the operator so far, without watches, leases and Events.
async fn requests(operator: &Operator) -> BTreeMap<String, f64> {
    let (_, text) = operator.fetch("/metrics").await;
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        let Some((labels, count)) =
            line.strip_prefix("firebreak_api_requests_total{").and_then(|line| line.split_once("} "))
        else {
            continue;
        };
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\"")).unwrap_or_default();
            rest.split('"').next().unwrap_or_default()
        };
        let (verb, resource) = (label("verb"), label("resource"));
        if verb != "watch" && resource != "leases" && resource != "events" {
            *counts.entry(format!("{verb} {resource}")).or_default() +=
                count.parse::<f64>().expect("a number");
        }
    }
    counts
}

/// This many patches of each model, one after the other, with [`IN_FLIGHT`] models at a time.
async fn bare_patches(models: &[Object], each: usize) -> f64 {
    let record = "x".repeat(600);
    let start = Instant::now();
    stream::iter(models)
        .for_each_concurrent(IN_FLIGHT, |model| {
            let record = &record;
            async move {
                for number in 0..each {
                    let patch = json!({
                        "metadata": {"annotations": {"bench/record": format!("{record}{number}")}},
                        "spec": {"replicas": number % 7},
                    });
                    model.merge("bench", patch).await;
                }
            }
        })
        .await;
    milliseconds(start.elapsed())
}

fn last(times: &[f64]) -> f64 {
    percentile(times, 1.0)
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand objects")]
fn per(total: f64, count: usize) -> f64 {
    total / count as f64
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
