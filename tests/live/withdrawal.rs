//! A person ends a response: all changes are reverted, and the same rule does not start it
//! again at once.

use serde_json::json;

use crate::{
    drill::{self, Drill, Models, heartbeats},
    support::{object::Object, operator::Operator},
};

struct Response {
    drill: Drill,
    operator: Operator,
    models: Models,
    policy: Object,
    incident: Object,
}

async fn begin(name: &str) -> Response {
    let drill = Drill::new(name).await;
    let models = drill.models(2).await;
    let plan = drill.world.operator();
    let operator = drill::QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag)).start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    models.wait_until_fallen().await;
    Response { drill, operator, models, policy, incident }
}

/// The alarm still rings, and nothing is opened until it has been silent once.
async fn assert_waits_until_silent_once(response: &Response, incidents: usize) {
    let Response { drill, operator, models, policy, incident } = response;
    let waiting = policy
        .wait_until("waits for the rule", |policy| {
            policy.data["status"]["waitingFor"] == json!(["AlarmRings"])
        })
        .await;
    assert_eq!(waiting.data["status"].get("activeIncident"), None, "{policy}: the claim");
    heartbeats(operator, 8).await;
    assert_eq!(drill.incidents().await.len(), incidents, "{policy}: opened again while the same rule holds");
    let said = drill::message_of(&policy.get().await, "Ready").to_owned();
    assert!(said.contains("AlarmRings"), "{policy}: what it waits for is not said: {said:?}");

    drill.hush().await;
    policy.wait_until("waits no more", |policy| policy.data["status"].get("waitingFor").is_none()).await;
    drill.ring().await;
    let next = drill.world.incident_of(policy).await;
    assert_ne!(next.name(), incident.name(), "{policy}: another Incident");
    next.wait_for_condition("Mitigated", "True").await;
    models.wait_until_fallen().await;
    drill.recover(&next).await;
}

#[tokio::test]
async fn withdrawn_puts_everything_back_and_waits_until_the_rule_was_false_once() {
    let response = begin("withdrawn").await;
    let Response { incident, models, .. } = &response;
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    let resolved = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(resolved.data["status"]["closing"], "Withdrawn", "{incident}");
    models.assert_reverted().await;
    assert_waits_until_silent_once(&response, 1).await;
}

#[tokio::test]
async fn withdrawn_cannot_be_taken_back() {
    let response = begin("withdrawn-final").await;
    let incident = &response.incident;
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    for back in [json!("Active"), json!(null)] {
        let patch = json!({"spec": {"response": back}}).to_string();
        let (world, name) = (&response.drill.world, incident.name());
        let arguments =
            ["patch", "incident", name, "--namespace", &world.a, "--type=merge", "--patch", &patch];
        let refused = world.kubectl_answer(&arguments).await;
        assert!(!refused.status.success(), "{incident}: {patch} was let through");
    }
    incident.wait_for_condition("Resolved", "True").await;
    response.models.assert_reverted().await;
}

#[tokio::test]
async fn deleting_the_incident_puts_everything_back_first() {
    let response = begin("deleted").await;
    let Response { incident, models, operator, .. } = &response;
    // It is not deleted as long as one model cannot be reverted.
    let stuck = models.objects[1].name().to_owned();
    operator.proxy.on(crate::support::proxy::Rule::first(
        3,
        move |call| drill::is_return(call, &stuck),
        crate::support::proxy::Fault::answer(403),
    ));
    incident.delete().await;
    incident.wait_until("cannot revert", |incident| drill::is_stalled(incident, "CannotPutBack")).await;
    incident.wait_until_gone().await;
    models.assert_reverted().await;
    assert_waits_until_silent_once(&response, 0).await;
}

#[tokio::test]
async fn an_abandoned_incident_goes_at_once_and_leaves_the_records() {
    let response = begin("abandoned").await;
    let Response { incident, models, operator, .. } = &response;
    let stuck = models.objects[1].name().to_owned();
    operator.proxy.on(crate::support::proxy::Rule::each(
        move |call| drill::is_return(call, &stuck),
        crate::support::proxy::Fault::answer(403),
    ));
    incident.delete().await;
    incident.wait_until("cannot revert", |incident| drill::is_stalled(incident, "CannotPutBack")).await;
    incident.merge("alice", json!({"metadata": {"annotations": {"firebreak.dev/abandon": "true"}}})).await;
    incident.wait_until_gone().await;
    models.assert_one_reverted(0, 0).await;
    let left = models.objects[1].snapshot().await;
    assert!(left.annotations.contains_key("firebreak.dev/undo"), "{}: the record is gone", models.objects[1]);
}
