//! What admission stores in place of the value that Firebreak sends is told, and is nobody's edit.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, change_of},
    support::rights::Rule,
};

const ACCELERATED: &str = "nvidia.com/gpu.present";

fn node_selector(deployment: &DynamicObject) -> &Value {
    &deployment.data["spec"]["template"]["spec"]["nodeSelector"]
}

/// Whether the timeline says that admission stored another value in this field.
fn is_told(incident: &DynamicObject, field: &str) -> bool {
    let timeline = incident.data["status"]["timeline"].as_array().map_or(&[][..], Vec::as_slice);
    timeline.iter().any(|entry| {
        let message = entry["message"].as_str().unwrap_or_default();
        entry["type"] == "StoredDifferently" && message.contains("admission") && message.contains(field)
    })
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
    let is_told = |incident: &DynamicObject| is_told(incident, "nodeSelector");
    incident.wait_until("the timeline names admission and the field", is_told).await;
    let lent = chat.get().await;
    assert!(is_back(&lent), "{chat}: admission keeps it");

    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    let resolved = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(change_of(&resolved, "chat")["state"], "Reverted", "{incident}: nothing differs from before");
    let after = chat.snapshot().await;
    assert_eq!((&after.spec, after.traces()), (&before.spec, Vec::new()), "{chat}");
}

#[tokio::test]
async fn undo_reverts_what_admission_stored_where_the_record_cannot_be_corrected() {
    let drill = Drill::new("admission-undo").await;
    let served = Rule {
        group: "serving.kserve.io",
        resources: &["inferenceservices"],
        verbs: &["get", "list", "watch", "patch"],
    };
    drill.world.grant(&drill.world.a, &[drill::rights(), vec![served]].concat()).await;
    let manifest = json!({
        "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
        "metadata": {"name": "chat", "namespace": drill.world.a},
        "spec": {"predictor": {"containerConcurrency": 8, "model": {"storageUri": "hf://m"}}},
    });
    let chat = drill.world.apply("flux", &manifest.to_string()).await.remove(0);
    let before = chat.snapshot().await;
    let concurrency =
        |service: &DynamicObject| service.data["spec"]["predictor"]["containerConcurrency"].clone();
    let raises = r#"object.spec.predictor.containerConcurrency >= 6 ? []
        : [JSONPatch{op: "replace", path: "/spec/predictor/containerConcurrency", value: 6}]"#;
    let less = json!({"spec": {"predictor": {"containerConcurrency": 4}}});
    drill.world.admission_patches(raises, &chat, less, |stored| concurrency(stored) == 6).await;

    let _operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            let targets = json!({"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "where": "true"});
            spec["steps"][0]["action"] = json!({"reduceBatch": {"targets": targets, "maxConcurrency": 4}});
        })
        .await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let is_told = |incident: &DynamicObject| is_told(incident, "containerConcurrency");
    incident.wait_until("the timeline names admission and the field", is_told).await;
    assert_eq!(concurrency(&chat.get().await), 6, "{chat}");

    let undone = drill.world.firebreak(&["undo", "inferenceservice/chat", "-n", &drill.world.a]).await;
    let said = String::from_utf8_lossy(&undone.stdout).into_owned();
    assert!(
        undone.status.success() && said.contains("6 → 8"),
        "{said}{}",
        String::from_utf8_lossy(&undone.stderr)
    );
    let after = chat.snapshot().await;
    assert_eq!((&after.spec, after.traces()), (&before.spec, Vec::new()), "{chat}");
}
