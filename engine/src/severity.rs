//! From readings to a level: rules with clocks, three-valued, with hysteresis.

mod texts;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::change::cut;
use crate::expected::{Expected, Sight};
use crate::expression::{Condition, FieldValue, SignalShape};
use crate::facts::Reading;
use crate::incident::{RuleStatus, SignalState, SignalStatus};
use crate::period::after;
use crate::policy::Severity;
use crate::rules::{Rules, SeverityRule, Signal};
use crate::signal::count;
use crate::verdict::Verdict;

pub use texts::keep_texts;
use texts::{cause, evidence, summary};

/// How long a clock stops for Unknown before it is reset: the default of `maxAge` in the API.
pub const UNKNOWN_GRACE: SignedDuration = SignedDuration::from_secs(60);
/// How long after a start every signal counts as known.
const START_GRACE: SignedDuration = SignedDuration::from_mins(2);

/// The values of the signals, with what the engine adds. One that is Unknown has only `known`.
pub type Values = BTreeMap<String, BTreeMap<String, FieldValue>>;

/// The input of an assessment.
pub struct Observed<'a> {
    /// The policy.
    pub rules: &'a Rules,
    /// The previous state of the rules.
    pub previous: &'a [RuleStatus],
    /// The present readings of the signals.
    pub signals: &'a BTreeMap<String, Reading>,
    /// The expected numbers of the signals, as the policy has recorded them.
    pub expected: &'a [Expected],
    /// When this process began to watch; none if that does not matter.
    pub began: Option<Timestamp>,
    /// Nobody watched for too long, so clocks are reset.
    pub clocks_broken: bool,
    /// The moment.
    pub now: Timestamp,
}

impl Observed<'_> {
    /// What is recorded of the objects that the signal counts.
    fn window(&self, signal: &Signal) -> Option<&Expected> {
        let of_name = self.expected.iter().find(|expected| expected.signal == signal.name)?;
        Some(of_name).filter(|expected| expected.is_of(&signal.scope))
    }
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

    /// Whether a signal can be read.
    pub fn knows(&self, signal: &str) -> bool {
        self.signals.iter().any(|known| known.name == signal && known.state == SignalState::Known)
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
    let mut found = Assessment::default();
    for signal in &observed.rules.signals {
        let reading = reading(signal, observed);
        found.signals.push(summary(signal, &reading));
        let known = FieldValue::Boolean(is_known(&reading, observed));
        let mut values = match reading {
            Reading::Known { values } => values,
            Reading::Unknown { .. } => BTreeMap::new(),
        };
        values.insert(SignalShape::KNOWN.to_owned(), known);
        found.values.insert(signal.name.clone(), values);
    }
    found.wake_at = changes_by_time(observed, &found);
    for rule in &observed.rules.severity {
        let status = assess_rule(rule, observed, &mut found);
        found.rules.push(status);
    }
    found
}

/// The reading of a signal with what the engine adds, except for `known`.
pub fn reading(signal: &Signal, observed: &Observed<'_>) -> Reading {
    let reading = observed.signals.get(&signal.name).map_or_else(not_watched_yet, Clone::clone);
    with_expected(signal, reading, observed)
}

