//! The journal never holds more than the schema allows, and real changes come first.

use std::rc::Rc;
use std::sync::Arc;

use firebreak_engine::change::ChangeState;
use firebreak_engine::facts::{Role, Slot};
use firebreak_engine::incident::IncidentState;
use firebreak_engine::reason::Reason;
use firebreak_engine::story::world::{Controller, Translate, World};
use serde_json::{Value, json};

use crate::workload::{model_server, path, reading, rules, target, translate};

const POLICY: &str = r#"
mode: Enforce
signals:
- {name: nodes, expect: 8, nodes: {}}
severity:
- {level: P0, reason: Outage, when: "signals.nodes.ready == 0"}
steps:
- name: fallback
  action: {cpuFallback: {targets: {apiVersion: apps/v1, kind: Deployment}, quantization: int8}}
guardrails: {maxTargets: 300}
"#;

fn world(objects: impl Iterator<Item = Value>, translate: Translate) -> World {
    let mut rules = rules(POLICY);
    rules.limits.max_targets = 1000;
    let mut world = World::new(Some(rules), translate);
    for mut object in objects {
        object["status"]["phase"] = json!("Failed");
        world.server.create(object, "flux/Apply");
    }
    world.signals.insert("nodes".to_owned(), reading(&[("total", 8), ("ready", 0)]));
    world
}

/// Runs for ten seconds; all targets that can join have joined by then.
fn settled(mut world: World) -> IncidentState {
    let mut controller = Controller::default();
    for _ in 0..10 {
        while world.round(&mut controller).unwrap().1 {}
        let size: usize = world.state().changes.iter().map(|c| serde_json::to_string(c).unwrap().len()).sum();
        assert!(world.state().changes.len() <= 300 && size <= 512 * 1024, "{size} bytes");
        world.pass(1000);
    }
    world.state().clone()
}

fn number(incident: &IncidentState, state: ChangeState, reason: Option<Reason>) -> usize {
    incident.changes.iter().filter(|c| c.state == state && c.reason == reason).count()
}

fn noted(name: &str, length: usize) -> Value {
    let mut object = model_server(name, 4);
    object["spec"]["model"]["quantization"] = json!({"precision": "x".repeat(length)});
    object
}

#[test]
fn entries_that_only_say_why_nothing_is_done_make_room_for_changes() {
    let exempt = (0..280).map(|at| {
        let mut object = model_server(&format!("a{at}"), 4);
        object["metadata"]["annotations"] = json!({"firebreak.dev/exempt": "true"});
        object
    });
    let incident =
        settled(world(exempt.chain((0..120).map(|at| model_server(&format!("b{at}"), 4))), translate()));
    assert_eq!(number(&incident, ChangeState::Applied, None), 120);
    assert_eq!(number(&incident, ChangeState::Skipped, Some(Reason::Exempt)), 180);
}

#[test]
fn changes_that_do_not_fit_into_a_full_journal_are_not_made() {
    let world = world((0..310).map(|at| model_server(&format!("m{at}"), 4)), translate());
    let incident = settled(world);
    assert_eq!(number(&incident, ChangeState::Applied, None), 300);
}

#[test]
fn a_journal_is_full_of_bytes_too() {
    let incident = settled(world((0..200).map(|at| noted(&format!("m{at}"), 2800)), translate()));
    let applied = number(&incident, ChangeState::Applied, None);
    assert!((120..150).contains(&applied), "{applied} applied");
    assert_eq!(incident.steps[0].reason, Some(Reason::JournalFull));
}

#[test]
fn an_entry_that_is_too_large_is_refused() {
    let incident = settled(world([noted("large", 5000), model_server("small", 4)].into_iter(), translate()));
    assert_eq!(number(&incident, ChangeState::Applied, None), 1);
    assert_eq!(number(&incident, ChangeState::Skipped, Some(Reason::EntryTooLarge)), 1);
    assert!(
        incident
            .changes
            .iter()
            .all(|change| change.state == ChangeState::Applied || change.fields().is_empty())
    );
}

#[test]
fn a_change_of_more_fields_than_the_schema_allows_is_refused() {
    let many: Translate = Rc::new(|object: &Arc<Value>, condition| {
        let mut found = target(object, condition);
        found.slots.fields.extend((0..64).map(|at| Slot {
            role: Role::QuantizationPrecision,
            path: path(&format!("/q/{at}")),
            out_of_bounds: None,
            absent: None,
        }));
        found
    });
    let incident = settled(world([model_server("chat", 4)].into_iter(), many));
    assert_eq!(number(&incident, ChangeState::Skipped, Some(Reason::EntryTooLarge)), 1);
}
