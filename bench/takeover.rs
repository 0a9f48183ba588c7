//! From the death of the leader's node until the other replica leads and does the work.

use std::time::Instant;

use kube::api::DynamicObject;

use super::{
    latency::Stage,
    numbers::{Spread, Table},
    scene,
};
use crate::support::{operator::Operator, world::World};

const ROUNDS: usize = 6;

/// A table. The replicas have the lease of `deploy/`.
pub async fn measure() -> String {
    let world = World::new("takeover").await;
    scene::grant(&world).await;
    let stage = Stage::set(&world).await;
    let first = world.operator().directly().log("info").start().await;
    scene::wait_until_leading(&first).await;
    let policy = scene::respond(&world).await;
    let second = world.operator().named("firebreak-1").directly().log("info").start().await;
    second.url().await;
    let lease = world.object("coordination.k8s.io/v1", "Lease", &world.operator_namespace, "firebreak");

    let (mut led, mut patched) = (Vec::new(), Vec::new());
    let mut replicas = [(&first, "firebreak-0"), (&second, "firebreak-1")];
    for round in 0..ROUNDS {
        let [(leader, _), (_, other)] = replicas;
        leader.freeze();
        let start = Instant::now();
        let took_over = async {
            lease.wait_until("has another holder", |lease| holder(lease) == other).await;
            start.elapsed().as_secs_f64()
        };
        let changed = async {
            stage.lose_node(&policy).await;
            start.elapsed().as_secs_f64()
        };
        let (lead, patch) = tokio::join!(took_over, changed);
        eprintln!("round {round}: another holder after {lead:.1} s, the patch after {patch:.1} s");
        led.push(lead);
        patched.push(patch);
        leader.thaw();
        stage.heal(&world, &policy).await;
        wait_until_following(leader).await;
        replicas.reverse();
    }

    let title = format!("The node of the leader dies, {ROUNDS} rounds, median (minimum to maximum)");
    let mut table = Table::new(&title, &["until", "s"]);
    table.row(["the other replica is the holder of the lease".to_owned(), Spread::of(&led).to_string()]);
    table.row([
        "the first patch of an emergency that begins at the same moment".to_owned(),
        Spread::of(&patched).to_string(),
    ]);
    table.to_string()
}

/// The replica that wakes up finds that it no longer leads.
async fn wait_until_following(operator: &Operator) {
    let follows = |line: &str| line.starts_with("leader_election_master_status") && line.ends_with(" 0");
    scene::wait_for_metric(operator, "that it follows", follows).await;
}

fn holder(lease: &DynamicObject) -> &str {
    lease.data["spec"]["holderIdentity"].as_str().unwrap_or_default()
}
