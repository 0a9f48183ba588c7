//! The owner of a Deployment that has a limit of accelerators and no request, which is how most are written: nothing that
//! they do during the emergency is rejected, and what they write is theirs.

use std::path::PathBuf;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, change_of},
    support::object::Object,
};

const GPU: &str = "nvidia.com/gpu";

/// The manifest of a Deployment, in a file as its owner has it.
fn manifest(drill: &Drill, name: &str, image: &str) -> PathBuf {
    let manifest = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": drill.world.a},
        "spec": {
            "replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {
                "containers": [{"name": "main", "image": image, "resources": {"limits": {GPU: "1"}}}],
            }},
        },
    });
    let file = drill.world.files().join(format!("{name}.json"));
    std::fs::write(&file, manifest.to_string()).expect("a manifest");
    file
}

fn container(deployment: &DynamicObject) -> &Value {
    &deployment.data["spec"]["template"]["spec"]["containers"][0]
}

/// Who has the limit of this Deployment now, by the Incident.
fn ceded_to<'a>(incident: &'a DynamicObject, name: &str) -> Option<&'a str> {
    let fields = change_of(incident, name)["fields"].as_array()?;
    let limit = |field: &&Value| field["path"].as_str().is_some_and(|path| path.contains("/limits/"));
    fields.iter().find(limit)?["cededTo"].as_str()
}

#[tokio::test]
async fn the_owner_of_a_deployment_with_only_a_limit_is_refused_nothing() {
    let drill = Drill::new("s2-writers").await;
    let kubectl = async |arguments: &[&str]| {
        drill.world.kubectl(&[arguments, &["--namespace", &drill.world.a]].concat()).await;
    };
    let names = ["applied", "forced", "set", "removed"];
    let mut deployments: Vec<Object> = Vec::new();
    for name in names {
        let file = manifest(&drill, name, "example.com/server:1").display().to_string();
        match name {
            "forced" => kubectl(&["apply", "--server-side", "--field-manager=owner", "-f", &file]).await,
            _ => kubectl(&["apply", "-f", &file]).await,
        }
        deployments.push(drill.world.object("apps/v1", "Deployment", &drill.world.a, name));
    }
    let _operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            *drill::targets(spec) = json!({"apiVersion": "apps/v1", "kind": "Deployment", "where": "true"});
        })
        .await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    for deployment in &deployments {
        let is_lent =
            |deployment: &DynamicObject| container(deployment)["resources"] == json!({"limits": {GPU: "0"}});
        deployment.wait_until("on CPU, with no request beside the limit", is_lent).await;
        let is_recorded = |incident: &DynamicObject| {
            ["Applied", "Verified"]
                .iter()
                .any(|state| change_of(incident, deployment.name())["state"] == *state)
        };
        incident.wait_until("the change is recorded", is_recorded).await;
    }

    let newer = |name: &str| manifest(&drill, name, "example.com/server:2").display().to_string();
    kubectl(&["apply", "-f", &newer("applied")]).await;
    kubectl(&[
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=owner",
        "-f",
        &newer("forced"),
    ])
    .await;
    kubectl(&["set", "resources", "deployment/set", "--containers=main", "--limits=nvidia.com/gpu=1"]).await;
    let removal =
        r#"[{"op": "remove", "path": "/spec/template/spec/containers/0/resources/limits/nvidia.com~1gpu"}]"#;
    kubectl(&["patch", "deployment", "removed", "--type=json", "--patch", removal]).await;

    let writers = ["kubectl-client-side-apply", "owner", "kubectl-set", ""];
    for (name, writer) in names.iter().zip(writers) {
        let is_theirs = |incident: &DynamicObject| {
            ceded_to(incident, name).is_some_and(|owner| owner.starts_with(writer))
        };
        incident.wait_until(&format!("the limit of {name} is of its writer {writer}"), is_theirs).await;
    }
    drill.recover(&incident).await;
    let now = ["server:2", "server:2", "server:1", "server:1"];
    for ((deployment, image), name) in deployments.iter().zip(now).zip(names) {
        let after = deployment.get().await;
        let limits = if name == "removed" { Value::Null } else { json!({GPU: "1"}) };
        let resources = &container(&after)["resources"];
        let left =
            resources.get("limits").filter(|limits| **limits != json!({})).cloned().unwrap_or_default();
        assert_eq!((left, resources.get("requests")), (limits, None), "{deployment}");
        assert_eq!(container(&after)["image"], format!("example.com/{image}"), "{deployment}");
        assert_eq!(deployment.snapshot().await.traces(), Vec::<&str>::new(), "{deployment}");
    }
}
