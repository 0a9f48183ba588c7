//! Steps that are reverted while the response continues: steps that do not list a lower severity, and failed
//! steps with `onFailure: Revert`.

use jiff::Timestamp;

use super::Deciding;
use super::held::Findings;
use super::recover::Progress;
use crate::change::{Again, ChangeState};
use crate::incident::Because;
use crate::period::after;
use crate::policy::{OnFailure, Severity};
use crate::rules::Step;
use crate::severity::earliest;

impl Deciding<'_> {
    /// Puts back the steps that are not for this level and have not been for long enough, in waves.
    pub(super) fn put_back_what_fell(&mut self, level: Severity) -> Findings {
        let rules = self.rules.filter(|_| !self.relapses_are_used_up());
        let Some(rules) = rules else { return Findings::default() };
        let quiet = self.quiet_time(rules);
        let mut due = None;
        self.note_level(level);
        for step in self.begun() {
            due = earliest(due, self.fallen_since(&step).map(|since| after(since, quiet)));
        }
        let is_due = |deciding: &Self, step: &Step| {
            deciding.fallen_since(step).is_some_and(|since| after(since, quiet) <= deciding.now)
        };
        let fallen = self.steps_that_go_back(|step| is_due(self, step));
        let fell = |deciding: &Self| {
            deciding.next.withdrawal.as_ref().is_some_and(|w| w.because == Because::SeverityFell)
        };
        if fallen.is_empty() && !(fell(self) && self.has_wave()) {
            if fell(self) {
                self.next.withdrawal = None;
            }
            self.wake(due.filter(|due| *due > self.now && self.next.owes_anything()));
            return Findings::default();
        }
        match self.take_back(Because::SeverityFell, &fallen, due.unwrap_or(self.now)) {
            Progress::Waits(findings) => return findings,
            Progress::Relapsed => {}
            Progress::Done => self.next.withdrawal = None,
        }
        Findings::default()
    }

    /// Notes since when the steps that have begun are not for the level.
    pub(super) fn note_level(&mut self, level: Severity) {
        for step in self.begun() {
            let now = self.now;
            let status = self.step_status(&step.name);
            status.unlisted_since.get_or_insert(now);
            if step.is_for(level) {
                status.unlisted_since = None;
            }
        }
    }

    /// Since when the step has been quiet at a level that it is not for.
    fn fallen_since(&self, step: &Step) -> Option<Timestamp> {
        let since = self.next.step(&step.name)?.unlisted_since?;
        Some(self.next.relapsed_at.map_or(since, |relapsed| relapsed.max(since)))
    }

    /// A step with a failed target is reverted at once if it sets `onFailure: Revert`.
    pub(super) fn put_back_what_failed(&mut self) {
        for step in self.begun() {
            if step.on_failure != OnFailure::Revert || !self.has_failed(&step) {
                continue;
            }
            for index in 0..self.next.changes.len() {
                let change = &self.next.changes[index];
                if change.step == step.name
                    && matches!(change.state, ChangeState::Applied | ChangeState::Verified)
                {
                    self.next.changes[index].set_again(Again::AfterPause);
                    self.give_back_at(index);
                }
            }
        }
    }
}
