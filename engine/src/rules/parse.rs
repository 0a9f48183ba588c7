//! The parts of a policy, each parsed and checked, and every fault collected.

use std::collections::BTreeSet;

use super::{Action, Check, Fault, Shapes, Signal, SignalKind, Step, Targets, Verify};
use crate::expression::{Condition, ObjectCondition, ObjectScope};
use crate::period::Period;
use crate::policy::{ActionSpec, CheckSpec, NamespacesSpec, SignalSpec, StepSpec};

const DEFAULT_TIMEOUT: Period = Period::seconds(300);
const DEFAULT_SETTLE: Period = Period::seconds(60);
const DEFAULT_WITHIN: Period = Period::seconds(300);
const DEFAULT_RETRIES: u8 = 3;

/// Everything that is wrong so far.
#[derive(Default)]
pub(super) struct Faults(pub(super) Vec<Fault>);

impl Faults {
    fn add(&mut self, field: String, problem: impl Into<String>) {
        self.0.push(Fault { field, problem: problem.into() });
    }

    pub(super) fn condition(&mut self, field: String, source: &str, shapes: &Shapes) -> Option<Condition> {
        Condition::parse(source, shapes).map_err(|error| self.add(field, error.to_string())).ok()
    }

    fn object_condition(
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
    let kind = match (&signal.nodes, &signal.objects) {
        (Some(nodes), None) => SignalKind::Nodes { selector: nodes.selector.clone() },
        (None, Some(objects)) => {
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
        (Some(_), Some(_)) | (None, None) => {
            faults.add(field.to_owned(), "exactly one of nodes and objects must be set");
            return None;
        }
    };
    Some(Signal { name: signal.name.clone(), expect: signal.expect, kind })
}

fn check_namespaces(namespaces: Option<&NamespacesSpec>, field: &str, faults: &mut Faults) {
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
    Some(Step {
        name: step.name.clone(),
        severities: step.severities.clone(),
        when: when.flatten(),
        action: parse_action(&step.action, &format!("{field}.action"), faults)?,
        timeout: step.timeout.unwrap_or(DEFAULT_TIMEOUT).length(),
        retries: step.retries.unwrap_or(DEFAULT_RETRIES),
        settle: step.settle.unwrap_or(DEFAULT_SETTLE).length(),
        verify,
        definition: step.clone(),
    })
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

fn parse_action(action: &ActionSpec, field: &str, faults: &mut Faults) -> Option<Action> {
    let Some(fallback) = &action.cpu_fallback else {
        faults.add(field.to_owned(), "exactly one action must be set; this release has cpuFallback");
        return None;
    };
    let targets = &fallback.targets;
    let field = format!("{field}.cpuFallback.targets");
    check_namespaces(targets.namespaces.as_ref(), &format!("{field}.namespaces"), faults);
    // Moving healthy models would be the second half of the outage.
    let where_ = targets.where_.as_deref().unwrap_or("!healthy");
    Some(Action::CpuFallback {
        targets: Targets {
            scope: targets.clone(),
            where_: faults.object_condition(
                format!("{field}.where"),
                where_,
                ObjectScope::ObjectAndHealthy,
            )?,
        },
        quantization: fallback.quantization.clone(),
        placement: fallback.placement,
    })
}
