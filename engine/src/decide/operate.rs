//! Operations: what is done to objects and leaves no value that could be reverted.
//!
//! # Flow
//! The operation of a step is planned, approved and started like a change of fields. What
//! happens after a lost answer depends on its delivery: a Guarded or
//! Keyed operation is sent again until its outcome is known, an AtMostOnce operation is Unclear
//! until a person settles it.
//!
//! # Guarantees
//! A request is recorded before it is sent, and an answer speaks for that request and
//! for no other. An AtMostOnce operation is sent once. If it was recorded by a
//! process that died, it counts as sent. After a person has settled that it did not happen,
//! the next attempt is an entry of its own, so that no settlement ever counts for two.

use super::Deciding;
use super::settle::backoff;
use crate::change::{Change, ChangeState, Delivery};
use crate::effect::{Act, Effect, EffectId, Guard, Write};
use crate::facts::{Outcome, is_due};
use crate::id::ChangeId;
use crate::incident::Held;
use crate::intent::{Settlement, SettlementOutcome};
use crate::period::after;
use crate::reason::Reason;
use crate::undo;

impl<'a> Deciding<'a> {
    /// Handles the answers to the requests that were sent.
    pub(super) fn hear_of_operations(&mut self) {
        for index in 0..self.next.changes.len() {
            if self.next.changes[index].is_open_operation() {
                self.edit(index, Self::hear_of_operation);
            }
        }
    }

    fn hear_of_operation(&mut self, change: &mut Change) {
        let Some(delivery) = change.as_operation().map(|operation| operation.delivery) else { return };
        match (delivery, self.answer_to_operation(change)) {
            (_, Some(Outcome::NotSent)) if change.tries > 1 => {} // an earlier request may have taken effect
            (_, Some(Outcome::NotSent)) => {
                let why = "the response was stopped before the request was sent";
                change.stand(ChangeState::Skipped, Reason::NotSent, why);
            }
            (Delivery::Guarded, Some(outcome)) => self.hear_of_guarded(change, outcome),
            (Delivery::Keyed, Some(outcome)) => self.hear_of_keyed(change, outcome),
            (Delivery::AtMostOnce, Some(outcome)) => self.hear_of_at_most_once(change, outcome),
            (Delivery::AtMostOnce, None) if change.state == ChangeState::Intended => {
                self.outcome_is_unknown(change, "no answer to the request was recorded");
            }
            (Delivery::Guarded | Delivery::Keyed | Delivery::AtMostOnce, None) => {}
        }
    }

