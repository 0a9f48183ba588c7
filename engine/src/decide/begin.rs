//! From planned changes to intents: what needs no approval, or has it, stage by stage and turn by turn.

use super::Deciding;
use super::approve::Answer;
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
        let answer = hash.map_or(Answer::NotNeeded, |hash| self.must_be_approved(step, &plans, &hash));
        let again = std::mem::take(&mut plans.again);
        let mut room = BATCH;
        if let Answer::Waits(held) = answer {
            // It does not wait for what nobody may ever approve.
            let first = self.first_stage(step, &again, is_moving);
            self.begin(step, first, again, &mut room);
            self.begin(step, stage, due, &mut room);
            return Some(held);
        }
        let extent = self.extent(step, plans.scope, plans.new_targets() + plans.targets_again());
        for (change, _) in &mut plans.changes {
            match answer {
                Answer::Approved => change.approve(extent),
                Answer::NotNeeded | Answer::Waits(_) => change.approve_nothing(),
            }
        }
        let full = plans.refused.iter().find(|change| change.reason == Some(Reason::JournalFull));
        if let Some(full) = full.cloned() {
            // Its own entry may have no room either.
            let status = self.step_status(&step.name);
            (status.reason, status.message) = (full.reason, full.message);
        }
        self.begin(step, moving_stage, again, &mut room);
        due.append(&mut plans.changes);
        self.begin(step, stage, due, &mut room);
        self.journal(plans.refused);
        None
    }

    /// Sets apart what a relapse applies again without asking: what a person has approved, and what needs no approval
    /// while objects that join the step do.
    fn set_apart_what_comes_back(&mut self, step: &Step, plans: &mut Plans) {
        let changes = std::mem::take(&mut plans.changes);
        let is_approved = self.what_stays_approved(step, &changes, plans.scope);
        let is_again = |change: &Change| change.again() == Again::Always || is_approved(change);
        let (again, others): (Vec<_>, Vec<_>) = changes.into_iter().partition(|(change, _)| is_again(change));
        plans.again = again;
        let (back, mut joiners): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|(change, _)| change.again() == Again::IfMatching);
        plans.changes = back;
        if !joiners.is_empty() && self.approval_needed(step, plans).is_none() {
            plans.changes.iter_mut().for_each(|(change, _)| change.approve_nothing());
            plans.again.append(&mut plans.changes);
        }
        plans.changes.append(&mut joiners);
    }

    /// Which of these planned changes need no other approval than an earlier one: what a person has approved, within the
    /// guardrails, or above ones that were no wider than they are now and beside as many other changes. While the detector
    /// is suspect nothing is: whoever approved the number of objects has not verified the signal.
    pub(super) fn what_stays_approved(
        &self,
        step: &Step,
        changes: &[(Change, Target)],
        scope: usize,
    ) -> impl Fn(&Change) -> bool + use<> {
        let of_targets = changes.iter().filter(|(_, target)| target.stage == Stage::Targets);
        let number = of_targets.filter(|(change, _)| is_as_approved(change)).count();
        let fits = number == 0 || self.above_guardrail(step, number, scope).is_none();
        let now = self.extent(step, scope, number);
        let is_wide = move |change: &Change| {
            change.approved().is_some_and(|approved| {
                now.allowed >= approved.allowed && now.in_all <= approved.in_all.unwrap_or(approved.allowed)
            })
        };
        let is_suspect = self.suspect_detector().is_some();
        move |change| !is_suspect && is_as_approved(change) && (fits || is_wide(change))
    }

    /// Records these intents of a stage and those before it, as far as the status write has `room` for them.
    fn begin(
        &mut self,
        step: &Step,
        stage: Option<Stage>,
        mut changes: Vec<(Change, Target)>,
        room: &mut usize,
    ) {
        let mut begun: Vec<Change> = Vec::new();
        changes.retain(|(_, target)| stage.is_none_or(|stage| target.stage <= stage));
        let changes = self.in_turn(step, changes);
        for (mut change, target) in changes.into_iter().take(*room) {
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
        *room -= begun.len();
        self.journal(begun);
    }
}

/// Whether a change is under way and may still succeed without a person.
fn is_moving(change: &Change) -> bool {
    change.is_open_intent() && change.state != ChangeState::Held
}

/// Whether a change that is made once more is the one that a person has approved. What was just put back is not counted:
/// it needs no approval.
fn is_as_approved(change: &Change) -> bool {
    let is_once_more = change.round > 0 && change.again() != Again::Always;
    is_once_more && change.approved().is_some() && change.beyond_approval().is_none()
}
