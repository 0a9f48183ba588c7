//! The engine's target, from one object as the API server sent it.

use std::collections::BTreeSet;
use std::sync::Arc;

use firebreak_engine::expression::ObjectCondition;
use firebreak_engine::facts::{
    Demand, Obstacle, OwnedBy, Purpose, Revision, Role, ScaledBy, Slots, Stage, Target,
};
use firebreak_engine::id::{ResourceVersion, TargetId};
use firebreak_engine::placement::Nodes;
use firebreak_engine::pods::Pods;
use firebreak_engine::undo::EXEMPT;
use firebreak_engine::verdict::Verdict;
use serde_json::Value;

use super::health::unhealthy_since;
use super::idle::{idle, rollout_paused};
use super::owner::controlling_owner;
use super::profile::Profile;
use super::rollout::rollout;
use super::slots::slots;

/// What the profile of its kind finds in one object.
///
/// `healthy` replaces the profile's own expression. Without `where_` the
/// object is selected when it is not healthy. `exempt_namespaces` are those
/// annotated `firebreak.dev/exempt: "true"`. Objects in a list have no kind
/// field; then it is the profile's.
///
/// # Errors
/// A text for people if the object has no usable name, uid, version or kind.
/// The error is only about this object; the others of its list are unaffected.
pub fn target(
    profile: Option<&Profile>,
    object: Arc<Value>,
    where_: Option<&ObjectCondition>,
    healthy: Option<&ObjectCondition>,
    exempt_namespaces: &BTreeSet<String>,
) -> Result<Target, String> {
    let id = identify(profile, &object)?;
    let version = text(&object, "/metadata/resourceVersion").unwrap_or_default();
    let version = ResourceVersion::try_from(version).map_err(|error| format!("{id}: {error}"))?;
    let (health, problem) = health_of(profile, &object, healthy);
    let (matched, match_problem) = is_wanted(&object, where_, health, problem);
    let exempt = exempt_namespaces.contains(&id.namespace) || is_exempt(&object);
    let no_profile = || (Verdict::Unknown, format!("Firebreak cannot read the rollout of a {}", id.kind));
    let ordered = profile.and_then(|profile| profile.ordered_pods.as_ref());
    let pods = if ordered.is_some_and(|ordered| ordered.is_so(&object)) { Pods::InOrder } else { Pods::Free };
    Ok(Target {
        version,
        matched,
        match_problem,
        purpose: Purpose::Change,
        exempt,
        owned_by: controlling_owner(&object).map(|owner| OwnedBy {
            owner: owner.to_string(),
            why: "it would overwrite the change, so it must be changed instead".to_owned(),
        }),
        resolved_from: Vec::new(),
        stage: Stage::Targets,
        idle: idle(profile, &object),
        rollout_paused: rollout_paused(profile, &object),
        slots: profile.map_or_else(|| unknown(&id.kind), |profile| slots(profile, &object)),
        rollout: profile.map_or_else(no_profile, |profile| rollout(profile, &object)),
        unhealthy_since: unhealthy_since(profile, &object).filter(|_| health == Verdict::False),
        healthy: health,
        demand: Demand::None,
        scaled_by: ScaledBy::Nobody,
        revision: Revision::NotAsked,
        nodes: Nodes::NotAsked,
        pods,
        id,
        object,
    })
}

/// Nothing is known about the fields of a kind without a profile.
fn unknown(kind: &str) -> Slots {
    let why = format!(
        "Firebreak does not know which field of {kind} has it: there is no profile, and its CRD has no \
            readable scale subresource; add a profile to the operator configuration"
    );
    let roles = [
        Role::Accelerator,
        Role::AutoscalerLimit,
        Role::Scheduler,
        Role::BatchSize,
        Role::MaxConcurrency,
        Role::Replicas,
        Role::Restart,
    ];
    let obstacles = roles.map(|role| Obstacle { role, why: why.clone() });
    Slots { obstacles: obstacles.into(), ..Slots::default() }
}

