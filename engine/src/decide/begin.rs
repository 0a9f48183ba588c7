//! From planned changes to intents: what needs no approval, or has it, stage by stage and turn by turn.

use super::Deciding;
use super::plan::Plans;
use crate::change::{Again, Change};
use crate::facts::{Stage, Target};
use crate::incident::Held;
use crate::reason::Reason;
use crate::rules::Step;

/// The maximum number of intents that one status write records.
const BATCH: usize = 100;

impl Deciding<'_> {
    /// Records intents for the planned changes. Returns what a person must approve first, if anything.
    pub(super) fn begin_changes(&mut self, step: &Step, mut plans: Plans) -> Option<Held> {
        // What a relapse applies again, and what waited for its turn, was within the guardrail and approved before.
        let hash = self.plan_hash(step, &plans);
        let stage = self.first_stage(step, &plans.changes);
        let fits = self.too_many(step, &plans).is_none();
        let is_again = |(change, _): &(Change, Target)| {
            change.again() == Again::Always || (fits && self.is_as_approved(change))
        };
        let (again, new): (Vec<_>, Vec<_>) =
            std::mem::take(&mut plans.changes).into_iter().partition(is_again);
        let first = self.first_stage(step, &again);
        self.begin(step, first, again);
        let (mut due, new) = new.into_iter().partition(|(change, _)| self.has_place(step, change));
        plans.changes = new;
        if let Some(held) = hash.and_then(|hash| self.must_be_approved(step, &plans, &hash)) {
            self.begin(step, stage, due);
            return Some(held);
        }
        let full = plans.refused.iter().find(|change| change.reason == Some(Reason::JournalFull));
        if let Some(full) = full.cloned() {
            // Its own entry may have no room either.
            let status = self.step_status(&step.name);
            (status.reason, status.message) = (full.reason, full.message);
        }
        due.append(&mut plans.changes);
        self.begin(step, stage, due);
        self.journal(plans.refused);
        None
    }

    /// Records these intents of a stage and those before it, at most as many as one status write may record.
    fn begin(&mut self, step: &Step, stage: Option<Stage>, mut changes: Vec<(Change, Target)>) {
        let mut begun: Vec<Change> = Vec::new();
        changes.retain(|(_, target)| stage.is_none_or(|stage| target.stage <= stage));
        let changes = self.in_turn(step, changes);
        for (mut change, target) in changes.into_iter().take(BATCH) {
            if self.is_being_written(&target.id) {
                continue; // it joins when that write is answered
            }
            match change.as_operation() {
                Some(operation) if operation.write.is_some() => self.request_write(&mut change, &target),
                Some(_) => self.request(&mut change),
                None => self.intend(&mut change, &target),
            }
            begun.push(change);
        }
        self.journal(begun);
    }
}
