//! Reverts one change: it ends as Reverted or Ceded, or stays outstanding
//! until it can be reverted.
//!
//! # Flow
//! Read the object live. If the record and the value are still ours, record the intent; then one guarded patch restores
//! `before` and drops the record. Any other value is ceded and left alone. Once the record is removed, a
//! second write removes the remaining traces: it hands field ownership back and removes the fence. A change stays
//! Reverting until both are done. Where the loan has the pace of a rollout (see [`undo`]), the first write reverts the
//! rest, and another one reverts the pace and drops the record when the template has rolled out (see `pace`).
//!
//! # Guarantees
//! A value is reverted only by a write that is guarded by the version of a read in which the value was still
//! ours. An object that cannot be read stays outstanding.

use jiff::SignedDuration;
use serde_json::Value;

use super::Deciding;
use crate::change::{Again, Change, ChangeState, FieldChange};
use crate::effect::Act;
use crate::facts::{ObjectRead, Outcome, is_due};
use crate::gitops::{self, is_pause};
use crate::id::{IncidentId, ResourceVersion};
use crate::incident::Closing;
use crate::path::FieldPath;
use crate::period::after;
use crate::policy::Revert;
use crate::reason::Reason;
use crate::undo;

/// How long removing the traces may take if the step is no longer known.
const TRACES: SignedDuration = SignedDuration::from_secs(300);
/// The number of unsuccessful tries after which Firebreak stops removing traces.
const ENOUGH_TRIES: u8 = 3;

