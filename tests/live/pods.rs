//! The signal of pods, on a real control plane: a scheduler that finds no node, containers that crash and are killed, and
//! what is known of it after a restart of the operator.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{Drill, closed, heartbeats, message_of},
    support::{nodes::POOL, object::Object, rights::Rule},
};

async fn begin(name: &str) -> Drill {
    let drill = Drill::new(name).await;
    drill.world.grant(&drill.world.a, &rights()).await;
    drill
}

/// The rights that `firebreak check` prints for these policies.
fn rights() -> [Rule<'static>; 2] {
    [
        Rule { group: "", resources: &["pods"], verbs: &["list", "watch"] },
        Rule { group: "", resources: &["configmaps"], verbs: &["get", "create", "update"] },
    ]
}

/// A policy without steps over the pods with the label `app: server`, which opens an Incident when this is true of them.
async fn watches(drill: &Drill, when: &str, more: Value) -> Object {
    let policy = drill
        .apply_policy(|spec| {
            let mut pods = json!({"selector": {"matchLabels": {"app": "server"}}});
            pods.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
            spec["signals"] = json!([{"name": "servers", "pods": pods}]);
            spec["severity"] = json!([{"level": "P1", "reason": "ServersSick", "when": when}]);
            spec["steps"] = json!([]);
        })
        .await;
    policy.wait_for_condition("Ready", "True").await;
    policy
}

/// A pod on the nodes of this world, with these GPUs.
fn server(drill: &Drill, name: &str, gpus: &str, annotations: Value) -> Value {
    let id = &drill.world.id;
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": drill.world.a, "labels": {"app": "server"}, "annotations": annotations,
        },
        "spec": {
            "nodeSelector": {POOL: id},
            "tolerations": [{"key": POOL, "operator": "Equal", "value": id, "effect": "NoSchedule"}],
            "containers": [{
                "name": "server", "image": "vllm",
                "resources": {"limits": {"nvidia.com/gpu": gpus}, "requests": {"nvidia.com/gpu": gpus}},
            }],
        },
    })
}

async fn create(drill: &Drill, manifest: Value) -> Object {
    drill.world.create("alice", &manifest.to_string()).await.remove(0)
}

async fn wait_for_phase(pod: &Object, phase: &str) {
    pod.wait_until(phase, |pod| pod.data["status"]["phase"] == phase).await;
}

/// What the policy was decided on when its rule became true.
fn evidence(policy: &DynamicObject) -> &str {
    policy.data["status"]["rules"][0]["evidence"].as_str().unwrap_or_default()
}

async fn wait_until_closed(incident: &Object) {
    let resolved = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(resolved.data["status"]["closing"], "Recovered", "{incident}");
}

#[tokio::test]
async fn a_pod_without_a_node_opens_an_incident_until_there_is_one() {
    let drill = begin("pods-unplaced").await;
    let _nodes = drill.world.gpu_nodes(1).await;
    let operator = drill.quick_operator().await;
    // Time alone makes the second part true.
    let when = "signals.servers.unschedulable > 0 && signals.servers.oldestPendingSeconds >= 3";
    let policy = watches(&drill, when, json!({})).await;
    let fits = create(&drill, server(&drill, "fits", "8", json!({}))).await;
    wait_for_phase(&fits, "Running").await;
    heartbeats(&operator, 3).await;
    assert!(drill.incidents().await.is_empty(), "{policy}: a pod that starts is no emergency");

    // Nothing but time happens between its creation and the Incident.
    let waits = create(&drill, server(&drill, "waits", "8", json!({}))).await;
    let incident = drill.world.incident_of(&policy).await;
    let said = evidence(&policy.get().await).to_owned();
    for part in ["pending 1", "running 1", "total 2", "unschedulable 1", "oldestPendingSeconds "] {
        assert!(said.contains(part), "{policy}: no {part} in {said}");
    }

    fits.delete().await;
    wait_for_phase(&waits, "Running").await;
    wait_until_closed(&incident).await;
}

