//! The existing loans of an object: of this Incident's other steps,
//! of other Incidents, and of Incidents that no longer exist.
//!
//! # Guarantees
//! An object belongs to one Incident at a time. One path has one loan per
//! Incident: a later step takes it over with the value from before. The changes of a
//! deleted Incident are adopted with the oldest `before`, and only where their
//! value is still in the field.

use std::borrow::Cow;

use serde_json::Value;

use super::Deciding;
use crate::action::{Plan, Values};
use crate::change::{Again, Change, ChangeState, FieldChange, Operation, OperationType};
use crate::facts::{Holder, Look, OwnLook, Target};
use crate::gitops;
use crate::id::ChangeId;
use crate::path::FieldPath;
use crate::reason::Reason;
use crate::rules::Step;
use crate::seal::sealed;
use crate::undo::{self, Loan};
use crate::value::same;

impl<'a> Deciding<'a> {
    /// The plan of this step for an object with other loans, including what it takes over and adopts.
    /// None if a live read has to be requested.
    pub(super) fn plan_over_loans(
        &mut self,
        step: &Step,
        target: &Target,
        known: Option<&Change>,
        loans: &[Loan],
    ) -> Option<Plan> {
        let orphans = match self.orphans(target, loans)? {
            Ok(orphans) => orphans,
            Err(refused) => return Some(refused),
        };
        if let Some(delivery) = step.definition.rehearse {
            return Some(Plan::Operate(Box::new(Operation::new(OperationType::Rehearse, delivery, None))));
        }
        let adopted = adoptable(&target.object, orphans);
        let plan = match step.action.descriptor().values {
            Values::Absolute => step.action.plan(target, known),
            Values::Multiples | Values::Shares => self.plan_of_first_values(step, target, known, &adopted),
        };
        let mut fields = match plan {
            Plan::Change(fields) => fields,
            Plan::NothingToDo(_) if !adopted.is_empty() => Vec::new(),
            Plan::Operate(_) | Plan::NothingToDo(_) | Plan::Refused { .. } => return Some(plan),
        };
        within(&mut fields, &adopted);
        adopt(&mut fields, adopted);
        let lent = self.lent_by_other_steps(step, target, loans);
        within(&mut fields, &lent);
        take_over(&mut fields, &lent);
        carry_pace(&mut fields, &lent, loans);
        fields.extend(gitops::pauses(&target.object));
        Some(Plan::Change(fields.into_iter().map(sealed).collect()))
    }

