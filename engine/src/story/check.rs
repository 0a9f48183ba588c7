//! What must be true of every decision in every story, and what may be
//! left on an object at the end.

use std::collections::BTreeSet;

use serde_json::Value;

use super::server::leaves;
use crate::decide::Decision;
use crate::effect::{Act, Effect, Guard};
use crate::facts::Facts;
use crate::incident::{Held, IncidentState};
use crate::reason::MovesOn;
use crate::undo;

/// A person who must act is told how: what holds the response until a person acts names a command.
pub(super) fn check_person_is_told(decision: &Decision) -> Result<(), String> {
    let held = decision.next.held.iter().find(|held| held.reason.moves_on() == MovesOn::Person);
    let names_command = |held: &Held| ["`firebreak ", "`kubectl "].iter().any(|c| held.message.contains(c));
    match held.filter(|held| !names_command(held)) {
        Some(held) => Err(format!("{} names no command: {}", held.reason, held.message)),
        None => Ok(()),
    }
}

/// The parts of two states that differ.
pub(super) fn difference(old: &IncidentState, new: &IncidentState) -> String {
    let json = |state| serde_json::to_value(state).unwrap_or_default();
    let (old, new) = (json(old), json(new));
    let (old, new) = (leaves(&old), leaves(&new));
    let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let parts = keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).map(|key| {
        let text = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
        format!("{} was {} and is {}", key.join("/"), text(old.get(key)), text(new.get(key)))
    });
    parts.collect::<Vec<_>>().join("; ")
}

/// A decision that writes anything must change the state, because only a recorded
/// state keeps a controller with an old view from acting.
///
/// # Errors
/// The effects without a recorded change of state.
pub fn check_effects_are_recorded(facts: &Facts, decision: &Decision) -> Result<(), String> {
    if !decision.effects.is_empty() && decision.next == facts.state {
        return Err(format!("effects without a record: {:?}", decision.effects));
    }
    let mut objects: Vec<&str> =
        decision.effects.iter().map(|effect: &Effect| effect.target.uid.as_str()).collect();
    let number = objects.len();
    objects.sort_unstable();
    objects.dedup();
    if number != objects.len() {
        return Err("two writes of one object in one decision".to_owned());
    }
    for effect in &decision.effects {
        let change = decision.next.changes.iter().find(|change| change.id == effect.change);
        let is_recorded = change.is_some_and(|change| match effect.write.guard() {
            Guard::Version(base) => {
                let is_open = match effect.act {
                    Act::Apply => change.is_open_intent(),
                    Act::Operate(_) => change.is_open_operation(),
                    Act::Amend | Act::Return | Act::Fence | Act::HandBack => true,
                };
                change.base() == Some(&base) && is_open
            }
            Guard::Request(request) => {
                change.is_open_operation()
                    && change.target == effect.target
                    && change.request(&facts.incident) == Some(request)
            }
        });
        if !is_recorded {
            return Err(format!("{:?} of {} without its intent", effect.act, effect.target));
        }
    }
    Ok(())
}

/// Everything of Firebreak's that is left on an object.
pub fn traces(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for key in [undo::UNDO, undo::FENCE] {
        if undo::annotation(object, key).is_some() {
            found.push(key.to_owned());
        }
    }
    if object["metadata"]["labels"].get(undo::INCIDENT).is_some() {
        found.push(undo::INCIDENT.to_owned());
    }
    for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
        if entry["manager"] == undo::MANAGER {
            found.push(format!("managedFields {}", entry["fieldsV1"]));
        }
    }
    found
}
