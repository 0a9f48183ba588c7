//! How many nodes are expected, on a real control plane: nodes that are deleted while they are ready, a pool that grows,
//! an operator that was down, and a person who expects fewer.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{Drill, closed, heartbeats},
    support::{
        object::{Object, condition},
        rights::Rule,
    },
};

/// The drill's policy, with nodes instead of the alarm.
fn watches_nodes(spec: &mut Value) {
    spec["signals"] = json!([{
        "name": "gpuNodes", "nodes": {"selector": {"matchLabels": {"nvidia.com/gpu.pool": "${pool}"}}},
    }]);
    spec["severity"] = json!([
        {"level": "P0", "reason": "GpuClusterFailure", "when": "signals.gpuNodes.ready * 2 <= signals.gpuNodes.expected"},
        {"level": "P2", "reason": "GpuNodesMissing", "when": "signals.gpuNodes.missing > 0 || signals.gpuNodes.notReady > 0"},
    ]);
    spec["steps"] = json!([]);
}

async fn begin(name: &str) -> Drill {
    let drill = Drill::new(name).await;
    let nodes = Rule { group: "", resources: &["nodes"], verbs: &["get", "list", "watch"] };
    drill.world.grant_everywhere(&[nodes]).await;
    drill
}

/// The peaks that the policy keeps of its signal.
fn peaks(policy: &DynamicObject) -> Vec<i64> {
    let peaks = policy.data["status"]["expected"][0]["peaks"].as_array().cloned().unwrap_or_default();
    peaks.iter().filter_map(|peak| peak["value"].as_i64()).collect()
}

/// Waits until the policy has recorded that so many are there, and no more were.
async fn wait_for_peak(policy: &Object, count: i64) {
    policy
        .wait_until(&format!("expects {count} nodes"), |policy| peaks(policy).first() == Some(&count))
        .await;
}

async fn wait_for_severity(incident: &Object, level: &str) {
    incident.wait_until(level, |seen| seen.data["status"]["severity"] == level).await;
}

#[tokio::test]
async fn nodes_that_are_deleted_while_they_are_ready_are_missed_and_an_outage_of_the_operator_hides_none() {
    let drill = begin("exp-deleted").await;
    let nodes = drill.world.gpu_nodes(8).await;
    let operator = drill.quick_operator().await;
    let policy = drill.policy_with(watches_nodes).await;
    wait_for_peak(&policy, 8).await;

    // A few at a time. No node was ever not ready.
    nodes.some(0..2).delete().await;
    let incident = drill.world.incident_of(&policy).await;
    wait_for_severity(&incident, "P2").await;
    nodes.some(2..5).delete().await;
    wait_for_severity(&incident, "P0").await;

    // All that are left, while no operator runs.
    operator.kill();
    nodes.some(5..8).delete().await;
    operator.restart();
    heartbeats(&operator, 5).await;
    let seen = incident.get().await;
    assert!(!closed(&seen), "{incident}: closed because its nodes are gone");
    assert_eq!(seen.data["status"]["severity"], "P0", "{incident}");

    // A person expects none any more.
    let said = drill.world.firebreak(&["expect", "drill", "gpuNodes", "0", "-n", &drill.world.a]).await;
    let told = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && told.contains("signal gpuNodes expects 0 from now on"), "{said:?}");
    let timeline = incident.wait_until("is told", |seen| {
        let entries = seen.data["status"]["timeline"].as_array().cloned().unwrap_or_default();
        entries.iter().any(|entry| entry["type"] == "ExpectedAccepted")
    });
    timeline.await;
    let note = policy.wait_for_event("ExpectedAccepted").await;
    assert_eq!(note, "signal gpuNodes: a person expects 0 from now on");
}

#[tokio::test]
async fn nodes_that_are_all_deleted_while_no_operator_runs_are_missed_on_its_return() {
    let drill = begin("exp-away").await;
    let nodes = drill.world.gpu_nodes(8).await;
    let operator = drill.quick_operator().await;
    let policy = drill.policy_with(watches_nodes).await;
    wait_for_peak(&policy, 8).await;
    // What is there stays expected.
    let said = drill.world.firebreak(&["expect", "drill", "gpuNodes", "4", "-n", &drill.world.a]).await;
    let told = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.code() == Some(1) && told.contains("expects 8, not 4: 8 are there now"), "{said:?}");
    operator.kill();
    nodes.delete().await;
    operator.restart();
    let incident = drill.world.incident_of(&policy).await;
    wait_for_severity(&incident, "P0").await;
}

#[tokio::test]
async fn an_incident_tells_which_zone_the_sick_nodes_share_and_when_their_labels_are_not_known() {
    let drill = begin("exp-zone").await;
    let nodes = drill.world.gpu_nodes(8).await;
    nodes.some(0..4).are_in_zone("a").await;
    nodes.some(4..8).are_in_zone("b").await;
    let operator = drill.quick_operator().await;
    let policy = drill.policy_with(watches_nodes).await;
    wait_for_peak(&policy, 8).await;

    // One of them is not ready, and the others are deleted while they are.
    nodes.some(7..8).fail().await;
    nodes.some(4..7).delete().await;
    let incident = drill.world.incident_of(&policy).await;
    wait_for_severity(&incident, "P0").await;
    let common = "4 of 4 sick nodes share topology.kubernetes.io/zone=b, 0 of 4 healthy do";
    incident.wait_until(common, |seen| seen.data["status"]["common"] == common).await;
    assert_eq!(incident.get().await.data["status"]["commonLabels"], json!(["topology.kubernetes.io/zone=b"]));
    let told = drill.world.firebreak(&["describe", incident.name(), "-n", &drill.world.a]).await;
    assert!(String::from_utf8_lossy(&told.stdout).contains(common), "{told:?}");

    // Another process has never seen the three, and takes the young one that is not ready for one that starts.
    operator.kill();
    operator.restart();
    let common = "the labels of 4 of 4 sick nodes are not known";
    incident.wait_until(common, |seen| seen.data["status"]["common"] == common).await;
}

#[tokio::test]
async fn a_pool_that_grows_is_quiet_while_its_nodes_start_and_expects_them_afterwards() {
    let drill = begin("exp-grows").await;
    drill.world.gpu_nodes(4).await;
    let operator = drill.quick_operator().await;
    let policy = drill.policy_with(watches_nodes).await;
    wait_for_peak(&policy, 4).await;

    let new = drill.world.starting_gpu_nodes(8).await;
    heartbeats(&operator, 8).await;
    assert!(drill.incidents().await.is_empty(), "{policy}: a pool that grows is no outage");
    let seen = policy.get().await;
    assert_eq!((peaks(&seen), condition(&seen, "Ready")), (vec![4], Some("True")), "{policy}");

    new.start().await;
    wait_for_peak(&policy, 12).await;
    new.some(0..7).delete().await;
    let incident = drill.world.incident_of(&policy).await;
    wait_for_severity(&incident, "P0").await;
}
