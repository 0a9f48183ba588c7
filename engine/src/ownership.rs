//! Who owns which field, from `managedFields`, and how to hand ownership back.
//!
//! Our update removes a field from its owner's entry, so the owner's next
//! server-side apply of a new value would conflict with us. Therefore the owners are
//! recorded when a loan is taken, and after the last loan has ended one guarded
//! write gives each field of our entry to its owner again.

use serde_json::{Map, Value, json};

use crate::change::{FieldChange, cut};
use crate::path::{FieldPath, Segment};
use crate::undo::MANAGER;

/// Everybody who owns `path`, as `manager/operation` joined by commas.
pub fn owner(object: &Value, path: &FieldPath) -> Option<String> {
    let entries = entries(object).filter(|entry| entry.get("subresource").is_none());
    let owners: Vec<String> = closest(entries, path)
        .into_iter()
        .map(name)
        .filter(|name| !name.starts_with(&format!("{MANAGER}/")))
        .collect();
    (!owners.is_empty()).then(|| owners.join(","))
}

/// Who wrote the current value at `path`, for people; possibly us.
pub fn writer(object: &Value, path: &FieldPath) -> String {
    let owners = closest(entries(object), path);
    // Of an element that we have made, others may own a part.
    let writer = owners.iter().find(|entry| !is_ours(entry)).or(owners.first()).map(|entry| name(entry));
    let remover = || Some(format!("probably {}", name(last_since_ours(object)?)));
    let writer = writer.or_else(|| remover().filter(|_| path.read(object).is_none()));
    writer.map_or_else(|| "someone unknown".to_owned(), |writer| cut(&writer, 256))
}

/// The manager who wrote last, if that was after us. Nobody owns what is not there, so this is the best guess of who
/// removed it.
fn last_since_ours(object: &Value) -> Option<&Value> {
    let ours = entries(object).filter(|entry| is_ours(entry)).filter_map(time).max()?;
    let others = entries(object).filter(|entry| !is_ours(entry) && entry.get("subresource").is_none());
    others.filter(|entry| time(entry).is_some_and(|theirs| theirs > ours)).max_by_key(|entry| time(entry))
}

/// All managers of the object itself, as `manager/operation`.
pub fn managers(object: &Value) -> impl Iterator<Item = String> {
    entries(object).filter(|entry| entry.get("subresource").is_none()).map(name)
}

/// Whether our own entry owns `path`: the current value came with one
/// of our writes, including what webhooks and the server's defaults added to it.
pub fn is_from_us(object: &Value, path: &FieldPath) -> bool {
    closest(entries(object), path).into_iter().any(is_ours)
}

/// Whether another manager that owns `path` has written the object at the time of our last write or later, as far as can
/// be told. Times are in whole seconds.
pub fn is_written_since_ours(object: &Value, path: &FieldPath) -> bool {
    let Some(ours) = entries(object).filter(|entry| is_ours(entry)).filter_map(time).max() else {
        return true;
    };
    let others = closest(entries(object), path).into_iter().filter(|entry| !is_ours(entry));
    others.into_iter().any(|entry| time(entry).is_none_or(|theirs| theirs >= ours))
}

/// The managedFields with our entries handed back to the owners that `fields` name. Fields without a previous
/// owner are dropped. None if nothing is ours, or if nothing would remain: an empty list would assign
/// everything to `before-first-apply`, which conflicts with every later apply.
pub fn handed_back(object: &Value, fields: &[FieldChange]) -> Option<Value> {
    let (ours, mut others): (Vec<Value>, Vec<Value>) = entries(object).cloned().partition(is_ours);
    if ours.is_empty() {
        return None;
    }
    for member in ours.iter().flat_map(|entry| members(&entry["fieldsV1"])) {
        for owner in
            fields.iter().filter(|field| covers(&member, &keys(&field.path))).filter_map(|f| f.owner.as_ref())
        {
            for owner in owner.split(',') {
                give(&mut others, owner, &member, object, &ours[0]);
            }
        }
    }
    if others.is_empty() { None } else { Some(Value::Array(others)) }
}

fn entries(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten()
}

fn is_ours(entry: &Value) -> bool {
    entry["manager"] == MANAGER && entry["operation"] == "Update" && entry.get("subresource").is_none()
}

/// When the entry has last changed, in whole seconds.
fn time(entry: &Value) -> Option<&str> {
    entry["time"].as_str()
}

fn name(entry: &Value) -> String {
    let text = |key: &str| entry[key].as_str().unwrap_or("unknown").to_owned();
    format!("{}/{}", text("manager"), text("operation"))
}

/// A path in the notation of FieldsV1. A list of arguments is owned as a whole, and so is a flag in it.
fn keys(path: &FieldPath) -> Vec<String> {
    path.segments()
        .iter()
        .filter_map(|segment| match segment {
            Segment::Key(key) => Some(format!("f:{key}")),
            Segment::Element { key, value } => Some(format!("k:{}", json!({ key: value }))),
            Segment::Flag(_) => None,
        })
        .collect()
}

