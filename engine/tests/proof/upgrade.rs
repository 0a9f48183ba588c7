//! What the previous release has stored is read, and nothing is lost when it is written again.

use std::fs;
use std::path::Path;

use firebreak_engine::incident::{IncidentState, RuleStatus, SignalStatus};
use firebreak_engine::policy::PolicySpec;
use firebreak_engine::response::RecentResponse;
use firebreak_engine::undo::{UNDO, UndoRecord, annotation};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The fields that the API derives from the state of the engine and stores beside it.
const DERIVED: [&str; 5] = ["changesInForce", "conditions", "observedGeneration", "phase", "progress"];

/// Everything that was recorded, each with the name of its response. See `tests/live/upgrade/README.md`.
fn stored() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/live/upgrade/fixtures");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let stored: Vec<_> = entries
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
        })
        .collect();
    assert!(stored.len() >= 11, "where are the fixtures?");
    stored
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What is stored after reading and writing it again.
fn rewritten<T: DeserializeOwned + Serialize>(what: &str, stored: &Value) -> Value {
    let read: T = serde_json::from_value(stored.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
    serde_json::to_value(&read).unwrap()
}

fn assert_same(what: &str, written: &Value, stored: &Value) {
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    assert_eq!(pretty(written), pretty(stored), "{what}");
}

fn assert_kept<T: DeserializeOwned + Serialize>(what: &str, stored: &Value) {
    assert_same(what, &rewritten::<T>(what, stored), stored);
}

/// Removes the deletions of pods from the stored changes, and from the written ones the operations that they have
/// become: one for each, sent at the same time.
fn take_deletions(stored: &mut Value, written: &mut Value) {
    let mut deletions = Vec::new();
    for change in stored["changes"].as_array_mut().into_iter().flatten() {
        let pods = change.as_object_mut().unwrap().remove("pods").unwrap_or_default();
        for pod in list(&pods) {
            deletions.push((change["target"]["uid"].clone(), pod["uid"].clone(), pod["sentAt"].clone()));
        }
    }
    let mut operations = Vec::new();
    if let Some(changes) = written["changes"].as_array_mut() {
        changes.retain(|change| {
            let is_operation = change["kind"] == "Operation";
            if is_operation {
                assert_eq!(
                    (&change["operation"], &change["state"]),
                    (&json!("DeletePod"), &json!("Intended"))
                );
                let [owner, pod] =
                    [&change["onBehalfOf"], &change["target"]].map(|object| object["uid"].clone());
                operations.push((owner, pod, change["sentAt"].clone()));
            }
            !is_operation
        });
    }
    assert_eq!(operations, deletions);
}

#[test]
fn the_state_of_every_stored_incident_is_kept() {
    for (name, recorded) in stored() {
        for incident in list(&recorded["incidents"]) {
            let mut state = incident["status"].clone();
            let fields = state.as_object_mut().unwrap();
            fields.retain(|field, _| !DERIVED.contains(&field.as_str()));
            let mut written = rewritten::<IncidentState>(&name, &state);
            take_deletions(&mut state, &mut written);
            assert_same(&name, &written, &state);
        }
    }
}

#[test]
fn the_undo_record_on_every_stored_target_is_kept() {
    let mut records = 0;
    for (name, recorded) in stored() {
        for target in list(&recorded["targets"]) {
            if let Some(text) = annotation(&target["stored"], UNDO) {
                assert_kept::<UndoRecord>(&name, &serde_json::from_str(text).unwrap());
                records += 1;
            }
        }
    }
    assert!(records >= 10, "{records} records");
}

#[test]
fn every_stored_policy_is_kept_with_its_responses_and_its_rules() {
    for (name, recorded) in stored() {
        let policy = &recorded["policy"];
        assert_kept::<PolicySpec>(&name, &policy["spec"]);
        let status = &policy["status"];
        assert_kept::<Vec<RecentResponse>>(&name, &status["recentResponses"]);
        assert_kept::<Vec<RuleStatus>>(&name, &status["rules"]);
        assert_kept::<Vec<SignalStatus>>(&name, &status["signals"]);
    }
}
