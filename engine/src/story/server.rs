//! An API server in memory, as far as targets need one: uids, versions,
//! generations, guarded merge patches, and field ownership.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

/// The objects by name.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// The objects by name. Names are unique in a story.
    pub objects: BTreeMap<String, Arc<Value>>,
    counter: u64,
}

/// The server's answer to a write.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200, with the object.
    Ok(Arc<Value>),
    /// 404.
    NotFound,
    /// 409.
    Conflict,
}

impl Server {
    /// Creates an object; its fields belong to `manager`.
    pub fn create(&mut self, mut object: Value, manager: &str) -> Arc<Value> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.counter += 1;
        object["metadata"]["uid"] = json!(format!("uid-{name}-{}", self.counter));
        object["metadata"]["generation"] = json!(1);
        object["metadata"]["managedFields"] = json!([]);
        let owned = leaves(&object).into_keys().filter(|path| path[0] != "f:status").collect();
        let entry = (manager.to_owned(), owned);
        object["metadata"]["managedFields"] = render(&BTreeMap::from([entry]));
        object["metadata"]["resourceVersion"] = json!(self.counter.to_string());
        let object = Arc::new(object);
        self.objects.insert(name, object.clone());
        object
    }

    /// Deletes an object.
    pub fn delete(&mut self, name: &str) {
        self.counter += 1;
        self.objects.remove(name);
    }

    /// A merge patch, guarded if it carries a resourceVersion.
    pub fn patch(&mut self, name: &str, body: &Value, manager: &str) -> Answer {
        let Some(old) = self.objects.get(name).cloned() else { return Answer::NotFound };
        if let Some(guard) = body.pointer("/metadata/resourceVersion").and_then(Value::as_str)
            && !guard.is_empty()
            && guard != "0"
            && old["metadata"]["resourceVersion"] != guard
        {
            return Answer::Conflict;
        }
        let mut new = (*old).clone();
        merge(&mut new, body);
        Answer::Ok(self.commit(name, &old, new, manager))
    }

    /// An unguarded write by someone else.
    pub fn edit(&mut self, name: &str, manager: &str, change: impl FnOnce(&mut Value)) {
        let Some(old) = self.objects.get(name).cloned() else { return };
        let mut new = (*old).clone();
        change(&mut new);
        self.commit(name, &old, new, manager);
    }

    fn commit(&mut self, name: &str, old: &Value, mut new: Value, manager: &str) -> Arc<Value> {
        for key in ["uid", "name", "namespace", "generation", "resourceVersion"] {
            new["metadata"][key] = old["metadata"][key].clone();
        }
        let mut owners = parse(&new["metadata"]["managedFields"]);
        for path in changed(old, &new) {
            for owned in owners.values_mut() {
                owned.remove(&path);
            }
            if leaves(&new).contains_key(&path) && path[0] != "f:status" {
                owners.entry(manager.to_owned()).or_default().insert(path);
            }
        }
        owners.retain(|_, owned| !owned.is_empty());
        new["metadata"]["managedFields"] = render(&owners);
        if new != *old {
            self.counter += 1;
            new["metadata"]["resourceVersion"] = json!(self.counter.to_string());
            if new.get("spec") != old.get("spec") {
                let generation = old["metadata"]["generation"].as_i64().unwrap_or(1);
                new["metadata"]["generation"] = json!(generation + 1);
            }
        }
        let new = Arc::new(new);
        self.objects.insert(name.to_owned(), new.clone());
        new
    }
}

/// RFC 7386.
pub fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// A path in the notation of FieldsV1.
pub type Path = Vec<String>;

/// Every leaf with its path in the notation of FieldsV1, except what the server manages itself.
pub fn leaves(object: &Value) -> BTreeMap<Path, Value> {
    fn walk(at: &Value, here: &mut Path, found: &mut BTreeMap<Path, Value>) {
        let named: Option<Vec<(String, &Value)>> = match at {
            Value::Object(map) if !map.is_empty() => {
                Some(map.iter().map(|(key, value)| (format!("f:{key}"), value)).collect())
            }
            Value::Array(items) if !items.is_empty() && items.iter().all(|item| item["name"].is_string()) => {
                Some(
                    items.iter().map(|item| (format!("k:{}", json!({"name": item["name"]})), item)).collect(),
                )
            }
            _ => None,
        };
        match named {
            None => {
                found.insert(here.clone(), at.clone());
            }
            Some(children) => {
                for (key, child) in children {
                    here.push(key);
                    walk(child, here, found);
                    here.pop();
                }
            }
        }
    }
    let mut plain = object.clone();
    if let Some(metadata) = plain["metadata"].as_object_mut() {
        for key in ["uid", "name", "namespace", "generation", "resourceVersion", "managedFields"] {
            metadata.remove(key);
        }
    }
    for key in ["apiVersion", "kind"] {
        plain.as_object_mut().and_then(|plain| plain.remove(key));
    }
    let mut found = BTreeMap::new();
    walk(&plain, &mut Vec::new(), &mut found);
    found.retain(|path, value| {
        // An empty map of labels equals no map.
        let is_empty_map = path.first().is_some_and(|first| first == "f:metadata")
            && value.as_object().is_some_and(Map::is_empty);
        !path.is_empty() && !is_empty_map
    });
    found
}

/// The paths at which two objects differ.
pub fn changed(old: &Value, new: &Value) -> Vec<Path> {
    let (old, new) = (leaves(old), leaves(new));
    let paths: BTreeSet<&Path> = old.keys().chain(new.keys()).collect();
    paths.into_iter().filter(|path| old.get(*path) != new.get(*path)).cloned().collect()
}

fn parse(managed: &Value) -> BTreeMap<String, BTreeSet<Path>> {
    fn walk(set: &Value, here: &mut Path, found: &mut BTreeSet<Path>) {
        let Some(map) = set.as_object() else { return };
        if map.is_empty() {
            found.insert(here.clone());
        }
        for (key, next) in map {
            here.push(key.clone());
            walk(next, here, found);
            here.pop();
        }
    }
    let mut owners: BTreeMap<String, BTreeSet<Path>> = BTreeMap::new();
    for entry in managed.as_array().into_iter().flatten() {
        let owned = owners
            .entry(format!(
                "{}/{}",
                entry["manager"].as_str().unwrap_or_default(),
                entry["operation"].as_str().unwrap_or_default()
            ))
            .or_default();
        if entry["fieldsV1"] != json!({}) {
            walk(&entry["fieldsV1"], &mut Vec::new(), owned);
        }
    }
    owners
}

/// Managers are `name/operation`.
fn render(owners: &BTreeMap<String, BTreeSet<Path>>) -> Value {
    let entry = |(name, owned): (&String, &BTreeSet<Path>)| {
        let (manager, operation) = name.split_once('/').unwrap_or((name, "Update"));
        let mut set = json!({});
        for path in owned {
            let mut at = &mut set;
            for key in path {
                if at.is_null() {
                    *at = json!({});
                }
                at = &mut at[key.as_str()];
            }
            if at.is_null() {
                *at = json!({});
            }
        }
        json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": set})
    };
    Value::Array(owners.iter().map(entry).collect())
}
