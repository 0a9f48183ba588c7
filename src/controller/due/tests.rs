//! What becomes due, with many policies and Incidents.

use std::sync::Arc;

use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::controller::fixture;
use crate::telemetry::traces::Traces;

/// So many that work for each of them would be visible.
const MANY: usize = 500;

fn name(kind: &str, number: usize) -> Name {
    Name::new("ns", format!("{kind}-{number:03}"))
}

/// A policy one of whose rules is true whatever its signals say.
fn policy(number: usize, level: &str, status: Value) -> Seen<RemediationPolicy> {
    let policy: RemediationPolicy = serde_json::from_value(json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "RemediationPolicy",
        "metadata": {"namespace": "ns", "name": name("policy", number).name, "uid": number.to_string(), "generation": 1},
        "spec": {"mode": "Enforce", "severity": [{"level": level, "reason": "Always", "when": "true"}]},
        "status": status,
    }))
    .unwrap();
    Seen::Object(Arc::new(policy))
}

fn incident(number: usize, status: Value) -> Seen<Incident> {
    let incident: Incident = serde_json::from_value(json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
        "metadata": {"namespace": "ns", "name": name("incident", number).name, "uid": number.to_string()},
        "spec": {"policyRef": {"name": name("policy", number).name}}, "status": status,
    }))
    .unwrap();
    Seen::Object(Arc::new(incident))
}

/// What is due, in the order in which it is taken.
async fn due(operator: &Operator) -> Vec<Key> {
    let mut keys = Vec::new();
    while let Ok(key) = timeout(std::time::Duration::ZERO, operator.queue.next()).await {
        operator.queue.done(&key);
        keys.push(key);
    }
    keys
}

/// With many policies of a namespace, each with an open Incident.
fn crowd(level: impl Fn(usize) -> &'static str) -> Operator {
    let silent = tower::service_fn(|_: http::Request<Body>| {
        std::future::pending::<Result<http::Response<Body>, tower::BoxError>>()
    });
    let operator = fixture::operator(Client::new(silent, "default"), Traces::default());
    for number in 0..MANY {
        operator.policies.put(&name("policy", number), policy(number, level(number), json!({})));
        operator.incidents.put(&name("incident", number), incident(number, json!(null)));
    }
    operator
}

#[tokio::test(start_paused = true)]
async fn one_event_makes_due_what_has_to_know_of_it_however_many_there_are() {
    let operator = crowd(|_| "P3");
    let (of_policy, of_incident) = (name("policy", 7), name("incident", 7));
    let both = [Key::Incident(of_incident.clone()), Key::Policy(of_policy.clone())];

    let take = |now: Seen<Incident>| {
        let before = operator.incidents.put(&of_incident, now.clone());
        operator.incident_moved(&of_incident, before.as_ref(), Some(&now));
    };
    let had =
        json!({"policy": {"name": of_policy.name, "uid": "7", "generation": 1, "serviceAccount": "sa"}});
    take(incident(7, had.clone()));
    assert_eq!(due(&operator).await, both, "it has the claim");
    let versioned = || {
        let Seen::Object(incident) = incident(7, had.clone()) else { panic!("it decodes") };
        let mut incident = incident.as_ref().clone();
        incident.metadata.resource_version = Some("9".to_owned());
        incident
    };
    operator.note_incident(&versioned());
    assert_eq!(due(&operator).await, both[..1], "it was written");
    take(Seen::Object(Arc::new(versioned())));
    operator.note_incident(&versioned());
    assert!(due(&operator).await.is_empty(), "the watch shows what was written");
    let mut going_on = had.clone();
    going_on["phase"] = json!("Remediating");
    take(incident(7, going_on));
    assert_eq!(due(&operator).await, both[..1], "what it does is its own affair");
    let mut closed = had;
    closed["resolvedAt"] = json!("2026-03-01T10:00:00Z");
    closed["observedGeneration"] = json!(null);
    take(incident(7, closed));
    assert_eq!(due(&operator).await, both[1..], "it is closed");
    let before = operator.incidents.remove(&of_incident);
    operator.incident_moved(&of_incident, before.as_ref(), None);
    assert_eq!(due(&operator).await, both[1..], "it is gone");

    let of_policy = name("policy", 8);
    let both = [Key::Incident(name("incident", 8)), Key::Policy(of_policy.clone())];
    let take = |status: Value| {
        let now = policy(8, "P3", status);
        let before = operator.policies.put(&of_policy, now.clone());
        operator.policy_moved(&of_policy, before.as_ref(), Some(&now));
    };
    take(json!({"activeIncident": {"name": "incident-008", "uid": "8"}}));
    assert_eq!(due(&operator).await, both, "the claim has moved");
    take(json!({"activeIncident": {"name": "incident-008", "uid": "8"}, "waitingFor": ["Always"]}));
    assert_eq!(due(&operator).await, both[1..], "what its Incident does not read");
    let window =
        json!([{"signal": "nodes", "value": 4, "peaks": [{"value": 4, "lastSeen": "2026-03-01T10:00:00Z"}]}]);
    let claim = json!({"name": "incident-008", "uid": "8"});
    take(json!({"activeIncident": claim, "waitingFor": ["Always"], "expected": window}));
    assert_eq!(due(&operator).await, both, "the window of a signal has moved");
    operator.readings_moved([of_policy]);
    assert_eq!(due(&operator).await, both, "its signal has moved");
}

#[tokio::test(start_paused = true)]
async fn a_p0_among_many_p3_and_its_new_incident_come_first() {
    let worst = MANY - 1;
    let operator = crowd(|number| if number == worst { "P0" } else { "P3" });
    operator.readings_moved((0..MANY).map(|number| name("policy", number)));
    let due = due(&operator).await;
    let first = [Key::Incident(name("incident", worst)), Key::Policy(name("policy", worst))];
    assert_eq!(due.len(), 2 * MANY);
    assert_eq!(due[..2], first);
}

#[tokio::test(start_paused = true)]
async fn an_incident_that_waits_for_a_policy_is_due_when_a_rule_holds() {
    let operator = crowd(|_| "P2");
    let waiting = Name::new("ns", "by-hand");
    let without: Incident = serde_json::from_value(json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
        "metadata": {"namespace": "ns", "name": waiting.name}, "spec": {},
    }))
    .unwrap();
    operator.incidents.put(&waiting, Seen::Object(Arc::new(without)));
    let rule = |holds: bool| json!({"rules": [{"reason": "Always", "level": "P2", "truth": "True", "known": "True", "holds": holds}]});
    let (of_policy, key) = (name("policy", 3), Key::Incident(waiting));
    for holds in [false, true] {
        operator.policy_moved(&of_policy, None, Some(&policy(3, "P2", rule(holds))));
        assert_eq!(due(&operator).await.contains(&key), holds);
    }
}
