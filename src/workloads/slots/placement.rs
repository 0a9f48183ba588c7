//! What binds pods to nodes with accelerators.

use firebreak_engine::facts::{Role, Slot};
use firebreak_engine::path::FieldPath;
use serde_json::Value;

use super::slot;
use crate::workloads::profile::{AcceleratorNames, Pattern, Profile};

/// The accelerator entries of node selectors.
pub(super) fn node_selectors(profile: &Profile, object: &Value) -> Vec<Slot> {
    let paths = &profile.placement.node_selector;
    let mut slots = Vec::new();
    for path in paths {
        let labels = path.node(object).and_then(Value::as_object);
        for (key, value) in labels.into_iter().flatten() {
            if !value.is_null() && Pattern::any(&profile.names.placement_keys, key) {
                let problem = (!value.is_string()).then(|| "is not a string".to_owned());
                slots.push(slot(Role::Placement { released: None }, path.child(key), problem));
            }
        }
    }
    slots
}

/// Required node affinities that ask for accelerators.
pub(super) fn node_affinities(profile: &Profile, object: &Value) -> Vec<Slot> {
    let paths = &profile.placement.required_node_affinity;
    let released = |path: &FieldPath| release_affinity(&profile.names, path.node(object)?);
    paths
        .iter()
        .filter_map(|path| Some(slot(Role::Placement { released: released(path)? }, path.clone(), None)))
        .collect()
}

/// What remains of a required node affinity without accelerators: outer `None` if it requests none,
/// inner `None` if the whole field is removed.
///
/// Terms are alternatives; all requirements of a term must be met. A term with only accelerator
/// requirements becomes "any node", and so does every alternative to it. (Written
/// as a term without requirements it would mean the opposite: it would match no node.)
pub(super) fn release_affinity(names: &AcceleratorNames, required: &Value) -> Option<Option<Value>> {
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
/// met by nodes without the label, so they prevent nothing and stay.
fn needs_accelerator(names: &AcceleratorNames, requirement: &Value) -> bool {
    let text = |field: &str| requirement.get(field).and_then(Value::as_str).unwrap_or_default();
    Pattern::any(&names.placement_keys, text("key"))
        && matches!(text("operator"), "In" | "Exists" | "Gt" | "Lt")
}

/// Runtime classes that only nodes with accelerators have.
pub(super) fn runtime_classes(profile: &Profile, object: &Value) -> Vec<Slot> {
    let paths = profile.placement.runtime_class_name.iter();
    let needs = |path: &&FieldPath| {
        let class = path.node(object).and_then(Value::as_str);
        class.is_some_and(|class| Pattern::any(&profile.names.runtime_classes, class))
    };
    paths.filter(needs).map(|path| slot(Role::Placement { released: None }, path.clone(), None)).collect()
}
