//! Incidents that people open, with `kubectl apply` alone.

use kube::{ResourceExt, api::DynamicObject};
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, change_of, has_fallen, heartbeats, is_waiting, message_of, two_levels},
    support::object::{Object, condition},
};

/// An Incident as a person writes it, sent with `kubectl apply` whenever there is another version of it.
async fn kubectl_apply(drill: &Drill, name: &str, spec: Value) -> Object {
    let manifest = drill.world.documents(&drill::incident_manifest(name, spec).to_string()).remove(0);
    let file = drill.world.files().join(format!("{name}.json"));
    std::fs::write(&file, manifest.to_string()).expect("the testbed's directory is writable");
    drill.world.kubectl(&["apply", "-f", &file.display().to_string()]).await;
    drill.world.incident(name)
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
    let second = kubectl_apply(&drill, "again", json!({})).await;
    second.wait_for_condition("Mitigated", "True").await;
    models.wait_until_fallen().await;
    drill.recover(&second).await;
    let (model, before) = (&models.objects[0], &models.before[0]);
    let after = model.snapshot().await;
    assert_eq!(after.spec, before.spec, "{model}: spec");
    assert_eq!(after.generation, before.generation + 4, "{model}: there and back, twice");

    // An Incident that is deleted while its changes are in force reverts them first.
    let third = kubectl_apply(&drill, "deleted", json!({"severity": "P0"})).await;
    let in_force = third.wait_for_condition("Mitigated", "True").await;
    assert_eq!(in_force.finalizers(), ["firebreak.dev/loans"], "{third}");
    models.wait_until_fallen().await;
    third.delete().await;
    third.wait_until_gone().await;
    let after = model.snapshot().await;
    assert_eq!(after.spec, before.spec, "{model}: spec");
    assert_eq!(after.generation, before.generation + 6, "{model}: there and back, three times");
    drill::models::assert_no_trace(model, before, &after);
}

#[tokio::test]
async fn an_incident_of_a_policy_that_does_not_exist_says_so_and_can_be_deleted() {
    let drill = Drill::new("by-hand-none").await;
    let _operator = drill.world.operator().start().await;
    let incident = kubectl_apply(&drill, "lonely", json!({})).await;
    let held = incident.wait_for_condition("Stalled", "True").await;
    let message = message_of(&held, "Stalled");
    assert!(message.contains("drill"), "{incident}: the policy is not named: {message:?}");
    assert_eq!(condition(&held, "Resolved"), Some("False"), "{incident}");
    incident.delete().await;
    incident.wait_until_gone().await;
}

#[tokio::test]
async fn a_pinned_severity_is_responded_to_while_no_rule_holds_and_ends_only_by_a_person() {
    let drill = Drill::new("by-hand-pin").await;
    let models = drill.models(1).await;
    let operator = drill.quick_operator().await;
    drill
        .policy_with(|spec| {
            two_levels(spec);
            spec["steps"][0]["severities"] = json!(["P0"]);
        })
        .await;
    let incident = kubectl_apply(&drill, "seen", json!({"severity": "P0"})).await;
    let mitigated = incident.wait_for_condition("Mitigated", "True").await;
    assert_eq!(mitigated.data["status"]["severityReason"], "PinnedByPerson", "{incident}");
    models.wait_until_fallen().await;
    // Much longer than recovery.for.
    heartbeats(&operator, 5).await;
    let seen = incident.get().await;
    assert_eq!(change_of(&seen, "model-0")["state"], "Verified", "{incident}");
    assert_eq!(seen.data["status"].get("quietUntil"), None, "{incident}: no rule can end it");

    kubectl_apply(&drill, "seen", json!({"severity": "P0", "response": "Withdrawn"})).await;
    let resolved = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(resolved.data["status"]["closing"], "Withdrawn", "{incident}");
    models.assert_reverted().await;
}

/// A drill in which the alarm rings for P2, or not at all, and a person has pinned P0.
async fn pinned(
    name: &str,
    rings: bool,
) -> (Drill, crate::support::operator::Operator, drill::Models, Object) {
    let drill = Drill::new(name).await;
    let models = drill.models(1).await;
    let operator = drill.quick_operator().await;
    let policy = drill
        .policy_with(|spec| {
            two_levels(spec);
            spec["steps"][0]["severities"] = json!(["P0"]);
        })
        .await;
    let incident = kubectl_apply(&drill, "seen", json!({"severity": "P0"})).await;
    incident.wait_for_condition("Mitigated", "True").await;
    if rings {
        drill.ring().await;
        incident.wait_until("sees the rule", |seen| seen.data["status"]["ruleHasHeld"] == json!(true)).await;
        let claim = policy.get().await;
        assert_eq!(claim.data["status"]["activeIncident"]["name"], "seen", "{policy}");
    }
    (drill, operator, models, incident)
}

#[tokio::test]
async fn an_incident_that_is_not_pinned_any_more_is_as_severe_as_the_rules_say() {
    let (drill, operator, models, incident) = pinned("by-hand-rules", true).await;
    heartbeats(&operator, 3).await;
    assert!(has_fallen(&models.objects[0].get().await.data), "a rule for P2 changes no pinned P0");
    kubectl_apply(&drill, "seen", json!({})).await;
    // Its step is for P0 alone.
    let is_back = |seen: &DynamicObject| change_of(seen, "model-0")["state"] == "Reverted";
    let back = incident.wait_until("is back", is_back).await;
    assert_eq!(back.data["status"]["severity"], "P2", "{incident}");
    assert_eq!(back.data["status"]["severityReason"], "AlarmRings", "{incident}");
    assert_eq!(condition(&back, "Resolved"), Some("False"), "{incident}: P2 goes on");
    let resolved = drill.recover(&incident).await;
    assert_eq!(resolved.data["status"]["closing"], "Recovered", "{incident}");
    models.assert_reverted().await;
}

#[tokio::test]
async fn an_incident_that_is_not_pinned_any_more_recovers_when_no_rule_holds() {
    let (drill, _operator, models, incident) = pinned("by-hand-quiet", false).await;
    assert!(!is_waiting(&incident.get().await, "NotClassified"), "{incident}");
    kubectl_apply(&drill, "seen", json!({})).await;
    let resolved = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(resolved.data["status"]["closing"], "Recovered", "{incident}");
    models.assert_reverted().await;
}
