//! Kinds with more than one pod template, or whose template is elsewhere: what their profiles find in objects as they
//! are written.

mod leader_worker_set;
mod llm_inference_service;
mod ray_service;
mod restart;
mod rollout;

use std::sync::Arc;

use firebreak_engine::facts::{Role, Slots};
use firebreak_engine::path::FieldPath;
use firebreak_engine::verdict::Verdict;
use serde_json::{Value, json};

use super::{Profile, Profiles, Selection};

/// apiVersion and kind.
type Kind = (&'static str, &'static str);

fn profile((api_version, kind): Kind) -> Arc<Profile> {
    Arc::clone(Profiles::built_in().unwrap().find(api_version, kind).unwrap())
}

fn slots(kind: Kind, object: &Value) -> Slots {
    super::slots(&profile(kind), object)
}

/// The paths of the fields with a role.
fn paths(kind: Kind, object: &Value, role: &Role) -> Vec<String> {
    slots(kind, object).of(role).map(|slot| slot.path.to_string()).collect()
}

/// Why a role does not apply; none if it does.
fn obstacle(kind: Kind, object: &Value, role: &Role) -> Option<String> {
    let obstacles = slots(kind, object).obstacles;
    obstacles.into_iter().find(|obstacle| obstacle.role == *role).map(|obstacle| obstacle.why)
}

/// The fields that placement on accelerator nodes is released from.
fn placement(kind: Kind, object: &Value) -> Vec<String> {
    let slots = slots(kind, object);
    let placement = slots.fields.iter().filter(|slot| matches!(slot.role, Role::Placement { .. }));
    placement.map(|slot| slot.path.to_string()).collect()
}

/// The fields of the pace of its rolling updates that a fallback changes, with their new values.
fn pace(kind: Kind, object: &Value) -> Vec<(String, Value)> {
    let fields = slots(kind, object).fields.into_iter();
    let pace = fields.filter_map(|slot| {
        let Role::Pace { in_place } = slot.role else { return None };
        Some((slot.path.to_string(), in_place))
    });
    pace.collect()
}

/// `maxSurge` of this map becomes 0, and `maxUnavailable` 1 if it is `too_low`.
fn in_place(map: &str, too_low: &[&str]) -> Vec<(String, Value)> {
    let low = too_low.iter().map(|field| (format!("{map}/{field}"), Value::from(1)));
    std::iter::once((format!("{map}/maxSurge"), Value::from(0))).chain(low).collect()
}

/// What is said of a pod if all accelerators of the object were changed to their present values.
fn trouble(kind: Kind, object: &Value, pod: &Value) -> Option<String> {
    let profile = profile(kind);
    let pods = profile.pods.as_ref().unwrap();
    let slots = slots(kind, object);
    let changed: Vec<&FieldPath> = slots.of(&Role::Accelerator).map(|slot| &slot.path).collect();
    let fresh = pods.fresh(object, changed.into_iter());
    let now = "2026-01-01T00:01:00Z".parse().unwrap();
    pods.trouble(object, pod, &fresh, now).map(|trouble| trouble.text().to_owned())
}

/// How its pods are listed.
fn selection(kind: Kind, object: &Value) -> Selection {
    profile(kind).pods.as_ref().unwrap().selection(object).unwrap()
}

/// The labels by which its pods are listed.
fn by_labels(labels: &Value) -> Selection {
    Selection::Labels(serde_json::from_value(json!({"matchLabels": labels})).unwrap())
}

/// A pod that no node has room for, with this container and these labels.
fn pending(labels: &Value, container: &str, gpus: &str) -> Value {
    json!({
        "metadata": {"name": "pod-1", "namespace": "serving", "labels": labels},
        "spec": {"containers": [{"name": container, "resources": {"limits": {"nvidia.com/gpu": gpus}}}]},
        "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/3 nodes are available"}]},
    })
}

fn health(kind: Kind, object: &Value) -> Verdict {
    super::healthy(&profile(kind), object).0
}

fn idle(kind: Kind, object: &Value) -> Option<String> {
    super::idle(Some(&profile(kind)), object)
}

fn paused(kind: Kind, object: &Value) -> Option<String> {
    super::rollout_paused(Some(&profile(kind)), object)
}

fn waits_for(kind: Kind, object: &Value) -> (Verdict, String) {
    super::rollout(&profile(kind), object)
}

/// The object, with this merged into it.
fn with(object: &Value, patch: Value) -> Value {
    fn merge(into: &mut Value, patch: Value) {
        match (into, patch) {
            (Value::Object(into), Value::Object(patch)) => {
                for (key, value) in patch {
                    if value.is_null() {
                        into.remove(&key);
                    } else {
                        merge(into.entry(key).or_insert(Value::Null), value);
                    }
                }
            }
            (into, patch) => *into = patch,
        }
    }
    let mut object = object.clone();
    merge(&mut object, patch);
    object
}

#[test]
fn a_number_beyond_the_bounds_of_its_kind_is_not_lent() {
    let set = ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet");
    let service = ("serving.kserve.io/v1alpha2", "LLMInferenceService");
    let rollout = ("argoproj.io/v1alpha1", "Rollout");
    let daemons = ("apps/v1", "DaemonSet");
    let ray = ("ray.io/v1", "RayService");
    let is_bound = |kind: Kind, spec: Value, role: &Role| {
        let slots = slots(kind, &json!({"metadata": {"name": "x"}, "spec": spec}));
        let mut found = slots.of(role).peekable();
        assert!(found.peek().is_some(), "{kind:?} has no {role:?}");
        found.any(|slot| slot.out_of_bounds.is_some())
    };
    for kind in [set, service, rollout] {
        for (replicas, expected) in [(10_000, false), (10_001, true), (-1, true)] {
            let spec = json!({"replicas": replicas});
            assert_eq!(is_bound(kind, spec, &Role::Replicas), expected, "{kind:?} {replicas}");
        }
    }
    let pod = |gpus: &str| json!({"spec": {"containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": gpus}}}]}});
    for (gpus, expected) in [("1024", false), ("1025", true), ("many", true)] {
        for (kind, spec) in [
            (set, json!({"leaderWorkerTemplate": {"workerTemplate": pod(gpus)}})),
            (service, json!({"template": pod(gpus)["spec"]})),
            (rollout, json!({"template": pod(gpus)})),
            (daemons, json!({"template": pod(gpus)})),
            (ray, json!({"rayClusterConfig": {"headGroupSpec": {"template": pod(gpus)}}})),
        ] {
            assert_eq!(is_bound(kind, spec, &Role::Accelerator), expected, "{kind:?} {gpus}");
        }
    }
    let scaling = |most: i64| json!({"replicas": null, "scaling": {"maxReplicas": most}});
    for (most, expected) in [(1, false), (10_000, false), (10_001, true)] {
        assert_eq!(is_bound(service, scaling(most), &Role::AutoscalerLimit), expected, "{most}");
    }
}
