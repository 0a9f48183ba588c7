//! What keeps the new pods of an object from starting, in the words of the scheduler, the kubelet and the controllers.
//!
//! Only new pods count: an old one that waits for an accelerator says nothing about a change that needs none. A pod is
//! new if the changed fields of its template have their present value in it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use firebreak_engine::change::cut;
use firebreak_engine::id::TargetId;
use firebreak_engine::path::FieldPath;
use firebreak_engine::pods::End;
use firebreak_engine::policy::LabelSelector;
use firebreak_engine::value::{same, whole};
use firebreak_engine::verdict::Verdict;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::ordered::end;
use super::owner::controlling_owner;
use super::profile::{EventsOf, Message, OldPods, PodTemplate, PodsOf, Profile, Replicas};

/// The maximum length of what is quoted, in bytes.
const QUOTE: usize = 400;
/// A scheduler that runs looks at a new pod sooner.
const LOOKED_AT: SignedDuration = SignedDuration::from_secs(30);
/// States of a container that starts.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// What tells new pods from old ones, for each template of an object; without one, every pod is new.
#[derive(Clone, Debug, Default)]
pub struct Fresh(Vec<Made>);

/// What a pod has that is made of the present template.
#[derive(Clone, Debug)]
struct Made {
    /// The labels of such pods.
    labels: BTreeMap<String, String>,
    /// The changed fields of the template, as they are in such a pod.
    fields: Vec<(FieldPath, Option<Value>)>,
}

/// Why a pod does not start, or keeps others from it. What says most comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble {
    cause: Cause,
    pod: String,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    DoesNotEnd,
    NotScheduled,
    NotLookedAt,
    Waits,
    Failed,
}

impl Trouble {
    /// For people.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Why the controller of the object cannot create its pods, if the object says so.
pub fn refused(profile: &Profile, object: &Value) -> Option<String> {
    let path = profile.pods.as_ref()?.refused.as_ref()?;
    let why = path.read(object)?;
    why.as_str().filter(|why| !why.is_empty()).map(quote)
}

/// Text of others, bounded and in one line.
pub fn quote(text: &str) -> String {
    cut(&text.split_whitespace().collect::<Vec<_>>().join(" "), QUOTE)
}

/// How the pods of an object are listed.
#[derive(Clone, Debug, PartialEq)]
pub enum Selection {
    /// By these labels.
    Labels(LabelSelector),
    /// By this selector, as its controller reports it.
    Text(String),
    /// It has none at present.
    Nothing,
}

impl PodsOf {
    /// How its pods are listed.
    ///
    /// # Errors
    /// For people: it has no selector, or one that does not have the form of one.
    pub fn selection(&self, object: &Value) -> Result<Selection, String> {
        if !self.labels.is_empty() {
            let value = |(key, value): (&String, &Message)| Some((key.clone(), value.whole(object)?));
            let labels = self.labels.iter().map(value).collect::<Option<BTreeMap<String, String>>>();
            let Some(labels) = labels else { return Ok(Selection::Nothing) };
            return selector(json!({"matchLabels": labels}))
                .ok_or_else(|| "its labels select nothing".to_owned());
        }
        let found = self.selector.iter().find_map(|path| Some((path, path.read(object)?)));
        let (path, value) = found.ok_or_else(|| match self.selector.first() {
            Some(path) => format!("it has no {path}"),
            None => "its profile says neither a selector nor labels".to_owned(),
        })?;
        selector(value.into_owned()).ok_or_else(|| format!("{path} is not a selector"))
    }

    /// What tells a new pod from an old one: those of these fields that are in its template, with their value there.
    pub fn fresh<'a>(&self, object: &Value, fields: impl Iterator<Item = &'a FieldPath> + Clone) -> Fresh {
        let of = |template: &PodTemplate| Made {
            labels: template.labels.clone(),
            fields: fields.clone().filter_map(|path| template.field(path, object)).collect(),
        };
        let is_there = |template: &&PodTemplate| template.path.node(object).is_some_and(|it| !it.is_null());
        Fresh(self.templates.iter().filter(is_there).map(of).collect())
    }

    /// What keeps this pod from starting, or makes it keep new ones from it.
    pub fn trouble(&self, object: &Value, pod: &Value, fresh: &Fresh, now: Timestamp) -> Option<Trouble> {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (name, namespace) = (text("/metadata/name"), text("/metadata/namespace"));
        let trouble = |cause, text| Some(Trouble { cause, pod: name.to_owned(), text });
        match end(pod, now) {
            End::NotAsked if fresh.is_in(pod) => {
                let (cause, why) = not_started(pod, now)?;
                trouble(cause, format!("pod {name} {why}"))
            }
            End::Overdue(why) => {
                let waits = match self.old_pods_first(object)? {
                    OldPods::All => "no new pod is created before it is gone",
                    OldPods::OfItsName => "the pod that takes its name cannot be created before it is gone",
                };
                let text = format!(
                    "pod {name} is Terminating ({why}), and {waits}. Only if it certainly no longer runs, for example \
                     because its node is switched off: `kubectl delete pod {name} -n {namespace} --force --grace-period=0`"
                );
                trouble(Cause::DoesNotEnd, text)
            }
            End::NotAsked | End::UnderWay => None,
        }
    }

    /// Which old pods must be gone before a new one is created, if any.
    fn old_pods_first(&self, object: &Value) -> Option<OldPods> {
        let waits = self.waits_for_old.as_ref()?;
        (waits.when.evaluate(object, None).verdict == Verdict::True).then_some(waits.pods)
    }

