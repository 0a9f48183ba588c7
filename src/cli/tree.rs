//! One Incident as a tree: its state, its steps, their targets, and its timeline.

use firebreak_engine::incident::{ApprovalState, StepState};
use firebreak_engine::reason::Reason;
use firebreak_engine::verdict::Verdict;
use jiff::Timestamp;

use super::screen::{Line, Style};
use super::time::{age, clock};
use crate::api::Response;
use crate::view::{ChangeView, FieldView, IncidentView, RuleView, StepView, TimelineView, Tone};

/// How much is shown.
#[derive(Clone, Copy, Debug)]
pub struct Detail {
    /// Every field of every change.
    pub fields: bool,
    /// This many of the newest entries of the timeline.
    pub timeline: usize,
}

/// The Incident as lines.
pub fn tree(incident: &IncidentView, detail: Detail, now: Timestamp) -> Vec<Line> {
    let mut lines = head(incident, now);
    if !incident.is_observed {
        lines.push(Line::of("  no operator has picked it up yet; check that the operator is running"));
        return lines;
    }
    if !incident.rules.is_empty() {
        lines.push(Line::styled(Style::Strong, "Rules"));
    }
    lines.extend(incident.rules.iter().map(|rule| rule_line(rule, now)));
    lines.extend(incident.common.iter().map(|common| Line::of(format!("  {common}")).whole()));
    if !incident.steps.is_empty() {
        lines.push(Line::styled(Style::Strong, "Steps"));
    }
    for (at, step) in incident.steps.iter().enumerate() {
        let place = if at + 1 == incident.steps.len() { Place::Last } else { Place::Before };
        step_lines(&mut lines, incident, step, place, detail, now);
    }
    let entries = &incident.timeline[incident.timeline.len().saturating_sub(detail.timeline)..];
    if !entries.is_empty() {
        lines.push(Line::styled(Style::Strong, "Timeline"));
    }
    lines.extend(entries.iter().map(|entry| Line::of("  ").join(happened(entry, now))));
    lines
}

/// One step alone, with every field.
pub fn step(incident: &IncidentView, name: &str, now: Timestamp) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(step) = incident.steps.iter().find(|step| step.name == name) {
        let detail = Detail { fields: true, timeline: 0 };
        step_lines(&mut lines, incident, step, Place::Last, detail, now);
    }
    lines
}

/// One entry of the timeline.
pub fn happened(entry: &TimelineView, now: Timestamp) -> Line {
    Line::styled(Style::Faint, format!("{}  ", clock(entry.at, now)))
        .add(Tone::of_event(&entry.type_).into(), format!("{:<18} ", entry.type_))
        .and(&entry.message)
}

/// Which Incident it is, and its phase.
pub fn title(incident: &IncidentView) -> Line {
    named(incident).add(incident.tone().into(), incident.phase.name())
}

fn named(incident: &IncidentView) -> Line {
    let name = format!("{}/{}", incident.namespace, incident.name);
    Line::of("Incident ").add(Style::Strong, name).and("  ")
}

