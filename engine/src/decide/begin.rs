//! From planned changes to intents: what needs no approval, or has it, stage by stage and turn by turn.

use super::Deciding;
use super::plans::Plans;
use crate::change::{Again, Change, ChangeState};
use crate::facts::{Stage, Target};
use crate::incident::Held;
use crate::reason::Reason;
use crate::rules::Step;

/// The maximum number of intents that one status write records.
const BATCH: usize = 100;

impl Deciding<'_> {
    /// Records intents for the planned changes. Returns what a person must approve first, if anything.
    pub(super) fn begin_changes(&mut self, step: &Step, mut plans: Plans) -> Option<Held> {
        let hash = self.plan_hash(step, &plans);
        let stage = self.first_stage(step, &plans.changes, Change::is_open_intent);
        let moving_stage = self.first_stage(step, &plans.changes, is_moving);
        self.set_apart_what_comes_back(step, &mut plans);
        // What waited for its turn was within the guardrail and approved before.
        let changes = std::mem::take(&mut plans.changes);
        let (mut due, new) = changes.into_iter().partition(|(change, _)| self.has_place(step, change));
        plans.changes = new;
        let held = hash.and_then(|hash| self.must_be_approved(step, &plans, &hash));
        let again = std::mem::take(&mut plans.again);
        if let Some(held) = held {
            // It does not wait for what nobody may ever approve.
            let first = self.first_stage(step, &again, is_moving);
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
        self.begin(step, moving_stage, again);
        due.append(&mut plans.changes);
        self.begin(step, stage, due);
        self.journal(plans.refused);
        None
    }

    /// Sets apart what a relapse applies again without asking: what a person has approved, and what needs no approval
    /// while objects that join the step do.
    fn set_apart_what_comes_back(&mut self, step: &Step, plans: &mut Plans) {
        let is_approved = |change: &Change| change.again() == Again::Always || self.is_as_approved(change);
        let changes = std::mem::take(&mut plans.changes).into_iter();
        let (again, others): (Vec<_>, Vec<_>) = changes.partition(|(change, _)| is_approved(change));
        plans.again = again;
        let (back, mut joiners): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|(change, _)| change.again() == Again::IfMatching);
        plans.changes = back;
        if !joiners.is_empty() && self.approval_needed(step, plans).is_none() {
            plans.again.append(&mut plans.changes);
        }
        plans.changes.append(&mut joiners);
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

/// Whether a change is under way and may still succeed without a person.
fn is_moving(change: &Change) -> bool {
    change.is_open_intent() && change.state != ChangeState::Held
}
