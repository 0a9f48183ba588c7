//! Steps: from their start until they helped, failed, or are reverted.

use firebreak_engine::change::Change;
use firebreak_engine::incident::{IncidentState, StepState, StepStatus};
use firebreak_engine::reason::Reason;
use jiff::Timestamp;

use super::super::span::{Span, SpanId, Value};
use super::Moment;

/// The steps that have ended.
pub(super) fn ended(moment: &Moment) -> Vec<Span> {
    let had_ended =
        |name: &str| moment.before.step(name).is_some_and(|step| end_of(step, moment.before).is_some());
    let spans = moment.after.steps.iter().filter(|step| !had_ended(&step.name)).filter_map(|step| {
        let (end, outcome) = end_of(step, moment.after)?;
        span(moment, step, end, outcome)
    });
    spans.collect()
}

/// The span of a step; none if it has not started.
pub(super) fn id_of(moment: &Moment, step: &str) -> Option<SpanId> {
    let started = moment.after.step(step)?.started_at?;
    Some(moment.id(&["step", step, &started.to_string()]))
}

fn span(moment: &Moment, step: &StepStatus, end: Timestamp, outcome: &'static str) -> Option<Span> {
    let id = id_of(moment, &step.name)?;
    let mut span = moment.span(id, format!("step {}", step.name), step.started_at?, end);
    span.attributes.push(("firebreak.step", step.name.as_str().into()));
    span.attributes.push(("firebreak.outcome", outcome.into()));
    span.attributes.push(("firebreak.targets", Value::Number(step.targets.matched.into())));
    if outcome == "failed" {
        span.error = Some(Reason::StepFailed.name().to_owned());
    }
    Some(span)
}

/// When a step ended, and how; none while it is under way.
///
/// One that did not help is under way until the Incident closes, because it may be retried, or applied again after a relapse.
/// It ended before that if it was reverted, or when the last of its changes moved.
fn end_of(step: &StepStatus, state: &IncidentState) -> Option<(Timestamp, &'static str)> {
    step.started_at?;
    if let Some(verified) = step.verified_at {
        return Some((verified, "verified"));
    }
    let closed = state.resolved_at?;
    Some(match step.state {
        StepState::Failed => (last_move(step, state).unwrap_or(closed), "failed"),
        StepState::Returned | StepState::Reverting => (step.finished_at.unwrap_or(closed), "reverted"),
        StepState::Pending
        | StepState::AwaitingApproval
        | StepState::Applying
        | StepState::Applied
        | StepState::Verified
        | StepState::Skipped
        | StepState::Held => (closed, "notVerified"),
    })
}

/// When something was last sent, or known, for the step.
fn last_move(step: &StepStatus, state: &IncidentState) -> Option<Timestamp> {
    let times = |change: &Change| [change.sent_at, change.took_effect_at(), change.returned_at()];
    state.changes_of(&step.name).flat_map(times).flatten().max()
}
