//! From a node that turned NotReady to the first patch of a target.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use kube::{
    Api,
    api::{DynamicObject, WatchEvent, WatchParams},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    numbers::{Spread, Table},
    scene,
};
use crate::support::{
    manifest,
    object::{Object, condition},
    proxy::Exchange,
    world::World,
};

const ROUNDS: usize = 15;
/// Bare patches in a round, of which the median counts.
const BARE: usize = 5;
/// How long a change may take, on an API server that is flooded.
const LONGEST: Duration = Duration::from_secs(240);
/// The annotation that a target has from its first patch to its last.
const UNDO: &str = "firebreak.dev/undo";

/// A table of times, and one of the requests in between.
pub async fn measure() -> String {
    format!("{}\n{}", times().await, requests().await)
}

async fn times() -> Table {
    let world = World::new("latency").await;
    scene::grant(&world).await;
    let stage = Stage::set(&world).await;
    let operator = world.operator().directly().log("info").start().await;
    scene::wait_until_leading(&operator).await;
    let policy = scene::respond(&world).await;

    let (mut bare, mut ours, mut seen, mut ratios) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // The first round opens connections and fills caches on both sides.
    for round in 0..=ROUNDS {
        let mut patches = Vec::new();
        for i in 0..BARE {
            patches.push(stage.bare_patch(i % 2 == 0).await);
        }
        let bare_patch = Spread::of(&patches).median;
        let (acknowledged, visible) = stage.lose_node(&policy).await;
        stage.heal(&world, &policy).await;
        eprintln!("round {round}: bare {bare_patch:.2} ms, first patch after {acknowledged:.2} ms");
        if round > 0 {
            bare.push(bare_patch);
            ours.push(acknowledged);
            seen.push(visible);
            ratios.push(acknowledged / bare_patch);
        }
    }

    let title = format!("From NotReady to the first patch, {ROUNDS} rounds, median (minimum to maximum)");
    let mut table = Table::new(&title, &["measured", "ms"]);
    table.row(["a bare merge patch of an equal object".to_owned(), Spread::of(&bare).to_string()]);
    table.row([
        "from the answer to the node's patch to the target's patch".to_owned(),
        Spread::of(&ours).to_string(),
    ]);
    table.row(["from the node's watch event to the target's".to_owned(), Spread::of(&seen).to_string()]);
    table
        .row(["**ratio** to the bare patches of the same round".to_owned(), Spread::of(&ratios).to_string()]);
    table
}

/// The requests of the operator in between, as a proxy sees them.
async fn requests() -> Table {
    let world = World::new("path").await;
    scene::grant(&world).await;
    let stage = Stage::set(&world).await;
    let operator = world.operator().log("info").start().await;
    scene::wait_until_leading(&operator).await;
    let policy = scene::respond(&world).await;
    stage.lose_node(&policy).await;
    stage.heal(&world, &policy).await;
    let before = operator.proxy.calls().len();
    stage.lose_node(&policy).await;
    let calls = operator.proxy.calls();
    let is_first_patch =
        |exchange: &&Exchange| exchange.call.is_write() && exchange.call.target.resource == "llmdeployments";
    let first = calls[before..].iter().find(is_first_patch).expect("it was patched");
    let way: Vec<&Exchange> = calls[before..=first.call.number]
        .iter()
        .filter(|exchange| !exchange.call.is_watch() && exchange.call.target.resource != "leases")
        .collect();
    let start = way[0].call.at;
    let in_turn = way.iter().filter(|exchange| exchange.call.target.resource != "events").count();

    let title = format!(
        "The requests of the second loss of a node: {in_turn} up to the first patch, events not counted"
    );
    let mut table = Table::new(&title, &["sent at, ms", "request", "answer"]);
    for exchange in way {
        let call = &exchange.call;
        let path = call.path.replace(&world.a, "a");
        let at = (call.at - start).as_secs_f64() * 1e3;
        let code = exchange.client.map_or("-".to_owned(), |code| code.to_string());
        table.row([format!("{at:.1}"), format!("{} {path}", call.method), code]);
    }
    table.note("The proxy makes each request slower by its own passage; the times show the order.");
    table
}

/// One node, one target, one equal object, and a view of both kinds.
pub struct Stage {
    node: Object,
    twin: Object,
    target: Object,
    nodes_seen: tokio::sync::Mutex<mpsc::UnboundedReceiver<(Instant, bool)>>,
    targets_seen: tokio::sync::Mutex<mpsc::UnboundedReceiver<(Instant, bool)>>,
    _pulse: scene::Pulse,
}