/// When a value changes although no reading does.
fn changes_by_time(observed: &Observed<'_>, found: &Assessment) -> Option<Timestamp> {
    let of = |signal: &Signal| {
        let window = observed.window(signal)?;
        window.changes_at(signal.expect_within).filter(|_| signal.expect.is_none())
    };
    let falls = observed.rules.signals.iter().filter_map(of);
    let has_unknown = found.signals.iter().any(|signal| signal.state == SignalState::Unknown);
    let known = grace_until(observed).filter(|_| has_unknown);
    falls.chain(known).filter(|due| *due > observed.now).min()
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

/// How many of the idle objects somebody deletes. It is in a reading if there are any, and no expression reads it.
const DELETING: &str = "deleting";

fn not_watched_yet() -> Reading {
    Reading::Unknown { reason: Reading::NOT_SYNCED.to_owned(), detail: "it has not been read yet".to_owned() }
}

/// How many objects are off on purpose: not those that somebody deletes, which are missed.
fn parked(values: &BTreeMap<String, FieldValue>) -> i64 {
    let count = |field| count(values, field).unwrap_or_default();
    count("idle") - count(DELETING)
}

/// Adds `expected` and `missing` to the reading of a kind that counts objects.
fn with_expected(signal: &Signal, reading: Reading, observed: &Observed<'_>) -> Reading {
    let Reading::Known { mut values } = reading else { return reading };
    let kind = signal.kind.kind();
    if !signal.expects_objects() {
        return Reading::Known { values };
    }
    let present = kind.present(&values);
    let idle = count(&values, "idle").unwrap_or_default();
    let highest = observed
        .window(signal)
        .and_then(|window| window.highest(signal.expect_within, present, parked(&values), observed.now));
    if signal.expect.is_none()
        && highest.is_none()
        && present == Some(0)
        && let Some(detail) = kind.unknown_when_empty()
    {
        return Reading::Unknown { reason: "EmptyScope".to_owned(), detail: detail.to_owned() };
    }
    if let Some(expected) = signal.expect.or(highest.max(present)) {
        values.insert(SignalShape::EXPECTED.to_owned(), FieldValue::Int(expected));
        let starting = count(&values, "starting").unwrap_or_default();
        if let Some(total) = count(&values, "total") {
            let missing = (expected - (total - starting - idle)).max(0);
            values.insert(SignalShape::MISSING.to_owned(), FieldValue::Int(missing));
        }
    }
    Reading::Known { values }
}

/// Whether a signal counts as known. What was not read yet does, and everything does shortly after a start: the first
/// answers are on their way.
fn is_known(reading: &Reading, observed: &Observed<'_>) -> bool {
    match reading {
        Reading::Known { .. } => true,
        Reading::Unknown { .. } => {
            reading.is_not_read_yet() || grace_until(observed).is_some_and(|until| until > observed.now)
        }
    }
}

fn grace_until(observed: &Observed<'_>) -> Option<Timestamp> {
    observed.began.map(|began| after(began, START_GRACE))
}

/// Takes the present numbers into the windows of the signals. Returns them, and when to look again although nothing
/// changes.
pub fn follow_expected<'a>(
    observed: &Observed<'_>,
    found: &Assessment,
    sight: impl Fn(&str) -> Sight<'a>,
) -> (Vec<Expected>, Option<Timestamp>) {
    let mut wake_at = None;
    let mut next = Vec::new();
    for signal in &observed.rules.signals {
        let kind = signal.kind.kind();
        if signal.expect.is_some() || !signal.expects_objects() {
            continue;
        }
        let old = observed.window(signal);
        let mut expected = old.cloned().unwrap_or_else(|| Expected::of(&signal.name));
        expected.scope = Some(signal.scope.clone());
        let (present, idle) = match observed.signals.get(&signal.name) {
            Some(Reading::Known { values }) => (kind.present(values), parked(values)),
            Some(Reading::Unknown { .. }) | None => (None, expected.idle),
        };
        let highest = expected.highest(signal.expect_within, present, idle, observed.now);
        let is_lost = present < highest;
        let keeps = |rule: &&SeverityRule| {
            let status = found.rules.iter().find(|status| status.reason == rule.reason);
            rule.reads().contains(&signal.name)
                && status.is_some_and(|rule| clock_runs(rule) || is_lost && rule.truth == Verdict::Unknown)
        };
        let due = expected.follow(&Sight {
            present,
            idle,
            kept_by_rule: observed.rules.severity.iter().any(|rule| keeps(&rule)),
            within: signal.expect_within,
            now: observed.now,
            ..sight(&signal.name)
        });
        wake_at = earliest(wake_at, due);
        if !expected.is_empty() {
            next.push(expected);
        }
    }
    (next, wake_at)
}

fn clock_runs(rule: &RuleStatus) -> bool {
    rule.known == Verdict::True || rule.holds
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
        evidence: match why {
            Some(why) => cause(&why, rule, &found.signals),
            None => evidence(&rule.when, &found.signals),
        },
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

/// The earlier of two moments.
pub fn earliest(left: Option<Timestamp>, right: Option<Timestamp>) -> Option<Timestamp> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (left, right) => left.or(right),
    }
}
