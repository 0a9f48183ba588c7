//! Every story of the engine ends each span once, and one response by hand shows what the spans say.

#[path = "../../../../engine/tests/proof/workload.rs"]
#[expect(dead_code, reason = "the proofs of the engine use the rest")]
mod workload;

mod endings;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::rc::Rc;

use firebreak_engine::change::{Change, ChangeState, Delivery, FieldChange};
use firebreak_engine::id::{ChangeId, ResourceVersion, TargetId};
use firebreak_engine::incident::{
    Because, Closing, Held, PolicySnapshot, StepState, StepStatus, TimelineEntry, WITHDRAWAL_STARTED,
    Withdrawal,
};
use firebreak_engine::phase;
use firebreak_engine::policy::{PolicySpec, Severity};
use firebreak_engine::reason::Reason;
use firebreak_engine::rules::{Fault, Rules};
use firebreak_engine::story::{Means, Story, play_with};
use serde_json::{Value as Json, json};

use super::super::span::Value;
use super::*;
use crate::api::condition::merge;

/// The status of a state, as the controller stores it.
fn status(before: &IncidentStatus, state: &IncidentState, at: Timestamp) -> IncidentStatus {
    let conditions = merge(&before.conditions, phase::conditions(state), 1, at);
    IncidentStatus { conditions, state: state.clone(), ..IncidentStatus::default() }
}

/// The status as another process reads it.
fn read_again(status: &IncidentStatus) -> IncidentStatus {
    serde_json::from_value(serde_json::to_value(status).unwrap()).unwrap()
}

/// What was told of one Incident.
#[derive(Default)]
struct Told {
    status: IncidentStatus,
    spans: BTreeMap<SpanId, Span>,
    wrong: Vec<String>,
}

impl Told {
    fn hear(&mut self, incident: &IncidentId, next: &IncidentState, at: Timestamp) {
        let after = status(&self.status, next, at);
        let spans = ended(incident, &self.status, &after, at);
        if !spans.is_empty() && ended(incident, &read_again(&self.status), &read_again(&after), at) != spans {
            self.wrong.push(format!("at {at}: another process would tell something else"));
        }
        for span in spans {
            if span.end < span.start || span.end > at || span.trace != TraceId::of(&incident.uid) {
                self.wrong.push(format!("at {at}: {span:?}"));
            }
            if let Some(twice) = self.spans.insert(span.id, span) {
                let again = &self.spans[&twice.id];
                self.wrong.push(format!("at {at}, twice: {twice:?}, then {again:?}"));
            }
        }
        self.status = after;
    }

    /// What is missing now that the Incident is closed.
    fn missing(&self, incident: &IncidentId) -> Vec<String> {
        let ids: BTreeSet<SpanId> = self.spans.keys().copied().collect();
        let id = |what: &[&str]| SpanId::of(&incident.uid, what);
        let state = &self.status.state;
        let steps = state.steps.iter().filter_map(|step| {
            Some((step.name.clone(), id(&["step", &step.name, &step.started_at?.to_string()])))
        });
        let is_own = |change: &&Change| change.round > 0 && change.joined_at.is_some();
        let changes = state.changes.iter().filter(is_own).map(|change| {
            let joined = change.joined_at.map(|at| at.to_string()).unwrap_or_default();
            (change.subject(), id(&["apply", change.id.as_str(), &joined]))
        });
        let parents = self.spans.values().filter_map(|span| Some((span.name.clone(), span.parent?)));
        let wanted = [("the root".to_owned(), id(&["incident"]))];
        let wanted = wanted.into_iter().chain(steps).chain(changes).chain(parents);
        wanted.filter(|(_, id)| !ids.contains(id)).map(|(name, _)| name).collect()
    }
}

fn read(path: &Path) -> Result<Json, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// As the proofs of the engine play them.
fn rehearsing(spec: &PolicySpec) -> Result<Rules, Vec<Fault>> {
    let mut spec = spec.clone();
    for step in &mut spec.steps {
        step.rehearse = match step.name.as_str() {
            "at-most-once" => Some(Delivery::AtMostOnce),
            "keyed" => Some(Delivery::Keyed),
            _ => None,
        };
    }
    Rules::parse(&spec)
}

