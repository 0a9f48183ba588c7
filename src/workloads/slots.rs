//! The fields of one object that a fallback from accelerators may change.
//!
//! An object that uses no accelerator has none, whatever its placement says:
//! there is nothing to lend. Otherwise only what exists is listed, with two
//! exceptions that the runbooks ask for: request and limit of one accelerator
//! are changed together, even if one of them is absent, and a kind's
//! quantization fields may be absent too. Nothing here may panic: kinds with
//! an open schema hold anything.

use std::collections::BTreeSet;

use firebreak_engine::facts::{Role, Slot, Slots};
use firebreak_engine::path::{FieldPath, Segment};
use firebreak_engine::value::quantity;
use serde_json::Value;

use super::profile::{AcceleratorNames, Pattern, Pin, Profile};

/// The longest path that an Incident's status can hold.
const LONGEST_PATH: usize = 512;
/// The two maps of a `resources` field; what is in one of them belongs together with the other.
const RESOURCE_MAPS: [&str; 2] = ["limits", "requests"];

/// The fields that an action may change in the object, in a stable order.
pub fn slots(profile: &Profile, object: &Value) -> Slots {
    let mut found = Slots::default();
    accelerators(profile, object, &mut found);
    found.pins.extend(pins(&profile.accelerators.claims, object));
    if found.fields.is_empty() && found.pins.is_empty() {
        return found;
    }
    found.fields.extend(quantization(profile, object));
    found.fields.extend(node_selectors(profile, object));
    found.fields.extend(node_affinities(profile, object));
    found.fields.extend(runtime_classes(profile, object));
    found.pins.extend(pins(&profile.placement.pins, object));
    found
}

fn accelerators(profile: &Profile, object: &Value, found: &mut Slots) {
    for path in &profile.accelerators.resources {
        if let Some(resources) = path.node(object) {
            found.fields.extend(accelerators_in(profile, path, resources));
        }
    }
    for list in &profile.accelerators.containers {
        let containers = list.node(object).and_then(Value::as_array);
        let mut names = BTreeSet::new();
        for container in containers.into_iter().flatten() {
            let Some(resources) = container.get("resources") else { continue };
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
            // A path finds the first element of a name, so a second one cannot be addressed.
            let unique = !name.is_empty() && names.insert(name);
            let slots = accelerators_in(profile, &resources_of(list, name), resources);
            if unique {
                found.fields.extend(slots);
            } else if !slots.is_empty() {
                found.pins.push(format!("{list} has a container with accelerators and no name of its own"));
            }
        }
    }
}

fn resources_of(list: &FieldPath, container: &str) -> FieldPath {
    let element = Segment::Element { key: "name".to_owned(), value: container.to_owned() };
    let resources = Segment::Key("resources".to_owned());
    let segments = list.segments().iter().cloned().chain([element, resources]).collect();
    // Never empty: two segments were just added.
    FieldPath::new(segments).unwrap_or_else(|_| list.clone())
}

/// Request and limit of each accelerator that is in either of the two maps.
fn accelerators_in(profile: &Profile, path: &FieldPath, resources: &Value) -> Vec<Slot> {
    let names: BTreeSet<&str> = RESOURCE_MAPS
        .iter()
        .filter_map(|map| resources.get(map)?.as_object())
        .flatten()
        .filter(|(name, amount)| !amount.is_null() && Pattern::any(&profile.names.resources, name))
        .map(|(name, _)| name.as_str())
        .collect();
    let field = |name: &str, map: &str| {
        let holder = resources.get(map).filter(|holder| !holder.is_null());
        let amount = holder.and_then(|holder| holder.get(name));
        let out_of_bounds = match holder {
            Some(holder) if !holder.is_object() => {
                Some(format!("cannot be set: {} is not a map", path.child(map)))
            }
            _ => amount.and_then(|amount| bad_amount(amount, profile.accelerators.at_most)),
        };
        slot(Role::Accelerator, path.child(map).child(name), out_of_bounds)
    };
    names.iter().flat_map(|name| RESOURCE_MAPS.map(|map| field(name, map))).collect()
}

fn bad_amount(amount: &Value, at_most: u32) -> Option<String> {
    const ONE: i128 = 1_000_000_000;
    if amount.is_null() {
        return None;
    }
    let fits = quantity(amount)
        .is_some_and(|nanos| nanos % ONE == 0 && (0..=i128::from(at_most) * ONE).contains(&nanos));
    (!fits).then(|| format!("is not a whole number from 0 to {at_most}"))
}

fn quantization(profile: &Profile, object: &Value) -> Vec<Slot> {
    let Some(fields) = &profile.quantization else { return Vec::new() };
    let enabled = fields.enabled.node(object).filter(|value| !value.is_null() && !value.is_boolean());
    let precision = fields.precision.node(object).filter(|value| match value {
        Value::Null => false,
        Value::String(text) => text.chars().count() > fields.max_length,
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => true,
    });
    let enabled = enabled.map(|_| "is neither true nor false".to_owned());
    let precision = precision.map(|_| format!("is not a text of at most {} characters", fields.max_length));
    let place = |role, path: &FieldPath, problem: Option<String>| {
        slot(role, path.clone(), no_map_on_the_way(path, object).or(problem))
    };
    vec![
        place(Role::QuantizationEnabled, &fields.enabled, enabled),
        place(Role::QuantizationPrecision, &fields.precision, precision),
    ]
}

