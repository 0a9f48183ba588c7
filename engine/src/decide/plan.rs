//! From live objects to planned changes, or the reason why there are none.

use super::climb::{RELIST_BUSY, RELIST_IDLE};
use super::held::Findings;
use super::plans::Plans;
use super::{Deciding, IN_OBSERVE, is_begun, journal};
use crate::action::{Plan, Pods};
use crate::change::{Again, Change, ChangeState};
use crate::facts::{ListingRead, Purpose, Stage, Target};
use crate::gitops;
use crate::id::ChangeId;
use crate::reason::Reason;
use crate::rules::Step;
use crate::undo;
use crate::verdict::Verdict;
use crate::why::WhyNot;

/// Whether the step has changed the object before, or tried to before a person resumed it, so that no new one joins it.
pub(super) fn was_in_step(change: &Change) -> bool {
    change.comes_back() || change.reason == Some(Reason::Resumed)
}

/// Whether an object with this entry may be changed by the step again.
pub(super) fn may_join(change: &Change) -> bool {
    match change.state {
        ChangeState::Planned | ChangeState::Skipped => true,
        ChangeState::Reverted => matches!(change.again(), Again::Always | Again::IfMatching),
        ChangeState::Intended
        | ChangeState::Unclear
        | ChangeState::Applied
        | ChangeState::Verified
        | ChangeState::Reverting
        | ChangeState::Ceded
        | ChangeState::Kept
        | ChangeState::Done
        | ChangeState::Failed
        | ChangeState::Held => false,
    }
}

