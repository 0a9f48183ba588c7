//! The end: report, then Resolved.

use super::Round;
use crate::incident::{Closing, ReportStatus};

impl Round<'_> {
    /// Everything is back: the report is written first, so that it is there when
    /// the Incident is Resolved.
    pub(super) fn close(&mut self, closing: Closing) {
        let worth_a_report = self.next.classified_at.is_some();
        if worth_a_report && self.next.report.is_none() {
            match &self.facts.report {
                None => {
                    self.report = true;
                    return;
                }
                Some(Ok(name)) => self.next.report = Some(ReportStatus { name: name.clone(), problem: None }),
                Some(Err(why)) => {
                    self.happen("ReportNotWritten", why);
                    let problem = Some(crate::change::cut(why, 1024));
                    self.next.report = Some(ReportStatus { name: String::new(), problem });
                }
            }
        }
        self.next.resolved_at = Some(self.now);
        self.happen("Resolved", &format!("closed: {}", closing.name()));
    }
}
