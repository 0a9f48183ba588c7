//! The pace of a rolling update, where it needs room beside the pods that run.
//!
//! Kubernetes rejects a rolling update that may neither add a pod nor take one away, so the two numbers change together.

use firebreak_engine::facts::{Role, Slot};
use firebreak_engine::path::FieldPath;
use firebreak_engine::value::{is_zero, whole};
use firebreak_engine::verdict::Verdict;
use serde_json::{Value, json};

use super::{blocked, slot};
use crate::workloads::profile::{Profile, RollingUpdate};

/// A number of pods, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    Number(i64),
    Percent(i64),
}

/// What must change so that each new pod takes the place of an old one: only of an object with these `accelerators`,
/// of which there may be none to spare.
pub(super) fn pace(profile: &Profile, object: &Value, accelerators: &[Slot]) -> Vec<Slot> {
    let has_one = |slot: &Slot| slot.role == Role::Accelerator && !is_zero(slot.path.read(object).as_deref());
    let rolling = profile.rolling_update.as_ref().filter(|_| !profile.metadata_propagates);
    let rolling = rolling.filter(|rolling| rolling.when.evaluate(object, None).verdict == Verdict::True);
    let Some(rolling) = rolling.filter(|_| accelerators.iter().any(has_one)) else { return Vec::new() };
    let shares = Share::of(&rolling.max_surge, rolling, object).zip(Share::of(
        &rolling.max_unavailable,
        rolling,
        object,
    ));
    match shares {
        // A value that no server stores.
        None => Vec::new(),
        Some((Share::Number(0) | Share::Percent(0), _)) => Vec::new(),
        Some((_, unavailable)) => {
            let fixed = |path: &FieldPath, number: i64| {
                slot(Role::Pace { in_place: json!(number) }, path.clone(), None)
            };
            let one =
                (unavailable.of_replicas(profile, object) < 1).then(|| fixed(&rolling.max_unavailable, 1));
            std::iter::once(fixed(&rolling.max_surge, 0)).chain(one).collect()
        }
    }
}

impl Share {
    /// The value of the field, or of its default; none if it is something else.
    fn of(path: &FieldPath, rolling: &RollingUpdate, object: &Value) -> Option<Self> {
        if blocked(path, object).is_some() {
            return None;
        }
        match path.node(object).filter(|value| !value.is_null()) {
            None => Some(Self::Percent(i64::from(rolling.absent_percent))),
            Some(Value::String(text)) => text.strip_suffix('%')?.parse().ok().map(Self::Percent),
            Some(value) => whole(value).map(Self::Number),
        }
        .filter(|share| matches!(share, Self::Number(0..) | Self::Percent(0..)))
    }

    /// How many pods that are, rounded down like the number of pods that may be missing.
    fn of_replicas(self, profile: &Profile, object: &Value) -> i64 {
        let replicas = profile.replicas.as_ref().and_then(|replicas| replicas.spec.read(object));
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => {
                let replicas = replicas.as_deref().and_then(whole).unwrap_or(1);
                replicas.saturating_mul(percent) / 100
            }
        }
    }
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
    fn a_kind_whose_metadata_reach_its_pods_keeps_its_pace() {
        let profiles = Profiles::built_in().unwrap();
        let mut profile = Profile::clone(profiles.find("apps/v1", "Deployment").unwrap());
        profile.metadata_propagates = true;
        let found = slots(&profile, &deployment("1", json!(1), Value::Null));
        assert!(!found.fields.iter().any(|slot| matches!(slot.role, Role::Pace { .. })));
    }
}
