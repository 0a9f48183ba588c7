//! Changes of objects: from the recorded intent until it is known what became of it, and from the recorded revert until the
//! object has its old values.

use firebreak_engine::change::{Change, ChangeState};
use jiff::Timestamp;

use super::super::span::{Span, Value};
use super::{Moment, steps};

/// The most paths of fields that a span names, so that the memory for spans that wait is bounded.
const MOST_FIELDS: usize = 16;

/// The changes that have taken effect, come to nothing, or ended.
pub(super) fn ended(moment: &Moment) -> Vec<Span> {
    let spans = moment.after.changes.iter().flat_map(|now| {
        let old = moment.before.changes.iter().find(|old| old.id == now.id);
        [applied(moment, old, now), template_back(moment, old, now), back(moment, old, now)]
    });
    spans.flatten().collect()
}

/// An intent whose outcome has become known.
fn applied(moment: &Moment, old: Option<&Change>, now: &Change) -> Option<Span> {
    let round = settled_round(now, moment.after.resolved_at)?;
    let known = old.and_then(|old| settled_round(old, moment.before.resolved_at));
    if known == Some(round) {
        return None;
    }
    let start = now.joined_at?;
    let gave_up = matches!(now.state, ChangeState::Failed | ChangeState::Unclear | ChangeState::Held);
    let end = now.took_effect_at().filter(|at| !gave_up && *at >= start).unwrap_or(moment.at);
    let work = now.as_operation().map_or("apply", |operation| operation.operation.name());
    // Not the round alone: in mode Observe, an entry that came to nothing makes room for its plan, and counts again.
    let id = moment.id(&["apply", now.id.as_str(), &start.to_string()]);
    let name = format!("{work} {}", now.target.kind);
    let mut span = about(moment, now, moment.span(id, name, start, end));
    span.attributes.push(("firebreak.outcome", outcome(now).into()));
    if gave_up {
        let reason = now.reason.as_ref().map_or("Failed", |reason| reason.name());
        span.error = Some(reason.to_owned());
    }
    Some(span)
}

/// The round of the newest intent, if it is known what became of it, or nobody will find out any more.
fn settled_round(change: &Change, closed: Option<Timestamp>) -> Option<u8> {
    let is_open = match change.state {
        ChangeState::Intended | ChangeState::Unclear | ChangeState::Held => true,
        // In mode Observe, after an earlier round: only the next one is planned.
        ChangeState::Planned
        | ChangeState::Applied
        | ChangeState::Verified
        | ChangeState::Reverting
        | ChangeState::Reverted
        | ChangeState::Ceded
        | ChangeState::Kept
        | ChangeState::Done
        | ChangeState::Skipped
        | ChangeState::Failed => false,
    };
    (change.round > 0 && (!is_open || closed.is_some())).then_some(change.round)
}

/// The first of two writes has reverted the template.
fn template_back(moment: &Moment, old: Option<&Change>, now: &Change) -> Option<Span> {
    let old = old.filter(|old| old.template_back_at().is_none())?;
    let end = now.template_back_at()?;
    let start = old.sent_at.unwrap_or(end);
    let id = moment.id(&["revert-template", now.id.as_str(), &now.round.to_string()]);
    let name = format!("revert template {}", now.target.kind);
    Some(about(moment, now, moment.span(id, name, start, end)))
}

/// The object has its old values, or is somebody else's.
fn back(moment: &Moment, old: Option<&Change>, now: &Change) -> Option<Span> {
    let old = old.filter(|old| is_lent(old))?;
    if is_lent(now) || now.round != old.round {
        return None;
    }
    let end = now.returned_at().unwrap_or(moment.at);
    let start = old.sent_at.filter(|_| old.state == ChangeState::Reverting).unwrap_or(end);
    let id = moment.id(&["revert", now.id.as_str(), &now.round.to_string()]);
    let name = format!("revert {}", now.target.kind);
    let mut span = about(moment, now, moment.span(id, name, start, end));
    let is_ceded = now.fields().iter().any(|field| field.ceded_to.is_some());
    let outcome = match now.state {
        ChangeState::Reverting if is_ceded => "ceded",
        ChangeState::Reverting => "reverted",
        _ => outcome(now),
    };
    span.attributes.push(("firebreak.outcome", outcome.into()));
    Some(span)
}

/// Whether the object has values of the emergency.
fn is_lent(change: &Change) -> bool {
    change.is_in_force() && change.returned_at().is_none()
}

/// The span, as a child of its step, with what is known of the change: never a value, only the paths.
fn about(moment: &Moment, change: &Change, mut span: Span) -> Span {
    span.parent = steps::id_of(moment, &change.step).or(span.parent);
    let target = &change.target;
    span.attributes.extend([
        ("firebreak.step", change.step.as_str().into()),
        ("firebreak.change", change.id.as_str().into()),
        ("firebreak.round", change.round.into()),
        ("firebreak.target.apiVersion", target.api_version.as_str().into()),
        ("firebreak.target.kind", target.kind.as_str().into()),
        ("firebreak.target.name", target.name.as_str().into()),
    ]);
    if !target.namespace.is_empty() {
        span.attributes.push(("firebreak.target.namespace", target.namespace.as_str().into()));
    }
    let fields: Vec<String> = change.paths().take(MOST_FIELDS).map(ToString::to_string).collect();
    if !fields.is_empty() {
        span.attributes.push(("firebreak.fields", Value::Texts(fields)));
    }
    if let Some(owner) = change.on_behalf_of() {
        span.attributes.push(("firebreak.onBehalfOf", owner.to_string().into()));
    }
    if let Some(reason) = &change.reason {
        span.attributes.push(("firebreak.reason", reason.name().into()));
    }
    span
}

fn outcome(change: &Change) -> &'static str {
    match change.state {
        ChangeState::Applied | ChangeState::Verified | ChangeState::Reverting => "applied",
        ChangeState::Reverted => "reverted",
        ChangeState::Ceded => "ceded",
        ChangeState::Kept => "kept",
        ChangeState::Done => "done",
        ChangeState::Skipped => "skipped",
        ChangeState::Failed => "failed",
        ChangeState::Planned | ChangeState::Intended | ChangeState::Unclear | ChangeState::Held => "unknown",
    }
}
