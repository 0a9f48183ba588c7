//! The control plane, the nodes and the stand-in behave as the tests need it.

use serde_json::json;

use crate::support::{nodes::POOL, object::condition, world::World};

/// A model with replicas that need one GPU each on the world's own nodes.
const MODEL: &str = r#"
apiVersion: inference.llm-d.io/v1alpha1
kind: LLMDeployment
metadata: {name: chat, namespace: "${a}"}
spec:
  replicas: 2
  model: {modelUri: "hf://example/chat"}
  resources:
    requests: {cpu: "1", nvidia.com/gpu: "1"}
    limits: {nvidia.com/gpu: "1"}
  nodeSelector: {nvidia.com/gpu.pool: "${pool}"}
  tolerations: [{key: nvidia.com/gpu.pool, value: "${pool}"}]
"#;

#[tokio::test]
async fn the_cluster_answers_kubectl() {
    let world = World::new("kubectl").await;
    let names = world.kubectl(&["get", "namespaces", "--output=name"]).await;
    assert!(names.contains(&world.a), "{names}");
}

#[tokio::test]
async fn a_model_is_ready_until_its_nodes_fail_and_again_when_they_recover() {
    let world = World::new("nodes-fail").await;
    let nodes = world.gpu_nodes(2).await;
    let _stand_in = world.stand_in();
    world.apply("flux", MODEL).await;
    let chat = world.llm_deployment(&world.a, "chat");
    chat.wait_until("Ready", |object| object.data["status"]["phase"] == "Ready").await;

    nodes.fail().await;
    chat.wait_until("not Ready", |object| object.data["status"]["phase"] == "Pending").await;

    nodes.recover().await;
    chat.wait_until("Ready again", |object| object.data["status"]["phase"] == "Ready").await;
}

#[tokio::test]
async fn a_model_without_gpus_replaces_pods_on_failed_nodes() {
    let world = World::new("cpu-pods").await;
    let nodes = world.gpu_nodes(1).await;
    let _stand_in = world.stand_in();
    world.apply("flux", MODEL).await;
    let chat = world.llm_deployment(&world.a, "chat");
    chat.wait_until("Ready", |object| object.data["status"]["phase"] == "Ready").await;
    nodes.fail().await;
    chat.wait_until("not Ready", |object| object.data["status"]["phase"] == "Pending").await;

    chat.merge(
        "alice",
        json!({"spec": {
            "nodeSelector": null,
            "resources": {"requests": {"nvidia.com/gpu": "0"}, "limits": {"nvidia.com/gpu": "0"}},
            "model": {"quantization": {"enabled": true, "precision": "int8"}},
        }}),
    )
    .await;

    chat.wait_until("Ready on CPU", |object| {
        let status = &object.data["status"];
        status["phase"] == "Ready" && status["observedGeneration"] == json!(object.metadata.generation)
    })
    .await;
    let deployment = world.deployment(&world.a, "chat").get().await;
    let arguments = &deployment.data["spec"]["template"]["spec"]["containers"][0]["args"];
    assert_eq!(arguments, &json!(["--model=hf://example/chat", "--quantization=int8"]));
}

#[tokio::test]
async fn silent_machines_become_unknown_and_come_back() {
    let world = World::new("silent").await;
    let machines = world.silent_gpu_nodes(2).await;
    machines.nodes.wait_for_ready("True").await;
    machines.freeze().await;
    machines.thaw().await;
}

#[tokio::test]
async fn a_noisy_owner_keeps_writing_status() {
    let world = World::new("noisy").await;
    let mut stand_in = world.stand_in();
    world.apply("flux", MODEL).await;
    stand_in.be_noisy(&world.a, &["chat"]);
    let chat = world.llm_deployment(&world.a, "chat");
    chat.wait_until("written often", |object| object.data["status"]["tick"].as_u64() > Some(5)).await;
}

#[tokio::test]
async fn deleted_nodes_are_gone() {
    let world = World::new("deleted").await;
    let nodes = world.gpu_nodes(3).await;
    nodes.some(0..2).delete().await;
    let label = format!("{POOL}={}", world.id);
    let left = world.kubectl(&["get", "nodes", "--output=name", "--selector", &label]).await;
    assert_eq!(left.lines().count(), 1, "{left}");
}

#[tokio::test]
async fn events_and_conditions_can_be_read() {
    let world = World::new("events").await;
    let _stand_in = world.stand_in();
    world.apply("flux", MODEL).await;
    let deployment = world.deployment(&world.a, "chat");
    deployment.wait_until("scaled", |object| condition(object, "Progressing") == Some("True")).await;
    deployment.wait_for_event("ScalingReplicaSet").await;
}
