//! Kinds that serve models with several pod templates: LeaderWorkerSet, Rollout, LLMInferenceService and RayService. No
//! controller reconciles them here, so the test sets a healthy status.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{Case, Kind, Outcome, Step, grant, play};
use crate::drill::Drill;

fn changes(name: &'static str, spec: Value, changes: Value) -> Case {
    Case { name, spec, outcome: Outcome::Changes(changes) }
}

fn refused(name: &'static str, spec: Value, words: &'static [&'static str]) -> Case {
    Case { name, spec, outcome: Outcome::Refused("NotApplicable", words) }
}

fn step(name: &'static str, action: Value, objects: Vec<Case>) -> Step {
    Step { name, action, objects }
}

/// A pod that needs GPUs of another scheduler's.
fn pod(container: &str, args: Value) -> Value {
    json!({
        "schedulerName": "volcano",
        "nodeSelector": {"nvidia.com/gpu.product": "H100"},
        "containers": [{
            "name": container, "image": "vllm/vllm-openai:v0.11.0", "command": ["vllm"], "args": args,
            "resources": {"limits": {"nvidia.com/gpu": "8", "memory": "1Ti"}},
        }],
    })
}

/// What a fallback changes in the pod at this place.
fn fallen(places: &[&str]) -> Value {
    let mut fields = json!({});
    for place in places {
        fields[format!("{place}/containers/0/resources/limits/nvidia.com~1gpu")] = json!("0");
        fields[format!("{place}/nodeSelector/nvidia.com~1gpu.product")] = Value::Null;
    }
    fields
}

/// What a fallback changes in the pace at this place, so that each new pod takes the place of an old one.
fn in_place(place: &str) -> Value {
    json!({format!("{place}/maxSurge"): 0, format!("{place}/maxUnavailable"): 1})
}

fn both(mut one: Value, other: Value) -> Value {
    for (field, value) in other.as_object().expect("fields") {
        one[field] = value.clone();
    }
    one
}

fn moved(places: &[&str]) -> Value {
    let mut fields = json!({});
    for place in places {
        fields[format!("{place}/schedulerName")] = json!("default-scheduler");
    }
    fields
}

fn reduced(places: &[&str], args: Value) -> Value {
    let mut fields = json!({});
    for place in places {
        fields[format!("{place}/containers/0/args")] = args.clone();
    }
    fields
}

/// A kind whose operator says with a condition that it is ready.
fn that_is_ready(api_version: &'static str, kind: &'static str, resource: &'static str) -> Kind {
    Kind {
        api_version,
        kind,
        resource,
        status: Some(
            json!({"observedGeneration": 1_000_000, "conditions": [{"type": "Ready", "status": "True"}]}),
        ),
        is_settled: |object: &DynamicObject| object.data["status"]["conditions"][0]["status"] == "True",
    }
}

async fn play_with(name: &str, kind: Kind, steps: Vec<Step>) {
    let drill = Drill::new(name).await;
    grant(&drill, &kind).await;
    let operator = drill.world.operator().start().await;
    play(&drill, &operator, &kind, steps).await;
}

#[tokio::test]
async fn every_action_that_applies_to_a_leader_worker_set_is_reverted_and_the_others_name_the_field() {
    const PLACES: [&str; 2] =
        ["/leaderWorkerTemplate/leaderTemplate/spec", "/leaderWorkerTemplate/workerTemplate/spec"];
    let spec = || {
        let args = json!(["serve", "m", "--max-num-seqs", "256"]);
        let pace = json!({"type": "RollingUpdate", "rollingUpdateConfiguration": {"maxSurge": 1, "maxUnavailable": 0}});
        json!({"replicas": 2, "rolloutStrategy": pace, "leaderWorkerTemplate": {
            "size": 2, "leaderTemplate": {"spec": pod("leader", args.clone())}, "workerTemplate": {"spec": pod("worker", args)},
        }})
    };
    let cpu = json!({"cpuFallback": {}});
    let in_place = in_place("/rolloutStrategy/rollingUpdateConfiguration");
    let steps = vec![
        step("cpu-fallback", cpu, vec![changes("fallen", spec(), both(fallen(&PLACES), in_place))]),
        step(
            "scheduler-fallback",
            json!({"schedulerFallback": {"from": "volcano"}}),
            vec![changes("moved", spec(), moved(&PLACES))],
        ),
        step(
            "reduce-batch",
            json!({"reduceBatch": {"batchSize": 16}}),
            vec![changes("reduced", spec(), reduced(&PLACES, json!(["serve", "m", "--max-num-seqs", "16"])))],
        ),
        step(
            "scale",
            json!({"scale": {"replicas": 3}}),
            vec![changes("scaled", spec(), json!({"/replicas": 3}))],
        ),
        step(
            "raise-limit",
            json!({"raiseAutoscalerLimit": {"ceiling": 50}}),
            vec![refused(
                "unlimited",
                spec(),
                &["autoscaler limit", "a LeaderWorkerSet has no autoscaler limit"],
            )],
        ),
    ];
    let kind = Kind {
        api_version: "leaderworkerset.x-k8s.io/v1",
        kind: "LeaderWorkerSet",
        resource: "leaderworkersets",
        status: Some(
            json!({"observedGeneration": 1_000_000, "replicas": 2, "readyReplicas": 3, "updatedReplicas": 3}),
        ),
        is_settled: |object: &DynamicObject| object.data["status"]["readyReplicas"] == 3,
    };
    play_with("s16-leaderworkerset", kind, steps).await;
}

#[tokio::test]
async fn every_action_that_applies_to_a_rollout_is_reverted_and_the_others_name_the_object_or_the_field() {
    const PLACES: [&str; 1] = ["/template/spec"];
    let of = |more: Value| {
        let mut spec = json!({"replicas": 2, "strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {"duration": "5s"}}]}}});
        for (key, value) in more.as_object().expect("fields") {
            spec[key] = value.clone();
        }
        spec
    };
    let spec = || {
        let template = json!({"metadata": {"labels": {"app": "chat"}}, "spec": pod("server", json!(["serve", "m", "--max-num-seqs=256"]))});
        of(json!({"selector": {"matchLabels": {"app": "chat"}}, "template": template}))
    };
    let by_reference =
        || of(json!({"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}}));
    let promoted = || {
        let mut spec = spec();
        spec["strategy"]["canary"]["steps"][1]["pause"] = json!({});
        spec
    };
    let elsewhere: &[&str] = &["its pod template is in Deployment/chat"];
    let steps = vec![
        step(
            "cpu-fallback",
            json!({"cpuFallback": {}}),
            vec![
                // Absent, both are 25%, which is none of two.
                changes("fallen", spec(), both(fallen(&PLACES), in_place("/strategy/canary"))),
                refused("fallen-elsewhere", by_reference(), elsewhere),
                refused("promoted-by-hand", promoted(), &["until someone promotes it"]),
            ],
        ),
        step(
            "scheduler-fallback",
            json!({"schedulerFallback": {"from": "volcano"}}),
            vec![
                changes("moved", spec(), moved(&PLACES)),
                refused("moved-elsewhere", by_reference(), elsewhere),
            ],
        ),
        step(
            "reduce-batch",
            json!({"reduceBatch": {"batchSize": 16}}),
            vec![
                changes("reduced", spec(), reduced(&PLACES, json!(["serve", "m", "--max-num-seqs=16"]))),
                refused("reduced-elsewhere", by_reference(), elsewhere),
            ],
        ),
        step(
            "scale",
            json!({"scale": {"replicas": 3}}),
            vec![
                changes("scaled", spec(), json!({"/replicas": 3})),
                changes("scaled-itself", by_reference(), json!({"/replicas": 3})),
            ],
        ),
        step(
            "raise-limit",
            json!({"raiseAutoscalerLimit": {"ceiling": 50}}),
            vec![refused("unlimited", spec(), &["autoscaler limit", "a Rollout has no autoscaler limit"])],
        ),
    ];
    let kind = Kind {
        api_version: "argoproj.io/v1alpha1",
        kind: "Rollout",
        resource: "rollouts",
        status: Some(
            json!({"observedGeneration": "1000000", "replicas": 3, "readyReplicas": 3, "updatedReplicas": 3,
            "availableReplicas": 3, "stableRS": "7d4b", "currentPodHash": "7d4b", "phase": "Healthy"}),
        ),
        is_settled: |object: &DynamicObject| object.data["status"]["phase"] == "Healthy",
    };
    play_with("s16-rollout", kind, steps).await;
}

#[tokio::test]
async fn every_action_that_applies_to_an_llm_inference_service_is_reverted_and_the_others_name_the_field() {
    const PLACES: [&str; 4] = ["/template", "/worker", "/prefill/template", "/prefill/worker"];
    let of = |more: Value| {
        let mut spec = json!({"model": {"uri": "hf://m", "name": "m"}});
        for (key, value) in more.as_object().expect("fields") {
            spec[key] = value.clone();
        }
        spec
    };
    let spec = || {
        let pod = || pod("main", json!(["serve", "/mnt/models", "--max-num-seqs=256"]));
        of(json!({"replicas": 1, "template": pod(), "worker": pod(),
            "prefill": {"replicas": 1, "template": pod(), "worker": pod(),
                "rolloutStrategy": {"maxSurge": 1, "maxUnavailable": 0}}}))
    };
    let scaling = |most: i64| json!({"minReplicas": 1, "maxReplicas": most, "wva": {"hpa": {}}});
    let scaled = || of(json!({"scaling": scaling(4), "prefill": {"scaling": scaling(6)}}));
    let inherits = || {
        let mut spec = spec();
        spec["baseRefs"] = json!([{"name": "gpu-defaults"}]);
        spec
    };
    let variable = json!([{"name": "VLLM_ADDITIONAL_ARGS", "value": "--max-num-seqs=4"}]);
    let in_variable = of(json!({"template": {"containers": [{"name": "main", "env": variable}]}}));
    let steps = vec![
        step(
            "cpu-fallback",
            json!({"cpuFallback": {}}),
            vec![
                changes("fallen", spec(), both(fallen(&PLACES), in_place("/prefill/rolloutStrategy"))),
                refused("inherits", inherits(), &["spec.baseRefs"]),
            ],
        ),
        step(
            "scheduler-fallback",
            json!({"schedulerFallback": {"from": "volcano"}}),
            vec![changes("moved", spec(), moved(&PLACES))],
        ),
        step(
            "reduce-batch",
            json!({"reduceBatch": {"batchSize": 16}}),
            vec![
                changes(
                    "reduced",
                    spec(),
                    reduced(&PLACES, json!(["serve", "/mnt/models", "--max-num-seqs=16"])),
                ),
                refused("in-variable", in_variable, &["batch size", "VLLM_ADDITIONAL_ARGS"]),
            ],
        ),
        step(
            "scale",
            json!({"scale": {"replicas": 3}}),
            vec![
                changes("scaled", spec(), json!({"/replicas": 3})),
                refused("scaled-by-kserve", scaled(), &["replicas", "spec.scaling.maxReplicas"]),
            ],
        ),
        step(
            "raise-limit",
            json!({"raiseAutoscalerLimit": {"factor": 2, "ceiling": 10}}),
            vec![changes(
                "raised",
                scaled(),
                json!({"/scaling/maxReplicas": 8, "/prefill/scaling/maxReplicas": 10}),
            )],
        ),
    ];
    let kind = that_is_ready("serving.kserve.io/v1alpha2", "LLMInferenceService", "llminferenceservices");
    play_with("s16-llminferenceservice", kind, steps).await;
}

#[tokio::test]
async fn every_action_that_applies_to_a_ray_service_is_reverted_and_the_others_say_what_is_in_the_way() {
    const PLACES: [&str; 3] = [
        "/rayClusterConfig/headGroupSpec/template/spec",
        "/rayClusterConfig/workerGroupSpecs/0/template/spec",
        "/rayClusterConfig/workerGroupSpecs/1/template/spec",
    ];
    let of = |serve: &str| {
        let group = |name: &str| {
            json!({"groupName": name, "replicas": 1, "minReplicas": 1, "maxReplicas": 4, "rayStartParams": {},
                "template": {"spec": pod("ray-worker", json!([]))}})
        };
        json!({"serveConfigV2": serve, "rayClusterConfig": {
            "rayVersion": "2.52.0",
            "headGroupSpec": {"rayStartParams": {"num-gpus": "0"}, "template": {"spec": pod("ray-head", json!([]))}},
            "workerGroupSpecs": [group("first"), group("second")],
        }})
    };
    let spec = || of("applications:\n- name: chat\n  import_path: chat:app\n");
    let asks = of("applications:\n- name: chat\n  deployments:\n  - ray_actor_options: {num_gpus: 1}\n");
    let cluster: &[&str] = &["running cluster"];
    let steps = vec![
        step(
            "cpu-fallback",
            json!({"cpuFallback": {}}),
            vec![
                changes("fallen", spec(), fallen(&PLACES)),
                refused("asks", asks, &["accelerator", "serveConfigV2"]),
            ],
        ),
        step(
            "scheduler-fallback",
            json!({"schedulerFallback": {"from": "volcano"}}),
            vec![changes("moved", spec(), moved(&PLACES))],
        ),
        step(
            "reduce-batch",
            json!({"reduceBatch": {"batchSize": 16}}),
            vec![refused("batch", spec(), &["batch size", "serveConfigV2"])],
        ),
        step(
            "reduce-concurrency",
            json!({"reduceBatch": {"maxConcurrency": 16}}),
            vec![refused("concurrency", spec(), &["concurrency", "serveConfigV2"])],
        ),
        step("scale", json!({"scale": {"replicas": 3}}), vec![refused("not-scaled", spec(), cluster)]),
        step(
            "raise-limit",
            json!({"raiseAutoscalerLimit": {"ceiling": 50}}),
            vec![refused("not-raised", spec(), cluster)],
        ),
    ];
    let kind = that_is_ready("ray.io/v1", "RayService", "rayservices");
    play_with("s16-rayservice", kind, steps).await;
}
