//! LLMDeployments and InferenceServices: the fields are in their own spec. No controller reconciles them here, so the
//! test sets a healthy status.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{Case, Kind, Outcome, Step, grant, play};
use crate::drill::Drill;

/// A placement on GPU nodes, as both kinds have it.
fn placement() -> Value {
    json!({
        "nodeSelector": {"nvidia.com/gpu.product": "H100", "kubernetes.io/os": "linux"},
        "runtimeClassName": "nvidia",
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "cloud.google.com/gke-accelerator", "operator": "Exists"}]},
        ]}}},
    })
}

/// These fields, and those of the placement.
fn placed(mut spec: Value) -> Value {
    let placement = placement().as_object().cloned().unwrap_or_default();
    spec.as_object_mut().expect("fields").extend(placement);
    spec
}

fn changes(name: &'static str, spec: Value, changes: Value) -> Case {
    Case { name, spec, outcome: Outcome::Changes(changes) }
}

fn refused(name: &'static str, spec: Value, reason: &'static str, words: &'static [&'static str]) -> Case {
    Case { name, spec, outcome: Outcome::Refused(reason, words) }
}

#[tokio::test]
async fn every_action_applies_to_an_llm_deployment_and_is_reverted() {
    let full = || {
        placed(json!({
            "replicas": 2,
            "model": {"modelUri": "hf://m", "quantization": {"enabled": false, "precision": "fp16"}},
            "resources": {"requests": {"cpu": "500m", "memory": "16384Mi", "nvidia.com/gpu": "2"},
                          "limits": {"memory": "16384Mi", "nvidia.com/gpu": "2"}},
            "autoscaling": {"minReplicas": 1, "maxReplicas": 4},
            "scheduling": {"scheduler": "ml-scheduler", "queue": "gold"},
            "schedulerName": "ml-scheduler",
            "serving": {"batchSize": 33, "maxConcurrency": 256, "port": 80},
        }))
    };
    let steps = vec![
        Step {
            name: "cpu-fallback",
            action: json!({"cpuFallback": {"quantization": "int8"}}),
            objects: vec![
                changes(
                    "full",
                    full(),
                    json!({
                        "/resources/requests/nvidia.com~1gpu": "0",
                        "/resources/limits/nvidia.com~1gpu": "0",
                        "/model/quantization": {"enabled": true, "precision": "int8"},
                        "/nodeSelector/nvidia.com~1gpu.product": null,
                        "/runtimeClassName": null,
                        "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution": null,
                    }),
                ),
                // No request, no quantization, a number where others have a text.
                changes(
                    "bare",
                    json!({"model": {"modelUri": "hf://m"}, "resources": {"limits": {"amd.com/gpu": 1}}}),
                    json!({
                        "/resources/limits/amd.com~1gpu": "0",
                        "/model/quantization": {"enabled": true, "precision": "int8"},
                    }),
                ),
            ],
        },
        Step {
            name: "raise-limit",
            action: json!({"raiseAutoscalerLimit": {"factor": 3, "ceiling": 10}}),
            objects: vec![changes("raised", full(), json!({"/autoscaling/maxReplicas": 10}))],
        },
        Step {
            name: "scheduler-fallback",
            action: json!({"schedulerFallback": {"from": "ml-scheduler", "schedulerName": "spare"}}),
            objects: vec![
                changes("both", full(), json!({"/scheduling/scheduler": "spare", "/schedulerName": "spare"})),
                changes("one", json!({"schedulerName": "ml-scheduler"}), json!({"/schedulerName": "spare"})),
            ],
        },
        Step {
            name: "reduce-batch",
            action: json!({"reduceBatch": {"batchSize": 8, "maxConcurrency": 64}}),
            objects: vec![
                changes("reduced", full(), json!({"/serving/batchSize": 8, "/serving/maxConcurrency": 64})),
                changes(
                    "not-given",
                    json!({"serving": {"batchSize": 33}}),
                    json!({"/serving": {"batchSize": 8, "maxConcurrency": 64}}),
                ),
                // Its operator decides what an absent batch size is, and it may be less than 8.
                changes("no-batch-size", json!({"replicas": 1}), json!({"/serving": {"maxConcurrency": 64}})),
            ],
        },
        Step {
            name: "halve-batch",
            action: json!({"reduceBatch": {"percent": 50}}),
            objects: vec![
                changes("halved", full(), json!({"/serving/batchSize": 16, "/serving/maxConcurrency": 128})),
                changes(
                    "as-text",
                    json!({"serving": {"batchSize": "64"}}),
                    json!({"/serving/batchSize": "32"}),
                ),
            ],
        },
        Step {
            name: "scale",
            action: json!({"scale": {"replicas": 5}}),
            objects: vec![
                changes("scaled", full(), json!({"/replicas": 5})),
                changes("without-number", json!({"model": {}}), json!({"/replicas": 5})),
            ],
        },
    ];
    let kind = Kind {
        api_version: "inference.llm-d.io/v1alpha1",
        kind: "LLMDeployment",
        resource: "llmdeployments",
        status: Some(json!({"phase": "Ready", "observedGeneration": 1_000_000})),
        is_settled: |object| object.data["status"]["phase"] == "Ready",
    };
    let drill = Drill::new("s16-llmdeployment").await;
    grant(&drill, &kind).await;
    let operator = drill.world.operator().start().await;
    play(&drill, &operator, &kind, steps).await;
}

