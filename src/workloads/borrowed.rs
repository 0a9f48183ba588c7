//! Deployments whose pod template a Rollout runs (`spec.workloadRef`).
//!
//! Such a Deployment has no pods of its own: Argo Rollouts scales it to 0, or a person does. It is not off for that: the
//! Rollout starts pods from its template, and says how they are.

use std::sync::Arc;

use firebreak_engine::action::Pods;
use firebreak_engine::facts::{About, Doubt, Role, Stage, Target};
use firebreak_engine::id::{TargetId, group};
use firebreak_engine::rules::Step;
use firebreak_engine::value::whole;
use firebreak_engine::verdict::Verdict;
use serde_json::Value;

use super::health::healthy;
use super::idle::{idle, rollout_paused};
use super::profile::{Case, Profile};
use super::rollout::rollout as rolled_out;
use super::slots::needs_room;

/// Whether a Rollout may run the template of an object that seems to be off, for a step that changes templates.
pub fn may_be_borrowed(step: &Step, target: &Target) -> bool {
    let is_deleted = target.object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null());
    let changes_template = step.action.descriptor().pods == Pods::Replaces && target.stage == Stage::Targets;
    let is_deployment = (group(&target.id.api_version), target.id.kind.as_str()) == ("apps", "Deployment");
    changes_template && is_deployment && target.idle.is_some() && !is_deleted
}

/// Whether the Rollout takes its pod template from this object, which is in the same namespace.
pub fn borrows(rollout: &Value, target: &TargetId) -> bool {
    let Some(reference) = rollout.pointer("/spec/workloadRef") else { return false };
    let text = |field: &str| reference.get(field).and_then(Value::as_str).unwrap_or_default();
    text("name") == target.name
        && text("kind") == target.kind
        && group(text("apiVersion")) == group(&target.api_version)
}

/// `Rollout/name`.
pub fn runner(rollout: &Value) -> String {
    format!("Rollout/{}", rollout.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default())
}

/// Takes the state of the pods from the Rollout.
pub fn speak_for(target: &mut Target, step: &Step, rollout: &Arc<Value>, profile: &Profile) {
    let who = runner(rollout);
    let of_it = |why: String| format!("{who} runs its pods: {why}");
    target.idle = idle(Some(profile), rollout).map(of_it);
    target.rollout_paused = rollout_paused(Some(profile), rollout).map(of_it);
    let (health, why) = healthy(profile, rollout);
    target.healthy = health;
    target.rollout = match has_observed(rollout, &target.object) {
        Verdict::True => rolled_out(profile, rollout),
        Verdict::False => (Verdict::False, "Argo Rollouts has not observed its template yet".to_owned()),
        Verdict::Unknown => {
            (Verdict::Unknown, "Argo Rollouts does not report which template it has observed".to_owned())
        }
    };
    target.rollout.1 = of_it(std::mem::take(&mut target.rollout.1));
    // The Rollout replaces the pods at a pace of its own.
    target.slots.fields.retain(|slot| !matches!(slot.role, Role::Pace { .. }));
    target.slots.doubts.extend(doubts(target, rollout, profile, &who));
    let found = step.targets().where_.evaluate(&target.object, Some(health));
    (target.matched, target.match_problem) = (found.verdict, found.why.or(why));
    if target.matched != Verdict::Unknown {
        target.match_problem = None;
    }
}

/// What people must know about how the Rollout replaces the pods. Its pace is a field of another object than the template,
/// and a loan is one object.
fn doubts(target: &Target, rollout: &Value, profile: &Profile, who: &str) -> Vec<Doubt> {
    let warnings = Case::all(&profile.warnings, rollout);
    let warnings =
        warnings.map(|why| Doubt { about: About::NewPods, why: format!("{who} runs its pods: {why}") });
    let needs_room = needs_room(profile, rollout, &target.slots.fields, &target.object);
    let pace = needs_room.then(|| Doubt {
        about: About::Room,
        why: format!(
            "{who} runs its pods and starts a new one beside the old ones, and Firebreak does not change its maxSurge; \
             where there may be no room for one more, set maxSurge: 0 and maxUnavailable: 1 in its canary strategy first"
        ),
    });
    warnings.chain(pace).collect()
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
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::super::Profiles;
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

    #[test]
    fn the_room_that_a_rollout_needs_for_the_template_of_another_is_told() {
        let profiles = Profiles::built_in().unwrap();
        let told = |gpus: &str, strategy: Value| {
            let containers = json!([{"name": "main", "resources": {"limits": {"nvidia.com/gpu": gpus}}}]);
            let object = json!({
                "metadata": {"name": "chat", "namespace": "serving", "uid": "u", "resourceVersion": "1"},
                "spec": {"replicas": 0, "template": {"spec": {"containers": containers}}},
            });
            let deployment = profiles.find("apps/v1", "Deployment").unwrap();
            let target =
                super::super::target(Some(deployment), Arc::new(object), None, None, &BTreeSet::new())
                    .unwrap();
            let rollout =
                json!({"metadata": {"name": "runs"}, "spec": {"replicas": 2, "strategy": strategy}});
            let profile = profiles.find("argoproj.io/v1alpha1", "Rollout").unwrap();
            doubts(&target, &rollout, profile, "Rollout/runs")
                .into_iter()
                .map(|doubt| doubt.about)
                .collect::<Vec<_>>()
        };
        assert_eq!(told("1", json!({"canary": {}})), [About::Room]);
        assert_eq!(told("1", json!({"canary": {"maxSurge": 0, "maxUnavailable": 1}})), []);
        assert_eq!(told("0", json!({"canary": {}})), [], "it asks for no accelerator");
        assert_eq!(told("1", json!({"blueGreen": {"activeService": "chat"}})), [About::NewPods]);
    }
}