    /// The loans whose Incident no longer exists; or why the object must not be changed.
    fn orphans<'l>(&mut self, target: &Target, loans: &'l [Loan]) -> Option<Result<Vec<&'l Loan>, Plan>> {
        let ours = self.facts.incident.to_string();
        let foreign: Vec<&Loan> = loans.iter().filter(|loan| loan.incident != ours).collect();
        let holders: Vec<Option<&Holder>> = foreign.iter().map(|loan| self.holder(&loan.incident)).collect();
        let mut orphans = Vec::new();
        for (loan, holder) in foreign.into_iter().zip(holders) {
            let blocked = match holder? {
                Holder::Open => "Firebreak retries when that Incident ends".to_owned(),
                Holder::Unknown(why) => format!("cannot tell whether that Incident has ended: {why}"),
                Holder::Over { ended } if ended.contains(&loan.id) => continue,
                Holder::Gone | Holder::Over { .. } if !undo::is_labelled(&target.object, loan) => continue,
                Holder::Gone | Holder::Over { .. } => {
                    orphans.push(loan);
                    continue;
                }
            };
            return Some(Err(Plan::Refused {
                reason: Reason::HeldBy,
                message: format!(
                    "Incident {} has changed it; {blocked}, or after `{}`",
                    loan.incident,
                    target.id.undo_command()
                ),
            }));
        }
        if target.slots.metadata_propagates
            && let Some(loan) = orphans.first()
        {
            return Some(Err(Plan::Refused {
                reason: Reason::OrphanedRecord,
                message: format!(
                    "Incident {} no longer exists, but its change does; revert it with `{}`",
                    loan.incident,
                    target.id.undo_command()
                ),
            }));
        }
        Some(Ok(orphans))
    }

    /// The state of the Incident of another loan. None if it has to be requested.
    fn holder(&mut self, incident: &str) -> Option<&'a Holder> {
        let found = self.facts.looked.holders.get(incident);
        self.or_ask(found, || Look::Own(OwnLook::Holder(incident.to_owned())))
    }

    /// The fields that other steps of this Incident have changed and whose value is still ours. A value that
    /// someone else has written since is theirs, and is the one to restore.
    fn lent_by_other_steps(&self, step: &Step, target: &Target, loans: &[Loan]) -> Vec<FieldChange> {
        let ours = self.facts.incident.to_string();
        let outstanding = self.outstanding_on(&target.id.uid);
        let of_other_steps = loans
            .iter()
            .filter(|loan| loan.incident == ours && loan.step != step.name && outstanding.contains(&loan.id));
        // What admission stored in place of the value that was sent is in the journal, and not always in the record.
        let journal = |id: &ChangeId, path: &FieldPath| {
            let change = self.next.changes.iter().find(|change| change.id == *id);
            change.and_then(|change| change.fields().iter().find(|field| field.path == *path))
        };
        let standing = |loan: &Loan, field: &FieldChange| {
            let known = journal(&loan.id, &field.path).unwrap_or(field);
            let live = field.path.read(&target.object);
            let stands = known.ceded_to.is_none() && same(&field.path, live.as_deref(), known.after.as_ref());
            let after = live.map(Cow::into_owned);
            stands.then(|| match self.is_never_reverted(&loan.step) {
                // What stays for good is the value to restore.
                true => FieldChange { before: after.clone(), after, created: None, ..field.clone() },
                false => FieldChange { after, ..field.clone() },
            })
        };
        of_other_steps.flat_map(|loan| loan.fields.iter().filter_map(|field| standing(loan, field))).collect()
    }

    /// The changes of this Incident that are or may be in force on an object. The journal knows it: a label can get lost,
    /// and a rollback can restore an old record beside a new label.
    pub(super) fn outstanding_on(&self, uid: &str) -> Vec<ChangeId> {
        let changes = self.next.changes.iter();
        let outstanding = changes.filter(|change| change.target.uid == uid && change.is_outstanding());
        outstanding.map(|change| change.id.clone()).collect()
    }

    /// An earlier step whose fields a later step took over, and whose later step was reverted: its loan is
    /// empty but for the pause of Flux, so it ends, and may start again.
    pub(super) fn release_what_was_taken_over(&mut self) {
        for index in 0..self.next.changes.len() {
            let change = &self.next.changes[index];
            let stands = matches!(change.state, ChangeState::Applied | ChangeState::Verified);
            let is_heir = |other: &Change| {
                other.id != change.id && other.target.uid == change.target.uid && other.is_outstanding()
            };
            let is_empty = change.fields().iter().all(|field| gitops::is_pause(&field.path));
            if stands && is_empty && !self.next.changes.iter().any(is_heir) {
                self.next.changes[index].set_again(Again::IfMatching);
                self.revert_at(index);
            }
        }
    }

    /// Why these fields must not be changed again: someone has set one of them while a later step had changed it, so it is
    /// theirs.
    pub(super) fn set_during_a_later_step(&self, known: &Change, fields: &[FieldChange]) -> Option<String> {
        // When they were applied does not tell, because an earlier step may have been applied again, and a person may have
        // edited the order of the steps since.
        let began = |change: &Change| self.next.step(&change.step).and_then(|step| step.started_at);
        let own = began(known);
        // A step that has not begun was not there before the others.
        let is_later = |other: &&Change| {
            own.is_some()
                && other.target.uid == known.target.uid
                && other.step != known.step
                && began(other) > own
        };
        self.next.changes.iter().filter(is_later).find_map(|other| {
            let theirs = |field: &&FieldChange| fields.iter().any(|own| own.path.overlaps(&field.path));
            let field = other.fields().iter().filter(|field| field.ceded_to.is_some()).find(theirs)?;
            let owner = field.ceded_to.clone().unwrap_or_default();
            Some(format!("{} belongs to {owner}, who has set it during step {}", field.path, other.step))
        })
    }

    /// The change took effect: fields of other steps are its own now.
    pub(super) fn move_fields_to(&mut self, change: &Change) {
        let others = self
            .next
            .changes
            .iter_mut()
            .filter(|other| other.id != change.id && other.target.uid == change.target.uid);
        for other in others.filter(|other| other.is_in_force()) {
            let is_taken = |field: &FieldChange| change.fields().iter().any(|taken| taken.path == field.path);
            other.retain_fields(|field| field.ceded_to.is_some() || !is_taken(field));
        }
    }

    /// Reports what was adopted.
    pub(super) fn tell_of_adoption(&mut self, change: &Change, object: &Value) {
        let ours = self.facts.incident.to_string();
        let loans = undo::record(object).ok().flatten().map(|record| record.loans).unwrap_or_default();
        for loan in loans.iter().filter(|loan| loan.incident != ours) {
            let kept = |field: &FieldChange| {
                let is_it = |own: &FieldChange| {
                    own.path == field.path && same(&own.path, own.before.as_ref(), field.before.as_ref())
                };
                change.fields().iter().any(is_it)
            };
            if undo::is_labelled(object, loan) && loan.fields.iter().any(kept) {
                let text = format!("{}: adopted the changes of Incident {}", change.target, loan.incident);
                self.happen("Adopted", &text);
            }
        }
    }

    /// Whether a write of ours to the object is in flight, so that its record may be newer than the journal.
    pub(super) fn is_in_flight(&self, target_uid: &str) -> bool {
        self.next.changes.iter().any(|change| change.target.uid == target_uid && change.is_open_intent())
    }
}

