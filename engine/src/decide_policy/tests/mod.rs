//! One decision after another, each from plain facts.

mod claim;
mod expected;
mod recreated;

use std::collections::BTreeMap;

use super::*;
use crate::expression::FieldValue;
use crate::facts::Reading;
use crate::incident::Closing;
use crate::policy::Severity::{P0, P2};
use crate::response::{OpenedBy, RecentResponse};
use crate::verdict::Verdict;
use jiff::{SignedDuration, Timestamp};

const POLICY: &str = r#"{
    "signals": [{"name": "nodes", "expect": 8, "nodes": {}}],
    "severity": [
        {"level": "P0", "reason": "Outage", "when": "signals.nodes.ready == 0", "for": "30s"},
        {"level": "P2", "reason": "Degraded", "when": "signals.nodes.ready < 8"}
    ]
}"#;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn rules() -> Rules {
    Rules::parse(&serde_json::from_str(POLICY).unwrap()).unwrap()
}

/// A policy that sees so many ready nodes.
fn facts(ready: i64, state: PolicyState) -> PolicyFacts {
    let values = [("total", 8), ("ready", ready)];
    let values = values.map(|(field, value)| (field.to_owned(), FieldValue::Int(value))).into();
    PolicyFacts {
        state: Some(state),
        access: Access::Complete,
        signals: [("nodes".to_owned(), Reading::Known { values })].into(),
        nonce: "new-nonce".to_owned(),
        ..PolicyFacts::new("gpu", rules().limits)
    }
}

fn decided(facts: &PolicyFacts, second: i64) -> PolicyDecision {
    decide_policy(facts, Some(&rules()), at(second))
}

fn claim_of(name: &str, nonce: Option<&str>, uid: Option<&str>) -> ActiveIncident {
    let text = |text: &str| text.to_owned();
    ActiveIncident { name: text(name), nonce: nonce.map(text), uid: uid.map(text), revoked: false }
}

fn response(name: &str, uid: Option<&str>, second: i64) -> RecentResponse {
    let (name, uid) = (name.to_owned(), uid.map(str::to_owned));
    RecentResponse { name, uid, opened_by: OpenedBy::Policy, at: at(second), ended_at: None }
}

fn incident(name: &str, nonce: Option<&str>) -> IncidentFact {
    IncidentFact {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        nonce: nonce.map(str::to_owned),
        created_at: at(0),
        had_claim: false,
        knows: None,
        deleting: false,
        closing: None,
        resolved_at: None,
        in_force: false,
    }
}

/// A claim with the response that began with it.
fn claimed(active: ActiveIncident) -> PolicyState {
    let recent_responses = vec![response(&active.name, active.uid.as_deref(), 0)];
    PolicyState { active_incident: Some(active), recent_responses, ..PolicyState::default() }
}

fn announced() -> PolicyState {
    claimed(claim_of("gpu-1", Some("n"), None))
}

fn revoked() -> PolicyState {
    claimed(ActiveIncident { revoked: true, ..claim_of("gpu-1", Some("n"), None) })
}

fn bound() -> PolicyState {
    claimed(claim_of("gpu-1", Some("n"), Some("uid-gpu-1")))
}

fn reads(name: &str, found: Option<IncidentFact>) -> PolicyReads {
    PolicyReads { incidents: [(name.to_owned(), found)].into(), all: None }
}

fn condition<'a>(decision: &'a PolicyDecision, type_: &str) -> (Verdict, &'a str) {
    let found = decision.conditions.iter().find(|condition| condition.type_ == type_).unwrap();
    (found.status, found.reason.as_str())
}

#[test]
fn the_claim_its_response_the_rules_and_the_signals_go_into_one_write() {
    let decision = decided(&facts(5, PolicyState::default()), 0);
    let active = decision.next.active_incident.clone().unwrap();
    assert_eq!((active.nonce.as_deref(), &active.uid), (Some("new-nonce"), &None));
    let new = decision.create.as_ref().unwrap();
    assert_eq!((&new.name, new.nonce.as_str()), (&active.name, "new-nonce"));
    assert!(new.summary.starts_with("Degraded: nodes: "), "{}", new.summary);
    assert_eq!(decision.next.recent_responses, [response(&active.name, None, 0)]);
    assert!(decision.next.rules[1].holds && !decision.next.signals.is_empty());
    assert_eq!(condition(&decision, "Ready"), (Verdict::True, "Responding"));
    assert_eq!(decision.wake_at, Some(at(1)), "then its uid is recorded");
}

