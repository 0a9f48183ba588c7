//! The pace of a rolling update, where it needs room beside the pods that run.
//!
//! Kubernetes rejects a rolling update that may neither add a pod nor take one away, so the two numbers change together.
//! A percentage may round down to no pod when the number of replicas changes, and the admission of a kind may take it of
//! another number. Every later write would then be rejected, also the one that reverts, so a number takes its place.

use firebreak_engine::facts::{Role, Slot};
use firebreak_engine::path::FieldPath;
use firebreak_engine::value::{is_zero, whole};
use serde_json::{Value, json};

use super::{blocked, slot};
use crate::workloads::profile::{Percentages, Profile, RollingUpdate, Share};

/// What must change so that each new pod takes the place of an old one: only of an object with these `accelerators`,
/// of which there may be none to spare. They may be in another object that has the template.
pub(super) fn pace(
    profile: &Profile,
    object: &Value,
    accelerators: &[(FieldPath, Option<Value>)],
) -> Vec<Slot> {
    let updates = profile.rolling_updates.iter().filter(|_| !profile.metadata_propagates);
    let has_one = |update: &RollingUpdate| {
        accelerators.iter().any(|(path, amount)| update.replaces(path) && !is_zero(amount.as_ref()))
    };
    let in_use = updates.filter(|update| update.is_of(object) && has_one(update));
    in_use.flat_map(|update| in_place(update, profile, object)).collect()
}

fn in_place(update: &RollingUpdate, profile: &Profile, object: &Value) -> Vec<Slot> {
    let surge = share(&update.max_surge, update.absent.max_surge, object);
    let unavailable = share(&update.max_unavailable, update.absent.max_unavailable, object);
    // None is a value that no server stores.
    let Some((surge, unavailable)) = surge.zip(unavailable) else { return Vec::new() };
    if surge.is_none() {
        return Vec::new();
    }
    let fixed =
        |path: &FieldPath, number: i64| slot(Role::Pace { in_place: json!(number) }, path.clone(), None);
    let missing = unavailable.of_replicas(replicas(update, profile, object));
    let may_become_none =
        matches!((unavailable, update.percentages), (Share::Percent(_), Percentages::MayBeNone));
    let number = (missing < 1 || may_become_none).then(|| fixed(&update.max_unavailable, missing.max(1)));
    std::iter::once(fixed(&update.max_surge, 0)).chain(number).collect()
}

/// The value of the field, or of its default; none if it is something else.
fn share(path: &FieldPath, absent: Share, object: &Value) -> Option<Share> {
    if blocked(path, object).is_some() {
        return None;
    }
    match path.node(object).filter(|value| !value.is_null()) {
        None => Some(absent),
        Some(value) => Share::of(value),
    }
}

