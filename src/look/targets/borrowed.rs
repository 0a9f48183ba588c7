//! Deployments whose pod template a Rollout runs (`spec.workloadRef`).
//!
//! Such a Deployment has no pods of its own: Argo Rollouts scales it to 0, or a person does. It is not off for that: the
//! Rollout starts pods from its template, and says how they are. Nothing in the Deployment shows this, so the
//! Rollouts of its namespace are listed, and only if it matters: if the step would change the template of a
//! Deployment that has no replicas, or set replicas. If they cannot be listed, a Deployment that the step has not changed
//! stays idle, and of one that it has changed nothing is known.

use std::sync::Arc;

use firebreak_engine::action::Pods;
use firebreak_engine::change::Change;
use firebreak_engine::facts::{Role, Stage, Target};
use firebreak_engine::id::TargetId;
use firebreak_engine::rules::Step;
use firebreak_engine::value::whole;
use firebreak_engine::verdict::Verdict;
use serde_json::Value;

use super::autoscalers::{Kind, is};
use super::{Reader, group};
use crate::workloads::{self, Profile};

/// What may run the pod template of a Deployment.
pub const ROLLOUT: Kind = ("argoproj.io/v1alpha1", "Rollout");
/// What may lend its pod template to a Rollout.
pub const DEPLOYMENT: Kind = ("apps/v1", "Deployment");

impl Reader<'_> {
    /// Whether a Rollout may run the template of an object that seems to be off, for a step that changes templates.
    pub(super) fn may_be_borrowed(step: &Step, target: &Target) -> bool {
        let is_deleted = target.object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null());
        let changes_template =
            step.action.descriptor().pods == Pods::Replaces && target.stage == Stage::Targets;
        changes_template && is(DEPLOYMENT, &target.id) && target.idle.is_some() && !is_deleted
    }

    /// Lets the Rollouts speak for the Deployments whose template they run.
    pub(super) async fn ask_who_runs(&self, step: &Step, targets: &mut [Target]) {
        let asked: Vec<&mut Target> =
            targets.iter_mut().filter(|target| Self::may_be_borrowed(step, target)).collect();
        let ids: Vec<TargetId> = asked.iter().map(|target| target.id.clone()).collect();
        let rollouts = self.autoscalers(ROLLOUT, &ids).await;
        for target in asked {
            match rollouts.get(&target.id.namespace) {
                Some(Ok(all)) => {
                    if let Some(rollout) = all.iter().find(|rollout| borrows(rollout, &target.id))
                        && let Some(profile) = self.profile(rollout)
                    {
                        speak_for(target, step, rollout, profile);
                    }
                }
                Some(Err(why)) => {
                    let idle = target.idle.take().unwrap_or_default();
                    let why = format!("{idle}, and whether a Rollout runs its pods is not known: {why}");
                    let changes = || self.state.changes_of(&step.name);
                    if changes().any(|change| change.target.uid == target.id.uid && was_applied(change)) {
                        nothing_is_known(target, why);
                    } else {
                        target.idle = Some(why);
                    }
                }
                None => {} // a Deployment has a namespace
            }
        }
    }
}

/// Whether the Rollout takes its pod template from this object, which is in the same namespace.
pub(super) fn borrows(rollout: &Value, target: &TargetId) -> bool {
    let Some(reference) = rollout.pointer("/spec/workloadRef") else { return false };
    let text = |field: &str| reference.get(field).and_then(Value::as_str).unwrap_or_default();
    text("name") == target.name
        && text("kind") == target.kind
        && group(text("apiVersion")) == group(&target.api_version)
}

/// `Rollout/name`.
pub(super) fn called(rollout: &Value) -> String {
    format!("Rollout/{}", rollout.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default())
}