impl Stage {
    /// Creates them. The policy follows, see [`scene::respond`].
    pub async fn set(world: &World) -> Self {
        let node = scene::nodes(world, 0, 1).await.remove(0);
        let pulse = scene::pulse(world, &node).await;
        let target = scene::models(world, 1).await.remove(0);
        // In a namespace that the policy does not select.
        let twin = Object::of(&world.client, &scene::model(&world.b, "twin"));
        let document = scene::model(&world.b, "twin");
        manifest::create(&world.client, "bench", &document).await.expect("the twin");
        twin.merge_status("bench", json!({"status": {"phase": "Pending"}})).await;
        let name = node.name().to_owned();
        let nodes = manifest::api(&world.client, &manifest::resource("v1", "Node"), None);
        let kind = manifest::resource("inference.llm-d.io/v1alpha1", "LLMDeployment");
        let models = manifest::api(&world.client, &kind, Some(&world.a));
        Self {
            nodes_seen: view(nodes, &name, |node| condition(node, "Ready") != Some("True")).await.into(),
            targets_seen: view(models, target.name(), is_changed).await.into(),
            node,
            twin,
            target,
            _pulse: pulse,
        }
    }

    /// The operator's write to a model, or its opposite; in ms.
    pub async fn bare_patch(&self, fall_back: bool) -> f64 {
        let (gpus, precision) = if fall_back { ("0", "int8") } else { ("1", "fp16") };
        let selector = if fall_back { Value::Null } else { json!("bench") };
        let record = fall_back.then(|| "x".repeat(600));
        let patch = json!({
            "metadata": {"annotations": {"bench/record": record}},
            "spec": {
                "model": {"quantization": {"enabled": fall_back, "precision": precision}},
                "resources": {"requests": {"nvidia.com/gpu": gpus}, "limits": {"nvidia.com/gpu": gpus}},
                "nodeSelector": {crate::support::nodes::POOL: selector},
            },
        });
        let start = Instant::now();
        self.twin.merge("bench", patch).await;
        milliseconds(start.elapsed())
    }

    /// Turns the node NotReady. Returns how long after the answer, and after the event, the target's first
    /// patch was seen; in ms.
    pub async fn lose_node(&self, policy: &Object) -> (f64, f64) {
        policy.wait_until("no Incident", |object| object.data["status"]["activeIncident"].is_null()).await;
        self.node.merge_status("bench", scene::ready("False", "lost")).await;
        let answered = Instant::now();
        let visible = next(&self.nodes_seen, true).await;
        let patched = next(&self.targets_seen, true).await;
        (milliseconds(patched - answered), milliseconds(patched - visible))
    }

    /// Turns it Ready, and waits until all values are as before.
    pub async fn heal(&self, world: &World, policy: &Object) {
        let incident = world.incident_of(policy).await;
        self.node.merge_status("bench", scene::ready("True", "back")).await;
        incident.wait_for_condition("Resolved", "True").await;
        next(&self.nodes_seen, false).await;
        next(&self.targets_seen, false).await;
        self.target.wait_until("reverted", |object| !is_changed(object)).await;
        policy.wait_until("no Incident", |object| object.data["status"]["activeIncident"].is_null()).await;
        // The last writes of the operator, and those of the control plane about the node, are over.
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
}

fn is_changed(target: &DynamicObject) -> bool {
    target.metadata.annotations.iter().flatten().any(|(key, _)| key == UNDO)
}

/// Reports each time that the truth changes, and when. Starts with false.
async fn view(
    api: Api<DynamicObject>,
    name: &str,
    truth: fn(&DynamicObject) -> bool,
) -> mpsc::UnboundedReceiver<(Instant, bool)> {
    let version = api.get(name).await.expect("it was created").metadata.resource_version.unwrap_or_default();
    let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(290);
    let (tell, told) = mpsc::unbounded_channel();
    let events = api.watch(&params, &version).await.expect("a watch").boxed();
    tokio::spawn(async move {
        let mut events = events;
        let mut last = false;
        while let Ok(Some(event)) = events.try_next().await {
            let seen = Instant::now();
            let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event else { continue };
            let now = truth(&object);
            if now != last && tell.send((seen, now)).is_err() {
                return;
            }
            last = now;
        }
    });
    told
}

async fn next(view: &tokio::sync::Mutex<mpsc::UnboundedReceiver<(Instant, bool)>>, wanted: bool) -> Instant {
    let mut view = view.lock().await;
    let told = tokio::time::timeout(LONGEST, view.recv()).await;
    let (seen, truth) = told.expect("the watch shows it in time").expect("the watch goes on");
    assert_eq!(truth, wanted, "the truth changes each time");
    seen
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
