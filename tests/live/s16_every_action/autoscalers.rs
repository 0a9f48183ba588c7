//! HorizontalPodAutoscalers and ScaledObjects: they have a limit and no other field for an action.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{Case, Kind, Outcome, Step, grant, play};
use crate::drill::Drill;

/// The limit of some is raised, and no other action applies to this kind.
fn steps(raised: Vec<Case>, spec: &Value, article: [&'static [&'static str]; 5]) -> Vec<Step> {
    let [accelerators, scheduler, batch, concurrency, replicas] = article;
    let refused = |step: &'static str, action: Value, words| {
        let outcome = Outcome::Refused("NotApplicable", words);
        Step { name: step, action, objects: vec![Case { name: step, spec: spec.clone(), outcome }] }
    };
    vec![
        Step {
            name: "raise-limit",
            action: json!({"raiseAutoscalerLimit": {"factor": 2, "ceiling": 16}}),
            objects: raised,
        },
        refused("cpu-fallback", json!({"cpuFallback": {}}), accelerators),
        refused("scheduler-fallback", json!({"schedulerFallback": {"from": "ml-scheduler"}}), scheduler),
        refused("reduce-batch", json!({"reduceBatch": {"batchSize": 8}}), batch),
        refused("reduce-concurrency", json!({"reduceBatch": {"maxConcurrency": 8}}), concurrency),
        refused("halve-batch", json!({"reduceBatch": {"percent": 50}}), batch),
        refused("scale", json!({"scale": {"replicas": 5}}), replicas),
    ]
}

fn changes(name: &'static str, spec: Value, changes: Value) -> Case {
    Case { name, spec, outcome: Outcome::Changes(changes) }
}

#[tokio::test]
async fn the_limit_of_a_horizontal_pod_autoscaler_is_reverted_and_every_other_action_names_the_field() {
    let kind = Kind {
        api_version: "autoscaling/v2",
        kind: "HorizontalPodAutoscaler",
        resource: "horizontalpodautoscalers",
        status: None,
        is_settled: |object: &DynamicObject| {
            let conditions = object.data["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
            conditions.iter().any(|one| one["reason"] == "ScalingDisabled")
        },
    };
    let drill = Drill::new("s16-hpa").await;
    grant(&drill, &kind).await;
    // Scaled to 0 by someone, so that the real controller has nothing to do.
    let idle = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "idle", "namespace": drill.world.a},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "idle"}}, "template": {
            "metadata": {"labels": {"app": "idle"}},
            "spec": {"containers": [{"name": "main", "image": "example.com/server:1"}]},
        }},
    });
    drill.world.create("flux", &idle.to_string()).await;
    let spec = |most: i64| {
        json!({"minReplicas": 1, "maxReplicas": most,
               "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "idle"}})
    };
    let raised = vec![
        changes("doubled", spec(3), json!({"/maxReplicas": 6})),
        changes("up-to-ceiling", spec(10), json!({"/maxReplicas": 16})),
    ];
    let words: [&'static [&'static str]; 5] = [
        &["accelerator", "a HorizontalPodAutoscaler has no accelerators"],
        &["scheduler name", "a HorizontalPodAutoscaler has no scheduler name"],
        &["batch size", "a HorizontalPodAutoscaler has no batch size"],
        &["concurrency", "a HorizontalPodAutoscaler has no concurrency limit"],
        &["replicas", "a HorizontalPodAutoscaler has no number of replicas"],
    ];
    let operator = drill.world.operator().start().await;
    play(&drill, &operator, &kind, steps(raised, &spec(3), words)).await;
}

#[tokio::test]
async fn the_limit_of_a_scaled_object_is_reverted_and_every_other_action_names_the_field() {
    let kind = Kind {
        api_version: "keda.sh/v1alpha1",
        kind: "ScaledObject",
        resource: "scaledobjects",
        status: Some(json!({"conditions": [{"type": "Ready", "status": "True"}]})),
        is_settled: |object: &DynamicObject| object.data["status"]["conditions"][0]["status"] == "True",
    };
    let drill = Drill::new("s16-scaledobject").await;
    grant(&drill, &kind).await;
    let spec = |most: i64| {
        json!({"scaleTargetRef": {"name": "idle"}, "maxReplicaCount": most,
               "triggers": [{"type": "cron", "metadata": {"timezone": "Etc/UTC"}}]})
    };
    let raised = vec![
        changes("doubled", spec(3), json!({"/maxReplicaCount": 6})),
        changes("up-to-ceiling", spec(10), json!({"/maxReplicaCount": 16})),
    ];
    let words: [&'static [&'static str]; 5] = [
        &["accelerator", "a ScaledObject has no accelerators"],
        &["scheduler name", "a ScaledObject has no scheduler name"],
        &["batch size", "a ScaledObject has no batch size"],
        &["concurrency", "a ScaledObject has no concurrency limit"],
        &["replicas", "a ScaledObject has no number of replicas"],
    ];
    let operator = drill.world.operator().start().await;
    play(&drill, &operator, &kind, steps(raised, &spec(3), words)).await;
}
