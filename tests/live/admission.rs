//! What admission stores in place of the value that Firebreak sends is told, and is nobody's edit.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::drill::{self, Drill, change_of};

const ACCELERATED: &str = "nvidia.com/gpu.present";

fn node_selector(deployment: &DynamicObject) -> &Value {
    &deployment.data["spec"]["template"]["spec"]["nodeSelector"]
}

#[tokio::test]
async fn a_placement_that_an_admission_policy_puts_back_is_told_and_ends_reverted() {
    let drill = Drill::new("admission").await;
    let manifest = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "chat", "namespace": drill.world.a},
        "spec": {
            "replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": "chat"}},
            "template": {"metadata": {"labels": {"app": "chat"}}, "spec": {
                "nodeSelector": {ACCELERATED: "true"},
                "containers": [{"name": "main", "image": "example.com/server:1", "resources": {"limits": {"nvidia.com/gpu": "1"}}}],
            }},
        },
    });
    let chat = drill.world.apply("flux", &manifest.to_string()).await.remove(0);
    let puts_back = format!(
        r#"[JSONPatch{{op: "add", path: "/spec/template/spec/nodeSelector", value: {{"{ACCELERATED}": "true"}}}}]"#
    );
    let removal = json!({"spec": {"template": {"spec": {"nodeSelector": null}}}});
    let is_back = |stored: &DynamicObject| node_selector(stored)[ACCELERATED] == "true";
    drill.world.admission_patches(&puts_back, &chat, removal, is_back).await;
    let before = chat.snapshot().await;

    let _operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            *drill::targets(spec) = json!({"apiVersion": "apps/v1", "kind": "Deployment", "where": "true"});
            spec["steps"][0]["action"]["cpuFallback"]["placement"] = json!("Release");
        })
        .await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let is_told = |incident: &DynamicObject| {
        let timeline = incident.data["status"]["timeline"].as_array().map_or(&[][..], Vec::as_slice);
        timeline.iter().any(|entry| {
            let message = entry["message"].as_str().unwrap_or_default();
            entry["type"] == "StoredDifferently"
                && message.contains("admission")
                && message.contains("nodeSelector")
        })
    };
    incident.wait_until("the timeline names admission and the field", is_told).await;
    let lent = chat.get().await;
    assert!(is_back(&lent), "{chat}: admission keeps it");

    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    let resolved = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(change_of(&resolved, "chat")["state"], "Reverted", "{incident}: nothing differs from before");
    let after = chat.snapshot().await;
    assert_eq!((&after.spec, after.traces()), (&before.spec, Vec::new()), "{chat}");
}
