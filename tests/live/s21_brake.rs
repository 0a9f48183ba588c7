//! S21: the brake stops a step in its middle, and what cannot be read counts as engaged.

use kube::api::DynamicObject;
use serde_json::json;

use crate::{
    drill::{Drill, heartbeats, is_stalled, message_of, spec_writes},
    support::{
        object::Object,
        operator::Operator,
        proxy::{Call, Fault, Rule},
    },
};

/// More than one batch of requests.
const TARGETS: usize = 40;
/// Requests in flight, as `src/controller/incident/act.rs` has it.
const IN_FLIGHT: usize = 32;

/// The brake, which is off.
async fn brake(drill: &Drill) -> Object {
    let brake = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "firebreak-brake", "namespace": drill.world.operator_namespace},
        "data": {"engaged": "false"},
    });
    drill.world.create("alice", &brake.to_string()).await.remove(0)
}

async fn set(brake: &Object, engaged: &str) {
    brake.merge("alice", json!({"data": {"engaged": engaged}})).await;
}

fn is_brake(call: &Call) -> bool {
    call.target.resource == "configmaps" && call.target.name == "firebreak-brake"
}

/// So many of the models were changed by the operator, and none more than once.
fn changed(operator: &Operator) -> usize {
    let writes =
        (0..TARGETS).map(|number| spec_writes(&[operator.proxy.record()], &format!("model-{number}")));
    let applied: Vec<usize> = writes.map(|writes| writes.applied).collect();
    assert!(applied.iter().all(|times| *times <= 1), "each at most once: {applied:?}");
    applied.into_iter().sum()
}

fn says(incident: &DynamicObject, part: &str) -> bool {
    is_stalled(incident, "Braked") && message_of(incident, "Stalled").contains(part)
}

#[tokio::test]
async fn the_brake_stops_a_step_in_its_middle_and_what_cannot_be_read_is_engaged() {
    let drill = Drill::new("s21").await;
    let models = drill.models(TARGETS).await;
    let operator = drill.quick_operator().await;
    let policy = drill.policy().await;

    // The first write of the step is held up until the brake is engaged.
    let brake = brake(&drill).await;
    let hand = brake.clone();
    let pull = Fault::first(move |_| {
        let brake = hand.clone();
        async move { set(&brake, "true").await }
    });
    operator.proxy.on(Rule::nth(1, |call| call.is_write() && call.target.resource == "llmdeployments", pull));
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    incident.wait_until("the brake is engaged", |incident| says(incident, "the brake is engaged")).await;
    let so_far = changed(&operator);
    let (_, metrics) = operator.fetch("/metrics").await;
    assert!(metrics.contains("\nfirebreak_brake_engaged 1"), "{metrics}");
    assert!((1..=IN_FLIGHT).contains(&so_far), "{so_far} of {TARGETS} models were changed");

    // A ConfigMap that says nothing, and one that cannot be read, are an engaged brake.
    set(&brake, "maybe").await;
    incident.wait_until("it counts as engaged", |incident| says(incident, "does not say data.engaged")).await;
    operator.proxy.on(Rule::each(is_brake, Fault::answer(403)));
    incident.wait_until("it cannot be read", |incident| says(incident, "cannot be read")).await;
    set(&brake, "false").await;
    drill.hush().await;
    heartbeats(&operator, 3).await;
    assert_eq!(changed(&operator), so_far, "nothing moves while the brake cannot be read");

    // Off again the step is finished, and everything goes back.
    drill.ring().await;
    operator.proxy.forget_rules();
    incident.wait_for_condition("Mitigated", "True").await;
    assert_eq!(changed(&operator), TARGETS);

    // A person's withdrawal works with the brake engaged.
    set(&brake, "true").await;
    incident.wait_until("the brake is engaged", |incident| says(incident, "the brake is engaged")).await;
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    incident.wait_for_condition("Resolved", "True").await;
    models.assert_put_back().await;
}
