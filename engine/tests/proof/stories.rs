//! The course of an emergency without faults.

use firebreak_engine::change::ChangeState;
use firebreak_engine::incident::Closing;
use firebreak_engine::phase::Phase;
use jiff::SignedDuration;
use serde_json::json;

use crate::workload::model_server;
use crate::world::{Controller, World, reading, rules, traces};

const POLICY: &str = r#"
mode: Enforce
signals:
- {name: nodes, expect: 8, nodes: {}}
severity:
- {level: P0, reason: Outage, when: "signals.nodes.ready * 2 <= signals.nodes.expected", for: 30s}
recovery: {for: 5m}
steps:
- name: fallback
  action: {cpuFallback: {targets: {apiVersion: apps/v1, kind: Deployment}, quantization: int8}}
  verify: {within: 5m, checks: [{rollout: {}}]}
"#;

/// Runs until the given moment, waking when it asks to be woken.
fn run_for(world: &mut World, controller: &mut Controller, length: SignedDuration) {
    let until = world.now + length;
    for _ in 0..10_000 {
        let (decision, again) = world.round(controller);
        if again {
            continue;
        }
        match decision.wake_at.filter(|at| *at <= until) {
            Some(at) => world.now = at,
            None => {
                world.now = until;
                return;
            }
        }
    }
    panic!("it never comes to rest");
}

#[test]
fn an_outage_is_answered_verified_and_put_back() {
    let mut world = World::new(rules(POLICY));
    let mut object = model_server("chat", 4);
    object["status"]["phase"] = json!("Failed");
    let original = world.server.create(object, "flux/Apply");
    world.signals.insert("nodes".to_owned(), reading(&[("total", 8), ("ready", 0)]));
    let mut controller = Controller::default();

    run_for(&mut world, &mut controller, SignedDuration::from_secs(29));
    assert_eq!(Phase::of(world.state()), Phase::Open);
    run_for(&mut world, &mut controller, SignedDuration::from_secs(10));
    assert_eq!(Phase::of(world.state()), Phase::Verifying);
    assert_eq!(world.state().changes[0].state, ChangeState::Applied);

    world.server.edit("chat", "kubelet/Update", |object| {
        object["status"] = json!({"phase": "Ready", "observedGeneration": object["metadata"]["generation"]});
    });
    run_for(&mut world, &mut controller, SignedDuration::from_secs(10));
    assert_eq!(Phase::of(world.state()), Phase::Monitoring);

    world.signals.insert("nodes".to_owned(), reading(&[("total", 8), ("ready", 8)]));
    run_for(&mut world, &mut controller, SignedDuration::from_mins(6));
    assert_eq!(Phase::of(world.state()), Phase::Resolved);
    assert_eq!(world.state().closing, Some(Closing::Recovered));
    let now = &world.server.objects["chat"];
    assert_eq!(now["spec"], original["spec"]);
    assert_eq!(now["metadata"]["generation"], 3);
    assert_eq!(now["metadata"]["managedFields"], original["metadata"]["managedFields"]);
    assert_eq!(traces(now), Vec::<String>::new());
}
