//! Changed objects that say nothing about their change: those that someone has stopped, parked or is deleting on
//! purpose, and those whose pods keep the template that they have.
//!
//! Such an object is no part of a verification or of a wave's health, and holds up nothing. Its change stays in force
//! and is reverted with the others. The object counts again as soon as it has rolled out.

use super::Deciding;
use crate::action::Pods;
use crate::change::{Change, ChangeState};
use crate::facts::{ObjectRead, Role, Stage, Target};
use crate::path::FieldPath;
use crate::reason::Reason;
use crate::rules::Step;
use crate::undo;
use crate::value::is_zero;
use crate::verdict::Verdict;

/// Why the object is off on purpose; none if it is not, or if a loan has scaled it to 0. Of an object that another one
/// controls, only its owner shows that. A scheduler that a step retires before its targets is meant to be off.
pub(super) fn idle(target: &Target) -> Option<&str> {
    let is_own = target.owned_by.is_none() && target.stage == Stage::Targets;
    let why = target.idle.as_deref().filter(|_| is_own)?;
    let is_number = |path: &FieldPath| target.slots.of(&Role::Replicas).any(|slot| slot.path == *path);
    let record = undo::record(&target.object).ok().flatten();
    let mut lent = record.iter().flat_map(|record| &record.loans).flat_map(|loan| &loan.fields);
    let is_lent = lent.any(|field| is_number(&field.path) && is_zero(field.after.as_ref()));
    (!is_lent).then_some(why)
}

/// Why the object says nothing about a change of this step.
fn sits_out(step: &Step, target: &Target) -> Option<(Reason, String)> {
    if let Some(why) = idle(target) {
        return Some((Reason::Idle, why.to_owned()));
    }
    let is_replaced = step.action.descriptor().pods == Pods::Replaces && target.stage == Stage::Targets;
    let why = target.rollout_paused.as_ref().filter(|_| is_replaced && target.rollout.0 != Verdict::True)?;
    Some((Reason::RolloutPaused, why.clone()))
}

impl Deciding<'_> {
    /// Whether a reverted object of this step is no part of its wave any more.
    pub(super) fn is_out_of_its_wave(step: &Step, target: &Target) -> bool {
        sits_out(step, target).is_some()
    }

    /// Notes which changes of the step sit out, and which count again.
    pub(super) fn note_idle(&mut self, step: &Step) {
        for index in 0..self.next.changes.len() {
            let change = &self.next.changes[index];
            let is_in_force = matches!(change.state, ChangeState::Applied | ChangeState::Verified);
            if change.step != step.name || !is_in_force {
                continue;
            }
            let Some(target) = self.seen(change) else { continue };
            let why = sits_out(step, target);
            let has_rolled_out = target.rollout.0 == Verdict::True;
            let change = &mut self.next.changes[index];
            match why {
                // Firebreak does not correct that record any more, whatever else happens to the object.
                Some(_) if change.reason == Some(Reason::RecordNotCorrected) => {}
                Some(why) => change.explain(Some(why)),
                None if change.sits_out() && has_rolled_out => change.explain(None),
                None => {}
            }
        }
    }

    /// The changed object as this decision has read it.
    pub(super) fn seen(&self, change: &Change) -> Option<&Target> {
        if let Some(target) = self.listed(&change.step, &change.target.uid) {
            return Some(target);
        }
        match self.facts.looked.objects.get(&change.target)? {
            ObjectRead::Found(target) => Some(target),
            ObjectRead::Gone | ObjectRead::Refused { .. } | ObjectRead::Failed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::super::fixture::{Fixture, live};
    use super::*;
    use crate::facts::{OwnedBy, Slot, Slots};

    const REPLICAS: &str = "/spec/replicas";

    /// `a`, scaled to 0, with a loan that has set its replicas to this number; none: without a loan.
    fn parked(lent: Option<i64>) -> Target {
        let slot =
            Slot { role: Role::Replicas, path: REPLICAS.parse().unwrap(), out_of_bounds: None, absent: None };
        let loan = |after| {
            let fields = json!([{"path": REPLICAS, "before": 3, "after": after}]);
            json!({"v": 1, "loans": [{"id": "x", "incident": "ops/outage/u", "step": "one", "uid": "uid-a",
                                      "apiVersion": "apps/v1", "fields": fields}]})
        };
        let record = lent.map(|after| loan(after).to_string());
        let metadata = json!({"name": "a", "uid": "uid-a", "annotations": {undo::UNDO: record}});
        Target {
            object: Arc::new(json!({"metadata": metadata, "spec": {"replicas": 0}})),
            idle: Some("it is scaled to 0".to_owned()),
            slots: Slots { fields: vec![slot], ..Slots::default() },
            ..live("a")
        }
    }

    #[test]
    fn whether_an_object_is_off_on_purpose_says_its_owner() {
        let owned_by = OwnedBy { owner: "ModelFleet/fleet".to_owned(), why: String::new() };
        assert_eq!(idle(&Target { owned_by: Some(owned_by), ..parked(None) }), None);
    }

    #[test]
    fn what_a_loan_has_scaled_to_0_is_not_idle() {
        assert_eq!(idle(&parked(None)), Some("it is scaled to 0"));
        assert_eq!(
            idle(&parked(Some(5))),
            Some("it is scaled to 0"),
            "someone else has scaled it to 0 since"
        );
        assert_eq!(idle(&parked(Some(0))), None);
        assert_eq!(idle(&live("a")), None);
    }

    #[test]
    fn a_change_says_that_its_object_is_idle_until_the_object_has_rolled_out_again() {
        let noted = |given: &Fixture| {
            let step = given.rules.steps[0].clone();
            let mut deciding = given.deciding();
            deciding.note_idle(&step);
            deciding.next.changes[0].reason.clone()
        };
        let given = Fixture::pinned().change("one", "a", ChangeState::Applied);
        assert_eq!(noted(&given.listed("one", vec![parked(None)])), Some(Reason::Idle));
        let said = || {
            Fixture::pinned().change_with("one", "a", ChangeState::Applied, |change| {
                change.explain(Some((Reason::Idle, "it is scaled to 0".to_owned())));
            })
        };
        let starting = Target { rollout: (Verdict::False, "it starts".to_owned()), ..live("a") };
        assert_eq!(noted(&said().listed("one", vec![starting])), Some(Reason::Idle));
        assert_eq!(noted(&said().listed("one", vec![live("a")])), None);
        assert_eq!(noted(&said()), Some(Reason::Idle), "it was not read");
    }

    #[test]
    fn a_paused_rollout_counts_only_while_it_is_not_complete() {
        let step = Fixture::pinned().rules.steps[0].clone();
        let paused = |verdict| Target {
            rollout_paused: Some("it is paused".to_owned()),
            rollout: (verdict, String::new()),
            ..live("a")
        };
        let reason = |target: &Target| sits_out(&step, target).map(|(reason, _)| reason);
        assert_eq!(reason(&paused(Verdict::False)), Some(Reason::RolloutPaused));
        assert_eq!(reason(&paused(Verdict::True)), None);
        let before = Target { stage: Stage::Before(0), ..paused(Verdict::False) };
        assert_eq!(reason(&before), None, "its replicas are changed, not its template");
    }
}
