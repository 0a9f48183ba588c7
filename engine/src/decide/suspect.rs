//! A detector that reports most objects as sick at once may be at fault itself, and a person looks at it first.

use super::Deciding;
use crate::expression::FieldValue;
use crate::rules::SeverityRule;

/// The fields of a signal that count healthy nodes, workloads or objects.
const WELL: [&str; 3] = ["ready", "available", "healthy"];

impl Deciding<'_> {
    /// Why the detector itself may be at fault; none if nothing suggests it.
    pub(super) fn suspect_detector(&self) -> Option<String> {
        let rules = self.rules?;
        let most = i64::from(rules.limits.suspect_detector_above_percent?);
        let reason = self.next.severity_reason.as_ref()?;
        let rule = rules.severity.iter().find(|rule| rule.reason == *reason)?;
        if let Some(signal) =
            rule.reads().into_iter().find(|name| !self.assessment.values.contains_key(*name))
        {
            return Some(format!(
                "signal {signal}, which {reason} reads, is Unknown, so \
                 guardrails.suspectDetectorAbovePercent of {most} cannot be checked. First verify the signal"
            ));
        }
        let (signal, sick, expected) =
            self.sick(rule).into_iter().find(|(_, sick, expected)| sick * 100 > most * expected)?;
        Some(format!(
            "signal {signal}, which {reason} reads, reports {sick} of {expected} as sick, more than \
             guardrails.suspectDetectorAbovePercent of {most}. First verify the signal"
        ))
    }

    /// For each signal that the rule reads: the number of sick objects, and the total.
    fn sick(&self, rule: &SeverityRule) -> Vec<(String, i64, i64)> {
        let sick_of = |name: &String| {
            let values = self.assessment.values.get(name)?;
            let number = |field: &&str| match values.get(*field) {
                Some(FieldValue::Int(number)) => Some(*number),
                Some(FieldValue::Boolean(_) | FieldValue::Double(_) | FieldValue::Map(_)) | None => None,
            };
            let well = WELL.iter().find_map(number)?;
            let expected = number(&"expected").filter(|expected| *expected > 0)?;
            Some((name.clone(), (expected - well).max(0), expected))
        };
        rule.reads().into_iter().filter_map(sick_of).collect()
    }
}
