//! Records what a release stores in the cluster, for the upgrade tests of the next one; see README.md.
//!
//! `cargo run --example record`, with the binary of the release in `FIREBREAK_BINARY`. Every response of `scenes.rs`
//! is brought to a standstill, and what the API server has of each goes into a file of `fixtures/`.

#[path = "../../support/mod.rs"]
mod support;

#[allow(dead_code, unused_imports, reason = "of the drill, only the beginning of an emergency is needed")]
#[path = "../drill/mod.rs"]
mod drill;

#[path = "scenes.rs"]
mod scenes;

use std::{fs, path::Path};

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use drill::Drill;
use scenes::Response;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let drill = Drill::new("upgrade").await;
    let operator = drill.world.operator().start().await;
    for response in &scenes::at_a_standstill(&drill, &operator).await {
        record(&drill, response).await;
    }
}

/// Writes down what the server has of this response.
async fn record(drill: &Drill, response: &Response) {
    let mut targets = Vec::new();
    for (target, before) in response.targets.iter().zip(&response.before) {
        let mut before = before.clone();
        before.data["status"].take();
        targets.push(json!({"before": before, "stored": target.get().await}));
    }
    let mut incidents = drill.incidents().await;
    incidents.retain(|incident| incident.data["spec"]["policyRef"]["name"] == response.name);
    let mut others = vec![response.alarm.get().await];
    for incident in &incidents {
        if let Some(report) = incident.data["status"]["report"]["name"].as_str() {
            others.push(drill.world.object("v1", "ConfigMap", &drill.world.a, report).get().await);
        }
    }
    let mut policy = response.policy.get().await;
    // Field ownership matters where changes are reverted, and nowhere else.
    for object in incidents.iter_mut().chain(&mut others).chain([&mut policy]) {
        object.metadata.managed_fields = None;
    }
    let text = json!({
        "recordedAt": Timestamp::now(), "policy": policy, "incidents": incidents, "targets": targets,
        "others": others,
    });
    let text = serde_json::to_string_pretty(&text).expect("JSON") + "\n";
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/upgrade/fixtures");
    fs::write(folder.join(format!("{}.json", response.name)), text).expect("the folder of the fixtures");
    println!("{}: {} Incidents, {} targets", policy.name_any(), incidents.len(), targets.len());
}