fn head(incident: &IncidentView, now: Timestamp) -> Vec<Line> {
    let mut title = named(incident);
    title = match (incident.severity, incident.worst_severity.filter(|_| incident.is_closed())) {
        (_, Some(worst)) => title.and(format!("{worst} at its worst  ")),
        (Some(level), None) => {
            title.and(format!("{level} {}  ", incident.severity_reason.as_deref().unwrap_or_default()))
        }
        (None, None) => title,
    };
    title = title.add(incident.tone().into(), incident.phase.name());
    let mut lines = if incident.is_closed() {
        let closing = Line::of(format!("  {}", incident.next)).whole();
        vec![title.and("  ").add(Style::Strong, "CLOSED"), closing]
    } else {
        vec![title]
    };
    lines.extend(incident.summary.as_ref().map(|summary| Line::of(format!("  {summary}"))));
    lines.push(Line::of(match (&incident.policy, &incident.policy_name) {
        (Some(policy), _) => {
            let account = &policy.service_account;
            format!("  policy {}, generation {}, as ServiceAccount {account}", policy.name, policy.generation)
        }
        (None, Some(name)) => format!("  policy {name}"),
        (None, None) => "  no policy yet".to_owned(),
    }));
    let problem = incident.policy_problem.iter();
    lines.extend(problem.map(|why| Line::of("  ").add(Style::Bad, why).whole()));
    let moments = [
        ("opened", incident.opened_at),
        (if incident.has_taken_effect { "first change" } else { "first attempt" }, incident.first_action_at),
        ("mitigated", incident.mitigated_at),
        ("closed", incident.resolved_at),
    ];
    let moments: Vec<String> = moments
        .into_iter()
        .filter_map(|(what, at)| at.map(|at| format!("{what} {} ago", age(at, now))))
        .collect();
    if !moments.is_empty() {
        lines.push(Line::of(format!("  {}", moments.join(", "))));
    }
    lines.extend(people(incident, now));
    let said = incident.needs.as_ref().map(|need| &need.message);
    if incident.is_observed && said != Some(&incident.message) {
        lines.push(Line::of(format!("  {}", incident.message)).whole());
    }
    if let Some(need) = &incident.needs {
        lines.push(Line::of("  ").add(need.tone.into(), &need.headline));
        lines.push(Line::of(format!("  {}", need.message)).whole());
    }
    if let Some(report) = &incident.report {
        let problem = report.problem.as_deref().unwrap_or_default();
        lines.push(match report.name.as_str() {
            "" => Line::of("  ").add(Style::Bad, format!("no report: {problem}")),
            name => Line::of(format!("  report in ConfigMap {name}  ")).add(Style::Bad, problem),
        });
    }
    lines
}

fn rule_line(rule: &RuleView, now: Timestamp) -> Line {
    let since = rule.since.map(|since| format!(" for {}", age(since, now))).unwrap_or_default();
    let holds = if rule.holds { ", holds" } else { "" };
    let style = if rule.truth == Verdict::Unknown { Style::Bad } else { Style::Plain };
    Line::of(format!("  {} {}  ", rule.level, rule.reason))
        .add(style, format!("{:?}{since}{holds}", rule.truth))
        .add(Style::Faint, format!("  {}", rule.evidence))
}

/// The decisions of people, and who made them.
fn people(incident: &IncidentView, now: Timestamp) -> Vec<Line> {
    let mut lines = Vec::new();
    if incident.response != Response::Active || incident.response_by.is_some() {
        lines.push(response(incident, "  "));
    }
    if let Some(who) = &incident.acknowledged_by {
        let at = incident.acknowledged_at.map(|at| format!(" {} ago", age(at, now))).unwrap_or_default();
        lines.push(Line::of("  acknowledged by ").add(Style::Good, who).and(at));
    }
    lines
}

/// The response that a person wants, and who set it.
pub fn response(incident: &IncidentView, indent: &str) -> Line {
    let by = incident.response_by.as_ref().map(|by| format!(", set by {by}")).unwrap_or_default();
    Line::of(format!("{indent}response {:?}{by}", incident.response))
}

/// The position of a branch in the tree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Other branches follow.
    Before,
    /// It is the last one.
    Last,
}

impl Place {
    /// The strokes before the branch, and before the lines below it.
    fn strokes(self) -> (&'static str, &'static str) {
        match self {
            Self::Before => ("├─ ", "│  "),
            Self::Last => ("└─ ", "   "),
        }
    }
}