impl Deciding<'_> {
    /// Advances the revert of the change at this position of the journal.
    pub(super) fn revert_at(&mut self, index: usize) {
        self.edit(index, Self::revert);
    }

    /// Advances the revert of a change.
    pub(super) fn revert(&mut self, change: &mut Change) {
        if self.is_being_written(&change.target) {
            return;
        }
        self.hear_of_traces(change);
        for act in [Act::HandBack, Act::Return] {
            // The reply has the object as it is stored, which is as good as a live read.
            if let Some(Outcome::Done(object)) = self.answer(change, act)
                && let Some(version) = undo::version(object)
            {
                let is_half = self.is_half_returned(change, object);
                if act == Act::Return {
                    self.hear_of_admission(change, object);
                }
                if !is_half {
                    return self.revert_from(change, object, &version);
                }
                // Only a live read shows whether the template has rolled out, whatever admission has stored in it.
                change.template_is_back(self.now);
            }
        }
        if let Some(outcome) = self.answer(change, Act::Return) {
            self.hear_of_return(change, outcome);
        }
        if !is_due(change.retry_at, self.now) {
            return self.wake(change.retry_at);
        }
        let Some(found) = self.look_at(&change.target) else { return };
        match found {
            ObjectRead::Found(target) => {
                self.note_before_revert(change, target);
                self.revert_from(change, &target.object, &target.version);
            }
            ObjectRead::Gone if change.is_in_force() => change.object_gone(),
            ObjectRead::Gone => change.set_fence(None),
            ObjectRead::Refused { why } | ObjectRead::Failed { why } => self.cannot_revert(change, why),
        }
    }

    /// Takes note of whether the newest revert can have removed the record, whatever the course permits, because the answer
    /// is heard only once.
    pub(super) fn note_what_return_did(&self, change: &mut Change) {
        match self.answer(change, Act::Return) {
            Some(
                Outcome::Refused { .. }
                | Outcome::Throttled { .. }
                | Outcome::NotSent
                | Outcome::Exists(_)
                | Outcome::Conflict,
            ) => change.return_did_nothing(),
            // The first of two writes leaves the record, and the second one was not sent yet.
            Some(Outcome::Done(object)) if self.is_half_returned(change, object) => change.sent_at = None,
            None | Some(Outcome::Done(_) | Outcome::Unclear { .. }) => {}
        }
    }

    fn hear_of_return(&mut self, change: &mut Change, outcome: &Outcome) {
        match outcome {
            Outcome::Refused { code: 422, why, fields } => cede_refused(change, why, fields),
            Outcome::Refused { code, why, .. } => {
                self.cannot_revert(change, &format!("the API server answered {code}: {why}"));
            }
            Outcome::Exists(_) | Outcome::Conflict => self.met_a_conflict(change),
            Outcome::Throttled { after } => self.try_later(change, after.unwrap_or_default()),
            Outcome::Unclear { .. } => self.try_later(change, SignedDuration::ZERO),
            Outcome::Done(_) | Outcome::NotSent => {}
        }
    }

    /// It cannot be reverted now, and is retried.
    fn cannot_revert(&mut self, change: &mut Change, why: &str) {
        self.try_later(change, SignedDuration::ZERO);
        change.explain(Some((Reason::CannotPutBack, why.to_owned())));
        self.wake(change.retry_at);
    }

    /// Advances the revert, from the object as it is now.
    pub(super) fn revert_from(&mut self, change: &mut Change, object: &Value, version: &ResourceVersion) {
        let lent = undo::loan(object, &change.id, &self.facts.incident).is_some();
        if change.is_in_force() && change.returned_at().is_none() {
            if lent {
                return self.return_loan(change, object, version);
            }
            if undo::record(object).is_err() {
                let why = format!(
                    "its undo record cannot be read; check the annotation {}, then drop it with `{} \
                     --forget`",
                    undo::UNDO,
                    change.target.undo_command()
                );
                return self.cannot_revert(change, &why);
            }
            if !change.may_have_removed_record() {
                change.set_again(Again::Never); // we did not remove the record, so someone else did
            }
            leave_pause_to_heir(change, object);
            if !self.is_kept(change) {
                undo::cede_unreturned(object, change);
            }
            change.state = ChangeState::Reverting;
        }
        change.record_is_gone(self.now);
        self.take_traces_off(change, object, version);
    }

    /// Whether the loan becomes permanent instead of being reverted.
    pub(super) fn is_kept(&self, change: &Change) -> bool {
        self.is_never_reverted(&change.step) || self.next.closing == Some(Closing::Kept)
    }

    /// Whether the changes of this step stay for good.
    pub(super) fn is_never_reverted(&self, step: &str) -> bool {
        self.step(step).is_some_and(|step| step.revert == Revert::Never)
    }

    fn return_loan(&mut self, change: &mut Change, object: &Value, version: &ResourceVersion) {
        inherit_pause(change, object, &self.facts.incident);
        if self.is_half_returned(change, object) {
            return self.return_pace(change, object, version);
        }
        let patch = match self.is_kept(change) {
            true => {
                undo::cede_changed(object, change.fields_mut());
                undo::return_patch(object, &change.id, &[])
            }
            false => {
                let id = change.id.clone();
                undo::three_way_patch(object, &id, change.fields_mut())
            }
        };
        match patch {
            Ok(_) if self.is_record_only(change) => {
                let stays = format!(
                    "{}: none of its fields is reverted, and its undo record stays, because removing it \
                     would restart the pods; `{} --forget` drops it",
                    change.target,
                    change.target.undo_command()
                );
                self.happen("RecordStays", &stays);
                change.state = ChangeState::Reverting;
                change.record_is_gone(self.now);
                self.take_traces_off(change, object, version);
            }
            Ok(patch) => {
                change.begin_return(version.clone(), self.now);
                self.effect(change, Act::Return, patch);
            }
            Err(error) => self.cannot_revert(change, &error.to_string()),
        }
    }

    /// Whether the first of two writes has reverted its part of the change.
    pub(super) fn is_half_returned(&self, change: &Change, object: &Value) -> bool {
        let is_known = change.template_back_at().is_some();
        let loan = undo::loan(object, &change.id, &self.facts.incident);
        loan.is_some_and(|loan| match is_known {
            true => undo::is_only_pace(&loan),
            false => undo::is_half_returned(&loan, change.fields()),
        })
    }

    /// Sends the second of two writes, unless the template has still to roll out. What has begun to go back is not kept.
    fn return_pace(&mut self, change: &mut Change, object: &Value, version: &ResourceVersion) {
        if change.state != ChangeState::Reverting {
            // Somebody else has reverted the template, with the record that they found.
            change.set_again(Again::Never);
            change.state = ChangeState::Reverting;
        }
        change.template_is_back(self.now);
        if self.waits_for_rollout(change, version) {
            return;
        }
        let id = change.id.clone();
        match undo::three_way_patch(object, &id, change.fields_mut()) {
            Ok(patch) => {
                change.begin_return(version.clone(), self.now);
                self.effect(change, Act::Return, patch);
            }
            Err(error) => self.cannot_revert(change, &error.to_string()),
        }
    }

    /// Whether removing the record would be the only effect of the write, in a kind where that would restart pods. Then
    /// the record stays until the next write of the object, and only this Incident knows that it is dead.
    fn is_record_only(&self, change: &Change) -> bool {
        let nothing_goes_back = self.is_kept(change) || change.fields().iter().all(|f| f.ceded_to.is_some());
        nothing_goes_back && self.metadata_propagates(change)
    }

    /// Whether labels and annotations of the object, as it was read in this decision, propagate to its pods.
    pub(super) fn metadata_propagates(&self, change: &Change) -> bool {
        let read = match self.facts.looked.objects.get(&change.target) {
            Some(ObjectRead::Found(target)) => Some(target.as_ref()),
            Some(_) | None => self.listed(&change.step, &change.target.uid),
        };
        read.is_some_and(|target| target.slots.metadata_propagates)
    }

    /// Hands field ownership back and removes the fence, with the last change of the object.
    fn take_traces_off(&mut self, change: &mut Change, object: &Value, version: &ResourceVersion) {
        let on_object = |other: &&Change| other.target.uid == change.target.uid && other.id != change.id;
        let others: Vec<&Change> = self.next.changes.iter().filter(on_object).collect();
        let is_last = !others.iter().any(|other| other.is_in_force());
        let fields: Vec<FieldChange> =
            others.iter().flat_map(|other| other.fields()).chain(change.fields()).cloned().collect();
        let patch = if is_last && !self.has_given_up_traces(change) {
            // Where labels propagate to the pods, a label that stays restarts nothing, but removing it would.
            let labelled =
                Some(self.facts.incident.uid.as_str()).filter(|_| !self.metadata_propagates(change));
            undo::hand_back_patch(object, &fields, labelled).ok().flatten()
        } else {
            None
        };
        let Some(patch) = patch else { return self.ended(change, object) };
        if !is_due(change.retry_at, self.now) {
            return self.wake(change.retry_at);
        }
        change.sending(version.clone(), self.now);
        self.effect(change, Act::HandBack, patch);
    }

    fn hear_of_traces(&mut self, change: &mut Change) {
        match self.answer(change, Act::HandBack) {
            Some(Outcome::Exists(_) | Outcome::Conflict) => self.met_a_conflict(change),
            Some(Outcome::Throttled { after }) => {
                self.try_later(change, after.unwrap_or_default());
            }
            Some(Outcome::Unclear { .. }) => self.try_later(change, SignedDuration::ZERO),
            Some(outcome) if says_nothing_of_the_write(outcome) => {
                self.try_later(change, SignedDuration::ZERO);
            }
            None | Some(Outcome::Done(_) | Outcome::NotSent | Outcome::Refused { .. }) => {}
        }
    }

    /// Removing traces is worth some tries, but it never delays Resolved.
    fn has_given_up_traces(&mut self, change: &Change) -> bool {
        let patience = self.step(&change.step).map_or(TRACES, |step| step.timeout);
        let since = change.returned_at().unwrap_or(self.now);
        let why = match self.answer(change, Act::HandBack) {
            Some(outcome @ Outcome::Refused { code, why, .. }) if !says_nothing_of_the_write(outcome) => {
                format!("the API server answered {code}: {why}")
            }
            _ if after(since, patience) <= self.now
                && change.tries.max(change.conflicts()) >= ENOUGH_TRIES =>
            {
                "someone else keeps writing the object".to_owned()
            }
            _ => return false,
        };
        let what =
            format!("{}: field ownership or the annotation {} remains: {why}", change.target, undo::FENCE);
        self.happen("TracesLeft", &what);
        true
    }

    /// Nothing of the change is left on the object.
    fn ended(&mut self, change: &mut Change, object: &Value) {
        change.set_fence(None);
        if change.state != ChangeState::Reverting {
            return;
        }
        if self.is_never_reverted(&change.step) {
            change.kept(Reason::RevertNever, "the step sets revert: Never");
            self.say_that_flux_stays_paused(change);
        } else if self.next.closing == Some(Closing::Kept)
            && (undo::is_in_force(object, change.fields()) || self.is_kept_with_another(change))
        {
            change.kept(Reason::KeptByPerson, "a person kept the changes");
            self.say_that_flux_stays_paused(change);
        } else {
            if self.next.closing == Some(Closing::Kept) {
                undo::cede_unreturned(object, change); // it was reverted before a person kept the rest
            }
            change.returned();
        }
    }

    /// Whether a later step has taken over all of its fields, and keeps them.
    fn is_kept_with_another(&self, change: &Change) -> bool {
        let is_heir = |other: &Change| {
            other.target.uid == change.target.uid
                && other.id != change.id
                && (other.is_in_force() || other.state == ChangeState::Kept)
        };
        change.fields().is_empty() && self.next.changes.iter().any(is_heir)
    }

    /// Kept values still differ from what Flux would apply, so Flux must stay paused.
    fn say_that_flux_stays_paused(&mut self, change: &Change) {
        if let Some(how) = gitops::ends_pause(&change.target, change.fields()) {
            self.happen("FluxStaysPaused", &format!("{}: {how}", change.target));
        }
    }
}

