//! Objects of any kind: how many there are, and how many of them are healthy.
//!
//! `total`, `idle`, `healthy`, `unhealthy`, `healthyRatio` (absent over nothing).
//! An object that is idle, because it is off on purpose, is neither healthy nor
//! unhealthy. If the health of a single other object is Unknown, all but `total`
//! and `idle` are absent: otherwise, `unhealthy == 0` would be true or false by
//! a guess.

use std::sync::Arc;

use firebreak_engine::expression::{FieldValue, ObjectCondition};
use firebreak_engine::verdict::Verdict;
use serde_json::Value;

use crate::observe::counts::Counts;
use crate::observe::kind::{Kind, Values};
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
    /// Whether it is healthy.
    Judged(Verdict),
}

impl Kind for Objects {
    type Digest = ObjectDigest;

    fn digest(&mut self, object: &str) -> Result<(ObjectDigest, Option<String>), String> {
        let object: Value = serde_json::from_str(object).map_err(|error| error.to_string())?;
        if workloads::idle(self.profile.as_deref(), &object).is_some() {
            return Ok((ObjectDigest::Idle, None));
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
                ObjectDigest::Idle => "idle",
                ObjectDigest::Judged(Verdict::True) => "healthy",
                ObjectDigest::Judged(Verdict::False) => "unhealthy",
                ObjectDigest::Judged(Verdict::Unknown) => "unknown",
            },
            times,
        );
    }

    fn unjudged(&self, counts: &Counts) -> i64 {
        // If nothing can judge any object, no single object is in doubt.
        if self.healthy.is_some() { counts.of("unknown") } else { 0 }
    }

    fn values(&self, counts: &Counts) -> Values {
        let field = |name: &str| (name.to_owned(), FieldValue::Int(counts.of(name)));
        let mut values = Values::from([field("total"), field("idle")]);
        if self.healthy.is_some() && counts.of("unknown") == 0 {
            values.extend([field("healthy"), field("unhealthy")]);
            if let Some(ratio) = counts.ratio("healthy", &["healthy", "unhealthy"]) {
                values.insert("healthyRatio".to_owned(), FieldValue::Double(ratio));
            }
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
    use firebreak_engine::expression::ObjectScope;

    use super::*;

    fn fields(healths: &[Verdict], judged: bool) -> Vec<(String, FieldValue)> {
        let mut counts = Counts::default();
        for health in healths {
            Objects::count(&ObjectDigest::Judged(*health), 1, &mut counts);
        }
        Objects::count(&ObjectDigest::Idle, 1, &mut counts);
        let healthy = ObjectCondition::parse("object.ok", ObjectScope::Object).unwrap();
        Objects { healthy: judged.then_some(healthy), profile: None }.values(&counts).into_iter().collect()
    }

    fn int(name: &str, value: i64) -> (String, FieldValue) {
        (name.to_owned(), FieldValue::Int(value))
    }

    #[test]
    fn healthy_and_unhealthy_are_counted() {
        let ratio = ("healthyRatio".to_owned(), FieldValue::Double(0.5));
        let expected = vec![int("healthy", 1), ratio, int("idle", 1), int("total", 3), int("unhealthy", 1)];
        assert_eq!(fields(&[Verdict::True, Verdict::False], true), expected);
        let none = vec![int("healthy", 0), int("idle", 1), int("total", 1), int("unhealthy", 0)];
        assert_eq!(fields(&[], true), none, "a ratio over nothing is absent");
    }

    #[test]
    fn one_unknown_health_leaves_only_what_does_not_depend_on_it() {
        assert_eq!(fields(&[Verdict::True, Verdict::Unknown], true), vec![int("idle", 1), int("total", 3)]);
        assert_eq!(fields(&[], false), vec![int("idle", 1), int("total", 1)]);
    }

    #[test]
    fn an_object_that_is_off_on_purpose_is_not_judged() {
        let profiles = crate::workloads::Profiles::built_in().unwrap();
        let profile = profiles.find("serving.kserve.io/v1beta1", "InferenceService").cloned();
        let healthy = profile.as_ref().map(|profile| profile.healthy.clone());
        let mut objects = Objects { healthy, profile };
        let mut digest = |object: serde_json::Value| objects.digest(&object.to_string()).unwrap().0;
        let stopped = serde_json::json!({"metadata": {"annotations": {"serving.kserve.io/stop": "true"}}});
        assert_eq!(digest(stopped), ObjectDigest::Idle);
        assert_eq!(digest(serde_json::json!({"metadata": {}})), ObjectDigest::Judged(Verdict::False));
        let mut without = Objects { healthy: None, profile: None };
        let deleted = serde_json::json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert_eq!(without.digest(&deleted.to_string()).unwrap().0, ObjectDigest::Idle);
    }
}
