//! GPU nodes are lost: an Incident opens, the workloads fall back to CPU. The nodes
//! return: everything is reverted exactly, and a report says what happened.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    object::{Object, Snapshot, condition},
    rights::Rule,
    world::World,
};

const WORKLOADS: &str = include_str!("workloads.yaml");
const POLICIES: &str = include_str!("policies.yaml");

/// Withdrawal goes in waves, each of which rolls pods.
const RETURN: Duration = Duration::from_secs(180);

/// The permissions that the documentation tells the owner of these policies to grant.
async fn grant(world: &World) {
    let watch = &["get", "list", "watch"];
    let change = &["get", "list", "watch", "patch"];
    world.grant_everywhere(&[Rule { group: "", resources: &["nodes"], verbs: watch }]).await;
    for namespace in [&world.a, &world.b] {
        let rules = [
            Rule { group: "inference.llm-d.io", resources: &["llmdeployments"], verbs: change },
            Rule { group: "apps", resources: &["deployments"], verbs: change },
            // Whether the namespace is exempt.
            Rule { group: "", resources: &["namespaces"], verbs: &["get"] },
            // The report.
            Rule { group: "", resources: &["configmaps"], verbs: &["get", "create", "update"] },
        ];
        world.grant(namespace, &rules).await;
    }
}

/// The workload with its spec as the runbook's script leaves it.
async fn assert_fell_back(model: &Object) {
    let fallen = model
        .wait_until("Ready without GPUs", |object| {
            let gpu = &object.data["spec"]["resources"]["limits"]["nvidia.com/gpu"];
            gpu == "0" && object.data["status"]["phase"] == "Ready"
        })
        .await;
    let spec = &fallen.data["spec"];
    let request = &spec["resources"]["requests"]["nvidia.com/gpu"];
    assert!(request.is_null() || request == "0", "{model}: an absent request is not added: {request}");
    assert_eq!(spec["model"]["quantization"], json!({"enabled": true, "precision": "int8"}), "{model}");
}

/// As before, except for the number of generations and the changes of others.
fn assert_reverted(object: &Object, before: &Snapshot, after: &Snapshot, edits: i64) {
    assert_eq!(after.spec, before.spec, "{object}: spec");
    assert_eq!(after.generation, before.generation + 2 + edits, "{object}: generation");
    assert_eq!(after.traces(), Vec::<&str>::new(), "{object}: traces");
    // A Deployment's own controller counts in an annotation.
    let revision = "deployment.kubernetes.io/revision";
    let others = |snapshot: &Snapshot| {
        let mut annotations = snapshot.annotations.clone();
        annotations.remove(revision);
        (annotations, snapshot.labels.clone())
    };
    assert_eq!(others(after), others(before), "{object}: annotations and labels");
    assert_eq!(after.managers, before.managers, "{object}: managers");
}

#[tokio::test]
async fn lost_gpu_nodes_are_survived_on_cpu_and_everything_is_reverted() {
    let world = World::new("s1").await;
    grant(&world).await;
    let nodes = world.gpu_nodes(4).await;
    let _stand_in = world.stand_in();
    let mut workloads = world.apply("flux", WORKLOADS).await;
    let gateway = workloads.pop().expect("the Deployment is the last");
    let models = workloads;
    for model in &models {
        model.wait_until("Ready", |object| object.data["status"]["phase"] == "Ready").await;
    }
    gateway.wait_until("available", |object| object.data["status"]["availableReplicas"] == 2).await;
    let mut before = Vec::new();
    for model in &models {
        before.push(model.snapshot().await);
    }
    let gateway_before = gateway.snapshot().await;

    let _operator = world.operator().start().await;
    let policies = world.apply("flux", POLICIES).await;
    for policy in &policies {
        policy.wait_for_condition("Ready", "True").await;
    }

    // The nodes are lost.
    nodes.fail().await;
    let mut incidents = Vec::new();
    for policy in &policies {
        let incident = world.incident_of(policy).await;
        let seen = incident.wait_for_condition("Mitigated", "True").await;
        assert_eq!(seen.data["status"]["severity"], "P0", "{incident}");
        assert_eq!(seen.data["status"]["severityReason"], "GpuClusterFailure", "{incident}");
        assert_eq!(seen.data["status"]["phase"], "Monitoring", "{incident}");
        assert_eq!(condition(&seen, "Verified"), Some("True"), "{incident}");
        incidents.push(incident);
    }
    for model in &models {
        assert_fell_back(model).await;
    }
    let fallen = gateway.get().await;
    let resources = &fallen.data["spec"]["template"]["spec"]["containers"][0]["resources"];
    for part in ["requests", "limits"] {
        assert_eq!(resources[part]["nvidia.com/gpu"], "0", "{gateway}: {part}");
        let before = &gateway_before.spec["template"]["spec"]["containers"][0]["resources"][part]["memory"];
        assert_eq!(resources[part]["memory"], *before, "{gateway}: {part}");
    }

    // Someone adds a sidecar in front, so that the main container is another element now.
    let sidecar = json!({"name": "debug", "image": "example.com/debug:1"});
    let path = "/spec/template/spec/containers/0";
    gateway.json_patch("alice", json!([{"op": "add", "path": path, "value": sidecar}])).await;
    let with_sidecar = gateway.snapshot().await;

    // The nodes come back.
    nodes.recover().await;
    for incident in &incidents {
        let resolved = incident
            .wait_within(RETURN, "Resolved", |object| condition(object, "Resolved") == Some("True"))
            .await;
        assert_eq!(resolved.data["status"]["phase"], "Resolved", "{incident}");
        assert_eq!(condition(&resolved, "Returned"), Some("True"), "{incident}");
    }
    for (model, before) in models.iter().zip(&before) {
        assert_reverted(model, before, &model.snapshot().await, 0);
    }
    let mut expected = gateway_before.clone();
    expected.managers.insert("alice/Update".to_owned());
    let containers = with_sidecar.spec["template"]["spec"]["containers"].as_array().expect("a list");
    let list = expected.spec["template"]["spec"]["containers"].as_array_mut().expect("a list");
    list.insert(0, containers[0].clone());
    // An edit by Alice, and a third write of ours: maxSurge follows the template.
    assert_reverted(&gateway, &expected, &gateway.snapshot().await, 2);

    // The owners of the values still own them.
    let more = WORKLOADS.replace("nvidia.com/gpu: \"1\"", "nvidia.com/gpu: \"4\"").replace("fp16", "fp8");
    assert_ne!(more, WORKLOADS);
    world.apply("flux", &more).await;

    for incident in &incidents {
        assert_report(&world, incident).await;
    }
}

/// The report names the reason and every change.
async fn assert_report(world: &World, incident: &Object) {
    let incident = incident.wait_until("has a report", |object| report_name(&object.data).is_some()).await;
    let name = report_name(&incident.data).expect("it was there");
    let report = world.object("v1", "ConfigMap", &world.a, name).get().await;
    let text = report.data["data"]["report.md"].as_str().expect("report.md");
    assert!(text.contains("GpuClusterFailure"), "{text}");
    assert!(text.contains("**Resolved**") && !text.contains("not yet"), "the end is missing:\n{text}");
    let status = &incident.data["status"];
    assert_ne!(status["detectedAt"], status["openedAt"], "the rule's own wait is not counted");
    for change in incident.data["status"]["changes"].as_array().expect("changes") {
        let target = change["target"]["name"].as_str().expect("a name");
        assert!(text.contains(target), "{target} is not in the report:\n{text}");
    }
}

fn report_name(incident: &Value) -> Option<&str> {
    incident["status"]["report"]["name"].as_str()
}
