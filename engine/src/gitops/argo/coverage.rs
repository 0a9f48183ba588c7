//! Whether an Application leaves the fields alone that a step changes.
//!
//! What cannot be judged is Unknown, never covered: a person relies on it in an emergency.

use serde_json::Value;

use super::place::{Step, covers, of_field, parse, pointer_covers};
use super::replace::Replaces;
use super::tracking::{By, Tracking};
use super::{RESPECTS, group, text};
use crate::change::FieldChange;
use crate::gitops::is_pause;
use crate::path::{FieldPath, Segment};
use crate::undo::MANAGER;
use crate::verdict::Verdict;

/// What an Application says about its objects, and about differences that it ignores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Application {
    namespace: String,
    name: String,
    entries: Vec<Entry>,
    respects: bool,
    replaces: Option<Replaces>,
    source: Option<String>,
    resources: Vec<Resource>,
}

/// An object that an Application has, as its status lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Resource {
    group: String,
    kind: String,
    namespace: String,
    name: String,
}

/// One entry of `ignoreDifferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    group: String,
    kind: String,
    name: String,
    namespace: String,
    pointers: Vec<String>,
    expressions: Vec<Expression>,
    managers: Vec<String>,
}

/// A jq expression.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expression {
    written: String,
    /// The path that it is; none if it is more than that.
    path: Option<Vec<Step>>,
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
    /// What makes its sync replace the object, and so drop the undo record.
    pub replaces: Option<Replaces>,
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
        let list = |pointer: &str| object.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        let options = || list("/spec/syncPolicy/syncOptions").filter_map(Value::as_str);
        Self {
            namespace: text(object, "/metadata/namespace").to_owned(),
            name: text(object, "/metadata/name").to_owned(),
            entries: list("/spec/ignoreDifferences").map(Entry::of).collect(),
            respects: options().any(|option| option == RESPECTS),
            replaces: Replaces::of_options(options()),
            source: source(object),
            resources: list("/status/resources").map(Resource::of).collect(),
        }
    }

    /// Its namespace and name.
    pub fn called(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Where people add to it what it lacks, if something else writes it: what they add to the Application itself does not
    /// last.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Whether its status lists this object.
    pub fn has(&self, object: &Value) -> bool {
        self.resources.contains(&Resource {
            group: group(object).to_owned(),
            kind: text(object, "/kind").to_owned(),
            namespace: text(object, "/metadata/namespace").to_owned(),
            name: text(object, "/metadata/name").to_owned(),
        })
    }

    /// Whether it leaves this object alone in these fields.
    pub fn judge(&self, object: &Value, fields: &[FieldChange]) -> Answer {
        let fields: Vec<&FieldChange> = fields.iter().filter(|field| !is_pause(&field.path)).collect();
        Answer {
            open: fields.iter().filter_map(|field| self.open(object, field)).collect(),
            asked: fields.len(),
            respects: self.respects,
            replaces: self.replaces.or_else(|| Replaces::of_object(object)),
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

/// What writes an Application, and where.
fn source(application: &Value) -> Option<String> {
    let owners = application.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let mut generators = owners.into_iter().flatten().filter(|owner| owner["kind"] == "ApplicationSet");
    if let Some(generator) = generators.find_map(|owner| owner["name"].as_str()) {
        return Some(format!("in the template of ApplicationSet {generator}, which writes it"));
    }
    let Tracking { application: Some(root), by } = Tracking::of(application)? else { return None };
    Some(match by {
        By::Annotation | By::OwnLabel => {
            format!("in its manifest in Git, because Application {root} applies it")
        }
        // Argo CD writes the status of every Application, so its field manager says nothing here.
        By::InstanceAndManager(_) | By::InstanceAlone | By::ManagerAlone(_) => {
            format!("in its manifest in Git if Application {root} applies it")
        }
    })
}

impl Resource {
    fn of(entry: &Value) -> Self {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        Self { group: text("group"), kind: text("kind"), namespace: text("namespace"), name: text("name") }
    }
}

impl Expression {
    fn of(written: String) -> Self {
        Self { path: parse(&written), written }
    }
}

impl Entry {
    fn of(entry: &Value) -> Self {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let texts = |key: &str| -> Vec<String> {
            let all = entry[key].as_array().into_iter().flatten();
            all.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            group: text("group"),
            kind: text("kind"),
            name: text("name"),
            namespace: text("namespace"),
            pointers: texts("jsonPointers"),
            expressions: texts("jqPathExpressions").into_iter().map(Expression::of).collect(),
            managers: texts("managedFieldsManagers"),
        }
    }

    /// Argo CD reads group and kind as patterns, and name and namespace as they are. No group is the core group.
    fn applies_to(&self, object: &Value) -> Verdict {
        let text = |pointer: &str| text(object, pointer);
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
            let why = format!("what the jqPathExpressions `{}` selects", expression.written);
            (covers(expression.path.as_deref(), place), why)
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
            _ if self.replaces.is_some() || !self.respects || is_surely_open => Verdict::False,
            (_, 0) => Verdict::True,
            _ => Verdict::Unknown,
        }
    }
}

#[cfg(test)]
#[path = "coverage_tests.rs"]
mod tests;
