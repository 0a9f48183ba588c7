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
//! process that died, it counts as sent. Each attempt is an entry of its own, so that
//! no answer and no settlement ever counts for two.

use jiff::{SignedDuration, Timestamp};

use super::patience::{LONGEST_WAIT, backoff};
use super::pods;
use super::{Deciding, Decision};
use crate::change::{Change, ChangeState, Delivery};
use crate::effect::{Act, Effect, EffectId, Guard, Write};
use crate::facts::{Facts, Outcome, is_due};
use crate::id::ChangeId;
use crate::period::after;
use crate::reason::Reason;
use crate::undo;

/// Handles the answers to the last intents and operations, and decides nothing else. So a process that ends records what
/// nobody else can find out: that a request was not sent, or what was answered to one that may be sent once.
pub fn learn(facts: &Facts, now: Timestamp) -> Decision {
    let mut deciding = Deciding::new(facts, None, now);
    if facts.state.resolved_at.is_none() {
        deciding.hear_of_intents();
        deciding.hear_of_operations();
    }
    Decision { next: deciding.next, happened: deciding.happened, ..Decision::default() }
}

/// How long the next request waits after one that did nothing.
fn wait(change: &Change) -> SignedDuration {
    if change.on_behalf_of().is_some() { pods::AGAIN } else { backoff(change) }
}

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
            (_, Some(Outcome::NotSent)) if change.tries > 1 => {
                change.retry_at = Some(after(self.now, backoff(change))); // no news of the earlier requests
            }
            (_, Some(Outcome::NotSent)) => {
                let why = "the response was stopped before the request was sent, or the cluster does not serve the kind of its object";
                change.stand(ChangeState::Skipped, Reason::NotSent, why);
            }
            (Delivery::Guarded, Some(outcome)) if change.operation_write().is_some() => {
                self.hear_of_write(change, outcome);
            }
            (Delivery::Guarded, Some(outcome)) => self.hear_of_guarded(change, outcome),
            (Delivery::Keyed, Some(outcome)) => self.hear_of_keyed(change, outcome),
            (Delivery::AtMostOnce, Some(outcome)) => self.hear_of_at_most_once(change, outcome),
            (Delivery::AtMostOnce, None) if change.state == ChangeState::Intended => {
                self.outcome_is_unknown(change, "no answer to the request was recorded");
            }
            // A process that is gone may have sent it.
            (Delivery::Guarded | Delivery::Keyed, None) if change.awaits_answer() => {
                change.state = ChangeState::Unclear;
            }
            (Delivery::Guarded | Delivery::Keyed | Delivery::AtMostOnce, None) => {}
        }
    }

    /// The answer to the current request of the operation.
    fn answer_to_operation(&self, change: &Change) -> Option<&'a Outcome> {
        let request = change.request(&self.facts.incident)?;
        let act = Act::Operate(request.operation);
        if change.operation_write().is_some() {
            return self.answer(change, act);
        }
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
                self.came_to_nothing(change, Reason::Refused, &why, SignedDuration::ZERO);
            }
            Outcome::Throttled { after } => self.was_throttled(change, *after),
            Outcome::Unclear { .. } => {
                change.state = ChangeState::Unclear;
                change.retry_at = Some(after(self.now, wait(change)));
            }
            Outcome::NotSent => {}
        }
    }

    pub(super) fn was_throttled(&self, change: &mut Change, asked: Option<SignedDuration>) {
        let why = "the API server asked to try again later (429)";
        self.came_to_nothing(change, Reason::Throttled, why, asked.unwrap_or_default().min(LONGEST_WAIT));
    }

    /// The newest request did nothing, and the next one waits for at least so long.
    fn came_to_nothing(&self, change: &mut Change, reason: Reason, why: &str, at_least: SignedDuration) {
        let again_at = after(self.now, wait(change).max(at_least));
        change.request_came_to_nothing(reason, why, again_at);
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
                self.came_to_nothing(change, Reason::Refused, &why, SignedDuration::ZERO);
            }
            Outcome::Conflict => {
                let why = "the API server answered 409";
                self.came_to_nothing(change, Reason::Conflict, why, SignedDuration::ZERO);
            }
            Outcome::Throttled { after } => self.was_throttled(change, *after),
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

    pub(super) fn operation_failed(&mut self, change: &mut Change, reason: Reason, why: &str) {
        self.happen("ChangeFailed", &format!("{}: {why}", change.subject()));
        change.stand(ChangeState::Failed, reason, why);
    }

    pub(super) fn outcome_is_unknown(&mut self, change: &mut Change, why: &str) {
        if change.state != ChangeState::Unclear {
            self.happen("OutcomeUnknown", &format!("{}: {why}", change.subject()));
        }
        change.stand(ChangeState::Unclear, Reason::OutcomeUnknown, why);
    }

    /// Sends operations of the steps again whose delivery allows it and whose outcome is unknown.
    pub(super) fn send_operations_again(&mut self) {
        for index in 0..self.next.changes.len() {
            let change = &self.next.changes[index];
            if change.operation_write().is_some() && change.is_open_operation() {
                self.edit(index, Self::settle_write);
                continue;
            }
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

    /// The entry of the next attempt at the same operation; none if the last entry may be started again itself.
    pub(super) fn next_attempt(&self, last: &Change) -> Option<ChangeId> {
        if !last.is_an_attempt() {
            return None;
        }
        let of_target = |change: &&Change| change.target.uid == last.target.uid;
        let number = self.next.changes_of(&last.step).filter(of_target).count();
        let first = ChangeId::of(&self.facts.incident.uid, &last.step, &last.target.uid);
        Some(ChangeId::attempt(&first, number))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::super::fixture::{Fixture, NOW, at};
    use super::*;
    use crate::change::{Operation, OperationType};

    fn operation(delivery: Delivery) -> Change {
        let given = Fixture::pinned().change("one", "a", ChangeState::Applied);
        let target = given.facts.state.changes[0].target.clone();
        let id = ChangeId::of("incident", "one", &target.uid);
        let mut change =
            Change::operation(id, "one", target, Operation::new(OperationType::Rehearse, delivery, None));
        change.intend_operation(at(NOW - 1));
        change
    }

    /// The operation after this answer to its request.
    fn heard(mut change: Change, outcome: Option<Outcome>) -> Change {
        let mut given = Fixture::pinned().change("one", "a", ChangeState::Applied);
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
        let incident = Fixture::pinned().facts.incident;
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

    fn refused(code: u16) -> Option<Outcome> {
        Some(Outcome::Refused { code, why: "no".to_owned(), fields: Vec::new() })
    }

    #[test]
    fn what_every_answer_says_did_nothing_is_known_to_have_done_nothing() {
        let throttled = || Some(Outcome::Throttled { after: Some(SignedDuration::from_secs(30)) });
        for delivery in [Delivery::Guarded, Delivery::Keyed] {
            let kept = heard(operation(delivery), throttled());
            assert!(kept.came_to_nothing() && kept.reason == Some(Reason::Throttled), "{kept:?}");
            assert!(kept.retry_at >= Some(at(NOW + 30)), "the API server asked for 30 s: {kept:?}");
            assert!(heard(operation(delivery), refused(403)).came_to_nothing());
            // The answer to a later request says nothing of one before it.
            for answer in [throttled(), refused(403)] {
                let mut unknown = operation(delivery);
                unknown.state = ChangeState::Unclear;
                let unknown = heard(unknown, answer);
                assert!(unknown.state == ChangeState::Unclear && !unknown.came_to_nothing(), "{unknown:?}");
            }
        }
    }

    #[test]
    fn a_request_that_nobody_heard_of_may_have_taken_effect() {
        for delivery in [Delivery::Guarded, Delivery::Keyed] {
            assert_eq!(heard(operation(delivery), None).state, ChangeState::Unclear);
            // Its answer was heard before.
            let known = heard(operation(delivery), refused(403));
            assert!(heard(known, None).came_to_nothing());
        }
    }

    #[test]
    fn a_request_that_is_sent_later_does_not_make_an_earlier_one_unknown() {
        let mut again = heard(operation(Delivery::Guarded), refused(403));
        again.intend_operation(at(NOW));
        assert!(!again.came_to_nothing(), "it is about to be sent");
        assert!(heard(again, Some(Outcome::NotSent)).came_to_nothing());
    }

    #[test]
    fn each_attempt_at_what_may_be_sent_once_is_an_entry_of_its_own() {
        let given = Fixture::pinned().change("one", "a", ChangeState::Applied);
        let next = |change: &Change| given.deciding().next_attempt(change);
        for answer in [refused(403), Some(Outcome::NotSent), Some(Outcome::Throttled { after: None })] {
            let ended = heard(operation(Delivery::AtMostOnce), answer);
            assert!(next(&ended).is_some_and(|id| id != ended.id), "{ended:?}");
        }
        assert_eq!(next(&heard(operation(Delivery::Keyed), Some(Outcome::NotSent))), None);
        let target = operation(Delivery::AtMostOnce).target;
        let planned = Operation::new(OperationType::Rehearse, Delivery::AtMostOnce, None);
        assert_eq!(next(&Change::operation(ChangeId::of("i", "one", "a"), "one", target, planned)), None);
    }

    #[test]
    fn a_process_that_ends_leaves_behind_what_it_has_learned_and_begins_nothing() {
        let mut given = Fixture::pinned().change("one", "a", ChangeState::Applied);
        let open = operation(Delivery::AtMostOnce);
        let request = open.request(&given.facts.incident).unwrap();
        let (act, guard) = (Act::Operate(request.operation), Guard::Request(request));
        let id = EffectId { change: open.id.clone(), act, guard };
        given.facts.outcomes.insert(id, Outcome::NotSent);
        given.facts.state.changes = vec![open];
        let decision = learn(&given.facts, at(NOW));
        assert_eq!(decision.next.changes[0].reason, Some(Reason::NotSent));
        assert!(decision.effects.is_empty() && decision.look.is_empty() && !decision.report);
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
