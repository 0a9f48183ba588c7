//! Open intents: what became of them, and what to do where nobody knows.
//!
//! # Flow
//! An answer speaks for one send, never for the intent, because an earlier send
//! may have been applied with its reply lost. So after anything but 200 the
//! target is read live: our record is there — applied; not there at the base
//! version — the same bytes again; not there and moved — every older request is
//! dead, and a new intent may be made.
//!
//! # Guarantees
//! An intent is abandoned only when no request of it can take effect any more:
//! the version moved, if need be by a fence, or the last send is
//! [`LATE_REQUEST`] ago.

use jiff::{SignedDuration, Timestamp};

use super::{Course, Round};
use crate::action::Plan;
use crate::change::{Change, ChangeState};
use crate::effect::Act;
use crate::facts::{LookResult, Outcome, Target, is_due};
use crate::id::digest;
use crate::rules::Step;
use crate::undo;
use crate::value::same;

/// After this no request can still be on its way: clients give up after 30 s
/// and the server after 60 s.
pub(super) const LATE_REQUEST: SignedDuration = SignedDuration::from_secs(120);
/// Sends whose outcome stays unknown before a person is asked.
const UNKNOWN_ROUNDS: u8 = 3;
/// Targets that are tried again at once after the first conflict; halved with each further one.
const CONFLICT_BATCH: usize = 16;

