//! What makes no sense in a story. Ignoring it silently would make the story
//! prove less than it seems to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use serde_json::{Map, Value};

use super::{Expect, Story};
use crate::expression::{AT_MOST, FieldKind, FieldValue, SignalShape};
use crate::facts::Reading;
use crate::path::FieldPath;
use crate::rules::Shapes;

/// The longest story. No time is slept, but an open Incident is decided again every few seconds of it.
const LONGEST: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Checks everything that can be checked without playing the story.
pub(super) fn check(story: &Story) -> Result<(), String> {
    if story.then.iter().all(|moment| moment.expect == Expect::default()) {
        return Err("it expects nothing, so it proves nothing; add an `expect` to a moment".to_owned());
    }
    for pair in story.then.windows(2) {
        if pair[1].at.length() < pair[0].at.length() {
            return Err(format!("the moment {} comes after {}; sort the moments", pair[1].at, pair[0].at));
        }
    }
    if let Some(late) = story.then.iter().find(|moment| moment.at.length() > LONGEST) {
        return Err(format!("the moment {} is too late; a story covers at most 7 days", late.at));
    }
    let objects = || story.then.iter().flat_map(|moment| &moment.objects);
    let pods = objects().filter_map(|(_, object)| object.pointer("/status/stuckPods")?.as_object());
    let known: BTreeSet<&String> =
        objects().map(|(name, _)| name).chain(pods.flat_map(|pods| pods.keys())).collect();
    for moment in &story.then {
        let expect = &moment.expect;
        let changes = expect.changes.keys().chain(expect.lent.keys());
        let named = changes.map(|key| key.split_once('/').map_or(key.as_str(), |(_, object)| object));
        let unknown = named.chain(expect.objects.keys().map(String::as_str));
        if let Some(name) = unknown.into_iter().find(|name| !known.iter().any(|known| known == name)) {
            return Err(format!("at {}: {name} is expected, but no moment has such an object", moment.at));
        }
        let fields = expect.lent.values().flat_map(|fields| fields.keys());
        let paths = fields.chain(expect.objects.values().flat_map(|fields| fields.keys()));
        for path in paths {
            path.parse::<FieldPath>().map_err(|error| format!("at {}: {path}: {error}", moment.at))?;
        }
    }
    Ok(())
}

/// Whether an API server could have this object.
pub(super) fn object(name: &str, object: &Value, old: Option<&Value>) -> Result<(), String> {
    if name.is_empty() {
        return Err("an object needs a name".to_owned());
    }
    for key in ["apiVersion", "kind"] {
        let is_text = object[key].as_str().is_some_and(|text| !text.is_empty());
        if !is_text {
            return Err(format!("object {name} has no {key}; set it there, or for all objects in `object`"));
        }
        if old.is_some_and(|old| old[key] != object[key]) {
            return Err(format!("object {name} changes its {key}, which is immutable"));
        }
    }
    let metadata = &object["metadata"];
    let texts = |value: &Value| {
        value.is_null() || value.as_object().is_some_and(|map| map.values().all(Value::is_string))
    };
    if !(metadata.is_null() || metadata.is_object()) {
        return Err(format!("the metadata of object {name} is not a mapping"));
    }
    for key in ["labels", "annotations"] {
        if !texts(&metadata[key]) {
            return Err(format!(
                "metadata.{key} of object {name} is not a mapping of strings; quote the values"
            ));
        }
    }
    if !(metadata["namespace"].is_null() || metadata["namespace"].is_string()) {
        return Err(format!("metadata.namespace of object {name} is not a string"));
    }
    Ok(())
}

/// Whether the policy has the signal. If it is rejected, every name is accepted.
pub(super) fn is_signal(signal: &str, shapes: Option<&Shapes>) -> Result<(), String> {
    shapes.map_or(Ok(()), |shapes| shape_of(signal, shapes).map(|_| ()))
}

fn shape_of<'a>(signal: &str, shapes: &'a Shapes) -> Result<&'a SignalShape, String> {
    shapes.get(signal).ok_or_else(|| {
        let known: Vec<&str> = shapes.keys().map(String::as_str).collect();
        format!("the policy has no signal {signal}; it has {}", known.join(", "))
    })
}

/// The reading of a signal. If the policy is rejected there are no shapes, and every name is accepted.
pub(super) fn reading(signal: &str, value: &Value, shapes: Option<&Shapes>) -> Result<Reading, String> {
    let shape = shapes.map(|shapes| shape_of(signal, shapes)).transpose()?;
    let Value::Object(fields) = value else {
        let reason = value.as_str().unwrap_or("Unknown").to_owned();
        return Ok(Reading::Unknown { reason, detail: "as the story says".to_owned() });
    };
    let mut values = BTreeMap::new();
    for (name, value) in fields {
        if SignalShape::ADDED.contains(&name.as_str()) {
            return Err(format!("{signal}.{name} is derived by the engine; remove it"));
        }
        let kind = match shape {
            None => None,
            Some(shape) => Some(*shape.fields.get(bounded(name)).ok_or_else(|| {
                let known = shape.fields.keys().filter(|name| !SignalShape::ADDED.contains(name)).copied();
                format!(
                    "signal {signal} has no field {name}; it has {}",
                    known.collect::<Vec<_>>().join(", ")
                )
            })?),
        };
        let value = field(value, kind).map_err(|why| format!("{signal}.{name}: {why}"))?;
        values.insert(name.clone(), value);
    }
    Ok(Reading::Known { values })
}

