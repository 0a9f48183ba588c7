//! What happened, for a person who debugs a failed test.

use std::fmt::Write;

use kube::{
    Client, ResourceExt,
    api::{DynamicObject, ListParams},
};
use serde_json::Value;

use super::{manifest, world::Belongings};

/// How much of a log or record is shown.
const LINES: usize = 80;

/// The Incidents and policies of the namespaces, the last calls and the last log lines of the operators.
pub(super) async fn tell(
    client: &Client,
    namespaces: &[String],
    belongings: &Belongings,
    states: &[String],
) -> String {
    let mut story = String::new();
    for kind in ["RemediationPolicy", "Incident"] {
        let resource = manifest::resource("firebreak.dev/v1alpha1", kind);
        for namespace in namespaces {
            let api = manifest::api(client, &resource, Some(namespace));
            for object in api.list(&ListParams::default()).await.into_iter().flatten() {
                describe(&mut story, kind, &object);
            }
        }
    }
    let operators = belongings.processes.iter().zip(&belongings.records).zip(states);
    for ((process, record), state) in operators {
        let calls: Vec<String> = record.all().iter().map(ToString::to_string).collect();
        section(&mut story, &format!("Calls of {}", process.name()), &calls);
        let log = process.log();
        let log: Vec<String> = log.lines().map(str::to_owned).collect();
        section(&mut story, &format!("Log of {}, which is {state}", process.name()), &log);
    }
    if story.is_empty() { story } else { format!("\n=== The story of this test\n{story}") }
}

fn describe(story: &mut String, kind: &str, object: &DynamicObject) {
    let namespace = object.namespace().unwrap_or_default();
    let status = &object.data["status"];
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let _ = writeln!(
        story,
        "\n--- {kind} {namespace}/{}: {} {}",
        object.name_any(),
        word(&status["severity"]),
        word(&status["phase"])
    );
    for condition in list(&status["conditions"]) {
        let [type_, truth, reason, message] =
            ["type", "status", "reason", "message"].map(|field| word(&condition[field]));
        let _ = writeln!(story, "  {type_}={truth} {reason}: {message}");
    }
    for rule in list(&status["rules"]) {
        let _ = writeln!(story, "  rule {rule}");
    }
    for step in list(&status["steps"]) {
        let _ = writeln!(story, "  step {step}");
    }
    for change in list(&status["changes"]) {
        let _ = writeln!(story, "  change {change}");
    }
    for entry in list(&status["timeline"]) {
        let [at, type_, message] = ["at", "type", "message"].map(|field| word(&entry[field]));
        let _ = writeln!(story, "  {at} {type_}: {message}");
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn section(story: &mut String, title: &str, lines: &[String]) {
    let shown = &lines[lines.len().saturating_sub(LINES)..];
    let _ = writeln!(story, "\n--- {title}, the last {} of {} lines", shown.len(), lines.len());
    for line in shown {
        let _ = writeln!(story, "{line}");
    }
}