#[test]
fn a_policy_whose_objects_argo_cd_applies_stays_accepted_and_says_so() {
    let warning = "Argo CD applies 1 of the objects".to_owned();
    let mut seen = PolicyFacts { warning, ..facts(8, PolicyState::default()) };
    let accepted = |facts: &PolicyFacts| {
        let conditions = decided(facts, 0).conditions;
        conditions.into_iter().find(|condition| condition.type_ == "Accepted").unwrap()
    };
    let warned = accepted(&seen);
    assert_eq!((warned.status, warned.reason.as_str()), (Verdict::True, "Valid"));
    assert_eq!(warned.message, "Argo CD applies 1 of the objects");
    assert_eq!(condition(&decided(&seen, 0), "Ready"), (Verdict::True, "Watching"));
    seen.faults = vec!["spec.steps: wrong".to_owned()];
    let refused = accepted(&seen);
    assert_eq!((refused.status, refused.message.as_str()), (Verdict::False, "spec.steps: wrong"));
    assert_eq!(accepted(&facts(8, PolicyState::default())).message, "");
}

#[test]
fn rules_wait_for_false_after_a_person_has_ended_the_response_and_only_the_first_time() {
    let closed = |closing| {
        let end =
            IncidentFact { closing: Some(closing), resolved_at: Some(at(7)), ..incident("gpu-1", Some("n")) };
        reads("gpu-1", Some(end))
    };
    let mut ended_before = bound();
    ended_before.recent_responses[0].ended_at = Some(at(7));
    let cases = [
        ("withdrawn", bound(), closed(Closing::Withdrawn), vec!["Degraded"]),
        ("gone", bound(), reads("gpu-1", None), vec!["Degraded"]),
        ("recovered", bound(), closed(Closing::Recovered), vec![]),
        ("told a second time", ended_before, closed(Closing::Withdrawn), vec![]),
    ];
    for (what, state, reads, waiting_for) in cases {
        let decision = decided(&PolicyFacts { reads, ..facts(5, state) }, 9);
        assert_eq!(decision.next.waiting_for, waiting_for, "{what}");
        assert_eq!(decision.next.active_incident, None, "{what}");
        assert!(decision.next.recent_responses[0].ended_at.is_some(), "{what}");
        assert_eq!(decision.create, None, "{what}");
        // Then the rule is False once, and opens again.
        let quiet = decided(&facts(8, decision.next.clone()), 10);
        assert_eq!(quiet.next.waiting_for, Vec::<String>::new(), "{what}");
    }
}

#[test]
fn a_rule_that_waits_opens_nothing_and_the_policy_says_so() {
    let state = PolicyState { waiting_for: vec!["Degraded".to_owned()], ..PolicyState::default() };
    let decision = decided(&facts(5, state), 0);
    assert_eq!((decision.create.as_ref(), &decision.next.active_incident), (None, &None));
    assert_eq!(condition(&decision, "Ready"), (Verdict::True, "WaitingForFalse"));
    assert!(
        decision.why.is_some_and(|why| why.contains("a person ended the last response while Degraded held"))
    );
}

#[test]
fn the_cooldown_counts_from_the_end_of_the_last_response() {
    let mut state = PolicyState::default();
    let ended = RecentResponse { ended_at: Some(at(0)), ..response("gpu-1", Some("uid-gpu-1"), -60) };
    state.recent_responses = vec![ended];
    let early = decided(&facts(5, state.clone()), 599);
    assert_eq!((early.create, early.wake_at), (None, Some(at(600))));
    assert!(decided(&facts(5, state), 600).create.is_some());
}

#[test]
fn a_policy_without_rules_keeps_the_claim_of_an_incident_that_is_over() {
    let mut facts = PolicyFacts { reads: reads("gpu-1", None), ..facts(5, bound()) };
    facts.faults = vec!["spec.severity[0].when: it does not compile".to_owned()];
    let decision = decide_policy(&facts, None, at(0));
    assert_eq!(decision.next, bound(), "which rules hold belongs into the same write");
    assert_eq!(condition(&decision, "Stalled"), (Verdict::True, "Invalid"));
    assert_eq!(condition(&decision, "Accepted"), (Verdict::False, "Invalid"));
}

#[test]
fn it_is_as_urgent_as_the_worst_rule_that_is_true_though_it_does_not_hold_yet() {
    for (ready, urgency) in [(0, Some(P0)), (5, Some(P2)), (8, None)] {
        assert_eq!(decided(&facts(ready, PolicyState::default()), 0).urgency, urgency, "{ready} ready");
    }
}

