//! New pods that do not start: there is no room for one more beside the old ones, they are refused, or an old one does
//! not end. Where Firebreak can make room it does; elsewhere it quotes who knows.

mod served;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, has_rolled_out, is_stalled, message_of},
    support::{object::Object, rights::Rule},
};

/// What messages about pods need.
const EXPLAINS: Rule<'static> = Rule { group: "", resources: &["pods", "events"], verbs: &["list"] };

/// A drill whose ServiceAccount may also change StatefulSets, and read why pods do not start.
pub async fn drill(name: &str) -> Drill {
    let drill = Drill::new(name).await;
    let sets = Rule { group: "apps", resources: &["statefulsets"], verbs: &["get", "list", "patch"] };
    let pods = Rule { group: "", resources: &["pods"], verbs: &["delete"] };
    drill.world.grant(&drill.world.a, &[drill::rights(), vec![sets, pods, EXPLAINS]].concat()).await;
    drill
}

/// A model server that takes this much memory, and all accelerators of a node of the test if it `needs_gpus`.
pub fn server(drill: &Drill, kind: &str, name: &str, memory: &str, gpus: &str, more: Value) -> Value {
    let pool = &drill.world.id;
    let resources = json!({"memory": memory, "nvidia.com/gpu": gpus});
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": name, "namespace": drill.world.a},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "nodeSelector": {"nvidia.com/gpu.pool": pool},
                    "tolerations": [{"key": "nvidia.com/gpu.pool", "value": pool}],
                    "containers": [{
                        "name": "main", "image": "example.com/vllm-openai:1", "args": ["--max-num-seqs=64"],
                        "resources": {"limits": resources, "requests": resources},
                    }],
                },
            },
        },
    });
    for (key, value) in more.as_object().expect("fields") {
        object["spec"][key] = value.clone();
    }
    object
}

/// Creates it and waits until its pod is ready.
pub async fn running(drill: &Drill, manifest: Value) -> Object {
    let object = drill.world.create("gitops", &manifest.to_string()).await.remove(0);
    let is_ready = |object: &DynamicObject| object.data["status"]["readyReplicas"] == json!(1);
    object.wait_until("its pod is ready", is_ready).await;
    object
}

/// A step with this action on objects of this kind with this name.
pub fn step(name: &str, action: &str, kind: &str, more: Value) -> Value {
    let targets = json!({"apiVersion": "apps/v1", "kind": kind, "names": [name], "where": "true"});
    let mut parameters = more;
    parameters["targets"] = targets;
    json!({
        "name": name, "action": {action: parameters}, "timeout": "1m",
        "verify": {"within": "3s", "checks": [{"rollout": {}}]},
    })
}

/// Waits until the step says this.
async fn wait_until_it_says(incident: &Object, step: &str, words: &str) {
    let says = |incident: &DynamicObject| {
        let steps = incident.data["status"]["steps"].as_array().map_or(&[][..], Vec::as_slice);
        let of_it = steps.iter().find(|status| status["name"] == *step);
        of_it.and_then(|status| status["message"].as_str()).is_some_and(|message| message.contains(words))
    };
    incident.wait_until(&format!("step {step} says {words}"), says).await;
}

pub fn with_surge() -> Value {
    json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}})
}

#[tokio::test]
async fn without_a_spare_accelerator_a_fallback_and_its_revert_roll_out_in_place() {
    let drill = drill("room").await;
    let _node = drill.world.gpu_nodes(1).await;
    // One of them fills the node: with a surge, the next pod would wait for the old one forever, both ways.
    let manifest = server(&drill, "Deployment", "chat", "600Gi", "8", with_surge());
    let chat = running(&drill, manifest).await;
    chat.wait_until("rolled out", has_rolled_out).await;
    let before = chat.snapshot().await;

    let _operator = drill.world.operator().start().await;
    let fallback = json!({"placement": "Keep"});
    let policy = drill
        .policy_with(|spec| {
            let mut step = step("chat", "cpuFallback", "Deployment", fallback);
            step["verify"]["within"] = json!("1m");
            spec["steps"] = json!([step]);
        })
        .await;
    let incident = drill.respond(&policy).await;
    let during = chat.get().await;
    let pace = json!({"maxSurge": 0, "maxUnavailable": 1});
    assert_eq!(during.data["spec"]["strategy"]["rollingUpdate"], pace, "{chat}");

    let half = |object: &DynamicObject| {
        let spec = &object.data["spec"];
        let limits = &spec["template"]["spec"]["containers"][0]["resources"]["limits"];
        (limits["nvidia.com/gpu"] == json!("8")).then(|| spec["strategy"]["rollingUpdate"].clone())
    };
    let seen = tokio::spawn({
        let chat = chat.clone();
        async move { chat.wait_until("the template is back", |object| half(object).is_some()).await }
    });
    drill.recover(&incident).await;
    let seen = seen.await.expect("it was seen");
    assert_eq!(half(&seen), Some(pace), "{chat}: the pace goes back after the template");
    let after = chat.snapshot().await;
    assert_eq!((&after.spec, after.traces()), (&before.spec, Vec::new()), "{chat}");
    assert_eq!(after.generation, before.generation + 3, "{chat}: the change, and two writes that revert it");
    assert_eq!(after.managers, before.managers, "{chat}: managers");
}

