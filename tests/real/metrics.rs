//! metrics-server measures simulated kubelets, and policies read what it says as their ServiceAccount.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::message_of,
    support::{
        nodes::POOL,
        object::{Object, condition},
        rights::Rule,
        testbed::Testbed,
        world::World,
    },
};

/// Asked as often as possible. metrics-server measures every 10 s here.
const QUICK: [(&str, &str); 3] = [("every", "1s"), ("timeout", "1s"), ("maxAge", "40s")];

/// Shorter times, and only the nodes of the world.
fn quick(policy: &mut Value, world: &World) {
    let spec = &mut policy["spec"];
    for signal in spec["signals"].as_array_mut().expect("signals") {
        for (field, value) in QUICK {
            signal[field] = json!(value);
        }
        if signal["metrics"]["of"] == "nodes" {
            signal["metrics"]["selector"] = json!({"matchLabels": {POOL: world.id}});
        }
    }
    for rule in spec["severity"].as_array_mut().expect("rules") {
        rule["for"] = json!("1s");
    }
    spec["recovery"]["for"] = json!("2s");
    spec["guardrails"] = json!({"cooldown": "0s"});
}

/// A model server on the nodes of this world that requests 2 processors and 300 GiB, and uses this.
fn server(world: &World, cpu: &str, memory: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "server-0", "namespace": world.a,
            "labels": {"app.kubernetes.io/component": "model-server"},
            "annotations": usage(cpu, memory),
        },
        "spec": {
            "nodeSelector": {POOL: world.id},
            "tolerations": [{"key": POOL, "operator": "Equal", "value": world.id, "effect": "NoSchedule"}],
            "containers": [{
                "name": "server", "image": "vllm", "resources": {"requests": {"cpu": "2", "memory": "300Gi"}},
            }],
        },
    })
}

fn usage(cpu: &str, memory: &str) -> Value {
    json!({"kwok.x-k8s.io/usage-cpu": cpu, "kwok.x-k8s.io/usage-memory": memory})
}

fn summary(policy: &DynamicObject) -> &str {
    policy.data["status"]["signals"][0]["summary"].as_str().unwrap_or_default()
}

fn state<'a>(policy: &'a DynamicObject, reason: &str) -> &'a Value {
    let rules = policy.data["status"]["rules"].as_array().map_or(&[][..], Vec::as_slice);
    rules.iter().find(|rule| rule["reason"] == reason).unwrap_or(&Value::Null)
}

async fn until_told(policy: &Object, why: &str) {
    let is_told = |policy: &DynamicObject| message_of(policy, "Ready").contains(why);
    policy.wait_until(&format!("Ready says {why}"), is_told).await;
}

async fn until_known(policy: &Object) {
    policy.wait_for_condition("Ready", "True").await;
}

#[tokio::test]
async fn policies_see_what_nodes_and_pods_use_and_when_that_is_not_known() {
    let testbed = Testbed::with_flags(&["--metrics-server"]);
    the_shipped_policy_sees_busy_processors_and_a_server_that_leaks(&World::on(testbed, "usage").await).await;
    what_is_not_known_is_told_and_decides_nothing(&World::on(testbed, "unknown").await).await;
}

async fn the_shipped_policy_sees_busy_processors_and_a_server_that_leaks(world: &World) {
    // 192 processors and 2 TiB.
    let _nodes = world.gpu_nodes(2).await;
    let _operator = world.operator().start().await;
    world.apply_example("usage/rbac.yaml", |_| {}).await;
    let edit = |policy: &mut Value| quick(policy, world);
    let policy = world.apply_example("usage/high-usage.yaml", edit).await.remove(0);
    until_told(&policy, "servers: EmptyScope: no pod that runs matches").await;
    let server = world.create("alice", &server(world, "150", "1Gi").to_string()).await.remove(0);
    let incident = world.incident_of(&policy).await;
    incident.wait_until("P1", |incident| incident.data["status"]["severity"] == "P1").await;
    let seen = policy.get().await;
    let evidence = state(&seen, "CpuAbove75")["evidence"].as_str().unwrap_or_default().to_owned();
    let ratio = evidence.split("cpuRatio ").nth(1).and_then(|rest| rest.split(',').next());
    let ratio: f64 = ratio.and_then(|ratio| ratio.parse().ok()).unwrap_or_else(|| panic!("{evidence}"));
    // A simulated node uses a tenth of a processor beside its pods.
    assert!((0.75..0.81).contains(&ratio), "150.2 of 192: {evidence}");

    server.merge("alice", json!({"metadata": {"annotations": usage("1", "1Gi")}})).await;
    incident.wait_for_condition("Resolved", "True").await;
    server.merge("alice", json!({"metadata": {"annotations": usage("1", "290Gi")}})).await;
    let leaks =
        policy.wait_until("a server leaks", |policy| state(policy, "ServerLeaks")["truth"] == "True").await;
    let evidence = state(&leaks, "ServerLeaks")["evidence"].as_str().unwrap_or_default();
    assert!(evidence.contains(&format!("maxMemoryBytes {}", 290_u64 << 30)), "{evidence}");
    // It stays below what it requests.
    assert_eq!(state(&leaks, "ServersAboveRequests")["truth"], "False");
}

