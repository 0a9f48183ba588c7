//! The pods of a story. An object whose pods get a change one after the other lists the
//! stuck ones in its status, as in `stuckPods: {web-0: Pending}`.
//!
//! `Pending` is not ready and does not have the change, `Terminating` is being deleted, and `Lost`
//! should be gone. A text in place of the mapping is the reason why the pods cannot be read.

use std::sync::Arc;

use serde_json::{Value, json};

use super::server::Server;
use crate::facts::{Outcome, Target};
use crate::id::TargetId;
use crate::pods::{End, Pods, StuckPod};

/// Who deletes pods.
const KUBELET: &str = "kubelet/Update";

/// The target with the pods that the story gives it.
pub(super) fn of(mut target: Target) -> Target {
    if target.pods.are_in_order() {
        target.pods = seen(&target.object);
    }
    target
}

fn seen(object: &Value) -> Pods {
    let observed = object.pointer("/status/observedGeneration").and_then(Value::as_i64);
    if observed.is_some_and(|observed| Some(observed) < object["metadata"]["generation"].as_i64()) {
        return Pods::NotYet;
    }
    match &object["status"]["stuckPods"] {
        Value::String(why) => Pods::Unknown(why.clone()),
        Value::Object(pods) => {
            let stuck = pods.iter().map(|(name, state)| {
                let end = match state.as_str() {
                    Some("Terminating") => End::UnderWay,
                    Some("Lost") => End::Overdue("its node does not report that it has ended".to_owned()),
                    Some(_) | None => End::NotAsked,
                };
                StuckPod { name: name.clone(), uid: uid(name), end }
            });
            Pods::Stuck(stuck.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Pods::Stuck(Vec::new()),
    }
}

fn uid(pod: &str) -> String {
    format!("uid-of-{pod}")
}

/// The deletion of a pod takes effect at once.
pub(super) fn delete(server: &mut Server, pod: &TargetId) -> Outcome {
    let has_it = |object: &Value| object["status"]["stuckPods"].get(&pod.name).is_some();
    let owner = server.objects.iter().find(|(_, object)| has_it(object)).map(|(name, _)| name.clone());
    let Some(owner) = owner.filter(|_| pod.uid == uid(&pod.name)) else {
        return Outcome::Refused { code: 404, why: "not found".to_owned(), fields: Vec::new() };
    };
    server.edit(&owner, KUBELET, |object| {
        object["status"]["stuckPods"].as_object_mut().and_then(|pods| pods.remove(&pod.name));
    });
    Outcome::Done(Arc::new(json!({"kind": "Pod", "metadata": {"name": pod.name, "uid": pod.uid}})))
}
