//! DaemonSets, run by their real controller: the fields are in the pod template, and nobody sets how many pods there are.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{Case, Kind, Outcome, Step, grant, play};
use crate::drill::Drill;

/// A model server on each GPU node of this pool.
fn spec(name: &str, pool: &str, scheduler: &str) -> Value {
    json!({
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {
            "schedulerName": scheduler,
            "nodeSelector": {"nvidia.com/gpu.pool": pool},
            "tolerations": [{"key": "nvidia.com/gpu.pool", "value": pool}],
            "containers": [{
                "name": "server", "image": "example.com/vllm-openai:1", "args": ["serve", "m", "--max-num-seqs=256"],
                "resources": {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}},
            }],
        }},
    })
}

#[tokio::test]
async fn every_action_that_applies_to_a_daemon_set_is_reverted_and_the_others_name_the_field() {
    let is_settled = |object: &DynamicObject| {
        let (spec, status) = (&object.data["spec"], &object.data["status"]);
        let can_run = spec["template"]["spec"]["schedulerName"] == "default-scheduler";
        let number = |field: &str| status[field].as_i64().unwrap_or(0);
        status["observedGeneration"] == json!(object.metadata.generation)
            && number("desiredNumberScheduled") > 0
            && number("currentNumberScheduled") == number("desiredNumberScheduled")
            && (!can_run || number("numberAvailable") == number("desiredNumberScheduled"))
    };
    let kind =
        Kind { api_version: "apps/v1", kind: "DaemonSet", resource: "daemonsets", status: None, is_settled };
    let drill = Drill::new("s16-daemonset").await;
    grant(&drill, &kind).await;
    let _nodes = drill.world.gpu_nodes(1).await;
    let operator = drill.world.operator().start().await;
    let case = |name: &'static str, scheduler: &str, outcome| {
        vec![Case { name, spec: spec(name, &drill.world.id, scheduler), outcome }]
    };
    let refused = |name, words| case(name, "default-scheduler", Outcome::Refused("NotApplicable", words));
    let changes = |name, changes| case(name, "default-scheduler", Outcome::Changes(changes));
    let steps = vec![
        Step {
            name: "cpu-fallback",
            action: json!({"cpuFallback": {}}),
            // Its node selector says where it runs, so it stays.
            objects: changes(
                "full",
                json!({
                    "/template/spec/containers/0/resources/requests/nvidia.com~1gpu": "0",
                    "/template/spec/containers/0/resources/limits/nvidia.com~1gpu": "0",
                }),
            ),
        },
        Step {
            name: "scheduler-fallback",
            action: json!({"schedulerFallback": {"from": "ml-scheduler"}}),
            objects: case(
                "stranded",
                "ml-scheduler",
                Outcome::Changes(json!({"/template/spec/schedulerName": "default-scheduler"})),
            ),
        },
        Step {
            name: "reduce-batch",
            action: json!({"reduceBatch": {"batchSize": 16}}),
            objects: changes(
                "reduced",
                json!({"/template/spec/containers/0/args": ["serve", "m", "--max-num-seqs=16"]}),
            ),
        },
        Step {
            name: "scale",
            action: json!({"scale": {"replicas": 3}}),
            objects: refused("not-scaled", &["replicas", "one pod on each node"]),
        },
        Step {
            name: "raise-limit",
            action: json!({"raiseAutoscalerLimit": {"ceiling": 50}}),
            objects: refused("unlimited", &["autoscaler limit", "a DaemonSet has no autoscaler limit"]),
        },
    ];
    play(&drill, &operator, &kind, steps).await;
}
