//! Deployments and StatefulSets, run by their real controllers: all fields are in the pod template, and the
//! settings of the model server are flags.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{Case, Kind, Outcome, Step, grant, play};
use crate::drill::Drill;

/// No limit of replicas to raise, no limit of concurrency: an autoscaler is a separate object, and in vLLM
/// requests that do not fit into a batch wait.
const NO_LIMIT: (&str, &[&str]) = ("NotApplicable", &["autoscaler limit", " has no autoscaler limit"]);
const NO_CONCURRENCY: (&str, &[&str]) = ("NotApplicable", &["concurrency", " has no concurrency limit"]);

/// The pod template of a model server that needs a GPU of this pool.
fn template(app: &str, pool: &str, args: Value) -> Value {
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [
            {"key": "nvidia.com/gpu.pool", "operator": "In", "values": [pool]},
            {"key": "nobody.example/has-this", "operator": "DoesNotExist"},
        ]},
    ]}}});
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {
            "nodeSelector": {"nvidia.com/gpu.pool": pool, "kubernetes.io/os": "linux"},
            "affinity": affinity,
            "tolerations": [{"key": "nvidia.com/gpu.pool", "value": pool}],
            "containers": [
                {"name": "proxy", "image": "example.com/proxy:1", "args": ["--max-connections=256"]},
                {
                    "name": "server", "image": "example.com/vllm-openai:1", "args": args,
                    "resources": {
                        "requests": {"cpu": "500m", "memory": "16384Mi", "nvidia.com/gpu": "1"},
                        "limits": {"memory": "16384Mi", "nvidia.com/gpu": "1"},
                    },
                },
            ],
        },
    })
}

/// The changes, and what else a fallback changes in an object with accelerators of the kind.
fn with_pace(pace: &Value, changes: Value) -> Value {
    let mut all = changes.as_object().expect("changes").clone();
    all.extend(pace.as_object().expect("changes").clone());
    Value::Object(all)
}

/// The same for both kinds, except for what `more` adds to the spec, and what a fallback changes in its `pace`.
fn steps(pool: &str, more: &Value, pace: &Value) -> Vec<Step> {
    let spec = |name: &str, edit: &dyn Fn(&mut Value)| {
        let args = json!(["serve", "m", "--max-num-seqs=256", "--port=80"]);
        let mut spec = json!({
            "replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template(name, pool, args),
        });
        for (key, value) in more.as_object().expect("fields") {
            spec[key] = value.clone();
        }
        edit(&mut spec);
        spec
    };
    let args = |args: Value| {
        move |spec: &mut Value| spec["template"]["spec"]["containers"][1]["args"] = args.clone()
    };
    let refused = |name: &'static str, (reason, words): (&'static str, &'static [&'static str])| {
        vec![Case { name, spec: spec(name, &|_| {}), outcome: Outcome::Refused(reason, words) }]
    };
    let changes = |name: &'static str, edit: &dyn Fn(&mut Value), changes: Value| Case {
        name,
        spec: spec(name, edit),
        outcome: Outcome::Changes(changes),
    };
    vec![
        Step {
            name: "cpu-fallback",
            action: json!({"cpuFallback": {"quantization": "int8"}}),
            objects: vec![
                changes(
                    "full",
                    &|_| {},
                    with_pace(
                        pace,
                        json!({
                            "/template/spec/containers/1/resources/requests/nvidia.com~1gpu": "0",
                            "/template/spec/containers/1/resources/limits/nvidia.com~1gpu": "0",
                            "/template/spec/nodeSelector/nvidia.com~1gpu.pool": null,
                            "/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution": {
                                "nodeSelectorTerms": [{"matchExpressions": [
                                    {"key": "nobody.example/has-this", "operator": "DoesNotExist"},
                                ]}],
                            },
                        }),
                    ),
                ),
                // An init container, the only selector, an affinity for nothing else, and no request.
                changes(
                    "bare",
                    &|spec| {
                        let pod = &mut spec["template"]["spec"];
                        pod["nodeSelector"] = json!({"nvidia.com/gpu.pool": pool});
                        let affinity = &mut pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
                            ["nodeSelectorTerms"];
                        affinity[0]["matchExpressions"].as_array_mut().expect("a list").truncate(1);
                        pod["containers"][1]["resources"] = json!({"limits": {"nvidia.com/gpu": "1"}});
                        pod["initContainers"] = json!([{"name": "warm-up", "image": "example.com/vllm:1",
                            "resources": {"limits": {"nvidia.com/gpu": "2"}}}]);
                    },
                    with_pace(
                        pace,
                        json!({
                            "/template/spec/containers/1/resources/limits/nvidia.com~1gpu": "0",
                            "/template/spec/initContainers/0/resources/limits/nvidia.com~1gpu": "0",
                            "/template/spec/nodeSelector": null,
                            "/template/spec/affinity/nodeAffinity": {},
                        }),
                    ),
                ),
            ],
        },
        Step {
            name: "stay-in-place",
            action: json!({"cpuFallback": {"placement": "Keep"}}),
            objects: vec![changes(
                "kept",
                &|_| {},
                with_pace(
                    pace,
                    json!({
                        "/template/spec/containers/1/resources/requests/nvidia.com~1gpu": "0",
                        "/template/spec/containers/1/resources/limits/nvidia.com~1gpu": "0",
                    }),
                ),
            )],
        },
        Step {
            name: "scheduler-fallback",
            action: json!({"schedulerFallback": {"from": "ml-scheduler"}}),
            objects: vec![changes(
                "stranded",
                &|spec| spec["template"]["spec"]["schedulerName"] = json!("ml-scheduler"),
                json!({"/template/spec/schedulerName": "default-scheduler"}),
            )],
        },
        Step {
            name: "reduce-batch",
            action: json!({"reduceBatch": {"batchSize": 16}}),
            objects: vec![
                changes(
                    "joined",
                    &|_| {},
                    json!({"/template/spec/containers/1/args": ["serve", "m", "--max-num-seqs=16", "--port=80"]}),
                ),
                changes(
                    "apart",
                    &args(json!(["serve", "m", "--max_num_seqs", "256", "--port", "80"])),
                    json!({"/template/spec/containers/1/args": ["serve", "m", "--max_num_seqs", "16", "--port", "80"]}),
                ),
                changes(
                    "not-given",
                    &args(json!(["serve", "m"])),
                    json!({"/template/spec/containers/1/args": ["serve", "m", "--max-num-seqs=16"]}),
                ),
                changes(
                    "in-command",
                    &|spec| {
                        let server = &mut spec["template"]["spec"]["containers"][1];
                        server["command"] = json!(["vllm", "serve", "m", "--max-num-seqs", "64"]);
                        server["args"] = json!(["--port=80"]);
                    },
                    json!({"/template/spec/containers/1/command": ["vllm", "serve", "m", "--max-num-seqs", "16"]}),
                ),
                Case {
                    name: "in-a-shell",
                    spec: spec("in-a-shell", &|spec| {
                        let server = &mut spec["template"]["spec"]["containers"][1];
                        server["command"] = json!(["sh", "-c", "vllm serve m --max-num-seqs 64"]);
                    }),
                    outcome: Outcome::Refused(
                        "NotApplicable",
                        &["batch size", "container server", "--max-num-seqs"],
                    ),
                },
            ],
        },
        Step {
            name: "halve-batch",
            action: json!({"reduceBatch": {"percent": 50}}),
            objects: vec![changes(
                "halved",
                &args(json!(["serve", "m", "--max-num-seqs", "33"])),
                json!({"/template/spec/containers/1/args": ["serve", "m", "--max-num-seqs", "16"]}),
            )],
        },
        Step {
            name: "scale",
            action: json!({"scale": {"replicas": 3}}),
            objects: vec![changes("scaled", &|_| {}, json!({"/replicas": 3}))],
        },
        Step {
            name: "raise-limit",
            action: json!({"raiseAutoscalerLimit": {"ceiling": 50}}),
            objects: refused("unlimited", NO_LIMIT),
        },
        Step {
            name: "reduce-concurrency",
            action: json!({"reduceBatch": {"maxConcurrency": 8}}),
            objects: refused("queueing", NO_CONCURRENCY),
        },
    ]
}