impl Deciding<'_> {
    /// Plans a step for the objects that its targets select now. None if the listing
    /// has to be requested, or if it failed; the step then says why.
    pub(super) fn plan(&mut self, step: &Step) -> Option<Plans> {
        let listed = match self.listing(&step.name)? {
            ListingRead::Listed(listing) => listing,
            ListingRead::Refused { why } => {
                self.pending(&step.name, Reason::CannotListTargets, why);
                self.wake_in(RELIST_IDLE);
                return None;
            }
            ListingRead::Failed { why } => {
                self.pending(&step.name, Reason::TargetsUnknown, why);
                self.wake_in(RELIST_BUSY);
                return None;
            }
        };
        // An object that was left alone and is no longer selected needs no entry.
        let is_listed = |change: &Change| {
            listed.targets.iter().any(|t| t.id.uid == change.target.uid && t.off_on_purpose().is_none())
        };
        self.next.changes.retain(|change| {
            let only_says_why =
                change.state == ChangeState::Skipped && change.round == 0 && change.fence().is_none();
            change.step != step.name || !only_says_why || is_listed(change)
        });
        let mut plans = Plans { scope: listed.scope, absent: listed.absent.clone(), ..Plans::default() };
        for target in &listed.targets {
            let is_selected = target.matched == Verdict::True && target.off_on_purpose().is_none();
            let is_changed = || self.next.changes_of(&step.name).any(|c| c.target.uid == target.id.uid);
            if target.stage == Stage::Targets && (is_selected || is_changed()) {
                plans.matched += 1;
            }
            self.plan_target(step, target, &mut plans);
        }
        if let Some((stage, refused)) = plans.stage_refused.take() {
            plans.changes.retain(|(_, target)| target.stage < stage);
            plans.refused.insert(0, refused);
        }
        self.leave_what_is_over_the_limit(step, &mut plans);
        self.refuse_what_does_not_fit(&mut plans);
        for refused in plans.refused.iter().filter(|c| c.reason == Some(Reason::JournalFull)) {
            let message = refused.message.clone().unwrap_or_default();
            self.why.push(WhyNot {
                step: step.name.clone(),
                target: Some(refused.target.clone()),
                reason: Reason::JournalFull,
                message,
            });
        }
        Some(plans)
    }

    /// For an action with a limit, changes at most that many targets at once, in the order of the listing. What a relapse
    /// makes again goes before what joins.
    fn leave_what_is_over_the_limit(&mut self, step: &Step, plans: &mut Plans) {
        let Some(limit) = step.action.kind().limit() else { return };
        let own = &self.facts.incident.namespace;
        // A target that someone else has changed since does not count, although its entry stays until the end.
        let is_changed = |change: &&Change| {
            change.is_outstanding() && change.fields().iter().any(|field| field.ceded_to.is_none())
        };
        let is_target = |change: &&Change| step.action.stage_of(&change.target, own) == Stage::Targets;
        let changed = self.next.changes_of(&step.name).filter(is_target).filter(is_changed).count();
        let mut room = limit.saturating_sub(changed);
        let mut changes = std::mem::take(&mut plans.changes);
        changes.sort_by_key(|(change, _)| match change.again() {
            Again::Always => 0,
            Again::IfMatching => 1,
            Again::Never | Again::Possible | Again::AfterPause => 2,
        });
        for (change, target) in changes {
            if target.stage != Stage::Targets || room > 0 {
                room -= usize::from(target.stage == Stage::Targets);
                plans.changes.push((change, target));
            } else {
                let message = format!("the step changes {limit} object(s) at once, and has changed so many");
                self.not_done(&step.name, Some(&target), Reason::LimitReached, &message);
            }
        }
    }

    fn plan_target(&mut self, step: &Step, target: &Target, plans: &mut Plans) {
        let known = self.next.newest_of(&step.name, &target.id.uid);
        if known.is_some_and(|change| !may_join(change)) {
            return; // it has joined already, or someone has reverted it by hand, which is final
        }
        match target.matched {
            _ if known.is_some_and(|change| change.again() == Again::Always) => {}
            Verdict::True => {}
            Verdict::False => return,
            Verdict::Unknown => {
                return self.not_done(&step.name, Some(target), Reason::WhereUnknown, &target.why_no_match());
            }
        }
        if let Some(why) = target.off_on_purpose() {
            return self.not_done(&step.name, Some(target), Reason::Idle, why);
        }
        let is_known = known.is_some_and(|change| was_in_step(change) || change.has_no_turn_yet());
        if is_begun(&self.next, &step.name) && self.relapses_are_used_up() && !is_known {
            let why = "after the last relapse no object joins the step";
            return self.not_done(&step.name, Some(target), Reason::NotAdmitted, why);
        }
        let Some(plan) = self.consider(step, target) else { return };
        let known = self.next.newest_of(&step.name, &target.id.uid).cloned();
        let id = ChangeId::of(&self.facts.incident.uid, &step.name, &target.id.uid);
        let first = id.clone();
        let change = |fields| match &known {
            Some(known) => known.clone().with_fields(fields),
            None => Change::planned(first, &step.name, target.id.clone(), fields),
        };
        let replaces_pods = step.action.descriptor().pods == Pods::Replaces;
        let in_order = replaces_pods && target.stage == Stage::Targets && target.pods.are_in_order();
        let change = |fields| change(fields).with_pods_in_order(in_order);
        match plan {
            Plan::Operate(operation) => {
                // What was never sent is planned again, because the object may have changed.
                let known = known.filter(|known| known.as_operation().is_some() && known.round > 0);
                let next = known.as_ref().and_then(|known| self.next_attempt(known));
                let planned = |id| {
                    let planned = Change::operation(id, &step.name, target.id.clone(), *operation);
                    planned.with_pods_in_order(in_order)
                };
                let change = match (known, next) {
                    (Some(known), None) => known,
                    (Some(_), Some(next)) => planned(next),
                    (None, _) => planned(id),
                };
                if change.is_in_already(&target.object) {
                    let why = "it has the value of this restart already";
                    plans.spare(target, why);
                    return self.not_done(&step.name, Some(target), Reason::NothingToDo, why);
                }
                plans.changes.push((change, target.clone()));
            }
            Plan::Change(fields) => {
                if let Some(warning) = gitops::warning(&target.object, &fields) {
                    plans.warning.get_or_insert_with(|| format!("{}: {warning}", target.id));
                    self.not_done(&step.name, Some(target), Reason::GitOpsWarning, &warning);
                }
                for doubt in step.action.doubts(target) {
                    let why = &doubt.why;
                    // A guess is worth a look at the plan, and no entry in the timeline of an emergency.
                    if !doubt.is_a_guess() {
                        plans.doubt.get_or_insert_with(|| format!("{}: {why}", target.id));
                    }
                    self.not_done(&step.name, Some(target), Reason::MayHaveNoEffect, why);
                }
                plans.changes.push((change(fields), target.clone()));
            }
            Plan::NothingToDo(why) => {
                plans.spare(target, &why);
                self.not_done(&step.name, Some(target), Reason::NothingToDo, &why);
            }
            // It may be changed soon, so it needs no entry that says why not.
            Plan::Refused { reason: reason @ Reason::WaitsForRollout, message } => {
                self.not_done(&step.name, Some(target), reason, &message);
            }
            Plan::Refused { reason, message } if target.stage != Stage::Targets => {
                self.not_done(&step.name, Some(target), reason.clone(), &message);
                let mut skipped = change(Vec::new());
                skipped.stand(ChangeState::Skipped, reason, message);
                let is_first = plans.stage_refused.as_ref().is_none_or(|(stage, _)| target.stage < *stage);
                if is_first {
                    plans.stage_refused = Some((target.stage, skipped));
                }
            }
            Plan::Refused { reason: reason @ Reason::ValueOfAnother, message } => {
                self.not_done(&step.name, Some(target), reason.clone(), &message);
                plans.refused.extend(known.map(|mut theirs| {
                    theirs.set_again(Again::Never);
                    theirs.explain(Some((reason, message)));
                    theirs
                }));
            }
            // It was reverted by someone else, which is final.
            Plan::Refused { reason, message }
                if known.as_ref().is_some_and(|known| known.state == ChangeState::Reverted) =>
            {
                self.not_done(&step.name, Some(target), reason, &message);
            }
            Plan::Refused { reason, message } => {
                // The values of an earlier round still bound those of a later one.
                let mut skipped =
                    change(known.as_ref().map(|known| known.fields().to_vec()).unwrap_or_default());
                skipped.stand(ChangeState::Skipped, reason.clone(), message.clone());
                self.not_done(&step.name, Some(target), reason, &message);
                plans.refused.push(skipped);
            }
        }
    }

    /// What the step means for this object, after every reason not to touch it was checked.
    /// None if a live read has to be requested.
    pub(super) fn consider(&mut self, step: &Step, target: &Target) -> Option<Plan> {
        let refused = |reason, message: String| Some(Plan::Refused { reason, message });
        if let Some(why) = self.waits_for_a_return(target) {
            return refused(Reason::WaitsForRollout, why);
        }
        if target.purpose == Purpose::Watch {
            // Its change has ended in this very decision. The next listing reads it to be changed.
            self.wake_in(RELIST_BUSY);
            return None;
        }
        if let Some(why) = target.off_on_purpose() {
            return refused(Reason::Idle, why.to_owned());
        }
        if target.exempt {
            return refused(Reason::Exempt, format!("it or its namespace is annotated {}", undo::EXEMPT));
        }
        if let Some(owned_by) = &target.owned_by {
            return refused(Reason::OwnedByController, owned_by.to_string());
        }
        let record = match undo::record(&target.object) {
            Ok(record) => record,
            Err(error) => {
                let reason = match &error {
                    undo::BadRecord::Unreadable(_) => Reason::RecordUnreadable,
                    undo::BadRecord::OfAnotherObject(_) => Reason::RecordOfAnotherObject,
                };
                let forget = format!("{} --forget", target.id.undo_command());
                return refused(
                    reason,
                    format!("{}; check it, then drop it with `{forget}`", error.stable()),
                );
            }
        };
        let loans = record.map(|record| record.loans).unwrap_or_default();
        let id = ChangeId::of(&self.facts.incident.uid, &step.name, &target.id.uid);
        let known = self.next.changes.iter().find(|change| change.id == id).cloned();
        let plan = self.plan_over_loans(step, target, known.as_ref(), &loans)?;
        let Plan::Change(fields) = plan else { return Some(plan) };
        if let Some(why) = known.and_then(|known| self.set_during_a_later_step(&known, &fields)) {
            return refused(Reason::ValueOfAnother, why);
        }
        let change = Change::planned(id, &step.name, target.id.clone(), fields.clone());
        if let Some((reason, why)) = journal::misfit(&change) {
            return refused(reason, why);
        }
        let others = self.outstanding_on(&target.id.uid);
        if let Err(error) = undo::apply_patch(&target.object, &change, &self.facts.incident, &others) {
            return refused(Reason::CannotRecord, error.to_string());
        }
        Some(Plan::Change(fields))
    }

    /// The plan of every step for this level, without any effect (mode Observe).
    pub(super) fn publish_plan(&mut self) -> Findings {
        let Some(level) = self.next.severity else { return self.not_classified().into() };
        self.wake_in(RELIST_IDLE);
        let is_plan = |change: &Change| {
            matches!(change.state, ChangeState::Planned | ChangeState::Skipped) && !change.is_an_attempt()
        };
        let (old, ended): (Vec<Change>, Vec<Change>) =
            std::mem::take(&mut self.next.changes).into_iter().partition(is_plan);
        self.next.changes = ended; // an object that was changed once never joins again
        let mut planned = Vec::new();
        for step in self.ladder.clone() {
            if !step.is_for(level) {
                self.pending(
                    &step.name,
                    Reason::OtherSeverity,
                    &format!("its severities do not include {level}"),
                );
                continue;
            }
            let plans = match self.is_listing_due(&step.name, RELIST_IDLE) {
                true => self.plan(&step),
                false => None,
            };
            let Some(mut plans) = plans else {
                planned.extend(old.iter().filter(|change| change.step == step.name).cloned());
                continue;
            };
            if let Some(message) = self.too_many(&step, &plans) {
                self.not_done(&step.name, None, Reason::TooManyTargets, &message);
            }
            if plans.new_targets() > 0
                && let Some(message) = self.outside_windows(&step)
            {
                self.not_done(&step.name, None, Reason::OutsideWindows, &message);
            }
            self.note(&step, &plans);
            let nothing = self.nothing_to_change(&step, &plans);
            if nothing.is_some() {
                plans.changes.clear(); // without a target, nothing is changed before the targets
            }
            planned.extend(plans.changes.into_iter().map(|(change, _)| change).chain(plans.refused));
            if is_begun(&self.next, &step.name) {
                continue;
            }
            let observe = format!("{IN_OBSERVE}: this is the plan, and nothing is changed");
            let closed = self.closed_by_when(&step);
            let (reason, text) = closed.or(nothing).unwrap_or((Reason::Observe, observe));
            self.pending(&step.name, reason, &text);
        }
        self.journal(planned);
        Findings::default()
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