/// The entries that own the path most closely. A member without members of its own
/// is an atomic map, which owns everything below it, or a map of which only the
/// existence is owned: it counts where nobody owns anything closer.
fn closest<'a>(entries: impl Iterator<Item = &'a Value>, path: &FieldPath) -> Vec<&'a Value> {
    let keys = keys(path);
    let owning: Vec<(usize, &Value)> =
        entries.filter_map(|entry| Some((depth(&entry["fieldsV1"], &keys)?, entry))).collect();
    let closest = owning.iter().map(|(depth, _)| *depth).max();
    owning.into_iter().filter(|(depth, _)| Some(*depth) == closest).map(|(_, entry)| entry).collect()
}

/// How deep along the path the set owns it: the path or an atomic ancestor of it is a member.
fn depth(set: &Value, path: &[String]) -> Option<usize> {
    let Some((first, rest)) = path.split_first() else { return Some(0) };
    let next = set.get(first)?;
    if next.as_object().is_some_and(Map::is_empty) {
        return Some(1);
    }
    depth(next, rest).map(|below| below + 1)
}

/// The paths of a set: its leaves, and the inner nodes marked with `.`.
fn members(set: &Value) -> Vec<Vec<String>> {
    fn walk(set: &Value, here: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
        let Some(map) = set.as_object() else { return };
        if map.is_empty() || map.contains_key(".") {
            found.push(here.clone());
        }
        for (key, next) in map.iter().filter(|(key, _)| *key != ".") {
            here.push(key.clone());
            walk(next, here, found);
            here.pop();
        }
    }
    let mut found = Vec::new();
    walk(set, &mut Vec::new(), &mut found);
    found.retain(|path| !path.is_empty());
    found
}

/// Whether a member of our entry is there because of the changed field: it is
/// the field, an atomic ancestor of it, or a part of its value.
fn covers(member: &[String], field: &[String]) -> bool {
    let common = member.len().min(field.len());
    member[..common] == field[..common]
}

