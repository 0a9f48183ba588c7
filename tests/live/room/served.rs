//! Kinds whose pods belong to objects of other kinds. The test is their controller: it creates what they would create from the
//! changed template.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{EXPLAINS, wait_until_it_says};
use crate::{
    drill::{self, Drill},
    support::{object::Object, rights::Rule},
};

const ROLLOUT: &str = "argoproj.io/v1alpha1";

/// A drill whose ServiceAccount may change objects of this resource.
async fn drill(name: &str, group: &str, resource: &str) -> Drill {
    let drill = Drill::new(name).await;
    let own = Rule { group, resources: &[resource], verbs: &["get", "list", "watch", "patch"] };
    drill.world.grant(&drill.world.a, &[drill::rights(), vec![own, EXPLAINS]].concat()).await;
    drill
}

/// A pod that no node of the test has the accelerators for.
fn pod(container: &str, batch: &str) -> Value {
    json!({"containers": [{
        "name": container, "image": "example.com/vllm-openai:1", "command": ["vllm"],
        "args": ["serve", "m", format!("--max-num-seqs={batch}")],
        "resources": {"limits": {"nvidia.com/gpu": "64"}},
    }]})
}

/// Creates the object in the namespace of the drill, with this status.
async fn create(drill: &Drill, api_version: &str, kind: &str, spec: Value, status: Value) -> Object {
    let object =
        drill.world.create("gitops", &of(drill, api_version, kind, "chat", spec).to_string()).await.remove(0);
    object.merge_status("its-controller", json!({"status": status})).await;
    object
}

fn of(drill: &Drill, api_version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": drill.world.a}, "spec": spec})
}

/// What a controller creates for an object: with these labels on it, and controlled by `owner`.
async fn child(drill: &Drill, mut manifest: Value, labels: Value, owner: Option<(&Object, &DynamicObject)>) {
    manifest["metadata"]["labels"] = labels;
    if let Some((object, live)) = owner {
        let types = live.types.clone().expect("its kind");
        manifest["metadata"]["ownerReferences"] = json!([{"apiVersion": types.api_version, "kind": types.kind,
            "name": object.name(), "uid": live.metadata.uid, "controller": true}]);
    }
    drill.world.create("its-controller", &manifest.to_string()).await;
}

/// Rings with one step that changes the template of `chat`, and waits until it is changed.
async fn change(
    drill: &Drill,
    chat: &Object,
    api_version: &str,
    kind: &str,
    action: Value,
) -> (Object, DynamicObject) {
    let targets = json!({"apiVersion": api_version, "kind": kind, "names": ["chat"], "where": "true"});
    let mut action = action;
    for parameters in action.as_object_mut().expect("an action").values_mut() {
        parameters["targets"] = targets.clone();
    }
    let policy = drill
        .policy_with(|spec| {
            spec["steps"] = json!([{
                "name": "change", "action": action, "timeout": "1m",
                "verify": {"within": "3s", "checks": [{"rollout": {}}]},
            }]);
        })
        .await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let has_record = |object: &DynamicObject| {
        let annotations = object.metadata.annotations.as_ref();
        annotations.is_some_and(|annotations| annotations.contains_key("firebreak.dev/undo"))
    };
    let changed = chat.wait_until("changed", has_record).await;
    (incident, changed)
}

async fn withdraw(incident: &Object) {
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    incident.wait_for_condition("Resolved", "True").await;
}

fn smaller() -> Value {
    json!({"reduceBatch": {"batchSize": 8}})
}

