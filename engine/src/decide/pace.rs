//! When the pace of a rollout goes back, after its template.
//!
//! With the old pace the rollout of the returned template could wait forever for room. So the pace stays until the
//! template has rolled out, at most for the timeout of the step: then something else keeps the rollout from going on, and
//! nothing that was lent may stay for good. An object that is off has no rollout to wait for. A change that is to be
//! applied again does not wait either, because it replaces the template anyway.

use jiff::SignedDuration;

use super::Deciding;
use super::climb::RELIST_BUSY;
use super::idle::idle;
use crate::change::{Again, Change};
use crate::facts::{ObjectRead, Target};
use crate::id::ResourceVersion;
use crate::period::after;
use crate::reason::Reason;
use crate::verdict::Verdict;

/// How long a rollout is awaited if the step is no longer known.
const PATIENCE: SignedDuration = SignedDuration::from_secs(300);

impl Deciding<'_> {
    /// Whether the returned template of this version of the object has still to roll out.
    pub(super) fn waits_for_rollout(&mut self, change: &mut Change, version: &ResourceVersion) -> bool {
        let why = match self.read_in(change, version) {
            _ if matches!(change.again(), Again::Always | Again::IfMatching) => return false,
            Some(target) if target.rollout.0 == Verdict::True || idle(target).is_some() => return false,
            Some(target) => target.rollout.1.clone(),
            // It was not read since our own write.
            None => String::new(),
        };
        let patience = self.step(&change.step).map_or(PATIENCE, |step| step.timeout);
        let due = after(change.template_back_at().unwrap_or(self.now), patience);
        if due > self.now {
            self.wake_in(RELIST_BUSY);
            self.wake(Some(due));
            if !why.is_empty() || change.reason != Some(Reason::WaitsForRollout) {
                let colon = if why.is_empty() { "" } else { ": " };
                let text = format!(
                    "the template is reverted; maxSurge and maxUnavailable follow when it has rolled out{colon}{why}"
                );
                change.explain(Some((Reason::WaitsForRollout, text)));
            }
            return true;
        }
        if change.reason == Some(Reason::WaitsForRollout) {
            let text = format!(
                "{}: maxSurge and maxUnavailable are reverted although the reverted template has not rolled out within \
                 {}: {why}",
                change.target,
                crate::period::Period::from(patience),
            );
            self.happen("RolloutNotAwaited", &text);
        }
        false
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
