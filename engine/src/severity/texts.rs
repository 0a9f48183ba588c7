//! What the status says of signals and rules, for people.

use std::collections::BTreeMap;

use crate::change::cut;
use crate::expression::{AT_MOST, Condition, FieldValue};
use crate::facts::Reading;
use crate::incident::{RuleStatus, SignalState, SignalStatus};
use crate::rules::{SeverityRule, Signal};

/// Counts that a summary leaves out while they are 0.
const QUIET: [&str; 10] = [
    "starting",
    "unknown",
    "cordoned",
    "unschedulable",
    "failed",
    "crashLooping",
    "oomKilled",
    "imagePullBackOff",
    "restarts",
    "oldestPendingSeconds",
];

/// Whether a summary leaves a field out while it is 0: no pressure, and nothing that starts or is in doubt, is no news.
fn is_quiet(field: &str) -> bool {
    field.ends_with("Pressure") || QUIET.contains(&field)
}

/// Keeps the old text where only numbers have changed, so that nothing is written in steady state. A text that names
/// another cause, or reads other signals, is new.
pub fn keep_texts(
    old_rules: &[RuleStatus],
    rules: &mut [RuleStatus],
    old_signals: &[SignalStatus],
    signals: &mut [SignalStatus],
) {
    for rule in rules {
        let is_same = |old: &&RuleStatus| {
            old.reason == rule.reason
                && old.truth == rule.truth
                && differ_in_numbers_only(&old.evidence, &rule.evidence)
        };
        if let Some(old) = old_rules.iter().find(is_same) {
            rule.evidence.clone_from(&old.evidence);
        }
    }
    for signal in signals {
        let is_same = |old: &&SignalStatus| {
            old.name == signal.name
                && old.state == signal.state
                && differ_in_numbers_only(&old.summary, &signal.summary)
        };
        if let Some(old) = old_signals.iter().find(is_same) {
            signal.summary.clone_from(&old.summary);
        }
    }
}

/// Whether two texts say the same with other numbers. Longer numbers move the place where a long text is cut, so of one that was
/// cut only its whole words count, as far as the other one goes.
fn differ_in_numbers_only(old: &str, new: &str) -> bool {
    let (old_whole, new_whole) = (whole(old), whole(new));
    let (mut old, mut new) = (words(old_whole.unwrap_or(old)), words(new_whole.unwrap_or(new)));
    loop {
        match (old.next(), new.next()) {
            (Some(one), Some(other)) if one == other => {}
            (None, None) => return true,
            (Some(_), Some(_)) => return false,
            (None, Some(_)) => return old_whole.is_some(),
            (Some(_), None) => return new_whole.is_some(),
        }
    }
}

/// The whole words of a text that was cut; none if it was not.
fn whole(text: &str) -> Option<&str> {
    let cut = text.strip_suffix('…')?;
    Some(cut.rfind(' ').map_or("", |end| &cut[..end]))
}

/// The words of a text without its values and the counts that are not always there.
fn words(text: &str) -> impl Iterator<Item = String> {
    let is_word = |word: &&str| !matches!(*word, "true" | "false") && word.parse::<f64>().is_err();
    let parts = text.split([' ', ',', ';']).filter(is_word).filter(|word| !is_quiet(word));
    let without_digits = |word: &str| word.replace(|c: char| c.is_ascii_digit() || c == '.', "");
    parts.map(without_digits).filter(|word| !word.is_empty())
}

/// A signal in the status.
pub(super) fn summary(signal: &Signal, reading: &Reading) -> SignalStatus {
    let (state, summary) = match reading {
        Reading::Known { values } => {
            let parts: Vec<String> = values
                .iter()
                .filter(|(field, _)| AT_MOST.iter().all(|(_, at_most)| at_most != field))
                .filter_map(|(field, value)| match value {
                    _ if let Some(most) = at_most(field, values) => Some(bounds(field, value, most)),
                    FieldValue::Int(0) if is_quiet(field) => None,
                    FieldValue::Int(number) => Some(format!("{field} {number}")),
                    // A ratio follows from the counts. What was asked for is all there is.
                    FieldValue::Double(number) => signal.pace.map(|_| format!("{field} {number:?}")),
                    FieldValue::Boolean(truth) => signal.pace.map(|_| format!("{field} {truth}")),
                    FieldValue::Map(_) => None,
                })
                .collect();
            (SignalState::Known, parts.join(", "))
        }
        Reading::Unknown { reason, detail } => (SignalState::Unknown, format!("{reason}: {detail}")),
    };
    SignalStatus { name: signal.name.clone(), state, summary: cut(&summary, 512) }
}

/// The upper bound of a value that is not known exactly.
fn at_most<'a>(field: &str, values: &'a BTreeMap<String, FieldValue>) -> Option<&'a FieldValue> {
    AT_MOST
        .iter()
        .find_map(|(of, at_most)| (*of == field).then_some(*at_most))
        .and_then(|most| values.get(most))
}

