//! A parsed policy: only what [`Rules::parse`] accepts can be used.

mod faults;
mod parse;

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

pub(crate) use self::faults::Faults;
use self::parse::{check_receivers, parse_limits, parse_recovery, parse_signal, parse_step};
pub use crate::action::{Action, Targets};
use crate::expression::{Condition, FieldKind, SignalShape};
use crate::id::digest;
use crate::period::Period;
use crate::policy::{Mode, OnFailure, PolicySpec, Revert, Severity, StepApproval, StepSpec};
use crate::selector::Namespaces;
use crate::signal::{Hearing, Pace, SignalKind, Source, Watched};
use crate::window::Windows;

/// What is wrong with a policy, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Fault {
    /// The field, such as `spec.severity[0].when`.
    pub field: String,
    /// What is wrong and what to do.
    pub problem: String,
}

/// A valid policy.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rules {
    /// Whether anything may be changed.
    pub mode: Mode,
    /// Whether it starts and opens nothing.
    pub suspend: bool,
    /// The ServiceAccount.
    pub service_account: String,
    /// The signals.
    pub signals: Vec<Signal>,
    /// The severity rules, the most severe first.
    pub severity: Vec<SeverityRule>,
    /// When and how the response is withdrawn.
    pub recovery: Recovery,
    /// The ladder.
    pub steps: Vec<Step>,
    /// The limits of every response.
    pub limits: Limits,
    /// When a step may start without approval.
    pub windows: Windows,
}

/// When and how the response is withdrawn.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recovery {
    /// How long no rule may hold.
    pub for_: SignedDuration,
    /// What must also be true.
    pub when: Option<Condition>,
    /// Objects that are reverted at once, after the first single one.
    pub max_at_once: usize,
    /// How long the rules must stay quiet after each wave.
    pub between: SignedDuration,
    /// How many relapses are allowed.
    pub relapses: u8,
}

/// Limits that bind every step.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// Objects that one step may change.
    pub max_targets: usize,
    /// The share of its scope that one step may change.
    pub max_targets_percent: usize,
    /// Responses that the policy may start automatically...
    pub max_incidents: usize,
    /// ...in this time.
    pub max_incidents_per: SignedDuration,
    /// From the end of one automatic response to the start of the next.
    pub cooldown: SignedDuration,
    /// The minimum time between the starts of two steps.
    pub min_step_interval: SignedDuration,
    /// Above this share of sick objects every step needs approval; none: off.
    pub suspect_detector_above_percent: Option<u32>,
    /// How long an approval is valid.
    pub approval_valid_for: SignedDuration,
}

impl Limits {
    /// The limits that a policy sets, whatever else is wrong with it.
    pub fn of(spec: &PolicySpec) -> Self {
        parse_limits(&spec.guardrails)
    }
}

/// Characters of the digest of a scope.
const SCOPE: usize = 12;

/// One signal.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Signal {
    /// The name in expressions.
    pub name: String,
    /// The expected number of objects.
    pub expect: Option<i64>,
    /// How long the highest number of objects is expected, and how long a new node may take to become ready.
    pub expect_within: SignedDuration,
    /// How often it is asked for; none if nobody is asked.
    pub pace: Option<Pace>,
    /// How long what was sent to it counts; none if nothing is sent to it.
    pub hearing: Option<Hearing>,
    /// What it reads.
    pub kind: SignalKind,
    /// The fields of it that expressions of the policy read.
    pub read_fields: BTreeSet<String>,
    /// Which objects are expected, as a short digest: the same text means the same objects, counted the same way. Empty if
    /// none are.
    pub scope: String,
}

impl Signal {
    /// Whether a number of objects is expected of it, and some may be missing.
    pub fn expects_objects(&self) -> bool {
        !self.scope.is_empty()
    }

    /// The scope of a signal of this kind.
    fn scope_of(kind: &SignalKind) -> String {
        let kind = kind.kind();
        let Source::Watch(watched) = kind.source() else { return String::new() };
        if !kind.shape().expects_objects() {
            return String::new();
        }
        let Watched { api_version, kind: name, names, selector, namespaces } = watched;
        let sorted = |names: &[String]| {
            let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            names.into_iter().collect::<Vec<_>>().join(",")
        };
        let selector = serde_json::to_string(&selector).unwrap_or_default();
        let namespaces = match namespaces {
            Namespaces::Own => "own".to_owned(),
            Namespaces::All => "all".to_owned(),
            Namespaces::Named(names) => format!("of {}", sorted(names)),
        };
        let counted = kind.counted();
        let mut digest = digest(&[counted, api_version, name, &sorted(names), &selector, &namespaces]);
        digest.truncate(SCOPE);
        digest
    }
}

