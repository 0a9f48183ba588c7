//! Whether an Application leaves the fields alone that a step changes, and what it lacks.
//!
//! What cannot be judged is Unknown, never covered: a person relies on it in an emergency.

use serde_json::{Map, Value, json};

use super::place::{Step, expression_covers, of_field, pointer_covers};
use super::{RESPECTS, group, ignore_differences, jq};
use crate::change::FieldChange;
use crate::gitops::is_pause;
use crate::path::{FieldPath, Segment};
use crate::undo::MANAGER;
use crate::verdict::Verdict;

/// What an Application says about differences that it ignores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Application {
    entries: Vec<Entry>,
    respects: bool,
    generated_by: Option<String>,
}

/// One entry of `ignoreDifferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    group: String,
    kind: String,
    name: String,
    namespace: String,
    pointers: Vec<String>,
    expressions: Vec<String>,
    managers: Vec<String>,
}

/// Whether an Application leaves an object alone where steps change it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The fields that are not surely covered.
    pub open: Vec<Field>,
    /// How many fields were asked for.
    pub asked: usize,
    /// Whether it leaves ignored fields alone when it applies an object.
    pub respects: bool,
}

/// A field that an Application does not surely leave alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field.
    pub path: FieldPath,
    /// For people: why that is not known; none if the Application surely does not cover it.
    pub unknown: Option<String>,
}

impl Application {
    /// What this object of Argo CD says. What has another form than Argo CD writes is left out, so it covers nothing.
    pub fn of(object: &Value) -> Self {
        let list = |pointer: &str| object.pointer(pointer).and_then(Value::as_array);
        let options = list("/spec/syncPolicy/syncOptions").into_iter().flatten();
        let owners = list("/metadata/ownerReferences").into_iter().flatten();
        let mut generators = owners.filter(|owner| owner["kind"] == "ApplicationSet");
        Self {
            entries: list("/spec/ignoreDifferences").into_iter().flatten().map(Entry::of).collect(),
            respects: options.filter_map(Value::as_str).any(|option| option == RESPECTS),
            generated_by: generators.find_map(|owner| owner["name"].as_str().map(str::to_owned)),
        }
    }

    /// The ApplicationSet that writes it, if one does: what people add to the Application itself does not last.
    pub fn generated_by(&self) -> Option<&str> {
        self.generated_by.as_deref()
    }

    /// Whether it leaves this object alone in these fields.
    pub fn judge(&self, object: &Value, fields: &[FieldChange]) -> Answer {
        let fields: Vec<&FieldChange> = fields.iter().filter(|field| !is_pause(&field.path)).collect();
        Answer {
            open: fields.iter().filter_map(|field| self.open(object, field)).collect(),
            asked: fields.len(),
            respects: self.respects,
        }
    }

    /// The field, unless an entry surely covers it.
    fn open(&self, object: &Value, field: &FieldChange) -> Option<Field> {
        let place = of_field(&field.path);
        let mut unknown = None;
        for entry in &self.entries {
            let applies = entry.applies_to(object);
            for (covers, what) in entry.says(object, field, &place) {
                match applies.and(covers) {
                    Verdict::True => return None,
                    Verdict::Unknown => {
                        unknown.get_or_insert(what);
                    }
                    Verdict::False => {}
                }
            }
        }
        Some(Field { path: field.path.clone(), unknown })
    }
}

impl Entry {
    fn of(entry: &Value) -> Self {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let texts = |key: &str| {
            let all = entry[key].as_array().into_iter().flatten();
            all.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            group: text("group"),
            kind: text("kind"),
            name: text("name"),
            namespace: text("namespace"),
            pointers: texts("jsonPointers"),
            expressions: texts("jqPathExpressions"),
            managers: texts("managedFieldsManagers"),
        }
    }

    /// Argo CD reads group and kind as patterns, and name and namespace as they are. No group is the core group.
    fn applies_to(&self, object: &Value) -> Verdict {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let is_any_or = |wanted: &str, text: &str| Verdict::from(wanted.is_empty() || wanted == text);
        matches(&self.group, group(object))
            .and(matches(&self.kind, text("/kind")))
            .and(is_any_or(&self.name, text("/metadata/name")))
            .and(is_any_or(&self.namespace, text("/metadata/namespace")))
    }

    /// What each part of the entry says about a field; with the verdict, what is not known if it is Unknown.
    fn says(&self, object: &Value, field: &FieldChange, place: &[Step]) -> Vec<(Verdict, String)> {
        let pointers = self.pointers.iter().map(|pointer| {
            let why = format!(
                "jsonPointers {pointer} counts the elements of a list, which may be in another order in Git"
            );
            (pointer_covers(pointer, place, object), why)
        });
        let expressions = self.expressions.iter().map(|expression| {
            let why = format!("what the jqPathExpressions `{expression}` selects");
            (expression_covers(expression, place), why)
        });
        let managers = self.managers.iter().filter(|manager| *manager == MANAGER).map(|manager| {
            let why = format!(
                "managedFieldsManagers {manager}: Argo CD follows it only to a value that Git has, too, and that is \
                 in no list"
            );
            (manager_covers(field), why)
        });
        pointers.chain(expressions).chain(managers).collect()
    }
}

