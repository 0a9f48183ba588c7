//! Resources that stay although only some nodes have them: devices that are not among the accelerators that Firebreak knows, and
//! huge pages.

use std::collections::BTreeSet;

use firebreak_engine::path::FieldPath;
use firebreak_engine::value::is_zero;
use serde_json::Value;

use super::accelerators::RESOURCE_MAPS;
use crate::workloads::profile::{AcceleratorNames, Accelerators, Pattern};

/// The prefix of the resources of huge pages.
const HUGE_PAGES: &str = "hugepages-";

/// A resource that stays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stays {
    /// What requests it, for people.
    pub at: String,
    /// Its name.
    pub resource: String,
}

impl Stays {
    /// Whether a device plugin offers it.
    pub fn is_device(&self) -> bool {
        !self.resource.starts_with(HUGE_PAGES)
    }

    /// For people.
    pub fn told(&self) -> String {
        format!("{} of {}", self.resource, self.at)
    }
}

/// The resources that stay if a fallback sets those to zero that match `zeroed`, each once.
pub(super) fn that_stay(fields: &Accelerators, zeroed: &[&[Pattern]], object: &Value) -> BTreeSet<Stays> {
    let of_fields = fields.resources.iter().filter_map(|path| Some((path.to_string(), path.node(object)?)));
    let lists = fields.containers.iter().chain(&fields.beside);
    let of_containers = lists.flat_map(|list| in_list(list, object));
    let mut found = BTreeSet::new();
    for (at, resources) in of_fields.chain(of_containers) {
        let amounts = RESOURCE_MAPS.iter().filter_map(|map| resources.get(map)?.as_object()).flatten();
        for (resource, amount) in amounts {
            let goes = zeroed.iter().any(|names| Pattern::any(names, resource));
            if !goes && !is_zero(Some(amount)) && is_of_some_nodes(resource) {
                found.insert(Stays { at: at.clone(), resource: resource.clone() });
            }
        }
    }
    found
}

/// The names that a fallback sets to zero in an object with accelerators.
pub(super) fn zeroed(names: &AcceleratorNames) -> [&[Pattern]; 2] {
    [&names.resources, &names.companions]
}

fn in_list<'o>(list: &FieldPath, object: &'o Value) -> Vec<(String, &'o Value)> {
    let containers = list.node(object).and_then(Value::as_array).into_iter().flatten();
    let resources = containers.filter_map(|container| {
        let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
        Some((format!("container {name}"), container.get("resources")?))
    });
    resources.collect()
}

/// Whether not every node has the resource: an extended resource has the name of a domain before it that is not one of
/// Kubernetes.
fn is_of_some_nodes(resource: &str) -> bool {
    let is_extended = resource
        .split_once('/')
        .is_some_and(|(domain, _)| domain != "kubernetes.io" && !domain.ends_with(".kubernetes.io"));
    is_extended || resource.starts_with(HUGE_PAGES)
}