    /// The answer to the current request of the operation.
    fn answer_to_operation(&self, change: &Change) -> Option<&'a Outcome> {
        let request = change.request(&self.facts.incident)?;
        let act = Act::Operate(request.operation);
        self.facts.outcomes.get(&EffectId { change: change.id.clone(), act, guard: Guard::Request(request) })
    }

    /// For the deletion of one object with a uid, 404 and 409 mean that it is gone.
    fn hear_of_guarded(&self, change: &mut Change, outcome: &Outcome) {
        match outcome {
            Outcome::Done(_)
            | Outcome::Exists(_)
            | Outcome::Refused { code: 404, .. }
            | Outcome::Conflict => change.done(self.now),
            Outcome::Refused { code, why, .. } => {
                let why = format!("the API server answered {code}: {why}");
                change.stand(ChangeState::Intended, Reason::Refused, why);
            }
            Outcome::Throttled { .. } | Outcome::NotSent => {}
            Outcome::Unclear { .. } => change.state = ChangeState::Unclear,
        }
    }

    fn hear_of_keyed(&mut self, change: &mut Change, outcome: &Outcome) {
        match outcome {
            Outcome::Done(_) => change.done(self.now),
            Outcome::Exists(object) if self.is_ours(object) => change.done(self.now),
            Outcome::Exists(_) => {
                let why = "an object of that name exists and is not labelled as this Incident's";
                self.operation_failed(change, Reason::NameTaken, why);
            }
            Outcome::Refused { code, why, .. } => {
                let why = format!("the API server answered {code}: {why}");
                let retries = self.step(&change.step).map_or(0, |step| step.retries);
                // An earlier request may have taken effect, with its answer lost.
                if change.tries > retries && change.state != ChangeState::Unclear {
                    return self.operation_failed(change, Reason::Refused, &why);
                }
                change.stand(change.state, Reason::Refused, why);
                change.retry_at = Some(after(self.now, backoff(change)));
            }
            Outcome::Conflict | Outcome::Throttled { .. } => {
                change.retry_at = Some(after(self.now, backoff(change)))
            }
            Outcome::Unclear { why } => {
                let why = format!("the answer does not say whether it was carried out: {why}");
                change.stand(ChangeState::Unclear, Reason::OutcomeUnknown, why);
                change.retry_at = Some(after(self.now, backoff(change)));
            }
            Outcome::NotSent => {}
        }
    }

    /// The object carries the label of this Incident.
    fn is_ours(&self, object: &serde_json::Value) -> bool {
        object["metadata"]["labels"][undo::INCIDENT] == self.facts.incident.uid.as_str()
    }

    fn hear_of_at_most_once(&mut self, change: &mut Change, outcome: &Outcome) {
        match outcome {
            Outcome::Done(_) => change.done(self.now),
            Outcome::Refused { code, why, .. } => {
                self.operation_failed(
                    change,
                    Reason::Refused,
                    &format!("the API server answered {code}: {why}"),
                );
            }
            Outcome::Exists(_) | Outcome::Conflict => {
                self.operation_failed(change, Reason::Refused, "the API server answered 409");
            }
            Outcome::Throttled { .. } => {
                self.operation_failed(change, Reason::Throttled, "the API server answered 429");
            }
            Outcome::Unclear { why } => self.outcome_is_unknown(change, why),
            Outcome::NotSent => {}
        }
    }

    fn operation_failed(&mut self, change: &mut Change, reason: Reason, why: &str) {
        self.happen("ChangeFailed", &format!("{}: {why}", change.subject()));
        change.stand(ChangeState::Failed, reason, why);
    }

    fn outcome_is_unknown(&mut self, change: &mut Change, why: &str) {
        if change.state != ChangeState::Unclear {
            self.happen("OutcomeUnknown", &format!("{}: {why}", change.subject()));
        }
        change.stand(ChangeState::Unclear, Reason::OutcomeUnknown, why);
    }

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

    /// Sends operations of the steps again whose delivery allows it and whose outcome is unknown.
    pub(super) fn send_operations_again(&mut self) {
        for index in 0..self.next.changes.len() {
            let change = &self.next.changes[index];
            let repeats = change.as_operation().is_some_and(|operation| match operation.delivery {
                Delivery::Guarded | Delivery::Keyed => operation.on_behalf_of.is_none(),
                Delivery::AtMostOnce => false,
            });
            if !repeats || !change.is_open_operation() || !self.permits.may_send(change.again()) {
                continue;
            }
            if !is_due(change.retry_at, self.now) {
                self.wake(change.retry_at);
            } else if !self.is_being_written(&change.target) {
                self.edit(index, Self::request);
            }
        }
    }

    /// Records the next request of the operation. It is sent once it is recorded.
    pub(super) fn request(&mut self, change: &mut Change) {
        change.intend_operation(self.now);
        let Some(request) = change.request(&self.facts.incident) else { return };
        self.next.first_action_at.get_or_insert(self.now);
        self.effects.push(Effect {
            change: change.id.clone(),
            target: change.target.clone(),
            act: Act::Operate(request.operation),
            write: Write::Operation(request),
        });
    }

    /// The entry of the next attempt at the same operation, after a person has settled that the last one did not
    /// happen; none if the last one may be started again itself.
    pub(super) fn next_attempt(&self, last: &Change) -> Option<ChangeId> {
        last.as_operation()?.settlement.as_ref()?;
        let of_target = |change: &&Change| change.target.uid == last.target.uid;
        let number = self.next.changes_of(&last.step).filter(of_target).count();
        let first = ChangeId::of(&self.facts.incident.uid, &last.step, &last.target.uid);
        Some(ChangeId::attempt(&first, number))
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
        if change.reason == Some(Reason::Refused) && change.on_behalf_of().is_some() {
            let why = change.message.clone().unwrap_or_default();
            return change.stand(ChangeState::Failed, Reason::Refused, why);
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
    use std::sync::Arc;

    use serde_json::json;

    use super::super::given::{Given, NOW, at};
    use super::*;
    use crate::change::{Operation, OperationType};

    fn operation(delivery: Delivery) -> Change {
        let given = Given::pinned().change("one", "a", ChangeState::Applied);
        let target = given.facts.state.changes[0].target.clone();
        let id = ChangeId::of("incident", "one", &target.uid);
        let mut change =
            Change::operation(id, "one", target, Operation::new(OperationType::Rehearse, delivery, None));
        change.intend_operation(at(NOW - 1));
        change
    }

    /// The operation after this answer to its request.
    fn heard(mut change: Change, outcome: Option<Outcome>) -> Change {
        let mut given = Given::pinned().change("one", "a", ChangeState::Applied);
        let request = change.request(&given.facts.incident).unwrap();
        let (act, guard) = (Act::Operate(request.operation), Guard::Request(request));
        let id = EffectId { change: change.id.clone(), act, guard };
        given.facts.outcomes.extend(outcome.map(|outcome| (id, outcome)));
        given.deciding().hear_of_operation(&mut change);
        change
    }

    fn exists(incident: &str) -> Option<Outcome> {
        let object = json!({"metadata": {"name": "a-job", "labels": {undo::INCIDENT: incident}}});
        Some(Outcome::Exists(Arc::new(object)))
    }

    #[test]
    fn an_object_of_the_name_is_ours_if_it_carries_our_label() {
        assert_eq!(heard(operation(Delivery::Keyed), exists("incident")).state, ChangeState::Done);
        let taken = heard(operation(Delivery::Keyed), exists("another"));
        assert_eq!((taken.state, taken.reason), (ChangeState::Failed, Some(Reason::NameTaken)));
    }

    #[test]
    fn the_key_is_the_same_for_every_request_of_a_round_and_for_no_other() {
        let incident = Given::pinned().facts.incident;
        let mut change = operation(Delivery::Keyed);
        let first = change.request(&incident).unwrap();
        change.intend_operation(at(NOW));
        let second = change.request(&incident).unwrap();
        assert_eq!((first.key.clone(), first.number, second.number), (second.key, 1, 2));
        change.stand(ChangeState::Failed, Reason::Refused, "no");
        change.intend_operation(at(NOW));
        assert_ne!(change.request(&incident).unwrap().key, first.key);
        let mut elsewhere = incident.clone();
        elsewhere.uid = "another".to_owned();
        assert_ne!(operation(Delivery::Keyed).request(&elsewhere).unwrap().key, first.key);
    }

    #[test]
    fn a_no_is_final_only_when_no_earlier_request_can_have_taken_effect() {
        let refused = || Some(Outcome::Refused { code: 422, why: "no".to_owned(), fields: Vec::new() });
        let mut known = operation(Delivery::Keyed);
        known.tries = 200;
        assert_eq!(heard(known.clone(), refused()).state, ChangeState::Failed);
        known.state = ChangeState::Unclear;
        assert_eq!(heard(known, refused()).state, ChangeState::Unclear);
    }

    #[test]
    fn what_may_be_sent_once_is_unclear_without_an_answer_and_begins_again_if_it_was_not_sent() {
        let unanswered = heard(operation(Delivery::AtMostOnce), None);
        assert!(unanswered.needs_settlement(), "{unanswered:?}");
        let late = heard(unanswered, Some(Outcome::Done(Arc::new(json!({})))));
        assert_eq!(late.state, ChangeState::Done, "an answer that comes late still tells");
        let kept = heard(operation(Delivery::AtMostOnce), Some(Outcome::NotSent));
        assert_eq!((kept.state, kept.reason), (ChangeState::Skipped, Some(Reason::NotSent)));
        for answer in [Outcome::Conflict, Outcome::Throttled { after: None }] {
            assert_eq!(heard(operation(Delivery::AtMostOnce), Some(answer)).state, ChangeState::Failed);
        }
    }
}
