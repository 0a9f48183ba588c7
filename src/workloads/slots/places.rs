//! Where the pods of an object may run: what their node selectors and required node affinities ask for, as it is and
//! without what only nodes with accelerators satisfy.

use std::collections::BTreeMap;

use firebreak_engine::path::FieldPath;
use firebreak_engine::placement::{Constraints, Is, Node, Of, Place, Requirement};
use firebreak_engine::value::{is_zero, whole};
use serde_json::Value;

use super::placement::release_affinity;
use crate::workloads::profile::{AcceleratorNames, Pattern, Profile};

/// `affinity`, `nodeAffinity`, `requiredDuringSchedulingIgnoredDuringExecution`.
const AFFINITY_DEPTH: usize = 3;

/// One for each kind of pods that is bound to some nodes.
pub(super) fn places(profile: &Profile, object: &Value) -> Vec<Place> {
    let names = &profile.names;
    // The fields of one pod have the same parent.
    let mut pods: BTreeMap<&[_], Place> = BTreeMap::new();
    for path in &profile.placement.node_selector {
        let Some(labels) = path.node(object).and_then(Value::as_object) else { continue };
        let place = pods.entry(parent(path, 1)).or_default();
        for (key, value) in
            labels.iter().filter(|(key, value)| !value.is_null() && !is_everywhere(names, key))
        {
            let requirement = equals(key, value);
            if !Pattern::any(&names.placement_keys, key) {
                place.released.selector.push(requirement.clone());
            }
            place.kept.selector.push(requirement);
        }
    }
    for path in &profile.placement.required_node_affinity {
        let Some(required) = path.node(object).filter(|required| !required.is_null()) else { continue };
        let place = pods.entry(parent(path, AFFINITY_DEPTH)).or_default();
        place.kept.terms = terms(names, required);
        place.released.terms = match release_affinity(names, required) {
            None => place.kept.terms.clone(),
            Some(released) => released.and_then(|released| terms(names, &released)),
        };
    }
    pods.into_values().filter(|place| place.kept != Constraints::default()).collect()
}

fn parent(path: &FieldPath, depth: usize) -> &[firebreak_engine::path::Segment] {
    let segments = path.segments();
    &segments[..segments.len().saturating_sub(depth)]
}

/// Whether every node that could run the pods has this label.
fn is_everywhere(names: &AcceleratorNames, key: &str) -> bool {
    Pattern::any(&names.every_node, key)
}

fn equals(key: &str, value: &Value) -> Requirement {
    let text = value.as_str().unwrap_or_default();
    Requirement {
        of: Of::Label(key.to_owned()),
        is: value.as_str().map_or(Is::Never, |value| Is::In(vec![value.to_owned()])),
        text: format!("{key}={text}"),
    }
}

/// The terms of a required node affinity; none if one of them matches every node.
fn terms(names: &AcceleratorNames, required: &Value) -> Option<Vec<Vec<Requirement>>> {
    let list =
        |value: &Value, field: &str| value.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut found = Vec::new();
    for term in list(required, "nodeSelectorTerms") {
        let labels = list(&term, "matchExpressions");
        let fields = list(&term, "matchFields");
        let is_empty = labels.is_empty() && fields.is_empty();
        let labels = labels
            .iter()
            .filter(|one| !is_everywhere(names, key_of(one)))
            .map(|one| requirement(Of::Label(key_of(one).to_owned()), one));
        let fields = fields.iter().map(|one| requirement(Of::Name, one));
        let requirements: Vec<Requirement> = labels.chain(fields).collect();
        if requirements.is_empty() && !is_empty {
            return None;
        }
        found.push(requirements);
    }
    Some(found)
}

fn key_of(requirement: &Value) -> &str {
    requirement.get("key").and_then(Value::as_str).unwrap_or_default()
}

fn requirement(of: Of, written: &Value) -> Requirement {
    let operator = written.get("operator").and_then(Value::as_str).unwrap_or_default();
    let values = written.get("values").and_then(Value::as_array).into_iter().flatten();
    let values: Vec<String> = values.filter_map(Value::as_str).map(str::to_owned).collect();
    let number = || values.first().and_then(|value| whole(&Value::from(value.as_str())));
    // The only field of a node that can be meant.
    let is_known = of != Of::Name || key_of(written) == "metadata.name";
    let is = match operator {
        _ if !is_known => Is::Never,
        "In" => Is::In(values.clone()),
        "NotIn" => Is::NotIn(values.clone()),
        "Exists" => Is::Present,
        "DoesNotExist" => Is::Absent,
        "Gt" => number().map_or(Is::Never, Is::Above),
        "Lt" => number().map_or(Is::Never, Is::Below),
        _ => Is::Never,
    };
    let values = if values.is_empty() { String::new() } else { format!(" {}", values.join("|")) };
    Requirement { of, is, text: format!("{} {operator}{values}", key_of(written)) }
}

/// What a placement depends on in a node.
pub(super) fn node(names: &AcceleratorNames, object: &Value) -> Node {
    let metadata = |field: &str| object.get("metadata").and_then(|metadata| metadata.get(field));
    let labels = metadata("labels").and_then(Value::as_object).into_iter().flatten();
    let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    let allocatable = object.pointer("/status/allocatable").and_then(Value::as_object).into_iter().flatten();
    let mut devices = allocatable.filter(|(name, _)| Pattern::any(&names.resources, name));
    Node {
        name: metadata("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        labels: labels.collect(),
        has_accelerators: devices.any(|(_, amount)| !is_zero(Some(amount))),
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
