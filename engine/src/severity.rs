//! From readings to a level: rules with clocks, three-valued, with hysteresis.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::change::cut;
use crate::expression::{Condition, FieldValue};
use crate::facts::Reading;
use crate::incident::{RuleStatus, SignalState, SignalStatus};
use crate::period::after;
use crate::policy::Severity;
use crate::rules::{Rules, SeverityRule, Signal};
use crate::verdict::Verdict;

/// How long a clock stops for Unknown before it is reset: the default of `maxAge` in the API.
pub const UNKNOWN_GRACE: SignedDuration = SignedDuration::from_secs(60);

/// The values of the known signals, `expected` and `missing` included.
pub type Values = BTreeMap<String, BTreeMap<String, FieldValue>>;

/// The input of an assessment.
pub struct Observed<'a> {
    /// The policy.
    pub rules: &'a Rules,
    /// The previous state of the rules.
    pub previous: &'a [RuleStatus],
    /// The present readings of the signals.
    pub signals: &'a BTreeMap<String, Reading>,
    /// The value of `expected` before the emergency, for each signal.
    pub baselines: &'a BTreeMap<String, i64>,
    /// Whether the policy has an open Incident, which keeps the baselines.
    pub incident_open: bool,
    /// Nobody watched for too long, so clocks are reset.
    pub clocks_broken: bool,
    /// The moment.
    pub now: Timestamp,
}

/// The result of an assessment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assessment {
    /// The present state of the rules, the most severe first.
    pub rules: Vec<RuleStatus>,
    /// The signals in short form.
    pub signals: Vec<SignalStatus>,
    /// The values, for expressions.
    pub values: Values,
    /// The new baselines.
    pub baselines: BTreeMap<String, i64>,
    /// Expressions that failed, as `reason: problem`.
    pub rule_errors: Vec<String>,
    /// When a clock runs out.
    pub wake_at: Option<Timestamp>,
}

impl Assessment {
    /// Since when no rule holds and none is true: the start of the recovery
    /// clock. None while any rule is true, held or Unknown.
    pub fn quiet_since(&self) -> Option<Timestamp> {
        quiet_since(&self.rules)
    }

    /// Whether a rule holds.
    pub fn holds(&self) -> bool {
        self.rules.iter().any(|rule| rule.holds)
    }
}

/// See [`Assessment::quiet_since`].
pub fn quiet_since(rules: &[RuleStatus]) -> Option<Timestamp> {
    let quiet = rules.iter().all(|rule| rule.truth == Verdict::False && !rule.holds);
    if quiet { rules.iter().filter_map(|rule| rule.since).max() } else { None }
}

/// The worst level of a rule that is true or held.
pub fn worst(rules: &[RuleStatus]) -> Option<Severity> {
    rules.iter().filter(|rule| rule.holds || rule.truth == Verdict::True).map(|rule| rule.level).min()
}

/// Assesses the rules of a policy.
pub fn assess(observed: &Observed<'_>) -> Assessment {
    let mut found = Assessment { baselines: observed.baselines.clone(), ..Assessment::default() };
    for signal in &observed.rules.signals {
        let reading = observed.signals.get(&signal.name).map_or_else(not_watched_yet, Clone::clone);
        let counts_objects = signal.kind.kind().shape().counts_objects();
        let reading = if counts_objects { with_expected(signal, reading, observed) } else { reading };
        found.signals.push(summary(signal, &reading));
        if let Reading::Known { values } = reading {
            found.values.insert(signal.name.clone(), values);
        }
    }
    for rule in &observed.rules.severity {
        let status = assess_rule(rule, observed, &mut found);
        found.rules.push(status);
    }
    if !observed.incident_open {
        move_baselines(observed, &mut found);
    }
    found
}

