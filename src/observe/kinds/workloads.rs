//! Workloads of one kind: how many of them serve, and how many replicas run.
//!
//! - `total`: objects that match.
//! - `idle`: those that are off on purpose. They count in `total` only.
//! - `available`: those that the profile of the kind calls healthy; `unavailable`:
//!   the others. `availableRatio`: `available` over both, absent over nothing.
//! - `desiredReplicas`, `readyReplicas`: sums over those that are not idle, as the profile
//!   finds the numbers. By default, an object wants 1 replica and has none ready.
//! - `rolloutsStuck`: workloads whose rollout will not finish without help.
//!
//! A field that is Unknown for a single object is absent, and so are all but
//! `total` and `idle` if its health is Unknown: a sum over some of them would be a guess.
//! A field for which the kind has no place is absent, too.

use std::sync::Arc;

use firebreak_engine::expression::FieldValue;
use firebreak_engine::path::FieldPath;
use firebreak_engine::value::whole;
use firebreak_engine::verdict::Verdict;
use jiff::Timestamp;
use serde_json::Value;

use crate::observe::counts::Counts;
use crate::observe::kind::{DELETING, Kind, Values};
use crate::workloads::{self, Profile, ReadyAbsent};

/// The replicas that an object wants, and that are ready, if it does not say.
const WANTED: u32 = 1;
const READY: u32 = 0;

/// The place of a number of replicas, and the number if it is absent there; none if it is not known then.
struct Place<'a> {
    path: &'a FieldPath,
    absent: Option<u32>,
}

/// Where a kind has the number of replicas that it wants, and of those that are ready.
fn places(profile: &Profile) -> Option<[Place<'_>; 2]> {
    let place = |path, absent| Place { path, absent };
    if let Some(replicas) = &profile.replicas {
        let absent = match replicas.ready_absent {
            ReadyAbsent::Zero => Some(READY),
            ReadyAbsent::Unknown => None,
        };
        return Some([place(&replicas.spec, Some(WANTED)), place(&replicas.ready, absent)]);
    }
    profile.counts.as_ref().map(|counts| [place(&counts.desired, None), place(&counts.ready, None)])
}

/// Workloads of a kind.
#[derive(Clone, Debug)]
pub(in crate::observe) struct Workloads {
    /// Where their replicas are, and when they are healthy and stuck.
    pub profile: Arc<Profile>,
}

/// The digest of one workload. None is a number that cannot be read.
#[derive(Debug, PartialEq)]
pub(in crate::observe) struct WorkloadDigest {
    /// It is off on purpose; nothing else counts then.
    idle: bool,
    /// It is idle because somebody deletes it, so it will be missed.
    deleting: bool,
    health: Verdict,
    stuck: Verdict,
    desired: Option<u32>,
    ready: Option<u32>,
}

const IDLE: WorkloadDigest = WorkloadDigest {
    idle: true,
    deleting: false,
    health: Verdict::True,
    stuck: Verdict::False,
    desired: Some(0),
    ready: Some(0),
};

impl Kind for Workloads {
    type Digest = WorkloadDigest;

