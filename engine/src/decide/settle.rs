//! Open intents: how each of them ended, and what to do if that is not known.
//!
//! # Flow
//! An answer is about one request, never about the intent, because an earlier request
//! may have been applied with its reply lost. So after anything but 200 the
//! target is read live. If it has our record, the change was applied. If it has no record and
//! the base version, the same bytes are sent again. If it has no record and another version, no
//! older request can take effect, and a new intent may be recorded.
//!
//! # Guarantees
//! An intent is abandoned only when no request of it can take effect any more:
//! the version has changed, by a fence if necessary, or the last request was sent
//! [`LATE_REQUEST`] ago.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Deciding;
use super::climb::RELIST_IDLE;
use super::patience::{backoff, reason_of_failure};
use super::recover::is_stuck;
use crate::action::{Plan, Values};
use crate::change::{Again, Change, ChangeState, FieldChange, cut};
use crate::effect::Act;
use crate::facts::{ObjectRead, Outcome, Target, is_due};
use crate::period::{Period, after};
use crate::reason::Reason;
use crate::rules::Step;
use crate::seal::is_seal;
use crate::undo;

/// After this time no request can still be in flight: clients give up after 30 s
/// and the server after 60 s.
pub(super) const LATE_REQUEST: SignedDuration = SignedDuration::from_secs(120);
/// What is known after a reply that is no clear answer.
const UNKNOWN: &str = "the reply does not say whether the change was applied";
/// The number of requests with unknown outcome before a person is asked.
const UNKNOWN_ROUNDS: u8 = 3;
/// When the targets that were not retried after a conflict get their next turn.
const NEXT_TURN: SignedDuration = SignedDuration::from_millis(50);
/// The minimum wait after a failed live read.
const SLOW_READ: SignedDuration = SignedDuration::from_secs(2);