/// Its controller has observed the spec, and its pods run unless they cannot.
fn runs(object: &DynamicObject) -> bool {
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let can_run = spec["template"]["spec"]["schedulerName"] == "default-scheduler";
    let available = &status["availableReplicas"];
    status["observedGeneration"] == json!(object.metadata.generation)
        && (!can_run || available.as_i64().unwrap_or(0) == spec["replicas"].as_i64().unwrap_or(1))
}

async fn play_with(name: &str, kind: Kind, more: Value, pace: Value) {
    let drill = Drill::new(name).await;
    grant(&drill, &kind).await;
    let _nodes = drill.world.gpu_nodes(3).await;
    let operator = drill.world.operator().start().await;
    let steps = steps(&drill.world.id, &more, &pace);
    play(&drill, &operator, &kind, steps).await;
}

#[tokio::test]
async fn every_action_that_applies_to_a_deployment_is_reverted_and_the_others_name_the_field() {
    let is_settled = |object: &DynamicObject| {
        let conditions = object.data["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        // This is the last thing that it reports.
        let complete = conditions.iter().any(|one| one["reason"] == "NewReplicaSetAvailable");
        let stranded = object.data["spec"]["template"]["spec"]["schedulerName"] == "ml-scheduler";
        runs(object) && (complete || stranded)
    };
    let kind = Kind {
        api_version: "apps/v1",
        kind: "Deployment",
        resource: "deployments",
        status: None,
        is_settled,
    };
    // Its rolling update has the default surge.
    let pace = json!({"/strategy/rollingUpdate/maxSurge": 0, "/strategy/rollingUpdate/maxUnavailable": 1});
    play_with("s16-deployment", kind, json!({}), pace).await;
}

#[tokio::test]
async fn every_action_that_applies_to_a_stateful_set_is_reverted_and_the_others_name_the_field() {
    let is_settled = |object: &DynamicObject| {
        let status = &object.data["status"];
        runs(object)
            && status["currentRevision"].is_string()
            && status["currentRevision"] == status["updateRevision"]
    };
    let kind = Kind {
        api_version: "apps/v1",
        kind: "StatefulSet",
        resource: "statefulsets",
        status: None,
        is_settled,
    };
    let more = json!({"serviceName": "models", "podManagementPolicy": "Parallel"});
    play_with("s16-statefulset", kind, more, json!({})).await;
}
