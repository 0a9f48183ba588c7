//! A kind that is not built into Firebreak: a profile in the operator's configuration is enough.

use std::fs;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{Case, Kind, Outcome, Step, grant, play};
use crate::{drill::Drill, support::object::Object};

const API_VERSION: &str = "s16.example.com/v1";
const KIND: &str = "WorkerGroup";
const PROFILE: &str = include_str!("worker_group.yaml");

/// The kind, which exists until the test ends.
async fn define(drill: &Drill) -> Object {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "workergroups.s16.example.com"},
        "spec": {
            "group": "s16.example.com", "scope": "Namespaced",
            "names": {"kind": KIND, "listKind": "WorkerGroupList", "plural": "workergroups", "singular": "workergroup"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": any, "status": any}}},
            }],
        },
    });
    drill.world.define(&definition).await
}

/// A group of pods, of which one leads.
fn spec() -> Value {
    let pod = |args: Value| {
        json!({"spec": {
            "nodeSelector": {"nvidia.com/gpu.product": "H100"},
            "containers": [{
                "name": "server", "image": "example.com/server:1", "args": args,
                "resources": {"limits": {"nvidia.com/gpu": "8"}, "requests": {"nvidia.com/gpu": "8"}},
            }],
        }})
    };
    json!({
        "replicas": 2,
        "leaderWorkerTemplate": {
            "size": 4,
            "leaderTemplate": pod(json!(["serve", "--batch=64"])),
            "workerTemplate": pod(json!(["join"])),
        },
    })
}

#[tokio::test]
async fn a_kind_that_only_the_configuration_knows_is_changed_and_reverted() {
    let kind = Kind {
        api_version: API_VERSION,
        kind: KIND,
        resource: "workergroups",
        status: Some(json!({"ready": 2, "observedGeneration": 1_000_000})),
        is_settled: |object: &DynamicObject| object.data["status"]["ready"] == 2,
    };
    let drill = Drill::new("s16-configured").await;
    let definition = define(&drill).await;
    grant(&drill, &kind).await;
    let file = drill.world.files().join("configuration.yaml");
    fs::write(&file, PROFILE).expect("a file");
    let file = file.to_str().expect("a path of text");
    let operator = drill.world.operator().flag("--config").flag(file).start().await;
    let leader = "/leaderWorkerTemplate/leaderTemplate/spec";
    let worker = "/leaderWorkerTemplate/workerTemplate/spec";
    let mut fallen = json!({});
    for pod in [leader, worker] {
        fallen[format!("{pod}/containers/0/resources/limits/nvidia.com~1gpu")] = json!("0");
        fallen[format!("{pod}/containers/0/resources/requests/nvidia.com~1gpu")] = json!("0");
        fallen[format!("{pod}/nodeSelector/nvidia.com~1gpu.product")] = json!(null);
    }
    let mut reduced = json!({});
    reduced[format!("{leader}/containers/0/args")] = json!(["serve", "--batch=16"]);
    let case = |name, outcome| vec![Case { name, spec: spec(), outcome }];
    let steps = vec![
        Step {
            name: "cpu-fallback",
            action: json!({"cpuFallback": {}}),
            objects: case("fallen", Outcome::Changes(fallen)),
        },
        Step {
            name: "reduce-batch",
            action: json!({"reduceBatch": {"batchSize": 16}}),
            objects: case("reduced", Outcome::Changes(reduced)),
        },
        Step {
            name: "scale",
            action: json!({"scale": {"replicas": 3}}),
            objects: case("scaled", Outcome::Changes(json!({"/replicas": 3}))),
        },
        Step {
            name: "scheduler-fallback",
            action: json!({"schedulerFallback": {"from": "ml-scheduler"}}),
            objects: case(
                "not-moved",
                Outcome::Refused("NotApplicable", &["scheduler name", "a WorkerGroup has no scheduler name"]),
            ),
        },
    ];
    play(&drill, &operator, &kind, steps).await;
    definition.delete().await;
}
