//! Objects of any kind: how many there are, and how many of them are healthy.
//!
//! `total`, `healthy`, `unhealthy`, `healthyRatio` (absent over nothing). If
//! the health of a single object is Unknown, all but `total` are absent:
//! otherwise, `unhealthy == 0` would be true or false by a guess.

use firebreak_engine::expression::{FieldValue, ObjectCondition};
use firebreak_engine::verdict::Verdict;
use serde_json::Value;

use crate::observe::counts::Counts;
use crate::observe::kind::{Kind, Values};

/// Objects of a kind.
#[derive(Clone, Debug)]
pub(in crate::observe) struct Objects {
    /// When an object is healthy, if anything defines it.
    pub healthy: Option<ObjectCondition>,
}

impl Kind for Objects {
    /// Whether it is healthy.
    type Digest = Verdict;

    fn digest(&mut self, object: &str) -> Result<(Verdict, Option<String>), String> {
        let Some(healthy) = &self.healthy else { return Ok((Verdict::Unknown, None)) };
        let object: Value = serde_json::from_str(object).map_err(|error| error.to_string())?;
        let found = healthy.evaluate(&object, None);
        let doubt = found.why.map(|why| format!("cannot tell whether it is healthy: {why}"));
        Ok((found.verdict, doubt))
    }

    fn count(health: &Verdict, times: i64, counts: &mut Counts) {
        counts.add("total", times);
        match health {
            Verdict::True => counts.add("healthy", times),
            Verdict::False => counts.add("unhealthy", times),
            Verdict::Unknown => counts.add("unknown", times),
        }
    }

    fn unjudged(&self, counts: &Counts) -> i64 {
        // If nothing can judge any object, no single object is in doubt.
        if self.healthy.is_some() { counts.of("unknown") } else { 0 }
    }

    fn values(&self, counts: &Counts) -> Values {
        let field = |name: &str| (name.to_owned(), FieldValue::Int(counts.of(name)));
        let mut values = Values::from([field("total")]);
        if self.healthy.is_some() && counts.of("unknown") == 0 {
            values.extend([field("healthy"), field("unhealthy")]);
            if let Some(ratio) = counts.ratio("healthy", "total") {
                values.insert("healthyRatio".to_owned(), FieldValue::Double(ratio));
            }
        }
        values
    }

    fn identity(&self) -> Option<String> {
        self.healthy.as_ref().map(|healthy| healthy.source().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use firebreak_engine::expression::ObjectScope;

    use super::*;

    fn fields(healths: &[Verdict], judged: bool) -> Vec<(String, FieldValue)> {
        let mut counts = Counts::default();
        for health in healths {
            Objects::count(health, 1, &mut counts);
        }
        let healthy = ObjectCondition::parse("object.ok", ObjectScope::Object).unwrap();
        Objects { healthy: judged.then_some(healthy) }.values(&counts).into_iter().collect()
    }

    fn int(name: &str, value: i64) -> (String, FieldValue) {
        (name.to_owned(), FieldValue::Int(value))
    }

    #[test]
    fn healthy_and_unhealthy_are_counted() {
        let ratio = ("healthyRatio".to_owned(), FieldValue::Double(0.5));
        let expected = vec![int("healthy", 1), ratio, int("total", 2), int("unhealthy", 1)];
        assert_eq!(fields(&[Verdict::True, Verdict::False], true), expected);
        assert_eq!(fields(&[], true), vec![int("healthy", 0), int("total", 0), int("unhealthy", 0)]);
    }

    #[test]
    fn one_unknown_health_leaves_only_the_total() {
        assert_eq!(fields(&[Verdict::True, Verdict::Unknown], true), vec![int("total", 2)]);
        assert_eq!(fields(&[], false), vec![int("total", 0)]);
    }
}