    fn digest(&mut self, object: &str, _: Timestamp) -> Result<(WorkloadDigest, Option<String>), String> {
        let profile = &self.profile;
        let object: Value = serde_json::from_str(object).map_err(|error| error.to_string())?;
        if workloads::idle(Some(profile), &object).is_some() {
            let deleting = workloads::is_lost(Some(profile), &object);
            return Ok((WorkloadDigest { deleting, ..IDLE }, None));
        }
        let health = profile.healthy.evaluate(&object, None);
        let mut doubt = health.why.map(|why| format!("cannot tell whether it is healthy: {why}"));
        let stuck = profile.stuck.as_ref().map(|stuck| stuck.evaluate(&object, None));
        let (stuck, why) = stuck.map_or((Verdict::False, None), |stuck| (stuck.verdict, stuck.why));
        doubt = doubt.or(why.map(|why| format!("cannot tell whether its rollout is stuck: {why}")));
        let mut number = |Place { path, absent }: Place<'_>| {
            let number = match path.read(&object).as_deref() {
                None | Some(Value::Null) => absent,
                Some(value) => whole(value).and_then(|number| u32::try_from(number).ok()),
            };
            if number.is_none() && doubt.is_none() {
                doubt = Some(format!("{path} is not a number of replicas"));
            }
            number
        };
        let [desired, ready] = match places(profile) {
            Some([desired, ready]) => [number(desired), number(ready)],
            None => [Some(WANTED), Some(READY)],
        };
        Ok((
            WorkloadDigest { idle: false, deleting: false, health: health.verdict, stuck, desired, ready },
            doubt,
        ))
    }

    fn count(workload: &WorkloadDigest, times: i64, counts: &mut Counts) {
        let WorkloadDigest { idle, deleting, health, stuck, desired, ready } = workload;
        counts.add("total", times);
        if *idle {
            counts.add(DELETING, if *deleting { times } else { 0 });
            return counts.add("idle", times);
        }
        match health {
            Verdict::True => counts.add("available", times),
            Verdict::False => counts.add("unavailable", times),
            Verdict::Unknown => counts.add("healthUnknown", times),
        }
        match stuck {
            Verdict::True => counts.add("rolloutsStuck", times),
            Verdict::False => {}
            Verdict::Unknown => counts.add("stuckUnknown", times),
        }
        for (field, unknown, replicas) in
            [("desiredReplicas", "desiredUnknown", desired), ("readyReplicas", "readyUnknown", ready)]
        {
            match replicas {
                Some(replicas) => counts.add(field, i64::from(*replicas) * times),
                None => counts.add(unknown, times),
            }
        }
        let is_in_doubt =
            *health == Verdict::Unknown || *stuck == Verdict::Unknown || desired.is_none() || ready.is_none();
        counts.add("inDoubt", if is_in_doubt { times } else { 0 });
    }

    fn unjudged(&self, counts: &Counts) -> i64 {
        counts.of("inDoubt")
    }

    fn values(&self, counts: &Counts, _: Timestamp) -> Values {
        let profile = &self.profile;
        let field = |name: &str| (name.to_owned(), FieldValue::Int(counts.of(name)));
        let mut values = Values::from([field("total"), field("idle")]);
        if counts.of(DELETING) > 0 {
            values.extend([field(DELETING)]);
        }
        if counts.of("healthUnknown") > 0 {
            return values;
        }
        values.extend([field("available"), field("unavailable")]);
        if let Some(ratio) = counts.ratio("available", &["available", "unavailable"]) {
            values.insert("availableRatio".to_owned(), FieldValue::Double(ratio));
        }
        let has_replicas = places(profile).is_some();
        for (name, unknown, has_place) in [
            ("desiredReplicas", "desiredUnknown", has_replicas),
            ("readyReplicas", "readyUnknown", has_replicas),
            ("rolloutsStuck", "stuckUnknown", profile.stuck.is_some()),
        ] {
            if has_place && counts.of(unknown) == 0 {
                values.extend([field(name)]);
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::kinds::tests::read as read_as;
    use crate::workloads::Profiles;

    fn of(api_version: &str, kind: &str) -> Workloads {
        let profiles = Profiles::built_in().unwrap();
        Workloads { profile: Arc::clone(profiles.find(api_version, kind).unwrap()) }
    }

    fn read(objects: &[Value]) -> (Values, Option<String>) {
        let objects: Vec<String> = objects
            .iter()
            .enumerate()
            .map(|(number, object)| {
                let mut object = object.clone();
                object["metadata"] = json!({"name": format!("w{number}"), "uid": format!("u{number}")});
                object.to_string()
            })
            .collect();
        read_as(&of("apps/v1", "Deployment"), &objects)
    }

    fn deployments(objects: &[Value]) -> Values {
        read(objects).0
    }

    fn deployment(replicas: Value, ready: Value, available: &str) -> Value {
        json!({"spec": {"replicas": replicas}, "status": {"readyReplicas": ready, "availableReplicas": ready, "conditions": [
            {"type": "Available", "status": available}, {"type": "Progressing", "status": "True"},
        ]}})
    }

    fn ints(values: &Values) -> Vec<(&str, i64)> {
        let int = |value: &FieldValue| match value {
            FieldValue::Int(value) => Some(*value),
            FieldValue::Boolean(_) | FieldValue::Double(_) | FieldValue::Map(_) => None,
        };
        values.iter().filter_map(|(name, value)| Some((name.as_str(), int(value)?))).collect()
    }

    #[test]
    fn available_objects_and_replicas_are_counted() {
        let mut stuck = deployment(json!(4), json!(1), "False");
        stuck["status"]["conditions"][1] =
            json!({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"});
        let parked = deployment(json!(0), json!(0), "True");
        let values = deployments(&[deployment(json!(2), json!(2), "True"), stuck, parked]);
        let expected = [
            ("available", 1),
            ("desiredReplicas", 6),
            ("idle", 1),
            ("readyReplicas", 3),
            ("rolloutsStuck", 1),
            ("total", 3),
            ("unavailable", 1),
        ];
        assert_eq!(ints(&values), expected);
        assert_eq!(values["availableRatio"], FieldValue::Double(0.5));
    }

    #[test]
    fn replicas_that_are_not_given_are_one_wanted_and_none_ready() {
        let values = deployments(&[json!({"spec": {}}), deployment(Value::Null, Value::Null, "False")]);
        assert_eq!(
            (&values["desiredReplicas"], &values["readyReplicas"]),
            (&FieldValue::Int(2), &FieldValue::Int(0))
        );
    }

    #[test]
    fn over_nothing_there_is_no_ratio() {
        let values = deployments(&[]);
        assert!(!values.contains_key("availableRatio"));
        assert_eq!(values["unavailable"], FieldValue::Int(0));
    }

    #[test]
    fn one_unknown_health_leaves_only_what_does_not_depend_on_it() {
        let broken =
            json!({"spec": {"replicas": 1}, "status": {"availableReplicas": 1, "conditions": "none"}});
        let (values, doubt) = read(&[deployment(json!(1), json!(1), "True"), broken]);
        assert_eq!(ints(&values), [("idle", 0), ("total", 2)]);
        assert!(!values.contains_key("availableRatio"));
        assert!(
            doubt.unwrap().starts_with(
                "1 object(s) cannot be judged, for example w1: cannot tell whether it is healthy"
            )
        );
    }

    #[test]
    fn a_number_that_is_none_leaves_its_own_field_away() {
        let (values, doubt) = read(&[deployment(json!("many"), json!(1), "True")]);
        assert!(!values.contains_key("desiredReplicas"));
        assert_eq!(
            (&values["readyReplicas"], &values["available"]),
            (&FieldValue::Int(1), &FieldValue::Int(1))
        );
        assert_eq!(
            doubt.unwrap(),
            "1 object(s) cannot be judged, for example w0: /spec/replicas is not a number of replicas"
        );
    }

    #[test]
    fn a_kind_whose_number_nobody_sets_is_counted_by_what_it_reports() {
        let set = |status: Value| {
            let mut object =
                json!({"metadata": {"name": "d", "uid": "u", "generation": 1}, "status": status});
            object["status"]["observedGeneration"] = json!(1);
            read_as(&of("apps/v1", "DaemonSet"), &[object.to_string()])
        };
        let status = json!({"desiredNumberScheduled": 4, "numberReady": 2, "numberAvailable": 2});
        let expected = [
            ("available", 0),
            ("desiredReplicas", 4),
            ("idle", 0),
            ("readyReplicas", 2),
            ("total", 1),
            ("unavailable", 1),
        ];
        assert_eq!(ints(&set(status).0), expected);
        let (values, doubt) = set(json!({"desiredNumberScheduled": 4, "numberAvailable": 4}));
        assert!(!values.contains_key("readyReplicas"), "it is never guessed");
        assert_eq!(
            doubt.unwrap(),
            "1 object(s) cannot be judged, for example d: /status/numberReady is not a number of replicas"
        );
    }

    #[test]
    fn what_the_kind_has_no_place_for_is_absent() {
        let mut profile = Profile::clone(&of("apps/v1", "Deployment").profile);
        (profile.replicas, profile.stuck) = (None, None);
        let mut object = deployment(json!(1), json!(1), "True");
        object["metadata"] = json!({"name": "w", "uid": "u"});
        let (values, _) = read_as(&Workloads { profile: Arc::new(profile) }, &[object.to_string()]);
        assert_eq!(ints(&values), [("available", 1), ("idle", 0), ("total", 1), ("unavailable", 0)]);
    }

    #[test]
    fn a_workload_that_changes_or_goes_is_taken_out_again() {
        let mut workloads = of("apps/v1", "Deployment");
        let mut counts = Counts::default();
        let good = workloads
            .digest(&deployment(json!(2), json!(2), "True").to_string(), Timestamp::now())
            .unwrap()
            .0;
        let bad = json!({"status": {"conditions": 1}, "spec": {"replicas": -1}}).to_string();
        let bad = workloads.digest(&bad, Timestamp::now()).unwrap().0;
        for times in [1, -1] {
            Workloads::count(&good, times, &mut counts);
            Workloads::count(&bad, times, &mut counts);
        }
        assert!(ints(&workloads.values(&counts, Timestamp::now())).iter().all(|(_, value)| *value == 0));
    }
}
