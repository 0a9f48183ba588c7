//! Steps that are reverted while the response continues: steps that do not list a lower severity, and failed
//! steps with `onFailure: Revert`.

use jiff::Timestamp;

use super::Deciding;
use super::held::Findings;
use super::recover::{Progress, is_stuck};
use crate::change::{Again, Change, ChangeState};
use crate::incident::Because;
use crate::period::after;
use crate::policy::{OnFailure, Revert, Severity};
use crate::rules::Step;
use crate::severity::earliest;

impl Deciding<'_> {
    /// Reverts the steps that have not listed the level for long enough, in waves.
    pub(super) fn revert_unlisted_steps(&mut self, level: Severity) -> Findings {
        self.note_level(level);
        let rules = self.rules.filter(|_| !self.relapses_are_used_up());
        let Some(rules) = rules else { return Findings::default() };
        let quiet = self.quiet_time(rules);
        let mut due = None;
        for step in self.begun() {
            due = earliest(due, self.fallen_since(&step).map(|since| after(since, quiet)));
        }
        let is_due = |deciding: &Self, step: &Step| {
            deciding.fallen_since(step).is_some_and(|since| after(since, quiet) <= deciding.now)
        };
        let over: Vec<Step> = self.begun().into_iter().filter(|step| is_due(self, step)).collect();
        self.want_nothing_without_a_rule(|change| over.iter().any(|step| step.name == change.step));
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

    /// Records since when each started step does not list the level.
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

    /// Since when the step has been quiet at a level that it does not list.
    fn fallen_since(&self, step: &Step) -> Option<Timestamp> {
        let since = self.next.step(&step.name)?.unlisted_since?;
        Some(self.next.relapsed_at.map_or(since, |relapsed| relapsed.max(since)))
    }

    /// The revert of a change that stands could not begin, because the object or its record could not be read. That is over
    /// when both were read, and the change is to stay.
    pub(super) fn is_stuck_no_more(&self, step: &Step, change: &mut Change) {
        if is_stuck(change) && !self.is_withdrawn(step) && !self.goes_back_failed(step) {
            change.retry_at = None;
            change.explain(None);
        }
    }

    /// Whether the withdrawal that is in progress reverts the step.
    fn is_withdrawn(&self, step: &Step) -> bool {
        let is_reverted = |because| match because {
            Because::Recovered => true,
            Because::SeverityFell => self.fallen_since(step).is_some(),
        };
        let withdrawal = self.next.withdrawal.as_ref().filter(|_| step.revert == Revert::OnRecovery);
        withdrawal.is_some_and(|withdrawal| is_reverted(withdrawal.because))
    }

    /// Whether the step is reverted because one of its targets has failed.
    pub(super) fn goes_back_failed(&self, step: &Step) -> bool {
        step.on_failure == OnFailure::Revert && self.has_failed(step)
    }

    /// A step with a failed target is reverted at once if it sets `onFailure: Revert`.
    pub(super) fn revert_failed_steps(&mut self, steps: &[Step]) {
        for step in steps {
            if !self.goes_back_failed(step) {
                continue;
            }
            for index in 0..self.next.changes.len() {
                let change = &self.next.changes[index].clone();
                if change.step == step.name
                    && matches!(change.state, ChangeState::Applied | ChangeState::Verified)
                    && !self.waits_for_what_was_made_before(step, change)
                {
                    self.next.changes[index].set_again(Again::AfterPause);
                    self.revert_at(index);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{Fixture, at};
    use super::*;

    /// The first step is only for P0.
    fn given() -> Fixture {
        Fixture::pinned()
            .policy(|policy| policy["steps"][0]["severities"] = json!(["P0"]))
            .change("one", "a", ChangeState::Applied)
            .change("two", "a", ChangeState::Applied)
    }

    fn unlisted_since(given: &Fixture, level: Severity) -> Vec<Option<Timestamp>> {
        let mut deciding = given.deciding();
        deciding.note_level(level);
        ["one", "two"].iter().map(|step| deciding.next.step(step).unwrap().unlisted_since).collect()
    }

    #[test]
    fn a_step_counts_how_long_it_has_not_been_for_the_level_without_a_break() {
        let now = Some(at(super::super::fixture::NOW));
        assert_eq!(unlisted_since(&given(), Severity::P2), [now, None]);
        let before = given().with(|facts| facts.state.steps[0].unlisted_since = Some(at(500)));
        assert_eq!(unlisted_since(&before, Severity::P2), [Some(at(500)), None]);
        assert_eq!(unlisted_since(&before, Severity::P0), [None, None], "the level is back");
    }

    #[test]
    fn after_a_relapse_a_fallen_step_has_to_be_quiet_again() {
        let since = |relapsed: Option<i64>| {
            let given = given().with(|facts| {
                facts.state.steps[0].unlisted_since = Some(at(500));
                facts.state.relapsed_at = relapsed.map(at);
            });
            let step = given.rules.steps[0].clone();
            given.deciding().fallen_since(&step)
        };
        assert_eq!(
            [since(None), since(Some(400)), since(Some(700))],
            [500, 500, 700].map(|second| Some(at(second)))
        );
    }

    #[test]
    fn only_a_failed_step_that_says_revert_is_reverted() {
        for (on_failure, fails, reverts) in [
            ("Revert", true, true),
            ("Revert", false, false),
            ("Halt", true, false),
            ("Continue", true, false),
        ] {
            let mut given = Fixture::pinned()
                .policy(|policy| policy["steps"][0]["onFailure"] = json!(on_failure))
                .change("one", "a", ChangeState::Applied)
                .change("two", "a", ChangeState::Applied);
            if fails {
                given = given.change("one", "b", ChangeState::Failed);
            }
            let mut deciding = given.deciding();
            let begun = deciding.begun();
            deciding.revert_failed_steps(&begun);
            let again: Vec<Again> = deciding.next.changes.iter().map(|change| change.again()).collect();
            let expected = if reverts { Again::AfterPause } else { Again::Never };
            assert_eq!(again[..2], [expected, Again::Never], "{on_failure}");
            assert_eq!(!deciding.look.is_empty(), reverts, "{on_failure}: what goes back is read first");
        }
    }
}