async fn what_is_not_known_is_told_and_decides_nothing(world: &World) {
    // 96 of their 288 processors are on a machine of its own.
    let _nodes = world.gpu_nodes(2).await;
    let silent = world.silent_gpu_nodes(1).await;
    let _operator = world.operator().start().await;
    let mut policy = json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "RemediationPolicy",
        "metadata": {"name": "busy", "namespace": world.a},
        "spec": {
            "signals": [{"name": "nodes", "metrics": {"of": "nodes"}}],
            "severity": [
                {"level": "P1", "reason": "Busy", "when": "signals.nodes.cpuRatio > 0.5"},
                {"level": "P2", "reason": "HalfBusy", "when": "signals.nodes.cpuRatio > 0.25"},
            ],
            "recovery": {},
        },
    });
    quick(&mut policy, world);
    let policy = world.apply("flux", &policy.to_string()).await.remove(0);
    let lacks = policy.wait_for_condition("Authorized", "False").await;
    let right = "list nodes.metrics.k8s.io (cluster-wide)";
    assert!(message_of(&lacks, "Authorized").contains(right), "{}", message_of(&lacks, "Authorized"));
    let report = Rule { group: "", resources: &["configmaps"], verbs: &["get", "create", "update"] };
    world.grant(&world.a, &[report]).await;
    world.grant_everywhere(&[Rule { group: "", resources: &["nodes"], verbs: &["list", "watch"] }]).await;
    let rule = "it needs the rule {apiGroups: [metrics.k8s.io], resources: [nodes], verbs: [list]}";
    policy.wait_until("it says what is missing", |policy| summary(policy).contains(rule)).await;
    world
        .grant_everywhere(&[
            Rule { group: "", resources: &["nodes"], verbs: &["list", "watch"] },
            Rule { group: "metrics.k8s.io", resources: &["nodes"], verbs: &["list"] },
        ])
        .await;
    until_known(&policy).await;
    policy.wait_until("all nodes are measured", |policy| !summary(policy).contains(" to ")).await;

    silent.freeze().await;
    let in_doubt =
        policy.wait_until("bounds", |policy| state(policy, "HalfBusy")["truth"] == "Unknown").await;
    assert!(summary(&in_doubt).contains(" to 0.33"), "96 of 288 more at most: {}", summary(&in_doubt));
    assert_eq!(state(&in_doubt, "Busy")["truth"], "False", "one node makes no difference");
    let why = state(&in_doubt, "HalfBusy")["evidence"].as_str().unwrap_or_default();
    assert!(why.contains("known only within bounds"), "{why}");
    silent.thaw().await;
    policy.wait_until("it is measured again", |policy| state(policy, "HalfBusy")["truth"] == "False").await;

    let service =
        Object::new(&world.client, "apiregistration.k8s.io/v1", "APIService", None, "v1beta1.metrics.k8s.io");
    let port = service.get().await.data["spec"]["service"]["port"].clone();
    service.merge("alice", json!({"spec": {"service": {"port": 1}}})).await;
    until_told(&policy, "nodes: Unreachable: metrics.k8s.io: ").await;
    service.merge("alice", json!({"spec": {"service": {"port": port}}})).await;
    until_known(&policy).await;
    let manifest = service.get().await;
    service.delete().await;
    until_told(&policy, "nodes: KindNotFound: the cluster does not serve metrics.k8s.io").await;
    let again = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io"}, "spec": manifest.data["spec"],
    });
    world.apply("alice", &again.to_string()).await;
    until_known(&policy).await;
    assert_eq!(condition(&policy.get().await, "Authorized"), Some("True"));
    assert!(
        world.list("firebreak.dev/v1alpha1", "Incident", &world.a).await.is_empty(),
        "nothing was decided"
    );
}
