//! Steady state writes nothing.

use http::Method;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{Drill, Models, heartbeats, is_heartbeat, policy_manifest},
    support::{
        operator::Operator,
        proxy::{Call, Exchange},
        standin::StandIn,
    },
};

/// Renewals of a lease, 2 s apart: longer than the interval of any regular work.
const RENEWALS: usize = 12;

/// An access review stores nothing.
fn is_review(call: &Call) -> bool {
    call.target.group == "authorization.k8s.io"
}

/// During twelve renewals only the lease is written.
async fn assert_steady(operator: &Operator, what: &str) {
    // Work in progress may be finished.
    heartbeats(operator, 2).await;
    let from = operator.proxy.calls().len();
    heartbeats(operator, RENEWALS).await;
    let calls = operator.proxy.calls();
    let stray = |each: &&Exchange| {
        each.call.number >= from
            && each.call.is_mutating()
            && !is_heartbeat(&each.call)
            && !is_review(&each.call)
    };
    let written: Vec<String> =
        calls.iter().filter(stray).map(|each| format!("{each}\n{}", news(&calls, each))).collect();
    assert!(written.is_empty(), "{what}: written in steady state:\n{}", written.join("\n"));
}

/// The differences from the previous write of the same object.
fn news(calls: &[Exchange], write: &Exchange) -> String {
    let is_same =
        |each: &&Exchange| each.call.method == write.call.method && each.call.path == write.call.path;
    let before = calls[..write.call.number].iter().rfind(is_same).and_then(|each| each.call.body.as_ref());
    let mut found = Vec::new();
    compare("", before.unwrap_or(&Value::Null), write.call.body.as_ref().unwrap_or(&Value::Null), &mut found);
    found.join("\n")
}

fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) if path != "/metadata" => {
            for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                compare(&format!("{path}/{key}"), &of(old), &of(new), found);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{path}/{index}"), old, new, found);
            }
        }
        _ if old != new && path != "/metadata" => found.push(format!("     {path}: {old} is now {new}")),
        _ => {}
    }
}

/// Models whose owner writes their status all the time, so that the steady state means something.
async fn begin(name: &str) -> (Drill, Models, StandIn, Operator) {
    let drill = Drill::new(name).await;
    let mut stand_in = drill.world.stand_in();
    let models = drill.models(2).await;
    stand_in.be_noisy(&drill.world.a, &["model-0", "model-1"]);
    let operator = drill.world.operator().start().await;
    (drill, models, stand_in, operator)
}

fn watches_models(spec: &mut Value) {
    let models = json!({
        "name": "models",
        "objects": {"apiVersion": "inference.llm-d.io/v1alpha1", "kind": "LLMDeployment"},
    });
    spec["signals"].as_array_mut().expect("a list").push(models);
}

#[tokio::test]
async fn quiet_policies_write_nothing() {
    let (drill, _models, _stand_in, operator) = begin("s14-quiet").await;
    drill.policy_with(watches_models).await;
    assert_steady(&operator, "policies are quiet").await;
}

#[tokio::test]
async fn an_incident_in_monitoring_writes_nothing() {
    let (drill, models, _stand_in, operator) = begin("s14-monitoring").await;
    let policy = drill.policy_with(watches_models).await;
    let incident = drill.respond(&policy).await;
    models.wait_until_fallen().await;
    let are_healthy = |incident: &DynamicObject| {
        let changes = incident.data["status"]["changes"].as_array();
        changes.is_some_and(|changes| changes.iter().all(|change| change["lastHealth"] == "True"))
    };
    let seen = incident.wait_until("the models are healthy on CPU", are_healthy).await;
    assert_eq!(seen.data["status"]["phase"], "Monitoring", "{incident}");
    assert_steady(&operator, "an Incident is in Monitoring").await;
    // There is no GPU in this world, so during a recovery in waves the models would never be ready.
    drill.hush().await;
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    incident.wait_for_condition("Resolved", "True").await;
    assert_steady(&operator, "an Incident is Resolved").await;
}

#[tokio::test]
async fn a_held_incident_and_a_blind_policy_write_nothing() {
    let (drill, _models, _stand_in, operator) = begin("s14-held").await;
    let held = drill.policy_with(|spec| spec["guardrails"] = json!({"maxTargets": 1})).await;
    let mut blind = policy_manifest(|spec| {
        spec["signals"][0]["objects"]["kind"] = json!("Unicorn");
    });
    blind["metadata"]["name"] = json!("blind");
    let blind = drill.world.apply("flux", &blind.to_string()).await.remove(0);
    blind.wait_for_condition("Ready", "False").await;
    drill.ring().await;
    let incident = drill.world.incident_of(&held).await;
    incident.wait_for_condition("Stalled", "True").await;
    assert_steady(&operator, "an Incident is Held and a policy cannot read its signal").await;
}

/// What the operator writes comes back from its watch: that is no news to it, and what only matters before a change is not
/// read of an object that was changed.
#[tokio::test]
async fn a_response_reads_again_only_what_may_have_changed() {
    let drill = Drill::new("steady-own").await;
    let models = drill.models(1).await;
    let operator = drill.quick_operator().await;
    let policy = drill.policy().await;
    policy.wait_for_condition("Ready", "True").await;
    heartbeats(&operator, 1).await;
    let before = operator.proxy.calls().len();
    let incident = drill.respond(&policy).await;
    heartbeats(&operator, 1).await;
    let calls = operator.proxy.calls();
    let reads = |resource: &str| -> Vec<String> {
        let read = calls[before..].iter().filter(|each| {
            each.call.method == Method::GET && each.call.target.resource == resource && !each.call.is_watch()
        });
        read.map(ToString::to_string).collect()
    };
    let (incidents, namespaces, targets) = (reads("incidents"), reads("namespaces"), reads("llmdeployments"));
    // The policy names two namespaces.
    assert_eq!(namespaces.len(), 2, "{incident}: whether they are exempt: {namespaces:#?}");
    let looks = targets.len() / 2;
    assert!(looks > 1, "{incident}: its targets were listed before and after the change: {targets:#?}");
    assert!(incidents.len() < looks, "{incident}: {looks} looks, the first without a read: {incidents:#?}");
    drill.recover(&incident).await;
    models.assert_reverted().await;
}