#[tokio::test]
async fn a_step_without_room_quotes_the_scheduler() {
    let drill = drill("no-room").await;
    let _node = drill.world.gpu_nodes(1).await;
    let manifest = server(&drill, "Deployment", "chat", "600Gi", "8", with_surge());
    let chat = running(&drill, manifest).await;
    let before = chat.snapshot().await;
    let _operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            spec["steps"] = json!([step("chat", "reduceBatch", "Deployment", json!({"batchSize": 8}))]);
        })
        .await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let is_held = |incident: &DynamicObject| {
        is_stalled(incident, "LadderUsedUp")
            && message_of(incident, "Stalled").contains("Insufficient nvidia.com/gpu")
    };
    let held = incident.wait_until("the scheduler is quoted", is_held).await;
    let message = message_of(&held, "Stalled").to_owned();
    assert!(message.contains("pod chat-") && message.contains("is not scheduled: "), "{message}");
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(chat.snapshot().await.spec, before.spec, "{chat}");
}

#[tokio::test]
async fn a_step_whose_pods_a_limit_range_refuses_quotes_it() {
    let limits = json!({"limits": [{"type": "Container", "max": {"memory": "1Gi"}}]});
    quotes_who_refuses("refused", "LimitRange", limits, "maximum memory usage per Container is 1Gi").await;
}

#[tokio::test]
async fn a_step_whose_pods_a_quota_refuses_quotes_it() {
    let quota = json!({"hard": {"requests.memory": "1Gi"}});
    quotes_who_refuses("quota", "ResourceQuota", quota, "exceeded quota: small").await;
}

/// A step changes the pods of two kinds while an object of this kind refuses all new pods, in these words.
async fn quotes_who_refuses(name: &str, kind: &str, spec: Value, words: &str) {
    let drill = drill(name).await;
    let _node = drill.world.gpu_nodes(1).await;
    let server = |kind: &str, name: &str, more| server(&drill, kind, name, "2Gi", "1", more);
    let web = running(&drill, server("Deployment", "web", json!({}))).await;
    let sets = json!({"serviceName": "set", "podManagementPolicy": "Parallel"});
    let set = running(&drill, server("StatefulSet", "set", sets)).await;
    let refuses = json!({
        "apiVersion": "v1", "kind": kind, "metadata": {"name": "small", "namespace": drill.world.a}, "spec": spec,
    });
    let refuses = drill.world.create("admin", &refuses.to_string()).await.remove(0);
    let _operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            let batch = || json!({"batchSize": 8});
            spec["steps"] = json!([
                step("web", "reduceBatch", "Deployment", batch()),
                step("set", "reduceBatch", "StatefulSet", batch()),
            ]);
        })
        .await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    for name in ["web", "set"] {
        wait_until_it_says(&incident, name, words).await;
    }
    refuses.delete().await;
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    incident.wait_for_condition("Resolved", "True").await;
    for object in [&web, &set] {
        let args = object.get().await.data["spec"]["template"]["spec"]["containers"][0]["args"].clone();
        assert_eq!(args, json!(["--max-num-seqs=64"]), "{object}");
    }
}

#[tokio::test]
async fn a_recreate_that_waits_for_a_terminating_pod_names_it() {
    let drill = drill("recreate").await;
    let node = drill.world.gpu_nodes(1).await;
    let recreate = json!({"strategy": {"type": "Recreate"}});
    let chat = running(&drill, server(&drill, "Deployment", "chat", "2Gi", "1", recreate)).await;
    let pods = drill.world.list("v1", "Pod", &drill.world.a).await;
    let name = pods[0].metadata.name.clone().expect("a name");
    let pod = drill.world.object("v1", "Pod", &drill.world.a, &name);
    pod.merge("alice", json!({"metadata": {"finalizers": ["example.com/hold"]}})).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            spec["steps"] = json!([step("chat", "cpuFallback", "Deployment", json!({"placement": "Keep"}))]);
        })
        .await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let command = format!("`kubectl delete pod {name} -n {} --force --grace-period=0`", drill.world.a);
    wait_until_it_says(&incident, "chat", &command).await;
    wait_until_it_says(&incident, "chat", "held by the finalizers example.com/hold").await;
    assert_eq!(node.names().len(), 1);
    pod.merge("alice", json!({"metadata": {"finalizers": null}})).await;
    incident.wait_for_condition("Mitigated", "True").await;
    drill.recover(&incident).await;
    assert_eq!(chat.snapshot().await.traces(), Vec::<&str>::new(), "{chat}");
}
