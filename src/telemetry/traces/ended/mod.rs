//! Which spans of an Incident have ended between two of its statuses.
//!
//! # Guarantees
//! Takes no clock and no client: all times are those of the statuses, and where a status has none, the time of the decision
//! that was recorded. A chain of statuses ends each span once, wherever it is cut: whoever continues it, after a restart
//! or as another leader, neither repeats what has ended before nor gives what ends later another id.
//!
//! Nothing in a span is a value of a field, a message, or the name of a person: messages quote what an API server or an
//! admission webhook has answered.

mod changes;
mod steps;
#[cfg(test)]
mod tests;
mod waves;

use firebreak_engine::id::IncidentId;
use firebreak_engine::incident::{Closing, IncidentState};
use firebreak_engine::verdict::Verdict;
use jiff::Timestamp;

use super::span::{Attribute, Span, SpanEvent, SpanId, TraceId};
use crate::api::IncidentStatus;
use crate::api::condition::{Condition, ConditionType};

/// The spans that ended when `after` was recorded, which was decided at `at`.
pub fn ended(
    incident: &IncidentId,
    before: &IncidentStatus,
    after: &IncidentStatus,
    at: Timestamp,
) -> Vec<Span> {
    let moment = Moment { incident, before: &before.state, after: &after.state, at };
    let mut spans = changes::ended(&moment);
    spans.extend(steps::ended(&moment));
    spans.extend(waves::ended(&moment));
    spans.extend(waited(&moment, &before.conditions, &after.conditions));
    spans.extend(root(&moment));
    spans
}

/// One status that became another one.
struct Moment<'a> {
    incident: &'a IncidentId,
    before: &'a IncidentState,
    after: &'a IncidentState,
    at: Timestamp,
}

impl Moment<'_> {
    fn id(&self, what: &[&str]) -> SpanId {
        SpanId::of(&self.incident.uid, what)
    }

    fn root(&self) -> SpanId {
        self.id(&["incident"])
    }

    /// A child of the root, with what every span says of its Incident.
    fn span(&self, id: SpanId, name: String, start: Timestamp, end: Timestamp) -> Span {
        let mut attributes: Vec<Attribute> = vec![
            ("k8s.namespace.name", self.incident.namespace.as_str().into()),
            ("firebreak.incident", self.incident.name.as_str().into()),
        ];
        if let Some(policy) = &self.after.policy {
            attributes.push(("firebreak.policy", policy.name.as_str().into()));
        }
        Span {
            trace: TraceId::of(&self.incident.uid),
            id,
            parent: Some(self.root()),
            name,
            start,
            // Clocks of two leaders may differ.
            end: end.max(start),
            attributes,
            events: Vec::new(),
            error: None,
        }
    }

    fn has_just_closed(&self) -> bool {
        self.before.resolved_at.is_none() && self.after.resolved_at.is_some()
    }
}

/// The Incident itself.
fn root(moment: &Moment) -> Option<Span> {
    let state = moment.after;
    let (Some(opened), Some(closed), true) = (state.opened_at, state.resolved_at, moment.has_just_closed())
    else {
        return None;
    };
    let policy = state.policy.as_ref().map_or("without a policy", |policy| policy.name.as_str());
    let mut span = moment.span(moment.root(), format!("Incident {policy}"), opened, closed);
    span.parent = None;
    let outcome = state.closing.map_or("Resolved", Closing::name);
    span.attributes.push(("firebreak.incident.uid", moment.incident.uid.as_str().into()));
    span.attributes.push(("firebreak.outcome", outcome.into()));
    span.attributes.push(("firebreak.relapses", state.relapses.into()));
    if let Some(severity) = state.worst_severity {
        span.attributes.push(("firebreak.severity", severity.to_string().into()));
    }
    let told = state.timeline.iter().map(|entry| SpanEvent { at: entry.at, name: entry.type_.clone() });
    span.events = told.collect();
    Some(span)
}

/// The time for which the Incident waited for a person.
fn waited(moment: &Moment, before: &[Condition], after: &[Condition]) -> Option<Span> {
    let waits = stalled(before).filter(|condition| condition.status == Verdict::True)?;
    let goes_on = stalled(after).filter(|condition| condition.status != Verdict::True)?;
    let (start, end) = (waits.last_transition_time, goes_on.last_transition_time);
    let mut span =
        moment.span(moment.id(&["stalled", &start.to_string()]), "waits for a person".to_owned(), start, end);
    span.attributes.push(("firebreak.reason", waits.reason.as_str().into()));
    if let Some(step) = moment.before.held.as_ref().and_then(|held| held.step.as_deref()) {
        span.attributes.push(("firebreak.step", step.into()));
    }
    Some(span)
}

fn stalled(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == ConditionType::Stalled.name())
}
