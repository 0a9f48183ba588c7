//! The parts of a policy, each parsed and checked, and every fault collected.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::faults::Faults;
use super::{Check, Limits, Recovery, Shapes, Signal, Step, Verify};
use crate::action::{Action, Yields};
use crate::alerts::MOST_SIGNALS;
use crate::expected::{DEFAULT_WITHIN, LONGEST_WITHIN, SHORTEST_WITHIN};
use crate::period::Period;
use crate::policy::{CheckSpec, GuardrailsSpec, OnFailure, RecoverySpec, SignalSpec, StepSpec};
use crate::signal::{Hearing, Pace, SignalKind};

const DEFAULT_TIMEOUT: Period = Period::seconds(300);
const DEFAULT_SETTLE: Period = Period::seconds(60);
const DEFAULT_VERIFY: Period = Period::seconds(300);
const DEFAULT_RETRIES: u8 = 3;
const DEFAULT_RECOVERY: Period = Period::seconds(300);
const DEFAULT_AT_ONCE: u32 = 10;
const DEFAULT_BETWEEN: Period = Period::seconds(60);
const DEFAULT_RELAPSES: u8 = 2;
const DEFAULT_MAX_TARGETS: u32 = 100;
const DEFAULT_MAX_PERCENT: u32 = 100;
const DEFAULT_MAX_INCIDENTS: (u32, Period) = (3, Period::seconds(3600));
const DEFAULT_COOLDOWN: Period = Period::seconds(600);
const DEFAULT_APPROVAL: Period = Period::seconds(3600);

pub(super) fn parse_signal(signal: &SignalSpec, field: &str, faults: &mut Faults) -> Option<Signal> {
    let Some(kind) = SignalKind::parse(signal, field, faults) else {
        faults.is_shapeless(&signal.name);
        return None;
    };
    let pace = Pace::parse(signal, kind.kind().source(), field, faults);
    let hearing = Hearing::parse(signal, kind.kind().source(), field, faults);
    let within = signal.expect_within.unwrap_or(DEFAULT_WITHIN);
    if !(SHORTEST_WITHIN..=LONGEST_WITHIN).contains(&within) {
        let bounds = format!("must be from {SHORTEST_WITHIN} to {LONGEST_WITHIN}");
        faults.add(format!("{field}.expectWithin"), bounds);
    }
    if !kind.kind().shape().expects_objects() {
        let set = [("expect", signal.expect.is_some()), ("expectWithin", signal.expect_within.is_some())];
        for (name, _) in set.into_iter().filter(|(_, is_set)| *is_set) {
            let why = "this kind of signal has no `expected`; remove it";
            faults.add(format!("{field}.{name}"), why);
        }
    }
    Some(Signal {
        name: signal.name.clone(),
        expect: signal.expect,
        expect_within: within.length(),
        pace,
        hearing,
        read_fields: BTreeSet::new(),
        scope: Signal::scope_of(&kind),
        kind,
    })
}

/// Not too many signals may receive alerts.
pub(super) fn check_receivers(signals: &[SignalSpec], faults: &mut Faults) {
    let receives =
        |signal: &SignalSpec| signal.alertmanager.as_ref().is_some_and(|alerts| alerts.receive.is_some());
    let receivers = signals.iter().enumerate().filter(|(_, signal)| receives(signal));
    for (at, _) in receivers.skip(MOST_SIGNALS) {
        let why = format!(
            "at most {MOST_SIGNALS} signals of a policy can receive alerts; let one match more of them"
        );
        faults.add(format!("spec.signals[{at}].alertmanager.receive"), why);
    }
}

pub(super) fn parse_step(step: &StepSpec, field: &str, shapes: &Shapes, faults: &mut Faults) -> Option<Step> {
    let when = step.when.as_ref().map(|when| faults.condition(format!("{field}.when"), when, shapes));
    let verify = step.verify.as_ref().map(|verify| Verify {
        within: verify.within.unwrap_or(DEFAULT_VERIFY).length(),
        checks: verify
            .checks
            .iter()
            .enumerate()
            .filter_map(|(at, check)| {
                parse_check(check, &format!("{field}.verify.checks[{at}]"), shapes, faults)
            })
            .collect(),
    });
    let action = Action::parse(&step.action, &format!("{field}.action"), faults)?;
    if let Yields::Operations(operation) = action.descriptor().yields {
        let why = format!("a {} cannot be undone", operation.name());
        if step.revert.is_some() {
            faults.add(format!("{field}.revert"), format!("{why}, so there is nothing to set here"));
        }
        if step.on_failure == Some(OnFailure::Revert) {
            faults.add(format!("{field}.onFailure"), format!("{why}; use Halt or Continue"));
        }
    }
    Some(Step {
        name: step.name.clone(),
        severities: step.severities.clone(),
        when: when.flatten(),
        on_failure: step.on_failure.unwrap_or_default(),
        revert: step.revert.unwrap_or_else(|| action.descriptor().revert),
        action,
        approval: step.approval.unwrap_or_default(),
        timeout: step.timeout.unwrap_or(DEFAULT_TIMEOUT).length(),
        retries: step.retries.unwrap_or(DEFAULT_RETRIES),
        settle: step.settle.unwrap_or(DEFAULT_SETTLE).length(),
        verify,
        definition: step.clone(),
    })
}

pub(super) fn parse_recovery(spec: &RecoverySpec, shapes: &Shapes, faults: &mut Faults) -> Recovery {
    let when =
        spec.when.as_ref().and_then(|when| faults.condition("spec.recovery.when".to_owned(), when, shapes));
    Recovery {
        for_: spec.for_.unwrap_or(DEFAULT_RECOVERY).length(),
        when,
        max_at_once: spec.max_at_once.unwrap_or(DEFAULT_AT_ONCE).max(1) as usize,
        between: spec.between.unwrap_or(DEFAULT_BETWEEN).length(),
        relapses: spec.relapses.unwrap_or(DEFAULT_RELAPSES),
    }
}

pub(super) fn parse_limits(spec: &GuardrailsSpec) -> Limits {
    let (count, per) =
        spec.max_incidents.map_or(DEFAULT_MAX_INCIDENTS, |incidents| (incidents.count, incidents.per));
    Limits {
        max_targets: spec.max_targets.unwrap_or(DEFAULT_MAX_TARGETS) as usize,
        max_targets_percent: spec.max_targets_percent.unwrap_or(DEFAULT_MAX_PERCENT) as usize,
        max_incidents: count as usize,
        max_incidents_per: per.length(),
        cooldown: spec.cooldown.unwrap_or(DEFAULT_COOLDOWN).length(),
        min_step_interval: spec.min_step_interval.map_or(SignedDuration::ZERO, Period::length),
        suspect_detector_above_percent: spec.suspect_detector_above_percent.filter(|percent| *percent > 0),
        approval_valid_for: spec.approval_valid_for.unwrap_or(DEFAULT_APPROVAL).length(),
    }
}

fn parse_check(check: &CheckSpec, field: &str, shapes: &Shapes, faults: &mut Faults) -> Option<Check> {
    match (&check.rollout, &check.cel) {
        (Some(_), None) => Some(Check::Rollout),
        (None, Some(cel)) => {
            faults.condition(format!("{field}.cel.expression"), &cel.expression, shapes).map(Check::Cel)
        }
        (Some(_), Some(_)) | (None, None) => {
            faults.add(field, "exactly one of rollout and cel must be set");
            None
        }
    }
}
