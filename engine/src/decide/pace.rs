//! When the pace of a rollout goes back, after its template.
//!
//! With the old pace the rollout of the returned template could wait forever for room. So the pace stays until the
//! template has rolled out, at most for the timeout of the step: then something else keeps the rollout from going on, and
//! nothing that was lent may stay for good. An object that is off has no rollout to wait for, and one that was healthy
//! neither before the change nor with it, although it had its time, would hold up the others with its wait. A change that is
//! to be applied again does not wait either, because it replaces the template anyway.

use jiff::SignedDuration;

use super::Deciding;
use super::climb::RELIST_BUSY;
use super::recover::is_stuck;
use crate::change::{Change, Evidence};
use crate::facts::{ListingRead, ObjectRead, Target};
use crate::id::{ResourceVersion, group};
use crate::period::{Period, after};
use crate::reason::Reason;
use crate::rules::Step;
use crate::selector::TargetsSpec;
use crate::verdict::Verdict;

/// How long a rollout is awaited if the step is no longer known.
const PATIENCE: SignedDuration = SignedDuration::from_secs(300);

impl Deciding<'_> {
    /// Whether the returned template of this version of the object has still to roll out.
    pub(super) fn waits_for_rollout(&mut self, change: &mut Change, version: &ResourceVersion) -> bool {
        let why = match self.read_in(change, version) {
            _ if change.comes_back() => return false,
            _ if self.was_never_well(change) => return false,
            Some(target) if target.off_on_purpose().is_some() => return false,
            Some(target) if target.rollout.0 == Verdict::True => {
                change.template_has_rolled_out(self.now);
                return false;
            }
            Some(target) => target.rollout.1.clone(),
            None => "it was not read".to_owned(),
        };
        let patience = self.step(&change.step).map_or(PATIENCE, |step| step.timeout);
        let due = after(change.template_back_at().unwrap_or(self.now), patience);
        if due > self.now {
            self.wake_in(self.at_most_a_share(RELIST_BUSY));
            self.wake(Some(due));
            let text = format!(
                "the template is reverted; maxSurge and maxUnavailable follow when it has rolled out: {why}"
            );
            change.explain(Some((Reason::WaitsForRollout, text)));
            return true;
        }
        if change.reason == Some(Reason::WaitsForRollout) {
            let text = format!(
                "{}: maxSurge and maxUnavailable are reverted although the reverted template has not rolled out within \
                 {}: {why}",
                change.target,
                Period::from(patience),
            );
            self.happen("RolloutNotAwaited", &text);
        }
        false
    }

    /// Why nothing else may change the object: a change of it is on its way back, and another one would take over the pace
    /// that the returned template needs.
    pub(super) fn waits_for_a_return(&self, target: &Target) -> Option<String> {
        let is_going = |change: &&Change| change.target.uid == target.id.uid && change.is_half_returned();
        let going = self.next.changes.iter().find(is_going)?;
        let waits = match (is_stuck(going), &going.message) {
            (true, Some(why)) => format!("cannot be reverted: {why}"),
            (true, None) => "cannot be reverted".to_owned(),
            (false, _) => "is being reverted there, and waits for the rollout".to_owned(),
        };
        Some(format!("step {} {waits}", going.step))
    }

    /// Why the step may soon have something to change: an object on its way back is no target before it is there. One that
    /// cannot be reverted is not awaited.
    pub(super) fn awaits_a_return(&self, step: &Step) -> Option<String> {
        let read = self.facts.looked.listings.get(&step.name);
        let is_listed = matches!(read, Some(ListingRead::Listed(_)));
        let is_told = |change: &Change| {
            self.why.iter().any(|why| {
                why.step == step.name
                    && why.reason == Reason::WaitsForRollout
                    && why.target.as_ref().is_some_and(|target| target.uid == change.target.uid)
            })
        };
        let going = self.next.changes.iter().find(|change| {
            let concerns = || if is_listed { is_told(change) } else { self.may_be_for(step, change) };
            change.is_half_returned() && !is_stuck(change) && concerns()
        })?;
        Some(format!(
            "step {} may change {}, which is being reverted and waits for its rollout",
            step.name, going.target
        ))
    }

    /// Whether the object of the change may be a target of the step, as far as this is known without a listing. A step may
    /// change the owners of what it selects.
    fn may_be_for(&self, step: &Step, change: &Change) -> bool {
        let scope = &step.targets().scope;
        let target = &change.target;
        let is_of_kind = |scope: &TargetsSpec| {
            group(&scope.api_version) == group(&target.api_version) && scope.kind == target.kind
        };
        let is_owner = self.step(&change.step).is_some_and(|own| !is_of_kind(&own.targets().scope));
        let is_named = scope.names.is_empty() || scope.names.contains(&target.name);
        is_owner || (is_of_kind(scope) && is_named)
    }

    /// What is to be applied again awaits no rollout any more.
    pub(super) fn await_no_rollouts(&mut self) {
        for index in 0..self.next.changes.len() {
            let change = &self.next.changes[index];
            if change.is_half_returned() && change.comes_back() && self.permits.may_write() {
                self.revert_at(index);
            }
        }
    }

    /// Whether the object was healthy neither before the change nor with it, and had its time.
    fn was_never_well(&self, change: &Change) -> bool {
        let step = self.step(&change.step);
        let patience = |step: &Step| step.verify.as_ref().map_or(step.timeout, |verify| verify.within);
        let had = step.map_or(PATIENCE, patience);
        let back = change.template_back_at().unwrap_or(self.now);
        change.evidence(step.map_or(PATIENCE, Step::patience), self.now) == Evidence::Nothing
            && change.applied_at().is_some_and(|at| after(at, had) <= back)
    }

    /// The object as it was read in this version in this decision.
    fn read_in(&self, change: &Change, version: &ResourceVersion) -> Option<&Target> {
        let read = match self.facts.looked.objects.get(&change.target) {
            Some(ObjectRead::Found(target)) => Some(target.as_ref()),
            Some(ObjectRead::Gone | ObjectRead::Refused { .. } | ObjectRead::Failed { .. }) | None => None,
        };
        let listed = self.listed(&change.step, &change.target.uid);
        [read, listed].into_iter().flatten().find(|target| target.version == *version)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, at, live};
    use super::*;
    use crate::change::ChangeState;
    use crate::facts::Purpose;

    #[test]
    fn a_listing_says_what_is_awaited_and_one_that_failed_says_nothing() {
        let given = || {
            Fixture::pinned().change_with("one", "a", ChangeState::Reverting, |change| {
                change.template_is_back(at(900));
            })
        };
        let awaits = |given: &Fixture| {
            let step = given.rules.steps[1].clone();
            let mut deciding = given.deciding();
            let _ = deciding.plan(&step);
            deciding.awaits_a_return(&step).is_some()
        };
        let failed = given().with(|facts| {
            let read = ListingRead::Failed { why: "503".to_owned() };
            facts.looked.listings.insert("two".to_owned(), read);
        });
        let watched = Target { purpose: Purpose::Watch, ..live("a") };
        assert!(awaits(&given()), "it was not listed, and may be a target");
        assert!(awaits(&failed), "a failed listing does not say that it is none");
        assert!(awaits(&given().listed("two", vec![live("a")])));
        assert!(awaits(&given().listed("two", vec![watched])));
        assert!(!awaits(&given().listed("two", Vec::new())), "it is no target");
    }
}
