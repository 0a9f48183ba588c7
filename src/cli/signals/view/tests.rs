use serde_json::{Value, json};

use firebreak_engine::severity::{Observed, assess, reading};

use super::*;
use crate::cli::screen::plain;
use crate::cli::signals::lines::lines;

/// A policy with this status, whose rule waits for half of its nodes.
pub fn policy(status: Value) -> RemediationPolicy {
    serde_json::from_value(json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "RemediationPolicy",
        "metadata": {"name": "gpu", "namespace": "llm"},
        "spec": {
            "signals": [{"name": "gpuNodes", "expect": 8, "nodes": {}}],
            "severity": [{"level": "P0", "reason": "Lost", "when": "signals.gpuNodes.ready * 2 <= signals.gpuNodes.expected",
                "until": "signals.gpuNodes.ready >= 7", "for": "30s"}],
        },
        "status": status,
    }))
    .unwrap()
}

/// What is seen if so many nodes are ready, or if nobody may look.
pub fn view_of(policy: &RemediationPolicy, ready: Option<i64>, now: Timestamp) -> SignalsView {
    let rules = Rules::parse(&policy.spec.policy).unwrap();
    let reading_now = match ready {
        Some(ready) => {
            let int = |field: &str, value: i64| (field.to_owned(), FieldValue::Int(value));
            let ratio = ("readyRatio".to_owned(), FieldValue::Double(f64::NAN));
            Reading::Known {
                values: [int("total", 8), int("ready", ready), int("cordoned", 1), ratio].into(),
            }
        }
        None => Reading::Unknown { reason: "Forbidden".to_owned(), detail: "cannot list nodes".to_owned() },
    };
    let state = policy.status.as_ref().map(|status| status.state.clone()).unwrap_or_default();
    let readings = BTreeMap::from([("gpuNodes".to_owned(), reading_now)]);
    let observed = Observed {
        rules: &rules,
        previous: &state.rules,
        signals: &readings,
        expected: &state.expected,
        began: None,
        clocks_broken: false,
        now,
    };
    SignalsView::of(&Seen {
        namespace: "llm",
        policy,
        read_as: "the user",
        rules: &rules,
        readings: rules.signals.iter().map(|signal| reading(signal, &observed)).collect(),
        assessment: &assess(&observed),
        began: now,
        now,
    })
}

fn now() -> Timestamp {
    "2026-03-01T10:00:00Z".parse().unwrap()
}

/// A status in which the rule has this truth since 12 seconds.
fn recorded(truth: &str, more: &Value) -> Value {
    let mut rule = json!({"reason": "Lost", "level": "P0", "truth": truth, "known": truth,
        "since": "2026-03-01T09:59:48Z", "evidence": "e"});
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"rules": [rule], "waitingFor": []})
}

fn text(status: Value, ready: Option<i64>) -> String {
    plain(&lines(&view_of(&policy(status), ready, now()), None, now()))
}

#[test]
fn a_rule_whose_clock_runs_says_when_it_holds() {
    insta::assert_snapshot!(text(recorded("True", &json!({})), Some(4)), @"
    Policy llm/gpu, Observe, read as the user
      no operator has picked up policy gpu yet, so it changes nothing; check that an operator runs, and that it watches namespace llm
    Signals
      gpuNodes  nodes  Known
        expected  8
        ready     4
        no rule reads: cordoned 1, missing 0, total 8
    Rules
      P0 Lost  True since 09:59:48Z, 12s ago
        when signals.gpuNodes.ready * 2 <= signals.gpuNodes.expected
        gpuNodes.expected 8, gpuNodes.ready 4
        it holds in 18s if it stays True (for: 30s)
    ");
}

#[test]
fn what_nobody_has_recorded_yet_is_only_seen() {
    let view = view_of(&policy(json!({})), Some(4), now());
    let rule = &view.rules[0];
    assert_eq!((rule.status.since, rule.at_least_since), (None, Some(now())));
    let text = text(json!({}), Some(4));
    assert!(text.contains("True, at least since 10:00:00Z\n"), "{text}");
    assert!(text.contains("it holds once the operator has seen it True for 30s"), "{text}");
    assert!(text.contains("no operator has picked up policy gpu"), "{text}");
}

#[test]
fn an_unknown_signal_says_why_and_what_to_do_and_what_becomes_of_the_clock() {
    insta::assert_snapshot!(text(recorded("True", &json!({})), None), @"
    Policy llm/gpu, Observe, read as the user
      no operator has picked up policy gpu yet, so it changes nothing; check that an operator runs, and that it watches namespace llm
    Signals
      gpuNodes  nodes  Unknown
        Forbidden: cannot list nodes
        do: grant what is missing: `firebreak check -f FILE | kubectl apply -f -`; for an endpoint see docs/endpoints.md
        expected  no value
        ready     no value
    Rules
      P0 Lost  Unknown, at least since 10:00:00Z
        when signals.gpuNodes.ready * 2 <= signals.gpuNodes.expected
        gpuNodes.expected no value, gpuNodes.ready no value
        signals.gpuNodes.ready has no value (gpuNodes: Forbidden: cannot list nodes)
        its clock stands still, and begins at 0 if it is still Unknown in 60s
        the operator has recorded True since 09:59:48Z, 12s ago
    ");
}

#[test]
fn a_rule_says_what_it_still_waits_for() {
    let holds = json!({"holds": true});
    let until = text(recorded("True", &holds), Some(6));
    assert!(until.contains("it holds until this is True: signals.gpuNodes.ready >= 7"), "{until}");
    assert!(until.contains("the operator has recorded True, holds since 09:59:48Z, 12s ago"), "{until}");
    let unknown = text(recorded("True", &holds), None);
    assert!(unknown.contains("it still holds: Unknown ends nothing"), "{unknown}");
    let mut status = recorded("True", &holds);
    status["waitingFor"] = json!(["Lost"]);
    let waiting = text(status, Some(4));
    assert!(waiting.contains("it opens no Incident until it has been False once"), "{waiting}");
    let quiet = text(recorded("False", &json!({})), Some(8));
    assert!(quiet.contains("False since 09:59:48Z, 12s ago\n") && !quiet.contains("recorded"), "{quiet}");
}

#[test]
fn data_has_values_only_where_there_are_some() {
    let data = serde_json::to_value(view_of(&policy(recorded("True", &json!({}))), Some(4), now())).unwrap();
    let signal = &data["signals"][0];
    assert_eq!((&signal["kind"], &signal["state"]), (&json!("nodes"), &json!("Known")));
    assert_eq!(signal["fields"]["expected"], json!(8));
    assert_eq!(signal["fields"].get("readyRatio"), None, "a value that is no number");
    assert_eq!(signal["read"], json!(["expected", "ready"]));
    let rule = &data["rules"][0];
    assert_eq!((&rule["truth"], &rule["since"]), (&json!("True"), &json!("2026-03-01T09:59:48Z")));
    assert_eq!(rule["reads"], json!({"gpuNodes.expected": 8, "gpuNodes.ready": 4}));
}