/// One severity rule.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SeverityRule {
    /// The level while it holds.
    pub level: Severity,
    /// Its name.
    pub reason: String,
    /// When it is true.
    pub when: Condition,
    /// How long it must be true before it holds.
    pub for_: SignedDuration,
    /// Once it holds, it keeps holding until this is true.
    pub until: Option<Condition>,
}

impl SeverityRule {
    /// The signals that it reads.
    pub fn reads(&self) -> BTreeSet<&String> {
        self.when.reads().iter().chain(self.until.iter().flat_map(|until| until.reads())).collect()
    }

    /// Whether it reads this field of this signal.
    pub fn reads_field(&self, signal: &str, field: &str) -> bool {
        self.when.reads_field(signal, field)
            || self.until.as_ref().is_some_and(|until| until.reads_field(signal, field))
    }
}

/// One step of the ladder.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// Its name.
    pub name: String,
    /// The levels it is for; empty: all.
    pub severities: Vec<Severity>,
    /// When it may start.
    pub when: Option<Condition>,
    /// What it does.
    pub action: Action,
    /// Whether a person must approve its plan.
    pub approval: StepApproval,
    /// The time for each target until it is Applied or Failed.
    pub timeout: SignedDuration,
    /// The number of retries for each target.
    pub retries: u8,
    /// Without verify: how long to wait for recovery.
    pub settle: SignedDuration,
    /// How to tell that it helped.
    pub verify: Option<Verify>,
    /// What happens to the other targets when one has failed.
    pub on_failure: OnFailure,
    /// When its changes are reverted.
    pub revert: Revert,
    /// As it was written.
    pub definition: StepSpec,
}

impl Step {
    /// Whether the step is for this level.
    pub fn is_for(&self, level: Severity) -> bool {
        self.severities.is_empty() || self.severities.contains(&level)
    }

    /// All expressions over signals.
    fn conditions(&self) -> impl Iterator<Item = &Condition> {
        let checks = self.verify.iter().flat_map(|verify| &verify.checks).filter_map(|check| match check {
            Check::Cel(condition) => Some(condition),
            Check::Rollout | Check::Unreadable(_) => None,
        });
        self.when.iter().chain(checks)
    }

    /// The time that its objects get to become healthy.
    pub fn patience(&self) -> SignedDuration {
        self.verify.as_ref().map_or(self.timeout, |verify| verify.within.max(self.timeout))
    }

    /// The same for a started step, whose `when` is no longer evaluated.
    pub fn as_begun(&self) -> Self {
        Self { when: None, ..self.clone() }
    }

    /// The same step for every object in its scope, whatever `where` says.
    #[must_use]
    pub fn for_all(&self) -> Self {
        Self { action: self.action.clone().for_all(), ..self.clone() }
    }

    /// The objects that it changes.
    pub fn targets(&self) -> &Targets {
        self.action.targets()
    }
}

/// How to verify that a step helped.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Verify {
    /// Within this time of the last Applied.
    pub within: SignedDuration,
    /// All of these must pass.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// The changed workloads have finished rolling out.
    Rollout,
    /// An expression over signals is true.
    Cel(Condition),
    /// An expression of a started step, over signals that the policy no longer has.
    Unreadable(String),
}

/// The fields of a signal, by its name.
pub type Shapes = BTreeMap<String, SignalShape>;