/// The level that follows from the rules and the present level: it rises as soon as
/// a rule holds, and falls only when the rules of all levels above the new one
/// are False, so that Unknown keeps the level.
pub fn level(rules: &[RuleStatus], current: Option<(Severity, String)>) -> Option<(Severity, String)> {
    let found = rules.iter().find(|rule| rule.holds).map(|rule| (rule.level, rule.reason.clone()));
    let Some(current) = current else { return found };
    if found.as_ref().is_some_and(|(level, _)| *level <= current.0) {
        return found;
    }
    let is_above_new = |rule: &RuleStatus| found.as_ref().is_none_or(|(level, _)| rule.level < *level);
    let in_doubt =
        rules.iter().any(|rule| is_above_new(rule) && (rule.truth != Verdict::False || rule.holds));
    if in_doubt { Some(current) } else { found }
}

/// Keeps the old text where only numbers have changed, so that
/// nothing is written in steady state.
pub fn keep_texts(
    old_rules: &[RuleStatus],
    rules: &mut [RuleStatus],
    old_signals: &[SignalStatus],
    signals: &mut [SignalStatus],
) {
    for rule in rules {
        if let Some(old) = old_rules.iter().find(|old| old.reason == rule.reason && old.truth == rule.truth) {
            rule.evidence.clone_from(&old.evidence);
        }
    }
    for signal in signals {
        if let Some(old) = old_signals.iter().find(|old| old.name == signal.name && old.state == signal.state)
        {
            signal.summary.clone_from(&old.summary);
        }
    }
}

fn not_watched_yet() -> Reading {
    Reading::Unknown { reason: Reading::NOT_SYNCED.to_owned(), detail: "it has not been read yet".to_owned() }
}

/// Adds `expected` and `missing`. The Node object of a dead machine is soon deleted,
/// so while a rule's clock runs, `expected` does not fall.
fn with_expected(signal: &Signal, reading: Reading, observed: &Observed<'_>) -> Reading {
    let Reading::Known { mut values } = reading else { return reading };
    let count = |field: &str| match values.get(field) {
        Some(FieldValue::Int(number)) => *number,
        Some(FieldValue::Boolean(_) | FieldValue::Double(_) | FieldValue::Map(_)) | None => 0,
    };
    let (present, idle) = (count("total"), count("idle"));
    let keeps =
        observed.incident_open
            || observed.rules.severity.iter().any(|rule| {
                rule.reads().contains(&signal.name) && clock_runs(observed.previous, &rule.reason)
            });
    let baseline = observed.baselines.get(&signal.name).copied().filter(|_| keeps).unwrap_or(0);
    let known = signal.expect.unwrap_or_else(|| present.max(baseline));
    if known == 0
        && signal.expect.is_none()
        && let Some(detail) = signal.kind.kind().unknown_when_empty()
    {
        return Reading::Unknown { reason: "EmptyScope".to_owned(), detail: detail.to_owned() };
    }
    // What is off on purpose is not expected to serve. It is there, so it is not missing.
    values.insert("expected".to_owned(), FieldValue::Int((known - idle).max(0)));
    values.insert("missing".to_owned(), FieldValue::Int((known - present).max(0)));
    Reading::Known { values }
}

fn clock_runs(previous: &[RuleStatus], reason: &str) -> bool {
    previous.iter().any(|rule| rule.reason == reason && (rule.known == Verdict::True || rule.holds))
}

fn assess_rule(rule: &SeverityRule, observed: &Observed<'_>, found: &mut Assessment) -> RuleStatus {
    let now = observed.now;
    let previous = observed.previous.iter().find(|old| old.reason == rule.reason);
    let (truth, why) = evaluate(&rule.when, &rule.reason, &found.values, &mut found.rule_errors);
    let mut status = RuleStatus {
        reason: rule.reason.clone(),
        level: rule.level,
        truth,
        known: previous.map_or(Verdict::Unknown, |old| old.known),
        since: previous.and_then(|old| old.since),
        unknown_since: previous.and_then(|old| old.unknown_since),
        holds: previous.is_some_and(|old| old.holds),
        evidence: why.unwrap_or_else(|| evidence(&rule.when, &found.signals)),
    };
    if observed.clocks_broken {
        status.since = status.since.map(|_| now);
    }
    run_clock(&mut status, now);
    let elapsed =
        |since: Option<Timestamp>| since.map_or(SignedDuration::ZERO, |since| now.duration_since(since));
    let held = status.holds;
    status.holds = match (held, &rule.until) {
        // A rule that is true holds; otherwise `until` would end it and `when` start it with every reading.
        (true, Some(until)) => {
            let over = evaluate(until, &rule.reason, &found.values, &mut found.rule_errors).0;
            truth == Verdict::True || over != Verdict::True
        }
        (true, None) => truth != Verdict::False,
        (false, _) => truth == Verdict::True && elapsed(status.since) >= rule.for_,
    };
    if held && !status.holds {
        // The recovery clock starts here, however long `when` was false before `until` was true.
        status.since = Some(now);
    }
    let due = match truth {
        Verdict::True if !status.holds => status.since.map(|since| after(since, rule.for_)),
        Verdict::Unknown => {
            status.unknown_since.map(|since| after(since, UNKNOWN_GRACE)).filter(|due| *due > now)
        }
        Verdict::True | Verdict::False => None,
    };
    found.wake_at = earliest(found.wake_at, due);
    status
}

