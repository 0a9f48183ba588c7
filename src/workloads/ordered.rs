//! Pods that get a new template one after the other, and which of them are stuck.

use firebreak_engine::path::FieldPath;
use firebreak_engine::pods::{End, StuckPod};
use firebreak_engine::policy::LabelSelector;
use firebreak_engine::value::whole;
use firebreak_engine::verdict::Verdict;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::profile::OrderedPods;

/// How long after its grace period a pod may still exist.
const LATE: SignedDuration = SignedDuration::from_secs(30);

/// The template that the pods of one object should have.
#[derive(Clone, Copy, Debug)]
pub struct Template<'a> {
    label: &'a str,
    revision: &'a str,
    /// Pods with a lower number keep their template.
    from: i64,
}

impl OrderedPods {
    /// Whether the pods of this object wait for each other.
    pub fn is_so(&self, object: &Value) -> bool {
        self.when.evaluate(object, None).verdict == Verdict::True
    }

    /// The labels of its pods.
    ///
    /// # Errors
    /// For people: it has none, or they do not have the form of a selector.
    pub fn selector(&self, object: &Value) -> Result<LabelSelector, String> {
        let selector = self.selector.read(object).ok_or_else(|| format!("it has no {}", self.selector))?;
        serde_json::from_value(selector.into_owned()).map_err(|_| {
            format!(
                "{} is not a \
            selector",
                self.selector
            )
        })
    }

    /// The present template; none while its controller has not observed the last change.
    pub fn template<'a>(&'a self, object: &'a Value) -> Option<Template<'a>> {
        let observed = object.pointer("/status/observedGeneration").and_then(Value::as_i64)?;
        let is_seen = observed >= object.pointer("/metadata/generation").and_then(Value::as_i64)?;
        let revision = self.update_revision.node(object)?.as_str().filter(|_| is_seen)?;
        let number = |path: &Option<FieldPath>| {
            path.as_ref().and_then(|path| path.read(object)).as_deref().and_then(whole).unwrap_or(0)
        };
        let from = number(&self.first).saturating_add(number(&self.held_back));
        Some(Template { label: &self.revision_label, revision, from })
    }
}

impl Template<'_> {
    /// The pod, if it does not terminate, or is not ready and does not have this template.
    pub fn stuck(&self, pod: &Value, now: Timestamp) -> Option<StuckPod> {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (name, uid) = (text("/metadata/name"), text("/metadata/uid"));
        let end = end(pod, now);
        let labels = pod.pointer("/metadata/labels").and_then(Value::as_object);
        let revision = labels.and_then(|labels| labels.get(self.label)).and_then(Value::as_str);
        // Without the label, it is not known which template it has.
        let is_old = revision.is_some_and(|revision| revision != self.revision);
        let gets_it = number(name).is_some_and(|number| number >= self.from);
        let is_stuck = matches!(end, End::Overdue(_)) || is_old && gets_it && !is_ready(pod);
        let (name, uid) = (name.to_owned(), uid.to_owned());
        (is_stuck && !uid.is_empty()).then_some(StuckPod { name, uid, end })
    }
}

/// The number at the end of a pod's name.
fn number(name: &str) -> Option<i64> {
    name.rsplit_once('-')?.1.parse().ok()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let is_true = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    conditions.is_some_and(|conditions| conditions.iter().any(is_true))
}

