//! One Incident as a tree: what is so, its steps, their targets, and how it came to be so.

use firebreak_engine::change::{Change, ChangeState, FieldChange};
use firebreak_engine::incident::{ApprovalState, IncidentState, StepState, StepStatus, TimelineEntry};
use firebreak_engine::phase::Phase;
use firebreak_engine::verdict::Verdict;
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;

use super::moves;
use super::screen::{Line, Style};
use super::time::{age, clock};
use crate::api::{Incident, Response};

/// How much is shown.
#[derive(Clone, Copy, Debug)]
pub struct Detail {
    /// Every field of every change.
    pub fields: bool,
    /// So many of the newest entries of the timeline.
    pub timeline: usize,
}

/// The Incident as lines.
pub fn tree(incident: &Incident, detail: Detail, now: Timestamp) -> Vec<Line> {
    let mut lines = head(incident, now);
    let Some(status) = &incident.status else {
        lines.push(Line::of("  no controller has looked at it yet: is the operator running?"));
        return lines;
    };
    let state = &status.state;
    if !state.rules.is_empty() {
        lines.push(Line::styled(Style::Strong, "Rules"));
    }
    for rule in &state.rules {
        let since = rule.since.map(|since| format!(" for {}", age(since, now))).unwrap_or_default();
        let holds = if rule.holds { ", holds" } else { "" };
        let style = if rule.truth == Verdict::Unknown { Style::Bad } else { Style::Plain };
        lines.push(
            Line::of(format!("  {} {}  ", rule.level, rule.reason))
                .add(style, format!("{:?}{since}{holds}", rule.truth))
                .add(Style::Faint, format!("  {}", rule.evidence)),
        );
    }
    if !state.steps.is_empty() {
        lines.push(Line::styled(Style::Strong, "Steps"));
    }
    for (at, step) in state.steps.iter().enumerate() {
        let place = if at + 1 == state.steps.len() { Place::Last } else { Place::Before };
        step_lines(&mut lines, incident, state, step, place, detail, now);
    }
    let entries = &state.timeline[state.timeline.len().saturating_sub(detail.timeline)..];
    if !entries.is_empty() {
        lines.push(Line::styled(Style::Strong, "Timeline"));
    }
    lines.extend(entries.iter().map(|entry| Line::of("  ").join(happened(entry, now))));
    lines
}

/// One step alone, with every field.
pub fn step(incident: &Incident, name: &str, now: Timestamp) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(state) = incident.status.as_ref().map(|status| &status.state)
        && let Some(step) = state.step(name)
    {
        let detail = Detail { fields: true, timeline: 0 };
        step_lines(&mut lines, incident, state, step, Place::Last, detail, now);
    }
    lines
}

/// One entry of the timeline.
pub fn happened(entry: &TimelineEntry, now: Timestamp) -> Line {
    let style = match entry.type_.as_str() {
        "ChangeFailed" | "VerifyLost" | "LadderUsedUp" | "OwnershipNotHandedBack" | "FenceLeft" => Style::Bad,
        "StepVerified" | "Resolved" | "Closed" => Style::Good,
        _ => Style::Plain,
    };
    Line::styled(Style::Faint, format!("{}  ", clock(entry.at, now)))
        .add(style, format!("{:<18} ", entry.type_))
        .and(&entry.message)
}

/// Where an Incident stands, in one word, with what that means.
pub fn phase(incident: &Incident) -> (Style, &'static str) {
    let phase = incident.status.as_ref().and_then(|status| status.phase).unwrap_or(Phase::Open);
    let style = match phase {
        Phase::Open => Style::Plain,
        Phase::Remediating | Phase::Verifying | Phase::Reverting => Style::Busy,
        Phase::Monitoring | Phase::Resolved => Style::Good,
        Phase::Held | Phase::AwaitingApproval => Style::Bad,
    };
    (style, phase.name())
}

