//! Events and metrics about what happened, on the Incident and on each changed
//! object. Best effort: nothing waits for them.

mod objects;

use firebreak_engine::change::{Change, ChangeState};
use firebreak_engine::decide::ladder;
use firebreak_engine::incident::{IncidentState, StepState, TimelineEntry};
use firebreak_engine::reason::{MovesOn, Reason};
use kube::{Resource, ResourceExt};

use super::Operator;
use crate::api::Incident;
use crate::kubernetes::events::{EventType, Notice};

/// A decision about an Incident is recorded: `before` was its state, and this happened.
pub fn recorded(
    operator: &Operator,
    incident: &Incident,
    before: &IncidentState,
    happened: &[TimelineEntry],
) {
    entries(operator, incident, happened);
    turns(operator, incident, before, happened);
    let objects = objects::notices(&incident.identity(), before, &incident.state());
    objects.into_iter().for_each(|notice| operator.context.events.publish(notice));
}

/// What the timeline tells.
fn entries(operator: &Operator, incident: &Incident, happened: &[TimelineEntry]) {
    for entry in happened {
        let bad = [
            "ChangeFailed",
            "LadderUsedUp",
            "VerifyUnknown",
            "OutcomeUnknown",
            "VerifyLost",
            "ReportNotWritten",
            "ReportTemplateFailed",
            "TracesLeft",
        ];
        operator.context.events.publish(Notice {
            regarding: incident.object_ref(&()),
            event_type: if bad.contains(&entry.type_.as_str()) {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: entry.type_.clone(),
            action: "Respond".to_owned(),
            note: entry.message.clone(),
        });
        count(operator, incident, entry);
    }
}

fn count(operator: &Operator, incident: &Incident, entry: &TimelineEntry) {
    let Some(state) = incident.status.as_ref().map(|status| &status.state) else { return };
    let metrics = &operator.context.metrics;
    let seconds = |from: Option<jiff::Timestamp>, to: Option<jiff::Timestamp>| {
        Some(to?.duration_since(from?).as_secs_f64().max(0.0))
    };
    match entry.type_.as_str() {
        "Classified" if state.classified_at == Some(entry.at) => {
            if let Some(took) = seconds(state.detected_at, state.opened_at) {
                metrics.time_to_open.observe(took);
            }
        }
        "StepStarted" if state.first_action_at == Some(entry.at) => {
            if let Some(took) = seconds(state.opened_at, state.first_action_at) {
                metrics.time_to_first_action.observe(took);
            }
        }
        "StepVerified" if state.mitigated_at == Some(entry.at) => {
            if let Some(took) = seconds(state.opened_at, state.mitigated_at) {
                metrics.time_to_mitigate.observe(took);
            }
        }
        _ => {}
    }
}

/// What the state shows and the timeline does not: how steps ended, what became of changes, and that a person must act.
fn turns(operator: &Operator, incident: &Incident, before: &IncidentState, happened: &[TimelineEntry]) {
    let Some(now) = incident.status.as_ref().map(|status| &status.state) else { return };
    for step in ladder(now, None) {
        let at = |state: &IncidentState| state.step(&step.name).map(|status| status.state);
        let Some(outcome) = at(now).filter(|_| at(now) != at(before)).and_then(outcome) else { continue };
        operator.context.metrics.steps.with_label_values(&[step.action.name(), outcome]).inc();
    }
    for change in &now.changes {
        let old = before.changes.iter().find(|old| old.id == change.id).and_then(outcome_of);
        let Some(outcome) = outcome_of(change).filter(|outcome| old != Some(*outcome)) else { continue };
        let work = if change.loan().is_some() { "loan" } else { "operation" };
        operator.context.metrics.changes.with_label_values(&[work, outcome]).inc();
    }
    let is_told = |reason: &Reason| happened.iter().any(|entry| entry.type_ == reason.name());
    if let Some(held) = &now.held
        && before.held.as_ref().is_none_or(|old| old.reason != held.reason)
        && !is_told(&held.reason)
    {
        let (event_type, action) = match held.reason.moves_on() {
            MovesOn::Itself => (EventType::Normal, "Wait"),
            MovesOn::Person | MovesOn::Nothing => (EventType::Warning, "AskPerson"),
        };
        operator.context.events.publish(Notice {
            regarding: incident.object_ref(&()),
            event_type,
            reason: held.reason.to_string(),
            action: action.to_owned(),
            note: held.message.clone(),
        });
    }
}

/// Someone has edited a closed Incident.
pub fn closed(operator: &Operator, incident: &Incident) {
    let namespace = incident.namespace().unwrap_or_default();
    let policy = incident.policy_name().unwrap_or("POLICY");
    operator.context.events.publish(Notice {
        regarding: incident.object_ref(&()),
        event_type: EventType::Warning,
        reason: "Closed".to_owned(),
        action: "Ignore".to_owned(),
        note: format!(
            "this Incident is closed, so the change of its spec has no effect. To respond again, open a new \
             one with another name: `firebreak open {policy} -n {namespace}`, or `kubectl create` with \
             metadata.generateName"
        ),
    });
}

/// How a step ended, if it did.
fn outcome(state: StepState) -> Option<&'static str> {
    match state {
        StepState::Verified => Some("verified"),
        StepState::Failed => Some("failed"),
        StepState::Held => Some("held"),
        StepState::Returned => Some("returned"),
        StepState::Pending
        | StepState::AwaitingApproval
        | StepState::Applying
        | StepState::Applied
        | StepState::Skipped
        | StepState::Reverting => None,
    }
}

/// What became of a change, as far as it is known.
fn outcome_of(change: &Change) -> Option<&'static str> {
    match change.state {
        ChangeState::Applied | ChangeState::Verified | ChangeState::Reverting => Some("applied"),
        ChangeState::Reverted => Some("reverted"),
        ChangeState::Ceded => Some("ceded"),
        ChangeState::Kept => Some("kept"),
        ChangeState::Done => Some("done"),
        ChangeState::Failed => Some("failed"),
        ChangeState::Held => Some("held"),
        ChangeState::Planned | ChangeState::Intended | ChangeState::Unclear | ChangeState::Skipped => None,
    }
}