    /// Whether a pod that was listed belongs to the object of this name and uid: the object controls it, or a ReplicaSet that
    /// is named after the object does. Labels that only its pods have say so by themselves.
    pub fn has(&self, pod: &Value, name: &str, uid: &str) -> bool {
        let named = self.replica_sets.as_ref().and_then(|label| label_of(pod, label));
        let set = named.map(|hash| format!("{name}-{hash}"));
        !self.labels.is_empty()
            || is_controlled_by(pod, uid)
            || controlling_owner(pod)
                .is_some_and(|owner| owner.kind == "ReplicaSet" && set.is_some_and(|set| set == owner.name))
    }

    /// How many pods the object wants, if it sets a number of `replicas`.
    pub fn wanted(&self, replicas: &Replicas, object: &Value) -> i64 {
        let number = |path: &FieldPath| path.read(object).as_deref().and_then(whole).unwrap_or(1);
        number(&replicas.spec).saturating_mul(self.pods_per_replica.as_ref().map_or(1, number))
    }

    /// Whether the Events of the object of this kind and name say why pods of `target` cannot be created.
    pub fn is_told_by(&self, target: &TargetId, kind: &str, name: &str) -> bool {
        let number = name.strip_prefix(&target.name).and_then(|rest| rest.strip_prefix('-'));
        let is_numbered = number.is_some_and(|number| number.parse::<u32>().is_ok());
        match self.events {
            EventsOf::Itself => kind == target.kind && name == target.name,
            EventsOf::StatefulSets => kind == "StatefulSet" && (name == target.name || is_numbered),
            EventsOf::Nobody => false,
        }
    }
}

impl PodTemplate {
    /// The field in a pod, with its value in the template; none if it is not in this template.
    fn field(&self, path: &FieldPath, object: &Value) -> Option<(FieldPath, Option<Value>)> {
        let rest = path.below(&self.path)?;
        let part = self.part.as_ref().map_or(&[][..], FieldPath::segments);
        let in_pod = FieldPath::new([part, rest.segments()].concat()).ok()?;
        Some((in_pod, path.read(object).map(Cow::into_owned)))
    }
}

impl Fresh {
    fn is_in(&self, pod: &Value) -> bool {
        let Some(made) = self.0.iter().find(|made| made.is_of(pod)) else { return self.0.is_empty() };
        // A template that the change does not touch says nothing, unless it touches none.
        let is_touched = !made.fields.is_empty() || self.0.iter().all(|made| made.fields.is_empty());
        is_touched
            && made.fields.iter().all(|(path, value)| same(path, path.read(pod).as_deref(), value.as_ref()))
    }
}

impl Made {
    fn is_of(&self, pod: &Value) -> bool {
        self.labels.iter().all(|(key, value)| label_of(pod, key) == Some(value))
    }
}

fn selector(value: Value) -> Option<Selection> {
    match value {
        Value::String(text) => (!text.is_empty()).then_some(Selection::Text(text)),
        value => serde_json::from_value(value).ok().map(Selection::Labels),
    }
}

fn label_of<'a>(pod: &'a Value, key: &str) -> Option<&'a str> {
    pod.pointer("/metadata/labels")?.get(key)?.as_str()
}

/// Whether the object of this uid controls the pod.
pub fn is_controlled_by(pod: &Value, uid: &str) -> bool {
    controlling_owner(pod).is_some_and(|owner| owner.uid == uid)
}

/// Why a pod does not run, after its name.
fn not_started(pod: &Value, now: Timestamp) -> Option<(Cause, String)> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if text("/status/phase") == "Failed" {
        let (reason, why) = (text("/status/reason"), quote(text("/status/message")));
        return Some((Cause::Failed, format!("has failed: {reason} {why}").trim_end().to_owned()));
    }
    if text("/spec/nodeName").is_empty() {
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
        let scheduled =
            conditions.into_iter().flatten().find(|condition| condition["type"] == "PodScheduled");
        if let Some(scheduled) = scheduled {
            let why = scheduled["message"].as_str().or(scheduled["reason"].as_str()).unwrap_or_default();
            let is_not = scheduled["status"] == "False";
            return is_not.then(|| (Cause::NotScheduled, format!("is not scheduled: {}", quote(why))));
        }
        let created: Option<Timestamp> = text("/metadata/creationTimestamp").parse().ok();
        let late =
            created.and_then(|created| created.checked_add(LOOKED_AT).ok()).is_some_and(|at| at <= now);
        let scheduler = text("/spec/schedulerName");
        let why = || format!("is not scheduled: no scheduler named {scheduler} has tried to schedule it");
        return late.then(|| (Cause::NotLookedAt, why()));
    }
    let containers = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let statuses = containers.iter().filter_map(|at| pod.pointer(at)?.as_array()).flatten();
    statuses.filter_map(waits).next().map(|why| (Cause::Waits, format!("does not start: {why}")))
}

/// What a container waits for.
fn waits(status: &Value) -> Option<String> {
    let waiting = status.pointer("/state/waiting")?;
    let reason = waiting["reason"].as_str().filter(|reason| !STARTING.contains(reason))?;
    let name = status["name"].as_str().unwrap_or_default();
    // The text of a restart has a time, which changes.
    let why = match status.pointer("/lastState/terminated/exitCode").and_then(Value::as_i64) {
        Some(code) => format!("it ended with exit code {code}"),
        None => quote(waiting["message"].as_str().unwrap_or_default()),
    };
    let why = if why.is_empty() { why } else { format!(" ({why})") };
    Some(format!("container {name} is in {reason}{why}"))
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
