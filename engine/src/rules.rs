//! A parsed policy: what [`Rules::parse`] accepts, and nothing else, can be used.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use crate::expression::{Condition, FieldKind, ObjectCondition, ObjectScope, SignalShape};
use crate::period::Period;
use crate::policy::{
    ActionSpec, CheckSpec, LabelSelector, Mode, NamespacesSpec, ObjectsSpec, Placement, PolicySpec, Severity,
    SignalSpec, StepSpec, TargetsSpec,
};

const DEFAULT_RECOVERY: Period = Period::seconds(300);
const DEFAULT_TIMEOUT: Period = Period::seconds(300);
const DEFAULT_SETTLE: Period = Period::seconds(60);
const DEFAULT_WITHIN: Period = Period::seconds(300);
const DEFAULT_RETRIES: u8 = 3;
const DEFAULT_MAX_TARGETS: u32 = 100;

/// What is wrong with a policy, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Fault {
    /// The field, such as `spec.severity[0].when`.
    pub field: String,
    /// What is wrong and what to do.
    pub problem: String,
}

/// A policy that makes sense.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rules {
    /// Whether anything may be changed.
    pub mode: Mode,
    /// Start and open nothing.
    pub suspend: bool,
    /// The ServiceAccount.
    pub service_account: String,
    /// What is watched.
    pub signals: Vec<Signal>,
    /// The severity rules, the most severe first.
    pub severity: Vec<SeverityRule>,
    /// How long no rule may hold.
    pub recovery_for: SignedDuration,
    /// What must be true besides.
    pub recovery_when: Option<Condition>,
    /// The ladder.
    pub steps: Vec<Step>,
    /// Objects that one step may change.
    pub max_targets: usize,
}

/// One thing that is watched.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Signal {
    /// The name in expressions.
    pub name: String,
    /// How many there should be.
    pub expect: Option<i64>,
    /// What is watched.
    pub kind: SignalKind,
}

/// What a signal watches.
#[derive(Clone, Debug, PartialEq)]
pub enum SignalKind {
    /// Nodes.
    Nodes {
        /// Which.
        selector: Option<LabelSelector>,
    },
    /// Objects of a kind.
    Objects {
        /// Which.
        scope: Box<ObjectsSpec>,
        /// What makes one healthy; none: as the profile of the kind says.
        healthy: Option<ObjectCondition>,
    },
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
    /// Once it holds, it holds until this.
    pub until: Option<Condition>,
}

impl SeverityRule {
    /// The signals that it reads.
    pub fn reads(&self) -> BTreeSet<&String> {
        self.when.reads().iter().chain(self.until.iter().flat_map(|until| until.reads())).collect()
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
    /// Per target, until it is Applied or Failed.
    pub timeout: SignedDuration,
    /// New tries of a target.
    pub retries: u8,
    /// Without verify: how long to wait for recovery.
    pub settle: SignedDuration,
    /// How to tell that it helped.
    pub verify: Option<Verify>,
    /// As it was written.
    pub definition: StepSpec,
}

impl Step {
    /// Whether the step is for this level.
    pub fn is_for(&self, level: Severity) -> bool {
        self.severities.is_empty() || self.severities.contains(&level)
    }

    /// The objects that it changes.
    pub fn targets(&self) -> &Targets {
        match &self.action {
            Action::CpuFallback { targets, .. } => targets,
        }
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Let workloads run without accelerators.
    CpuFallback {
        /// Which objects.
        targets: Targets,
        /// The quantization to fall back to.
        quantization: Option<String>,
        /// Whether placement is released.
        placement: Placement,
    },
}

impl Action {
    /// The name, as in the API and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CpuFallback { .. } => "cpuFallback",
        }
    }
}

/// Which objects a step changes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Targets {
    /// As it was written.
    pub scope: TargetsSpec,
    /// The condition on each object, the action's default included.
    pub where_: ObjectCondition,
}

/// How to tell that a step helped.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Verify {
    /// Within this time of the last Applied.
    pub within: SignedDuration,
    /// All of these.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// The changed workloads finished rolling out.
    Rollout,
    /// An expression over signals is true.
    Cel(Condition),
    /// An expression of a step that began, over signals that the policy has no longer.
    Unreadable(String),
}

