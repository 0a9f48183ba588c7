//! Recovery in waves: first one object, then waves, each healthy before the next.
//!
//! # Flow
//! The newest step first; within a step one object, then `maxAtOnce` at a time. A wave is done when its
//! objects have rolled out and are healthy. Then the rules, without their `for`, are watched for `between`
//! (see `wave`). A rule that holds again, or a wave that does not become healthy, is a relapse (see
//! `relapse`).
//!
//! # Guarantees
//! Often the signal looks healthy only because of the emergency changes, so at most one wave is reverted
//! before its effect is visible. An object that cannot be reverted blocks only itself, and gets a wave of its
//! own when it is retried. The same is true for an autoscaler that still needs its higher limit (see
//! `demand`).
//!
//! A failed step with `onFailure: Revert` is the exception: its objects are reverted at once, stage by stage, as during the
//! emergency, because it would be reverted again if it came back.

use jiff::Timestamp;

use super::course::Course;
use super::held::Findings;
use super::wave::{NextWave, Wave, is_beside_waves};
use super::{Deciding, Followed};
use crate::change::{Change, ChangeState};
use crate::facts::Stage;
use crate::incident::{Because, Closing, Held, WITHDRAWAL_STARTED, Withdrawal};
use crate::policy::Revert;
use crate::reason::Reason;
use crate::rules::Step;

/// The progress of a withdrawal in waves in this decision.
pub(super) enum Progress {
    /// Nothing is left to revert automatically.
    Done,
    /// It continues when something changes or at the next wake-up; the findings hold it.
    Waits(Findings),
    /// There was a relapse.
    Relapsed,
}

