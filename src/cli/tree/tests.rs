use serde_json::{Value, json};

use super::*;
use crate::cli::follow::news;
use crate::cli::screen::plain;

fn now() -> Timestamp {
    "2026-03-01T10:05:00Z".parse().unwrap()
}

fn change(name: &str, state: &str, more: Value) -> Value {
    let mut change = json!({
        "id": name, "step": "cpu-fallback", "state": state, "round": 1,
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "b", "name": name, "uid": name},
        "fields": [{"path": "/spec/replicas", "before": "4", "after": "0"}],
    });
    change.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    change
}

fn incident(edit: impl FnOnce(&mut Value)) -> Incident {
    let mut status = json!({
        "phase": "Held", "severity": "P0", "severityReason": "GpuClusterFailure",
        "openedAt": "2026-03-01T10:00:00Z", "firstActionAt": "2026-03-01T10:00:01Z",
        "policy": {"name": "gpu", "uid": "u", "generation": 3, "serviceAccount": "firebreak-responder"},
        "rules": [
            {"reason": "GpuClusterFailure", "level": "P0", "truth": "True", "known": "True", "holds": true,
             "since": "2026-03-01T09:59:30Z", "evidence": "gpuNodes: ready 0"},
            {"reason": "Degraded", "level": "P2", "truth": "Unknown", "known": "Unknown", "evidence": "no value"},
        ],
        "steps": [
            {"name": "cpu-fallback", "state": "Failed", "targets": {"matched": 3, "applied": 1, "failed": 1}},
            {"name": "later", "state": "Pending", "reason": "OtherSeverity", "message": "it is not for P0"},
        ],
        "changes": [
            change("chat", "Applied", json!({})),
            change("web", "Failed", json!({"reason": "Refused", "message": "the API server answered 403: \u{1b}[2Jno"})),
            change("x", "Ceded", json!({"fields": [{"path": "/spec/replicas", "before": 4, "cededTo": "hpa/Update"}]})),
        ],
        "held": {"reason": "StepFailed", "message": "step cpu-fallback: 1 target(s) failed", "stops": true},
        "timeline": [
            {"at": "2026-02-28T23:59:59Z", "type": "Opened", "message": "Incident opened"},
            {"at": "2026-03-01T10:00:01Z", "type": "ChangeFailed", "message": "Deployment b/web: 403"},
        ],
    });
    edit(&mut status);
    serde_json::from_value(json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": "gpu-outage", "namespace": "llm-serving", "uid": "i"},
        "spec": {"policyRef": {"name": "gpu"}, "summary": "GPU nodes lost in zone b"},
        "status": status,
    }))
    .unwrap()
}

#[test]
fn an_incident_is_a_tree_of_steps_and_targets() {
    insta::assert_snapshot!(plain(&tree(&incident(|_| {}), Detail { fields: false, timeline: 1 }, now())));
}

#[test]
fn in_detail_every_field_is_named() {
    insta::assert_snapshot!(plain(&tree(&incident(|_| {}), Detail { fields: true, timeline: 10 }, now())));
}

#[test]
fn an_incident_that_nobody_has_looked_at_says_so() {
    let mut young = incident(|_| {});
    young.status = None;
    let text = plain(&tree(&young, Detail { fields: false, timeline: 10 }, now()));
    assert!(text.contains("is the operator running?"), "{text}");
}

#[test]
fn news_are_what_has_changed_and_nothing_else() {
    let before = incident(|status| {
        status["phase"] = json!("Remediating");
        status["held"] = Value::Null;
        status["changes"][1] = change("web", "Intended", json!({}));
        status["steps"][0]["state"] = json!("Applying");
        status["timeline"].as_array_mut().unwrap().pop();
    });
    let after = incident(|_| {});
    insta::assert_snapshot!(plain(&news(Some(&before), &after, now())));
    assert_eq!(news(Some(&after), &after, now()), []);
    assert!(plain(&news(None, &after, now())).starts_with("Incident llm-serving/gpu-outage  Held\n"));
}