/// The fields of these loans that still have the emergency value, the oldest of each path.
fn adoptable(object: &Value, mut orphans: Vec<&Loan>) -> Vec<FieldChange> {
    orphans.sort_by_key(|loan| loan.applied_at);
    let mut fields: Vec<FieldChange> = Vec::new();
    for field in orphans.into_iter().flat_map(|loan| &loan.fields) {
        let stands = same(&field.path, field.path.read(object).as_deref(), field.after.as_ref());
        if stands && field.ceded_to.is_none() && !fields.iter().any(|own| own.path == field.path) {
            fields.push(field.clone());
        }
    }
    fields
}

/// A field inside one that an earlier loan has created as a whole, such as the value of a variable, is changed as a part of
/// that one, so that the two loans are of one path.
fn within(fields: &mut [FieldChange], lent: &[FieldChange]) {
    for field in fields {
        let Some((old, rest)) = lent.iter().find_map(|old| Some((old, field.path.below(&old.path)?))) else {
            continue;
        };
        let mut whole = old.after.clone().unwrap_or_default();
        if rest.write(&mut whole, field.after.clone()).is_ok() {
            *field = FieldChange { after: Some(whole), ..old.clone() };
        }
    }
}

/// Fields that only the old loans have come first: they were changed first, so they are reverted last.
fn adopt(fields: &mut Vec<FieldChange>, adopted: Vec<FieldChange>) {
    let mut first = Vec::new();
    for old in adopted {
        match fields.iter_mut().find(|field| field.path == old.path) {
            Some(field) => {
                (field.before, field.created, field.owner) = (old.before, old.created, old.owner);
            }
            None => first.push(old),
        }
    }
    fields.splice(0..0, first);
}

fn take_over(fields: &mut [FieldChange], lent: &[FieldChange]) {
    for old in lent {
        if let Some(field) = fields.iter_mut().find(|field| field.path == old.path) {
            field.before.clone_from(&old.before);
            field.created.clone_from(&old.created);
            field.owner.clone_from(&old.owner);
        }
    }
}

