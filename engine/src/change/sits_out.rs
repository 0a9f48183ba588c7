//! Changed objects that say nothing about their change.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Change, ChangeState, cut};
use crate::reason::Reason;
use crate::verdict::Verdict;

/// Why an object says nothing about its change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SitsOut {
    /// In one word.
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub reason: Reason,
    /// For people.
    #[cfg_attr(feature = "schema", schemars(length(max = 512)))]
    pub message: String,
}

impl SitsOut {
    /// The reason; the message is cut to what the schema allows.
    pub fn new(reason: Reason, message: &str) -> Self {
        Self { reason, message: cut(message, 512) }
    }
}

impl Change {
    /// Whether its object says nothing about it: it is off on purpose, gone, or its pods keep their template.
    pub fn sits_out(&self) -> bool {
        self.why_it_sits_out().is_some()
    }

    /// Why its object says nothing about it; none if it does.
    pub fn why_it_sits_out(&self) -> Option<&SitsOut> {
        self.loan()?.sits_out.as_ref()
    }

    /// Its object says nothing about it any more.
    pub fn sit_out(&mut self, why: SitsOut) {
        if let Some(loan) = self.work.loan_mut() {
            loan.sits_out = Some(why);
        }
    }

    /// Its object says something about it again. It has its time to get healthy, like an object that joins, unless it
    /// has rolled out already.
    pub fn take_part(&mut self, rollout: Verdict, now: Timestamp) {
        let Some(loan) = self.work.loan_mut() else { return };
        let Some(why) = loan.sits_out.take() else { return };
        // Of what is reverted it says how the object was with the change.
        if self.state != ChangeState::Reverted {
            loan.unhealthy_since = None;
        }
        if self.state != ChangeState::Verified || rollout != Verdict::True {
            loan.resumed_at = Some(now);
        }
        if self.state == ChangeState::Verified && rollout != Verdict::True {
            self.state = ChangeState::Applied;
        }
        if self.reason == Some(why.reason) {
            self.explain(None);
        }
    }

    /// Reports why its object says nothing about it, unless the change has something else to report.
    pub fn show_that_it_sits_out(&mut self) {
        let Some(why) = self.why_it_sits_out().cloned() else { return };
        if self.reason.is_none() || self.reason.as_ref() == Some(&why.reason) {
            self.explain(Some((why.reason, why.message)));
        }
    }

    /// Since when its object is expected to get healthy: it has been changed, and does not sit out.
    pub fn judged_since(&self) -> Option<Timestamp> {
        let resumed_at = self.loan().and_then(|loan| loan.resumed_at);
        self.took_effect_at().map(|at| resumed_at.map_or(at, |resumed| resumed.max(at)))
    }

    /// Since when its object is expected to get healthy without it: the revert has started, and the object does not sit out.
    pub fn expected_back_since(&self) -> Option<Timestamp> {
        let resumed_at = self.loan().and_then(|loan| loan.resumed_at);
        self.rolls_back_since().map(|at| resumed_at.map_or(at, |resumed| resumed.max(at)))
    }

    /// Whether all checks of its step have passed since its object last sat out.
    pub fn was_verified(&self) -> bool {
        let resumed_at = self.loan().and_then(|loan| loan.resumed_at);
        self.verified_at().is_some_and(|at| resumed_at.is_none_or(|resumed| resumed <= at))
    }
}
