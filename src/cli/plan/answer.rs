//! The plan, as data and as lines for people.

use std::collections::BTreeMap;

use firebreak_engine::change::{Change, ChangeState, FieldChange, OperationType};
use firebreak_engine::decide::Decision;
use firebreak_engine::id::TargetId;
use firebreak_engine::incident::{RuleStatus, SignalState, SignalStatus, StepStatus};
use firebreak_engine::policy::{Mode, Severity};
use firebreak_engine::reason::Reason;
use firebreak_engine::rules::Rules;
use firebreak_engine::verdict::Verdict;
use firebreak_engine::why::WhyNot;
use kube::ResourceExt;
use serde::Serialize;

use crate::api::RemediationPolicy;
use crate::cli::screen::{Line, Style};
use crate::cli::tree::field_line;
use crate::view::FieldView;

/// What the listings of the steps show, besides their targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    /// By step and uid of an owner: the objects instead of which it is changed.
    pub resolved: BTreeMap<(String, String), Vec<TargetId>>,
    /// By step: the names among its targets that no object has.
    pub absent: BTreeMap<String, Vec<String>>,
}

/// What a policy would do now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    policy: About,
    /// The present readings of the signals.
    signals: Vec<PlannedSignal>,
    /// The present state of the rules.
    rules: Vec<RuleStatus>,
    /// The level that holds now; none when no rule holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<Severity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity_reason: Option<String>,
    /// What is assumed where no rule holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    assumption: Option<String>,
    steps: Vec<PlannedStep>,
}

/// The policy, and the account that reads for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    namespace: String,
    name: String,
    mode: Mode,
    suspend: bool,
    read_as: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_incident: Option<String>,
    /// What keeps the policy in the cluster from responding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// That the brake is engaged, or that it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brake: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct PlannedSignal {
    #[serde(flatten)]
    status: SignalStatus,
    /// What may be wrong with a signal that has values.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlannedStep {
    name: String,
    action: &'static str,
    matched: u32,
    nothing_to_do: u32,
    /// The names among its targets that no object has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    absent: Vec<String>,
    changes: Vec<PlannedChange>,
    not_done: Vec<NotDone>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlannedChange {
    target: TargetId,
    /// The objects that the step selects and that the target owns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    in_place_of: Vec<TargetId>,
    fields: Vec<FieldChange>,
    /// The operation on it, which cannot be undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<OperationType>,
    /// What people must know about a tool that applies it, and what may keep the change from having an effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct NotDone {
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<TargetId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    in_place_of: Vec<TargetId>,
    reason: Reason,
    message: String,
}

impl About {
    /// A policy that nothing keeps from responding.
    pub fn new(namespace: &str, policy: &RemediationPolicy, read_as: &str) -> Self {
        let active = policy.status.as_ref().and_then(|status| status.state.active_incident.as_ref());
        Self {
            namespace: namespace.to_owned(),
            name: policy.name_any(),
            mode: policy.spec.policy.mode,
            suspend: policy.spec.policy.suspend,
            read_as: read_as.to_owned(),
            open_incident: active.map(|active| active.name.clone()),
            problem: None,
            brake: None,
        }
    }
}

impl Plan {
    /// The plan that a decision has produced. `now` is the present state, `then` has the plan: another state if
    /// something had to be assumed.
    pub fn new(
        policy: About,
        rules: &Rules,
        now: &Decision,
        then: &Decision,
        listed: &Listed,
        hints: &BTreeMap<String, String>,
        assumption: Option<String>,
    ) -> Self {
        let signal = |status: &SignalStatus| PlannedSignal {
            status: status.clone(),
            hint: hints.get(&status.name).cloned(),
        };
        let action = |name: &str| {
            let step = rules.steps.iter().find(|step| step.name == name);
            step.map_or("", |step| step.action.name())
        };
        Self {
            policy,
            signals: now.next.signals.iter().map(signal).collect(),
            rules: now.next.rules.clone(),
            severity: now.next.severity,
            severity_reason: now.next.severity_reason.clone(),
            assumption,
            steps: then
                .next
                .steps
                .iter()
                .map(|step| planned(step, action(&step.name), then, listed))
                .collect(),
        }
    }

    /// The plan for people.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = self.policy.lines();
        lines.push(Line::styled(Style::Strong, "Signals"));
        lines.extend(self.signals.iter().flat_map(signal_lines));
        lines.push(Line::styled(Style::Strong, "Rules"));
        lines.extend(self.rules.iter().map(rule_line));
        match (&self.assumption, self.severity) {
            (Some(assumption), _) => lines.push(Line::styled(Style::Busy, assumption)),
            (None, Some(level)) => {
                let reason = self.severity_reason.as_deref().unwrap_or_default();
                lines.push(Line::styled(Style::Bad, format!("{level} {reason} holds")));
            }
            (None, None) => {}
        }
        for step in &self.steps {
            step.lines(&mut lines);
        }
        lines.push(Line::styled(Style::Faint, "This is a plan: nothing was changed."));
        lines
    }
}