impl Deciding<'_> {
    /// Settles everything in progress, as far as this decision can: open intents, and the traces of loans
    /// that someone else has ended.
    pub(super) fn settle(&mut self) {
        let mut turns = self.turns_after_conflicts();
        for index in 0..self.next.changes.len() {
            self.edit(index, |deciding, change| {
                deciding.note_what_return_did(change);
                if change.is_open_intent() {
                    deciding.settle_intent(change, &mut turns);
                } else if change.state == ChangeState::Reverting
                    && !deciding.permits.withdraws()
                    && deciding.permits.may_write()
                {
                    deciding.revert(change);
                }
            });
        }
    }

    /// Handles the answers to open intents, and nothing else.
    pub(super) fn hear_of_intents(&mut self) {
        for index in 0..self.next.changes.len() {
            if self.next.changes[index].is_open_intent() {
                self.edit(index, Self::hear);
            }
        }
    }

    fn settle_intent(&mut self, change: &mut Change, turns: &mut usize) {
        self.hear(change);
        if !change.is_open_intent() {
            return;
        }
        let gives_up = self.gives_up(change);
        if change.state == ChangeState::Held && gives_up.is_none() {
            return; // until a person decides
        }
        let begins_to_withdraw = self.permits.withdraws() && !self.facts.state.is_withdrawing();
        if !is_due(change.retry_at, self.now) && !begins_to_withdraw {
            return self.wake(change.retry_at);
        }
        if self.permits.may_send(change.again()) && change.conflicts() > 0 {
            if *turns == 0 {
                return self.wake_in(NEXT_TURN);
            }
            *turns -= 1;
        }
        self.resolve(change, gives_up);
    }

    /// Handles the answer to the last effect.
    fn hear(&mut self, change: &mut Change) {
        if let Some(outcome) = self.answer(change, Act::Fence) {
            self.hear_about_fence(change, outcome);
        }
        let Some(outcome) = self.answer(change, Act::Apply) else { return };
        match outcome {
            Outcome::Done(object) if undo::loan(object, &change.id, &self.facts.incident).is_none() => {
                self.record_not_kept(change);
            }
            Outcome::Done(object) => {
                let adopted = undo::adopt_reply(object, change.fields_mut());
                self.tell_of_admission(change, &adopted);
                self.applied(change, object);
            }
            Outcome::NotSent => {}
            Outcome::Refused { code, why, .. } => {
                change.state = ChangeState::Intended;
                self.try_later(change, SignedDuration::ZERO);
                change.explain(Some((Reason::Refused, format!("the API server answered {code}: {why}"))));
            }
            Outcome::Exists(_) | Outcome::Conflict => {
                change.state = ChangeState::Intended;
                self.met_a_conflict(change);
                change.explain(Some((
                    Reason::Conflict,
                    "someone else changed the object in the meantime".to_owned(),
                )));
            }
            Outcome::Throttled { after } => {
                change.state = ChangeState::Intended;
                self.try_later(change, after.unwrap_or_default());
                let throttled = "the API server asked to try again later (429)";
                change.explain(Some((Reason::Throttled, throttled.to_owned())));
            }
            Outcome::Unclear { why } => {
                change.state = ChangeState::Unclear;
                self.try_later(change, SignedDuration::ZERO);
                let unknown = format!("{UNKNOWN}: {why}");
                change.explain(Some((Reason::OutcomeUnknown, unknown)));
            }
        }
    }

    /// The values are in force and the object does not say how to revert them. A new plan would mistake them
    /// for the previous values.
    fn record_not_kept(&mut self, change: &mut Change) {
        let is_sealed = |field: &&FieldChange| field.before.as_ref().is_some_and(is_seal);
        let sealed: Vec<String> =
            change.fields().iter().filter(is_sealed).map(|field| field.path.to_string()).collect();
        let but_for = match sealed.is_empty() {
            true => String::new(),
            false => format!(
                ", except for {}, which may be secret: take those from Git or from an older ReplicaSet",
                sealed.join(", ")
            ),
        };
        let message = format!(
            "the write was accepted, but something (a webhook?) removed the annotation {} from it. \
             Firebreak does not revert this change: the previous values are in status.changes of this \
             Incident{but_for}",
            undo::UNDO
        );
        change.set_applied_at(self.now);
        self.happen("ChangeFailed", &format!("{}: {message}", change.target));
        change.stand(ChangeState::Failed, Reason::RecordNotKept, message);
    }

    /// A live read shows the outcome of the fence; only a rejection is recorded.
    fn hear_about_fence(&mut self, change: &mut Change, outcome: &Outcome) {
        match outcome {
            Outcome::Done(_) | Outcome::NotSent => {}
            Outcome::Exists(_) | Outcome::Conflict => self.met_a_conflict(change),
            Outcome::Throttled { after } => self.try_later(change, after.unwrap_or_default()),
            Outcome::Unclear { .. } => self.try_later(change, SignedDuration::ZERO),
            Outcome::Refused { .. } => change.reason = Some(Reason::FenceRefused),
        }
    }

    /// Why the intent is to be abandoned, if it is.
    fn gives_up(&self, change: &Change) -> Option<String> {
        if !self.permits.may_write() {
            return None; // to give up is to write
        }
        if self.permits.withdraws() {
            return Some("the response was withdrawn before it was applied".to_owned());
        }
        if change.state == ChangeState::Held {
            return None;
        }
        let last = change.message.clone().unwrap_or_else(|| "no answer".to_owned());
        if change.fence().is_some() {
            return Some(last);
        }
        let Some(step) = self.step(&change.step) else {
            return Some("its step can no longer be read".to_owned());
        };
        if self.is_overdue(change, step) {
            let limit = Period::from(step.timeout);
            return Some(format!("it was not applied within {limit}: {last}"));
        }
        let answered = change.state == ChangeState::Intended;
        (answered && change.tries > step.retries).then_some(last)
    }

    fn resolve(&mut self, change: &mut Change, gives_up: Option<String>) {
        let Some(found) = self.look_at(&change.target) else { return };
        let target = match found {
            ObjectRead::Found(target) => target,
            ObjectRead::Gone => return change.object_gone(),
            ObjectRead::Refused { why } | ObjectRead::Failed { why } => {
                change.explain(Some((
                    Reason::CannotRead,
                    format!("cannot read whether it was applied: {why}"),
                )));
                change.retry_at = Some(after(self.now, backoff(change).max(SLOW_READ)));
                return self.wake(change.retry_at);
            }
        };
        let moved = change.base() != Some(&target.version);
        let has_record = undo::loan(&target.object, &change.id, &self.facts.incident).is_some();
        if has_record || (moved && undo::was_applied(&target.object, change.fields())) {
            let adopted = undo::adopt_stored(&target.object, change.fields_mut());
            self.tell_of_admission(change, &adopted);
            return self.applied(change, &target.object);
        }
        match (gives_up, moved) {
            (Some(why), true) => {
                change.set_fence(fence_on(target));
                self.abandon(change, &why);
            }
            (Some(why), false) => self.fence(change, target, &why),
            // It may still take effect, or be sent again when a rule holds again; after the timeout it is given up.
            (None, _) if !self.permits.may_send(change.again()) => {
                can_be_read(change);
                let step =
                    self.step(&change.step).and_then(|step| Some(after(change.joined_at?, step.timeout)));
                self.wake_in(RELIST_IDLE);
                self.wake(step.filter(|_| self.permits.may_write()));
            }
            (None, true) => self.intend_again(change, target),
            (None, false) => self.send_again(change, target),
        }
    }

    /// It took effect, as the object shows. If the record was removed since, the person who
    /// removed it has taken the change over.
    fn applied(&mut self, change: &mut Change, object: &Value) {
        change.applied(self.now);
        if undo::loan(object, &change.id, &self.facts.incident).is_some() {
            self.move_fields_to(change);
            undo::cede_changed(object, change.fields_mut());
        }
    }

    fn send_again(&mut self, change: &mut Change, target: &Target) {
        if change.state == ChangeState::Unclear && change.tries >= UNKNOWN_ROUNDS {
            can_be_read(change);
            let why = change.message.clone().unwrap_or_default();
            self.happen("OutcomeUnknown", &format!("{}: {why}", change.target));
            return change.stand(ChangeState::Held, Reason::OutcomeUnknown, why);
        }
        if self.is_being_written(&change.target) {
            return;
        }
        let others = self.outstanding_on(&target.id.uid);
        match undo::apply_patch(&target.object, change, &self.facts.incident, &others) {
            Ok(patch) => {
                change.sending(target.version.clone(), self.now);
                self.effect(change, Act::Apply, patch);
            }
            Err(error) => self.fence(change, target, &error.to_string()),
        }
    }

    /// No older request can take effect, so the change is planned again on the current object.
    fn intend_again(&mut self, change: &mut Change, target: &Target) {
        let Some(step) = self.step(&change.step).cloned() else { return };
        let Some(plan) = self.consider(&step, target) else { return };
        let (reason, why) = match plan {
            Plan::Change(fields) if self.is_beyond_approval(change, &fields) => {
                let why = "the object has changed since its plan was approved, so it is planned again";
                (Reason::PlanChanged, why.to_owned())
            }
            Plan::Change(fields) => {
                change.set_fields(fields);
                return self.intend(change, target);
            }
            Plan::Operate(_) => (Reason::NothingToDo, "the step changes no fields any more".to_owned()),
            Plan::NothingToDo(why) => (Reason::NothingToDo, why),
            Plan::Refused { reason, message } => (reason, message),
        };
        change.set_fence(fence_on(target));
        // It was applied before, and its step may apply it again once nothing speaks against it.
        if change.round > 1 && change.again() == Again::Never && reason != Reason::ValueOfAnother {
            change.set_again(Again::IfMatching);
        }
        change.stand(not_in_force(change), reason, why);
    }

    /// Records the intent. It is sent once it is recorded.
    pub(super) fn intend(&mut self, change: &mut Change, target: &Target) {
        if self.is_being_written(&change.target) {
            return;
        }
        let mut intended = change.clone();
        intended.note_first_values(&self.first_values(&change.target.uid));
        intended.note_health_before(target);
        intended.intend(target.version.clone(), self.now);
        if self.step(&change.step).is_some_and(|step| step.action.descriptor().values == Values::Multiples) {
            intended.fix_ceiling();
        }
        let others = self.outstanding_on(&target.id.uid);
        match undo::apply_patch(&target.object, &intended, &self.facts.incident, &others) {
            Ok(patch) => {
                *change = intended;
                self.tell_of_adoption(change, &target.object);
                self.next.first_action_at.get_or_insert(self.now);
                self.effect(change, Act::Apply, patch);
            }
            Err(error) => change.stand(ChangeState::Skipped, Reason::CannotRecord, error.to_string()),
        }
    }

    /// Changes the object's version, so that a late request fails.
    fn fence(&mut self, change: &mut Change, target: &Target, why: &str) {
        // Where annotations propagate to the pods, a fence would restart them.
        if change.reason == Some(Reason::FenceRefused) || target.slots.metadata_propagates {
            let safe = after(change.sent_at.unwrap_or(self.now), LATE_REQUEST);
            if safe <= self.now {
                change.set_fence(None);
                return self.abandon(change, why);
            }
            return self.wake(Some(safe));
        }
        if self.is_being_written(&change.target) {
            return;
        }
        let nonce = format!("{}-{}", change.id, target.version.as_str());
        let Ok(patch) = undo::fence_patch(&target.object, &nonce) else { return };
        let reason = change.reason.clone().unwrap_or(Reason::GivenUp);
        change.set_fence(Some(nonce));
        change.sending(target.version.clone(), self.now);
        change.explain(Some((reason, why.to_owned())));
        self.effect(change, Act::Fence, patch);
    }

    /// No request of the intent can take effect any more.
    fn abandon(&mut self, change: &mut Change, why: &str) {
        if self.permits.withdraws() {
            if self.next.closing.is_none() && change.round > 1 {
                change.set_again(Again::Possible); // the emergency may come back once more
            }
            return change.stand(not_in_force(change), Reason::Withdrawn, why);
        }
        change.stand(ChangeState::Failed, reason_of_failure(change), why);
        self.happen("ChangeFailed", &format!("{}: {why}", change.target));
    }

    /// Whether an open intent is older than its step allows.
    pub(super) fn is_overdue(&self, change: &Change, step: &Step) -> bool {
        change.is_open_intent()
            && change.joined_at.is_some_and(|joined| after(joined, step.timeout) <= self.now)
    }
}

/// It could not be read, and now it can. What its last request has done is still not known if the reply did not say it.
fn can_be_read(change: &mut Change) {
    if is_stuck(change) {
        let unknown =
            (change.state == ChangeState::Unclear).then(|| (Reason::OutcomeUnknown, UNKNOWN.to_owned()));
        change.explain(unknown);
    }
}

/// The fence that is on the object, possibly since an earlier round: it must be removed.
fn fence_on(target: &Target) -> Option<String> {
    undo::annotation(&target.object, undo::FENCE).map(|nonce| cut(nonce, 128))
}

/// The state of a change whose newest intent failed: an earlier round was reverted.
fn not_in_force(change: &Change) -> ChangeState {
    if change.round > 1 { ChangeState::Reverted } else { ChangeState::Skipped }
}

/// Since when the last of these changes is judged.
pub(super) fn last_applied<'a>(changes: impl Iterator<Item = &'a Change>) -> Option<Timestamp> {
    changes.filter_map(Change::judged_since).max()
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
