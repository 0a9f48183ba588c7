//! Nodes, models and policies to measure with.
//!
//! The nodes are bare objects in the API, without a kubelet, real or simulated. They have
//! the size of a small real one.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    manifest,
    nodes::POOL,
    object::{Object, PATIENCE},
    operator::Operator,
    rights::Rule,
    world::World,
};

/// Requests in flight while a scene is built.
const IN_FLIGHT: usize = 16;

/// The permissions of the ServiceAccount of the policies.
pub async fn grant(world: &World) {
    let watch = &["get", "list", "watch"];
    let change = &["get", "list", "watch", "patch"];
    world.grant_everywhere(&[Rule { group: "", resources: &["nodes"], verbs: watch }]).await;
    let rules = [
        Rule { group: "inference.llm-d.io", resources: &["llmdeployments"], verbs: change },
        Rule { group: "", resources: &["namespaces"], verbs: &["get"] },
        Rule { group: "", resources: &["configmaps"], verbs: &["get", "create", "update"] },
    ];
    world.grant(&world.a, &rules).await;
}

/// The policy: when a node of the pool is not ready, all models fall back at once; when it is
/// ready again, all are reverted at once.
pub async fn respond(world: &World) -> Object {
    let policy = format!("{HEAD}{STEPS}");
    let policy = world.apply("bench", &policy).await.remove(0);
    policy.wait_for_condition("Ready", "True").await;
    policy
}

/// A policy that only watches nodes, or nodes and models. It never opens anything.
pub async fn look(world: &World, with_models: bool) -> Object {
    let rule = "signals.nodes.notReady > 0";
    let text = HEAD.replace("Enforce", "Observe").replace(rule, "signals.nodes.total < 0");
    let models =
        "  - {name: models, objects: {apiVersion: inference.llm-d.io/v1alpha1, kind: LLMDeployment}}\n";
    let text = if with_models { text.replace("  severity:", &format!("{models}  severity:")) } else { text };
    let policy = world.apply("bench", &text).await.remove(0);
    policy.wait_for_condition("Ready", "True").await;
    policy
}

const HEAD: &str = r#"
apiVersion: firebreak.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: bench, namespace: "${a}"}
spec:
  mode: Enforce
  signals:
  - {name: nodes, nodes: {selector: {matchLabels: {nvidia.com/gpu.pool: "${pool}"}}}}
  severity:
  - {level: P0, reason: NodeLost, when: "signals.nodes.notReady > 0", for: 0s}
  recovery: {for: 0s, between: 0s, maxAtOnce: 100}
  guardrails: {cooldown: 0s, maxIncidents: {count: 50, per: 1h}}
"#;

const STEPS: &str = r#"  steps:
  - name: cpu-fallback
    action:
      cpuFallback:
        targets: {apiVersion: inference.llm-d.io/v1alpha1, kind: LLMDeployment, where: "true"}
        quantization: int8
    verify: {checks: [{cel: {expression: "signals.nodes.total > 0"}}]}
"#;

/// Models that are always ready. Nothing reconciles them, so their status covers every change that may come.
pub async fn models(world: &World, count: usize) -> Vec<Object> {
    let names = (0..count).map(|i| format!("model-{i}"));
    create(world, names.map(|name| model(&world.a, &name))).await
}

/// One model, as a document.
pub fn model(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "inference.llm-d.io/v1alpha1", "kind": "LLMDeployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"team": "bench"}},
        "spec": {
            "replicas": 2,
            "model": {
                "modelUri": "hf://example/chat", "quantization": {"enabled": false, "precision": "fp16"},
            },
            "resources": {
                "requests": {"cpu": "500m", "memory": "16Gi", "nvidia.com/gpu": "1"},
                "limits": {"memory": "16Gi", "nvidia.com/gpu": "1"},
            },
            "nodeSelector": {POOL: "bench"},
        },
        "status": {"phase": "Ready", "observedGeneration": 1_000_000},
    })
}

/// Ready nodes of the pool of this world.
pub async fn nodes(world: &World, from: usize, to: usize) -> Vec<Object> {
    let names = (from..to).map(|i| format!("{}-node-{i}", world.id));
    create(world, names.map(|name| node(&world.id, &name))).await
}

/// Creates objects, several at a time, in the order of the documents. A document with a status sets
/// the status of its object, too.
pub async fn create(world: &World, documents: impl Iterator<Item = Value>) -> Vec<Object> {
    stream::iter(documents)
        .map(|document| async move {
            manifest::create(&world.client, "bench", &document).await?;
            let object = Object::of(&world.client, &document);
            if document["kind"] != "Node" && document["status"].is_object() {
                let status = json!({"status": document["status"]});
                object.merge_status("bench", status).await;
            }
            Ok::<_, kube::Error>(object)
        })
        .buffered(IN_FLIGHT)
        .try_collect()
        .await
        .expect("the scene can be built")
}

