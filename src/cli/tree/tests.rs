use firebreak_engine::incident::Held;
use firebreak_engine::reason::Reason;
use serde_json::{Value, json};

use super::*;
use crate::api::Incident;
use crate::cli::follow;
use crate::cli::screen::plain;
use crate::view::moves;

fn shown(incident: &Incident, detail: Detail, now: Timestamp) -> Vec<Line> {
    tree(&IncidentView::of(incident), detail, now)
}

fn step(incident: &Incident, name: &str, now: Timestamp) -> Vec<Line> {
    super::step(&IncidentView::of(incident), name, now)
}

fn news(before: Option<&Incident>, incident: &Incident, now: Timestamp) -> Vec<Line> {
    follow::news(before.map(IncidentView::of).as_ref(), &IncidentView::of(incident), now)
}

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
    insta::assert_snapshot!(plain(&shown(&incident(|_| {}), Detail { fields: false, timeline: 1 }, now())));
}

#[test]
fn in_detail_every_field_is_named() {
    insta::assert_snapshot!(plain(&shown(&incident(|_| {}), Detail { fields: true, timeline: 10 }, now())));
}

#[test]
fn an_incident_that_nobody_has_looked_at_says_so() {
    let mut young = incident(|_| {});
    young.status = None;
    let text = plain(&shown(&young, Detail { fields: false, timeline: 10 }, now()));
    assert!(text.contains("check that the operator is running"), "{text}");
}

#[test]
fn an_operation_stands_below_the_change_that_needs_it() {
    let with_operation = incident(|status| {
        let deletion = json!({
            "id": "d", "step": "cpu-fallback", "state": "Done", "round": 1, "tries": 1,
            "kind": "Operation", "operation": "DeletePod", "delivery": "Guarded",
            "target": {"apiVersion": "v1", "kind": "Pod", "namespace": "b", "name": "chat-0", "uid": "p"},
            "onBehalfOf": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "b", "name": "chat", "uid": "chat"},
        });
        status["changes"].as_array_mut().unwrap().push(deletion);
    });
    let text = plain(&tree(&IncidentView::of(&with_operation), Detail { fields: false, timeline: 0 }, now()));
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.contains("Deployment b/chat")).unwrap();
    assert!(lines[at + 1].ends_with("deletion of Pod b/chat-0  Done  cannot be undone"), "{text}");
    assert_eq!(with_operation.status.unwrap().state.in_force(), 1);
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

/// The Incident while its first step waits for an approval.
fn waiting() -> Incident {
    let mut incident = incident(|status| {
        status["phase"] = json!("AwaitingApproval");
        status["steps"][0] = json!({
            "name": "cpu-fallback", "state": "AwaitingApproval", "reason": "ApprovalRequired",
            "message": "the policy asks for it", "planHash": format!("sha256:{}", "0".repeat(64)),
            "targets": {"matched": 1},
            "approval": {
                "planHash": "sha256:1", "approvedBy": "bob", "at": "2026-03-01T10:03:00Z", "state": "Void",
            },
        });
        status["changes"] = json!([change("chat", "Planned", json!({}))]);
        status["held"] = json!({
            "reason": "ApprovalRequired", "message": "step cpu-fallback must be approved", "stops": true,
            "step": "cpu-fallback",
        });
        status["acknowledgedBy"] = json!("alice");
        status["acknowledgedAt"] = json!("2026-03-01T10:02:00Z");
        status["timeline"] = json!([]);
        status["rules"] = json!([]);
    });
    incident.spec.response = Some(Response::Active);
    incident.spec.response_by = Some("carol".to_owned());
    incident
}

#[test]
fn a_step_that_waits_shows_its_plan_and_the_command_that_approves_it() {
    insta::assert_snapshot!(plain(&shown(&waiting(), Detail { fields: false, timeline: 1 }, now())));
    let alone = plain(&step(&waiting(), "cpu-fallback", now()));
    assert!(alone.contains("/spec/replicas  \"4\" → \"0\""), "{alone}");
    assert_eq!(step(&waiting(), "none", now()), []);
}

#[test]
fn a_step_whose_approval_counts_is_not_to_be_approved_again() {
    let mut given = waiting();
    given.status.as_mut().unwrap().state.steps[0].approval.as_mut().unwrap().state = ApprovalState::Valid;
    let text = plain(&shown(&given, Detail { fields: false, timeline: 0 }, now()));
    assert!(text.contains("approved by bob") && text.contains("plan sha256:"), "{text}");
    assert!(!text.contains("firebreak approve"), "{text}");
}