impl Deciding<'_> {
    /// Reverts all changes in waves and then closes the Incident, except changes that only a person reverts.
    pub(super) fn recover(&mut self, due: Timestamp) -> Followed {
        self.want_nothing_without_a_rule(|_| true);
        self.finish_other_reverts();
        let back: Vec<Step> = self.steps_that_go_back(|_| true);
        let left = self.waits_for_a_person();
        if left && back.is_empty() && self.next.withdrawal.is_none() {
            return Followed::Done(self.await_withdrawal());
        }
        match self.take_back(Because::Recovered, &back, due) {
            Progress::Waits(mut findings) => {
                self.next.quiet_until = None;
                if (left || self.waits_for_what_stays()) && findings.is_empty() && !self.has_wave() {
                    findings.add(self.awaits_withdrawal()); // what is left may wait for what only a person reverts
                }
                Followed::Done(findings)
            }
            Progress::Relapsed => Followed::Turned(self.course_after_relapse()),
            Progress::Done if left => {
                self.next.withdrawal = None;
                Followed::Done(self.await_withdrawal())
            }
            Progress::Done => {
                self.next.withdrawal = None;
                Followed::Turned(Course::Withdraw(Closing::Recovered))
            }
        }
    }

    /// Started steps that are reverted automatically and still have changes, newest first.
    pub(super) fn steps_that_go_back(&self, wanted: impl Fn(&Step) -> bool) -> Vec<Step> {
        let is_there = |step: &Step| self.next.changes_of(&step.name).any(|change| change.is_outstanding());
        let mut steps: Vec<Step> = self
            .begun()
            .into_iter()
            .filter(|step| step.revert == Revert::OnRecovery && is_there(step) && wanted(step))
            .collect();
        steps.reverse();
        steps.sort_by_key(|step| std::cmp::Reverse(self.next.step(&step.name).and_then(|s| s.started_at)));
        steps
    }

    /// A change that is not reverted automatically, and whose revert a person has begun, is no part of a wave.
    fn finish_other_reverts(&mut self) {
        let others: Vec<Step> =
            self.begun().into_iter().filter(|step| step.revert != Revert::OnRecovery).collect();
        if self.permits.may_write() {
            self.finish_reverts(&others, |change| change.state == ChangeState::Reverting);
        }
    }

    /// Advances these changes of the steps, which wait for no wave.
    fn finish_reverts(&mut self, steps: &[Step], is_going: fn(&Change) -> bool) {
        let wave = self.wave();
        for index in 0..self.next.changes.len() {
            let change = &self.next.changes[index];
            let is_of_steps = steps.iter().any(|step| step.name == change.step);
            if is_of_steps && is_going(change) && !wave.contains(&change.id) {
                self.revert_at(index);
            }
        }
    }

    /// Whether changes are in force that are reverted only on request.
    fn waits_for_a_person(&self) -> bool {
        self.begun().iter().any(|step| {
            step.revert == Revert::OnRequest
                && self.next.changes_of(&step.name).any(|change| change.is_outstanding())
        })
    }

    /// Whether workloads wait for a scheduler that is never scaled up again.
    fn waits_for_what_stays(&self) -> bool {
        let stays = |change: &&Change| change.is_outstanding() && self.is_never_reverted(&change.step);
        self.begun().iter().any(|step| {
            let is_there = self.next.changes_of(&step.name).any(Change::is_in_force);
            is_there && !self.is_never_reverted(&step.name) && self.made_before(step).iter().any(stays)
        })
    }

    fn awaits_withdrawal(&self) -> Held {
        let message = format!(
            "no rule holds, and the changes that are left are reverted only on request: `{}`",
            self.facts.incident.withdraw_command()
        );
        Held::new(Reason::AwaitingWithdrawal, &message)
    }

    fn await_withdrawal(&mut self) -> Findings {
        let mut findings = Findings::from(self.awaits_withdrawal());
        findings.add(self.watch_steps());
        findings.add(self.lost_pod());
        findings
    }

    /// Advances these steps, newest first. They could be reverted since `due`.
    pub(super) fn take_back(&mut self, because: Because, steps: &[Step], due: Timestamp) -> Progress {
        self.begin_withdrawal(because);
        // It would be reverted again at once if it came back with the emergency, so its health shows nothing for others.
        self.revert_failed_steps(steps);
        self.finish_what_is_back(steps);
        let mut findings = Findings::default();
        loop {
            if self.has_wave() {
                match self.tend_wave() {
                    Wave::Waits(found) => {
                        findings.add(found);
                        findings.add(self.lost_pod_on_the_way_back());
                        findings.add(self.outstanding());
                        return Progress::Waits(findings);
                    }
                    Wave::Relapsed(relapse) => {
                        self.relapse(&relapse);
                        return Progress::Relapsed;
                    }
                    Wave::Done => self.end_wave(),
                }
            }
            let (next, found) = self.begin_next_wave(steps, due);
            findings.add(found);
            match next {
                NextWave::Begun => {}
                NextWave::Nothing => break,
            }
        }
        let outstanding =
            steps.iter().any(|step| self.next.changes_of(&step.name).any(|change| change.is_outstanding()));
        if !outstanding {
            return Progress::Done;
        }
        findings.add(self.outstanding());
        Progress::Waits(findings)
    }

    /// What is left of changes whose values are back waits for no wave: the pace of a rollout, and field ownership. Neither
    /// does what goes back beside the waves.
    fn finish_what_is_back(&mut self, steps: &[Step]) {
        self.finish_reverts(steps, |change| {
            let is_back = change.state == ChangeState::Reverting && change.returned_at().is_some();
            is_back || (change.is_in_force() && is_beside_waves(change))
        });
    }

    fn begin_withdrawal(&mut self, because: Because) {
        if self.next.withdrawal.as_ref().is_some_and(|withdrawal| withdrawal.because == because) {
            return;
        }
        if self.next.withdrawal.is_none() {
            let text = match because {
                Because::Recovered => "no rule has held for recovery.for: reverting all changes, in waves",
                Because::SeverityFell => {
                    "the severity has been lower for recovery.for: reverting the steps that do not list it, \
                     in waves"
                }
            };
            self.happen(WITHDRAWAL_STARTED, text);
        }
        let old = self.next.withdrawal.take();
        self.next.withdrawal = Some(match old {
            Some(old) => Withdrawal { because, ..old },
            None => Withdrawal { because, step: None, waves: 0, wave: Vec::new(), healthy_at: None },
        });
    }

    /// The stage of its step in which an object was changed.
    pub(super) fn stage_of(&self, step: &Step, change: &Change) -> Stage {
        step.action.stage_of(&change.target, &self.facts.incident.namespace)
    }

    /// The changes before the targets that must be reverted before anything returns to what the step has moved its
    /// targets away from, in the order of their stages. Another step may have made them.
    pub(super) fn made_before(&self, step: &Step) -> Vec<&Change> {
        let Some(from) = step.action.kind().moves_from() else { return Vec::new() };
        let of_it = |other: &&Step| other.action.kind().moves_from() == Some(from);
        let changes = self.ladder.iter().filter(of_it).flat_map(|other| {
            self.next.changes_of(&other.name).map(|change| (self.stage_of(other, change), change))
        });
        let mut before: Vec<_> = changes.filter(|(stage, _)| *stage != Stage::Targets).collect();
        before.sort_by_key(|(stage, _)| *stage);
        before.into_iter().map(|(_, change)| change).collect()
    }
}

/// Whether it cannot be reverted for now, so that nothing else waits for it.
pub(super) fn is_stuck(change: &Change) -> bool {
    matches!(change.reason, Some(Reason::CannotPutBack | Reason::CannotRead))
}
