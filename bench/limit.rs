//! The most memory that the operator ever uses, beside the limit of the chart: the nodes and pods of a large cluster, and
//! a burst of Incidents, in a cgroup with that limit if this machine permits it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    burst::{self, PATIENCE},
    numbers::Table,
    process::Memory,
    scene,
    shown::{monitoring, wait_for_monitoring},
};
use crate::support::{
    cgroup::Cgroup, install, manifest, nodes::POOL, operator::Operator, rights::Rule, world::World,
};

const NODES: usize = 5000;
const PODS: usize = 10_000;
const POLICIES: usize = 1000;

/// One table.
pub async fn measure() -> String {
    let limit = install::memory_limit();
    let cgroup = Cgroup::limited_to(limit);
    let world = World::new("limit").await;
    grant(&world).await;
    let mut rows = Rows::new(limit, cgroup.as_ref());

    eprintln!("{NODES} nodes and {PODS} pods are created");
    scene::nodes(&world, 0, NODES).await;
    scene::create(&world, (0..PODS).map(|number| scene::pod(&world, number))).await;
    let operator = start(&world, cgroup.as_ref()).await;
    rows.add("leads, no policy", &operator);
    let policy = world.apply("bench", &look(&world).to_string()).await.remove(0);
    policy.wait_for_condition("Ready", "True").await;
    wait_for_both(&operator).await;
    rows.add(&format!("+ a policy over {NODES} nodes and {PODS} pods"), &operator);

    eprintln!("{POLICIES} policies are created");
    manifest::create(&world.client, "bench", &burst::alarm_named(&world, "storm")).await.expect("an alarm");
    let names = (0..POLICIES).map(|number| format!("storm-{number}"));
    scene::create(&world, names.map(|name| scene::model(&world.a, &name))).await;
    scene::create(&world, (0..POLICIES).map(|number| responds(&world, number))).await;
    burst::wait_until_ready(&world, POLICIES + 1).await;
    rows.add(&format!("+ {POLICIES} policies"), &operator);
    let shown = monitoring(&world).await;
    burst::ring(&world, "storm", POLICIES).await;
    wait_for_monitoring(shown, POLICIES, PATIENCE).await;
    rows.add(&format!("+ {POLICIES} Incidents at once, each with a change"), &operator);
    operator.kill();
    drop(operator);

    let operator = start(&world, cgroup.as_ref()).await;
    wait_for_both(&operator).await;
    burst::rest(operator.id().expect("it runs")).await;
    rows.add("restarted with all of this", &operator);
    let alarm = world.object("v1", "ConfigMap", &world.a, "storm");
    alarm.merge("bench", json!({"data": {"rings": "no"}})).await;
    wait_until_all_are_closed(&operator).await;
    rows.add("all of them reverted and closed", &operator);
    operator.kill();
    scene::delete_nodes(&world).await;
    rows.finish()
}

async fn start(world: &World, cgroup: Option<&Cgroup>) -> Operator {
    let plan = world.operator().directly().log("info");
    let operator = match cgroup {
        Some(cgroup) => plan.within(cgroup).start().await,
        None => plan.start().await,
    };
    scene::wait_until_leading(&operator).await;
    operator
}

async fn wait_for_both(operator: &Operator) {
    scene::wait_for_total(operator, "nodes", NODES).await;
    scene::wait_for_total(operator, "pods", PODS).await;
}

/// The metric has no zeros.
async fn wait_until_all_are_closed(operator: &Operator) {
    let closed = async {
        while operator.fetch("/metrics").await.1.contains("\nfirebreak_incidents{") {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    assert!(timeout(PATIENCE, closed).await.is_ok(), "Incidents are open after {PATIENCE:?}");
}

/// The table, row by row.
struct Rows<'c> {
    table: Table,
    limit: u64,
    cgroup: Option<&'c Cgroup>,
}

impl<'c> Rows<'c> {
    fn new(limit: u64, cgroup: Option<&'c Cgroup>) -> Self {
        let title = format!("Memory beside the limit of the chart, {} MiB", limit >> 20);
        let columns = ["operator", "RSS", "highest RSS", "**share** of the limit"];
        Self { table: Table::new(&title, &columns), limit, cgroup }
    }

    #[expect(clippy::cast_precision_loss, reason = "the limit of a container")]
    fn add(&mut self, what: &str, operator: &Operator) {
        let memory = Memory::of(operator.id().expect("it runs"));
        let megabytes = |bytes: f64| format!("{:.1} MB", bytes / 1e6);
        let share = format!("{:.0} %", 100.0 * memory.peak / self.limit as f64);
        eprintln!("{what}: {}", megabytes(memory.peak));
        self.table.row([what.to_owned(), megabytes(memory.rss), megabytes(memory.peak), share]);
    }

    #[expect(clippy::cast_precision_loss, reason = "the limit of a container")]
    fn finish(mut self) -> String {
        let note = match self.cgroup {
            None => "Without a cgroup: this machine does not let this user create one.".to_owned(),
            Some(cgroup) => format!(
                "In a cgroup with this limit, which the kernel enforces: at most {:.1} MB, with what it caches of files; {} \
                 processes killed.",
                cgroup.peak() as f64 / 1e6,
                cgroup.kills()
            ),
        };
        self.table.note(&note);
        self.table.to_string()
    }
}

async fn grant(world: &World) {
    let watch = &["get", "list", "watch"];
    world.grant_everywhere(&[Rule { group: "", resources: &["nodes"], verbs: watch }]).await;
    let mut rules = burst::rights();
    rules.push(Rule { group: "", resources: &["pods"], verbs: watch });
    world.grant(&world.a, &rules).await;
}

/// A policy that watches all nodes and pods, and never opens anything.
fn look(world: &World) -> Value {
    json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "RemediationPolicy",
        "metadata": {"name": "look", "namespace": world.a},
        "spec": {
            "signals": [
                {"name": "nodes", "nodes": {"selector": {"matchLabels": {POOL: world.id}}}},
                {"name": "pods", "pods": {}},
            ],
            "severity": [
                {"level": "P3", "reason": "Never", "when": "signals.nodes.total < 0 || signals.pods.total < 0"},
            ],
        },
    })
}

/// A policy of the burst that reverts at once.
fn responds(world: &World, number: usize) -> Value {
    let mut policy = burst::policy(world, "storm", number, burst::level(number));
    policy["spec"]["recovery"] = json!({"for": "1s", "between": "0s"});
    policy
}