/// What is wrong with the spans of a story.
fn wrong_in(path: &Path) -> Vec<String> {
    let dir = path.parent().unwrap();
    let story = read(path).and_then(|text| Story::new(text, |name| read(&dir.join(name)))).unwrap();
    let told: Rc<RefCell<BTreeMap<IncidentId, Told>>> = Rc::default();
    let hearing = Rc::clone(&told);
    let means = Means {
        translate: workload::translate(),
        runs: Rc::new(|_, _, _| {}),
        accept: Rc::new(rehearsing),
        hears: Rc::new(move |incident, _, next, at| {
            hearing.borrow_mut().entry(incident.clone()).or_default().hear(incident, next, at);
        }),
    };
    play_with(&story, means).unwrap();
    let told = told.borrow();
    let wrong = told.iter().flat_map(|(incident, told)| {
        let is_closed = told.status.state.resolved_at.is_some();
        let missing = if is_closed { told.missing(incident) } else { Vec::new() };
        told.wrong.iter().cloned().chain(missing.into_iter().map(|name| format!("missing: {name}")))
    });
    wrong.collect()
}

/// Every fourth story, so that the cores share them.
fn each_story_is_told_once(part: usize) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/tests/stories");
    let mut paths: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.retain(|path| !path.ends_with("outage.yaml"));
    let wrong: Vec<String> = paths
        .iter()
        .skip(part)
        .step_by(4)
        .flat_map(|path| wrong_in(path).into_iter().map(|why| format!("{}: {why}", path.display())))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(paths.len() > 100, "where are the stories?");
}

#[test]
fn every_story_ends_each_span_once_and_every_parent_comes() {
    each_story_is_told_once(0);
}

#[test]
fn every_story_ends_each_span_once_and_every_parent_comes_part_2() {
    each_story_is_told_once(1);
}

#[test]
fn every_story_ends_each_span_once_and_every_parent_comes_part_3() {
    each_story_is_told_once(2);
}

#[test]
fn every_story_ends_each_span_once_and_every_parent_comes_part_4() {
    each_story_is_told_once(3);
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn incident() -> IncidentId {
    IncidentId { namespace: "serving".to_owned(), name: "outage".to_owned(), uid: "uid-1".to_owned() }
}

/// A model whose argument is a secret.
fn change(name: &str) -> Change {
    let target = TargetId {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: "serving".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-of-{name}"),
    };
    let field = FieldChange {
        path: "/spec/replicas".parse().unwrap(),
        before: Some(json!("hunter2-before")),
        after: Some(json!("hunter2-after")),
        created: None,
        owner: None,
        ceded_to: None,
        beside: None,
    };
    Change::planned(ChangeId::of("uid-1", "one", name), "one", target, vec![field])
}

fn version(number: u32) -> ResourceVersion {
    number.to_string().try_into().unwrap()
}

/// One response, told status by status.
struct Response {
    told: Told,
    state: IncidentState,
    now: Timestamp,
    /// The spans that the last status has ended.
    newest: Vec<Span>,
}

impl Response {
    fn opened() -> Self {
        let policy = PolicySnapshot { name: "gpu-loss".to_owned(), ..PolicySnapshot::default() };
        let state = IncidentState {
            opened_at: Some(at(0)),
            worst_severity: Some(Severity::P0),
            policy: Some(policy),
            timeline: vec![entry(0, "Opened")],
            ..IncidentState::default()
        };
        let mut response = Self { told: Told::default(), state, now: at(0), newest: Vec::new() };
        response.next(0, |_| {});
        response
    }

    /// Another status, in which this has happened.
    fn next(&mut self, second: i64, edit: impl FnOnce(&mut IncidentState)) -> &[Span] {
        edit(&mut self.state);
        self.now = at(second);
        let known: BTreeSet<SpanId> = self.told.spans.keys().copied().collect();
        self.told.hear(&incident(), &self.state, self.now);
        let new = self.told.spans.values().filter(|span| !known.contains(&span.id));
        self.newest = new.cloned().collect();
        self.newest.sort_by(|a, b| a.name.cmp(&b.name));
        &self.newest
    }
}

fn entry(second: i64, type_: &str) -> TimelineEntry {
    TimelineEntry { at: at(second), type_: type_.to_owned(), message: "hunter2-message".to_owned() }
}

fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

fn attribute<'a>(span: &'a Span, name: &str) -> &'a str {
    match span.attributes.iter().find(|(own, _)| *own == name) {
        Some((_, Value::Text(text))) => text,
        other => panic!("{name}: {other:?}"),
    }
}

fn times(span: &Span) -> (Timestamp, Timestamp) {
    (span.start, span.end)
}