/// The first ancestor of the path that is something else than a map.
fn no_map_on_the_way(path: &FieldPath, object: &Value) -> Option<String> {
    let segments = path.segments();
    (1..segments.len()).find_map(|depth| {
        let ancestor = FieldPath::new(segments[..depth].to_vec()).ok()?;
        let value = ancestor.node(object).filter(|value| !value.is_null())?;
        (!value.is_object()).then(|| format!("cannot be set: {ancestor} is not a map"))
    })
}

fn node_selectors(profile: &Profile, object: &Value) -> Vec<Slot> {
    let paths = &profile.placement.node_selector;
    let mut slots = Vec::new();
    for path in paths {
        let labels = path.node(object).and_then(Value::as_object);
        for (key, value) in labels.into_iter().flatten() {
            if !value.is_null() && Pattern::any(&profile.names.placement_keys, key) {
                let problem = (!value.is_string()).then(|| "is not a text".to_owned());
                slots.push(slot(Role::Placement { released: None }, path.child(key), problem));
            }
        }
    }
    slots
}

fn node_affinities(profile: &Profile, object: &Value) -> Vec<Slot> {
    let paths = &profile.placement.required_node_affinity;
    let released = |path: &FieldPath| release_affinity(&profile.names, path.node(object)?);
    paths
        .iter()
        .filter_map(|path| Some(slot(Role::Placement { released: released(path)? }, path.clone(), None)))
        .collect()
}

/// What remains of a required node affinity without accelerators: outer `None` if it asks for none,
/// inner `None` if the whole field goes.
///
/// Terms are alternatives, the requirements in a term must all be met. A term of accelerator
/// requirements only becomes "any node", and so does everything that it is an alternative to. (Written
/// down as a term without requirements it would mean the opposite: that matches no node.)
fn release_affinity(names: &AcceleratorNames, required: &Value) -> Option<Option<Value>> {
    let terms = required.get("nodeSelectorTerms")?.as_array()?;
    let mut kept = Vec::with_capacity(terms.len());
    let mut released = false;
    for term in terms {
        let requirements = term.get("matchExpressions").and_then(Value::as_array);
        let (gone, rest): (Vec<&Value>, Vec<&Value>) =
            requirements.into_iter().flatten().partition(|requirement| needs_accelerator(names, requirement));
        let mut term = term.clone();
        if let Some(term) = term.as_object_mut().filter(|_| !gone.is_empty()) {
            released = true;
            let fields =
                term.get("matchFields").and_then(Value::as_array).is_some_and(|fields| !fields.is_empty());
            match (rest.is_empty(), fields) {
                (true, false) => return Some(None),
                (true, true) => term.remove("matchExpressions"),
                (false, _) => term.insert("matchExpressions".to_owned(), rest.into_iter().cloned().collect()),
            };
        }
        kept.push(term);
    }
    let mut remains = required.clone();
    if let Some(terms) = remains.get_mut("nodeSelectorTerms") {
        *terms = Value::Array(kept);
    }
    released.then_some(Some(remains))
}

/// Whether only nodes with an accelerator label meet the requirement. `NotIn` and `DoesNotExist` are
/// met by nodes without the label, so they hinder nobody and stay.
fn needs_accelerator(names: &AcceleratorNames, requirement: &Value) -> bool {
    let text = |field: &str| requirement.get(field).and_then(Value::as_str).unwrap_or_default();
    Pattern::any(&names.placement_keys, text("key"))
        && matches!(text("operator"), "In" | "Exists" | "Gt" | "Lt")
}

fn runtime_classes(profile: &Profile, object: &Value) -> Vec<Slot> {
    let paths = profile.placement.runtime_class_name.iter();
    let needs = |path: &&FieldPath| {
        let class = path.node(object).and_then(Value::as_str);
        class.is_some_and(|class| Pattern::any(&profile.names.runtime_classes, class))
    };
    paths.filter(needs).map(|path| slot(Role::Placement { released: None }, path.clone(), None)).collect()
}

fn pins(pins: &[Pin], object: &Value) -> Vec<String> {
    let holds = |pin: &&Pin| match pin.path.node(object) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => true,
    };
    pins.iter().filter(holds).map(|pin| pin.because.clone()).collect()
}

fn slot(role: Role, path: FieldPath, out_of_bounds: Option<String>) -> Slot {
    let too_long = path.to_string().len() > LONGEST_PATH;
    let out_of_bounds =
        out_of_bounds.or_else(|| too_long.then(|| "is too long a path to be recorded".to_owned()));
    Slot { role, path, out_of_bounds }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