impl Round<'_> {
    /// Settles every open intent as far as this round can.
    pub(super) fn settle(&mut self, course: &Course) {
        let withdrawing = matches!(course, Course::Withdraw(_));
        let may_send = matches!(course, Course::Climb);
        let worst = self.next.changes.iter().filter(|c| c.state.is_open_intent()).map(|c| c.conflicts).max();
        let mut conflicting = (CONFLICT_BATCH >> worst.unwrap_or(0).min(8)).max(1);
        for index in 0..self.next.changes.len() {
            let mut change = self.next.changes[index].clone();
            if !change.state.is_open_intent() {
                continue;
            }
            self.hear(&mut change);
            if change.state.is_open_intent() {
                let gives_up = self.gives_up(&change, withdrawing);
                let waits = !is_due(change.retry_at, self.now) && !withdrawing;
                let has_turn = change.conflicts == 0 || conflicting > 0;
                if waits || !has_turn {
                    self.wake(change.retry_at.or(Some(self.now)));
                } else if change.state != ChangeState::Held || withdrawing {
                    conflicting -= usize::from(change.conflicts > 0);
                    self.resolve(&mut change, gives_up, may_send);
                }
            }
            self.next.changes[index] = change;
        }
    }

    /// Takes in what the last effect answered.
    fn hear(&mut self, change: &mut Change) {
        let Some(outcome) = self.facts.outcomes.get(&change.id) else { return };
        match outcome {
            Outcome::Done(object) => {
                if undo::loan(object, &change.id, &self.facts.incident).is_some() {
                    self.applied(change, object);
                }
            }
            Outcome::Refused { code, why, .. } => {
                change.tries = change.tries.saturating_add(1);
                change.retry_at = Some(self.now + backoff(change));
                change.explain(Some(("Refused", format!("the API server answered {code}: {why}"))));
            }
            Outcome::Later { conflict: true, .. } => {
                change.conflicts = change.conflicts.saturating_add(1);
                change.retry_at = Some(self.now + jitter(change, 20 * i64::from(change.conflicts.min(20))));
                change.explain(Some(("Conflict", "somebody else wrote the object in between".to_owned())));
            }
            Outcome::Later { conflict: false, after } => {
                change.tries = change.tries.saturating_add(1);
                let wait = after.unwrap_or_default().max(backoff(change));
                change.retry_at = Some(self.now + wait);
                change
                    .explain(Some(("Throttled", "the API server asked to try again later (429)".to_owned())));
            }
            Outcome::Unclear { why } => {
                change.tries = change.tries.saturating_add(1);
                if change.state != ChangeState::Held {
                    change.state = ChangeState::Unclear;
                }
                change.retry_at = Some(self.now + backoff(change));
                change.explain(Some((
                    "OutcomeUnknown",
                    format!("the answer does not say whether it was applied: {why}"),
                )));
            }
        }
    }

    /// Why the intent is to be abandoned, if it is.
    fn gives_up(&self, change: &Change, withdrawing: bool) -> Option<String> {
        if withdrawing {
            return Some("the response was withdrawn before it was applied".to_owned());
        }
        if change.state == ChangeState::Held {
            return None;
        }
        let last = change.message.clone().unwrap_or_else(|| "no answer".to_owned());
        if change.fence.is_some() {
            return Some(last);
        }
        let step = self.step(&change.step)?;
        if change.joined_at.is_some_and(|joined| joined + step.timeout <= self.now) {
            return Some(format!(
                "it was not applied within {}: {last}",
                crate::period::Period::from(step.timeout)
            ));
        }
        let answered = change.state == ChangeState::Intended;
        (answered && change.tries > step.retries).then_some(last)
    }

    fn resolve(&mut self, change: &mut Change, gives_up: Option<String>, may_send: bool) {
        let Some(found) = self.look_at(&change.target) else { return };
        let target = match found {
            LookResult::Found(target) => target,
            LookResult::Gone => {
                change.fence = None;
                return change.stand(
                    ChangeState::Skipped,
                    "ObjectGone",
                    "the object was deleted before it was changed",
                );
            }
            LookResult::Refused { why } | LookResult::Failed { why } => {
                change.explain(Some(("CannotRead", format!("whether it was applied cannot be read: {why}"))));
                change.retry_at = Some(self.now + backoff(change).max(SignedDuration::from_secs(2)));
                return self.wake(change.retry_at);
            }
            LookResult::Listed(_) => return,
        };
        if undo::loan(&target.object, &change.id, &self.facts.incident).is_some() {
            return self.applied(change, &target.object);
        }
        let moved = change.base.as_ref() != Some(&target.version);
        match (gives_up, moved) {
            (Some(why), true) => self.abandon(change, &why),
            (Some(why), false) => self.fence(change, target, &why),
            (None, _) if !may_send => {}
            (None, true) => self.intend_anew(change, target),
            (None, false) => self.send_again(change, target),
        }
    }

    /// The object carries our record.
    fn applied(&mut self, change: &mut Change, object: &serde_json::Value) {
        let mut corrected = false;
        for field in &mut change.fields {
            let stored = field.path.read(object);
            if !same(&field.path, stored, field.after.as_ref()) {
                field.after = stored.cloned();
                corrected = true;
            }
        }
        change.applied(self.now);
        if corrected && let Ok(patch) = undo::amend_patch(object, change) {
            self.effect(change.id.clone(), change.target.clone(), Act::Amend, patch);
        }
    }

    fn send_again(&mut self, change: &mut Change, target: &Target) {
        if change.state == ChangeState::Unclear && change.tries >= UNKNOWN_ROUNDS {
            let why = change.message.clone().unwrap_or_default();
            self.happen("OutcomeUnknown", &format!("{}: {why}", change.target));
            return change.stand(ChangeState::Held, "OutcomeUnknown", why);
        }
        let Ok(patch) = undo::apply_patch(&target.object, change, &self.facts.incident) else { return };
        change.sent_at = Some(self.now);
        change.retry_at = None;
        self.effect(change.id.clone(), change.target.clone(), Act::Apply, patch);
    }

    /// Every older request is dead, so the change is planned anew on the object
    /// as it is now.
    fn intend_anew(&mut self, change: &mut Change, target: &Target) {
        let Some(step) = self.step(&change.step).cloned() else { return };
        match self.consider(&step, target) {
            Plan::Change(fields) => {
                change.fields = fields;
                self.intend(change, target);
            }
            Plan::NothingToDo(why) => change.stand(ChangeState::Skipped, "NothingToDo", why),
            Plan::Refused { reason, message } => change.stand(ChangeState::Skipped, reason, message),
        }
    }

    /// Records the intent, to be sent once it is recorded.
    pub(super) fn intend(&mut self, change: &mut Change, target: &Target) {
        change.intend(target.version.clone(), self.now);
        match undo::apply_patch(&target.object, change, &self.facts.incident) {
            Ok(patch) => {
                self.next.first_action_at.get_or_insert(self.now);
                self.effect(change.id.clone(), change.target.clone(), Act::Apply, patch);
            }
            Err(error) => change.stand(ChangeState::Skipped, "CannotRecord", error.to_string()),
        }
    }

    /// Moves the object's version, so that a late request finds it changed.
    fn fence(&mut self, change: &mut Change, target: &Target, why: &str) {
        let refused = change.fence.is_some() && change.reason.as_deref() == Some("Refused");
        if refused {
            let safe = change.sent_at.unwrap_or(self.now) + LATE_REQUEST;
            if safe <= self.now {
                change.fence = None;
                return self.abandon(change, why);
            }
            return self.wake(Some(safe));
        }
        let nonce = format!("{}-{}", change.id, target.version.as_str());
        let Ok(patch) = undo::fence_patch(&target.object, &nonce) else { return };
        change.fence = Some(nonce);
        change.retry_at = None;
        let reason = change.reason.clone().unwrap_or_else(|| "GivenUp".to_owned());
        change.explain(Some((&reason, why.to_owned())));
        self.effect(change.id.clone(), change.target.clone(), Act::Fence, patch);
    }

    /// No request of the intent can take effect any more.
    fn abandon(&mut self, change: &mut Change, why: &str) {
        if self.next.closing.is_some() || self.facts.intent.withdrawn || self.facts.intent.deleting {
            return change.stand(ChangeState::Skipped, "Withdrawn", why);
        }
        let reason = change.reason.clone().unwrap_or_else(|| "Timeout".to_owned());
        change.stand(ChangeState::Failed, &reason, why);
        self.happen("ChangeFailed", &format!("{}: {why}", change.target));
    }

    /// Whether an open intent is older than its step allows.
    pub(super) fn is_overdue(&self, change: &Change, step: &Step) -> bool {
        change.state.is_open_intent()
            && change.joined_at.is_some_and(|joined| joined + step.timeout <= self.now)
    }
}

/// From half a second, doubled with each try, to half a minute, with jitter.
pub(super) fn backoff(change: &Change) -> SignedDuration {
    let base = 500_i64 << change.tries.min(6);
    SignedDuration::from_millis(base.min(30_000)) + jitter(change, base / 2)
}

/// Up to this many milliseconds, different for each change and try, the same for
/// the same facts.
fn jitter(change: &Change, most: i64) -> SignedDuration {
    let seed = digest(&[change.id.as_str(), &change.tries.to_string(), &change.conflicts.to_string()]);
    let number = i64::from_str_radix(&seed[..8], 16).unwrap_or(0);
    SignedDuration::from_millis(number % most.max(1))
}

/// The moment of the last Applied of these changes.
pub(super) fn last_applied<'a>(changes: impl Iterator<Item = &'a Change>) -> Option<Timestamp> {
    changes.filter_map(|change| change.applied_at).max()
}
