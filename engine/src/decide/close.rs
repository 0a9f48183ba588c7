//! The end of an Incident: the report, then Resolved.

use jiff::Timestamp;

use super::Deciding;
use crate::change::{Change, ChangeState};
use crate::incident::{Closing, IncidentState, TimelineEntry};
use crate::reason::Reason;

/// The entry of the timeline that says why it closed.
const RESOLVED: &str = "Resolved";

/// The state after it is closed. The report shows it, because it is written just before.
pub fn as_closed(state: &IncidentState, now: Timestamp) -> IncidentState {
    let mut closed = state.clone();
    closed.resolved_at = Some(now);
    let message = closed.closing.map(text).unwrap_or_default();
    closed.timeline.push(TimelineEntry { at: now, type_: RESOLVED.to_owned(), message });
    closed
}

fn text(closing: Closing) -> String {
    format!("closed: {}", closing.name())
}

impl Deciding<'_> {
    /// All changes have ended: the report is written first, so that it exists when
    /// the Incident is Resolved.
    pub(super) fn close(&mut self, closing: Closing) {
        self.leave_open_operations();
        let worth_a_report = self.next.classified_at.is_some();
        if worth_a_report && self.next.report.is_none() {
            match &self.facts.report {
                None => {
                    self.report = true;
                    return;
                }
                Some(report) => {
                    let report = report.clone();
                    match &report.problem {
                        Some(problem) if report.name.is_empty() => self.happen("ReportNotWritten", problem),
                        Some(problem) => self.happen("ReportTemplateFailed", problem),
                        None => {}
                    }
                    self.next.report = Some(report);
                }
            }
        }
        self.next.resolved_at = Some(self.now);
        self.happen(RESOLVED, &text(closing));
    }

    /// A closed Incident handles no more answers, so this records the final state of what is still open.
    pub(super) fn leave_open_operations(&mut self) {
        for index in 0..self.next.changes.len() {
            let change = &self.next.changes[index];
            if change.is_open_operation() && change.reason != Some(Reason::NeverSettled) {
                self.edit(index, Self::leave_open);
            }
        }
    }

    fn leave_open(&mut self, change: &mut Change) {
        if change.came_to_nothing() {
            let reason = change.reason.clone().unwrap_or(Reason::NotSent);
            let why = change.message.clone().unwrap_or_default();
            return match change.on_behalf_of() {
                Some(_) => change.stand(ChangeState::Failed, reason, why),
                None => self.operation_failed(change, reason, &why),
            };
        }
        let why = format!("the Incident closed before its outcome was known; look at {}", change.target);
        // An operation on behalf of another change needs no report: that change shows whether it was needed.
        if change.on_behalf_of().is_none() {
            self.happen("OutcomeUnknown", &format!("{}: {why}", change.subject()));
        }
        change.stand(ChangeState::Unclear, Reason::NeverSettled, why);
    }
}

#[cfg(test)]
mod tests {
    use super::super::decide;
    use super::super::fixture::{Fixture, NOW, at};
    use super::*;
    use crate::change::{Delivery, Operation, OperationType};
    use crate::incident::ReportStatus;

    #[test]
    fn the_report_of_what_was_classified_is_there_before_it_is_closed() {
        let classified = Fixture::pinned();
        let mut deciding = classified.deciding();
        deciding.close(Closing::Recovered);
        assert!(deciding.report && deciding.next.resolved_at.is_none());
        let written = classified.with(|facts| {
            facts.report = Some(ReportStatus { name: "outage-report".to_owned(), problem: None });
        });
        let mut deciding = written.deciding();
        deciding.close(Closing::Recovered);
        assert!(!deciding.report && deciding.next.resolved_at == Some(at(NOW)));
        assert_eq!(deciding.next.report.unwrap().name, "outage-report");
        let unclassified = Fixture::quiet();
        let mut deciding = unclassified.deciding();
        deciding.close(Closing::NotClassified);
        assert!(!deciding.report && deciding.next.resolved_at.is_some(), "there is nothing to report");
    }

    #[test]
    fn what_is_closed_never_changes_again_whatever_its_policy_says() {
        let given = Fixture::pinned();
        let mut deciding = given.deciding();
        deciding.close(Closing::NotClassified);
        let mut closed = deciding.finish().next;
        closed.resolved_at = Some(at(NOW));
        assert!(!closed.steps.is_empty());
        let given = given.with(|facts| facts.state = closed.clone());
        assert_eq!(decide(&given.facts, None, at(NOW)).next, closed);
    }

    #[test]
    fn a_report_that_could_not_be_written_holds_up_no_end() {
        let failed = Fixture::pinned().with(|facts| {
            let problem = Some("forbidden".to_owned());
            facts.report = Some(ReportStatus { name: String::new(), problem });
        });
        let mut deciding = failed.deciding();
        deciding.close(Closing::Recovered);
        let told: Vec<&str> = deciding.happened.iter().map(|entry| entry.type_.as_str()).collect();
        assert_eq!(told, ["ReportNotWritten", RESOLVED]);
        assert!(deciding.next.resolved_at.is_some());
    }

    #[test]
    fn what_is_open_at_the_end_has_failed_only_if_it_is_known_to_have_done_nothing() {
        let mut given = Fixture::pinned().change("one", "a", ChangeState::Applied);
        let loan = given.facts.state.changes.remove(0);
        let operation = Operation::new(OperationType::Rehearse, Delivery::Keyed, None);
        let mut open = Change::operation(loan.id, "one", loan.target, operation);
        open.intend_operation(at(NOW - 1));
        let mut refused = open.clone();
        refused.request_came_to_nothing(Reason::Refused, "no", at(NOW));
        for (change, state, told) in
            [(open, ChangeState::Unclear, "OutcomeUnknown"), (refused, ChangeState::Failed, "ChangeFailed")]
        {
            given.facts.state.changes = vec![change];
            let mut deciding = given.deciding();
            deciding.leave_open_operations();
            assert_eq!(deciding.next.changes[0].state, state);
            assert_eq!(deciding.happened[0].type_, told);
            let events = deciding.happened.len();
            deciding.leave_open_operations();
            assert_eq!(deciding.happened.len(), events, "it is told once");
        }
    }
}