fn step_lines(
    lines: &mut Vec<Line>,
    incident: &IncidentView,
    step: &StepView,
    place: Place,
    detail: Detail,
    now: Timestamp,
) {
    let (branch, trunk) = place.strokes();
    let mut line = Line::of(branch)
        .add(Style::Strong, &step.name)
        .and("  ")
        .add(Tone::of_step(step.state).into(), format!("{:?}", step.state));
    if step.targets.matched > 0 {
        line = line.and(format!("  {}", counts(step)));
    }
    if let Some(reason) = &step.reason {
        line = line.and(format!("  {reason}"));
    }
    // The head already says why the whole Incident needs a person.
    let said = incident.needs.as_ref().map(|need| &need.message);
    if let Some(message) = step.message.as_ref().filter(|message| Some(*message) != said) {
        line = line.add(Style::Faint, format!("  {message}"));
    }
    lines.push(line);
    let changes: Vec<&ChangeView> = incident.changes_of(&step.name).collect();
    let spared = if detail.fields { spared_lines(step) } else { Vec::new() };
    let twigs = changes.len() + spared.len();
    let place = |at: usize| if at + 1 == twigs { Place::Last } else { Place::Before };
    let below = if twigs == 0 { Place::Last } else { Place::Before }.strokes().1;
    lines.extend(approval_lines(step, now).map(|line| Line::of(format!("{trunk}{below}")).join(line)));
    // A plan that waits for approval is shown in full.
    let fields = detail.fields || step.state == StepState::AwaitingApproval;
    for (at, change) in changes.iter().enumerate() {
        let (twig, below) = place(at).strokes();
        lines.push(Line::of(format!("{trunk}{twig}")).join(change_line(change)));
        if fields {
            let field = |field| Line::of(format!("{trunk}{below}    ")).join(field_line(field));
            lines.extend(change.fields.iter().map(field));
        }
        let operation = |change| Line::of(format!("{trunk}{below}    ")).join(change_line(change));
        lines.extend(incident.on_behalf_of(change).map(operation));
    }
    for (at, line) in spared.into_iter().enumerate() {
        lines.push(Line::of(format!("{trunk}{}", place(changes.len() + at).strokes().0)).join(line));
    }
}

/// The objects that need no change: those that are named, and how many more there are.
fn spared_lines(step: &StepView) -> Vec<Line> {
    let named = step.nothing_to_do.iter().map(|spared| {
        let line = Line::of(format!("{}  {}", spared.object, Reason::NothingToDo));
        line.add(Style::Faint, format!("  {}", spared.message))
    });
    let more = usize::try_from(step.targets.nothing_to_do).unwrap_or(usize::MAX);
    let more = more.saturating_sub(step.nothing_to_do.len());
    let more = (more > 0 && !step.nothing_to_do.is_empty())
        .then(|| Line::of(format!("{more} more with nothing to do")));
    named.chain(more).collect()
}

/// How to approve the plan, or the state of its approval.
fn approval_lines(step: &StepView, now: Timestamp) -> impl Iterator<Item = Line> {
    let given = step.approval.as_ref().map(|given| {
        let style = match given.state {
            ApprovalState::Valid | ApprovalState::Used => Style::Good,
            ApprovalState::Expired | ApprovalState::Void => Style::Bad,
        };
        Line::of(format!("approved by {} {} ago  ", given.approved_by, age(given.at, now)))
            .add(style, format!("{:?}", given.state))
    });
    let plan = step.plan_hash.as_ref().map(|hash| Line::of(format!("plan {hash}")));
    let command = step
        .approve
        .as_ref()
        .map(|command| Line::of("approve it with ").add(Style::Strong, format!("`{command}`")));
    [given, plan, command].into_iter().flatten()
}

fn counts(step: &StepView) -> String {
    let targets = &step.targets;
    let parts = [
        ("matched", targets.matched),
        ("with nothing to do", targets.nothing_to_do),
        ("applied", targets.applied),
        ("verified", targets.verified),
        ("failed", targets.failed),
        ("reverted", targets.reverted),
        ("ceded", targets.ceded),
    ];
    let said = parts.into_iter().filter(|(_, number)| *number > 0);
    said.map(|(what, number)| format!("{number} {what}")).collect::<Vec<_>>().join(", ")
}

/// One change: its subject, its state, and why.
pub fn change_line(change: &ChangeView) -> Line {
    let mut line = Line::of(format!("{}  ", change.object))
        .add(Tone::of_change(change.state).into(), format!("{:?}", change.state));
    if change.operation.is_some() {
        line = line.and("  cannot be undone");
    }
    if let Some(reason) = &change.reason {
        line = line.and(format!("  {reason}"));
    }
    if let Some(message) = &change.message {
        line = line.add(Style::Faint, format!("  {message}"));
    }
    line
}

/// One field: before and after.
pub fn field_line(field: &FieldView) -> Line {
    let line = Line::of(format!("{}  ", field.path))
        .add(Style::Faint, value(field.before.as_deref()))
        .and(" → ")
        .and(value(field.after.as_deref()));
    match &field.ceded_to {
        Some(owner) => line.add(Style::Busy, format!("  (now {owner}'s)")),
        None => line,
    }
}

/// A value, or the words for none.
pub fn value(value: Option<&str>) -> &str {
    value.unwrap_or("(not set)")
}

#[cfg(test)]
mod tests;
