//! The signals and rules of a policy, as data.

use std::collections::BTreeMap;

use firebreak_engine::expression::{FieldKind, FieldValue};
use firebreak_engine::facts::Reading;
use firebreak_engine::incident::{RuleStatus, SignalState};
use firebreak_engine::period::after;
use firebreak_engine::policy::Mode;
use firebreak_engine::rules::{Rules, SeverityRule, Signal};
use firebreak_engine::severity::{Assessment, UNKNOWN_GRACE};
use firebreak_engine::verdict::Verdict;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde::Serialize;

use super::advice::advice;
use crate::api::RemediationPolicy;
use crate::cli::time::{age, short};
use crate::view;

/// What was seen at one moment.
pub struct Seen<'a> {
    /// The namespace of the policy.
    pub namespace: &'a str,
    /// The policy, with what the operator has recorded.
    pub policy: &'a RemediationPolicy,
    /// As whom the signals are read.
    pub read_as: &'a str,
    /// The policy, parsed.
    pub rules: &'a Rules,
    /// The readings, in the order of the signals.
    pub readings: Vec<Reading>,
    /// The rules, evaluated on them.
    pub assessment: &'a Assessment,
    /// When the first look was taken.
    pub began: Timestamp,
    /// The moment.
    pub now: Timestamp,
}

/// The signals and rules of a policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SignalsView {
    /// The policy.
    pub policy: AboutPolicy,
    /// Its signals.
    pub signals: Vec<SignalView>,
    /// Its rules, the most severe first.
    pub rules: Vec<RuleView>,
}

/// The policy, and the account that reads for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AboutPolicy {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its mode.
    pub mode: Mode,
    /// As whom the signals are read.
    pub read_as: String,
    /// Why it is not Ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A signal now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignalView {
    /// Its name.
    pub name: String,
    /// Its kind, as the API names it.
    pub kind: &'static str,
    /// Known or Unknown.
    pub state: SignalState,
    /// The values of its fields; one without a value is absent.
    pub fields: BTreeMap<String, FieldValue>,
    /// The fields of interest: those that a rule reads, or all if no rule reads the signal.
    pub read: Vec<String>,
    /// Where the values are from, if they were not read just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Why it is Unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<WhyUnknown>,
}

/// Why a signal is Unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WhyUnknown {
    /// In one word.
    pub reason: String,
    /// For people.
    pub detail: String,
    /// What to do.
    pub next: &'static str,
}

/// A rule now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleView {
    /// Its truth with its clock. `since` is absent if it was True or False before anybody has recorded when.
    #[serde(flatten)]
    pub status: RuleStatus,
    /// Since when its truth was seen at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least_since: Option<Timestamp>,
    /// Its expression.
    pub when: String,
    /// The values that it reads, by `signal.field`; none is a field without a value.
    pub reads: BTreeMap<String, Option<FieldValue>>,
    /// What it waits for.
    pub waits: Vec<String>,
    /// What the operator has recorded, if that is another truth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<RuleStatus>,
}

impl SignalsView {
    /// What is shown of it.
    pub fn of(seen: &Seen<'_>) -> Self {
        let signals = seen.rules.signals.iter().zip(&seen.readings);
        Self {
            policy: AboutPolicy {
                namespace: seen.namespace.to_owned(),
                name: seen.policy.name_any(),
                mode: seen.policy.spec.policy.mode,
                read_as: seen.read_as.to_owned(),
                problem: view::problem(seen.policy),
            },
            signals: signals.map(|(signal, reading)| signal_view(signal, reading, seen)).collect(),
            rules: seen.assessment.rules.iter().map(|status| rule_view(status, seen)).collect(),
        }
    }
}

fn signal_view(signal: &Signal, reading: &Reading, seen: &Seen<'_>) -> SignalView {
    let shapes = seen.rules.shapes();
    let of_kind: Vec<(&str, FieldKind)> =
        shapes.get(&signal.name).into_iter().flat_map(|shape| &shape.fields).map(|(f, k)| (*f, *k)).collect();
    let values = seen.assessment.values.get(&signal.name);
    let value = |field: &str| values.and_then(|values| values.get(field)).filter(|value| !is_nan(value));
    let is_read_by_rule = |field: &str| {
        seen.rules.severity.iter().any(|rule: &SeverityRule| rule.reads_field(&signal.name, field))
    };
    let all = || of_kind.iter().map(|(field, _)| (*field).to_owned());
    let mut read: Vec<String> = all().filter(|field| is_read_by_rule(field)).collect();
    if read.is_empty() {
        read = all().filter(|field| value(field).is_some()).collect();
    }
    SignalView {
        name: signal.name.clone(),
        kind: signal.kind.name(),
        state: match reading {
            Reading::Known { .. } => SignalState::Known,
            Reading::Unknown { .. } => SignalState::Unknown,
        },
        fields: of_kind
            .iter()
            .filter_map(|(field, _)| Some(((*field).to_owned(), value(field)?.clone())))
            .collect(),
        read,
        source: source(signal, seen),
        unknown: match reading {
            Reading::Known { .. } => None,
            Reading::Unknown { reason, detail } => {
                let next = advice(&signal.kind, reason);
                Some(WhyUnknown { reason: reason.clone(), detail: detail.clone(), next })
            }
        },
    }
}

