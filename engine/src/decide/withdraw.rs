//! The end of a response: everything back, whatever the reason, then closed.

use super::Round;
use crate::change::{Change, ChangeState};
use crate::incident::{Closing, Held};

impl Round<'_> {
    /// Puts everything back, then closes.
    pub(super) fn withdraw(&mut self, closing: Closing) {
        if self.next.closing != Some(closing) {
            self.next.closing = Some(closing);
            let text = match closing {
                Closing::Recovered => "no rule has held for recovery.for: everything is put back",
                Closing::Withdrawn => "withdrawn by a person: everything is put back",
                Closing::Deleted => "the Incident is being deleted: everything is put back",
                Closing::NotClassified => "no rule ever held: there is nothing to do",
                Closing::Superseded => "the policy's claim names another Incident: this one closes",
            };
            self.happen("WithdrawalStarted", text);
        }
        self.next.held = None;
        for index in 0..self.next.changes.len() {
            let mut change = self.next.changes[index].clone();
            let only_fenced = change.fence.is_some() && !change.state.is_outstanding();
            if change.state.is_in_force() || only_fenced {
                self.give_back(&mut change);
            }
            self.next.changes[index] = change;
        }
        if self.facts.intent.deleting && self.facts.intent.abandon {
            self.let_go();
        }
        if self.next.owes_anything() {
            self.say_what_is_outstanding();
        } else {
            self.close(closing);
        }
    }

    /// A person wants the Incident gone more than the changes back.
    fn let_go(&mut self) {
        for change in self
            .next
            .changes
            .iter_mut()
            .filter(|change| change.state.is_outstanding() || change.fence.is_some())
        {
            change.fence = None;
            change.stand(
                ChangeState::Ceded,
                "Abandoned",
                "let go of by a person; the record stays on the object",
            );
        }
        self.effects.clear();
        self.look.clear();
    }

    fn say_what_is_outstanding(&mut self) {
        let stuck =
            |change: &&Change| matches!(change.reason.as_deref(), Some("CannotPutBack" | "CannotRead"));
        let Some(change) = self.next.changes.iter().find(stuck) else { return };
        let number = self.next.changes.iter().filter(stuck).count();
        let message = format!(
            "{number} object(s) cannot be put back yet, the first is {}: {}. It is tried again by itself. If rights of the ServiceAccount are missing, \
             restore them; the last way out is to delete the Incident with the annotation firebreak.dev/abandon: \"true\"",
            change.target,
            change.message.clone().unwrap_or_default()
        );
        self.next.held = Some(Held::new("CannotPutBack", &message, false));
    }
}
