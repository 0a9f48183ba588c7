//! A detector that reports most objects as sick at once may be at fault itself, and a person looks at it first.

use super::Deciding;
use crate::expression::SignalShape;
use crate::rules::SeverityRule;
use crate::signal::count;

/// A way to count healthy nodes, workloads or objects.
struct Judgement {
    /// The field with their number.
    well: &'static str,
    /// The field with the number of those of which it is not known.
    in_doubt: Option<&'static str>,
    /// The other fields that say the same.
    others: [&'static str; 2],
}

const JUDGEMENTS: [Judgement; 3] = [
    Judgement { well: "ready", in_doubt: None, others: ["notReady", "readyRatio"] },
    Judgement { well: "available", in_doubt: None, others: ["unavailable", "availableRatio"] },
    Judgement { well: "healthy", in_doubt: Some("unknown"), others: ["unhealthy", "healthyRatio"] },
];

impl Deciding<'_> {
    /// Why the detector itself may be at fault; none if nothing suggests it.
    pub(super) fn suspect_detector(&self) -> Option<String> {
        let rules = self.rules?;
        let most = i64::from(rules.limits.suspect_detector_above_percent?);
        let reason = self.next.severity_reason.as_ref()?;
        let rule = rules.severity.iter().find(|rule| rule.reason == *reason)?;
        if let Some(signal) = rule.reads().into_iter().find(|name| !self.assessment.knows(name)) {
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
            let expected = count(values, SignalShape::EXPECTED).filter(|expected| *expected > 0)?;
            let sick_by = |by: &Judgement| {
                // What is not known looks neither well nor sick.
                let in_doubt = by.in_doubt.and_then(|field| count(values, field)).unwrap_or_default();
                Some((expected - count(values, by.well)? - in_doubt).max(0))
            };
            let is_read = |by: &&Judgement| {
                let mut fields = by.others.iter().chain([&by.well]).chain(&by.in_doubt);
                fields.any(|field| rule.reads_field(name, field))
            };
            // If the rule reads none of them, the worst counts.
            let read = JUDGEMENTS.iter().filter(is_read).filter_map(sick_by).max();
            let sick = read.or_else(|| JUDGEMENTS.iter().filter_map(sick_by).max())?;
            Some((name.clone(), sick, expected))
        };
        rule.reads().into_iter().filter_map(sick_of).collect()
    }
}
