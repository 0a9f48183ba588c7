//! The whole report, in the order of the runbook's template. Leaves out what
//! stands in the tables: see [`super::sections`].

use firebreak_engine::incident::{Closing, IncidentState};
use firebreak_engine::period::Period;
use firebreak_engine::reason::MovesOn;
use jiff::Timestamp;

use super::Subject;
use super::escape::{code, text};
use super::sections;

/// What stands where only a person can know.
pub const FOR_A_PERSON: &str = "_to be filled in by a person_";

/// The report as Markdown.
pub fn markdown(subject: &Subject<'_>) -> String {
    let Subject { incident, summary, state, now } = *subject;
    let fill = FOR_A_PERSON;
    let title = format!("{}/{}", incident.namespace, incident.name);
    let started = state.detected_at.or(state.opened_at);
    let responded = state.policy.as_ref().filter(|policy| !policy.uid.is_empty());
    let policy = responded.map_or_else(
        || "none has responded".to_owned(),
        |policy| {
            format!(
                "{}, generation {}, as ServiceAccount {}",
                code(&policy.name),
                policy.generation,
                code(&policy.service_account)
            )
        },
    );
    [
        format!("# Incident Report: {}\n", text(&title)),
        "## Summary".to_owned(),
        format!("- **Summary**: {}", summary.filter(|said| !said.is_empty()).map_or(fill.to_owned(), text)),
        format!("- **Date**: {}", started.map_or("unknown".to_owned(), |at| at.strftime("%F").to_string())),
        format!("- **Duration**: {}", duration(started, state.resolved_at, now)),
        format!("- **Severity**: {}", severity(state)),
        format!("- **Policy**: {policy}"),
        format!("- **Outcome**: {}", closing(state)),
        format!("- **Impact**: {fill}"),
        format!("- **Root Cause**: {fill}"),
        format!("\n### How long it took\n\n{}", sections::milestones(state, started)),
        format!("## Timeline\n\n{}", sections::timeline(&state.timeline)),
        "## Impact Assessment".to_owned(),
        format!("- **Users Affected**: {fill}"),
        format!("- **Revenue Impact**: {fill}"),
        format!("- **SLA Breach**: {fill}"),
        format!("- **Data Loss**: {fill}"),
        format!("\n## Root Cause Analysis\n{fill}\n"),
        format!("### What the rules said last\n\n{}", sections::rules(&state.rules)),
        format!("### What the signals said last\n\n{}", sections::signals(&state.signals)),
        "## Resolution\n".to_owned(),
        format!("### Steps\n\n{}", sections::steps(&state.steps)),
        format!(
            "### Changes\n\n{}{}",
            sections::changes(&state.changes),
            sections::operations(&state.changes)
        ),
        format!("### What was not put back, and why\n\n{}", sections::not_put_back(state)),
        format!("### What was not changed, and why\n\n{}", sections::not_changed(&state.changes)),
        "## Action Items".to_owned(),
        format!("- [ ] {fill} - Owner: {fill} - Due: {fill}"),
        format!("\n## Lessons Learned\n{fill}\n"),
        format!("---\n_Written by Firebreak at {}. Incident uid {}._\n", moment(now), code(&incident.uid)),
    ]
    .join("\n")
}

/// A time as people read it.
pub fn moment(at: Timestamp) -> String {
    at.strftime("%F %T UTC").to_string()
}

/// The time between two moments in whole seconds; never negative, because
/// clocks of two machines may differ.
pub fn between(from: Timestamp, to: Timestamp) -> String {
    Period::seconds(to.duration_since(from).as_secs().max(0)).to_string()
}

fn duration(started: Option<Timestamp>, resolved: Option<Timestamp>, now: Timestamp) -> String {
    match (started, resolved) {
        (Some(start), Some(end)) => format!("{} - {} ({})", moment(start), moment(end), between(start, end)),
        (Some(start), None) => format!("{} - not over yet ({} so far)", moment(start), between(start, now)),
        (None, _) => "unknown".to_owned(),
    }
}

fn severity(state: &IncidentState) -> String {
    if let Some(level) = state.severity {
        let reason = state.severity_reason.as_deref().map(|reason| format!(" ({})", text(reason)));
        return format!("{level}{}", reason.unwrap_or_default());
    }
    // It is cleared when no rule holds any more, which is so in most reports.
    let last = state.timeline.iter().rev().find(|entry| entry.type_ == "Classified");
    last.map_or_else(
        || "none: no rule has held".to_owned(),
        |entry| {
            let level = entry.message.strip_prefix("severity ").unwrap_or(&entry.message);
            format!("{}; no rule holds any more", text(level))
        },
    )
}

fn closing(state: &IncidentState) -> String {
    let why = state.closing.map(|closing| match closing {
        Closing::Recovered => "no rule held for as long as the policy asks for",
        Closing::Withdrawn => "a person withdrew the response",
        Closing::Kept => "a person kept the changes: they are permanent",
        Closing::Deleted => "the Incident was deleted",
        Closing::NotClassified => "no rule ever held",
        Closing::Superseded => "another Incident responds for this policy",
    });
    let held = state.held.as_ref();
    match (state.resolved_at, why) {
        (Some(_), why) => format!("closed: {}", why.unwrap_or("for a reason that was not recorded")),
        (None, Some(why)) => format!("being closed: {why}"),
        (None, None) => held.map_or_else(
            || "not closed".to_owned(),
            |held| {
                let (reason, message) = (text(held.reason.name()), text(&held.message));
                match held.reason.moves_on() {
                    MovesOn::Itself => format!("not closed; it waits ({reason}): {message}"),
                    MovesOn::Person | MovesOn::Nothing => {
                        format!("not closed; a person must act ({reason}): {message}")
                    }
                }
            },
        ),
    }
}