fn bounds(field: &str, least: &FieldValue, most: &FieldValue) -> String {
    match (least, most) {
        (FieldValue::Int(least), FieldValue::Int(i64::MAX)) => format!("{field} {least} or more"),
        (FieldValue::Int(least), FieldValue::Int(most)) => format!("{field} {least} to {most}"),
        (FieldValue::Double(least), FieldValue::Double(most)) if most.is_finite() => {
            format!("{field} {least:?} to {most:?}")
        }
        (FieldValue::Double(least), _) => format!("{field} {least:?} or more"),
        _ => field.to_owned(),
    }
}

/// Why a rule is Unknown, with why its signals are, or with what was answered instead of a value.
pub(super) fn cause(why: &str, rule: &SeverityRule, signals: &[SignalStatus]) -> String {
    let explains = |signal: &&SignalStatus| rule.when.reads().contains(&signal.name) && is_no_value(signal);
    let parts: Vec<String> = signals.iter().filter(explains).map(told).collect();
    match parts.is_empty() {
        true => why.to_owned(),
        false => cut(&format!("{why} ({})", parts.join("; ")), 512),
    }
}

/// Whether a signal is Unknown, or was answered with no series or several, which are no value.
fn is_no_value(signal: &SignalStatus) -> bool {
    signal.state == SignalState::Unknown || signal.summary.starts_with("count ")
}

fn told(signal: &SignalStatus) -> String {
    format!("{}: {}", signal.name, signal.summary)
}

/// The readings that a condition reads.
pub(super) fn evidence(condition: &Condition, signals: &[SignalStatus]) -> String {
    let read = signals.iter().filter(|signal| condition.reads().contains(&signal.name));
    let parts: Vec<String> = read.map(told).collect();
    cut(&parts.join("; "), 512)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rules::Rules;

    fn kept(old: &str, new: &str, state: SignalState) -> bool {
        let signal =
            |summary: &str| SignalStatus { name: "gpuNodes".to_owned(), state, summary: summary.to_owned() };
        let mut signals = [signal(new)];
        keep_texts(&[], &mut [], &[signal(old)], &mut signals);
        signals[0].summary == old
    }

    #[test]
    fn a_value_that_is_known_within_bounds_is_shown_with_them_and_new_bounds_are_no_news() {
        let signal = json!({"signals": [{"name": "s", "metrics": {"of": "pods"}}]});
        let signal = Rules::parse(&serde_json::from_value(signal).unwrap()).unwrap().signals.remove(0);
        let shown = |values: &[(&str, FieldValue)]| {
            let values = values.iter().map(|(field, value)| ((*field).to_owned(), value.clone())).collect();
            summary(&signal, &Reading::Known { values }).summary
        };
        let (ratio, bytes) = (("cpuRatio", FieldValue::Double(0.5)), ("maxMemoryBytes", FieldValue::Int(7)));
        assert_eq!(shown(&[ratio.clone(), bytes.clone()]), "cpuRatio 0.5, maxMemoryBytes 7");
        let most = |ratio: f64, bytes: i64| {
            [("cpuRatioAtMost", FieldValue::Double(ratio)), ("maxMemoryBytesAtMost", FieldValue::Int(bytes))]
        };
        let within = |ratio_most, bytes_most| {
            shown(&[&[ratio.clone(), bytes.clone()][..], &most(ratio_most, bytes_most)].concat())
        };
        assert_eq!(within(0.75, 9), "cpuRatio 0.5 to 0.75, maxMemoryBytes 7 to 9");
        assert_eq!(within(f64::INFINITY, i64::MAX), "cpuRatio 0.5 or more, maxMemoryBytes 7 or more");
        assert!(kept(&within(0.75, 9), &within(0.875, 8), SignalState::Known));
    }

    #[test]
    fn other_numbers_are_no_news_and_another_cause_is() {
        let known = |old: &str, new: &str| kept(old, new, SignalState::Known);
        assert!(known("ready 8, total 8", "ready 2, total 8"));
        assert!(known("ready 8, total 8", "cordoned 2, ready 8, starting 1, total 8, diskPressure 1"));
        assert!(known("latencyMs 12, ok true, status 200", "latencyMs 9, ok false, status 503"));
        assert!(known("value 0.25", "value 1e-7"));
        assert!(known("value 0.25", "value NaN"));
        assert!(!known("ready 8, total 8", "available 8, total 8"), "the signal has another kind now");
        let long = |numbers: &str, last: &str| {
            let many: Vec<String> = (0..60).map(|_| format!("available {numbers}")).collect();
            cut(&format!("{last} 1, {}", many.join(", ")), 512)
        };
        assert!(long("9", "ready").ends_with('…') && long("99", "ready").ends_with('…'));
        assert!(known(&long("9", "ready"), &long("99", "ready")), "another place to cut is no news");
        assert!(known(&long("99", "ready"), &long("9", "ready")));
        assert!(!known(&long("9", "ready"), &long("99", "total")));
        let (fits, other) = (cut(&long("9", "a"), 600), "a 1, available 9, available 9");
        assert!(!known(other, &fits), "the other text says more than it could have");
        let unknown = |old: &str, new: &str| kept(old, new, SignalState::Unknown);
        assert!(unknown("Unreachable: no answer for 61s", "Unreachable: no answer for 75s"));
        assert!(!unknown("Unreachable: no answer for 61s", "Forbidden: nodes"));
        assert!(!unknown("Unreachable: connection refused", "Unreachable: no such host"));
    }
}
