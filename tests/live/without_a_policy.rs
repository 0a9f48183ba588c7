//! Incidents that a person opens with kubectl and that name no policy, or come at the wrong moment.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, Models, is_waiting, message_of},
    support::object::{Object, condition},
};

/// The manifest of an Incident without a policy, `${a}` not yet filled in.
fn manifest(metadata: Value, spec: Value) -> Value {
    let mut incident = drill::incident_manifest("", spec);
    incident["metadata"] = metadata;
    incident["metadata"]["namespace"] = json!("${a}");
    incident["spec"].as_object_mut().expect("a spec").remove("policyRef");
    incident
}

/// Creates what a manifest describes with kubectl. The name is the one that kubectl prints.
async fn kubectl(drill: &Drill, verb: &str, manifest: &Value) -> Object {
    let file = drill.world.files().join("incident.json");
    let text = drill.world.documents(&manifest.to_string()).remove(0).to_string();
    std::fs::write(&file, text).expect("the testbed's directory is writable");
    let printed = drill.world.kubectl(&[verb, "-f", &file.display().to_string(), "-o", "name"]).await;
    drill.world.incident(printed.trim().rsplit('/').next().expect("a name"))
}

fn chosen(incident: &DynamicObject) -> &Value {
    &incident.data["status"]["policy"]["name"]
}

/// Held, because this one is the open one, with the commands that resolve it.
async fn waits_for(incident: &Object, other: &Object, namespace: &str) {
    let command = format!("firebreak withdraw {} -n {namespace}", other.name());
    let says = |seen: &DynamicObject| {
        is_waiting(seen, "AnotherIncident") && message_of(seen, "Reconciling").contains(&command)
    };
    let held = incident.wait_until(&command, says).await;
    let message = message_of(&held, "Reconciling");
    for way in ["firebreak describe", "kubectl patch incident", "then continues"] {
        assert!(message.contains(way), "{incident}: no {way} in {message}");
    }
    assert_eq!(chosen(&held), "drill", "{incident}");
}

async fn withdraw(incident: &Object) {
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    let resolved = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(resolved.data["status"]["closing"], "Withdrawn", "{incident}");
}

async fn went_there_and_back(models: &Models, times: i64) {
    let (model, before) = (&models.objects[0], &models.before[0]);
    let after = model.snapshot().await;
    assert_eq!(after.spec, before.spec, "{model}: spec");
    assert_eq!(after.generation, before.generation + 2 * times, "{model}: there and back, {times} times");
    drill::models::assert_no_trace(model, before, &after);
}

