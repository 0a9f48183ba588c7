//! Which reasons end without a person. The table in `reason.rs` says so, and the stories show it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use firebreak_engine::reason::{MovesOn, Reason, Stops};
use serde_json::Value;

/// What people do in a moment of a story, and the changes that only they can make.
const DEEDS: [&str; 9] = [
    "person",
    "policy",
    "approve",
    "approvals",
    "settleOperations",
    "brake",
    "pinned",
    "unreadable",
    "terminating",
];

/// Stories have no Incident without a policy; the test of `course.rs` has one.
const NOT_TOLD: [Reason; 1] = [Reason::NoPolicy];

/// It is retried all the time, and may end with the fault that caused it. People are told nevertheless, because
/// usually a permission is missing.
const RETRIED: [Reason; 1] = [Reason::CannotPutBack];

/// What happened between two moments of a story in which different reasons hold the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Meanwhile {
    Time,
    Facts,
    Deeds,
}

/// For each reason that holds a response in a story: what was sufficient to end it.
fn ends() -> BTreeMap<Reason, BTreeSet<Meanwhile>> {
    let mut ends: BTreeMap<Reason, BTreeSet<Meanwhile>> = BTreeMap::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories")).unwrap() {
        let story: Value =
            serde_saphyr::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        let mut held: Option<(Reason, Meanwhile)> = None;
        for moment in story["then"].as_array().into_iter().flatten() {
            let keys = || moment.as_object().unwrap().keys().map(String::as_str);
            let meanwhile = match () {
                () if keys().any(|key| DEEDS.contains(&key)) => Meanwhile::Deeds,
                () if keys().any(|key| !["at", "expect"].contains(&key)) => Meanwhile::Facts,
                () => Meanwhile::Time,
            };
            held = held.map(|(reason, before)| (reason, before.max(meanwhile)));
            let expect = &moment["expect"];
            let now = expect["held"].as_str().map(Reason::from);
            let is_over = expect["phase"] == "Resolved" || now.is_some();
            if let Some((reason, meanwhile)) =
                held.clone().filter(|(old, _)| is_over && now.as_ref() != Some(old))
            {
                ends.entry(reason).or_default().insert(meanwhile);
                held = None;
            }
            // Reported again, it is still the same wait.
            if let Some(reason) = now.filter(|reason| held.is_none() && *reason != Reason::from("None")) {
                ends.entry(reason.clone()).or_default();
                held = Some((reason, Meanwhile::Time));
            }
        }
    }
    ends
}

#[test]
fn what_moves_on_by_itself_is_shown_to_do_so_and_what_needs_a_person_does_not_with_time() {
    let ends = ends();
    for reason in Reason::ALL {
        let shown = ends.get(reason);
        let holds = shown.is_some() || reason.stops() == Stops::NewChanges;
        assert!(!holds || shown.is_some() || NOT_TOLD.contains(reason), "no story is held by {reason}");
        let Some(shown) = shown else { continue };
        match reason.moves_on() {
            MovesOn::Itself => {
                let without = shown.iter().any(|meanwhile| *meanwhile < Meanwhile::Deeds);
                assert!(without, "no story shows that {reason} is over without a person: {shown:?}");
            }
            MovesOn::Person if RETRIED.contains(reason) => {}
            MovesOn::Person => {
                assert!(!shown.contains(&Meanwhile::Time), "{reason} needs a person, and time alone ends it");
            }
            MovesOn::Nothing => panic!("{reason} says how something ended, and holds a response"),
        }
    }
}