/// The time of the deletion is the end of the grace period.
pub(super) fn end(pod: &Value, now: Timestamp) -> End {
    let Some(due) = pod.pointer("/metadata/deletionTimestamp").and_then(Value::as_str) else {
        return End::NotAsked;
    };
    let due: Option<Timestamp> = due.parse().ok();
    if due.and_then(|due| due.checked_add(LATE).ok()).is_none_or(|late| late > now) {
        return End::UnderWay;
    }
    let finalizers = pod.pointer("/metadata/finalizers").and_then(Value::as_array);
    let finalizers: Vec<&str> = finalizers.into_iter().flatten().filter_map(Value::as_str).collect();
    let node = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
    End::Overdue(match (finalizers.as_slice(), node) {
        ([], "") => "nothing removes it".to_owned(),
        ([], node) => format!("node {node} does not report that it has ended"),
        (held, _) => format!("it is held by the finalizers {}", held.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Profiles, profile::Profile};
    use super::*;

    fn profile() -> Profile {
        let profiles = Profiles::built_in().unwrap();
        Profile::clone(profiles.find("apps/v1", "StatefulSet").unwrap())
    }

    fn set(spec: Value) -> Value {
        json!({"metadata": {"generation": 2}, "spec": spec,
               "status": {"observedGeneration": 2, "updateRevision": "web-new", "currentRevision": "web-old"}})
    }

    /// The pod, with this `ready` condition.
    fn pod(name: &str, revision: &str, ready: &str) -> Value {
        json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {"controller-revision-hash": revision}},
               "spec": {"nodeName": "gpu-1"}, "status": {"conditions": [{"type": "Ready", "status": ready}]}})
    }

    fn stuck(set: &Value, pod: &Value) -> Option<StuckPod> {
        let (profile, now) = (profile(), "2026-01-01T00:01:00Z".parse().unwrap());
        profile.ordered_pods.unwrap().template(set).unwrap().stuck(pod, now)
    }

    #[test]
    fn only_a_stateful_set_that_updates_its_pods_one_after_the_other_is_ordered() {
        let ordered = profile().ordered_pods.unwrap();
        let is_so = |spec: Value| ordered.is_so(&set(spec));
        assert!(is_so(json!({})));
        assert!(is_so(
            json!({"podManagementPolicy": "OrderedReady", "updateStrategy": {"type": "RollingUpdate"}})
        ));
        assert!(!is_so(json!({"podManagementPolicy": "Parallel"})));
        assert!(!is_so(json!({"updateStrategy": {"type": "OnDelete"}})));
    }

    #[test]
    fn a_pod_is_stuck_that_is_not_ready_and_has_another_template() {
        let set = set(json!({}));
        let web = stuck(&set, &pod("web-0", "web-old", "False")).unwrap();
        assert_eq!((web.name.as_str(), web.uid.as_str(), web.end), ("web-0", "uid-web-0", End::NotAsked));
        for (revision, ready) in [("web-old", "True"), ("web-new", "False"), ("web-new", "True")] {
            assert_eq!(stuck(&set, &pod("web-0", revision, ready)), None, "{revision} {ready}");
        }
        let mut pending = pod("web-0", "web-old", "False");
        pending["status"] = json!({"phase": "Pending"});
        assert!(stuck(&set, &pending).is_some());
        pending["metadata"]["labels"] = json!({});
        assert_eq!(stuck(&set, &pending), None, "nobody knows which template it has");
    }

    #[test]
    fn pods_that_a_partition_holds_back_are_not_stuck() {
        let held =
            set(json!({"updateStrategy": {"rollingUpdate": {"partition": 2}}, "ordinals": {"start": 5}}));
        let is_stuck = |name: &str| stuck(&held, &pod(name, "web-old", "False")).is_some();
        assert!(!is_stuck("web-5") && !is_stuck("web-6") && is_stuck("web-7") && !is_stuck("web"));
    }

    #[test]
    fn while_the_last_change_was_not_seen_nothing_is_known_of_the_pods() {
        let ordered = profile().ordered_pods.unwrap();
        let mut late = set(json!({}));
        late["metadata"]["generation"] = json!(3);
        assert!(ordered.template(&late).is_none());
        late["status"] = json!({});
        assert!(ordered.template(&late).is_none());
    }

    #[test]
    fn a_pod_that_is_still_there_after_its_grace_period_says_what_holds_it() {
        let end = |due: &str, edit: fn(&mut Value)| {
            let mut pod = pod("web-0", "web-old", "False");
            pod["metadata"]["deletionTimestamp"] = json!(due);
            edit(&mut pod);
            stuck(&set(json!({})), &pod).unwrap().end
        };
        let overdue = |why: &str| End::Overdue(why.to_owned());
        assert_eq!(end("2026-01-01T00:00:45Z", |_| {}), End::UnderWay);
        let (long_ago, node) = ("2026-01-01T00:00:10Z", "node gpu-1 does not report that it has ended");
        assert_eq!(end(long_ago, |_| {}), overdue(node));
        // It blocks the others whatever template it has.
        let new = |pod: &mut Value| pod["metadata"]["labels"]["controller-revision-hash"] = json!("web-new");
        assert_eq!(end(long_ago, new), overdue(node));
        let held = |pod: &mut Value| pod["metadata"]["finalizers"] = json!(["example.com/a"]);
        assert_eq!(end(long_ago, held), overdue("it is held by the finalizers example.com/a"));
        assert_eq!(end(long_ago, |pod| pod["spec"] = json!({})), overdue("nothing removes it"));
    }
}
