//! Nothing is written: a person has paused the response, or the brake is engaged.
//!
//! # Guarantees
//! While it rests, nothing is applied or reverted automatically, no pod is deleted and no fence is set. Live
//! reads still show the outcome of requests in flight. A revert that a person asks for continues.

use jiff::SignedDuration;

use super::Deciding;
use super::course::Course;
use super::held::Findings;
use crate::change::{Again, Change, ChangeState};
use crate::facts::{Brake, Look, OwnLook};
use crate::incident::{Closing, Held};
use crate::intent::Response;
use crate::reason::Reason;

/// How often the brake is read while it is engaged.
const BRAKE_AGAIN: SignedDuration = SignedDuration::from_secs(2);

impl Deciding<'_> {
    /// The same course, or a rest instead if a person wants one.
    pub(super) fn unless_it_rests(&mut self, course: Course) -> Course {
        if matches!(course, Course::Withdraw(closing) if closing.is_for_a_person()) {
            return course;
        }
        if self.facts.intent.response == Response::Paused {
            let message = format!(
                "paused by {}: nothing is applied, and nothing is reverted automatically. To continue: `{}`",
                self.facts.intent.person(),
                self.facts.incident.command("resume")
            );
            return Course::Rest(Held::new(Reason::Paused, &message));
        }
        let writes_nothing = match course {
            Course::Observe => true,
            Course::Stand(_) => !self.next.owes_anything(),
            Course::Withdraw(_)
            | Course::Recover(_)
            | Course::Rest(_)
            | Course::Wait
            | Course::Hold(_)
            | Course::Climb => false,
        };
        match &self.facts.looked.brake {
            Some(Brake::Engaged { why }) if !writes_nothing => {
                let message = format!(
                    "{why}: nothing is applied, and nothing is reverted automatically. To continue: `firebreak brake off`. \
                     To revert everything of this Incident all the same: `{}`",
                    self.facts.incident.withdraw_command()
                );
                Course::Rest(Held::new(Reason::Braked, &message))
            }
            // Until the brake is read, a braked response stays braked, so that nothing else is read needlessly.
            None if self.was_held_by(&Reason::Braked) && !writes_nothing => {
                self.facts.state.held.clone().map_or(course, Course::Rest)
            }
            Some(_) | None => course,
        }
    }

    /// Requests a read of the brake if this decision writes anything that no person has requested, or if the
    /// response was braked. Together with other reads it costs no time.
    pub(super) fn ask_for_the_brake(&mut self) {
        let was_braked = self.was_held_by(&Reason::Braked);
        let closes_for_a_person = self.next.closing.is_some_and(Closing::is_for_a_person);
        let matters = !self.look.is_empty() || !self.effects.is_empty() || was_braked;
        if matters
            && !closes_for_a_person
            && self.next.resolved_at.is_none()
            && self.facts.looked.brake.is_none()
        {
            self.look.insert(Look::Own(OwnLook::Brake));
        }
    }

    /// Nothing is written. Changes in force are still watched, so that their state stays true.
    pub(super) fn rest(&mut self, held: Held) -> Findings {
        if self.facts.state.held.as_ref().is_none_or(|old| old.reason != held.reason) {
            self.happen(held.reason.name(), &held.message);
        }
        for step in self.ladder.clone() {
            if !super::is_begun(&self.next, &step.name) {
                self.pending(
                    &step.name,
                    held.reason.clone(),
                    "the whole Incident waits for this; its condition Stalled has the details",
                );
            }
        }
        self.next.quiet_until = None;
        let mut findings = self.watch_steps();
        if held.reason == Reason::Braked {
            self.wake_in(BRAKE_AGAIN);
        }
        findings.add(held);
        findings
    }

    /// After a rest, the clocks of work in progress restart, and after a pause failed changes are retried.
    pub(super) fn resume(&mut self) {
        if self.permits.withdraws() {
            return;
        }
        // If the brake is engaged by now, this waits for it and is not lost.
        if self.was_held_by(&Reason::Paused) && self.facts.intent.response != Response::Paused {
            self.next.changes.iter_mut().for_each(retry);
            self.await_no_rollouts();
        }
        if !self.permits.may_write() || !self.has_rested() {
            return;
        }
        self.happen("Resumed", "the response continues");
        for change in &mut self.next.changes {
            if change.is_open_intent() {
                change.tries = 0;
                change.joined_at = Some(self.now);
            } else if change.is_open_operation() {
                // People are told how many of its requests were sent, so it keeps the number.
                change.joined_at = Some(self.now);
            }
        }
    }

    fn was_held_by(&self, reason: &Reason) -> bool {
        self.facts.state.held.as_ref().is_some_and(|held| held.reason == *reason)
    }

    /// Whether it rested until now, so that the findings of earlier listings are out of date.
    pub(super) fn has_rested(&self) -> bool {
        self.facts.state.held.as_ref().is_some_and(|held| held.reason.is_a_rest())
    }
}

