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
use crate::change::{Change, Evidence};
use crate::facts::{ObjectRead, Target};
use crate::id::ResourceVersion;
use crate::period::{Period, after};
use crate::reason::Reason;
use crate::rules::Step;
use crate::verdict::Verdict;

/// How long a rollout is awaited if the step is no longer known.
const PATIENCE: SignedDuration = SignedDuration::from_secs(300);

impl Deciding<'_> {
    /// Whether the returned template of this version of the object has still to roll out.
    pub(super) fn waits_for_rollout(&mut self, change: &mut Change, version: &ResourceVersion) -> bool {
        let why = match self.read_in(change, version) {
            _ if change.comes_back() => return false,
            _ if self.was_never_well(change) => return false,
            Some(target) if target.rollout.0 == Verdict::True || target.off_on_purpose().is_some() => {
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
