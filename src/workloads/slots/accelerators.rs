//! Requests and limits of accelerators, and the quantization during a fallback from them.

use std::collections::BTreeSet;

use firebreak_engine::facts::{Role, Slot, Slots};
use firebreak_engine::path::{FieldPath, Segment};
use firebreak_engine::value::quantity;
use serde_json::Value;

use super::{blocked, slot};
use crate::workloads::profile::{Accelerators, Pattern, Profile};

/// The two maps of a `resources` field. Entries of the same name in both are only valid together.
pub(super) const RESOURCE_MAPS: [&str; 2] = ["limits", "requests"];

/// The highest amount of a companion that is restored: a share of memory is given in MiB or in bytes.
const MOST_COMPANIONS: u64 = 1 << 40;

/// The resources that are looked for.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    names: &'a [Pattern],
    /// Names of others, though they match.
    but: &'a [Pattern],
    /// The highest amount that is restored.
    at_most: u64,
}

impl Wanted<'_> {
    fn has(self, name: &str) -> bool {
        Pattern::any(self.names, name) && !Pattern::any(self.but, name)
    }
}

/// The slots of the fields that request accelerators, and with them those that request what belongs to accelerators.
pub(super) fn accelerators(profile: &Profile, fields: &Accelerators, object: &Value, found: &mut Slots) {
    let names = &profile.names;
    let devices = Wanted { names: &names.resources, but: &names.companions, at_most: fields.at_most.into() };
    requests(devices, fields, object, found);
    if !found.fields.is_empty() {
        let companions = Wanted { names: &names.companions, but: &[], at_most: MOST_COMPANIONS };
        requests(companions, fields, object, found);
    }
}

/// The slots of the fields that request such resources.
fn requests(wanted: Wanted<'_>, fields: &Accelerators, object: &Value, found: &mut Slots) {
    for path in &fields.resources {
        if let Some(resources) = path.node(object) {
            found.fields.extend(requests_in(wanted, path, resources));
        }
    }
    for list in fields.containers.iter().chain(&fields.beside) {
        let containers = list.node(object).and_then(Value::as_array);
        let mut names = BTreeSet::new();
        for container in containers.into_iter().flatten() {
            let Some(resources) = container.get("resources") else { continue };
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
            // A path finds the first element of a name, so a second one cannot be addressed.
            let unique = !name.is_empty() && names.insert(name);
            let slots = requests_in(wanted, &resources_of(list, name), resources);
            if unique {
                found.fields.extend(slots);
            } else if !slots.is_empty() {
                found.fixed.push(format!("{list} has a container with accelerators but no unique name"));
            }
        }
    }
}

fn resources_of(list: &FieldPath, container: &str) -> FieldPath {
    list.with(Segment::Element { key: "name".to_owned(), value: container.to_owned() }).child("resources")
}

/// The amounts of such resources in either of the two maps. The half that is absent is none: the API server takes it from
/// the other one, and if Firebreak added it, the owner's next edit of the other half would be invalid.
fn requests_in(wanted: Wanted<'_>, path: &FieldPath, resources: &Value) -> Vec<Slot> {
    let amounts = RESOURCE_MAPS.iter().flat_map(|map| {
        let amounts = resources.get(map).and_then(Value::as_object).into_iter().flatten();
        amounts.map(move |(name, amount)| (*map, name.as_str(), amount))
    });
    let is_wanted = |(_, name, amount): &(&str, &str, &Value)| !amount.is_null() && wanted.has(name);
    let mut found: Vec<(&str, &str, &Value)> = amounts.filter(is_wanted).collect();
    // The two halves of one resource stand together.
    found.sort_by_key(|(map, name, _)| (*name, *map));
    let field = |(map, name, amount): (&str, &str, &Value)| {
        slot(Role::Accelerator, path.child(map).child(name), bad_amount(amount, wanted.at_most))
    };
    found.into_iter().map(field).collect()
}

fn bad_amount(amount: &Value, at_most: u64) -> Option<String> {
    const ONE: i128 = 1_000_000_000;
    let fits = quantity(amount)
        .is_some_and(|nanos| nanos % ONE == 0 && (0..=i128::from(at_most) * ONE).contains(&nanos));
    (!fits).then(|| format!("is not a whole number from 0 to {at_most}"))
}

/// The quantization fields of the kind, whether they exist or not.
pub(super) fn quantization(profile: &Profile, object: &Value) -> Vec<Slot> {
    let Some(fields) = &profile.quantization else { return Vec::new() };
    let enabled = fields.enabled.node(object).filter(|value| !value.is_null() && !value.is_boolean());
    let precision = fields.precision.node(object).filter(|value| match value {
        Value::Null => false,
        Value::String(text) => text.chars().count() > fields.max_length,
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => true,
    });
    let enabled = enabled.map(|_| "is neither true nor false".to_owned());
    let precision = precision.map(|_| format!("is not a string of at most {} characters", fields.max_length));
    let place = |role, path: &FieldPath, problem: Option<String>| {
        slot(role, path.clone(), blocked(path, object).or(problem))
    };
    vec![
        place(Role::QuantizationEnabled, &fields.enabled, enabled),
        place(Role::QuantizationPrecision, &fields.precision, precision),
    ]
}
