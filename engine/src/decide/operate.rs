//! Operations: what is done to objects and leaves no value to put back.
//!
//! # Guarantees
//! A request is recorded before it is sent, and an answer speaks for that request
//! and for no other. A guarded operation may be sent again, because its precondition
//! makes a second request harmless.

use super::Deciding;
use crate::change::{Change, ChangeState, Delivery};
use crate::effect::{Act, Effect, EffectId, Guard, Write};
use crate::facts::Outcome;
use crate::reason::Reason;

impl Deciding<'_> {
    /// Takes in what became of the requests that were sent.
    pub(super) fn hear_of_operations(&mut self) {
        for index in 0..self.next.changes.len() {
            if self.next.changes[index].is_open_operation() {
                self.edit(index, Self::hear_of_operation);
            }
        }
    }

    fn hear_of_operation(&mut self, change: &mut Change) {
        let Some(delivery) = change.as_operation().map(|operation| operation.delivery) else { return };
        let Some(outcome) = self.answer_to_operation(change) else { return };
        match delivery {
            Delivery::Guarded | Delivery::Keyed | Delivery::AtMostOnce => {
                self.hear_of_guarded(change, outcome);
            }
        }
    }

    /// What the API server said to the request that the operation stands for now.
    fn answer_to_operation(&self, change: &Change) -> Option<&Outcome> {
        let request = change.request(&self.facts.incident)?;
        let act = Act::Operate(request.operation);
        self.facts.outcomes.get(&EffectId { change: change.id.clone(), act, guard: Guard::Request(request) })
    }

    fn hear_of_guarded(&self, change: &mut Change, outcome: &Outcome) {
        match outcome {
            // 404 and 409: the object is gone, or another one has its name.
            Outcome::Done(_) | Outcome::Refused { code: 404, .. } | Outcome::Conflict => {
                change.done(self.now)
            }
            Outcome::Refused { code, why, .. } => {
                let why = format!("the API server answered {code}: {why}");
                change.stand(ChangeState::Intended, Reason::Refused, why);
            }
            Outcome::Throttled { .. } => {}
            Outcome::Unclear { .. } => change.state = ChangeState::Unclear,
        }
    }

    /// Records the next request of the operation at this place of the journal, to be sent once it is recorded.
    pub(super) fn send_operation(&mut self, index: usize) {
        self.edit(index, |deciding, change| {
            change.intend_operation(deciding.now);
            let Some(request) = change.request(&deciding.facts.incident) else { return };
            deciding.next.first_action_at.get_or_insert(deciding.now);
            deciding.effects.push(Effect {
                change: change.id.clone(),
                target: change.target.clone(),
                act: Act::Operate(request.operation),
                write: Write::Operation(request),
            });
        });
    }
}
