//! The withdrawal, and its waves.

use firebreak_engine::change::{Change, ChangeState};
use firebreak_engine::incident::{Because, Closing};
use jiff::Timestamp;

use super::super::span::{Span, SpanId, Value};
use super::Moment;

/// The wave that is over, and the withdrawal, if it has ended.
pub(super) fn ended(moment: &Moment) -> Vec<Span> {
    let Some(begun) = moment.before.withdrawing_since() else { return Vec::new() };
    let withdrawal = moment.id(&["withdrawal", &begun.to_string()]);
    let wave = wave(moment, withdrawal);
    wave.into_iter().chain(whole(moment, withdrawal, begun)).collect()
}

/// From its first entry in the timeline until everything is back, or until the emergency returns.
fn whole(moment: &Moment, id: SpanId, begun: Timestamp) -> Option<Span> {
    let is_same = moment.after.withdrawing_since().is_none_or(|since| since == begun);
    let goes_on = moment.after.is_reverting() && moment.after.resolved_at.is_none() && is_same;
    if moment.before.resolved_at.is_some() || goes_on {
        return None;
    }
    let end = moment.after.resolved_at.unwrap_or(moment.at);
    let mut span = moment.span(id, "withdrawal".to_owned(), begun, end);
    let in_waves = moment.before.withdrawal.as_ref().map(|withdrawal| reason(withdrawal.because));
    let at_once = moment.before.closing.map(Closing::name);
    let because = in_waves.or(at_once).unwrap_or_default();
    span.attributes.push(("firebreak.reason", because.into()));
    Some(span)
}

/// From the first object of the wave that had its old values again until the next wave could follow.
fn wave(moment: &Moment, withdrawal: SpanId) -> Option<Span> {
    let old = moment.before.withdrawal.as_ref().filter(|old| !old.wave.is_empty())?;
    if moment.after.withdrawal.as_ref().is_some_and(|new| new.wave == old.wave) {
        return None;
    }
    // One of which nothing came back has proved nothing, and is tried again.
    let is_back = |change: &&Change| change.state == ChangeState::Reverted && old.wave.contains(&change.id);
    let both = moment.before.changes.iter().chain(&moment.after.changes);
    let back =
        both.filter(is_back).filter_map(|change| Some((change.rolls_back_since()?, change.id.as_str())));
    let (start, first) = back.min()?;
    let step = old.step.as_deref().unwrap_or_default();
    let id = moment.id(&["wave", first, &start.to_string()]);
    let mut span = moment.span(id, format!("wave of {step}"), start, moment.at);
    span.parent = Some(withdrawal);
    span.attributes.push(("firebreak.step", step.into()));
    span.attributes.push(("firebreak.wave", Value::Number(old.waves.into())));
    span.attributes
        .push(("firebreak.changes", Value::Number(i64::try_from(old.wave.len()).unwrap_or(i64::MAX))));
    let has_relapsed = moment.after.relapses > moment.before.relapses;
    let outcome = match moment.after.closing {
        _ if has_relapsed => "relapsed",
        None | Some(Closing::Recovered) => "done",
        Some(_) => "overtaken",
    };
    span.attributes.push(("firebreak.outcome", outcome.into()));
    if has_relapsed {
        span.error = Some("Relapse".to_owned());
    }
    Some(span)
}

fn reason(because: Because) -> &'static str {
    match because {
        Because::Recovered => "Recovered",
        Because::SeverityFell => "SeverityFell",
    }
}
