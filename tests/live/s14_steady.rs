//! Steady state writes nothing.

use crate::{
    drill::{Drill, Models, heartbeats, is_heartbeat},
    support::{operator::Operator, proxy::Call},
};

/// Renewals of a lease, each 1.2 s after the other: longer than anything that is done regularly.
const RENEWALS: usize = 12;

/// A question about rights or about who one is stores nothing.
fn is_review(call: &Call) -> bool {
    matches!(call.target.group.as_str(), "authorization.k8s.io" | "authentication.k8s.io")
}

/// Over twelve renewals the lease is all that is written.
async fn assert_steady(operator: &Operator, what: &str) {
    // What was begun may be finished.
    heartbeats(operator, 2).await;
    let from = operator.proxy.calls().len();
    heartbeats(operator, RENEWALS).await;
    let calls = operator.proxy.calls();
    let written: Vec<String> = calls[from..]
        .iter()
        .filter(|each| each.call.is_mutating() && !is_heartbeat(&each.call) && !is_review(&each.call))
        .map(|each| format!("{each} {}", each.call.body.clone().unwrap_or_default()))
        .collect();
    assert!(written.is_empty(), "{what}: written in steady state:\n{}", written.join("\n"));
}

/// Models whose owner writes their status all the time, so that there is something to be steady about.
async fn begin(name: &str) -> (Drill, Models, crate::support::standin::StandIn, Operator) {
    let drill = Drill::new(name).await;
    let mut stand_in = drill.world.stand_in();
    let models = drill.models(2).await;
    stand_in.be_noisy(&drill.world.a, &["model-0", "model-1"]);
    let operator = drill.world.operator().flag("--lease-duration").flag("9s").start().await;
    (drill, models, stand_in, operator)
}

fn watches_models(spec: &mut serde_json::Value) {
    let models = serde_json::json!({
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
    assert_eq!(incident.get().await.data["status"]["phase"], "Monitoring", "{incident}");
    assert_steady(&operator, "an Incident is in Monitoring").await;
    drill.recover(&incident).await;
    assert_steady(&operator, "an Incident is Resolved").await;
}

#[tokio::test]
async fn a_held_incident_and_a_blind_policy_write_nothing() {
    let (drill, _models, _stand_in, operator) = begin("s14-held").await;
    let held = drill.policy_with(|spec| spec["guardrails"] = serde_json::json!({"maxTargets": 1})).await;
    let mut blind = crate::drill::policy_manifest(|spec| {
        spec["signals"][0]["objects"]["kind"] = serde_json::json!("Unicorn");
    });
    blind["metadata"]["name"] = serde_json::json!("blind");
    let blind = drill.world.apply("flux", &blind.to_string()).await.remove(0);
    blind.wait_for_condition("Ready", "False").await;
    drill.ring().await;
    let incident = drill.world.incident_of(&held).await;
    incident.wait_for_condition("Stalled", "True").await;
    assert_steady(&operator, "an Incident is Held and a policy cannot read its signal").await;
}
