//! What people say became of an operation that nobody else can tell.

use super::Deciding;
use crate::change::{Change, ChangeState};
use crate::incident::Held;
use crate::intent::{Settlement, SettlementOutcome};
use crate::reason::Reason;

impl Deciding<'_> {
    /// Handles what people have found out about operations with an unknown outcome.
    pub(super) fn hear_of_settlements(&mut self) {
        for settlement in &self.facts.intent.settlements {
            let is_meant =
                |change: &Change| change.id.as_str() == settlement.change && change.needs_settlement();
            if let Some(index) = self.next.changes.iter().position(is_meant) {
                self.edit(index, |deciding, change| deciding.settle_operation(change, settlement));
            }
        }
    }

    fn settle_operation(&mut self, change: &mut Change, settlement: &Settlement) {
        let by = &settlement.settled_by;
        let said = match settlement.outcome {
            SettlementOutcome::Happened => {
                change.done(self.now);
                "happened"
            }
            SettlementOutcome::DidNotHappen => {
                let why = format!("{by} says that it did not happen; the step may carry it out again");
                change.stand(ChangeState::Skipped, Reason::DidNotHappen, why);
                "did not happen"
            }
        };
        change.settled(settlement.outcome, by, self.now);
        self.happen("OutcomeSettled", &format!("{}: {by} says that it {said}", change.subject()));
    }

    /// What a person must know about an operation whose outcome only they can find out.
    pub(super) fn unknown_operation(&self) -> Option<Held> {
        let change = self.next.changes.iter().find(|change| change.needs_settlement())?;
        let settle = self.facts.incident.command_for_step("settle", change.id.as_str());
        let message = format!(
            "step {}: whether the {} took place is not known: {}. It is not sent again. Look at {}, then say what you \
             found with `{settle} --happened` or `{settle} --did-not-happen`",
            change.step,
            change.subject(),
            change.message.as_deref().unwrap_or_default(),
            change.target,
        );
        Some(Held::new(Reason::OutcomeUnknown, &message))
    }
}