fn give(entries: &mut Vec<Value>, owner: &str, member: &[String], object: &Value, ours: &Value) {
    let position =
        entries.iter().position(|entry| name(entry) == owner && entry.get("subresource").is_none());
    let position = position.unwrap_or_else(|| {
        let (manager, operation) = owner.rsplit_once('/').unwrap_or((owner, "Update"));
        entries.push(json!({
            "manager": manager, "operation": operation, "apiVersion": object["apiVersion"],
            "time": ours["time"], "fieldsType": "FieldsV1", "fieldsV1": {},
        }));
        entries.len() - 1
    });
    let mut at = &mut entries[position]["fieldsV1"];
    for key in member {
        at = &mut at[key.as_str()];
        if at.is_null() {
            *at = json!({});
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Value {
        json!({"apiVersion": "apps/v1", "metadata": {"managedFields": [
            {"manager": "flux", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1":
                {"f:spec": {"f:replicas": {}, "f:nodeSelector": {}, "f:containers": {"k:{\"name\":\"main\"}": {".": {}, "f:image": {}}}}}},
            {"manager": "firebreak", "operation": "Update", "apiVersion": "apps/v1", "time": "t", "fieldsV1":
                {"f:spec": {"f:containers": {"k:{\"name\":\"main\"}": {"f:limits": {"f:gpu": {}}}}}}},
        ]}})
    }

    fn field(path: &str, owner: Option<&str>) -> FieldChange {
        FieldChange {
            path: path.parse().unwrap(),
            before: None,
            after: None,
            created: None,
            owner: owner.map(str::to_owned),
            ceded_to: None,
            beside: None,
        }
    }

    #[test]
    fn an_atomic_ancestor_owns_what_is_below_it() {
        let owner_of = |path: &str| owner(&object(), &path.parse().unwrap());
        assert_eq!(owner_of("/spec/nodeSelector/gpu").as_deref(), Some("flux/Apply"));
        assert_eq!(owner_of("/spec/containers/[name=main]/image").as_deref(), Some("flux/Apply"));
        assert_eq!(owner_of("/spec/containers/[name=other]/image"), None);
        assert_eq!(
            owner_of("/spec/containers/[name=main]/limits/gpu"),
            None,
            "our own entry is no former owner"
        );
    }

    #[test]
    fn who_owns_only_a_map_does_not_own_what_others_put_into_it() {
        let mut object = object();
        let entries = &mut object["metadata"]["managedFields"];
        entries[0]["fieldsV1"]["f:spec"]["f:quantization"] = json!({});
        entries[1]["fieldsV1"]["f:spec"]["f:quantization"] = json!({"f:precision": {}});
        let precision: FieldPath = "/spec/quantization/precision".parse().unwrap();
        assert_eq!(writer(&object, &precision), "firebreak/Update");
        assert_eq!(owner(&object, &precision), None);
        let other: FieldPath = "/spec/quantization/enabled".parse().unwrap();
        assert_eq!(owner(&object, &other).as_deref(), Some("flux/Apply"));
    }

    #[test]
    fn who_has_changed_a_part_of_an_element_that_we_have_made_is_its_writer() {
        let mut object = object();
        let entries = &mut object["metadata"]["managedFields"];
        let variable = "k:{\"name\":\"A\"}";
        entries[1]["fieldsV1"] = json!({"f:spec": {"f:env": {variable: {".": {}, "f:name": {}}}}});
        assert_eq!(writer(&object, &"/spec/env/[name=A]".parse().unwrap()), "firebreak/Update");
        object["metadata"]["managedFields"][0]["fieldsV1"] =
            json!({"f:spec": {"f:env": {variable: {"f:value": {}}}}});
        assert_eq!(writer(&object, &"/spec/env/[name=A]".parse().unwrap()), "flux/Apply");
    }

    #[test]
    fn who_wrote_last_since_us_has_probably_removed_what_is_not_there() {
        let path: FieldPath = "/spec/limits/gpu".parse().unwrap();
        let entry = |manager: &str, time: &str, set: Value| json!({"manager": manager, "operation": "Update", "time": time, "fieldsV1": set});
        let ours = entry(MANAGER, "2026-01-01T00:00:10Z", json!({"f:metadata": {"f:labels": {}}}));
        let with = |manager: &str, time: &str| json!({"metadata": {"managedFields": [ours, entry(manager, time, json!({"f:spec": {"f:image": {}}}))]}});
        assert_eq!(writer(&with("kubectl", "2026-01-01T00:00:11Z"), &path), "probably kubectl/Update");
        assert_eq!(writer(&with("kubectl", "2026-01-01T00:00:10Z"), &path), "someone unknown");
        let mut there = with("kubectl", "2026-01-01T00:00:11Z");
        there["spec"] = json!({"limits": {"gpu": "1"}});
        assert_eq!(writer(&there, &path), "someone unknown", "it has a value that somebody wrote");
        assert!(!is_written_since_ours(&there, &path));
        for (time, since) in [("2026-01-01T00:00:09Z", false), ("2026-01-01T00:00:10Z", true)] {
            there["metadata"]["managedFields"][1] =
                entry("flux", time, json!({"f:spec": {"f:limits": {"f:gpu": {}}}}));
            assert_eq!(is_written_since_ours(&there, &path), since, "{time}");
        }
    }

    #[test]
    fn a_flag_is_owned_with_its_list_and_goes_back_with_it() {
        let mut object = object();
        let containers =
            |entry: usize| format!("/metadata/managedFields/{entry}/fieldsV1/f:spec/f:containers");
        let main = "k:{\"name\":\"main\"}";
        *object.pointer_mut(&containers(0)).unwrap() = json!({main: {".": {}, "f:args": {}}});
        let flag = "/spec/containers/[name=main]/args/[flag=--max-num-seqs]";
        assert_eq!(owner(&object, &flag.parse().unwrap()).as_deref(), Some("flux/Apply"));
        *object.pointer_mut(&containers(0)).unwrap() = json!({main: {".": {}}});
        *object.pointer_mut(&containers(1)).unwrap() = json!({main: {"f:args": {}}});
        assert!(is_from_us(&object, &flag.parse().unwrap()));
        let entries = handed_back(&object, &[field(flag, Some("flux/Apply"))]).unwrap();
        assert_eq!(entries.as_array().unwrap().len(), 1);
        let args = format!("/0/fieldsV1/f:spec/f:containers/{main}/f:args");
        assert_eq!(entries.pointer(&args), Some(&json!({})));
    }

    #[test]
    fn our_fields_go_back_to_their_owners() {
        let fields = [field("/spec/containers/[name=main]/limits/gpu", Some("flux/Apply,hpa/Update"))];
        let entries = handed_back(&object(), &fields).unwrap();
        let gpu = "/fieldsV1/f:spec/f:containers/k:{\"name\":\"main\"}/f:limits/f:gpu";
        assert_eq!(entries.as_array().unwrap().len(), 2);
        assert_eq!(entries[0].pointer(gpu), Some(&json!({})));
        assert_eq!(entries[1]["manager"], "hpa");
        assert_eq!(entries[1].pointer(gpu), Some(&json!({})));
    }

    #[test]
    fn fields_that_nobody_owned_are_dropped_and_the_list_is_never_empty() {
        let entries =
            handed_back(&object(), &[field("/spec/containers/[name=main]/limits/gpu", None)]).unwrap();
        assert_eq!(entries.as_array().unwrap().len(), 1);
        let mut alone = object();
        alone["metadata"]["managedFields"].as_array_mut().unwrap().remove(0);
        assert_eq!(handed_back(&alone, &[]), None);
    }
}
