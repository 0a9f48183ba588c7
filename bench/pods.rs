//! What a watched pod costs: while it is created, and when it is there already.

use serde_json::json;

use super::{
    memory::{COLUMNS, per, row, start, weigh},
    numbers::Table,
    scene,
};
use crate::support::{rights::Rule, world::World};

const PODS: usize = 10_000;

/// One table.
pub async fn measure() -> String {
    let world = World::new("pods").await;
    let rules = [
        Rule { group: "", resources: &["pods"], verbs: &["list", "watch"] },
        Rule { group: "", resources: &["configmaps"], verbs: &["get", "create", "update"] },
    ];
    world.grant(&world.a, &rules).await;
    let mut table = Table::new("Memory of watched pods", &COLUMNS);

    let operator = start(&world).await;
    let idle = weigh(&operator).await;
    row(&mut table, "leads, no policy", idle, None);
    let first = scene::create(&world, [scene::pod(&world, 0)].into_iter()).await.remove(0);
    look(&world).await;
    scene::wait_for_total(&operator, "pods", 1).await;
    let one = weigh(&operator).await;
    row(&mut table, "+ a policy over one pod", one, None);
    eprintln!("{PODS} pods are created");
    scene::create(&world, (1..PODS).map(|number| scene::pod(&world, number))).await;
    scene::wait_for_total(&operator, "pods", PODS).await;
    let all = weigh(&operator).await;
    let cells = format!("{}, over idle; {}, over one pod", per(all, idle, PODS), per(all, one, PODS));
    row(&mut table, &format!("+ {PODS} pods, created while it watches"), all, Some(cells));
    operator.kill();
    drop(operator);

    let operator = start(&world).await;
    scene::wait_for_total(&operator, "pods", PODS).await;
    let listed = weigh(&operator).await;
    let cells = format!("{}, over idle; {}, over one pod", per(listed, idle, PODS), per(listed, one, PODS));
    row(&mut table, &format!("restarted with {PODS} pods"), listed, Some(cells));
    operator.kill();

    let size = serde_json::to_string(&first.get().await).map_or(0, |text| text.len());
    table.note(&format!("A pod has {size} bytes in the reply of the API server."));
    table.to_string()
}

/// A policy that watches all pods of the namespace, and never opens anything.
async fn look(world: &World) {
    let policy = json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "RemediationPolicy",
        "metadata": {"name": "pods", "namespace": world.a},
        "spec": {
            "signals": [{"name": "pods", "pods": {}}],
            "severity": [{"level": "P3", "reason": "Never", "when": "signals.pods.total < 0"}],
        },
    });
    let policy = world.apply("bench", &policy.to_string()).await.remove(0);
    policy.wait_for_condition("Ready", "True").await;
}