#[tokio::test]
async fn every_action_that_applies_to_an_inference_service_is_reverted_and_the_others_say_why_not() {
    let resources = || json!({"requests": {"cpu": "500m", "nvidia.com/gpu": "1"}, "limits": {"memory": "16384Mi", "nvidia.com/gpu": "1"}});
    let full = || {
        let predictor = placed(json!({
            "minReplicas": 1, "maxReplicas": 4, "containerConcurrency": 0, "schedulerName": "ml-scheduler",
            "batcher": {"maxBatchSize": 64, "maxLatency": 500},
            "model": {"modelFormat": {"name": "vllm"}, "storageUri": "hf://m", "resources": resources()},
        }));
        json!({"predictor": predictor})
    };
    let own_container = json!({"predictor": {"containers": [
        {"name": "kserve-container", "image": "example.com/server:1", "resources": resources()},
    ]}});
    const RESTARTS: &[&str] = &["InferenceService", "labels and annotations", "allowRestart"];
    let steps = vec![
        Step {
            name: "cpu-fallback",
            action: json!({"cpuFallback": {"quantization": "int8"}}),
            objects: vec![
                changes(
                    "full",
                    full(),
                    json!({
                        "/predictor/model/resources/requests/nvidia.com~1gpu": "0",
                        "/predictor/model/resources/limits/nvidia.com~1gpu": "0",
                        "/predictor/nodeSelector/nvidia.com~1gpu.product": null,
                        "/predictor/runtimeClassName": null,
                        "/predictor/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution": null,
                    }),
                ),
                changes(
                    "own-container",
                    own_container,
                    json!({
                        "/predictor/containers/0/resources/requests/nvidia.com~1gpu": "0",
                        "/predictor/containers/0/resources/limits/nvidia.com~1gpu": "0",
                    }),
                ),
            ],
        },
        Step {
            name: "raise-limit",
            action: json!({"raiseAutoscalerLimit": {"ceiling": 6, "allowRestart": true}}),
            objects: vec![changes("raised", full(), json!({"/predictor/maxReplicas": 6}))],
        },
        Step {
            name: "raise-without-restart",
            action: json!({"raiseAutoscalerLimit": {"ceiling": 6}}),
            objects: vec![refused("not-raised", full(), "RestartsPods", RESTARTS)],
        },
        Step {
            name: "scheduler-fallback",
            action: json!({"schedulerFallback": {"from": "ml-scheduler"}}),
            objects: vec![changes("moved", full(), json!({"/predictor/schedulerName": "default-scheduler"}))],
        },
        Step {
            name: "reduce-batch",
            action: json!({"reduceBatch": {"batchSize": 8, "maxConcurrency": 4}}),
            objects: vec![
                changes(
                    "reduced",
                    full(),
                    // 0 means no limit.
                    json!({"/predictor/batcher/maxBatchSize": 8, "/predictor/containerConcurrency": 4}),
                ),
                refused(
                    "without-batcher",
                    json!({"predictor": {"containerConcurrency": 8}}),
                    "NotApplicable",
                    &["batch size", "no batcher"],
                ),
            ],
        },
        Step {
            name: "scale",
            action: json!({"scale": {"replicas": 5, "allowRestart": true}}),
            objects: vec![refused(
                "not-scaled",
                full(),
                "NotApplicable",
                &["replicas", "an InferenceService has no number of replicas"],
            )],
        },
        Step {
            name: "scale-without-restart",
            action: json!({"scale": {"replicas": 5}}),
            objects: vec![refused(
                "not-restarted",
                full(),
                "NotApplicable",
                &["replicas", "an InferenceService has no number of replicas"],
            )],
        },
    ];
    let kind = Kind {
        api_version: "serving.kserve.io/v1beta1",
        kind: "InferenceService",
        resource: "inferenceservices",
        status: Some(
            json!({"conditions": [{"type": "Ready", "status": "True"}], "observedGeneration": 1_000_000}),
        ),
        is_settled: |object: &DynamicObject| object.data["status"]["conditions"][0]["status"] == "True",
    };
    let drill = Drill::new("s16-inferenceservice").await;
    grant(&drill, &kind).await;
    let operator = drill.world.operator().start().await;
    play(&drill, &operator, &kind, steps).await;
}
