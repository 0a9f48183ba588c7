//! What keeps the new pods of an object from starting, in the words of the scheduler, the kubelet and the controllers.
//!
//! Only new pods count: an old one that waits for an accelerator says nothing about a change that needs none. A pod is
//! new if the changed fields of its template have their present value in it.

use std::borrow::Cow;

use firebreak_engine::change::cut;
use firebreak_engine::id::TargetId;
use firebreak_engine::path::FieldPath;
use firebreak_engine::pods::End;
use firebreak_engine::policy::LabelSelector;
use firebreak_engine::value::same;
use firebreak_engine::verdict::Verdict;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::ordered::end;
use super::owner::controlling_owner;
use super::profile::{PodsOf, Profile};

/// The maximum length of what is quoted, in bytes.
const QUOTE: usize = 400;
/// A scheduler that runs looks at a new pod sooner.
const LOOKED_AT: SignedDuration = SignedDuration::from_secs(30);
/// States of a container that starts.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// Fields of a pod that the template gives to new ones, with their value there.
#[derive(Clone, Debug, Default)]
pub struct Fresh(Vec<(FieldPath, Option<Value>)>);

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

impl PodsOf {
    /// The labels of its pods.
    ///
    /// # Errors
    /// For people: it has none, or they do not have the form of a selector.
    pub fn labels(&self, object: &Value) -> Result<LabelSelector, String> {
        let selector = self.selector.read(object).ok_or_else(|| format!("it has no {}", self.selector))?;
        serde_json::from_value(selector.into_owned())
            .map_err(|_| format!("{} is not a selector", self.selector))
    }

    /// What tells a new pod from an old one: those of these fields that are in the template, with their value there.
    pub fn fresh<'a>(&self, object: &Value, fields: impl Iterator<Item = &'a FieldPath>) -> Fresh {
        let value = |path: &FieldPath| path.read(object).map(Cow::into_owned);
        let in_pod = |path: &FieldPath| Some((path.below(&self.template)?, value(path)));
        Fresh(fields.filter_map(in_pod).collect())
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
            End::Overdue(why) if self.waits_for_old_ones(object) => {
                let text = format!(
                    "pod {name} is Terminating ({why}), and no new pod is created before it is gone. Only if it certainly \
                     no longer runs, for example because its node is switched off: `kubectl delete pod {name} -n \
                     {namespace} --force --grace-period=0`"
                );
                trouble(Cause::DoesNotEnd, text)
            }
            End::NotAsked | End::UnderWay | End::Overdue(_) => None,
        }
    }

    fn waits_for_old_ones(&self, object: &Value) -> bool {
        let when = self.after_all_are_gone.as_ref();
        when.is_some_and(|when| when.evaluate(object, None).verdict == Verdict::True)
    }
}

impl Fresh {
    fn is_in(&self, pod: &Value) -> bool {
        self.0.iter().all(|(path, value)| same(path, path.read(pod).as_deref(), value.as_ref()))
    }
}

