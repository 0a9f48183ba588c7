//! The tables of the report, each from its part of the state.

use firebreak_engine::change::{Change, ChangeState, FieldChange};
use firebreak_engine::incident::{IncidentState, RuleStatus, SignalStatus, StepStatus, TimelineEntry};
use firebreak_engine::reason::Reason;
use firebreak_engine::verdict::Verdict;
use jiff::Timestamp;

use super::escape::{code, text, value};
use super::markdown::{FOR_A_PERSON, between, moment};
use super::table::Table;

/// When it was detected, acted upon, mitigated and resolved, and how long each took.
pub fn milestones(state: &IncidentState, started: Option<Timestamp>) -> String {
    let missing = if state.resolved_at.is_some() { "never" } else { "not yet" };
    let mut table = Table::new(4_000, &["", "When", "After the start"]);
    let start = if state.detected_at.is_some() { "Start: the fault became visible" } else { "Start" };
    table.row(&[start, &started.map_or("unknown".to_owned(), moment), ""]);
    for (milestone, at) in [
        ("Detected: the Incident was opened", state.opened_at),
        ("Classified", state.classified_at),
        ("First action", state.first_action_at),
        ("Mitigated: a step was verified", state.mitigated_at),
        ("Resolved: closed, nothing outstanding", state.resolved_at),
    ] {
        let took = started.zip(at).map(|(start, at)| between(start, at));
        table.row(&[milestone, &at.map_or(missing.to_owned(), moment), &took.unwrap_or_default()]);
    }
    table.or("")
}

/// The most entries that a status keeps.
const KEPT: usize = 100;

/// What happened, as Firebreak recorded it.
pub fn timeline(entries: &[TimelineEntry]) -> String {
    let note = if entries.len() >= KEPT { "_Only the newest 100 entries are kept._\n\n" } else { "" };
    let mut table = Table::new(250_000, &["Time", "Action", "Owner"]);
    for TimelineEntry { at, type_, message } in entries {
        table.row(&[&moment(*at), &format!("**{}**: {}", text(type_), text(message)), "Firebreak"]);
    }
    table.row(&[FOR_A_PERSON, "What people did besides", FOR_A_PERSON]);
    format!("{note}{}", table.or(""))
}

/// The rules of severity and their evidence.
pub fn rules(rules: &[RuleStatus]) -> String {
    let mut table = Table::new(30_000, &["Rule", "Level", "Says", "Since", "Evidence"]);
    for RuleStatus { reason, level, truth, known: _, since, unknown_since, holds: _, evidence } in rules {
        let since = if *truth == Verdict::Unknown { unknown_since } else { since };
        table.row(&[
            &text(reason),
            &level.to_string(),
            &spelled(truth),
            &since.map_or(String::new(), moment),
            &text(evidence),
        ]);
    }
    table.or("No rules are recorded.")
}

/// What was read.
pub fn signals(signals: &[SignalStatus]) -> String {
    let mut table = Table::new(50_000, &["Signal", "State", "Values, or why there are none"]);
    for SignalStatus { name, state, summary } in signals {
        table.row(&[&text(name), &spelled(state), &text(summary)]);
    }
    table.or("No signals are recorded.")
}

/// Where each step ended.
pub fn steps(steps: &[StepStatus]) -> String {
    let columns =
        ["Step", "State", "Targets", "Changed", "Verified", "Put back", "Ceded", "Failed", "Began", "Why"];
    let mut table = Table::new(80_000, &columns);
    for StepStatus {
        name,
        state,
        reason,
        message,
        started_at,
        verified_at: _,
        finished_at: _,
        unlisted_since: _,
        plan_hash: _,
        approval: _,
        targets,
        definition: _,
    } in steps
    {
        let numbers = [
            targets.matched,
            targets.applied,
            targets.verified,
            targets.reverted,
            targets.ceded,
            targets.failed,
        ]
        .map(|number| number.to_string());
        let [matched, applied, verified, reverted, ceded, failed] = &numbers;
        table.row(&[
            &text(name),
            &spelled(state),
            matched,
            applied,
            verified,
            reverted,
            ceded,
            failed,
            &started_at.map_or("never".to_owned(), moment),
            &why(reason.as_ref(), message.as_deref()),
        ]);
    }
    table.or("No steps are recorded.")
}

/// A unit variant as it stands in the API.
fn spelled(variant: &impl serde::Serialize) -> String {
    serde_json::to_value(variant).ok().and_then(|name| name.as_str().map(text)).unwrap_or_default()
}

fn why(reason: Option<&Reason>, message: Option<&str>) -> String {
    match (reason, message) {
        (Some(reason), Some(message)) => format!("{}: {}", text(reason.name()), text(message)),
        (Some(reason), None) => text(reason.name()),
        (None, Some(message)) => text(message),
        (None, None) => String::new(),
    }
}

/// Every field that was changed or was to be: before, after, and how it ended.
pub fn changes(changes: &[Change]) -> String {
    let columns = ["Step", "Object", "Field", "Before", "After", "Owner before", "How it ended"];
    let mut table = Table::new(300_000, &columns);
    for change in changes.iter().filter(|change| change.state != ChangeState::Skipped) {
        for field in change.fields() {
            table.row(&[
                &text(&change.step),
                &text(&change.target.to_string()),
                &code(&field.path.to_string()),
                &value(field.before.as_ref()),
                &value(field.after.as_ref()),
                &field.owner.as_deref().map_or_else(String::new, text),
                &ending(change, field),
            ]);
        }
    }
    table.or("No change was made or planned.")
}

