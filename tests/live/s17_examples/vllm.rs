//! vLLM in a Deployment: it gets the CPU build with its own flags, variables and memory, and exactly its own back.

use std::fs;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{Before, hasty, withdraw};
use crate::{
    drill::change_of,
    support::{object::Object, proxy::Exchange, world::World},
};

const CPU_IMAGE: &str = "public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.11.0";
/// In an argument and in a variable of the server.
const SECRET: &str = "hunter2-hunter2";

fn container(spec: &mut Value) -> &mut Value {
    &mut spec["template"]["spec"]["containers"][0]
}

/// The shipped Deployment, with a secret and with flags of both forms.
fn manifest(world: &World) -> Value {
    let mut server = world.example("vllm/stand-in/deployment.yaml").remove(0);
    let container = container(&mut server["spec"]);
    container["args"] = json!([
        "Qwen/Qwen3-0.6B",
        "--tensor-parallel-size",
        "2",
        format!("--api-key={SECRET}"),
        "--max-num-seqs",
        "256",
        "--gpu-memory-utilization=0.9",
        "--enable-prefix-caching",
    ]);
    container["env"] = json!([
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token", "optional": true}}},
        {"name": "CACHE_PASSWORD", "value": SECRET},
    ]);
    // In place, so that nothing but the template changes.
    server["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
    // No node has it, so the server is not available.
    server["spec"]["template"]["spec"]["nodeSelector"] = json!({"nvidia.com/gpu.pool": "lost"});
    server
}

/// As a person applies it.
async fn apply(world: &World, manifest: &Value) -> Object {
    let file = world.files().join("server.json");
    fs::write(&file, manifest.to_string()).expect("the directory of the world is writable");
    world.kubectl(&["apply", "-f", &file.display().to_string()]).await;
    world.deployment(&world.a, "chat")
}

fn is_observed(object: &DynamicObject) -> bool {
    let status = &object.data["status"];
    status["observedGeneration"] == json!(object.metadata.generation) && status["conditions"].is_array()
}

async fn install(world: &World) -> Object {
    world.apply_example("vllm/rbac.yaml", |_| {}).await;
    // All nodes of the signal are ready: the Incident is opened by hand.
    world.gpu_nodes(1).await;
    let edit = |policy: &mut Value| {
        hasty(policy);
        policy["spec"]["signals"][0]["nodes"]["selector"] =
            json!({"matchLabels": {"nvidia.com/gpu.pool": world.id}});
        let step = &mut policy["spec"]["steps"][0];
        let container = &mut step["action"]["cpuFallback"]["containers"][0];
        container["args"]["remove"].as_array_mut().expect("a list").push(json!("--api-key"));
        container["env"]
            .as_array_mut()
            .expect("a list")
            .push(json!({"name": "CACHE_PASSWORD", "value": "none"}));
    };
    let policy = world.apply_example("vllm/cpu-fallback.yaml", edit).await.remove(0);
    policy.wait_for_condition("Ready", "True").await;
    policy
}

async fn wait_until_on_cpu(server: &Object) -> DynamicObject {
    let is_on_cpu = |server: &DynamicObject| {
        server.data["spec"]["template"]["spec"]["containers"][0]["image"] == CPU_IMAGE
    };
    server.wait_until("it runs the CPU build", is_on_cpu).await
}

#[tokio::test]
async fn a_server_gets_what_it_needs_on_cpu_in_one_write_and_exactly_its_own_back() {
    let world = World::new("s17-vllm").await;
    let server = apply(&world, &manifest(&world)).await;
    server.wait_until("observed", is_observed).await;
    let before = Before::of(std::slice::from_ref(&server)).await;
    let operator = world.operator().start().await;
    let policy = install(&world).await;

    let planned = world.firebreak(&["plan", policy.name(), "-n", &world.a]).await;
    let planned = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(planned.contains("[flag=--api-key]") && planned.contains("sha256"), "{planned}");
    assert!(!planned.contains("warning:"), "the containers settle every doubt: {planned}");

    let incident = world.create_example("vllm/incidents/cpu-fallback.yaml").await;
    let mut on_cpu = wait_until_on_cpu(&server).await;
    let spec = &mut on_cpu.data["spec"];
    assert_eq!(spec["template"]["spec"]["nodeSelector"], Value::Null, "{server}");
    let now = container(spec);
    let args = json!([
        "Qwen/Qwen3-0.6B",
        "--max-num-seqs",
        "8",
        "--enable-prefix-caching",
        "--dtype=bfloat16",
        "--max-model-len=4096",
    ]);
    assert_eq!((&now["command"], &now["args"]), (&json!(["vllm", "serve"]), &args), "{server}");
    let env = json!([
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token", "optional": true}}},
        {"name": "CACHE_PASSWORD", "value": "none"},
        {"name": "VLLM_CPU_KVCACHE_SPACE", "value": "16"},
        {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"},
    ]);
    assert_eq!(now["env"], env, "{server}");
    let resources = json!({
        "requests": {"cpu": "16", "memory": "48Gi", "nvidia.com/gpu": "0"},
        "limits": {"memory": "48Gi", "nvidia.com/gpu": "0"},
    });
    assert_eq!(now["resources"], resources, "{server}");

    let applied = |incident: &DynamicObject| change_of(incident, "chat")["state"] == "Applied";
    let seen = incident.wait_until("the change is recorded", applied).await;
    assert!(!seen.data.to_string().contains(SECRET), "a secret is in {incident}");
    withdraw(&world, &incident).await;
    before.assert_reverted().await;
    let report = world.firebreak(&["report", incident.name(), "-n", &world.a]).await;
    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(report.contains("[flag=--api-key]") && !report.contains(SECRET), "{report}");
    let calls = operator.proxy.calls();
    let of_server = |each: &&Exchange| each.call.is_write() && each.call.target.resource == "deployments";
    // The controller of the Deployment writes its status meanwhile, so that a write may meet a conflict.
    let applied = calls.iter().filter(of_server).filter(|each| each.was_applied()).count();
    assert_eq!(applied, 3, "one write there, one back, and one that hands back the ownership");
}

#[tokio::test]
async fn the_owner_may_edit_a_container_meanwhile_and_keeps_what_they_edit() {
    let world = World::new("s17-vllm-owner").await;
    let mut manifest = manifest(&world);
    let server = apply(&world, &manifest).await;
    let old = server.wait_until("observed", is_observed).await;
    let operator = world.operator().start().await;
    install(&world).await;
    let incident = world.create_example("vllm/incidents/cpu-fallback.yaml").await;
    wait_until_on_cpu(&server).await;
    let applied = |incident: &DynamicObject| change_of(incident, "chat")["state"] == "Applied";
    incident.wait_until("the change is recorded", applied).await;

    let deployment = "deployment/chat";
    let edits: [&[&str]; 2] = [
        &["set", "env", deployment, "CACHE_PASSWORD=another", "MORE=1", "-n", &world.a],
        &["set", "resources", deployment, "-c", "vllm", "--requests=memory=24Gi", "-n", &world.a],
    ];
    for edit in edits {
        world.kubectl(edit).await;
    }
    // The record on the object is enough, and has what no status has.
    operator.stop().await;
    let undone = world.firebreak(&["undo", deployment, "-n", &world.a]).await;
    let printed = String::from_utf8_lossy(&undone.stdout).into_owned();
    assert!(undone.status.success() && !printed.contains(SECRET), "{printed}");
    let mut back = server.get().await;
    let mut expected = old.data["spec"].clone();
    let theirs = container(&mut expected);
    theirs["env"] = json!([
        theirs["env"][0], {"name": "CACHE_PASSWORD", "value": "another"}, {"name": "MORE", "value": "1"},
    ]);
    // Request and limit of one resource belong together.
    theirs["resources"]["requests"]["memory"] = json!("24Gi");
    theirs["resources"]["limits"]["memory"] = json!("48Gi");
    let (expected, found) = (theirs.clone(), container(&mut back.data["spec"]).clone());
    assert_eq!(found, expected, "{server}");

    // The next deploy is not in anybody's way.
    container(&mut manifest["spec"])["image"] = json!("vllm/vllm-openai:v0.11.1");
    apply(&world, &manifest).await;
    let mut deployed = server.get().await;
    assert_eq!(container(&mut deployed.data["spec"])["image"], "vllm/vllm-openai:v0.11.1", "{server}");
}
