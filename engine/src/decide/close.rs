//! The end: report, then Resolved.

use jiff::Timestamp;

use super::Deciding;
use crate::incident::{Closing, IncidentState, TimelineEntry};

/// The entry of the timeline that says why it closed.
const RESOLVED: &str = "Resolved";

/// The state as it stands once it is closed. The report tells this, because it is written just before.
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
    /// Everything is back: the report is written first, so that it is there when
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
}