/// What was done to objects that cannot be undone; nothing if that is nothing.
pub fn operations(changes: &[Change]) -> String {
    let operations: Vec<_> =
        changes.iter().filter_map(|change| Some((change, change.as_operation()?))).collect();
    if operations.is_empty() {
        return String::new();
    }
    let mut table = Table::new(150_000, &["Step", "Operation", "On behalf of", "Sent", "How it ended"]);
    for (change, operation) in operations {
        let times = if change.tries > 1 { format!(" ({} requests)", change.tries) } else { String::new() };
        table.row(&[
            &text(&change.step),
            &text(&change.subject()),
            &operation.on_behalf_of.as_ref().map_or(String::new(), |owner| text(&owner.to_string())),
            &change.sent_at.map_or("never".to_owned(), |at| format!("{}{times}", moment(at))),
            &operation_ending(change),
        ]);
    }
    format!("\n### Operations\n\nAn operation cannot be undone.\n\n{}", table.or(""))
}

/// How an operation ended, or where it stands.
fn operation_ending(change: &Change) -> String {
    let ending = match change.state {
        ChangeState::Planned => "planned only, not done",
        ChangeState::Intended => "sent, not known yet whether it took effect",
        ChangeState::Unclear => "nobody can tell whether it took effect",
        ChangeState::Done => "done",
        ChangeState::Skipped => "not done",
        ChangeState::Failed => "failed, not done",
        ChangeState::Applied
        | ChangeState::Verified
        | ChangeState::Reverting
        | ChangeState::Reverted
        | ChangeState::Ceded
        | ChangeState::Kept
        | ChangeState::Held => "in a state that no operation has",
    };
    match why(change.reason.as_ref(), change.message.as_deref()) {
        why if why.is_empty() => ending.to_owned(),
        why => format!("{ending}: {why}"),
    }
}

/// How a field ended, or where it stands.
fn ending(change: &Change, field: &FieldChange) -> String {
    let rounds = if change.round > 1 { format!(" (applied {} times)", change.round) } else { String::new() };
    let ending = match change.state {
        ChangeState::Planned => "planned only, not done",
        ChangeState::Intended => "about to be applied",
        ChangeState::Unclear => "sent, not known yet whether it took effect",
        ChangeState::Applied => "in force",
        ChangeState::Verified => "in force, verified",
        ChangeState::Reverting => "being put back",
        ChangeState::Reverted => "put back",
        ChangeState::Ceded => match &field.ceded_to {
            Some(owner) => return format!("left to {}, whose value stands{rounds}", text(owner)),
            None if change.fields().iter().any(|other| other.ceded_to.is_some()) => "put back",
            None => "left alone",
        },
        ChangeState::Kept => "kept for good",
        ChangeState::Done => "done",
        ChangeState::Skipped => "not done",
        ChangeState::Failed => "given up, not in force",
        ChangeState::Held => "nobody can tell whether it took effect",
    };
    format!("{ending}{rounds}")
}

/// The changes that did not go back to what was before, as far as that is known.
pub fn not_put_back(state: &IncidentState) -> String {
    let closed = state.resolved_at.is_some();
    let mut table = Table::new(80_000, &["Object", "Field", "Set in the emergency", "Before", "Why"]);
    for change in &state.changes {
        let whole = match change.state {
            ChangeState::Ceded => change.fields().iter().all(|field| field.ceded_to.is_none()),
            ChangeState::Kept | ChangeState::Held => true,
            ChangeState::Intended
            | ChangeState::Unclear
            | ChangeState::Applied
            | ChangeState::Verified
            | ChangeState::Reverting => closed,
            // One that is put back may still have something to say: what was given up on the way.
            ChangeState::Reverted => change.message.is_some(),
            ChangeState::Planned | ChangeState::Skipped | ChangeState::Failed | ChangeState::Done => continue,
        };
        for field in change.fields().iter().filter(|field| whole || field.ceded_to.is_some()) {
            let reason = why(change.reason.as_ref(), change.message.as_deref());
            let reason = match &field.ceded_to {
                Some(_) => ending(change, field),
                None if reason.is_empty() => ending(change, field),
                None => reason,
            };
            table.row(&[
                &text(&change.target.to_string()),
                &code(&field.path.to_string()),
                &value(field.after.as_ref()),
                &value(field.before.as_ref()),
                &reason,
            ]);
        }
    }
    let none = if state.in_force() > 0 {
        "Changes are in force; nothing that was to go back has been left."
    } else if state.changes.iter().any(|change| change.state == ChangeState::Reverted) {
        "Nothing: every change was put back."
    } else {
        "Nothing: no change was in force."
    };
    table.or(none)
}

/// The objects that a step meant and left alone.
pub fn not_changed(changes: &[Change]) -> String {
    let mut table = Table::new(80_000, &["Step", "Object", "Why"]);
    for change in
        changes.iter().filter(|change| matches!(change.state, ChangeState::Skipped | ChangeState::Failed))
    {
        table.row(&[
            &text(&change.step),
            &text(&change.target.to_string()),
            &why(change.reason.as_ref(), change.message.as_deref()),
        ]);
    }
    table.or("No object was skipped, and none failed.")
}