fn head(incident: &Incident, now: Timestamp) -> Vec<Line> {
    let (style, phase) = phase(incident);
    let name = format!("{}/{}", incident.namespace().unwrap_or_default(), incident.name_any());
    let state = incident.status.as_ref().map(|status| status.state.clone()).unwrap_or_default();
    let mut title = Line::of("Incident ").add(Style::Strong, name).and("  ");
    if let Some(level) = state.severity {
        title = title.and(format!("{level} {}  ", state.severity_reason.as_deref().unwrap_or_default()));
    }
    title = title.add(style, phase);
    let mut lines = if state.resolved_at.is_some() {
        let closing = Line::of(format!("  {}", moves::closed(incident))).whole();
        vec![title.and("  ").add(Style::Strong, "CLOSED"), closing]
    } else {
        vec![title]
    };
    if let Some(summary) = &incident.spec.summary {
        lines.push(Line::of(format!("  {summary}")));
    }
    let claimed = state.policy.as_ref().filter(|policy| !policy.uid.is_empty());
    let policy = claimed.map_or_else(
        || incident.policy_name().map_or("  no policy yet".to_owned(), |name| format!("  policy {name}")),
        |policy| {
            let account = &policy.service_account;
            format!("  policy {}, generation {}, as ServiceAccount {account}", policy.name, policy.generation)
        },
    );
    lines.push(Line::of(policy));
    let moments = [
        ("opened", state.opened_at),
        ("first change", state.first_action_at),
        ("mitigated", state.mitigated_at),
        ("closed", state.resolved_at),
    ];
    let moments: Vec<String> = moments
        .into_iter()
        .filter_map(|(what, at)| at.map(|at| format!("{what} {} ago", age(at, now))))
        .collect();
    if !moments.is_empty() {
        lines.push(Line::of(format!("  {}", moments.join(", "))));
    }
    lines.extend(people(incident, &state, now));
    if let Some(held) = state.held.as_ref().filter(|_| state.resolved_at.is_none()) {
        let (style, why) = moves::held(held);
        lines.push(Line::of("  ").add(style, why));
        lines.push(Line::of(format!("  {}", held.message)).whole());
    }
    if let Some(report) = &state.report {
        lines.push(match &report.problem {
            Some(problem) => Line::of("  ").add(Style::Bad, format!("no report: {problem}")),
            None => Line::of(format!("  report in ConfigMap {}", report.name)),
        });
    }
    lines
}

/// What people have decided, and who.
fn people(incident: &Incident, state: &IncidentState, now: Timestamp) -> Vec<Line> {
    let mut lines = Vec::new();
    let by = incident.spec.response_by.as_ref().map(|by| format!(", set by {by}")).unwrap_or_default();
    match incident.spec.response {
        Some(response) if response != Response::Active || !by.is_empty() => {
            lines.push(Line::of(format!("  response {response:?}{by}")));
        }
        Some(_) | None => {}
    }
    if let Some(who) = &state.acknowledged_by {
        let at = state.acknowledged_at.map(|at| format!(" {} ago", age(at, now))).unwrap_or_default();
        lines.push(Line::of("  acknowledged by ").add(Style::Good, who).and(at));
    }
    lines
}

/// Where a branch of the tree is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Others follow.
    Before,
    /// It is the last one.
    Last,
}

impl Place {
    /// What stands before the branch, and before what is below it.
    fn strokes(self) -> (&'static str, &'static str) {
        match self {
            Self::Before => ("├─ ", "│  "),
            Self::Last => ("└─ ", "   "),
        }
    }
}