#[tokio::test]
async fn a_rollout_quotes_the_scheduler_about_a_pod_of_its_new_replica_set() {
    let drill = drill("room-rollout", "argoproj.io", "rollouts").await;
    let selector = json!({"matchLabels": {"app": "chat"}});
    let template =
        |batch: &str, labels: Value| json!({"metadata": {"labels": labels}, "spec": pod("server", batch)});
    let spec = json!({"replicas": 1, "selector": selector, "strategy": {"canary": {}},
        "template": template("64", json!({"app": "chat"}))});
    let chat =
        create(&drill, ROLLOUT, "Rollout", spec, json!({"observedGeneration": "1", "replicas": 1})).await;
    let _operator = drill.world.operator().start().await;
    let (incident, changed) = change(&drill, &chat, ROLLOUT, "Rollout", smaller()).await;
    let labels = json!({"app": "chat", "rollouts-pod-template-hash": "5d4f"});
    let set = json!({"replicas": 1, "selector": {"matchLabels": labels}, "template": template("8", labels.clone())});
    child(&drill, of(&drill, "apps/v1", "ReplicaSet", "chat-5d4f", set), labels, Some((&chat, &changed)))
        .await;
    chat.merge_status("its-controller", json!({"status": {"observedGeneration": "2"}})).await;
    wait_until_it_says(&incident, "change", "pod chat-5d4f-").await;
    wait_until_it_says(&incident, "change", "is not scheduled: ").await;

    let refusal = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: gpus"}]);
    chat.merge_status("its-controller", json!({"status": {"conditions": refusal}})).await;
    wait_until_it_says(&incident, "change", "its pods are rejected: exceeded quota: gpus").await;
    withdraw(&incident).await;
}

#[tokio::test]
async fn a_deployment_whose_pods_a_rollout_runs_quotes_the_scheduler_about_a_pod_of_the_rollout() {
    let drill = drill("room-borrowed", "argoproj.io", "rollouts").await;
    let selector = json!({"matchLabels": {"app": "chat"}});
    let template =
        |batch: &str, labels: Value| json!({"metadata": {"labels": labels}, "spec": pod("server", batch)});
    let deployment =
        json!({"replicas": 0, "selector": selector, "template": template("64", json!({"app": "chat"}))});
    let deployment = of(&drill, "apps/v1", "Deployment", "chat", deployment);
    let chat = drill.world.create("gitops", &deployment.to_string()).await.remove(0);
    let reference = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"});
    let rollout = json!({"replicas": 1, "strategy": {"canary": {}}, "workloadRef": reference});
    let rollout = drill
        .world
        .create("gitops", &of(&drill, ROLLOUT, "Rollout", "runs", rollout).to_string())
        .await
        .remove(0);
    let _operator = drill.world.operator().start().await;
    let (incident, changed) = change(&drill, &chat, "apps/v1", "Deployment", smaller()).await;
    let labels = json!({"app": "chat", "rollouts-pod-template-hash": "5d4f"});
    let set = json!({"replicas": 1, "selector": {"matchLabels": labels}, "template": template("8", labels.clone())});
    let owner = rollout.get().await;
    child(&drill, of(&drill, "apps/v1", "ReplicaSet", "runs-5d4f", set), labels, Some((&rollout, &owner)))
        .await;
    let observed = changed.metadata.generation.unwrap_or_default().to_string();
    let status = json!({"observedGeneration": "1", "workloadObservedGeneration": observed, "replicas": 1});
    rollout.merge_status("its-controller", json!({"status": status})).await;
    wait_until_it_says(&incident, "change", "Rollout/runs runs its pods").await;
    wait_until_it_says(&incident, "change", "pod runs-5d4f-").await;
    withdraw(&incident).await;
}

#[tokio::test]
async fn a_leader_worker_set_quotes_why_its_stateful_sets_get_no_pods_and_why_those_do_not_start() {
    const LWS: &str = "leaderworkerset.x-k8s.io/v1";
    let drill = drill("room-lws", "leaderworkerset.x-k8s.io", "leaderworkersets").await;
    let spec = json!({"replicas": 1, "leaderWorkerTemplate": {
        "size": 2, "leaderTemplate": {"spec": pod("leader", "64")}, "workerTemplate": {"spec": pod("worker", "64")}}});
    let status = json!({"observedGeneration": 1, "replicas": 1});
    let chat = create(&drill, LWS, "LeaderWorkerSet", spec, status).await;
    let limits = json!({"limits": [{"type": "Container", "max": {"nvidia.com/gpu": "32"}}]});
    let range = of(&drill, "v1", "LimitRange", "small", limits);
    let range = drill.world.create("admin", &range.to_string()).await.remove(0);
    let _operator = drill.world.operator().start().await;
    let (incident, changed) = change(&drill, &chat, LWS, "LeaderWorkerSet", smaller()).await;
    let labels =
        json!({"leaderworkerset.sigs.k8s.io/name": "chat", "leaderworkerset.sigs.k8s.io/worker-index": "0"});
    let set = json!({
        "replicas": 1, "serviceName": "chat", "podManagementPolicy": "Parallel", "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod("leader", "8")},
    });
    child(&drill, of(&drill, "apps/v1", "StatefulSet", "chat", set), labels, Some((&chat, &changed))).await;
    chat.merge_status("its-controller", json!({"status": {"observedGeneration": 2}})).await;
    wait_until_it_says(&incident, "change", "maximum nvidia.com/gpu usage per Container is 32").await;
    range.delete().await;
    wait_until_it_says(&incident, "change", "pod chat-0 is not scheduled: ").await;
    withdraw(&incident).await;
}

