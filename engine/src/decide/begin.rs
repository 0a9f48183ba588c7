//! From planned changes to intents: what needs no approval, or has it, stage by stage and turn by turn.

use super::Deciding;
use super::plans::Plans;
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
        self.set_apart_what_comes_back(step, &mut plans);
        let changes = std::mem::take(&mut plans.changes);
        let (mut due, new) = changes.into_iter().partition(|(change, _)| self.has_place(step, change));
        plans.changes = new;
        let held = hash.and_then(|hash| self.must_be_approved(step, &plans, &hash));
        let mut again = std::mem::take(&mut plans.again);
        if let Some(held) = held {
            // It does not wait for what nobody may ever approve.
            let first = self.first_stage(step, &again);
            self.begin(step, first, again);
            self.begin(step, stage, due);
            return Some(held);
        }
        let full = plans.refused.iter().find(|change| change.reason == Some(Reason::JournalFull));
        if let Some(full) = full.cloned() {
            // Its own entry may have no room either.
            let status = self.step_status(&step.name);
            (status.reason, status.message) = (full.reason, full.message);
        }
        again.append(&mut due);
        again.append(&mut plans.changes);
        self.begin(step, stage, again);
        self.journal(plans.refused);
        None
    }

    /// Sets apart what a relapse applies again without another approval. Objects that join the step with it do not count:
    /// they may wait for theirs.
    fn set_apart_what_comes_back(&self, step: &Step, plans: &mut Plans) {
        let comes_back = |change: &Change| change.again() == Again::Always || self.is_as_approved(change);
        let of_targets = plans.changes.iter().filter(|(_, target)| target.stage == Stage::Targets);
        let number = of_targets.filter(|(change, _)| comes_back(change)).count();
        let fits = self.above_guardrail(step, number, plans.scope).is_none();
        let changes = std::mem::take(&mut plans.changes).into_iter();
        (plans.again, plans.changes) = changes.partition(|(change, _)| {
            change.again() == Again::Always || (fits && self.is_as_approved(change))
        });
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