/// Whether an object or a Namespace is annotated as exempt.
pub fn is_exempt(object: &Value) -> bool {
    let annotations = object.get("metadata").and_then(|metadata| metadata.get("annotations"));
    annotations.and_then(|annotations| annotations.get(EXEMPT)).and_then(Value::as_str) == Some("true")
}

/// Which object it is. An object without a kind has the kind of the profile.
///
/// # Errors
/// A text for people if the object has no usable name, uid or kind.
pub fn identify(profile: Option<&Profile>, object: &Value) -> Result<TargetId, String> {
    let kind = text(object, "/kind").or_else(|| profile.map(|profile| profile.kind.clone()));
    let api_version =
        text(object, "/apiVersion").or_else(|| profile.map(|profile| profile.api_version.clone()));
    let name = text(object, "/metadata/name");
    let called = name.as_deref().unwrap_or("without a name");
    let missing = |what: &str| format!("the object {called} has no {what}");
    Ok(TargetId {
        api_version: api_version.ok_or_else(|| missing("apiVersion"))?,
        kind: kind.ok_or_else(|| missing("kind"))?,
        namespace: text(object, "/metadata/namespace").unwrap_or_default(),
        uid: text(object, "/metadata/uid").ok_or_else(|| missing("uid"))?,
        name: name.clone().ok_or_else(|| missing("name"))?,
    })
}

/// Whether the object is healthy; if that is Unknown, why.
fn health_of(
    profile: Option<&Profile>,
    object: &Value,
    healthy: Option<&ObjectCondition>,
) -> (Verdict, Option<String>) {
    match healthy.or(profile.map(|profile| &profile.healthy)) {
        Some(condition) => {
            let evaluation = condition.evaluate(object, None);
            (evaluation.verdict, evaluation.why)
        }
        None => (
            Verdict::Unknown,
            Some(
                "Firebreak does not know when an object of this kind is \
            healthy"
                    .to_owned(),
            ),
        ),
    }
}

fn is_wanted(
    object: &Value,
    where_: Option<&ObjectCondition>,
    health: Verdict,
    problem: Option<String>,
) -> (Verdict, Option<String>) {
    match where_ {
        Some(condition) => {
            let evaluation = condition.evaluate(object, Some(health));
            (evaluation.verdict, evaluation.why)
        }
        None => match health {
            Verdict::True => (Verdict::False, None),
            Verdict::False => (Verdict::True, None),
            Verdict::Unknown => (Verdict::Unknown, problem),
        },
    }
}

