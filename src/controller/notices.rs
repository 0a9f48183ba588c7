//! Events and numbers about what happened, on the Incident and on each touched
//! object. Best effort: nothing here holds anything up.

use std::collections::BTreeMap;

use firebreak_engine::decide::Decision;
use firebreak_engine::effect::{Act, EffectId};
use firebreak_engine::facts::Outcome;
use firebreak_engine::incident::TimelineEntry;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt};

use super::Operator;
use crate::api::Incident;
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
            "OwnershipNotHandedBack",
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
            metrics.steps.with_label_values(&["cpuFallback", "verified"]).inc();
            if let Some(took) = seconds(state.opened_at, state.mitigated_at) {
                metrics.time_to_mitigate.observe(took);
            }
        }
        _ => {}
    }
}

/// What was done to targets.
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
                "changed this for the emergency; the annotation firebreak.dev/undo says how it goes back",
            ),
            Act::Return => ("FirebreakReturned", "put this back as it was before the emergency"),
            Act::Amend | Act::Fence | Act::HandBack => continue,
        };
        operator.context.events.publish(Notice {
            regarding: ObjectReference {
                api_version: Some(effect.target.api_version.clone()),
                kind: Some(effect.target.kind.clone()),
                namespace: Some(effect.target.namespace.clone()).filter(|namespace| !namespace.is_empty()),
                name: Some(effect.target.name.clone()),
                uid: Some(effect.target.uid.clone()),
                ..ObjectReference::default()
            },
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
