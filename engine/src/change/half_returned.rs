//! A loan that goes back in two writes: first the template, then the pace of its rollout.

use jiff::Timestamp;

use super::{Again, Change};

impl Change {
    /// Since when the template is back, and only the pace of its rollout is still lent. None if both go back at once.
    pub fn template_back_at(&self) -> Option<Timestamp> {
        self.loan()?.template_back_at
    }

    /// Whether the template is back, and the pace of its rollout is not yet.
    pub fn is_half_returned(&self) -> bool {
        self.template_back_at().is_some() && self.returned_at().is_none() && self.is_in_force()
    }

    /// Since when the pods of the object get the old template again.
    pub fn rolls_back_since(&self) -> Option<Timestamp> {
        self.template_back_at().or(self.returned_at())
    }

    /// The first of two writes has reverted the template.
    pub fn template_is_back(&mut self, now: Timestamp) {
        let Some(loan) = self.work.loan_mut() else { return };
        if loan.template_back_at.is_none() {
            loan.template_back_at = Some(now);
            self.tries = 0;
            loan.conflicts = 0;
            self.retry_at = None;
            self.sent_at = None; // the second write is not sent yet
        }
    }

    /// The returned template has rolled out, and the second write is about to be sent. The status of the object lags behind
    /// that write, so what the object says counts from then on.
    pub fn template_has_rolled_out(&mut self, now: Timestamp) {
        if let Some(loan) = self.work.loan_mut() {
            loan.resumed_at = Some(now);
        }
    }

    /// Whether it is to be applied again after its revert, because the emergency returned.
    pub fn comes_back(&self) -> bool {
        matches!(self.again(), Again::Always | Again::IfMatching)
    }
}