/// Argo CD compares only values that both Git and the cluster have, by a path without the elements of lists.
fn manager_covers(field: &FieldChange) -> Verdict {
    let is_in_no_list = field.path.segments().iter().all(|segment| matches!(segment, Segment::Key(_)));
    match is_in_no_list && field.before.is_some() && field.after.is_some() {
        true => Verdict::True,
        false => Verdict::Unknown,
    }
}

/// Whether a pattern of Argo CD matches a text. Of patterns, `*` and `?` are understood.
fn matches(pattern: &str, text: &str) -> Verdict {
    if pattern.contains(['[', ']', '{', '}', '\\']) {
        return Verdict::Unknown;
    }
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Which beginnings of the text the pattern so far matches.
    let mut ends = vec![false; text.len() + 1];
    ends[0] = true;
    for part in pattern {
        let before = ends.clone();
        for at in 0..=text.len() {
            ends[at] = match part {
                '*' => before[..=at].contains(&true),
                '?' => at > 0 && before[at - 1],
                part => at > 0 && before[at - 1] && text[at - 1] == part,
            };
        }
    }
    ends[text.len()].into()
}

impl Answer {
    /// Whether it leaves the object alone where the steps change it.
    pub fn verdict(&self) -> Verdict {
        let is_surely_open = self.open.iter().any(|field| field.unknown.is_none());
        match (self.asked, self.open.len()) {
            (0, _) => Verdict::True,
            _ if !self.respects || is_surely_open => Verdict::False,
            (_, 0) => Verdict::True,
            _ => Verdict::Unknown,
        }
    }
}