/// One after the other, because each starts where the previous one ends.
#[tokio::test]
async fn an_incident_without_a_policy_gets_the_most_severe_whose_rules_hold_when_one_does() {
    let drill = Drill::new("no-policy").await;
    let a = drill.world.a.clone();
    let models = drill.models(1).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill.policy().await;

    // No rule holds: it says what it waits for, and closes at once when a person withdraws it.
    let quiet = manifest(json!({"name": "quiet"}), json!({}));
    let given_up = kubectl(&drill, "apply", &quiet).await;
    let held = given_up.wait_until("waits", |seen| is_waiting(seen, "NoPolicy")).await;
    assert!(
        message_of(&held, "Reconciling").contains(&format!("firebreak open POLICY -n {a}")),
        "{given_up}"
    );
    assert_eq!(chosen(&held), &Value::Null, "{given_up}");
    withdraw(&given_up).await;
    let deleted = kubectl(&drill, "apply", &manifest(json!({"name": "deleted"}), json!({}))).await;
    deleted.wait_until("waits", |seen| is_waiting(seen, "NoPolicy")).await;
    deleted.delete().await;
    deleted.wait_until_gone().await;

    // A pin sets the severity, and does not choose a policy.
    let pinned = manifest(json!({"name": "pinned"}), json!({"severity": "P1"}));
    let pinned = kubectl(&drill, "apply", &pinned).await;
    pinned.wait_until("waits", |seen| is_waiting(seen, "NoPolicy")).await;

    // The rule holds, and the policy has opened its own first.
    let automatic = drill.respond(&policy).await;
    waits_for(&pinned, &automatic, &a).await;

    // A milder policy, first by name, is not the one.
    let mut milder = drill::policy_manifest(|spec| {
        spec["mode"] = json!("Observe");
        spec["severity"][0]["level"] = json!("P2");
    });
    milder["metadata"]["name"] = json!("a-milder-one");
    let milder = drill.world.apply("flux", &milder.to_string()).await.remove(0);
    drill.world.incident_of(&milder).await;
    let generated = manifest(json!({"generateName": format!("{}-", "very-long-name".repeat(5))}), json!({}));
    let generated = kubectl(&drill, "create", &generated).await;
    assert_eq!(generated.name().len(), 63, "{generated}");
    waits_for(&generated, &automatic, &a).await;

    // Each continues automatically when the claim is free, the oldest first.
    withdraw(&automatic).await;
    let mitigated = pinned.wait_for_condition("Mitigated", "True").await;
    assert_eq!(mitigated.data["status"]["severityReason"], "PinnedByPerson", "{pinned}");
    assert_eq!(drill::times(&mitigated, "PolicyChosen"), 1, "{pinned}");
    assert_eq!(drill::times(&mitigated, "PolicyChanged"), 0, "{pinned}");
    waits_for(&generated, &pinned, &a).await;
    withdraw(&pinned).await;
    let mitigated = generated.wait_for_condition("Mitigated", "True").await;
    assert_eq!(mitigated.data["status"]["severity"], "P0", "{generated}");
    let resolved = drill.recover(&generated).await;
    assert_eq!(resolved.data["status"]["closing"], "Recovered", "{generated}");
    assert_eq!(chosen(&resolved), "drill", "{generated}");
    // A person was asked once, and not again while the claim passed from one to the next.
    let events = generated.events().await;
    assert_eq!(events.iter().filter(|event| event.starts_with("AnotherIncident")).count(), 1, "{events:#?}");
    assert!(!events.iter().any(|event| event.contains("no Incident holds")), "{events:#?}");
    went_there_and_back(&models, 3).await;

    a_closed_one_is_applied_again(&drill, &given_up, quiet).await;
    went_there_and_back(&models, 3).await;
}

/// Nothing happens, and the message says how to respond again.
async fn a_closed_one_is_applied_again(drill: &Drill, closed: &Object, mut manifest: Value) {
    let before = closed.get().await;
    manifest["spec"]["response"] = json!("Withdrawn");
    kubectl(drill, "apply", &manifest).await;
    let again = closed.get().await;
    assert_eq!(
        (again.metadata.generation, &again.data),
        (before.metadata.generation, &before.data),
        "{closed}"
    );
    manifest["spec"]["severity"] = json!("P0");
    kubectl(drill, "apply", &manifest).await;
    let note = closed.wait_for_event("Closed").await;
    assert!(note.contains("firebreak open") && note.contains("generateName"), "{closed}: {note}");
    let is_seen = |seen: &DynamicObject| {
        seen.metadata.generation > before.metadata.generation
            && json!(seen.metadata.generation) == seen.data["status"]["observedGeneration"]
    };
    let seen = closed.wait_until("seen", is_seen).await;
    assert_eq!(condition(&seen, "Resolved"), Some("True"), "{closed}");
    assert_eq!(seen.data["status"]["resolvedAt"], before.data["status"]["resolvedAt"], "{closed}");
    for type_ in ["Ready", "Resolved"] {
        let message = message_of(&seen, type_);
        assert!(message.starts_with("CLOSED (Withdrawn)"), "{closed}: {type_}: {message}");
    }
    let table = drill.world.kubectl(&["get", "inc", "-o", "wide", "--namespace", &drill.world.a]).await;
    let row = table.lines().find(|line| line.starts_with("quiet ")).unwrap_or_default();
    assert!(row.contains("CLOSED (Withdrawn)"), "{table}");
}
