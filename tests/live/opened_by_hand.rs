//! Incidents that people open.

use serde_json::json;

use crate::{
    drill::{Drill, message_of},
    support::object::{Object, condition},
};

/// An Incident for the drill's policy, as a person writes it.
async fn open(drill: &Drill, name: &str) -> Object {
    let incident = json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": name, "namespace": drill.world.a},
        "spec": {"policyRef": {"name": "drill"}, "summary": "by hand"},
    });
    drill.world.create("alice", &incident.to_string()).await.remove(0)
}

#[tokio::test]
async fn a_person_may_open_an_incident_while_the_policy_waits() {
    let drill = Drill::new("by-hand-wait").await;
    let models = drill.models(1).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let first = drill.respond(&policy).await;
    first.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    first.wait_for_condition("Resolved", "True").await;
    policy
        .wait_until("waits for the rule", |policy| {
            policy.data["status"]["waitingFor"] == json!(["AlarmRings"])
        })
        .await;
    let second = open(&drill, "again").await;
    second.wait_for_condition("Mitigated", "True").await;
    models.wait_until_fallen().await;
    drill.recover(&second).await;
    let (model, before) = (&models.objects[0], &models.before[0]);
    let after = model.snapshot().await;
    assert_eq!(after.spec, before.spec, "{model}: spec");
    assert_eq!(after.generation, before.generation + 4, "{model}: there and back, twice");
}

#[tokio::test]
async fn an_incident_of_a_policy_that_does_not_exist_says_so_and_can_be_deleted() {
    let drill = Drill::new("by-hand-none").await;
    let _operator = drill.world.operator().start().await;
    let incident = open(&drill, "lonely").await;
    let held = incident.wait_for_condition("Stalled", "True").await;
    let message = message_of(&held, "Stalled");
    assert!(message.contains("drill"), "{incident}: the policy is not named: {message:?}");
    assert_eq!(condition(&held, "Resolved"), Some("False"), "{incident}");
    incident.delete().await;
    incident.wait_until_gone().await;
}
