//! S21: a pause and the brake stop a step in the middle, and a brake that cannot be read counts as engaged.

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

/// Two batches of requests and some more.
const TARGETS: usize = 72;
/// Requests in flight, the same number as in `src/controller/incident/act.rs`.
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

async fn respond(incident: &Object, response: &str) {
    incident.merge("alice", json!({"spec": {"response": response}})).await;
}

fn is_write_of_a_model(call: &Call) -> bool {
    call.is_write() && call.target.resource == "llmdeployments"
}

fn is_brake(call: &Call) -> bool {
    call.target.resource == "configmaps" && call.target.name == "firebreak-brake"
}

/// This many of the models were changed by the operator, and none more than once.
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

/// Does this when the next write of a model is about to be sent.
fn at_the_next_write<F: Future<Output = ()> + Send + 'static>(
    operator: &Operator,
    deed: impl Fn() -> F + Send + Sync + 'static,
) {
    operator.proxy.on(Rule::nth(1, is_write_of_a_model, Fault::first(move |_| deed())));
}

#[tokio::test]
async fn a_pause_and_the_brake_stop_a_step_in_its_middle_and_a_brake_that_cannot_be_read_is_engaged() {
    let drill = Drill::new("s21").await;
    let models = drill.models(TARGETS).await;
    let operator = drill.quick_operator().await;
    drill.policy().await;
    let brake = brake(&drill).await;

    // The first write of the step is delayed until it is paused.
    let incident = drill.open("outage", json!({"response": "Paused"})).await;
    incident.wait_until("paused", |incident| is_stalled(incident, "Paused")).await;
    drill.ring().await;
    incident.wait_for_condition("Classified", "True").await;
    let hand = incident.clone();
    at_the_next_write(&operator, move || {
        let incident = hand.clone();
        async move { respond(&incident, "Paused").await }
    });
    respond(&incident, "Active").await;
    operator.proxy.wait_for("a write of a model", |exchange| is_write_of_a_model(&exchange.call)).await;
    incident.wait_until("paused", |incident| is_stalled(incident, "Paused")).await;
    let paused_at = changed(&operator);
    assert!(
        (1..TARGETS).contains(&paused_at),
        "{paused_at} of {TARGETS} models were changed before the pause"
    );

    // Then the first write after it is delayed until the brake is engaged.
    let hand = brake.clone();
    at_the_next_write(&operator, move || {
        let brake = hand.clone();
        async move { set(&brake, "true").await }
    });
    respond(&incident, "Active").await;
    incident.wait_until("the brake is engaged", |incident| says(incident, "the brake is engaged")).await;
    let so_far = changed(&operator);
    let most = (paused_at + IN_FLIGHT).min(TARGETS);
    assert!(
        (paused_at + 1..=most).contains(&so_far),
        "{paused_at}, then {so_far} of {TARGETS} models were changed"
    );
    let (_, metrics) = operator.fetch("/metrics").await;
    assert!(metrics.contains("\nfirebreak_brake_engaged 1"), "{metrics}");

    // A ConfigMap with neither value, and one that cannot be read, count as an engaged brake.
    set(&brake, "maybe").await;
    incident.wait_until("it counts as engaged", |incident| says(incident, "does not say data.engaged")).await;
    operator.proxy.on(Rule::each(is_brake, Fault::answer(403)));
    incident.wait_until("it cannot be read", |incident| says(incident, "cannot be read")).await;
    set(&brake, "false").await;
    drill.hush().await;
    incident.wait_for_condition("Classified", "False").await;
    heartbeats(&operator, 3).await;
    assert_eq!(changed(&operator), so_far, "nothing moves while the brake cannot be read");

    // After the brake is released, the step is finished. Without the rule the changes would be reverted instead.
    drill.ring().await;
    incident.wait_for_condition("Classified", "True").await;
    operator.proxy.forget_rules();
    incident.wait_for_condition("Mitigated", "True").await;
    assert_eq!(changed(&operator), TARGETS);

    // While it is engaged, a person may revert one object, and all of them.
    set(&brake, "true").await;
    incident.wait_until("the brake is engaged", |incident| says(incident, "the brake is engaged")).await;
    let undone = drill.world.firebreak(&["undo", "llmdeployment/model-0", "-n", &drill.world.a]).await;
    assert!(undone.status.success(), "{}", String::from_utf8_lossy(&undone.stderr));
    incident.delete().await;
    incident.wait_until_gone().await;
    models.assert_reverted().await;
}