/// A pod of the size of a real one, which no scheduler places.
pub fn pod(world: &World, number: usize) -> Value {
    let variable = |i: usize| json!({"name": format!("VARIABLE_{i}"), "value": "x".repeat(60)});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{number}"), "namespace": world.a, "labels": {"app": "server"}},
        "spec": {
            "schedulerName": "nobody", "automountServiceAccountToken": false,
            "containers": [{
                "name": "server", "image": "registry.example.com/serving/vllm:1",
                "env": (0..20).map(variable).collect::<Vec<_>>(),
                "resources": {"limits": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "1"}},
            }],
        },
    })
}

/// One heartbeat of every node: a status without any change.
pub async fn heartbeats(nodes: &[Object]) {
    let beat = |node: &Object| {
        let (node, patch) = (node.clone(), ready("True", "beat"));
        async move { node.merge_status("bench", patch).await }
    };
    stream::iter(nodes).map(beat).buffer_unordered(IN_FLIGHT).for_each(|_| async {}).await;
}

/// Deletes the nodes of this world, which are in no namespace.
pub async fn delete_nodes(world: &World) {
    let nodes: Api<Node> = Api::all(world.client.clone());
    let of_pool = ListParams::default().labels(&format!("{POOL}={}", world.id));
    let deleted = nodes.delete_collection(&DeleteParams::default(), &of_pool).await;
    drop(deleted.expect("nodes can be deleted"));
}

/// A merge patch of a node's status.
pub fn ready(truth: &str, message: &str) -> Value {
    json!({"status": {"conditions": conditions(truth, message)}})
}

fn conditions(truth: &str, message: &str) -> Value {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |type_: &str, status: &str| {
        json!({
            "type": type_, "status": status, "reason": "Bench", "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let pressures = ["MemoryPressure", "DiskPressure", "PIDPressure"].map(|type_| condition(type_, "False"));
    let mut all = pressures.to_vec();
    all.push(condition("Ready", truth));
    json!(all)
}

fn node(pool: &str, name: &str) -> Value {
    let resources = json!({
        "cpu": "96", "memory": "1Ti", "ephemeral-storage": "4Ti", "pods": "110", "nvidia.com/gpu": "8",
    });
    let image =
        |i: usize| json!({"names": [format!("registry.example.com/serving/vllm:{i}")], "sizeBytes": 9});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "nvidia.com/gpu": "true", "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", POOL: pool,
            // The node controller treats a zone differently when many of its nodes are dead.
            "topology.kubernetes.io/zone": pool,
        }},
        "spec": {"taints": [{"key": POOL, "value": pool, "effect": "NoSchedule"}]},
        "status": {
            "capacity": resources, "allocatable": resources, "conditions": conditions("True", "up"),
            "addresses": [{"type": "Hostname", "address": name}],
            "images": (0..20).map(image).collect::<Vec<_>>(),
        },
    })
}

/// Renews the lease of a node until this is dropped; otherwise the control plane would give the node up.
pub struct Pulse(tokio::task::JoinHandle<()>);

impl Drop for Pulse {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub async fn pulse(world: &World, node: &Object) -> Pulse {
    let resource = manifest::resource("coordination.k8s.io/v1", "Lease");
    let leases: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), "kube-node-lease", &resource);
    let name = node.name().to_owned();
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40},
    });
    let lease = serde_json::from_value(lease).expect("a lease");
    leases.create(&PostParams::default(), &lease).await.expect("a lease of a node");
    Pulse(tokio::spawn(async move {
        loop {
            let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
            let patch = Patch::Merge(json!({"spec": {"renewTime": now}}));
            // If one renewal fails, the next one follows.
            let _ = leases.patch(&name, &PatchParams::default(), &patch).await;
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
    }))
}

/// Waits until the operator's metrics satisfy this.
pub async fn wait_for_metric(operator: &Operator, wish: &str, is_so: impl Fn(&str) -> bool) {
    let asked = async {
        // The log may still have the address of a predecessor.
        while !metrics(&operator.url().await).await.lines().any(&is_so) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, asked).await;
    assert!(
        in_time.is_ok(),
        "the metrics do not say {wish} within {PATIENCE:?}; the log:\n{}",
        operator.log()
    );
}

/// Waits until the operator leads.
pub async fn wait_until_leading(operator: &Operator) {
    let leads = |line: &str| line.starts_with("leader_election_master_status") && line.ends_with(" 1");
    wait_for_metric(operator, "that it leads", leads).await;
}

/// Waits until a signal counts this many objects.
pub async fn wait_for_total(operator: &Operator, signal: &str, total: usize) {
    let (signal, total) = (format!("signal=\"{signal}\""), format!(" {total}"));
    let counts = |line: &str| {
        line.starts_with("firebreak_signal{")
            && line.contains(&signal)
            && line.contains("field=\"total\"")
            && line.ends_with(&total)
    };
    wait_for_metric(operator, &format!("{signal}{total}"), counts).await;
}

async fn metrics(url: &str) -> String {
    let address = url.trim_start_matches("http://");
    let mut answer = String::new();
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        stream.read_to_string(&mut answer).await
    };
    // It may not listen yet.
    let _: std::io::Result<usize> = asked.await;
    answer
}
