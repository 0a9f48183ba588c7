//! The guardrails on how many objects a step changes without approval.

use super::Deciding;
use super::plans::Plans;
use crate::change::{Again, Change, ChangeState, Extent};
use crate::facts::Stage;
use crate::rules::Step;

impl Deciding<'_> {
    /// Why this number of new changes exceeds the guardrails. None if it does not.
    pub(super) fn too_many(&self, step: &Step, plans: &Plans) -> Option<String> {
        match plans.new_targets() {
            0 => None,
            new => self.above_guardrail(step, new + plans.targets_again(), plans.scope),
        }
    }

    /// The guardrail that the step exceeds with so many more targets.
    pub(super) fn above_guardrail(&self, step: &Step, new: usize, scope: usize) -> Option<String> {
        let present = self.present(step);
        let (most, share) = self.guardrails(scope);
        let percent = self.rules.map_or(0, |rules| rules.limits.max_targets_percent);
        let guardrail = match () {
            () if present + new > most => format!("guardrails.maxTargets is {most}"),
            () if present + new > share => {
                format!("guardrails.maxTargetsPercent of {percent} allows {share} of {scope}")
            }
            () => return None,
        };
        Some(guardrail)
    }

    /// How many targets the step has changed, or changes without any other approval.
    fn present(&self, step: &Step) -> usize {
        let has_place =
            |change: &&Change| change.counts() || change.has_no_turn_yet() || self.is_awaited(step, change);
        let own = self.next.changes_of(&step.name).filter(has_place);
        own.filter(|change| self.stage_of(step, change) == Stage::Targets).count()
    }

    /// Whether a relapse applies the change again in any case, as soon as that is possible.
    fn is_awaited(&self, step: &Step, change: &Change) -> bool {
        let is_wanted = change.state == ChangeState::Reverted && change.again() == Again::Always;
        is_wanted && self.targets_of(step).iter().any(|target| target.id.uid == change.target.uid)
    }

    /// The extent of a step with so many more targets.
    pub(super) fn extent(&self, step: &Step, scope: usize, new: usize) -> Extent {
        let (most, share) = self.guardrails(scope);
        let number = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        Extent { allowed: number(most.min(share)), in_all: number(self.present(step) + new) }
    }

    /// How many objects a step may change without approval, of so many in its scope: in all, and as their share.
    fn guardrails(&self, scope: usize) -> (usize, usize) {
        let limits = self.rules.map(|rules| &rules.limits);
        let percent = limits.map_or(0, |limits| limits.max_targets_percent);
        let most = limits.map_or(0, |limits| limits.max_targets);
        (most, (scope * percent).div_ceil(100).max(1))
    }
}
