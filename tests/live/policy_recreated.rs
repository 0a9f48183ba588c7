//! A policy is deleted and created again while its Incident is open.

use http::Method;
use kube::api::DynamicObject;
use serde_json::json;

use crate::{
    drill::{self, Drill, has_fallen, heartbeats, is_waiting},
    support::{
        object::Object,
        proxy::{Call, Fault, Rule},
    },
};

async fn recreate(drill: &Drill, policy: &Object) -> Object {
    policy.delete().await;
    policy.wait_until_gone().await;
    drill.apply_policy(|_| {}).await
}

#[tokio::test]
async fn an_operator_that_has_not_seen_the_incident_opens_no_second_one() {
    let drill = Drill::new("recreated-blind").await;
    let models = drill.models(1).await;
    let leader = drill.quick_operator().await;
    let policy = drill.policy().await;
    let plan = drill.world.operator().named("firebreak-1");
    let standby = drill::QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag)).start().await;
    standby.proxy.wait_for("watches Incidents", |exchange| exchange.call.watches("incidents")).await;
    let blindness = standby.proxy.freeze(|call| call.watches("incidents"));
    let incident = drill.respond(&policy).await;
    models.wait_until_fallen().await;
    leader.stop().await;

    let policy = recreate(&drill, &policy).await;
    let uid = json!(incident.get().await.metadata.uid);
    let is_claimed = |policy: &DynamicObject| policy.data["status"]["activeIncident"]["uid"] == uid;
    policy.wait_until("claimed by the open Incident", is_claimed).await;
    heartbeats(&standby, 3).await;
    assert_eq!(drill.incidents().await.len(), 1, "{incident} is the only one");
    assert!(has_fallen(&models.objects[0].get().await.data), "reverted in the emergency");

    // A new process lists what there is.
    drop(blindness);
    standby.restart();
    let resolved = drill.recover(&incident).await;
    assert_eq!(resolved.data["status"]["closing"], "Recovered", "{incident}");
    models.assert_reverted().await;
    drill.assert_one_resolved_incident().await;
}

#[tokio::test]
async fn a_person_can_end_incidents_while_the_new_policy_has_no_status() {
    let drill = Drill::new("recreated-end").await;
    let models = drill.models(1).await;
    let operator = drill.quick_operator().await;
    let policy = drill.policy().await;
    let first = drill.respond(&policy).await;
    models.wait_until_fallen().await;
    let second = drill.open("second", json!({})).await;
    second.wait_until("Held", |incident| is_waiting(incident, "AnotherIncident")).await;

    let records = |call: &Call| call.method == Method::PUT && call.target.resource == "remediationpolicies";
    operator.proxy.on(Rule::each(records, Fault::answer(403)));
    let policy = recreate(&drill, &policy).await;
    let uid = json!(policy.get().await.metadata.uid);
    let waits_for_it = |incident: &DynamicObject| incident.data["status"]["awaitedPolicy"] == uid;
    second.wait_until("waits for the new policy", waits_for_it).await;

    second.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    second.wait_for_condition("Resolved", "True").await;
    first.delete().await;
    first.wait_until_gone().await;
    models.assert_reverted().await;
    assert!(policy.get().await.data.get("status").is_none(), "{policy}: it got a status after all");
}