#[tokio::test]
async fn an_llm_inference_service_quotes_the_scheduler_about_a_pod_of_the_part_that_was_changed() {
    const KSERVE: &str = "serving.kserve.io/v1alpha2";
    let drill = drill("room-llmisvc", "serving.kserve.io", "llminferenceservices").await;
    let spec = json!({"model": {"uri": "hf://m", "name": "m"}, "replicas": 1, "template": pod("main", "64")});
    let unready = json!([{"type": "Ready", "status": "False"}]);
    let status = json!({"observedGeneration": 1, "conditions": unready});
    let chat = create(&drill, KSERVE, "LLMInferenceService", spec, status).await;
    let _operator = drill.world.operator().start().await;
    let (incident, _) = change(&drill, &chat, KSERVE, "LLMInferenceService", smaller()).await;
    let labels = |component: &str| {
        json!({"app.kubernetes.io/name": "chat", "app.kubernetes.io/part-of": "llminferenceservice",
            "app.kubernetes.io/component": format!("llminferenceservice-{component}")})
    };
    for (name, component, batch) in
        [("a-old", "workload", "64"), ("b-router", "router-scheduler", "8"), ("c-new", "workload", "8")]
    {
        child(&drill, of(&drill, "v1", "Pod", name, pod("main", batch)), labels(component), None).await;
    }
    chat.merge_status("its-controller", json!({"status": {"observedGeneration": 2}})).await;
    wait_until_it_says(&incident, "change", "pod c-new is not scheduled: ").await;
    withdraw(&incident).await;
}

#[tokio::test]
async fn a_ray_service_quotes_the_scheduler_about_a_pod_of_its_pending_cluster() {
    const RAY: &str = "ray.io/v1";
    let drill = drill("room-ray", "ray.io", "rayservices").await;
    let scheduled = || {
        let mut pod = pod("ray", "64");
        pod["schedulerName"] = json!("volcano");
        json!({"spec": pod})
    };
    let spec = json!({"serveConfigV2": "applications: []", "rayClusterConfig": {
        "headGroupSpec": {"rayStartParams": {"num-gpus": "0"}, "template": scheduled()}, "workerGroupSpecs": []}});
    let status = json!({"observedGeneration": 1, "activeServiceStatus": {"rayClusterName": "chat-old"}});
    let chat = create(&drill, RAY, "RayService", spec, status).await;
    let _operator = drill.world.operator().start().await;
    let fallback = json!({"schedulerFallback": {"from": "volcano"}});
    let (incident, _) = change(&drill, &chat, RAY, "RayService", fallback).await;
    for (name, cluster) in [("a-old", "chat-old"), ("b-new", "chat-new")] {
        child(
            &drill,
            of(&drill, "v1", "Pod", name, pod("ray", "64")),
            json!({"ray.io/cluster": cluster}),
            None,
        )
        .await;
    }
    let status = json!({"observedGeneration": 2, "pendingServiceStatus": {"rayClusterName": "chat-new"}});
    chat.merge_status("its-controller", json!({"status": status})).await;
    wait_until_it_says(&incident, "change", "pod b-new is not scheduled: ").await;
    withdraw(&incident).await;
}
