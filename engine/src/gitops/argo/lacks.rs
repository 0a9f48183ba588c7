//! What people add to an Application so that it leaves the fields alone that steps change.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::coverage::Answer;
use super::{RESPECTS, group, jq, text};
use crate::verdict::Verdict;

/// What an Application lacks, or may lack.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lacks {
    entries: BTreeMap<Fields, BTreeSet<Object>>,
    option: Option<&'static str>,
}

/// The fields of a kind that are not surely ignored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fields {
    group: String,
    kind: String,
    expressions: Vec<String>,
}

/// An object in which they are not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Object {
    namespace: String,
    name: String,
}

impl Lacks {
    /// Adds what is not surely there for an object.
    pub fn add(&mut self, object: &Value, answer: &Answer) {
        if answer.verdict() == Verdict::True {
            return;
        }
        if !answer.respects {
            self.option = Some(RESPECTS);
        }
        let expressions: Vec<String> = answer.open.iter().map(|field| jq(&field.path)).collect();
        if !expressions.is_empty() {
            let text = |pointer: &str| text(object, pointer).to_owned();
            let fields = Fields { group: group(object).to_owned(), kind: text("/kind"), expressions };
            let object = Object { namespace: text("/metadata/namespace"), name: text("/metadata/name") };
            self.entries.entry(fields).or_default().insert(object);
        }
    }

    /// The part of the Application that people add; none if it lacks nothing. Objects of one kind that need the same share an
    /// entry without a name: there may be thousands.
    pub fn to_add(&self) -> Option<Value> {
        let mut spec = Map::new();
        let entries: Vec<Value> =
            self.entries.iter().map(|(fields, objects)| entry(fields, objects)).collect();
        if !entries.is_empty() {
            spec.insert("ignoreDifferences".to_owned(), json!(entries));
        }
        if let Some(option) = self.option {
            spec.insert("syncPolicy".to_owned(), json!({"syncOptions": [option]}));
        }
        (!spec.is_empty()).then(|| json!({ "spec": spec }))
    }
}

fn entry(fields: &Fields, objects: &BTreeSet<Object>) -> Value {
    let mut entry =
        json!({"group": fields.group, "kind": fields.kind, "jqPathExpressions": fields.expressions});
    let namespaces: BTreeSet<&str> = objects.iter().map(|object| object.namespace.as_str()).collect();
    if objects.len() == 1 {
        entry["name"] = json!(objects.first().map(|object| &object.name));
    }
    if namespaces.len() == 1 && !namespaces.contains("") {
        entry["namespace"] = json!(namespaces.first());
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::super::coverage::Application;
    use super::*;
    use crate::change::FieldChange;

    fn changed(path: &str) -> FieldChange {
        FieldChange {
            path: path.parse().unwrap(),
            before: Some(json!("1")),
            after: Some(json!("0")),
            created: None,
            owner: None,
            ceded_to: None,
            beside: None,
        }
    }

    fn deployment(namespace: &str, name: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace}})
    }

    #[test]
    fn objects_that_need_the_same_share_an_entry() {
        let (fields, other) = ([changed("/spec/replicas")], [changed("/spec/paused")]);
        let mut lacks = Lacks::default();
        let objects: Vec<Value> = (0..40).map(|number| deployment("a", &format!("d-{number}"))).collect();
        for object in &objects {
            lacks.add(object, &Application::default().judge(object, &fields));
        }
        let alone = deployment("b", "alone");
        lacks.add(&alone, &Application::default().judge(&alone, &other));
        let added = lacks.to_add().unwrap();
        let entries = added["spec"]["ignoreDifferences"].as_array().unwrap();
        assert_eq!(entries.len(), 2, "{added}");
        assert!(entries.iter().any(|entry| entry["name"] == "alone" && entry["namespace"] == "b"), "{added}");
        assert!(
            entries.iter().any(|entry| entry.get("name").is_none() && entry["namespace"] == "a"),
            "{added}"
        );
        for object in &objects {
            assert_eq!(Application::of(&added).judge(object, &fields).verdict(), Verdict::True);
        }
    }

    #[test]
    fn an_entry_for_several_namespaces_names_none() {
        let mut lacks = Lacks::default();
        for namespace in ["a", "b"] {
            let object = deployment(namespace, "chat");
            lacks.add(&object, &Application::default().judge(&object, &[changed("/spec/replicas")]));
        }
        let added = lacks.to_add().unwrap();
        assert_eq!(added["spec"]["ignoreDifferences"][0].get("namespace"), None, "{added}");
    }
}
