//! Operations that write a value to their object, such as a restart: what became of a request, and whether it is sent
//! again.
//!
//! # Flow
//! The value follows from the change, so an object that has it shows that the operation took effect. As long as the
//! object has the version that the request carries, the same request is sent again. Once it has another version, no
//! request can take effect any more. If the spec is still as it was, none has, and the operation is planned on the new
//! version. If something else has changed the spec, it may have overwritten the value: a revision that has the value
//! settles it, and otherwise only a person can.
//!
//! # Guarantees
//! The value is written to an object at most once, unless a person says that it never was. Somebody else's value that
//! came later is never replaced.

use serde_json::Value;

use super::Deciding;
use super::climb::RELIST_IDLE;
use super::patience::{backoff, soon};
use super::settle::LATE_REQUEST;
use crate::action::Plan;
use crate::change::{Again, Change, ChangeState, OperationWrite};
use crate::effect::{Act, Effect, Write};
use crate::facts::{ObjectRead, Outcome, Revision, Target, is_due};
use crate::period::{Period, after};
use crate::reason::Reason;
use crate::undo;

impl Deciding<'_> {
    /// Records the next write of the operation. It is sent once it is recorded.
    pub(super) fn request_write(&mut self, change: &mut Change, target: &Target) {
        if self.is_being_written(&change.target) {
            return;
        }
        let mut intended = change.clone();
        intended.intend_write(target, self.now);
        let Some((operation, write)) = intended.as_operation().zip(intended.operation_write()) else {
            return;
        };
        match undo::operation_patch(&target.object, write) {
            Ok(patch) => {
                let act = Act::Operate(operation.operation);
                self.effects.push(Effect {
                    change: change.id.clone(),
                    target: change.target.clone(),
                    act,
                    write: Write::Patch(patch),
                });
                self.next.first_action_at.get_or_insert(self.now);
                *change = intended;
            }
            Err(error) => change.stand(ChangeState::Skipped, Reason::CannotRecord, error.to_string()),
        }
    }

    /// Handles the answer to the newest write.
    pub(super) fn hear_of_write(&mut self, change: &mut Change, outcome: &Outcome) {
        match outcome {
            Outcome::Done(object) if change.operation_write().is_some_and(|write| write.is_in(object)) => {
                change.done(self.now);
            }
            Outcome::Done(object) => {
                let why = change.operation_write().map(|write| value_not_kept(write, object));
                self.operation_failed(change, Reason::ValueNotKept, &why.unwrap_or_default());
            }
            Outcome::Conflict | Outcome::Exists(_) => {
                let why = "someone else changed the object in the meantime";
                change.request_came_to_nothing(Reason::Conflict, why, after(self.now, soon(change)));
            }
            Outcome::Refused { code, why, .. } => {
                let why = format!("the API server answered {code}: {why}");
                change.request_came_to_nothing(Reason::Refused, why, after(self.now, backoff(change)));
            }
            Outcome::Throttled { after } => self.was_throttled(change, *after),
            Outcome::Unclear { .. } => {
                change.state = ChangeState::Unclear;
                change.retry_at = Some(after(self.now, backoff(change)));
            }
            Outcome::NotSent => {}
        }
    }

    /// Finds out what became of an open write, and sends it again or gives it up if nothing did.
    pub(super) fn settle_write(&mut self, change: &mut Change) {
        if change.needs_settlement() {
            return;
        }
        let begins_to_withdraw = self.permits.withdraws() && !self.facts.state.is_withdrawing();
        if !is_due(change.retry_at, self.now) && !begins_to_withdraw {
            return self.wake(change.retry_at);
        }
        let target = match self.look_at(&change.target) {
            None => return,
            Some(ObjectRead::Found(target)) => target,
            Some(ObjectRead::Gone) => {
                let why = match change.state {
                    ChangeState::Unclear => {
                        "the object was deleted before it was known whether this took effect"
                    }
                    _ => "the object was deleted",
                };
                return change.stand(ChangeState::Skipped, Reason::ObjectGone, why);
            }
            Some(ObjectRead::Refused { why } | ObjectRead::Failed { why }) => {
                return self.cannot_read_outcome(change, why);
            }
        };
        let Some(write) = change.operation_write() else { return };
        if write.is_in(&target.object) {
            return change.done(self.now);
        }
        if !write.has_moved(target) {
            return self.has_not_taken_effect(change, target);
        }
        let is_unknown = change.state == ChangeState::Unclear;
        if is_unknown && write.may_have_been_overwritten(&target.object) {
            return self.ask_the_revisions(change, target);
        }
        change.requests_are_dead();
        self.plan_write_again(change, target);
    }

    fn cannot_read_outcome(&mut self, change: &mut Change, why: &str) {
        change.explain(Some((Reason::CannotRead, format!("cannot read whether it took effect: {why}"))));
        change.retry_at = Some(after(self.now, backoff(change)));
        self.wake(change.retry_at);
    }

    /// The value is not there, and something else has changed the spec since. The controller of the object has made a
    /// revision of each template that it saw.
    fn ask_the_revisions(&mut self, change: &mut Change, target: &Target) {
        match &target.revision {
            Revision::Has(changes) if changes.contains(&change.id) => change.done(self.now),
            Revision::Unknown(why) => self.cannot_read_outcome(change, why),
            Revision::Has(_) | Revision::NotAsked => {
                let why = "the answer to the request was lost, and something else has changed the object since, which may \
                           have overwritten the value";
                self.outcome_is_unknown(change, why);
            }
        }
    }

    /// The object is as it was when the newest request was recorded. A request may still be on its way.
    fn has_not_taken_effect(&mut self, change: &mut Change, target: &Target) {
        if let Some(why) = self.gives_up_write(change) {
            let is_on_its_way = change.state == ChangeState::Unclear;
            let safe = after(change.sent_at.unwrap_or(self.now), LATE_REQUEST);
            if is_on_its_way && safe > self.now {
                return self.wake(Some(safe));
            }
            return self.give_up_write(change, &why);
        }
        if self.permits.may_send(Again::Never) {
            self.request_write(change, target);
        } else {
            self.wake_in(RELIST_IDLE);
        }
    }

    /// None of its requests took effect, and none of them can any more.
    fn plan_write_again(&mut self, change: &mut Change, target: &Target) {
        if let Some(why) = self.gives_up_write(change) {
            return self.give_up_write(change, &why);
        }
        if !self.permits.may_send(Again::Never) {
            // It did nothing, which is what its end says if nothing more is sent.
            let (reason, why) = match (&change.reason, &change.message) {
                (Some(reason @ (Reason::Refused | Reason::Throttled | Reason::Conflict)), Some(why)) => {
                    (reason.clone(), why.clone())
                }
                _ => (
                    Reason::NotSent,
                    "it was not carried out before the response changed its course".to_owned(),
                ),
            };
            change.request_came_to_nothing(reason, why, after(self.now, RELIST_IDLE));
            return self.wake(change.retry_at);
        }
        let Some(step) = self.step(&change.step).cloned() else { return };
        match self.consider(&step, target) {
            None => {}
            Some(Plan::Operate(_)) => self.request_write(change, target),
            Some(Plan::Change(_)) => {
                let why = "the step lends values now".to_owned();
                change.stand(ChangeState::Skipped, Reason::NothingToDo, why);
            }
            Some(Plan::NothingToDo(why)) => change.stand(ChangeState::Skipped, Reason::NothingToDo, why),
            Some(Plan::Refused { reason, message }) => change.stand(ChangeState::Skipped, reason, message),
        }
    }

    /// Why the operation is to be given up, if it is.
    fn gives_up_write(&self, change: &Change) -> Option<String> {
        if !self.permits.may_write() || self.permits.withdraws() {
            return None; // the end of the Incident says what is left
        }
        let last = change.message.clone().unwrap_or_else(|| "no answer".to_owned());
        let Some(step) = self.step(&change.step) else {
            return Some("its step can no longer be read".to_owned());
        };
        if change.joined_at.is_some_and(|joined| after(joined, step.timeout) <= self.now) {
            return Some(format!("it was not carried out within {}: {last}", Period::from(step.timeout)));
        }
        let was_refused = change.reason == Some(Reason::Refused) && change.state == ChangeState::Intended;
        (was_refused && change.tries > step.retries).then_some(last)
    }

    fn give_up_write(&mut self, change: &mut Change, why: &str) {
        let reason = change.reason.clone().unwrap_or(Reason::Timeout);
        self.operation_failed(change, reason, why);
    }
}

/// What follows if the server stored not every value of a write.
fn value_not_kept(write: &OperationWrite, stored: &Value) -> String {
    let lost: Vec<_> = write.missing_in(stored).map(ToString::to_string).collect();
    let what = if lost.len() < write.paths.len() {
        format!("from {}, so that part of the object does not restart, and the rest does", lost.join(" and "))
    } else {
        "from it, so nothing restarts".to_owned()
    };
    format!("the write was accepted, but something (a webhook?) removed the value {what}")
}
