//! The timeline, and by whose decision each entry happened.

use firebreak_engine::incident::TimelineEntry;
use jiff::Timestamp;
use serde::Serialize;

/// What Firebreak decides itself.
const FIREBREAK: &str = "Firebreak";
/// What somebody else decides. If the name is known, the message has it.
const PERSON: &str = "a person";

/// One entry of the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TimelineView {
    /// When it happened.
    pub at: Timestamp,
    /// The type, in one word.
    #[serde(rename = "type")]
    pub type_: String,
    /// What happened, in plain words.
    pub message: String,
    /// By whose decision it happened.
    pub owner: &'static str,
}

/// The timeline of an Incident, which a policy has opened or somebody else.
pub(super) fn of(entries: Vec<TimelineEntry>, opened_by_policy: bool) -> Vec<TimelineView> {
    let view = |TimelineEntry { at, type_, message }| {
        let owner = owner(&type_, opened_by_policy);
        TimelineView { at, type_, message, owner }
    };
    entries.into_iter().map(view).collect()
}

fn owner(type_: &str, opened_by_policy: bool) -> &'static str {
    match type_ {
        "Opened" if !opened_by_policy => PERSON,
        "Acknowledged" | "Resumed" | "OutcomeSettled" => PERSON,
        _ => FIREBREAK,
    }
}