/// Whether the pod belongs to the object: the object controls it, or the ReplicaSet of a Deployment does.
pub fn is_of(pod: &Value, id: &TargetId) -> bool {
    let hash = pod.pointer("/metadata/labels/pod-template-hash").and_then(Value::as_str);
    let set = hash.map(|hash| format!("{}-{hash}", id.name));
    controlling_owner(pod).is_some_and(|owner| {
        owner.uid == id.uid || owner.kind == "ReplicaSet" && set.is_some_and(|set| set == owner.name)
    })
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
mod tests {
    use serde_json::json;

    use super::super::Profiles;
    use super::*;

    fn pods(kind: &str) -> PodsOf {
        let profiles = Profiles::built_in().unwrap();
        profiles.find("apps/v1", kind).unwrap().pods.clone().unwrap()
    }

    fn now() -> Timestamp {
        "2026-01-01T00:01:00Z".parse().unwrap()
    }

    /// A pod that asks for this number of accelerators, or for none.
    fn pod(gpu: Option<&str>, edit: impl FnOnce(&mut Value)) -> Value {
        let mut pod = json!({
            "metadata": {"name": "chat-7d9-x", "namespace": "serving", "creationTimestamp": "2026-01-01T00:00:10Z",
                         "labels": {"pod-template-hash": "7d9"}},
            "spec": {"schedulerName": "ml", "containers": [{"name": "main", "resources": {"limits": {}}}]},
            "status": {"phase": "Pending"},
        });
        if let Some(gpu) = gpu {
            pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = json!(gpu);
        }
        edit(&mut pod);
        pod
    }

    fn unscheduled(pod: &mut Value) {
        let why = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.";
        pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False",
                                              "reason": "Unschedulable", "message": why}]);
    }

    /// What is said of the pod while the template asks for this number of accelerators.
    fn said(strategy: &str, gpu: &str, pod: &Value) -> Option<String> {
        let path =
            "/spec/template/spec/containers/[name=main]/resources/limits/nvidia.com~1gpu".parse().unwrap();
        let outside = "/spec/strategy/rollingUpdate/maxSurge".parse().unwrap();
        let containers = json!([{"name": "main", "resources": {"limits": {"nvidia.com/gpu": gpu}}}]);
        let object = json!({"spec": {"strategy": {"type": strategy}, "template": {"spec": {"containers": containers}}}});
        let pods = pods("Deployment");
        let fresh = pods.fresh(&object, [&path, &outside].into_iter());
        pods.trouble(&object, pod, &fresh, now()).map(|trouble| trouble.text)
    }

    #[test]
    fn a_new_pod_that_is_not_scheduled_quotes_the_scheduler() {
        let found = said("RollingUpdate", "1", &pod(Some("1"), unscheduled)).unwrap();
        assert_eq!(
            found,
            "pod chat-7d9-x is not scheduled: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
        );
    }

    #[test]
    fn an_old_pod_says_nothing() {
        assert_eq!(said("RollingUpdate", "0", &pod(Some("1"), unscheduled)), None);
        assert!(said("RollingUpdate", "0", &pod(Some("0"), unscheduled)).is_some());
        let ends = |pod: &mut Value| {
            unscheduled(pod);
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:50Z");
        };
        assert_eq!(said("RollingUpdate", "1", &pod(Some("1"), ends)), None);
    }

    #[test]
    fn a_pod_that_no_scheduler_looks_at_names_the_scheduler_after_a_while() {
        let found = said("RollingUpdate", "1", &pod(Some("1"), |_| {})).unwrap();
        assert!(found.ends_with("no scheduler named ml has tried to schedule it"), "{found}");
        let young = |pod: &mut Value| pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:40Z");
        assert_eq!(said("RollingUpdate", "1", &pod(Some("1"), young)), None);
    }

    #[test]
    fn a_container_that_does_not_start_says_its_state() {
        let state = |reason: &str, message: &str, code: Option<i64>| {
            pod(Some("1"), |pod| {
                pod["spec"]["nodeName"] = json!("gpu-1");
                let mut status =
                    json!({"name": "main", "state": {"waiting": {"reason": reason, "message": message}}});
                if let Some(code) = code {
                    status["lastState"] = json!({"terminated": {"exitCode": code}});
                }
                pod["status"]["containerStatuses"] = json!([status]);
            })
        };
        let found =
            |reason: &str, message: &str, code| said("RollingUpdate", "1", &state(reason, message, code));
        assert_eq!(found("ContainerCreating", "", None), None);
        assert_eq!(
            found("CrashLoopBackOff", "back-off 5m0s", Some(127)).unwrap(),
            "pod chat-7d9-x does not start: container main is in CrashLoopBackOff (it ended with exit code 127)"
        );
        assert!(found("ImagePullBackOff", "no such image", None).unwrap().contains("(no such image)"));
        let refused = |pod: &mut Value| {
            pod["status"] =
                json!({"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no device"});
        };
        let found = said("RollingUpdate", "1", &pod(Some("1"), refused)).unwrap();
        assert_eq!(found, "pod chat-7d9-x has failed: UnexpectedAdmissionError no device");
    }

    #[test]
    fn only_where_all_old_pods_go_first_does_one_that_does_not_end_matter() {
        let lost = pod(Some("1"), |pod| {
            pod["spec"]["nodeName"] = json!("gpu-1");
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:10Z");
        });
        assert_eq!(said("RollingUpdate", "0", &lost), None);
        let found = said("Recreate", "0", &lost).unwrap();
        for words in ["node gpu-1", "`kubectl delete pod chat-7d9-x -n serving --force --grace-period=0`"] {
            assert!(found.contains(words), "no {words} in {found}");
        }
    }

    #[test]
    fn a_condition_says_why_pods_are_refused_and_long_text_is_cut() {
        let profiles = Profiles::built_in().unwrap();
        let profile = profiles.find("apps/v1", "Deployment").unwrap();
        let says = |message: &str| {
            refused(
                profile,
                &json!({"status": {"conditions": [
                    {"type": "Available", "status": "False", "message": "x"},
                    {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message},
                ]}}),
            )
        };
        assert_eq!(says("exceeded\n quota: gpu"), Some("exceeded quota: gpu".to_owned()));
        assert!(says(&"x".repeat(5000)).unwrap().len() <= QUOTE);
        assert_eq!(refused(profile, &json!({"status": {"conditions": []}})), None);
        let set = profiles.find("apps/v1", "StatefulSet").unwrap();
        assert_eq!(refused(set, &json!({})), None);
    }

    #[test]
    fn a_pod_belongs_to_its_controller_and_to_the_deployment_of_its_replica_set() {
        let id = |name: &str, uid: &str| TargetId {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: "serving".to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
        };
        let owned = pod(None, |pod| {
            pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "chat-7d9", "uid": "r", "controller": true}]);
        });
        assert!(is_of(&owned, &id("chat", "d")) && is_of(&owned, &id("x", "r")));
        assert!(!is_of(&owned, &id("chat-7d9", "d")) && !is_of(&owned, &id("other", "d")));
        assert!(!is_of(&pod(None, |_| {}), &id("chat", "d")));
    }
}