fn step_lines(
    lines: &mut Vec<Line>,
    incident: &Incident,
    state: &IncidentState,
    step: &StepStatus,
    place: Place,
    detail: Detail,
    now: Timestamp,
) {
    let (branch, trunk) = place.strokes();
    let mut line = Line::of(branch)
        .add(Style::Strong, &step.name)
        .and("  ")
        .add(step_style(step.state), format!("{:?}", step.state));
    if step.targets.matched > 0 {
        line = line.and(format!("  {}", counts(step)));
    }
    if let Some(reason) = &step.reason {
        line = line.and(format!("  {reason}"));
    }
    // Why the whole Incident needs a person is said of it.
    let said = state.held.as_ref().map(|held| &held.message);
    if let Some(message) = step.message.as_ref().filter(|message| Some(*message) != said) {
        line = line.add(Style::Faint, format!("  {message}"));
    }
    lines.push(line);
    let changes: Vec<&Change> = state.changes_of(&step.name).collect();
    let below = if changes.is_empty() { Place::Last } else { Place::Before }.strokes().1;
    lines.extend(
        approval_lines(incident, step, now).map(|line| Line::of(format!("{trunk}{below}")).join(line)),
    );
    // What is to be approved is shown whole.
    let fields = detail.fields || step.state == StepState::AwaitingApproval;
    for (at, change) in changes.iter().enumerate() {
        let place = if at + 1 == changes.len() { Place::Last } else { Place::Before };
        let (twig, below) = place.strokes();
        lines.push(Line::of(format!("{trunk}{twig}")).join(change_line(change)));
        if fields {
            let field = |field| Line::of(format!("{trunk}{below}    ")).join(field_line(field));
            lines.extend(change.fields().iter().map(field));
        }
    }
}

/// What is to be approved and how, or what became of it.
pub fn approval_lines(incident: &Incident, step: &StepStatus, now: Timestamp) -> impl Iterator<Item = Line> {
    let given = step.approval.as_ref().map(|given| {
        let style = match given.state {
            ApprovalState::Valid | ApprovalState::Used => Style::Good,
            ApprovalState::Expired | ApprovalState::Void => Style::Bad,
        };
        Line::of(format!("approved by {} {} ago  ", given.approved_by, age(given.at, now)))
            .add(style, format!("{:?}", given.state))
    });
    let waits = step.state == StepState::AwaitingApproval;
    let plan = step.plan_hash.as_ref().filter(|_| waits).map(|hash| Line::of(format!("plan {hash}")));
    let command = (plan.is_some() && moves::is_waiting(step)).then(|| {
        Line::of("approve it with ").add(Style::Strong, format!("`{}`", moves::approve(incident, &step.name)))
    });
    [given, plan, command].into_iter().flatten()
}

fn counts(step: &StepStatus) -> String {
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

/// One change: the object, where it stands, and why.
pub fn change_line(change: &Change) -> Line {
    let mut line = Line::of(format!("{}  ", change.target))
        .add(change_style(change.state), format!("{:?}", change.state));
    if let Some(reason) = &change.reason {
        line = line.and(format!("  {reason}"));
    }
    if let Some(message) = &change.message {
        line = line.add(Style::Faint, format!("  {message}"));
    }
    line
}

/// One field: before and after.
pub fn field_line(field: &FieldChange) -> Line {
    let line = Line::of(format!("{}  ", field.path))
        .add(Style::Faint, value(field.before.as_ref()))
        .and(" → ")
        .and(value(field.after.as_ref()));
    match &field.ceded_to {
        Some(owner) => line.add(Style::Busy, format!("  (now {owner}'s)")),
        None => line,
    }
}

/// A value as JSON, so that the text `"4"` and the number `4` differ.
pub fn value(value: Option<&Value>) -> String {
    value.map_or_else(
        || "(not set)".to_owned(),
        |value| firebreak_engine::change::cut(&value.to_string(), 200),
    )
}

fn step_style(state: StepState) -> Style {
    match state {
        StepState::Pending | StepState::Skipped => Style::Plain,
        StepState::Applying | StepState::Applied | StepState::Reverting => Style::Busy,
        StepState::Verified | StepState::Returned => Style::Good,
        StepState::Failed | StepState::Held | StepState::AwaitingApproval => Style::Bad,
    }
}

/// What the state of a change means for whoever looks at it.
pub fn change_style(state: ChangeState) -> Style {
    match state {
        ChangeState::Planned | ChangeState::Skipped | ChangeState::Kept => Style::Plain,
        ChangeState::Intended | ChangeState::Unclear | ChangeState::Reverting | ChangeState::Ceded => {
            Style::Busy
        }
        ChangeState::Applied | ChangeState::Verified | ChangeState::Reverted => Style::Good,
        ChangeState::Failed | ChangeState::Held => Style::Bad,
    }
}

#[cfg(test)]
mod tests;