/// A value that is no number is no value.
fn is_nan(value: &FieldValue) -> bool {
    matches!(value, FieldValue::Double(number) if number.is_nan())
}

/// Only alerts that were sent are not read from here.
fn source(signal: &Signal, seen: &Seen<'_>) -> Option<String> {
    signal.hearing?;
    let recorded = seen.policy.status.iter().flat_map(|status| &status.state.alerts);
    let mut of_signal = recorded.filter(|alerts| alerts.signal == signal.name);
    let heard = of_signal.next().map(|alerts| age(alerts.heard_at, seen.now));
    let heard = heard.map(|age| format!("; Alertmanager was heard {age} ago")).unwrap_or_default();
    Some(format!("from the status of the policy, where the operator records each message{heard}"))
}

fn rule_view(status: &RuleStatus, seen: &Seen<'_>) -> RuleView {
    let state = seen.policy.status.as_ref().map(|status| &status.state);
    let recorded = state.into_iter().flat_map(|state| &state.rules).find(|old| old.reason == status.reason);
    let is_new = status.since == Some(seen.began) || status.unknown_since == Some(seen.began);
    let mut shown = status.clone();
    if is_new {
        shown.since = shown.since.filter(|since| *since != seen.began);
        shown.unknown_since = shown.unknown_since.filter(|since| *since != seen.began);
    }
    let rule = seen.rules.severity.iter().find(|rule| rule.reason == status.reason);
    let mut waits = rule.map(|rule| waits(rule, status, seen)).unwrap_or_default();
    if state.is_some_and(|state| state.waiting_for.contains(&status.reason)) {
        waits.push("it opens no Incident until it has been False once".to_owned());
    }
    RuleView {
        status: shown,
        at_least_since: is_new.then_some(seen.began),
        when: rule.map(|rule| rule.when.source().to_owned()).unwrap_or_default(),
        reads: rule.map(|rule| reads(rule, seen)).unwrap_or_default(),
        waits,
        recorded: recorded.filter(|old| old.truth != status.truth || old.holds != status.holds).cloned(),
    }
}

/// The values that a rule reads.
fn reads(rule: &SeverityRule, seen: &Seen<'_>) -> BTreeMap<String, Option<FieldValue>> {
    let shapes = seen.rules.shapes();
    let fields =
        shapes.iter().flat_map(|(signal, shape)| shape.fields.keys().map(move |field| (signal, *field)));
    let read = fields.filter(|(signal, field)| rule.reads_field(signal, field));
    read.map(|(signal, field)| {
        let value = seen.assessment.values.get(signal).and_then(|values| values.get(field));
        (format!("{signal}.{field}"), value.filter(|value| !is_nan(value)).cloned())
    })
    .collect()
}

/// What has to happen before the rule holds, or no longer does.
fn waits(rule: &SeverityRule, status: &RuleStatus, seen: &Seen<'_>) -> Vec<String> {
    let long = short(rule.for_);
    let left = |due: Timestamp| short(due.duration_since(seen.now).max(SignedDuration::ZERO));
    let text = match (status.truth, status.holds) {
        (Verdict::True, false) if status.since == Some(seen.began) => {
            format!("it holds once the operator has seen it True for {long}")
        }
        (Verdict::True, false) => match status.since {
            Some(since) => {
                format!("it holds in {} if it stays True (for: {long})", left(after(since, rule.for_)))
            }
            None => return Vec::new(),
        },
        (Verdict::Unknown, true) => "it still holds: Unknown ends nothing".to_owned(),
        (Verdict::Unknown, false) => match (status.known, status.unknown_since) {
            (Verdict::True, Some(since)) => format!(
                "its clock stands still, and begins at 0 if it is still Unknown in {}",
                left(after(since, UNKNOWN_GRACE))
            ),
            _ => return Vec::new(),
        },
        (Verdict::False, true) => match &rule.until {
            Some(until) => format!("it holds until this is True: {}", until.source()),
            None => return Vec::new(),
        },
        (Verdict::True, true) | (Verdict::False, false) => return Vec::new(),
    };
    vec![text]
}

#[cfg(test)]
pub mod tests;