/// Failed changes are retried, and so are changes that were reverted because of the failure.
fn retry(change: &mut Change) {
    match change.state {
        // Its values are in force without a record. A new plan would mistake them for the values from before.
        ChangeState::Failed if change.reason == Some(Reason::RecordNotKept) => {}
        ChangeState::Failed if change.round > 1 && change.loan().is_some() => {
            change.stand(ChangeState::Reverted, Reason::Resumed, "retried after a pause");
            // A rule, `where` and the guardrails bind it as they did when it failed.
            change.set_again(Again::IfMatching);
        }
        ChangeState::Failed => {
            change.stand(ChangeState::Skipped, Reason::Resumed, "retried after a pause");
        }
        ChangeState::Held => change.state = ChangeState::Unclear,
        ChangeState::Reverted | ChangeState::Reverting if change.again() == Again::AfterPause => {
            change.set_again(Again::IfMatching);
        }
        // Its revert could not begin, and it stays.
        ChangeState::Applied | ChangeState::Verified if change.again() == Again::AfterPause => {
            change.set_again(Again::Never);
        }
        ChangeState::Planned
        | ChangeState::Intended
        | ChangeState::Unclear
        | ChangeState::Applied
        | ChangeState::Verified
        | ChangeState::Reverting
        | ChangeState::Reverted
        | ChangeState::Ceded
        | ChangeState::Kept
        | ChangeState::Done
        | ChangeState::Skipped => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;
    use crate::facts::Brake;

    #[test]
    fn after_a_pause_what_had_failed_is_tried_again_but_not_what_stands_without_a_record() {
        let cases = [
            (ChangeState::Failed, Reason::Refused, 1, ChangeState::Skipped),
            (ChangeState::Failed, Reason::Refused, 2, ChangeState::Reverted),
            (ChangeState::Failed, Reason::RecordNotKept, 1, ChangeState::Failed),
            (ChangeState::Held, Reason::OutcomeUnknown, 1, ChangeState::Unclear),
            (ChangeState::Applied, Reason::CannotRead, 1, ChangeState::Applied),
        ];
        for (state, reason, round, expected) in cases {
            let given = Fixture::pinned().change_with("one", "a", state, |change| {
                change.round = round;
                change.explain(Some((reason.clone(), String::new())));
            });
            let mut change = given.facts.state.changes[0].clone();
            retry(&mut change);
            assert_eq!(change.state, expected, "{state:?} {reason} {round}");
        }
    }

    #[test]
    fn what_went_back_because_another_failed_comes_back_after_a_pause_also_if_it_is_still_on_its_way() {
        for state in [ChangeState::Reverted, ChangeState::Reverting] {
            for (again, expected) in [(Again::AfterPause, Again::IfMatching), (Again::Never, Again::Never)] {
                let given =
                    Fixture::pinned().change_with("one", "a", state, |change| change.set_again(again));
                let mut change = given.facts.state.changes[0].clone();
                retry(&mut change);
                assert_eq!((change.state, change.again()), (state, expected), "{state:?} {again:?}");
            }
        }
    }

    #[test]
    fn the_brake_stops_what_writes_and_not_what_a_person_asks_to_be_reverted() {
        let braked = Fixture::pinned()
            .with(|facts| facts.looked.brake = Some(Brake::Engaged { why: "it is engaged".to_owned() }));
        let held = || Held::new(Reason::PolicyUnavailable, "");
        let rests = |course: Course| matches!(braked.deciding().unless_it_rests(course), Course::Rest(_));
        assert!(rests(Course::Climb) && rests(Course::Wait) && rests(Course::Withdraw(Closing::Recovered)));
        assert!(!rests(Course::Observe) && !rests(Course::Withdraw(Closing::Withdrawn)));
        assert!(!rests(Course::Stand(held())), "it owes nothing, so it writes nothing");
    }
}
