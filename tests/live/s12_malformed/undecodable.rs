//! Objects that the schema accepts and a program cannot decode.
//!
//! The server accepts every time of RFC 3339; the last hours of the year 9999 are more than
//! most programs can hold.

use serde_json::json;

use crate::{
    drill::{Drill, heartbeats, is_stalled, message_of, policy_manifest},
    support::object::condition,
};

const END_OF_TIME: &str = "9999-12-31T23:59:59Z";

#[tokio::test]
async fn one_policy_that_does_not_decode_costs_the_ten_good_ones_nothing() {
    let drill = Drill::new("s12-decode").await;
    let models = drill.models(1).await;
    let mut good = Vec::new();
    for number in 0..10 {
        // One of them responds.
        let mut policy = policy_manifest(|spec| {
            if number > 0 {
                spec["steps"] = json!([]);
                spec["severity"][0]["when"] = json!("signals.alarm.unhealthy > 100");
            }
        });
        policy["metadata"]["name"] = json!(format!("good-{number}"));
        good.extend(drill.world.apply("flux", &policy.to_string()).await);
    }
    let mut bad = policy_manifest(|_| {});
    bad["metadata"]["name"] = json!("bad");
    let bad = drill.world.apply("mallory", &bad.to_string()).await.remove(0);
    let rule = json!({
        "reason": "AlarmRings", "level": "P0", "truth": "False", "known": "False", "since": END_OF_TIME,
    });
    bad.merge_status("mallory", json!({"status": {"rules": [rule]}})).await;

    let operator = drill.world.operator().start().await;
    for policy in &good {
        policy.wait_for_condition("Ready", "True").await;
    }
    let said = bad.wait_for_condition("Ready", "False").await;
    assert_ne!(message_of(&said, "Ready"), "", "{bad}: Ready does not say why");

    let incident = drill.respond(&good[0]).await;
    drill.recover(&incident).await;
    models.assert_reverted().await;
    for policy in &good {
        assert_eq!(condition(&policy.get().await, "Ready"), Some("True"), "{policy}");
    }
    assert!(operator.is_running(), "the operator exited");
}

#[tokio::test]
async fn one_object_with_metadata_that_nobody_can_read_costs_the_others_nothing() {
    let drill = Drill::new("s12-metadata").await;
    let good = drill.models_named(&["good"]).await;
    let bad = drill.models_named(&["bad"]).await;
    for object in &bad.objects {
        let entry = json!([{
            "manager": "mallory", "operation": "Update", "apiVersion": "inference.llm-d.io/v1alpha1",
            "time": END_OF_TIME, "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}},
        }]);
        let patch = json!({"metadata": {"managedFields": entry}}).to_string();
        let patch = [
            "patch",
            "llmdeployment",
            object.name(),
            "--namespace",
            &drill.world.a,
            "--type=merge",
            "-p",
            &patch,
        ];
        let show = ["--output=json", "--show-managed-fields"];
        let patched = drill.world.kubectl(&[&patch[..], &show[..]].concat()).await;
        assert!(patched.contains(END_OF_TIME), "{object}: the server has repaired it: {patched}");
    }
    let operator = drill.world.operator().start().await;
    // The models are a signal too, so that they are watched.
    let policy = drill
        .policy_with(|spec| {
            let models = json!({
                "name": "models",
                "objects": {"apiVersion": "inference.llm-d.io/v1alpha1", "kind": "LLMDeployment", "healthy": "true"},
            });
            spec["signals"].as_array_mut().expect("a list").push(models);
        })
        .await;
    let incident = drill.respond(&policy).await;
    good.wait_until_fallen().await;
    drill.recover(&incident).await;
    good.assert_reverted().await;
    assert!(operator.is_running(), "the operator exited");
}

#[tokio::test]
async fn a_policy_whose_incident_does_not_decode_says_so_and_opens_no_other_one() {
    let drill = Drill::new("s12-incident").await;
    let models = drill.models(1).await;
    let operator = drill.quick_operator().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    incident.merge_status("mallory", json!({"status": {"acknowledgedAt": END_OF_TIME}})).await;
    let said =
        policy.wait_until("IncidentUnreadable", |policy| is_stalled(policy, "IncidentUnreadable")).await;
    let message = message_of(&said, "Ready");
    for word in [incident.name(), "kubectl edit incident"] {
        assert!(message.contains(word), "{policy}: no {word} in {message:?}");
    }
    heartbeats(&operator, 3).await;
    assert_eq!(drill.incidents().await.len(), 1, "{policy} has opened another Incident");

    incident.merge_status("alice", json!({"status": {"acknowledgedAt": null}})).await;
    policy.wait_for_condition("Ready", "True").await;
    drill.recover(&incident).await;
    models.assert_reverted().await;
    drill.assert_one_resolved_incident().await;
}