#[test]
fn news_of_a_step_that_waits_name_the_plan_once() {
    let before = incident(|status| status["held"] = Value::Null);
    let said = plain(&news(Some(&before), &waiting(), now()));
    for words in [
        "response Active, set by carol",
        "acknowledged by alice",
        "plan sha256:000",
        "`firebreak approve gpu-outage cpu-fallback -n llm-serving`",
        "/spec/replicas",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(news(Some(&waiting()), &waiting(), now()), []);
}

#[test]
fn a_closed_incident_is_marked_and_says_that_it_stays_so() {
    let closed = incident(|status| {
        status["phase"] = json!("Resolved");
        status["resolvedAt"] = json!("2026-03-01T10:04:00Z");
        status["closing"] = json!("Withdrawn");
    });
    let text = plain(&shown(&closed, Detail { fields: false, timeline: 0 }, now()));
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("Incident llm-serving/gpu-outage  P0 GpuClusterFailure  Resolved  CLOSED"));
    assert_eq!(
        lines.next(),
        Some(
            "  it is closed (Withdrawn); applying it again has no effect; `firebreak open gpu -n llm-serving` opens a new one"
        )
    );
}

#[test]
fn what_moves_an_incident_on_depends_on_where_it_stands() {
    let mut paused = incident(|_| {});
    paused.spec.response = Some(Response::Paused);
    assert!(moves::next(&paused).starts_with("`firebreak resume gpu-outage -n llm-serving` continues"));
    paused.spec.response = Some(Response::Withdrawn);
    assert!(moves::next(&paused).starts_with("`firebreak watch gpu-outage"));
    let braked =
        incident(|status| status["held"] = json!({"reason": "Braked", "message": "", "stops": true}));
    assert!(moves::next(&braked).starts_with("`firebreak brake off`"));
    assert_eq!(
        moves::next(&waiting()),
        "`firebreak approve gpu-outage cpu-fallback -n llm-serving` lets it continue"
    );
    let held = |reason| moves::held(&Held::new(reason, ""));
    assert_eq!(held(Reason::StepFailed), (Tone::Bad, "a person must act: StepFailed".to_owned()));
    assert_eq!(held(Reason::NothingInForce), (Tone::Busy, "waits: NothingInForce".to_owned()));
}

#[test]
fn an_incident_that_needs_nobody_says_why_it_is_not_over_and_a_closed_one_how_it_ended() {
    let quiet = incident(|status| {
        status["held"] = Value::Null;
        status["steps"] =
            json!([{"name": "cpu-fallback", "state": "Pending", "message": "no object matches its targets"}]);
        status["changes"] = json!([]);
    });
    let text = plain(&shown(&quiet, Detail { fields: true, timeline: 0 }, now()));
    let message = "\n  nothing has been changed; step cpu-fallback: no object matches its targets\n";
    assert!(text.contains(message), "{text}");
    let closed = incident(|status| {
        status["resolvedAt"] = json!("2026-03-01T10:04:00Z");
        status["closing"] = json!("Recovered");
    });
    let text = plain(&shown(&closed, Detail { fields: true, timeline: 0 }, now()));
    assert!(text.contains("\n  CLOSED (Recovered): 0 change(s) reverted, 1 ceded, 0 kept\n"), "{text}");
    let held = plain(&shown(&incident(|_| {}), Detail { fields: true, timeline: 0 }, now()));
    assert_eq!(held.matches("step cpu-fallback: 1 target(s) failed").count(), 1, "{held}");
}

#[test]
fn an_open_incident_says_that_its_policy_is_not_ready() {
    let policy = serde_json::from_value(json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "RemediationPolicy", "spec": {},
        "metadata": {"name": "gpu", "namespace": "llm-serving"},
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Forbidden", "message": "it may not",
            "lastTransitionTime": "2026-03-01T10:00:00Z"}]},
    }))
    .unwrap();
    let said = |incident: &Incident| {
        let view = IncidentView::of(incident).with_policy(&policy);
        plain(&tree(&view, Detail { fields: true, timeline: 0 }, now()))
    };
    let line = "as ServiceAccount firebreak-responder\n  policy gpu is not Ready: Forbidden: it may not\n";
    let text = said(&incident(|_| {}));
    assert!(text.contains(line), "{text}");
    let closed = incident(|status| status["resolvedAt"] = json!("2026-03-01T10:04:00Z"));
    assert!(!said(&closed).contains("is not Ready"), "it does not matter any more");
}

#[test]
fn in_detail_the_objects_with_nothing_to_do_are_named() {
    let spared = incident(|status| {
        status["steps"][0]["targets"]["nothingToDo"] = json!(7);
        let object = |name: &str| json!({"object": format!("Deployment b/{name}"), "message": "it requests no accelerator"});
        status["steps"][0]["nothingToDo"] = json!([object("cpu-a"), object("cpu-b")]);
    });
    let text = plain(&shown(&spared, Detail { fields: true, timeline: 0 }, now()));
    let end = "│  ├─ Deployment b/cpu-a  NothingToDo  it requests no accelerator\n\
               │  ├─ Deployment b/cpu-b  NothingToDo  it requests no accelerator\n\
               │  └─ 5 more with nothing to do\n";
    assert!(text.contains(end) && text.contains("│  ├─ Deployment b/x  Ceded"), "{text}");
    let text = plain(&shown(&spared, Detail { fields: false, timeline: 0 }, now()));
    assert!(!text.contains("NothingToDo") && text.contains("7 with nothing to do"), "{text}");
}
