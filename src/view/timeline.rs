//! The timeline, and by whose decision each entry happened.

use firebreak_engine::incident::{Closing, IncidentState, TimelineEntry, WITHDRAWAL_STARTED};
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
pub(super) fn of(state: &IncidentState, opened_by_policy: bool) -> Vec<TimelineView> {
    let view = |entry: &TimelineEntry| {
        let TimelineEntry { at, type_, message } = entry.clone();
        TimelineView { at, type_, message, owner: owner(state, entry, opened_by_policy) }
    };
    state.timeline.iter().map(view).collect()
}

fn owner(state: &IncidentState, entry: &TimelineEntry, opened_by_policy: bool) -> &'static str {
    match entry.type_.as_str() {
        "Opened" if !opened_by_policy => PERSON,
        "Acknowledged" | "Approved" | "Paused" | "Braked" | "Resumed" | "OutcomeSettled" | "KeepStarted" => {
            PERSON
        }
        WITHDRAWAL_STARTED if is_for_a_person(state, entry) => PERSON,
        _ => FIREBREAK,
    }
}

/// Whether a person wanted the withdrawal that began with this entry: the one with which such an end of the Incident began.
/// A recovery begins before any end.
fn is_for_a_person(state: &IncidentState, entry: &TimelineEntry) -> bool {
    state.closing.is_some_and(Closing::is_for_a_person) && state.closing_since == Some(entry.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(closing: Option<(Closing, i64)>, entries: &[(i64, &str)]) -> Vec<&'static str> {
        let second = |second: i64| Timestamp::from_second(second).unwrap();
        let entry = |&(at, type_): &(i64, &str)| TimelineEntry {
            at: second(at),
            type_: type_.to_owned(),
            message: "withdrawn by alice".to_owned(),
        };
        let state = IncidentState {
            closing: closing.map(|(closing, _)| closing),
            closing_since: closing.map(|(_, since)| second(since)),
            timeline: entries.iter().map(entry).collect(),
            ..IncidentState::default()
        };
        of(&state, true).into_iter().map(|entry| entry.owner).collect()
    }

    #[test]
    fn what_people_decide_is_not_put_down_to_firebreak() {
        for type_ in
            ["Acknowledged", "Approved", "Paused", "Braked", "Resumed", "OutcomeSettled", "KeepStarted"]
        {
            assert_eq!(owners(None, &[(1, type_)]), [PERSON], "{type_}");
        }
        for type_ in ["Opened", "Classified", "StepStarted", "ApprovalNeeded", "ApprovalUsed", "Resolved"] {
            assert_eq!(owners(None, &[(1, type_)]), [FIREBREAK], "{type_}");
        }
    }

    #[test]
    fn a_withdrawal_is_told_from_a_recovery_by_what_ended_the_incident() {
        let entries = [(10, WITHDRAWAL_STARTED), (20, WITHDRAWAL_STARTED)];
        assert_eq!(owners(None, &entries), [FIREBREAK, FIREBREAK]);
        assert_eq!(owners(Some((Closing::Recovered, 20)), &entries), [FIREBREAK, FIREBREAK]);
        assert_eq!(owners(Some((Closing::Superseded, 20)), &entries), [FIREBREAK, FIREBREAK]);
        assert_eq!(owners(Some((Closing::Withdrawn, 20)), &entries), [FIREBREAK, PERSON]);
        assert_eq!(owners(Some((Closing::Deleted, 20)), &entries), [FIREBREAK, PERSON]);
    }
}
