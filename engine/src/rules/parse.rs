//! The parts of a policy, each parsed and checked, and every fault collected.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::action::parse_action;
use super::{Check, Fault, Limits, Recovery, Shapes, Signal, SignalKind, Step, Verify};
use crate::expression::{Condition, ObjectCondition, ObjectScope};
use crate::period::Period;
use crate::policy::{CheckSpec, GuardrailsSpec, NamespacesSpec, RecoverySpec, SignalSpec, StepSpec};

const DEFAULT_TIMEOUT: Period = Period::seconds(300);
const DEFAULT_SETTLE: Period = Period::seconds(60);
const DEFAULT_WITHIN: Period = Period::seconds(300);
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

/// Everything that is wrong so far.
#[derive(Default)]
pub(super) struct Faults(pub(super) Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, field: String, problem: impl Into<String>) {
        self.0.push(Fault { field, problem: problem.into() });
    }

    pub(super) fn condition(&mut self, field: String, source: &str, shapes: &Shapes) -> Option<Condition> {
        Condition::parse(source, shapes).map_err(|error| self.add(field, error.to_string())).ok()
    }

    pub(super) fn object_condition(
        &mut self,
        field: String,
        source: &str,
        scope: ObjectScope,
    ) -> Option<ObjectCondition> {
        ObjectCondition::parse(source, scope).map_err(|error| self.add(field, error.to_string())).ok()
    }
}

pub(super) fn unique<'a>(
    list: &str,
    key: &str,
    names: impl Iterator<Item = &'a String>,
    faults: &mut Faults,
) {
    let mut seen = BTreeSet::new();
    for (at, name) in names.enumerate() {
        if !seen.insert(name) {
            faults.add(
                format!("{list}[{at}].{key}"),
                format!("\"{name}\" is there twice; give each its own {key}"),
            );
        }
    }
}

pub(super) fn parse_signal(signal: &SignalSpec, field: &str, faults: &mut Faults) -> Option<Signal> {
    let kind = match (&signal.nodes, &signal.objects, &signal.workloads) {
        (Some(nodes), None, None) => SignalKind::Nodes { selector: nodes.selector.clone() },
        (None, None, Some(workloads)) => {
            check_namespaces(workloads.namespaces.as_ref(), &format!("{field}.workloads.namespaces"), faults);
            SignalKind::Workloads { scope: Box::new(workloads.clone()) }
        }
        (None, Some(objects), None) => {
            check_namespaces(objects.namespaces.as_ref(), &format!("{field}.objects.namespaces"), faults);
            let healthy = match &objects.healthy {
                Some(text) => Some(faults.object_condition(
                    format!("{field}.objects.healthy"),
                    text,
                    ObjectScope::Object,
                )?),
                None => None,
            };
            SignalKind::Objects { scope: Box::new(objects.clone()), healthy }
        }
        (None, None, None) | (Some(_), _, Some(_)) | (Some(_), Some(_), _) | (_, Some(_), Some(_)) => {
            faults.add(field.to_owned(), "exactly one of nodes, objects and workloads must be set");
            return None;
        }
    };
    Some(Signal { name: signal.name.clone(), expect: signal.expect, kind })
}

pub(super) fn check_namespaces(namespaces: Option<&NamespacesSpec>, field: &str, faults: &mut Faults) {
    if namespaces.is_some_and(|namespaces| namespaces.all != namespaces.names.is_empty()) {
        faults.add(field.to_owned(), "exactly one of all: true and names must be set");
    }
}

pub(super) fn parse_step(step: &StepSpec, field: &str, shapes: &Shapes, faults: &mut Faults) -> Option<Step> {
    let when = step.when.as_ref().map(|when| faults.condition(format!("{field}.when"), when, shapes));
    let verify = step.verify.as_ref().map(|verify| Verify {
        within: verify.within.unwrap_or(DEFAULT_WITHIN).length(),
        checks: verify
            .checks
            .iter()
            .enumerate()
            .filter_map(|(at, check)| {
                parse_check(check, &format!("{field}.verify.checks[{at}]"), shapes, faults)
            })
            .collect(),
    });
    let action = parse_action(&step.action, &format!("{field}.action"), faults)?;
    Some(Step {
        name: step.name.clone(),
        severities: step.severities.clone(),
        when: when.flatten(),
        on_failure: step.on_failure.unwrap_or_default(),
        revert: step.revert.unwrap_or_else(|| action.default_revert()),
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
            faults.add(field.to_owned(), "exactly one of rollout and cel must be set");
            None
        }
    }
}