#[tokio::test]
async fn a_server_that_crashes_in_a_loop_opens_an_incident_until_it_is_gone() {
    let drill = begin("pods-crash").await;
    let _nodes = drill.world.gpu_nodes(1).await;
    let _operator = drill.quick_operator().await;
    // The evidence is what was seen when this became true: at its third crash.
    let policy = watches(&drill, "signals.servers.restarts >= 3", json!({})).await;
    let server = create(&drill, server(&drill, "crashes", "1", json!({"sim/crash": "Error"}))).await;
    let incident = drill.world.incident_of(&policy).await;
    let said = evidence(&policy.get().await).to_owned();
    let is_right = ["crashLooping 1", "restarts 3"].iter().all(|part| said.contains(part));
    assert!(is_right && !said.contains("oomKilled"), "{policy}: {said}");
    let seen = server.get().await;
    assert!(seen.data["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(3), "{server}");

    server.delete().await;
    wait_until_closed(&incident).await;
}

#[tokio::test]
async fn a_kill_for_memory_counts_for_the_window_and_ends_although_nothing_happens() {
    let drill = begin("pods-killed").await;
    let _nodes = drill.world.gpu_nodes(1).await;
    let _operator = drill.quick_operator().await;
    let policy = watches(&drill, "signals.servers.oomKilled > 0", json!({"window": "5s"})).await;
    let server = create(&drill, server(&drill, "killed", "1", json!({"sim/crash": "OOMKilled"}))).await;
    let incident = drill.world.incident_of(&policy).await;
    // It is not killed again, and `lastState` says for ever that it was.
    server.merge("alice", json!({"metadata": {"annotations": {"sim/crash": null}}})).await;
    wait_until_closed(&incident).await;
    let last = server.get().await.data["status"]["containerStatuses"][0]["lastState"].clone();
    assert_eq!(last["terminated"]["reason"], "OOMKilled", "{server}");
}

#[tokio::test]
async fn restarts_from_before_the_operator_started_do_not_count() {
    let drill = begin("pods-before").await;
    let _nodes = drill.world.gpu_nodes(1).await;
    let server = create(&drill, server(&drill, "old", "1", json!({"sim/crash": "Error"}))).await;
    let has = |restarts: i64| {
        move |pod: &DynamicObject| {
            pod.data["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(restarts)
        }
    };
    server.wait_until("2 restarts", has(2)).await;
    server.merge("alice", json!({"metadata": {"annotations": {"sim/crash": null}}})).await;
    let runs = |pod: &DynamicObject| pod.data["status"]["containerStatuses"][0]["ready"] == true;
    server.wait_until("it runs", runs).await;

    let operator = drill.quick_operator().await;
    let policy = watches(&drill, "signals.servers.restarts > 0", json!({})).await;
    heartbeats(&operator, 3).await;
    assert!(drill.incidents().await.is_empty(), "{policy}: a restart from before was counted");
    server.merge("alice", json!({"metadata": {"annotations": {"sim/crash": "Error"}}})).await;
    let incident = drill.world.incident_of(&policy).await;
    assert!(!closed(&incident.get().await), "{incident}");
}

#[tokio::test]
async fn without_rights_to_watch_pods_the_signal_is_unknown_and_nothing_opens() {
    let drill = begin("pods-denied").await;
    drill.world.grant(&drill.world.a, &rights()[1..]).await;
    let operator = drill.quick_operator().await;
    let policy = drill
        .apply_policy(|spec| {
            spec["signals"] = json!([{"name": "servers", "pods": {}}]);
            spec["severity"] =
                json!([{"level": "P1", "reason": "NoServers", "when": "signals.servers.running == 0"}]);
            spec["steps"] = json!([]);
        })
        .await;
    let refused = policy.wait_for_condition("Authorized", "False").await;
    for verb in ["list", "watch"] {
        let lacks = format!("may not {verb} pods");
        assert!(message_of(&refused, "Authorized").contains(&lacks), "{policy}: not told: {lacks}");
    }
    let is_blind = |policy: &DynamicObject| {
        let signal = &policy.data["status"]["signals"][0];
        signal["state"] == "Unknown"
            && signal["summary"].as_str().unwrap_or_default().starts_with("Forbidden")
    };
    policy.wait_until("servers is Unknown", is_blind).await;
    heartbeats(&operator, 5).await;
    assert!(drill.incidents().await.is_empty(), "{policy}: opened on a signal that is Unknown");

    drill.world.grant(&drill.world.a, &rights()).await;
    drill.world.incident_of(&policy).await;
}