/// Whether a no may pass: the credentials are about to change, or the kind is not served just now. A live read tells
/// whether the object is gone.
fn says_nothing_of_the_write(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { code: 401 | 404 | 410, .. })
}

/// Flux stays paused for another loan of the object, which now has the pause as one of its fields.
fn leave_pause_to_heir(change: &mut Change, object: &Value) {
    let loans = undo::record(object).ok().flatten().map(|record| record.loans).unwrap_or_default();
    let is_left =
        |path: &FieldPath| loans.iter().flat_map(|loan| &loan.fields).any(|left| left.path == *path);
    change.retain_fields(|field| !(is_pause(&field.path) && is_left(&field.path)));
}

/// Adopts the pause of Flux, which an earlier reverted step has left to this loan.
fn inherit_pause(change: &mut Change, object: &Value, incident: &IncidentId) {
    let loan = undo::loan(object, &change.id, incident);
    let fields = loan.map(|loan| loan.fields).unwrap_or_default();
    for pause in fields.into_iter().filter(|field| is_pause(&field.path)) {
        if !change.fields().iter().any(|own| own.path == pause.path) {
            change.add_field(pause);
        }
    }
}

/// The server rejects the old value by now, so the fields belong to the owner of the rule that rejects
/// it. If the answer names no field, all groups of fields are ceded.
pub fn cede_refused(change: &mut Change, why: &str, causes: &[String]) {
    let rule = format!("the API server, which rejected the old value ({why})");
    let names = |path: &str, cause: &str| {
        let plain: String =
            path.chars().filter(|c| !"[]=".contains(*c)).collect::<String>().replace('/', ".");
        let last = cause.rsplit(['.', '[']).next().unwrap_or(cause).trim_end_matches(']');
        !last.is_empty() && plain.contains(last)
    };
    let sent = undo::next_to_go(change);
    let named: Vec<(String, String)> = sent
        .iter()
        .filter(|field| {
            field.ceded_to.is_none() && causes.iter().any(|cause| names(&field.path.to_string(), cause))
        })
        .map(|field| (field.path.group(), rule.clone()))
        .collect();
    let all: Vec<_> = sent.iter().map(|field| (field.path.group(), rule.clone())).collect();
    change.retry_at = None;
    undo::cede_groups(change.fields_mut(), if named.is_empty() { &all } else { &named });
}
