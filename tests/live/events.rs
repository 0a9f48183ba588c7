//! The signal of Events, with those that the scheduler writes about a pod without a node.

use serde_json::json;

use crate::{
    drill::{Drill, heartbeats},
    support::{object::Object, rights::Rule},
};

/// What `firebreak check` prints for such a policy.
const RIGHTS: [Rule<'static>; 2] = [
    Rule { group: "", resources: &["events"], verbs: &["list", "watch"] },
    Rule { group: "", resources: &["configmaps"], verbs: &["get", "create", "update"] },
];

/// A policy without steps that opens an Incident when a scheduler has reported so often that a pod has no node.
async fn watches(drill: &Drill, window: &str, when: &str) -> Object {
    let policy = drill
        .apply_policy(|spec| {
            let events =
                json!({"reason": "FailedScheduling", "type": "Warning", "kind": "Pod", "window": window});
            spec["signals"] = json!([{"name": "failures", "events": events}]);
            spec["severity"] = json!([{"level": "P2", "reason": "NoNode", "when": when}]);
            spec["steps"] = json!([]);
        })
        .await;
    policy.wait_for_condition("Ready", "True").await;
    policy
}

/// A pod that fits on no node.
async fn homeless(drill: &Drill, name: &str) -> Object {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": drill.world.a},
        "spec": {"nodeSelector": {"no": "node"}, "containers": [{"name": "server", "image": "vllm"}]},
    });
    drill.world.create("alice", &pod.to_string()).await.remove(0)
}

#[tokio::test]
async fn what_the_scheduler_reports_opens_an_incident_as_long_as_the_events_are_there() {
    let drill = Drill::new("events-unplaced").await;
    drill.world.grant(&drill.world.a, &RIGHTS).await;
    let operator = drill.quick_operator().await;
    let policy = watches(&drill, "10m", "signals.failures.count >= 1").await;
    heartbeats(&operator, 3).await;
    assert!(drill.incidents().await.is_empty(), "{policy}: nothing was reported");
    let pod = homeless(&drill, "first").await;
    let incident = drill.world.incident_of(&policy).await;
    let said = policy.get().await.data["status"]["rules"][0]["evidence"].clone();
    assert!(said.as_str().unwrap_or_default().starts_with("failures: count "), "{policy}: {said}");

    // An Event that somebody deletes takes its occurrences with it.
    pod.delete().await;
    pod.wait_until_gone().await;
    drill.world.kubectl(&["delete", "events", "--all", "-n", &drill.world.a]).await;
    let resolved = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(resolved.data["status"]["closing"], "Recovered", "{incident}");
}

#[tokio::test]
async fn a_restart_of_the_operator_changes_no_number() {
    let drill = Drill::new("events-restart").await;
    drill.world.grant(&drill.world.a, &RIGHTS).await;
    homeless(&drill, "first").await;
    homeless(&drill, "second").await;
    // Both were reported before anybody watched, and count all the same.
    let operator = drill.quick_operator().await;
    let policy = watches(&drill, "1h", "signals.failures.count >= 2").await;
    drill.world.incident_of(&policy).await;
    let since = policy.get().await.data["status"]["rules"][0]["since"].clone();
    operator.restart();
    heartbeats(&operator, 5).await;
    let rule = policy.get().await.data["status"]["rules"][0].clone();
    assert_eq!((&rule["truth"], &rule["since"]), (&json!("True"), &since), "{policy}");
    let evidence = rule["evidence"].as_str().unwrap_or_default();
    assert!(evidence.starts_with("failures: count "), "{policy}: {evidence}");
}