/// The fields of a signal, by its name.
pub type Shapes = BTreeMap<String, SignalShape>;

impl Rules {
    /// Parses and checks a policy.
    ///
    /// # Errors
    /// Everything that is wrong with it, not only the first thing.
    pub fn parse(spec: &PolicySpec) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::default();
        unique("spec.signals", "name", spec.signals.iter().map(|signal| &signal.name), &mut faults);
        unique("spec.severity", "reason", spec.severity.iter().map(|rule| &rule.reason), &mut faults);
        unique("spec.steps", "name", spec.steps.iter().map(|step| &step.name), &mut faults);
        let signals: Vec<Signal> = spec
            .signals
            .iter()
            .enumerate()
            .filter_map(|(at, signal)| parse_signal(signal, &format!("spec.signals[{at}]"), &mut faults))
            .collect();
        let shapes: Shapes = spec.signals.iter().map(|signal| (signal.name.clone(), shape(signal))).collect();
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
        let recovery_when = spec
            .recovery
            .when
            .as_ref()
            .and_then(|when| faults.condition("spec.recovery.when".to_owned(), when, &shapes));
        let steps = spec
            .steps
            .iter()
            .enumerate()
            .filter_map(|(at, step)| parse_step(step, &format!("spec.steps[{at}]"), &shapes, &mut faults))
            .collect();
        let rules = Self {
            mode: spec.mode,
            suspend: spec.suspend,
            service_account: spec.service_account_name.clone(),
            signals,
            severity,
            recovery_for: spec.recovery.for_.unwrap_or(DEFAULT_RECOVERY).length(),
            recovery_when,
            steps,
            max_targets: spec.guardrails.max_targets.unwrap_or(DEFAULT_MAX_TARGETS) as usize,
        };
        if faults.0.is_empty() { Ok(rules) } else { Err(faults.0) }
    }

    /// The fields of the declared signals.
    pub fn shapes(&self) -> Shapes {
        self.signals
            .iter()
            .map(|signal| {
                let shape = match signal.kind {
                    SignalKind::Nodes { .. } => nodes_shape(),
                    SignalKind::Objects { .. } => objects_shape(),
                };
                (signal.name.clone(), shape)
            })
            .collect()
    }
}

/// A step that has begun, from the Incident's own status. Its expressions were
/// accepted once; one that reads a signal that is gone can only be Unknown.
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

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, field: String, problem: impl Into<String>) {
        self.0.push(Fault { field, problem: problem.into() });
    }

    fn condition(&mut self, field: String, source: &str, shapes: &Shapes) -> Option<Condition> {
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

fn unique<'a>(list: &str, key: &str, names: impl Iterator<Item = &'a String>, faults: &mut Faults) {
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

fn parse_signal(signal: &SignalSpec, field: &str, faults: &mut Faults) -> Option<Signal> {
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

fn parse_step(step: &StepSpec, field: &str, shapes: &Shapes, faults: &mut Faults) -> Option<Step> {
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

fn shape(signal: &SignalSpec) -> SignalShape {
    if signal.nodes.is_some() { nodes_shape() } else { objects_shape() }
}

/// The fields of a `nodes` signal.
fn nodes_shape() -> SignalShape {
    let ints = [
        "total",
        "expected",
        "missing",
        "ready",
        "notReady",
        "schedulable",
        "memoryPressure",
        "diskPressure",
        "pidPressure",
    ];
    let mut fields: BTreeMap<&'static str, FieldKind> =
        ints.into_iter().map(|name| (name, FieldKind::Int)).collect();
    fields.insert("readyRatio", FieldKind::Double);
    fields.insert("allocatable", FieldKind::IntMap);
    SignalShape { fields }
}

/// The fields of an `objects` signal.
fn objects_shape() -> SignalShape {
    let ints = ["total", "expected", "missing", "healthy", "unhealthy"];
    let mut fields: BTreeMap<&'static str, FieldKind> =
        ints.into_iter().map(|name| (name, FieldKind::Int)).collect();
    fields.insert("healthyRatio", FieldKind::Double);
    SignalShape { fields }
}
