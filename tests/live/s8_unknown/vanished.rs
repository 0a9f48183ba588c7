//! Machines whose Node objects are deleted are not healthy again.

use serde_json::{Value, json};

use super::{assert_nothing_opens, start, wait_until_blind};
use crate::{
    drill::{Drill, closed, has_fallen, heartbeats},
    support::{object::Object, operator::Operator, rights::Rule},
};

/// The drill's policy, with nodes instead of the alarm.
fn watches_nodes(spec: &mut Value) {
    spec["signals"] = json!([{
        "name": "gpuNodes", "nodes": {"selector": {"matchLabels": {"nvidia.com/gpu.pool": "${pool}"}}},
    }]);
    spec["severity"] = json!([{
        "level": "P0", "reason": "GpuClusterFailure",
        "when": "signals.gpuNodes.ready * 2 <= signals.gpuNodes.expected",
    }]);
    spec["steps"][0]["verify"]["checks"] = json!([{"cel": {"expression": "signals.gpuNodes.expected == 4"}}]);
}

async fn begin(name: &str) -> (Drill, Operator) {
    let drill = Drill::new(name).await;
    let nodes = Rule { group: "", resources: &["nodes"], verbs: &["get", "list", "watch"] };
    drill.world.grant_everywhere(&[nodes]).await;
    let operator = start(&drill).await;
    (drill, operator)
}

/// The Incident continues, and so does the fallback.
async fn assert_not_over(operator: &Operator, incident: &Object, model: &Object) {
    heartbeats(operator, 8).await;
    let seen = incident.get().await;
    assert!(!closed(&seen), "{incident}: closed because its nodes are gone");
    assert_eq!(seen.data["status"]["severity"], "P0", "{incident}");
    assert!(has_fallen(&model.get().await.data), "{model}: reverted");
}

#[tokio::test]
async fn nodes_that_are_deleted_during_the_emergency_do_not_look_like_recovery() {
    let (drill, operator) = begin("s8-deleted").await;
    let models = drill.models(1).await;
    let nodes = drill.world.gpu_nodes(4).await;
    let policy = drill.policy_with(watches_nodes).await;
    nodes.fail().await;
    let incident = drill.world.incident_of(&policy).await;
    incident.wait_for_condition("Mitigated", "True").await;

    nodes.delete().await;
    assert_not_over(&operator, &incident, &models.objects[0]).await;
    let expected = policy.get().await.data["status"]["expected"].clone();
    assert_eq!(expected[0]["peaks"][0]["value"], 4, "{policy}: {expected}");

    // As many machines as before.
    drill.world.gpu_nodes(4).await;
    incident.wait_for_condition("Resolved", "True").await;
    models.assert_reverted().await;
}

#[tokio::test]
async fn nodes_that_vanish_at_once_are_an_emergency_until_a_person_expects_fewer() {
    let (drill, operator) = begin("s8-vanish").await;
    let models = drill.models(1).await;
    let nodes = drill.world.gpu_nodes(4).await;
    let expects = |expect: i64| {
        move |spec: &mut Value| {
            watches_nodes(spec);
            spec["signals"][0]["expect"] = json!(expect);
            spec["severity"][0]["when"] = json!("signals.gpuNodes.ready * 2 < signals.gpuNodes.expected");
        }
    };
    let policy = drill.policy_with(expects(4)).await;
    nodes.delete().await;
    let incident = drill.world.incident_of(&policy).await;
    incident.wait_for_condition("Mitigated", "True").await;
    assert_not_over(&operator, &incident, &models.objects[0]).await;

    drill.apply_policy(expects(0)).await;
    incident.wait_for_condition("Resolved", "True").await;
    models.assert_reverted().await;
}

#[tokio::test]
async fn no_nodes_of_nobody_knows_how_many_are_unknown() {
    let (drill, operator) = begin("s8-empty").await;
    let models = drill.models(1).await;
    let policy = drill.apply_policy(watches_nodes).await;
    wait_until_blind(&policy, "gpuNodes", "EmptyScope", "EmptyScope").await;
    assert_nothing_opens(&drill, &operator, &policy).await;
    models.assert_untouched(0).await;

    drill.world.gpu_nodes(4).await;
    policy.wait_for_condition("Ready", "True").await;
}