#[test]
fn it_is_stalled_only_where_a_person_must_act() {
    type Edit = fn(&mut PolicyFacts);
    let cases: [(&str, Edit, &str, Verdict, Verdict); 7] = [
        ("fine", |_| {}, "Watching", Verdict::False, Verdict::False),
        (
            "permissions are missing",
            |facts| facts.access = Access::Lacking("patch".to_owned()),
            "Forbidden",
            Verdict::False,
            Verdict::True,
        ),
        (
            "a signal is watched again and again",
            |facts| facts.signals.clear(),
            "SignalUnknown",
            Verdict::True,
            Verdict::False,
        ),
        (
            "an object cannot be read",
            |facts| facts.uncounted = vec!["nodes: Node n".to_owned()],
            "SignalUnknown",
            Verdict::True,
            Verdict::False,
        ),
        (
            "an object cannot be judged",
            |facts| drop(facts.unjudged.insert("nodes".to_owned(), "Node n".to_owned())),
            "Watching",
            Verdict::False,
            Verdict::False,
        ),
        (
            "an object cannot be judged, and a rule depends on it",
            |facts| {
                facts.unjudged.insert("nodes".to_owned(), "Node n".to_owned());
                let Some(Reading::Known { values }) = facts.signals.get_mut("nodes") else { unreachable!() };
                values.remove("ready");
            },
            "SignalUnknown",
            Verdict::True,
            Verdict::False,
        ),
        (
            "nobody answers about rights",
            |facts| facts.access = Access::Unknown("no answer".to_owned()),
            "Watching",
            Verdict::False,
            Verdict::False,
        ),
    ];
    for (what, edit, reason, reconciling, stalled) in cases {
        let mut facts = facts(8, PolicyState::default());
        edit(&mut facts);
        let decision = decided(&facts, 0);
        assert_eq!(condition(&decision, "Ready").1, reason, "{what}");
        assert_eq!(condition(&decision, "Reconciling").0, reconciling, "{what}");
        assert_eq!(condition(&decision, "Stalled").0, stalled, "{what}");
    }
}

#[test]
fn only_reasons_that_a_person_moves_on_stall_a_policy() {
    use crate::reason::MovesOn;
    let stall = PolicyReason::ALL.iter().filter(|reason| reason.moves_on() == MovesOn::Person);
    let stall: Vec<&str> = stall.map(|reason| reason.name()).collect();
    assert_eq!(stall, ["Invalid", "Forbidden", "CannotOpen", "IncidentUnreadable", "RuleError"]);
}

#[test]
fn clocks_wake_it() {
    let decision = decided(
        &facts(0, PolicyState { waiting_for: vec!["Degraded".to_owned()], ..PolicyState::default() }),
        0,
    );
    assert_eq!(decision.wake_at, Some(at(0) + SignedDuration::from_secs(30)));
}

#[test]
fn a_policy_without_severity_rules_says_who_uses_it() {
    let told = |policy: &str| {
        let rules = Rules::parse(&serde_json::from_str(policy).unwrap()).unwrap();
        let conditions = decide_policy(&facts(8, PolicyState::default()), Some(&rules), at(0)).conditions;
        let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap();
        (ready.status, ready.reason, ready.message)
    };
    let watching = |text: &str| (Verdict::True, "Watching".to_owned(), text.to_owned());
    assert_eq!(told("{}"), watching(NO_SEVERITY_RULES));
    assert_eq!(told(POLICY), watching("no rule holds"));
}

#[test]
fn a_rule_that_is_unknown_though_its_signal_is_known_is_named_without_another_write() {
    let policy = r#"{
        "signals": [{"name": "errors", "prometheus": {"endpoint": "main", "query": "no_such_metric"}}],
        "severity": [{"level": "P0", "reason": "Errors", "when": "signals.errors.value > 0.05"},
            {"level": "P1", "reason": "Some", "when": "signals.errors.value > 0.01 && signals.errors.count > 0"}]
    }"#;
    let rules = Rules::parse(&serde_json::from_str(policy).unwrap()).unwrap();
    let values = BTreeMap::from([("count".to_owned(), FieldValue::Int(0))]);
    let mut facts = facts(8, PolicyState::default());
    facts.signals = [("errors".to_owned(), Reading::Known { values })].into();
    let first = decide_policy(&facts, Some(&rules), at(0));
    let ready = |decision: &PolicyDecision| decision.conditions[0].clone();
    let why = "no rule holds. Errors is Unknown: signals.errors.value has no value (errors: count 0)";
    assert_eq!(ready(&first).message, why);
    assert_eq!(ready(&first).reason, "Watching");
    facts.state = Some(first.next.clone());
    let later = decide_policy(&facts, Some(&rules), at(30));
    assert_eq!((ready(&later), &later.next), (ready(&first), &first.next), "nothing new is written");
}