/// Takes the state of the pods from the Rollout.
fn speak_for(target: &mut Target, step: &Step, rollout: &Arc<Value>, profile: &Profile) {
    let who = called(rollout);
    let of_it = |why: String| format!("{who} runs its pods: {why}");
    target.idle = workloads::idle(Some(profile), rollout).map(of_it);
    target.rollout_paused = workloads::rollout_paused(Some(profile), rollout).map(of_it);
    let (healthy, why) = workloads::healthy(profile, rollout);
    target.healthy = healthy;
    target.rollout = match has_observed(rollout, &target.object) {
        Verdict::True => workloads::rollout(profile, rollout),
        Verdict::False => (Verdict::False, "Argo Rollouts has not observed its template yet".to_owned()),
        Verdict::Unknown => {
            (Verdict::Unknown, "Argo Rollouts does not report which template it has observed".to_owned())
        }
    };
    target.rollout.1 = of_it(std::mem::take(&mut target.rollout.1));
    // The Rollout replaces the pods at a pace of its own.
    target.slots.fields.retain(|slot| !matches!(slot.role, Role::Pace { .. }));
    let found = step.targets().where_.evaluate(&target.object, Some(healthy));
    (target.matched, target.match_problem) = (found.verdict, found.why.or(why));
    if target.matched != Verdict::Unknown {
        target.match_problem = None;
    }
}

/// Whether the object may have pods with the changed template.
fn was_applied(change: &Change) -> bool {
    change.applied_at().is_some()
}

/// The object may be off, or a Rollout may run pods from its template: neither is a guess that anything may rely on.
fn nothing_is_known(target: &mut Target, why: String) {
    target.healthy = Verdict::Unknown;
    target.matched = Verdict::Unknown;
    target.match_problem = Some(why.clone());
    target.rollout = (Verdict::Unknown, why);
}

/// Whether the status of the Rollout is about this version of the template. Its numbers are texts.
fn has_observed(rollout: &Value, template: &Value) -> Verdict {
    let observed = rollout.pointer("/status/workloadObservedGeneration");
    let observed = observed.and_then(|number| match number {
        Value::String(text) => text.parse().ok(),
        other => whole(other),
    });
    let generation = template.pointer("/metadata/generation").and_then(Value::as_i64);
    match (observed, generation) {
        (Some(observed), Some(generation)) if observed >= generation => Verdict::True,
        (Some(_), Some(_)) => Verdict::False,
        (None, _) | (_, None) => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(kind: &str, name: &str) -> TargetId {
        let text = |text: &str| text.to_owned();
        let (api_version, namespace, uid) = (text("apps/v1"), text("serving"), text("u"));
        TargetId { api_version, kind: text(kind), namespace, name: text(name), uid }
    }

    #[test]
    fn a_rollout_borrows_the_template_of_the_object_that_it_names() {
        let rollout =
            |reference: Value| json!({"metadata": {"name": "chat"}, "spec": {"workloadRef": reference}});
        let chat = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"});
        assert!(borrows(&rollout(chat.clone()), &id("Deployment", "chat")));
        assert!(!borrows(&rollout(chat.clone()), &id("Deployment", "other")));
        assert!(!borrows(&rollout(chat), &id("ReplicaSet", "chat")));
        let other = json!({"apiVersion": "other.io/v1", "kind": "Deployment", "name": "chat"});
        assert!(!borrows(&rollout(other), &id("Deployment", "chat")));
        assert!(!borrows(&json!({"spec": {}}), &id("Deployment", "chat")));
    }

    #[test]
    fn what_a_rollout_has_observed_of_the_template_is_a_text() {
        let observed = |number: Value| {
            has_observed(
                &json!({"status": {"workloadObservedGeneration": number}}),
                &json!({"metadata": {"generation": 3}}),
            )
        };
        assert_eq!(observed(json!("3")), Verdict::True);
        assert_eq!(observed(json!("2")), Verdict::False);
        assert_eq!(observed(json!(4)), Verdict::True);
        for unknown in [Value::Null, json!(""), json!("abc")] {
            assert_eq!(observed(unknown.clone()), Verdict::Unknown, "{unknown}");
        }
    }
}
