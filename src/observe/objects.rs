//! Objects of any kind: how many there are, and how many of them are healthy.
//!
//! `total`, `healthy`, `unhealthy`, `healthyRatio` (absent over nothing). If
//! the health of a single object is Unknown, all but `total` are absent:
//! `unhealthy == 0` would otherwise be true, or false, by a guess.

use std::collections::BTreeMap;

use firebreak_engine::expression::{FieldValue, ObjectCondition};
use firebreak_engine::verdict::Verdict;
use serde_json::Value;

use super::fold::Counts;

/// Whether an object, given as JSON, is healthy, and if that is not known, what is wrong.
pub(super) fn digest(
    healthy: Option<&ObjectCondition>,
    object: &str,
) -> Result<(Verdict, Option<String>), String> {
    let Some(healthy) = healthy else { return Ok((Verdict::Unknown, None)) };
    let object: Value = serde_json::from_str(object).map_err(|error| error.to_string())?;
    let found = healthy.evaluate(&object, None);
    let doubt = found.why.map(|why| format!("whether it is healthy is not known: {why}"));
    Ok((found.verdict, doubt))
}

/// Adds an object to the counts, or takes it out with `times` -1.
pub(super) fn count(health: Verdict, times: i64, counts: &mut Counts) {
    counts.add("total", times);
    match health {
        Verdict::True => counts.add("healthy", times),
        Verdict::False => counts.add("unhealthy", times),
        Verdict::Unknown => counts.add("unknown", times),
    }
}

/// The fields of the signal. `judged` is whether anything says what healthy means.
pub(super) fn values(counts: &Counts, judged: bool) -> BTreeMap<String, FieldValue> {
    let field = |name: &str| (name.to_owned(), FieldValue::Int(counts.of(name)));
    let mut values = BTreeMap::from([field("total")]);
    if judged && counts.of("unknown") == 0 {
        values.extend([field("healthy"), field("unhealthy")]);
        if let Some(ratio) = counts.ratio("healthy", "total") {
            values.insert("healthyRatio".to_owned(), FieldValue::Double(ratio));
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(healths: &[Verdict], judged: bool) -> Vec<(String, FieldValue)> {
        let mut counts = Counts::default();
        for health in healths {
            count(*health, 1, &mut counts);
        }
        values(&counts, judged).into_iter().collect()
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