/// Unknown stops the clock. After the grace period the clock is reset.
fn run_clock(status: &mut RuleStatus, now: Timestamp) {
    match status.truth {
        Verdict::Unknown => {
            let since = *status.unknown_since.get_or_insert(now);
            if now.duration_since(since) >= UNKNOWN_GRACE {
                status.known = Verdict::Unknown;
                status.since = None;
            }
        }
        truth => {
            let paused =
                status.unknown_since.take().map_or(SignedDuration::ZERO, |since| now.duration_since(since));
            status.since = match status.since {
                Some(since) if status.known == truth && paused < UNKNOWN_GRACE => Some(after(since, paused)),
                _ => Some(now),
            };
            status.known = truth;
        }
    }
}

fn evaluate(
    condition: &Condition,
    reason: &str,
    values: &Values,
    errors: &mut Vec<String>,
) -> (Verdict, Option<String>) {
    let found = condition.evaluate(values);
    if found.rule_error {
        errors.push(format!("{reason}: {}", found.why.as_deref().unwrap_or("the expression failed")));
    }
    (found.verdict, found.why.filter(|_| found.verdict == Verdict::Unknown).map(|why| cut(&why, 512)))
}

/// The last reading at which every rule that reads a signal was False.
fn move_baselines(observed: &Observed<'_>, found: &mut Assessment) {
    for signal in observed.rules.signals.iter().filter(|signal| signal.expect.is_none()) {
        let read_by = |rule: &&SeverityRule| rule.reads().contains(&signal.name);
        let all_false = observed.rules.severity.iter().filter(read_by).all(|rule| {
            found
                .rules
                .iter()
                .any(|status| status.reason == rule.reason && status.truth == Verdict::False && !status.holds)
        });
        let counted = |field: &str| match found.values.get(&signal.name)?.get(field) {
            Some(FieldValue::Int(number)) => Some(*number),
            Some(FieldValue::Boolean(_) | FieldValue::Double(_) | FieldValue::Map(_)) | None => None,
        };
        if let Some(expected) = counted("expected")
            && all_false
        {
            // Objects that are idle now may be started again, so the baseline has them.
            found.baselines.insert(signal.name.clone(), expected + counted("idle").unwrap_or_default());
        }
    }
    found.baselines.retain(|name, _| observed.rules.signals.iter().any(|signal| signal.name == *name));
}

fn summary(signal: &Signal, reading: &Reading) -> SignalStatus {
    let (state, summary) = match reading {
        Reading::Known { values } => {
            let parts: Vec<String> = values
                .iter()
                .filter_map(|(field, value)| match value {
                    // No pressure is no news.
                    FieldValue::Int(0) if field.ends_with("Pressure") => None,
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

fn evidence(condition: &Condition, signals: &[SignalStatus]) -> String {
    let read = signals.iter().filter(|signal| condition.reads().contains(&signal.name));
    let parts: Vec<String> = read.map(|signal| format!("{}: {}", signal.name, signal.summary)).collect();
    cut(&parts.join("; "), 512)
}

/// The earlier of two moments.
pub fn earliest(left: Option<Timestamp>, right: Option<Timestamp>) -> Option<Timestamp> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (left, right) => left.or(right),
    }
}