fn replicas(update: &RollingUpdate, profile: &Profile, object: &Value) -> i64 {
    let of_profile = profile.replicas.as_ref().map(|replicas| &replicas.spec);
    let replicas = update.replicas.as_ref().or(of_profile).and_then(|path| path.read(object));
    replicas.as_deref().and_then(whole).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::super::slots;
    use super::*;
    use crate::workloads::Profiles;

    const SURGE: &str = "/spec/strategy/rollingUpdate/maxSurge";
    const UNAVAILABLE: &str = "/spec/strategy/rollingUpdate/maxUnavailable";

    /// A Deployment that asks for this number of accelerators.
    fn deployment(gpus: &str, replicas: Value, strategy: Value) -> Value {
        let containers = json!([{"name": "main", "resources": {"limits": {"nvidia.com/gpu": gpus}}}]);
        let mut spec = json!({"template": {"spec": {"containers": containers}}});
        for (field, value) in [("replicas", replicas), ("strategy", strategy)] {
            if !value.is_null() {
                spec[field] = value;
            }
        }
        json!({"spec": spec})
    }

    /// The fields of the pace that change, with their new values.
    fn changes(kind: &str, object: &Value) -> Vec<(String, Value)> {
        let profiles = Profiles::built_in().unwrap();
        let found = slots(profiles.find("apps/v1", kind).unwrap(), object);
        let pace = found.fields.into_iter().filter_map(|slot| {
            let Role::Pace { in_place } = slot.role else { return None };
            Some((slot.path.to_string(), in_place))
        });
        pace.collect()
    }

    fn with(strategy: Value, replicas: i64) -> Vec<(String, Value)> {
        changes("Deployment", &deployment("1", json!(replicas), strategy))
    }

    fn rolling(surge: Value, unavailable: Value) -> Value {
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
    }

    fn both() -> Vec<(String, Value)> {
        vec![(SURGE.to_owned(), json!(0)), (UNAVAILABLE.to_owned(), json!(1))]
    }

    fn surge_only() -> Vec<(String, Value)> {
        both()[..1].to_vec()
    }

    #[test]
    fn a_surge_becomes_0_and_at_least_one_pod_may_be_missing() {
        assert_eq!(with(rolling(json!(1), json!(0)), 2), both());
        assert_eq!(with(rolling(json!("25%"), json!("25%")), 3), both(), "25% of 3 is none");
        assert_eq!(with(rolling(json!("25%"), json!("25%")), 4), surge_only());
        assert_eq!(with(rolling(json!(2), json!(1)), 1), surge_only());
        assert_eq!(with(rolling(json!("100%"), json!("100%")), 1), surge_only());
    }

    #[test]
    fn what_is_absent_is_the_default() {
        for strategy in
            [Value::Null, json!({}), json!({"type": "RollingUpdate"}), json!({"rollingUpdate": null})]
        {
            assert_eq!(with(strategy.clone(), 1), both(), "{strategy}");
            assert_eq!(with(strategy.clone(), 8), surge_only(), "{strategy}");
        }
        assert_eq!(changes("Deployment", &deployment("1", Value::Null, Value::Null)), both());
        assert_eq!(with(json!({"rollingUpdate": {"maxUnavailable": 2}}), 1), surge_only());
    }

    #[test]
    fn nothing_changes_where_no_room_is_needed_or_nothing_is_known() {
        for strategy in [
            json!({"type": "Recreate"}),
            rolling(json!(0), json!(1)),
            rolling(json!("0%"), json!("25%")),
            rolling(json!("many"), json!(0)),
            rolling(json!(-1), json!(0)),
            json!("RollingUpdate"),
            json!({"rollingUpdate": 3}),
        ] {
            assert_eq!(with(strategy.clone(), 2), [], "{strategy}");
        }
        let without = deployment("0", json!(1), Value::Null);
        assert_eq!(changes("Deployment", &without), [], "it asks for no accelerator");
        let set = deployment("1", json!(1), Value::Null);
        assert_eq!(changes("StatefulSet", &set), [], "it never has more pods than it wants");
    }

    #[test]
    fn a_percentage_that_admission_may_take_for_none_becomes_a_number() {
        let profiles = Profiles::built_in().unwrap();
        let mut profile = Profile::clone(profiles.find("apps/v1", "Deployment").unwrap());
        profile.rolling_updates[0].percentages = Percentages::MayBeNone;
        let lent = |unavailable: Value, replicas: i64| -> Vec<Value> {
            let object = deployment("1", json!(replicas), rolling(json!(1), unavailable));
            let fields = slots(&profile, &object).fields.into_iter();
            fields
                .filter_map(|slot| match slot.role {
                    Role::Pace { in_place } => Some(in_place),
                    _ => None,
                })
                .collect()
        };
        assert_eq!(lent(json!("50%"), 8), [0, 4]);
        assert_eq!(lent(json!("100%"), 1), [0, 1]);
        assert_eq!(lent(json!("25%"), 3), [0, 1]);
        assert_eq!(lent(json!(2), 8), [0], "a number stays what it is");
        assert_eq!(lent(json!(2), 1), [0]);
    }

    #[test]
    fn a_kind_whose_metadata_reach_its_pods_keeps_its_pace() {
        let profiles = Profiles::built_in().unwrap();
        let mut profile = Profile::clone(profiles.find("apps/v1", "Deployment").unwrap());
        profile.metadata_propagates = true;
        let found = slots(&profile, &deployment("1", json!(1), Value::Null));
        assert!(!found.fields.iter().any(|slot| matches!(slot.role, Role::Pace { .. })));
    }
}
