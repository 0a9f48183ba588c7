//! The way back: every change in force is returned, ceded, or stays outstanding
//! until it can be.
//!
//! # Flow
//! Live read; record ours and value still ours: intent, then one guarded patch
//! puts `before` back and drops the record; another value: the field is ceded
//! and left alone. Then field ownership is handed back by a second write. A
//! change stays Reverting until both are done.

use super::Round;
use super::settle::backoff;
use crate::change::{Change, ChangeState};
use crate::effect::Act;
use crate::facts::{LookResult, Outcome, Target, is_due};
use crate::incident::{Closing, Held};
use crate::undo;

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
            if change.state.is_in_force() {
                self.return_change(&mut change);
            } else if change.fence.is_some() && !change.state.is_outstanding() {
                self.unfence(&mut change);
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

    /// Goes on with what began to go back although nothing is withdrawn: somebody
    /// else has ended the loan, and field ownership is still to be handed back.
    pub(super) fn finish_returns(&mut self) {
        for index in 0..self.next.changes.len() {
            if self.next.changes[index].state == ChangeState::Reverting {
                let mut change = self.next.changes[index].clone();
                self.return_change(&mut change);
                self.next.changes[index] = change;
            }
        }
    }

    fn return_change(&mut self, change: &mut Change) {
        match self.facts.outcomes.get(&change.id) {
            Some(Outcome::Done(object)) if change.state == ChangeState::Reverting => {
                if let Some(version) = undo::version(object) {
                    self.returned_or_on(change, object, version);
                }
                return;
            }
            Some(outcome) if change.state == ChangeState::Reverting => self.hear_refusal(change, outcome),
            _ => {}
        }
        if !is_due(change.retry_at, self.now) {
            return self.wake(change.retry_at);
        }
        let Some(found) = self.look_at(&change.target) else { return };
        match found {
            LookResult::Found(target) => self.put_back(change, target),
            LookResult::Gone => change.stand(ChangeState::Ceded, "ObjectGone", "the object was deleted"),
            LookResult::Refused { why } | LookResult::Failed { why } => self.postpone(change, why),
            LookResult::Listed(_) => {}
        }
    }

    fn hear_refusal(&mut self, change: &mut Change, outcome: &Outcome) {
        match outcome {
            Outcome::Refused { code: 422, why, fields } => {
                cede_refused(change, why, fields);
                change.retry_at = None;
            }
            Outcome::Refused { code, why, .. } => {
                change.tries = change.tries.saturating_add(1);
                self.postpone(change, &format!("the API server answered {code}: {why}"));
            }
            Outcome::Later { conflict: true, .. } => change.conflicts = change.conflicts.saturating_add(1),
            Outcome::Later { conflict: false, after } => {
                change.tries = change.tries.saturating_add(1);
                change.retry_at = Some(self.now + after.unwrap_or_default().max(backoff(change)));
            }
            Outcome::Unclear { .. } => change.tries = change.tries.saturating_add(1),
            Outcome::Done(_) => {}
        }
    }

    /// Not now, but never forgotten.
    fn postpone(&mut self, change: &mut Change, why: &str) {
        change.explain(Some(("CannotPutBack", why.to_owned())));
        change.retry_at = Some(self.now + backoff(change));
        change.tries = change.tries.saturating_add(1).min(6);
        self.wake(change.retry_at);
    }

    /// One step further on the way back, from the object as it is now.
    pub(super) fn put_back(&mut self, change: &mut Change, target: &Target) {
        self.returned_or_on(change, &target.object, target.version.clone());
    }

    fn returned_or_on(
        &mut self,
        change: &mut Change,
        object: &serde_json::Value,
        version: crate::id::ResourceVersion,
    ) {
        if undo::loan(object, &change.id, &self.facts.incident).is_some() {
            undo::cede_changed(object, &mut change.fields);
            let Ok(patch) = undo::return_patch(object, &change.id, &change.fields) else { return };
            change.begin_return(version, self.now);
            return self.effect(change.id.clone(), change.target.clone(), Act::Return, patch);
        }
        undo::cede_unreturned(object, &mut change.fields);
        let gave_up = change.state == ChangeState::Reverting && self.cannot_hand_back(change);
        let others = self.next.changes.iter().any(|other| {
            other.id != change.id && other.target.uid == change.target.uid && other.state.is_in_force()
        });
        if others || gave_up {
            change.fence = None;
            return change.returned();
        }
        match undo::hand_back_patch(object, &change.fields) {
            Ok(Some(patch)) => {
                change.begin_return(version, self.now);
                self.effect(change.id.clone(), change.target.clone(), Act::HandBack, patch);
            }
            Ok(None) | Err(_) => {
                change.fence = None;
                change.returned();
            }
        }
    }

    /// Field ownership is worth some tries, but it never holds up Resolved.
    fn cannot_hand_back(&mut self, change: &Change) -> bool {
        let refused = matches!(self.facts.outcomes.get(&change.id), Some(Outcome::Refused { .. }));
        if refused || change.tries > 5 || change.conflicts > 50 {
            self.happen(
                "OwnershipNotHandedBack",
                &format!("{}: field ownership stays with firebreak", change.target),
            );
            return true;
        }
        false
    }

    /// Removes a fence that is left on an object.
    fn unfence(&mut self, change: &mut Change) {
        if let Some(Outcome::Refused { why, .. }) = self.facts.outcomes.get(&change.id) {
            self.happen(
                "FenceLeft",
                &format!("{}: the annotation {} stays: {why}", change.target, undo::FENCE),
            );
            change.fence = None;
            return;
        }
        let Some(found) = self.look_at(&change.target) else { return };
        match found {
            LookResult::Found(target) => match undo::hand_back_patch(&target.object, &change.fields) {
                Ok(Some(patch)) => {
                    self.effect(change.id.clone(), change.target.clone(), Act::HandBack, patch)
                }
                Ok(None) | Err(_) => change.fence = None,
            },
            LookResult::Gone => change.fence = None,
            LookResult::Refused { why } | LookResult::Failed { why } => {
                change.retry_at = Some(self.now + backoff(change));
                change.explain(Some(("CannotPutBack", format!("the fence cannot be removed: {why}"))));
                self.wake(change.retry_at);
            }
            LookResult::Listed(_) => {}
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
            "{number} object(s) cannot be put back yet, the first is {}: {}. It is tried again by itself: restore the rights of the \
             ServiceAccount, or delete the Incident with the annotation firebreak.dev/abandon: \"true\"",
            change.target,
            change.message.clone().unwrap_or_default()
        );
        self.next.held = Some(Held::new("CannotPutBack", &message, false));
    }
}

/// The server finds the old value invalid by now: the group is whoever's rule
/// refused it. Without a field in the answer nothing tells the groups apart.
fn cede_refused(change: &mut Change, why: &str, causes: &[String]) {
    let rule = format!("the API server, which refused the old value ({why})");
    let names = |path: &str, cause: &str| {
        let plain: String =
            path.chars().filter(|c| !"[]=".contains(*c)).collect::<String>().replace('/', ".");
        let last = cause.rsplit(['.', '[']).next().unwrap_or(cause).trim_end_matches(']');
        !last.is_empty() && plain.contains(last)
    };
    let named: Vec<(String, String)> = change
        .fields
        .iter()
        .filter(|field| {
            field.ceded_to.is_none() && causes.iter().any(|cause| names(&field.path.to_string(), cause))
        })
        .map(|field| (field.path.group(), rule.clone()))
        .collect();
    let all: Vec<_> = change.fields.iter().map(|field| (field.path.group(), rule.clone())).collect();
    undo::cede_groups(&mut change.fields, if named.is_empty() { &all } else { &named });
}