/// The pace of a rollout goes with its template: a step that takes over all other fields of a loan takes it over, too.
fn carry_pace(fields: &mut Vec<FieldChange>, lent: &[FieldChange], loans: &[Loan]) {
    for loan in loans {
        let (pace, rest): (Vec<_>, Vec<_>) = loan.fields.iter().partition(|field| field.path.is_pace());
        let is_taken = |old: &&FieldChange| fields.iter().any(|field| field.path == old.path);
        let stays = |old: &&FieldChange| !gitops::is_pause(&old.path) && !is_taken(old);
        if rest.is_empty() || rest.iter().any(stays) {
            continue;
        }
        let is_pace = |old: &&FieldChange| pace.iter().any(|pace| pace.path == old.path);
        let left: Vec<FieldChange> =
            lent.iter().filter(|old| is_pace(old) && !is_taken(old)).cloned().collect();
        fields.extend(left);
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use serde_json::json;

    use super::super::fixture::{at, field};
    use super::*;

    fn orphan(applied_at: i64, fields: Vec<FieldChange>) -> Loan {
        Loan {
            id: ChangeId::of("gone", "one", &applied_at.to_string()),
            incident: "serving/gone/uid".to_owned(),
            step: "one".to_owned(),
            uid: "uid-a".to_owned(),
            api_version: "apps/v1".to_owned(),
            applied_at: Some(at(applied_at)),
            fields,
        }
    }

    #[test]
    fn of_orphaned_loans_the_oldest_value_is_adopted_and_only_where_theirs_still_stands() {
        let object = json!({"spec": {"limit": 16, "batch": 7, "ceded": 1}});
        let mut ceded = field("/spec/ceded", &json!(0), &json!(1));
        ceded.ceded_to = Some("alice".to_owned());
        let newer = orphan(
            20,
            vec![field("/spec/limit", &json!(8), &json!(16)), field("/spec/batch", &json!(2), &json!(1))],
        );
        let older = orphan(10, vec![field("/spec/limit", &json!(4), &json!(16)), ceded]);
        let adopted = adoptable(&object, vec![&newer, &older]);
        assert_eq!(adopted, [field("/spec/limit", &json!(4), &json!(16))]);
    }

    #[test]
    fn a_later_step_takes_over_the_value_from_before_and_the_owner() {
        let mut lent = field("/spec/limit", &json!(4), &json!(16));
        lent.owner = Some("flux/Apply".to_owned());
        let mut fields =
            vec![field("/spec/limit", &json!(16), &json!(32)), field("/spec/batch", &json!(2), &json!(1))];
        take_over(&mut fields, &[lent, field("/spec/other", &json!(1), &json!(2))]);
        assert_eq!((&fields[0].before, &fields[0].after), (&Some(json!(4)), &Some(json!(32))));
        assert_eq!(fields[0].owner.as_deref(), Some("flux/Apply"));
        assert_eq!(fields[1..], [field("/spec/batch", &json!(2), &json!(1))]);
    }

    #[test]
    fn a_variable_that_an_earlier_step_has_added_is_changed_as_a_whole() {
        let variable = |value: &str| json!({"name": "THREADS", "value": value});
        let mut lent = field("/spec/env/[name=THREADS]", &json!(null), &variable("40"));
        lent.before = None;
        let other = field("/spec/env/[name=OTHER]/value", &json!("a"), &json!("b"));
        let mut fields =
            vec![field("/spec/env/[name=THREADS]/value", &json!("40"), &json!("20")), other.clone()];
        within(&mut fields, from_ref(&lent));
        assert_eq!(fields, [FieldChange { after: Some(variable("20")), ..lent }, other]);
    }

    #[test]
    fn what_is_adopted_goes_back_even_if_the_step_would_not_change_it() {
        let mut fields = vec![field("/spec/limit", &json!(16), &json!(16))];
        let adopted =
            vec![field("/spec/limit", &json!(4), &json!(16)), field("/spec/batch", &json!(2), &json!(1))];
        adopt(&mut fields, adopted);
        assert_eq!(fields[0], field("/spec/batch", &json!(2), &json!(1)));
        assert_eq!(fields[1].before, Some(json!(4)));
    }

    #[test]
    fn a_step_that_takes_over_a_whole_template_takes_over_its_pace() {
        let surge = || field("/spec/strategy/rollingUpdate/maxSurge", &json!(1), &json!(0));
        let (gpu, zone) =
            (field("/spec/gpu", &json!(1), &json!(0)), field("/spec/zone", &json!("a"), &json!("b")));
        let loan = |fields: &[FieldChange]| orphan(10, fields.to_vec());
        let carried = |taken: &[FieldChange], loan: &Loan| {
            let mut fields = taken.to_vec();
            carry_pace(&mut fields, &loan.fields, from_ref(loan));
            fields[taken.len()..].to_vec()
        };
        let whole = loan(&[gpu.clone(), surge()]);
        assert_eq!(carried(from_ref(&gpu), &whole), [surge()]);
        assert_eq!(carried(from_ref(&zone), &whole), []);
        assert_eq!(carried(&[gpu.clone(), surge()], &whole), []);
        assert_eq!(
            carried(from_ref(&gpu), &loan(&[gpu.clone(), zone, surge()])),
            [],
            "the rest of its template stays"
        );
        assert_eq!(carried(&[], &loan(&[surge()])), [], "it is on its way back");
    }
}