/// The field whose upper bound this is, or else the field of this name.
fn bounded(name: &str) -> &str {
    AT_MOST.into_iter().find_map(|(field, at_most)| (at_most == name).then_some(field)).unwrap_or(name)
}

fn field(value: &Value, kind: Option<FieldKind>) -> Result<FieldValue, String> {
    let number = |value: &Value| value.as_i64().ok_or_else(|| format!("{value} is not a whole number"));
    let map = |map: &Map<String, Value>| {
        map.iter().map(|(key, value)| Ok((key.clone(), number(value)?))).collect::<Result<_, String>>()
    };
    match (kind, value) {
        (Some(FieldKind::IntMap) | None, Value::Object(entries)) => map(entries).map(FieldValue::Map),
        (Some(FieldKind::IntMap), _) => Err(format!("{value} is not a mapping of whole numbers")),
        (Some(FieldKind::Double) | None, Value::Number(ratio)) if kind.is_some() || ratio.is_f64() => {
            Ok(FieldValue::Double(ratio.as_f64().unwrap_or_default()))
        }
        (Some(FieldKind::Boolean) | None, Value::Bool(truth)) => Ok(FieldValue::Boolean(*truth)),
        (Some(FieldKind::Boolean), _) => Err(format!("{value} is not true or false")),
        (Some(FieldKind::Double), _) => Err(format!("{value} is not a number")),
        (Some(FieldKind::Int) | None, _) => number(value).map(FieldValue::Int),
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use serde_json::json;

    use super::super::{Story, play, server::merge};
    use super::*;

    /// Why a story that differs in this way from a correct one cannot be played.
    fn why(difference: Value) -> String {
        let mut story = json!({
            "story": "it does not matter",
            "policy": {
                "signals": [{"name": "nodes", "expect": 8, "nodes": {}}],
                "severity": [{"level": "P0", "reason": "Outage", "when": "signals.nodes.readyRatio < 0.5"}],
            },
            "object": {"apiVersion": "apps/v1", "kind": "Deployment"},
            "then": [
                {"at": "0s", "signals": {"nodes": {"total": 8, "readyRatio": 1}}, "objects": {"chat": {}}},
                {"at": "10s", "signals": {"nodes": {"readyRatio": 0}}, "expect": {"severity": "P0"}},
            ],
        });
        for (key, value) in difference.as_object().unwrap() {
            let at = story.pointer_mut(key).unwrap_or_else(|| panic!("{key}"));
            merge(at, value);
        }
        let story = Story::new(story, |_| Err(String::new())).unwrap();
        let never = Rc::new(|_: &_, _: Option<&_>| unreachable!("there is no step"));
        play(&story, never).err().unwrap_or_default()
    }

    #[test]
    fn what_would_be_passed_over_in_silence_is_an_error_that_says_so() {
        assert_eq!(why(json!({})), "", "a whole number is a ratio too");
        let table = [
            (json!({"/then/1": {"expect": null}}), "it expects nothing"),
            (json!({"/then/0": {"at": "1m"}}), "the moment 10s comes after 1m; sort the moments"),
            (
                json!({"/then/1": {"at": "169h"}}),
                "the moment 169h is too late; a story covers at most 7 days",
            ),
            (json!({"/then/1/expect": {"changes": {"chta": "None"}}}), "at 10s: chta is expected, but no"),
            (json!({"/then/1/expect": {"lent": {"a/chta": {}}}}), "at 10s: chta is expected"),
            (json!({"/then/1/expect": {"objects": {"chat": {"spec.x": 1}}}}), "at 10s: spec.x: "),
            (json!({"/then/0/signals": {"nods": "Unknown"}}), "has no signal nods; it has nodes"),
            (json!({"/then/0/signals/nodes": {"raedy": 3}}), "has no field raedy; it has allocatable, cap"),
            (json!({"/then/0/signals/nodes": {"expected": 3}}), "nodes.expected is derived by the engine"),
            (json!({"/then/0/signals/nodes": {"total": 0.5}}), "nodes.total: 0.5 is not a whole number"),
            (json!({"/then/0/signals/nodes": {"total": {"a": 1}}}), "is not a whole number"),
            (json!({"/then/0/signals/nodes": {"readyRatio": "a"}}), "\"a\" is not a number"),
            (json!({"/then/0/signals/nodes": {"allocatable": 8}}), "8 is not a mapping"),
            (
                json!({"/policy/severity/0": {"when": "signals.x.y == 1"}}),
                "the policy is rejected: spec.severity",
            ),
        ];
        for (difference, expected) in table {
            let found = why(difference.clone());
            assert!(found.contains(expected), "{difference}: {found}");
        }
    }

    #[test]
    fn an_object_is_one_that_a_server_could_have() {
        let table = [
            (json!({"/object": {"kind": null}}), "object chat has no kind; set it there, or for all objects"),
            (json!({"/then/0/objects": {"chat": 3}}), "object chat has no apiVersion"),
            (json!({"/then/0/objects/chat": {"metadata": 3}}), "metadata of object chat is not a mapping"),
            (json!({"/then/0/objects/chat": {"metadata": {"labels": {"a": true}}}}), "quote the values"),
            (json!({"/then/0/objects/chat": {"metadata": {"namespace": 1}}}), "namespace of object chat"),
            (
                json!({"/then/1": {"objects": {"chat": {"kind": "Job"}}}}),
                "at 10s: object chat changes its kind",
            ),
        ];
        for (difference, expected) in table {
            let found = why(difference.clone());
            assert!(found.contains(expected), "{difference}: {found}");
        }
    }
}
