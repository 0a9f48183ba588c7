//! A plan has the same hash as in the previous release, so that an approval which a person has given counts after an
//! upgrade.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use firebreak::acceptance;
use firebreak::api::{Incident, RemediationPolicy};
use firebreak::workloads::{self, Profiles};
use firebreak_engine::expression::FieldValue;
use firebreak_engine::facts::{PolicyFact, Reading};
use firebreak_engine::incident::ApprovalState;
use firebreak_engine::intent::Approval;
use firebreak_engine::story::world::{Controller, Translate, World};
use kube::ResourceExt;
use serde_json::Value;

/// The Incident that waits for an approval, and its targets, as they were recorded: see `tests/live/upgrade/README.md`.
fn recorded() -> (Value, Incident, World) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/upgrade/fixtures/approval.json");
    let recorded: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let policy: RemediationPolicy = serde_json::from_value(recorded["policy"].clone()).unwrap();
    let incident: Incident = serde_json::from_value(recorded["incidents"][0].clone()).unwrap();
    let profiles = Profiles::built_in().unwrap();
    let rules = acceptance::accept(&policy.spec.policy, &profiles).unwrap();
    let translate: Translate = Rc::new(move |object: &Arc<Value>, where_| {
        let text = |key: &str| object[key].as_str().unwrap();
        let profile = profiles.find(text("apiVersion"), text("kind")).map(Arc::as_ref);
        workloads::target(profile, Arc::clone(object), where_, None, &BTreeSet::new()).unwrap()
    });

    let mut world = World::new(Some(rules), translate);
    world.policy = PolicyFact::Usable {
        uid: policy.uid().unwrap(),
        name: policy.name_any(),
        generation: policy.metadata.generation.unwrap(),
        service_account: policy.spec.policy.service_account_name.clone(),
        responses: Vec::new(),
    };
    world.incident = incident.identity();
    world.namespace = incident.namespace();
    world.recorded = vec![incident.state()];
    world.now = recorded["recordedAt"].as_str().unwrap().parse().unwrap();
    for target in recorded["targets"].as_array().unwrap() {
        let object = &target["stored"];
        let name = object["metadata"]["name"].as_str().unwrap();
        world.server.objects.insert(name.to_owned(), Arc::new(object.clone()));
    }
    let alarm = [("total", 1), ("expected", 1), ("missing", 0), ("healthy", 0), ("unhealthy", 1)];
    let values = alarm.map(|(field, value)| (field.to_owned(), FieldValue::Int(value)));
    world.signals = BTreeMap::from([("alarm".to_owned(), Reading::Known { values: values.into() })]);
    (recorded, incident, world)
}

#[test]
fn an_approval_of_a_plan_that_the_release_before_has_published_counts() {
    let (_, incident, mut world) = recorded();
    let step = &incident.state().steps[0];
    let plan_hash = step.plan_hash.clone().unwrap();
    let approval = Approval { step: step.name.clone(), plan_hash, approved_by: "alice".to_owned() };
    world.intent.approvals = vec![approval];
    let mut controller = Controller::default();
    while world.round(&mut controller).unwrap().1 {}
    let state = world.state();
    assert_eq!(state.steps[0].approval.as_ref().unwrap().state, ApprovalState::Used);
    assert_eq!(state.in_force(), 2, "{:#?}", state.steps);
}

#[test]
fn a_plan_that_the_release_before_has_published_stays_as_it_is() {
    let (recorded, incident, mut world) = recorded();
    while world.round(&mut Controller::default()).unwrap().1 {}
    let now = serde_json::to_value(world.state()).unwrap();
    let status = &recorded["incidents"][0]["status"];
    assert_eq!(now["steps"][0]["planHash"], status["steps"][0]["planHash"], "{}", incident.name_any());
    assert_eq!(now["changes"], status["changes"], "{}", incident.name_any());
}
