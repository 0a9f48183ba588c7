//! Objects of any kind: how many there are, and how many of them are healthy.
//!
//! `total`, `idle`, `healthy`, `unhealthy`, `unknown`, `healthyRatio` (absent over nothing).
//! An object that is idle, because it is off on purpose, is neither healthy nor
//! unhealthy. One whose health cannot be told is `unknown`: the engine evaluates an
//! expression for every health that such objects can have.

use std::sync::Arc;

use firebreak_engine::expression::{FieldValue, ObjectCondition};
use firebreak_engine::verdict::Verdict;
use jiff::Timestamp;
use serde_json::Value;

use crate::observe::counts::Counts;
use crate::observe::kind::{DELETING, Kind, Values};
use crate::workloads::{self, Profile};

/// Objects of a kind.
#[derive(Clone, Debug)]
pub(in crate::observe) struct Objects {
    /// When an object is healthy, if anything defines it.
    pub healthy: Option<ObjectCondition>,
    /// The profile of the kind, if it has one: when an object is idle.
    pub profile: Option<Arc<Profile>>,
}

/// What is kept of one object.
#[derive(Debug, PartialEq)]
pub(in crate::observe) enum ObjectDigest {
    /// It is off on purpose.
    Idle,
    /// Somebody deletes it. It is idle, too, but it will be missed.
    Deleting,
    /// Whether it is healthy.
    Judged(Verdict),
}

impl Kind for Objects {
    type Digest = ObjectDigest;

    fn digest(&mut self, object: &str, _: Timestamp) -> Result<(ObjectDigest, Option<String>), String> {
        let object: Value = serde_json::from_str(object).map_err(|error| error.to_string())?;
        if workloads::idle(self.profile.as_deref(), &object).is_some() {
            let is_lost = workloads::is_lost(self.profile.as_deref(), &object);
            return Ok((if is_lost { ObjectDigest::Deleting } else { ObjectDigest::Idle }, None));
        }
        let Some(healthy) = &self.healthy else { return Ok((ObjectDigest::Judged(Verdict::Unknown), None)) };
        let found = healthy.evaluate(&object, None);
        let doubt = found.why.map(|why| format!("cannot tell whether it is healthy: {why}"));
        Ok((ObjectDigest::Judged(found.verdict), doubt))
    }

    fn count(digest: &ObjectDigest, times: i64, counts: &mut Counts) {
        counts.add("total", times);
        counts.add(
            match digest {
                ObjectDigest::Idle | ObjectDigest::Deleting => "idle",
                ObjectDigest::Judged(Verdict::True) => "healthy",
                ObjectDigest::Judged(Verdict::False) => "unhealthy",
                ObjectDigest::Judged(Verdict::Unknown) => "unknown",
            },
            times,
        );
        if *digest == ObjectDigest::Deleting {
            counts.add(DELETING, times);
        }
    }

    fn unjudged(&self, counts: &Counts) -> i64 {
        // If nothing can judge any object, no single object is in doubt.
        if self.healthy.is_some() { counts.of("unknown") } else { 0 }
    }

    fn values(&self, counts: &Counts, _: Timestamp) -> Values {
        let field = |name: &str| (name.to_owned(), FieldValue::Int(counts.of(name)));
        let mut values = Values::from(["total", "idle", "healthy", "unhealthy", "unknown"].map(field));
        if counts.of(DELETING) > 0 {
            values.extend([field(DELETING)]);
        }
        if let Some(ratio) = counts.ratio("healthy", &["healthy", "unhealthy"]) {
            values.insert("healthyRatio".to_owned(), FieldValue::Double(ratio));
        }
        values
    }

    fn identity(&self) -> Option<String> {
        let idle = self.profile.iter().flat_map(|profile| &profile.idle).map(|case| case.when.source());
        let sources: Vec<&str> = self.healthy.iter().map(|healthy| healthy.source()).chain(idle).collect();
        (!sources.is_empty()).then(|| sources.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(healths: &[Verdict]) -> Vec<(String, FieldValue)> {
        let mut counts = Counts::default();
        for health in healths {
            Objects::count(&ObjectDigest::Judged(*health), 1, &mut counts);
        }
        Objects::count(&ObjectDigest::Idle, 1, &mut counts);
        let objects = Objects { healthy: None, profile: None };
        objects.values(&counts, Timestamp::now()).into_iter().collect()
    }

    fn int(name: &str, value: i64) -> (String, FieldValue) {
        (name.to_owned(), FieldValue::Int(value))
    }

    #[test]
    fn objects_are_counted_by_their_health() {
        let rest = |total, healthy, unhealthy, unknown| {
            let counted = [("total", total), ("unhealthy", unhealthy), ("unknown", unknown)];
            let counted = counted.map(|(name, value)| int(name, value));
            ([int("healthy", healthy)], [int("idle", 1)], counted)
        };
        let all = |(healthy, idle, counted): ([_; 1], [_; 1], [_; 3]), ratio: Option<f64>| {
            let ratio = ratio.map(|ratio| ("healthyRatio".to_owned(), FieldValue::Double(ratio)));
            healthy.into_iter().chain(ratio).chain(idle).chain(counted).collect::<Vec<_>>()
        };
        assert_eq!(fields(&[Verdict::True, Verdict::False]), all(rest(3, 1, 1, 0), Some(0.5)));
        assert_eq!(fields(&[]), all(rest(1, 0, 0, 0), None), "a ratio over nothing is absent");
        assert_eq!(fields(&[Verdict::True, Verdict::Unknown]), all(rest(3, 1, 0, 1), Some(1.0)));
    }

    #[test]
    fn an_object_that_is_off_on_purpose_is_not_judged() {
        let profiles = crate::workloads::Profiles::built_in().unwrap();
        let profile = profiles.find("serving.kserve.io/v1beta1", "InferenceService").cloned();
        let healthy = profile.as_ref().map(|profile| profile.healthy.clone());
        let mut objects = Objects { healthy, profile };
        let mut digest =
            |object: serde_json::Value| objects.digest(&object.to_string(), Timestamp::now()).unwrap().0;
        let stopped = serde_json::json!({"metadata": {"annotations": {"serving.kserve.io/stop": "true"}}});
        assert_eq!(digest(stopped), ObjectDigest::Idle);
        assert_eq!(digest(serde_json::json!({"metadata": {}})), ObjectDigest::Judged(Verdict::False));
        let mut without = Objects { healthy: None, profile: None };
        let deleted = serde_json::json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let digest = without.digest(&deleted.to_string(), Timestamp::now()).unwrap().0;
        let mut counts = Counts::default();
        Objects::count(&digest, 1, &mut counts);
        let values = without.values(&counts, Timestamp::now());
        let one = |field: &str| values.get(field) == Some(&FieldValue::Int(1));
        assert!(one("idle") && one("deleting") && one("total"), "it will be missed: {values:?}");
    }
}
