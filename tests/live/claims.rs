//! At most one open Incident acts for a policy, whoever opens it.

use http::Method;
use serde_json::json;

use crate::{
    drill::{
        self, Drill, SpecWrites, closed, heartbeats, is_stalled, is_waiting, message_of, spec_writes, touches,
    },
    support::{
        object::Object,
        proxy::{Call, Exchange, Fault, Rule},
    },
};

async fn by_hand(drill: &Drill, name: &str) -> Object {
    let incident = json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": name, "namespace": drill.world.a},
        "spec": {"policyRef": {"name": "drill"}, "summary": "seen by a person"},
    });
    drill.world.apply("alice", &incident.to_string()).await.remove(0)
}

#[tokio::test]
async fn the_incident_of_a_person_is_the_one_and_a_second_is_held_and_names_it() {
    let drill = Drill::new("claim-hand").await;
    let models = drill.models(2).await;
    let plan = drill.world.operator();
    let operator = drill::QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag)).start().await;
    // Long enough that the first one is open when the alarm rings.
    let policy = drill.policy_with(|spec| spec["recovery"] = json!({"for": "4s", "between": "0s"})).await;
    let first = by_hand(&drill, "first").await;
    let waiting = first.wait_until("asks", |incident| is_waiting(incident, "NotClassified")).await;
    assert_eq!(waiting.data["status"]["changesInForce"], 0, "{first}");
    let uid = json!(waiting.metadata.uid);
    policy.wait_until("claimed", |policy| policy.data["status"]["activeIncident"]["uid"] == uid).await;

    let second = by_hand(&drill, "second").await;
    let held = second.wait_until("Held", |incident| is_waiting(incident, "AnotherIncident")).await;
    assert_eq!(held.data["status"]["phase"], "Held", "{second}");
    assert!(message_of(&held, "Reconciling").contains("Incident first"), "{second}");

    drill.ring().await;
    first.wait_for_condition("Mitigated", "True").await;
    models.wait_until_fallen().await;
    heartbeats(&operator, 5).await;
    assert_eq!(drill.incidents().await.len(), 2, "{policy}: a third was opened");

    // The second one ends, which changes nothing for the first.
    second.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    second.wait_for_condition("Resolved", "True").await;
    heartbeats(&operator, 3).await;
    assert!(!closed(&first.get().await), "{first}");
    let resolved = drill.recover(&first).await;
    assert_eq!(resolved.data["status"]["closing"], "Recovered", "{first}");
    models.assert_reverted().await;
    for model in &models.objects {
        let once = SpecWrites { applied: 1, returned: 1 };
        assert_eq!(spec_writes(&[operator.proxy.record()], model.name()), once, "{model}");
    }
}

#[tokio::test]
async fn the_incident_of_a_person_in_which_no_rule_holds_changes_nothing_and_closes() {
    let drill = Drill::new("claim-quiet").await;
    let models = drill.models(1).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let incident = by_hand(&drill, "mistaken").await;
    let resolved = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(resolved.data["status"]["closing"], "NotClassified", "{incident}");
    models.assert_untouched(0).await;
    policy.wait_until("free", |policy| policy.data["status"].get("activeIncident").is_none()).await;

    // The claim is free for an Incident that the rules open.
    let next = drill.respond(&policy).await;
    assert_ne!(next.name(), incident.name());
    drill.recover(&next).await;
    models.assert_reverted().await;
}

#[tokio::test]
async fn an_incident_with_a_nonce_that_the_claim_does_not_name_closes_as_superseded() {
    let drill = Drill::new("claim-nonce").await;
    let models = drill.models(1).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    let stray = json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": "stray", "namespace": drill.world.a, "annotations": {"firebreak.dev/nonce": "none"}},
        "spec": {"policyRef": {"name": "drill"}},
    });
    let stray = drill.world.create("mallory", &stray.to_string()).await.remove(0);
    let closed = stray.wait_for_condition("Resolved", "True").await;
    assert_eq!(closed.data["status"]["closing"], "Superseded", "{stray}");
    drill.recover(&incident).await;
    models.assert_reverted().await;
}

#[tokio::test]
async fn an_incident_that_is_refused_is_said_and_keeps_no_claim() {
    let drill = Drill::new("claim-no").await;
    let models = drill.models(1).await;
    let operator = drill.world.operator().start().await;
    let opens = |call: &Call| call.method == Method::POST && call.path.ends_with("/incidents");
    operator.proxy.on(Rule::each(opens, Fault::answer(403)));
    let policy = drill.policy().await;
    drill.ring().await;
    let told = policy.wait_until("says why", |policy| is_stalled(policy, "CannotOpen")).await;
    assert!(message_of(&told, "Ready").contains("rejects the Incident"), "{policy}");
    policy.wait_until("free", |policy| policy.data["status"].get("activeIncident").is_none()).await;

    // A person may open what the operator may not.
    let first = by_hand(&drill, "first").await;
    first.wait_for_condition("Mitigated", "True").await;
    drill.recover(&first).await;
    models.assert_reverted().await;
}

#[tokio::test]
async fn the_first_change_waits_for_one_write_of_the_policy_and_the_uid_follows() {
    let drill = Drill::new("claim-once").await;
    let models = drill.models(1).await;
    let operator = drill.quick_operator().await;
    let policy = drill.policy().await;
    policy.wait_for_condition("Ready", "True").await;
    heartbeats(&operator, 1).await;
    let before = operator.proxy.calls().len();
    let incident = drill.respond(&policy).await;
    let calls = operator.proxy.calls();
    let changes_a_model = |exchange: &&Exchange| touches(&exchange.call, models.objects[0].name());
    let first = calls[before..].iter().find(changes_a_model).expect("it was changed").call.number;
    let ours = calls[before..first].iter().filter(|exchange| {
        exchange.call.is_write()
            && ["remediationpolicies", "incidents"].contains(&&*exchange.call.target.resource)
    });
    let ours: Vec<String> =
        ours.map(|exchange| format!("{} {}", exchange.call.method, exchange.call.target.resource)).collect();
    assert_eq!(ours, ["PUT remediationpolicies", "POST incidents", "PUT incidents"], "{policy}");

    let uid = json!(incident.get().await.metadata.uid);
    policy.wait_until("bound", |policy| policy.data["status"]["activeIncident"]["uid"] == uid).await;
    drill.recover(&incident).await;
    models.assert_reverted().await;
}