fn text(object: &Value, pointer: &str) -> Option<String> {
    let text = object.pointer(pointer)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Profiles;
    use super::*;
    use firebreak_engine::expression::ObjectScope;
    use firebreak_engine::facts::Role;
    use serde_json::json;

    fn object() -> Value {
        json!({
            "metadata": {"name": "llama", "namespace": "serving", "uid": "u-1", "resourceVersion": "7", "generation": 1},
            "spec": {"resources": {"limits": {"nvidia.com/gpu": "2"}}},
            "status": {"phase": "Failed"},
        })
    }

    fn with(edit: impl FnOnce(&mut Value)) -> Value {
        let mut object = object();
        edit(&mut object);
        object
    }

    fn read(object: Value, where_: Option<&str>, healthy: Option<&str>) -> Result<Target, String> {
        let profiles = Profiles::built_in().unwrap();
        let profile = profiles.find("inference.llm-d.io/v1alpha1", "LLMDeployment").unwrap();
        let where_ = where_.map(|text| ObjectCondition::parse(text, ObjectScope::ObjectAndHealthy).unwrap());
        let healthy = healthy.map(|text| ObjectCondition::parse(text, ObjectScope::Object).unwrap());
        let exempt = BTreeSet::from(["quiet".to_owned()]);
        target(Some(profile), Arc::new(object), where_.as_ref(), healthy.as_ref(), &exempt)
    }

    #[test]
    fn an_object_from_a_list_becomes_a_target_of_the_profiles_kind() {
        let target = read(object(), None, None).unwrap();
        assert_eq!(target.id.to_string(), "LLMDeployment serving/llama");
        assert_eq!(target.id.api_version, "inference.llm-d.io/v1alpha1");
        assert_eq!(target.version.as_str(), "7");
        assert_eq!(target.slots.of(&Role::Accelerator).count(), 1);
        assert_eq!(target.slots.of(&Role::Replicas).count(), 1);
        assert_eq!((target.exempt, target.owned_by), (false, None));
        assert_eq!((target.matched, target.match_problem), (Verdict::True, None));
        assert_eq!(target.rollout.0, Verdict::False);
    }

    #[test]
    fn a_healthy_object_is_not_wanted_and_one_of_unknown_health_is_unknown() {
        let ready = with(|object| object["status"]["phase"] = json!("Ready"));
        assert_eq!(read(ready, None, None).unwrap().matched, Verdict::False);
        let strange = read(with(|object| object["status"] = json!("Ready")), None, None).unwrap();
        assert_eq!(strange.matched, Verdict::Unknown);
        assert!(strange.match_problem.is_some());
    }

    #[test]
    fn where_and_healthy_replace_the_defaults() {
        let matched = |where_, healthy| read(object(), where_, healthy).unwrap().matched;
        assert_eq!(matched(Some("object.metadata.name == 'llama'"), None), Verdict::True);
        assert_eq!(matched(Some("healthy"), None), Verdict::False);
        assert_eq!(matched(Some("!healthy"), Some("object.status.phase == 'Failed'")), Verdict::False);
        let unknown = read(object(), Some("object.spec.nothing == 1"), None).unwrap();
        assert_eq!(unknown.matched, Verdict::Unknown);
        assert!(unknown.match_problem.is_some());
    }

    #[test]
    fn an_object_is_exempt_by_its_own_or_its_namespaces_annotation() {
        let annotated =
            |value: Value| with(|object| object["metadata"]["annotations"] = json!({EXEMPT: value}));
        assert!(read(annotated(json!("true")), None, None).unwrap().exempt);
        assert!(!read(annotated(json!("false")), None, None).unwrap().exempt);
        assert!(!read(annotated(json!(true)), None, None).unwrap().exempt);
        let quiet = with(|object| object["metadata"]["namespace"] = json!("quiet"));
        assert!(read(quiet, None, None).unwrap().exempt);
    }

    #[test]
    fn a_controlling_owner_is_named_whether_it_has_a_profile_or_not() {
        for kind in ["LLMDeployment", "Rocket"] {
            let owner = json!({"apiVersion": "x/v1", "kind": kind, "name": "top", "controller": true});
            let owned = with(|object| object["metadata"]["ownerReferences"] = json!([owner]));
            let owned_by = read(owned, None, None).unwrap().owned_by;
            assert_eq!(owned_by.map(|owned_by| owned_by.owner), Some(format!("{kind}/top")));
        }
    }

    #[test]
    fn an_object_that_cannot_be_identified_or_guarded_is_an_error_that_names_it() {
        for (field, value) in [("name", json!("")), ("uid", json!(4)), ("resourceVersion", json!("0"))] {
            let error = read(with(|object| object["metadata"][field] = value), None, None).unwrap_err();
            assert!(error.contains(field) || error.contains("llama"), "{error}");
        }
        for garbage in [Value::Null, json!([]), json!("x"), json!({"metadata": 3})] {
            assert!(read(garbage, None, None).is_err());
        }
    }

    #[test]
    fn without_a_profile_nothing_is_guessed() {
        let object = with(|object| {
            object["kind"] = json!("Rocket");
            object["apiVersion"] = json!("x/v1");
        });
        let target = target(None, Arc::new(object), None, None, &BTreeSet::new()).unwrap();
        assert!(target.slots.fields.is_empty());
        assert!(target.slots.obstacles.iter().any(|obstacle| obstacle.role == Role::Replicas));
        assert_eq!((target.matched, target.rollout.0), (Verdict::Unknown, Verdict::Unknown));
        assert!(target.match_problem.is_some());
    }
}
