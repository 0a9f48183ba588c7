//! Changed objects that say nothing about their change: those that someone has stopped, parked or is deleting on
//! purpose, and those whose pods keep the template that they have.
//!
//! Such an object is no part of a verification or of a wave's health, and holds up nothing. Its change stays in force
//! and is reverted with the others. As soon as it is not off any more, it counts again, and has its time to get healthy.

use super::Deciding;
use crate::action::Pods;
use crate::change::{Change, ChangeState, SitsOut};
use crate::facts::{ObjectRead, Stage, Target};
use crate::reason::Reason;
use crate::rules::Step;
use crate::value::is_zero;
use crate::verdict::Verdict;

/// Why the pods of the object keep the template that they have, whatever the step changes in it.
fn keeps_its_template(step: &Step, target: &Target) -> Option<SitsOut> {
    let is_replaced = step.action.descriptor().pods == Pods::Replaces && target.stage == Stage::Targets;
    let why = target.rollout_paused.as_ref().filter(|_| is_replaced)?;
    Some(SitsOut::new(Reason::RolloutPaused, why))
}

impl Deciding<'_> {
    /// Why the object says nothing about a change of this step.
    pub(super) fn why_it_sits_out(&self, step: &Step, target: &Target) -> Option<SitsOut> {
        if let Some(why) = target.off_on_purpose().filter(|_| !self.has_scaled_to_0(target)) {
            return Some(SitsOut::new(Reason::Idle, why));
        }
        keeps_its_template(step, target).filter(|_| target.rollout.0 != Verdict::True)
    }

    /// Whether a change of this Incident has scaled the object to 0. The journal knows that even if the label of the
    /// object was lost.
    fn has_scaled_to_0(&self, target: &Target) -> bool {
        let on_object = |change: &&Change| change.target.uid == target.id.uid && change.is_outstanding();
        let mut fields = self.next.changes.iter().filter(on_object).flat_map(Change::fields);
        fields.any(|field| target.is_replicas(&field.path) && is_zero(field.after.as_ref()))
    }

    /// Notes which changes of the step sit out, and which count again.
    pub(super) fn note_idle(&mut self, step: &Step) {
        let wave = self.wave();
        for index in 0..self.next.changes.len() {
            let change = &self.next.changes[index];
            let is_back = change.state == ChangeState::Reverted && wave.contains(&change.id);
            let is_in_force = matches!(change.state, ChangeState::Applied | ChangeState::Verified);
            if change.step != step.name || !is_in_force && !is_back {
                continue;
            }
            let read = self.facts.looked.objects.get(&change.target);
            let (why, rollout) = match (self.seen(change), read) {
                (Some(target), _) => (self.why_it_sits_out(step, target), target.rollout.0),
                (None, Some(ObjectRead::Gone)) if is_back => {
                    (Some(SitsOut::new(Reason::ObjectGone, "the object was deleted")), Verdict::Unknown)
                }
                (None, _) => continue,
            };
            let now = self.now;
            let change = &mut self.next.changes[index];
            match why {
                Some(why) => change.sit_out(why),
                None => change.take_part(rollout, now),
            }
        }
    }

    /// Notes what an object is like just before its change is reverted.
    pub(super) fn note_before_revert(&self, change: &mut Change, target: &Target) {
        if !matches!(change.state, ChangeState::Applied | ChangeState::Verified) {
            return;
        }
        let step = self.step(&change.step);
        let sits_out = step
            .and_then(|step| self.why_it_sits_out(step, target).or_else(|| keeps_its_template(step, target)));
        match sits_out {
            Some(why) => change.sit_out(why),
            None => {
                change.take_part(target.rollout.0, self.now);
                change.note_health(target.is_well(), target.unhealthy_since, self.now);
            }
        }
    }

    /// Reports on the changes themselves which of them sit out.
    pub(super) fn show_who_sits_out(&mut self) {
        self.next.changes.iter_mut().for_each(Change::show_that_it_sits_out);
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

    use super::super::fixture::{Fixture, NOW, at, field, live};
    use super::*;
    use crate::facts::{OwnedBy, Purpose, Role, Slot, Slots};
    use crate::undo;

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
        let labels = json!({undo::INCIDENT: "u"});
        let metadata =
            json!({"name": "a", "uid": "uid-a", "labels": labels, "annotations": {undo::UNDO: record}});
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
        assert_eq!(Target { owned_by: Some(owned_by), ..parked(None) }.off_on_purpose(), None);
    }

    #[test]
    fn what_a_loan_has_scaled_to_0_is_not_idle() {
        assert_eq!(parked(None).off_on_purpose(), Some("it is scaled to 0"));
        assert_eq!(
            parked(Some(5)).off_on_purpose(),
            Some("it is scaled to 0"),
            "someone else has scaled it to 0 since"
        );
        assert_eq!(parked(Some(0)).off_on_purpose(), None);
        assert_eq!(live("a").off_on_purpose(), None);
    }

    #[test]
    fn a_record_without_its_label_is_a_leftover_and_scales_nothing() {
        let mut target = parked(Some(0));
        let mut object = (*target.object).clone();
        object["metadata"]["labels"] = json!({undo::INCIDENT: "another"});
        target.object = Arc::new(object);
        assert_eq!(target.off_on_purpose(), Some("it is scaled to 0"));
    }

    #[test]
    fn what_this_incident_has_scaled_to_0_is_not_idle_although_its_label_is_lost() {
        let after = |number: i64| {
            let given = Fixture::pinned().change_with("one", "a", ChangeState::Applied, |change| {
                change.set_fields(vec![field(REPLICAS, &json!(3), &json!(number))]);
            });
            let step = given.rules.steps[0].clone();
            given.deciding().why_it_sits_out(&step, &parked(None)).is_some()
        };
        assert_eq!((after(0), after(5)), (false, true));
    }

    #[test]
    fn the_share_is_one_of_what_the_step_could_change_and_has_changed() {
        assert!(live("a").is_in_scope());
        assert!(!parked(None).is_in_scope(), "a person has parked it");
        assert!(parked(Some(0)).is_in_scope(), "a step has scaled it to 0");
        assert!(
            Target { purpose: Purpose::Watch, ..parked(None) }.is_in_scope(),
            "it is changed, and parked since"
        );
        assert!(!Target { stage: Stage::Before(0), ..live("a") }.is_in_scope());
    }

    #[test]
    fn an_object_that_is_started_again_counts_and_has_its_time() {
        let noted = |given: &Fixture| {
            let step = given.rules.steps[0].clone();
            let mut deciding = given.deciding();
            deciding.note_idle(&step);
            deciding.show_who_sits_out();
            deciding.next.changes[0].clone()
        };
        let why = || SitsOut::new(Reason::Idle, "it is scaled to 0");
        let given = Fixture::pinned().change("one", "a", ChangeState::Applied);
        let change = noted(&given.listed("one", vec![parked(None)]));
        assert_eq!((change.sits_out(), change.reason), (true, Some(Reason::Idle)));
        let said = |state| {
            Fixture::pinned().change_with("one", "a", state, |change| {
                change.applied(at(0));
                change.verified(at(1));
                change.state = state;
                change.sit_out(why());
                change.show_that_it_sits_out();
            })
        };
        assert!(noted(&said(ChangeState::Verified)).sits_out(), "it was not read");
        let starting = || Target { rollout: (Verdict::False, "it starts".to_owned()), ..live("a") };
        for (target, state, since) in
            [(starting(), ChangeState::Applied, NOW), (live("a"), ChangeState::Verified, 0)]
        {
            let change = noted(&said(ChangeState::Verified).listed("one", vec![target]));
            assert_eq!((change.sits_out(), change.reason.clone()), (false, None));
            assert_eq!((change.state, change.judged_since()), (state, Some(at(since))));
        }
    }

    #[test]
    fn what_a_change_reports_besides_is_not_overwritten() {
        let given = Fixture::pinned().change_with("one", "a", ChangeState::Applied, |change| {
            change.explain(Some((Reason::RecordNotCorrected, "why".to_owned())));
        });
        let given = given.listed("one", vec![parked(None)]);
        let step = given.rules.steps[0].clone();
        let mut deciding = given.deciding();
        deciding.note_idle(&step);
        deciding.show_who_sits_out();
        let change = &deciding.next.changes[0];
        assert_eq!((change.sits_out(), &change.reason), (true, &Some(Reason::RecordNotCorrected)));
    }

    #[test]
    fn a_paused_rollout_counts_only_while_it_is_not_complete() {
        let given = Fixture::pinned();
        let step = given.rules.steps[0].clone();
        let paused = |verdict| Target {
            rollout_paused: Some("it is paused".to_owned()),
            rollout: (verdict, String::new()),
            ..live("a")
        };
        let reason = |target: &Target| given.deciding().why_it_sits_out(&step, target).map(|why| why.reason);
        assert_eq!(reason(&paused(Verdict::False)), Some(Reason::RolloutPaused));
        assert_eq!(reason(&paused(Verdict::True)), None);
        let before = Target { stage: Stage::Before(0), ..paused(Verdict::False) };
        assert_eq!(reason(&before), None, "its replicas are changed, not its template");
    }
}
