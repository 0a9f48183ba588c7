//! S11: Observe and `plan` change nothing, and say what Enforce then does.

use std::collections::BTreeMap;

use kube::{ResourceExt, api::DynamicObject};
use serde_json::{Value, json};

use crate::{
    drill::{Drill, Models, change_of},
    support::{object::Object, proxy::Call},
};

/// The fields of each model as `path: before → after`.
type Told = BTreeMap<String, Vec<String>>;

fn of_fields(fields: &Value) -> Vec<String> {
    let row = |field: &Value| format!("{}: {} → {}", field["path"], field["before"], field["after"]);
    fields.as_array().expect("fields").iter().map(row).collect()
}

fn in_status(incident: &DynamicObject) -> Told {
    let name = |number: usize| format!("model-{number}");
    (0..3).map(|number| (name(number), of_fields(&change_of(incident, &name(number))["fields"]))).collect()
}

fn plan_hash(incident: &DynamicObject) -> Value {
    incident.data["status"]["steps"][0]["planHash"].clone()
}

async fn versions(models: &Models, policy: &Object) -> Vec<String> {
    let mut versions = Vec::new();
    for object in &models.objects {
        versions.push(object.get().await.resource_version().expect("a version"));
    }
    versions.push(policy.get().await.metadata.generation.expect("a generation").to_string());
    versions
}

fn is_write_of_a_model(call: &Call) -> bool {
    call.is_write() && call.target.resource == "llmdeployments"
}

#[tokio::test]
async fn observe_and_plan_change_nothing_and_say_what_enforce_then_does() {
    let drill = Drill::new("s11").await;
    let models = drill.models(3).await;
    let operator = drill.quick_operator().await;
    let policy = drill.policy_with(|spec| spec["mode"] = json!("Observe")).await;
    let before = versions(&models, &policy).await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let planned =
        incident.wait_until("the plan is published", |incident| !plan_hash(incident).is_null()).await;
    let observed = in_status(&planned);
    assert!(observed.values().all(|fields| !fields.is_empty()), "{observed:?}");

    let answer = drill.world.firebreak(&["plan", "drill", "-n", &drill.world.a, "-o", "json"]).await;
    let plan: Value = serde_json::from_slice(&answer.stdout).expect("JSON");
    let text = plan.to_string();
    for (name, fields) in &observed {
        let change = plan["steps"][0]["changes"]
            .as_array()
            .and_then(|changes| changes.iter().find(|change| change["target"]["name"] == name.as_str()))
            .unwrap_or_else(|| panic!("no change of {name} in {text}"));
        assert_eq!(of_fields(&change["fields"]), *fields, "{name}");
    }
    assert_eq!(versions(&models, &policy).await, before, "Observe and plan change no object");
    let written = operator.proxy.calls().iter().filter(|each| is_write_of_a_model(&each.call)).count();
    assert_eq!(written, 0, "and not even try to");

    policy.merge("flux", json!({"spec": {"mode": "Enforce"}})).await;
    let enforced = incident.wait_for_condition("Mitigated", "True").await;
    assert_eq!(in_status(&enforced), observed);
    assert_eq!(
        plan_hash(&enforced),
        plan_hash(&planned),
        "the plan that was published is the one that was carried out"
    );
    drill.recover(&incident).await;
    models.assert_reverted().await;
}

/// A Deployment with a GPU that `edit` changes.
async fn server(drill: &Drill, name: &str, edit: impl FnOnce(&mut Value)) {
    let mut manifest = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": drill.world.a},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {
                "containers": [{"name": "main", "image": "example.com/server:1", "resources": {"limits": {"nvidia.com/gpu": "1"}}}],
            }},
        },
    });
    edit(&mut manifest);
    drill.world.apply("owner", &manifest.to_string()).await;
}

#[tokio::test]
async fn the_plan_alone_lets_a_careful_person_see_what_will_not_work() {
    let drill = Drill::new("s11-careful").await;
    let pod = |manifest: &mut Value, more: Value| {
        let spec = manifest["spec"]["template"]["spec"].as_object_mut().expect("a pod");
        spec.extend(more.as_object().expect("fields").clone());
    };
    server(&drill, "plain", |_| {}).await;
    server(&drill, "cuda", |manifest| {
        manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!("vllm/vllm-openai:v0.11.0");
    })
    .await;
    server(&drill, "host", |manifest| {
        pod(manifest, json!({"nodeSelector": {"kubernetes.io/hostname": "gpu-1"}}))
    })
    .await;
    server(&drill, "zone", |manifest| {
        pod(manifest, json!({"nodeSelector": {"topology.kubernetes.io/zone": "a"}}))
    })
    .await;
    server(&drill, "claims", |manifest| {
        pod(manifest, json!({"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]}));
    })
    .await;
    server(&drill, "queued", |manifest| {
        manifest["metadata"]["labels"] = json!({"kueue.x-k8s.io/queue-name": "gpus"});
        manifest["spec"]["replicas"] = json!(1);
    })
    .await;
    server(&drill, "paused", |manifest| manifest["spec"]["paused"] = json!(true)).await;
    server(&drill, "file", |manifest| {
        let container = &mut manifest["spec"]["template"]["spec"]["containers"][0];
        container["image"] = json!("vllm/vllm-openai:v0.11.0");
        container["args"] = json!(["--model", "m", "--config", "/etc/vllm.yaml"]);
    })
    .await;
    let _operator = drill.world.operator().start().await;
    let targets = json!({"apiVersion": "apps/v1", "kind": "Deployment", "where": "true"});
    let batch = json!({"name": "batch", "settle": "0s", "action": {"reduceBatch": {"targets": targets.clone(), "batchSize": 8}}});
    drill
        .policy_with(|spec| {
            *crate::drill::targets(spec) = targets;
            spec["steps"].as_array_mut().expect("steps").push(batch);
        })
        .await;
    let answer = drill.world.firebreak(&["plan", "drill", "-n", &drill.world.a]).await;
    let told = String::from_utf8_lossy(&answer.stdout).into_owned();
    // What is said of each object, from its line to the next object.
    let of = |name: &str| {
        let start = format!("Deployment {}/{name}", drill.world.a);
        let parts = told.split("Deployment ").filter(|part| format!("Deployment {part}").starts_with(&start));
        parts.collect::<Vec<_>>().join("\n")
    };
    for (name, words) in [
        // Only what is there is changed, and there is room for the new pod.
        ("plain", &["/resources/limits/nvidia.com~1gpu", "maxSurge"][..]),
        ("host", &["PinnedToAccelerator", "kubernetes.io/hostname=gpu-1"]),
        ("zone", &["warning", "topology.kubernetes.io/zone=a"]),
        ("queued", &["warning", "Kueue"]),
        ("claims", &["NotApplicable", "resourceClaims"]),
        ("cuda", &["warning", "vllm-openai:v0.11.0"]),
        ("paused", &["NotApplicable", "kubectl rollout resume deployment paused"]),
        ("file", &["NotApplicable", "--config"]),
    ] {
        for word in words {
            assert!(of(name).contains(word), "{name}: no {word:?} in:\n{told}");
        }
    }
    assert!(!of("plain").contains("requests"), "a request is added:\n{told}");
}