/// What an Application lacks, or may lack.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lacks {
    entries: Vec<Value>,
    option: Option<&'static str>,
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
            self.entries.push(ignore_differences(object, &expressions));
        }
    }

    /// The part of the Application that people add; none if it lacks nothing.
    pub fn to_add(&self) -> Option<Value> {
        let mut spec = Map::new();
        if !self.entries.is_empty() {
            spec.insert("ignoreDifferences".to_owned(), json!(self.entries));
        }
        if let Some(option) = self.option {
            spec.insert("syncPolicy".to_owned(), json!({"syncOptions": [option]}));
        }
        (!spec.is_empty()).then(|| json!({ "spec": spec }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLICAS: &str = "/spec/replicas";
    const SELECTOR: &str = "/spec/template/spec/nodeSelector/nvidia.com~1gpu";
    const LIMIT: &str = "/spec/template/spec/containers/[name=main]/resources/limits/nvidia.com~1gpu";

    /// A field that is changed from one value to another.
    fn changed(path: &str) -> FieldChange {
        FieldChange {
            path: path.parse().unwrap(),
            before: Some(json!("1")),
            after: Some(json!("0")),
            created: None,
            owner: None,
            ceded_to: None,
        }
    }

    fn chat() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "chat", "namespace": "serving"},
            "spec": {"template": {"spec": {"containers": [{"name": "main"}]}}},
        })
    }

    /// Of an Application with these entries and options.
    fn application(entries: &Value, options: &Value) -> Application {
        let policy = json!({"syncOptions": options});
        Application::of(&json!({"spec": {"ignoreDifferences": entries, "syncPolicy": policy}}))
    }

    fn respecting(entries: &Value) -> Application {
        application(entries, &json!(["CreateNamespace=true", "RespectIgnoreDifferences=true"]))
    }

    #[test]
    fn an_entry_counts_for_the_objects_that_it_names_or_matches() {
        use Verdict::{False, True, Unknown};
        let table = [
            (json!({"group": "apps", "kind": "Deployment"}), True),
            (json!({"group": "*", "kind": "*"}), True),
            (json!({"group": "ap*", "kind": "Deploy?ent"}), True),
            (json!({"group": "apps", "kind": "Deployment", "name": "chat", "namespace": "serving"}), True),
            (json!({"group": "apps", "kind": "Deployment", "name": "", "namespace": ""}), True),
            (json!({"group": "apps", "kind": "Deployment", "name": "search"}), False),
            (json!({"group": "apps", "kind": "Deployment", "name": "ch*"}), False),
            (json!({"group": "apps", "kind": "Deployment", "namespace": "other"}), False),
            (json!({"kind": "Deployment"}), False), // of the core group
            (json!({"group": "apps", "kind": "deployment"}), False),
            (json!({"group": "apps", "kind": "StatefulSet"}), False),
            (json!({"group": "{apps,batch}", "kind": "Deployment"}), Unknown),
            (json!({"group": "apps", "kind": "[CD]eployment"}), Unknown),
            (json!({"group": "{apps,batch}", "kind": "StatefulSet"}), False),
            (json!("nonsense"), False),
        ];
        for (mut entry, verdict) in table {
            if entry.is_object() {
                entry["jsonPointers"] = json!([REPLICAS]);
            }
            let answer = respecting(&json!([entry])).judge(&chat(), &[changed(REPLICAS)]);
            assert_eq!(answer.verdict(), verdict, "{entry}");
        }
    }

    /// The entry for this Deployment with one member more.
    fn entry(member: &str, value: Value) -> Value {
        let mut entry = json!({"group": "apps", "kind": "Deployment"});
        entry[member] = value;
        json!([entry])
    }

    #[test]
    fn each_way_to_ignore_a_field_counts_as_far_as_it_reaches() {
        use Verdict::{False, True, Unknown};
        let created = FieldChange { before: None, ..changed(REPLICAS) };
        let removed = FieldChange { after: None, ..changed(SELECTOR) };
        let pointers = |pointers: Value| entry("jsonPointers", pointers);
        let expressions = |expressions: Value| entry("jqPathExpressions", expressions);
        let managers = |managers: Value| entry("managedFieldsManagers", managers);
        let all_of_main = r#".spec.template.spec.containers[] | select(.name == "main") | .resources"#;
        let table = [
            (pointers(json!([REPLICAS])), vec![changed(REPLICAS)], True),
            (pointers(json!([REPLICAS])), vec![changed(REPLICAS), removed.clone()], False),
            (pointers(json!([REPLICAS, SELECTOR])), vec![changed(REPLICAS), removed.clone()], True),
            (pointers(json!(["/spec/template/spec/containers/0"])), vec![changed(LIMIT)], Unknown),
            (expressions(json!([all_of_main])), vec![changed(LIMIT)], True),
            (expressions(json!([".spec | .. | .replicas?"])), vec![changed(REPLICAS)], Unknown),
            (managers(json!(["firebreak"])), vec![changed(REPLICAS)], True),
            (managers(json!(["firebreak"])), vec![removed.clone()], Unknown),
            (managers(json!(["firebreak"])), vec![created], Unknown),
            (managers(json!(["firebreak"])), vec![changed(LIMIT)], Unknown),
            (managers(json!(["kube-controller-manager"])), vec![changed(REPLICAS)], False),
            (json!([]), vec![changed(REPLICAS)], False),
            (Value::Null, vec![changed(REPLICAS)], False),
            (json!([]), vec![changed("/metadata/annotations/kustomize.toolkit.fluxcd.io~1reconcile")], True),
        ];
        for (entries, fields, verdict) in table {
            let answer = respecting(&entries).judge(&chat(), &fields);
            assert_eq!(answer.verdict(), verdict, "{entries}: {answer:?}");
            for field in answer.open {
                assert_eq!(field.unknown.is_some(), verdict == Unknown, "{entries}: {:?}", field.unknown);
            }
        }
    }

    #[test]
    fn without_the_option_a_sync_writes_what_it_ignores() {
        let entries = entry("jsonPointers", json!(["/spec"]));
        for options in [json!([]), json!(["RespectIgnoreDifferences=false"]), Value::Null, json!("x")] {
            let answer = application(&entries, &options).judge(&chat(), &[changed(REPLICAS)]);
            assert_eq!((answer.verdict(), answer.open.len()), (Verdict::False, 0), "{options}");
            let mut lacks = Lacks::default();
            lacks.add(&chat(), &answer);
            let option = json!({"spec": {"syncPolicy": {"syncOptions": ["RespectIgnoreDifferences=true"]}}});
            assert_eq!(lacks.to_add(), Some(option));
        }
    }

    #[test]
    fn what_is_added_is_enough() {
        let fields = [changed(REPLICAS), changed(LIMIT)];
        let mut lacks = Lacks::default();
        lacks.add(&chat(), &Application::default().judge(&chat(), &fields));
        let mut cluster_scoped = chat();
        cluster_scoped["metadata"] = json!({"name": "node"});
        lacks.add(&cluster_scoped, &Application::default().judge(&cluster_scoped, &fields[..1]));
        let added = lacks.to_add().unwrap();
        assert_eq!(added["spec"]["ignoreDifferences"].as_array().map(Vec::len), Some(2), "{added}");
        for (object, fields) in [(chat(), &fields[..]), (cluster_scoped, &fields[..1])] {
            let answer = Application::of(&added).judge(&object, fields);
            assert_eq!(answer.verdict(), Verdict::True, "{added}: {answer:?}");
            lacks = Lacks::default();
            lacks.add(&object, &answer);
            assert_eq!(lacks.to_add(), None);
        }
    }

    #[test]
    fn what_is_covered_by_one_entry_is_not_doubted_for_another() {
        let entries = json!([
            {"group": "{apps,batch}", "kind": "Deployment", "jsonPointers": ["/spec"]},
            {"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec"]},
        ]);
        assert_eq!(respecting(&entries).judge(&chat(), &[changed(REPLICAS)]).open, []);
    }

    #[test]
    fn an_application_that_is_generated_names_its_generator() {
        let owner = |kind: &str| json!({"metadata": {"ownerReferences": [{"kind": kind, "name": "all"}]}});
        assert_eq!(Application::of(&owner("ApplicationSet")).generated_by(), Some("all"));
        assert_eq!(Application::of(&owner("Deployment")).generated_by(), None);
    }
}