fn planned(step: &StepStatus, action: &'static str, decision: &Decision, listed: &Listed) -> PlannedStep {
    let in_place_of = |target: &TargetId| {
        listed.resolved.get(&(step.name.clone(), target.uid.clone())).cloned().unwrap_or_default()
    };
    let is_planned = |change: &&Change| change.state == ChangeState::Planned;
    // It is obvious that a plan changes nothing.
    let warns = |reason: &Reason| matches!(reason, Reason::GitOpsWarning | Reason::MayHaveNoEffect);
    let about_it =
        |why: &&WhyNot| why.step == step.name && why.reason != Reason::Observe && !warns(&why.reason);
    let warnings = |target: &TargetId| -> Vec<String> {
        let of_step = decision.why.iter().filter(|why| why.step == step.name && warns(&why.reason));
        let is_it = |why: &&WhyNot| why.target.as_ref() == Some(target);
        of_step.filter(is_it).map(|why| why.message.clone()).collect()
    };
    PlannedStep {
        name: step.name.clone(),
        action,
        matched: step.targets.matched,
        nothing_to_do: step.targets.nothing_to_do,
        absent: listed.absent.get(&step.name).cloned().unwrap_or_default(),
        changes: decision
            .next
            .changes_of(&step.name)
            .filter(is_planned)
            .map(|change| PlannedChange {
                target: change.target.clone(),
                in_place_of: in_place_of(&change.target),
                fields: change.fields().to_vec(),
                operation: change.as_operation().map(|operation| operation.operation),
                warnings: warnings(&change.target),
            })
            .collect(),
        not_done: decision
            .why
            .iter()
            .filter(about_it)
            .map(|why| NotDone {
                target: why.target.clone(),
                in_place_of: why.target.as_ref().map(in_place_of).unwrap_or_default(),
                reason: why.reason.clone(),
                message: why.message.clone(),
            })
            .collect(),
    }
}

impl About {
    fn lines(&self) -> Vec<Line> {
        let mut lines = vec![
            Line::of("Policy ")
                .add(Style::Strong, format!("{}/{}", self.namespace, self.name))
                .and(format!(", {:?}, read as {}", self.mode, self.read_as)),
        ];
        let problems = self.problem.iter().chain(&self.brake);
        lines.extend(problems.map(|why| Line::of("  ").add(Style::Bad, why)));
        if self.suspend {
            lines.push(Line::styled(Style::Busy, "  It is suspended, so it would do none of this."));
        }
        if self.mode == Mode::Observe {
            lines.push(Line::of("  It is in Observe: it would publish this plan and change nothing."));
        }
        if let Some(incident) = &self.open_incident {
            lines.push(Line::styled(
                Style::Busy,
                format!(
                    "  Incident {incident} is open: `firebreak describe {incident} -n {}` shows what it has \
                        done. This is the plan of a new one",
                    self.namespace
                ),
            ));
        }
        lines
    }
}

fn signal_lines(PlannedSignal { status, hint }: &PlannedSignal) -> Vec<Line> {
    let style = match status.state {
        SignalState::Known => Style::Plain,
        SignalState::Unknown => Style::Bad,
    };
    let line = Line::of(format!("  {}  ", status.name))
        .add(style, format!("{:?}", status.state))
        .and(format!("  {}", status.summary));
    let hint = hint.iter().map(|hint| Line::of("    ").add(Style::Busy, hint));
    std::iter::once(line).chain(hint).collect()
}

fn rule_line(rule: &RuleStatus) -> Line {
    let style = match rule.truth {
        Verdict::True | Verdict::Unknown => Style::Bad,
        Verdict::False => Style::Plain,
    };
    let holds = if rule.holds { ", holds" } else { "" };
    Line::of(format!("  {} {}  ", rule.level, rule.reason))
        .add(style, format!("{:?}{holds}", rule.truth))
        .add(Style::Faint, format!("  {}", rule.evidence))
}

impl PlannedStep {
    fn lines(&self, lines: &mut Vec<Line>) {
        let summary = format!(
            "  {}: {} to change, {} matched, {} with nothing to do",
            self.action,
            self.changes.len(),
            self.matched,
            self.nothing_to_do
        );
        lines.push(Line::of("Step ").add(Style::Strong, &self.name).and(summary));
        for why in self.not_done.iter().filter(|why| why.target.is_none()) {
            lines.push(
                Line::of("  ")
                    .add(Style::Busy, format!("not now: {}", why.reason))
                    .and(format!(": {}", why.message)),
            );
        }
        // Why there are no targets names them, too.
        let is_said = self.not_done.iter().any(|why| why.reason == Reason::NoTargets);
        if !self.absent.is_empty() && !is_said {
            let names = self.absent.join(", ");
            lines.push(Line::of("  ").add(Style::Busy, format!("no object in scope is named {names}")));
        }
        for change in &self.changes {
            lines.push(Line::of(format!("  {}{}", change.target, owned(&change.in_place_of))));
            lines.extend(
                change.fields.iter().map(|field| Line::of("    ").join(field_line(&FieldView::of(field)))),
            );
            let operation = |operation: OperationType| {
                Line::of(format!("    {}  ", operation.name())).add(Style::Busy, "cannot be undone")
            };
            lines.extend(change.operation.map(operation));
            let warnings = change.warnings.iter();
            lines.extend(warnings.map(|text| Line::of("    ").add(Style::Busy, format!("warning: {text}"))));
        }
        for why in &self.not_done {
            let Some(target) = &why.target else { continue };
            lines.push(
                Line::of(format!("  {target}{}  ", owned(&why.in_place_of)))
                    .add(Style::Faint, format!("left alone: {}: {}", why.reason, why.message)),
            );
        }
    }
}

/// After the name of an owner: the objects instead of which it is changed.
fn owned(in_place_of: &[TargetId]) -> String {
    match in_place_of {
        [] => String::new(),
        [one] => format!(", instead of {one}, which it owns"),
        [first, rest @ ..] => format!(", instead of {first} and {} more, which it owns", rest.len()),
    }
}

#[cfg(test)]
mod tests;
