//! The runbook of llm-d.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{Before, assert_closed, install, withdraw};
use crate::drill;
use crate::support::{
    object::{Object, condition},
    world::World,
};

const MODELS: &str = include_str!("llm-d.yaml");
const AUTOSCALERS: &str = include_str!("autoscalers.yaml");

async fn models(world: &World) -> Vec<Object> {
    let models = world.apply("flux", MODELS).await;
    for model in &models {
        wait_until_ready(model, "at first", |_| true).await;
    }
    models
}

async fn wait_until_ready(model: &Object, wish: &str, spec: impl Fn(&Value) -> bool) -> DynamicObject {
    let is_ready = |model: &DynamicObject| {
        spec(&model.data["spec"])
            && model.data["status"]["phase"] == "Ready"
            && model.data["status"]["observedGeneration"] == json!(model.metadata.generation)
    };
    model.wait_until(&format!("Ready {wish}"), is_ready).await
}

#[tokio::test]
async fn gpu_cluster_failure_does_what_the_runbook_intends_and_comes_back() {
    let world = World::new("s17-gpu").await;
    let nodes = world.gpu_nodes(4).await;
    let _stand_in = world.stand_in();
    let models = models(&world).await;
    let before = Before::of(&models).await;
    let _operator = world.operator().start().await;
    let policy = install(&world, "llm-d", "gpu-cluster-failure").await;

    nodes.fail().await;
    let incident = world.incident_of(&policy).await;
    for model in &models {
        let fallen = |spec: &Value| spec["resources"]["limits"]["nvidia.com/gpu"] == "0";
        let fallen = wait_until_ready(model, "without GPUs", fallen).await;
        let spec = &fallen.data["spec"];
        let request = &spec["resources"]["requests"]["nvidia.com/gpu"];
        assert!(request.is_null() || request == "0", "{model}: an absent request is not added: {request}");
        assert_eq!(spec["model"]["quantization"], json!({"enabled": true, "precision": "int8"}), "{model}");
    }
    let seen = incident.wait_for_condition("Mitigated", "True").await;
    assert_eq!(seen.data["status"]["severity"], "P0", "{incident}");

    nodes.recover().await;
    assert_closed(&incident, "Recovered").await;
    before.assert_reverted().await;
}

#[tokio::test]
async fn high_error_rate_does_what_the_runbook_intends_once_and_comes_back() {
    let world = World::new("s17-errors").await;
    let objects = world.apply("flux", AUTOSCALERS).await;
    let [chat, chat_b, large, shop, search] = objects.as_slice() else { panic!("five objects") };
    // The object that the operator of llm-d would create for the model.
    let owned = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": "search", "namespace": world.a, "labels": {"app.kubernetes.io/name": "llm-d"},
            "ownerReferences": [{"apiVersion": "inference.llm-d.io/v1alpha1", "kind": "LLMDeployment",
                                 "name": "search", "uid": search.snapshot().await.uid, "controller": true}],
        },
        "spec": {"minReplicas": 1, "maxReplicas": 3,
                 "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "search"}},
    });
    let owned = world.create("llm-d-operator", &owned.to_string()).await.remove(0);
    let before = Before::of(&[objects.clone(), vec![owned.clone()]].concat()).await;
    let _operator = world.operator().start().await;
    install(&world, "llm-d", "high-error-rate").await;

    let incident = world.create_example("llm-d/incidents/high-error-rate.yaml").await;
    let seen = incident.wait_for_condition("Mitigated", "True").await;
    assert_eq!(seen.data["status"]["severity"], "P1", "{incident}");
    // Twice 4, twice 15 up to the ceiling of 20, and 30 is above it.
    let limits = [(chat, 8), (chat_b, 20), (large, 30), (shop, 4), (&owned, 3)];
    assert_limits(&limits).await;
    let autoscaling = &search.get().await.data["spec"]["autoscaling"];
    assert_eq!(autoscaling, &json!({"minReplicas": 1, "maxReplicas": 6}), "{search}: twice 3");

    // Run again, the runbook's script would set it to 16.
    let again = world.create_example("llm-d/incidents/high-error-rate.yaml").await;
    again.wait_until("waits", |seen| drill::is_waiting(seen, "AnotherIncident")).await;
    assert_limits(&limits).await;
    again.delete().await;
    again.wait_until_gone().await;

    withdraw(&world, &incident).await;
    before.assert_reverted().await;
}

async fn assert_limits(limits: &[(&Object, i64)]) {
    for (autoscaler, limit) in limits {
        assert_eq!(autoscaler.get().await.data["spec"]["maxReplicas"], *limit, "{autoscaler}");
    }
}

#[tokio::test]
async fn memory_pressure_does_what_the_runbook_intends_and_comes_back() {
    let world = World::new("s17-memory").await;
    let nodes = world.gpu_nodes(4).await;
    let _stand_in = world.stand_in();
    let models = models(&world).await;
    let before = Before::of(&models).await;
    let _operator = world.operator().start().await;
    let policy = install(&world, "llm-d", "memory-pressure").await;

    let node = Object::new(&world.client, "v1", "Node", None, nodes.names()[0]);
    set_memory_pressure(&node, "True").await;
    let incident = world.incident_of(&policy).await;
    // The second one already worked on one request at once, and the runbook's script would set two.
    for (model, at_once) in models.iter().zip([2, 1]) {
        let small = |spec: &Value| spec["serving"] == json!({"batchSize": 1, "maxConcurrency": at_once});
        wait_until_ready(model, "with small batches", small).await;
    }
    let open = incident.get().await;
    assert_eq!(open.data["status"]["severity"], "P1", "{incident}");
    assert_eq!(condition(&open, "Resolved"), Some("False"), "{incident}");

    set_memory_pressure(&node, "False").await;
    assert_closed(&incident, "Recovered").await;
    before.assert_reverted().await;
}

/// The status that the kubelet of the node reports.
async fn set_memory_pressure(node: &Object, status: &str) {
    let mut conditions = node.get().await.data["status"]["conditions"].clone();
    let list = conditions.as_array_mut().expect("conditions");
    list.retain(|condition| condition["type"] != "MemoryPressure");
    list.push(json!({
        "type": "MemoryPressure", "status": status, "reason": "Test", "message": "as the test says",
        "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }));
    node.merge_status("harness", json!({"status": {"conditions": conditions}})).await;
}
