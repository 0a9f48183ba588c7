//! Events and metrics about what happened, on the Incident and on each changed
//! object. Best effort: nothing waits for them.

use std::collections::BTreeMap;

use firebreak_engine::change::{Change, ChangeState, OperationType};
use firebreak_engine::decide::{Decision, ladder};
use firebreak_engine::effect::{Act, EffectId};
use firebreak_engine::facts::Outcome;
use firebreak_engine::id::TargetId;
use firebreak_engine::incident::{IncidentState, StepState, TimelineEntry};
use firebreak_engine::reason::{MovesOn, Reason};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt};

use super::Operator;
use crate::api::{Incident, names};
use crate::kubernetes::events::{EventType, Notice};

/// What happened to an Incident.
pub fn incident(operator: &Operator, incident: &Incident, happened: &[TimelineEntry]) {
    for entry in happened {
        let bad = [
            "ChangeFailed",
            "LadderUsedUp",
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

/// What the state shows and the timeline does not: how steps ended, that a person must act, which changes were
/// abandoned.
pub fn turns(operator: &Operator, incident: &Incident, before: &IncidentState, happened: &[TimelineEntry]) {
    let Some(now) = incident.status.as_ref().map(|status| &status.state) else { return };
    for step in ladder(now, None) {
        let at = |state: &IncidentState| state.step(&step.name).map(|status| status.state);
        let Some(outcome) = at(now).filter(|_| at(now) != at(before)).and_then(outcome) else { continue };
        operator.context.metrics.steps.with_label_values(&[step.action.name(), outcome]).inc();
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
    for change in now.changes.iter().filter(|change| is_let_go(change)) {
        if before.changes.iter().any(|old| old.id == change.id && is_let_go(old)) {
            continue;
        }
        let name = format!("{}/{}", incident.namespace().unwrap_or_default(), incident.name_any());
        operator.context.events.publish(Notice {
            regarding: reference(&change.target),
            event_type: EventType::Warning,
            reason: "FirebreakLetGo".to_owned(),
            action: "Abandon".to_owned(),
            note: format!(
                "Incident {name} is gone and has not put this back; `{}` does, by the annotation {}",
                change.target.undo_command(),
                names::UNDO
            ),
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

fn is_let_go(change: &Change) -> bool {
    change.state == ChangeState::Ceded
        && matches!(change.reason, Some(Reason::Abandoned | Reason::NamespaceGone))
}

fn reference(target: &TargetId) -> ObjectReference {
    ObjectReference {
        api_version: Some(target.api_version.clone()),
        kind: Some(target.kind.clone()),
        namespace: Some(target.namespace.clone()).filter(|namespace| !namespace.is_empty()),
        name: Some(target.name.clone()),
        uid: Some(target.uid.clone()),
        ..ObjectReference::default()
    }
}

/// The writes to targets.
pub fn effects(
    operator: &Operator,
    decision: &Decision,
    outcomes: &BTreeMap<EffectId, Outcome>,
    incident: &Incident,
) {
    for effect in &decision.effects {
        if !matches!(outcomes.get(&effect.id()), Some(Outcome::Done(_))) {
            continue;
        }
        let (reason, verb) = match effect.act {
            Act::Apply => (
                "FirebreakApplied",
                "changed this object for the emergency; the annotation firebreak.dev/undo has the previous \
                 values",
            ),
            Act::Return => ("FirebreakReturned", "reverted this object to its state before the emergency"),
            Act::Operate(OperationType::DeletePod) => (
                "FirebreakDeletedPod",
                "deleted a pod of this object that was not ready and would have kept its old template",
            ),
            Act::Amend | Act::Fence | Act::HandBack | Act::Operate(OperationType::Rehearse) => continue,
        };
        // People look for it at the object on whose behalf it was done.
        let change = decision.next.changes.iter().find(|change| change.id == effect.change);
        let target = change.and_then(Change::on_behalf_of).unwrap_or(&effect.target);
        operator.context.events.publish(Notice {
            regarding: reference(target),
            event_type: EventType::Normal,
            reason: reason.to_owned(),
            action: effect.act.name().to_owned(),
            note: format!(
                "Incident {}/{} {verb}",
                incident.namespace().unwrap_or_default(),
                incident.name_any()
            ),
        });
    }
}