#[test]
fn a_whole_response_is_told_as_it_happened() {
    let mut response = Response::opened();
    let started = |state: &mut IncidentState| {
        let step = StepStatus {
            name: "one".to_owned(),
            state: StepState::Applying,
            started_at: Some(at(10)),
            ..StepStatus::default()
        };
        state.steps.push(step);
        for name in ["chat", "search"] {
            let mut change = change(name);
            change.intend(version(1), at(10));
            state.changes.push(change);
        }
    };
    assert_eq!(names(response.next(10, started)), Vec::<&str>::new(), "nothing has ended yet");

    let spans = response.next(12, |state| state.changes[0].applied(at(12)));
    assert_eq!(names(spans), ["apply Deployment"]);
    assert_eq!(times(&spans[0]), (at(10), at(12)));
    assert_eq!(attribute(&spans[0], "firebreak.target.name"), "chat");
    assert_eq!(attribute(&spans[0], "firebreak.outcome"), "applied");
    let step = spans[0].parent.unwrap();

    let spans = response.next(13, |state| {
        state.changes[1].stand(ChangeState::Failed, Reason::Refused, "hunter2-message");
    });
    assert_eq!(spans[0].error.as_deref(), Some("Refused"));
    assert_eq!((times(&spans[0]), spans[0].parent), ((at(10), at(13)), Some(step)));

    let spans = response.next(20, |state| {
        state.held = Some(Held::new(Reason::StepFailed, "hunter2-message").of_step("one"));
    });
    assert_eq!(names(spans), Vec::<&str>::new(), "it waits still");
    let spans = response.next(50, |state| state.held = None);
    assert_eq!(names(spans), ["waits for a person"]);
    assert_eq!(times(&spans[0]), (at(20), at(50)));
    assert_eq!(attribute(&spans[0], "firebreak.reason"), "StepFailed");

    let spans = response.next(60, |state| {
        state.changes[0].verified(at(60));
        state.steps[0].verified_at = Some(at(60));
        state.steps[0].state = StepState::Verified;
    });
    assert_eq!((names(spans), spans[0].id), (vec!["step one"], step));
    assert_eq!(times(&spans[0]), (at(10), at(60)));
    assert_eq!(attribute(&spans[0], "firebreak.outcome"), "verified");

    response.next(100, |state| {
        state.withdrawal = Some(Withdrawal {
            because: Because::Recovered,
            step: Some("one".to_owned()),
            waves: 1,
            wave: vec![state.changes[0].id.clone()],
            healthy_at: None,
        });
        state.timeline.push(entry(100, "WithdrawalStarted"));
        state.changes[0].begin_return(version(2), at(100));
    });
    let spans = response.next(104, |state| state.changes[0].record_is_gone(at(104)));
    assert_eq!(names(spans), ["revert Deployment"]);
    assert_eq!((times(&spans[0]), spans[0].parent), ((at(100), at(104)), Some(step)));
    assert_eq!(attribute(&spans[0], "firebreak.outcome"), "reverted");

    assert_eq!(names(response.next(105, |state| state.changes[0].returned())), Vec::<&str>::new());
    let spans = response.next(110, |state| {
        let withdrawal = state.withdrawal.as_mut().unwrap();
        withdrawal.wave.clear();
        state.steps[0].state = StepState::Returned;
        state.steps[0].finished_at = Some(at(110));
    });
    assert_eq!(names(spans), ["wave of one"]);
    assert_eq!(times(&spans[0]), (at(104), at(110)));
    let withdrawal = spans[0].parent.unwrap();

    let spans = response.next(120, |state| {
        state.withdrawal = None;
        state.closing = Some(Closing::Recovered);
        state.resolved_at = Some(at(120));
        state.timeline.push(entry(120, "Resolved"));
    });
    assert_eq!(names(spans), ["Incident gpu-loss", "withdrawal"]);
    assert_eq!((times(&spans[1]), spans[1].id), ((at(100), at(120)), withdrawal));
    let root = &spans[0];
    assert_eq!((times(root), root.parent), ((at(0), at(120)), None));
    assert_eq!(attribute(root, "k8s.namespace.name"), "serving");
    assert_eq!(attribute(root, "firebreak.incident"), "outage");
    assert_eq!(attribute(root, "firebreak.policy"), "gpu-loss");
    assert_eq!(attribute(root, "firebreak.severity"), "P0");
    assert_eq!(attribute(root, "firebreak.outcome"), "Recovered");
    let events: Vec<&str> = root.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["Opened", "WithdrawalStarted", "Resolved"]);

    assert_eq!(response.told.wrong, Vec::<String>::new());
    assert_eq!(response.told.missing(&incident()), Vec::<String>::new());
    let everything = format!("{:?}", response.told.spans);
    assert!(everything.contains("/spec/replicas") && !everything.contains("hunter2"), "{everything}");
    assert_eq!(names(response.next(130, |_| {})), Vec::<&str>::new(), "a closed Incident ends nothing");
}