impl Rules {
    /// Parses and checks a policy.
    ///
    /// # Errors
    /// Everything that is wrong with it, not only the first fault.
    pub fn parse(spec: &PolicySpec) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::default();
        faults.check_unique("spec.signals", "name", spec.signals.iter().map(|signal| &signal.name));
        faults.check_unique("spec.severity", "reason", spec.severity.iter().map(|rule| &rule.reason));
        faults.check_unique("spec.steps", "name", spec.steps.iter().map(|step| &step.name));
        let signals: Vec<Signal> = spec
            .signals
            .iter()
            .enumerate()
            .filter_map(|(at, signal)| parse_signal(signal, &format!("spec.signals[{at}]"), &mut faults))
            .collect();
        check_receivers(&spec.signals, &mut faults);
        let shapes = shapes(&signals);
        let mut severity = Vec::new();
        for (at, rule) in spec.severity.iter().enumerate() {
            let field = format!("spec.severity[{at}]");
            let until =
                rule.until.as_ref().map(|until| faults.condition(format!("{field}.until"), until, &shapes));
            let Some(when) = faults.condition(format!("{field}.when"), &rule.when, &shapes) else { continue };
            severity.push(SeverityRule {
                level: rule.level,
                reason: rule.reason.clone(),
                when,
                for_: rule.for_.map_or(SignedDuration::ZERO, Period::length),
                until: until.flatten(),
            });
        }
        severity.sort_by_key(|rule| rule.level);
        let recovery = parse_recovery(&spec.recovery, &shapes, &mut faults);
        let steps = spec
            .steps
            .iter()
            .enumerate()
            .filter_map(|(at, step)| parse_step(step, &format!("spec.steps[{at}]"), &shapes, &mut faults))
            .collect();
        let windows = Windows::parse(&spec.guardrails.windows, "spec.guardrails.windows", &mut faults);
        let mut rules = Self {
            mode: spec.mode,
            suspend: spec.suspend,
            service_account: spec.service_account_name.clone(),
            signals,
            severity,
            recovery,
            steps,
            limits: Limits::of(spec),
            windows,
        };
        rules.note_read_fields();
        faults.or(rules)
    }

    /// Tells each signal which of its fields are read.
    fn note_read_fields(&mut self) {
        let read: BTreeSet<(String, String)> = self.conditions().flat_map(Condition::fields).collect();
        for signal in &mut self.signals {
            let of_signal = read.iter().filter(|(name, _)| *name == signal.name);
            signal.read_fields = of_signal.map(|(_, field)| field.clone()).collect();
        }
    }

    /// All expressions over signals.
    fn conditions(&self) -> impl Iterator<Item = &Condition> {
        let rules = self.severity.iter().flat_map(|rule| [Some(&rule.when), rule.until.as_ref()]);
        let steps = self.steps.iter().flat_map(Step::conditions);
        rules.flatten().chain(&self.recovery.when).chain(steps)
    }

    /// The same policy with steps for every object in their scope, whatever `where` says.
    #[must_use]
    pub fn for_all(&self) -> Self {
        Self { steps: self.steps.iter().map(Step::for_all).collect(), ..self.clone() }
    }

    /// The fields of the declared signals.
    pub fn shapes(&self) -> Shapes {
        shapes(&self.signals)
    }
}

fn shapes(signals: &[Signal]) -> Shapes {
    let shape = |signal: &Signal| {
        let mut shape = signal.kind.kind().shape();
        shape.fields.insert(SignalShape::KNOWN, FieldKind::Boolean);
        (signal.name.clone(), shape)
    };
    signals.iter().map(shape).collect()
}

/// A started step, from the Incident's own status. Its expressions were
/// accepted once; one that reads a signal that no longer exists can only be Unknown.
pub fn begun_step(definition: &StepSpec, shapes: &Shapes) -> Option<Step> {
    let mut forgotten = Faults::default();
    let mut plain = definition.clone();
    plain.when = None;
    let checks = plain.verify.as_mut().map(|verify| std::mem::take(&mut verify.checks)).unwrap_or_default();
    let mut step = parse_step(&plain, "", shapes, &mut forgotten)?;
    if let Some(verify) = &mut step.verify {
        verify.checks = checks
            .iter()
            .map(|check| match &check.cel {
                None => Check::Rollout,
                Some(cel) => match Condition::parse(&cel.expression, shapes) {
                    Ok(condition) => Check::Cel(condition),
                    Err(error) => Check::Unreadable(error.to_string()),
                },
            })
            .collect();
    }
    step.definition = definition.clone();
    Some(step)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_begun_step_is_the_same_from_the_policy_and_from_its_own_definition() {
        let targets =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "where": "object.spec.replicas > 1"});
        let spec = json!({
            "signals": [{"name": "nodes", "nodes": {}}],
            "steps": [{
                "name": "fallback", "when": "signals.nodes.ready == 0", "action": {"cpuFallback": {"targets": targets}},
                "verify": {"checks": [{"rollout": {}}, {"cel": {"expression": "signals.nodes.ready > 0"}}]},
            }],
        });
        let rules = Rules::parse(&serde_json::from_value(spec).unwrap()).unwrap();
        let step = &rules.steps[0];
        assert_eq!(begun_step(&step.definition, &rules.shapes()), Some(step.as_begun()));
        assert!(step.when.is_some());
        let for_all = rules.for_all().steps.remove(0);
        assert_eq!(for_all.targets().where_.source(), "true");
        assert_eq!(for_all.targets().scope, step.targets().scope);
    }
}
