//! Which step of the ladder is next, and what a person must know if there is none.

use super::Deciding;
use super::judged::Known;
use super::recover::is_stuck;
use crate::change::{Change, ChangeState, cut};
use crate::incident::Held;
use crate::period::after;
use crate::policy::{OnFailure, Severity};
use crate::reason::{MovesOn, Reason};
use crate::rules::Step;
use crate::verdict::Verdict;

/// Whether it was reverted, and the emergency returned.
fn is_wanted_again(change: &Change) -> bool {
    change.state == ChangeState::Reverted && change.comes_back()
}

/// The maximum length of what a text quotes of a step, in bytes.
const LONGEST_QUOTE: usize = 600;

/// Whether a step that has not started may start.
pub(super) enum NextStep {
    /// Yes.
    MayStart,
    /// Not yet, and why.
    Wait(String),
    /// Not yet, because an earlier step cannot be judged at the moment, and why. What held the response still does.
    Asks(String),
    /// Not yet, because a guardrail requires more time, and why.
    TooSoon(String),
    /// No, because it is not known whether an earlier step helped. A person is told what is missing.
    Unknown(Held),
    /// No further step starts, because a step helped.
    Mitigated,
}

impl Deciding<'_> {
    /// Whether the next step may start. Objects that join an earlier step count like
    /// the rest of it: first they are applied and have their time to help.
    pub(super) fn next_step(&mut self) -> NextStep {
        let mut mitigated = false;
        let mut wait = None;
        let mut asks = None;
        let newest = self.newest_that_stands();
        let mut of_newest = Known::Fails;
        for step in self.begun() {
            let name = &step.name;
            let is_open = Change::is_under_way;
            if self.next.changes_of(name).any(is_open) {
                let trouble = self.trouble_of(name).map(|what| format!(", and {what}"));
                return NextStep::Wait(format!(
                    "step {name} is being applied{}",
                    trouble.unwrap_or_default()
                ));
            }
            // One that only waits for a rollout holds up nothing but its own object, unless it is applied again after that.
            let is_going = |change: &Change| {
                change.state == ChangeState::Reverting
                    && !is_stuck(change)
                    && (!change.is_half_returned() || change.comes_back())
            };
            if self.next.changes_of(name).any(is_going) {
                return NextStep::Wait(format!("step {name} is being reverted"));
            }
            // What was reverted is applied again by a listing. Without one, nothing tells whether it can be.
            if !self.facts.looked.listings.contains_key(name) || self.comes_back_now(name) {
                let again = self.next.changes_of(name).any(is_wanted_again);
                asks = asks.or_else(|| again.then(|| format!("step {name} is applied again")));
            }
            if step.verify.is_some() && self.is_verified(name) {
                mitigated = true;
                continue;
            }
            if let Some(due) = self.judged_at(&step).filter(|due| *due > self.now) {
                self.wake(Some(due));
                wait = Some(match &step.verify {
                    Some(_) => format!("step {name} is being verified"),
                    None => format!("step {name} may still help"),
                });
            } else if step.verify.is_some() && newest.as_ref() == Some(name) {
                // An older step was passed when the newer one started, whatever is known of it now.
                of_newest = self.known_of(&step);
            }
        }
        let being_verified = || format!("step {} is being verified", newest.clone().unwrap_or_default());
        match (wait, of_newest) {
            _ if mitigated => NextStep::Mitigated,
            (Some(why), _) => NextStep::Wait(why),
            (None, Known::Fails) if asks.is_some() => NextStep::Asks(asks.unwrap_or_default()),
            (None, Known::NotAsked) => NextStep::Wait(being_verified()),
            (None, Known::Asks) => NextStep::Asks(being_verified()),
            (None, Known::Nothing(held)) => NextStep::Unknown(held),
            (None, Known::Fails) => self.too_soon().map_or(NextStep::MayStart, NextStep::TooSoon),
        }
    }

    /// Whether a change of the step that is to be applied again was reverted by this decision, after its listing.
    fn comes_back_now(&self, step: &str) -> bool {
        let was_out = |change: &Change| {
            let before = self.facts.state.changes.iter().find(|old| old.id == change.id);
            before.is_some_and(|old| old.state != ChangeState::Reverted)
        };
        self.next.changes_of(step).filter(|change| is_wanted_again(change)).any(was_out)
    }

    /// What a person must resolve before anything new may start.
    pub(super) fn trouble(&self) -> Option<Held> {
        if let Some(held) = self.unknown_operation() {
            return Some(held);
        }
        for step in self.begun() {
            let failed: Vec<&Change> = self
                .next
                .changes_of(&step.name)
                .filter(|change| change.state == ChangeState::Failed)
                .collect();
            if let Some(first) = failed.first().filter(|_| step.on_failure == OnFailure::Halt) {
                let message = format!(
                    "step {}: {} target(s) failed; the first is {}: {}. Fix the cause, then try again with `{}` and `{}`, \
                     or revert everything with `{}`",
                    step.name,
                    failed.len(),
                    first.target,
                    first.message.clone().unwrap_or_default(),
                    self.facts.incident.command("pause"),
                    self.facts.incident.command("resume"),
                    self.facts.incident.withdraw_command()
                );
                return Some(Held::new(Reason::StepFailed, &message));
            }
            let unknown =
                |change: &&Change| change.state == ChangeState::Held || self.is_overdue(change, &step);
            if let Some(change) = self.next.changes_of(&step.name).find(unknown) {
                let message = format!(
                    "step {}: Firebreak cannot tell whether {} was changed: {}. Look at the object, then let Firebreak try \
                     again with `{}` and `{}`, or revert everything with `{}`",
                    step.name,
                    change.target,
                    change.message.clone().unwrap_or_default(),
                    self.facts.incident.command("pause"),
                    self.facts.incident.command("resume"),
                    self.facts.incident.withdraw_command()
                );
                return Some(Held::new(Reason::OutcomeUnknown, &message));
            }
        }
        None
    }

    /// What the newest step that was not verified says, to be added to a text.
    fn why_not_verified(&self) -> String {
        let says = |step: Step| {
            let found = self.next.step(&step.name)?.verification();
            let message =
                found.message.filter(|_| found.verdict.is_some_and(|verdict| verdict != Verdict::True))?;
            Some(format!(". Step {}: {}", step.name, cut(&message, LONGEST_QUOTE)))
        };
        self.begun().into_iter().rev().find_map(says).unwrap_or_default()
    }

    /// What holds the response if nothing (more) can be done although a rule holds.
    pub(super) fn what_is_missing(&mut self, left: usize, next: &NextStep, level: Severity) -> Option<Held> {
        if let NextStep::Unknown(held) = next {
            let is_new = |known: &Held| known.reason != Reason::VerifyUnknown;
            if self.facts.state.held.as_ref().is_none_or(is_new) {
                self.happen("VerifyUnknown", &held.message);
            }
            return Some(held.clone());
        }
        if matches!(next, NextStep::Asks(_)) {
            return self.facts.state.held.clone().filter(|held| is_about_steps(&held.reason));
        }
        if matches!(next, NextStep::Mitigated) {
            return None;
        }
        let first = self.ladder.iter().find(|step| step.is_for(level))?;
        let is_judged = |step: &Step| !self.all_sit_out(&step.name);
        if left == 0 && matches!(next, NextStep::MayStart) && self.begun().iter().any(is_judged) {
            let message = &format!(
                "every step was tried, and the emergency lasts. Find the cause; the policy has no further step. To revert \
                 everything: `{}`{}",
                self.facts.incident.withdraw_command(),
                self.why_not_verified()
            );
            if self.facts.state.held.as_ref().is_none_or(|held| held.reason != Reason::LadderUsedUp) {
                self.happen("LadderUsedUp", message);
            }
            return Some(Held::new(Reason::LadderUsedUp, message));
        }
        let classified = self.next.classified_at?;
        if self.next.changes.iter().any(|change| change.counts() && !change.sits_out()) {
            return None;
        }
        let due = after(classified, first.timeout);
        if due > self.now {
            self.wake(Some(due));
            return None;
        }
        let why: Vec<String> =
            self.ladder.iter().filter_map(|step| self.why_nothing_of(&step.name)).collect();
        let first_three = why.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
        let withdraw = self.facts.incident.withdraw_command();
        Some(if self.can_any_step_start(level) {
            let message = format!(
                "the emergency lasts, and no change that could help is in force. {first_three}. Each step starts as soon as it can. To see what \
                 keeps it from each object: `{}`. To close the Incident: `{withdraw}`",
                self.facts.incident.command("describe")
            );
            Held::new(Reason::NothingInForce, &message)
        } else {
            let message = format!(
                "the emergency lasts, and no step can start until this is fixed. {first_three}. Fix it, and the steps start; or \
                 close the Incident with `{withdraw}`"
            );
            Held::new(Reason::StepsBlocked, &message)
        })
    }

    /// Whether a fact could still start a step for this level, or let an object join a step.
    fn can_any_step_start(&self, level: Severity) -> bool {
        self.ladder.iter().filter(|step| step.is_for(level)).any(|step| {
            let why = self.next.step(&step.name).and_then(|status| status.reason.as_ref());
            why.is_none_or(|why| why.moves_on() != MovesOn::Person)
        })
    }

    /// Why nothing of this step is in force.
    fn why_nothing_of(&self, step: &str) -> Option<String> {
        let ended = self.next.changes_of(step).find_map(|change| {
            let sits_out = change.why_it_sits_out().map(|why| &why.message);
            let message = sits_out.or(change.message.as_ref())?;
            Some(format!("{step}: {}: {message}", change.target))
        });
        let status = self.next.step(step).filter(|status| status.definition.is_none());
        let pending = status.and_then(|status| Some(format!("{step}: {}", status.message.as_ref()?)));
        pending.or(ended)
    }
}

/// Whether it follows from what is known of the steps.
fn is_about_steps(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::VerifyUnknown | Reason::LadderUsedUp | Reason::NothingInForce | Reason::StepsBlocked
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, NOW, at};
    use super::*;
    use crate::change::SitsOut;
    use crate::incident::Verification;

    fn next(given: &Fixture) -> String {
        match given.deciding().next_step() {
            NextStep::MayStart => "may start".to_owned(),
            NextStep::Wait(why) => why,
            NextStep::Asks(why) => format!("asks: {why}"),
            NextStep::TooSoon(why) => format!("too soon: {why}"),
            NextStep::Unknown(held) => held.reason.to_string(),
            NextStep::Mitigated => "mitigated".to_owned(),
        }
    }

    #[test]
    fn the_next_step_waits_for_the_one_before_it() {
        let applied_at = |second| {
            move |change: &mut Change| {
                change.applied(at(second));
            }
        };
        let applied =
            || Fixture::pinned().change_with("one", "a", ChangeState::Applied, applied_at(NOW - 90));
        let over = |reason| applied().with(|facts| facts.state.steps[0].reason = reason);
        let found = |verdict, unanswered: Option<i64>| {
            let unanswered_since = unanswered.map(at);
            let verification = Some(Verification { verdict, unanswered_since, ..Verification::default() });
            // Whatever else the step reports.
            over(Some(Reason::JournalFull)).with(|facts| facts.state.steps[0].verification = verification)
        };
        let cases = [
            (Fixture::pinned(), "may start"),
            (Fixture::pinned().change("one", "a", ChangeState::Intended), "step one is being applied"),
            (Fixture::pinned().change("one", "a", ChangeState::Reverting), "step one is being reverted"),
            (
                Fixture::pinned().change_with("one", "a", ChangeState::Applied, applied_at(NOW - 30)),
                "step one is being verified",
            ),
            (found(Some(Verdict::False), None), "may start"),
            (found(Some(Verdict::Unknown), None), "VerifyUnknown"),
            (found(None, None), "step one is being verified"),
            // It cannot be asked at the moment, or for too long.
            (found(Some(Verdict::False), Some(NOW - 59)), "asks: step one is being verified"),
            (found(Some(Verdict::Unknown), Some(NOW - 59)), "asks: step one is being verified"),
            (found(Some(Verdict::False), Some(NOW - 60)), "VerifyUnknown"),
            (found(None, Some(NOW - 60)), "VerifyUnknown"),
            // As an older release stored it.
            (over(Some(Reason::VerifyFailed)), "may start"),
            (over(Some(Reason::CannotDeletePods)), "may start"),
            (over(Some(Reason::VerifyUnknown)), "VerifyUnknown"),
            (over(Some(Reason::CannotListTargets)), "VerifyUnknown"),
            (over(Some(Reason::TargetsUnknown)), "step one is being verified"),
            (over(None), "step one is being verified"),
            (
                Fixture::pinned().change_with("one", "a", ChangeState::Applied, |change| {
                    change.verified(at(NOW - 10));
                }),
                "mitigated",
            ),
            (Fixture::pinned().change("one", "a", ChangeState::Failed), "may start"),
        ];
        for (given, expected) in cases {
            assert_eq!(next(&given), expected, "{:?}", given.facts.state.changes);
        }
    }

    /// `a` of step one and `b` of step two, whose time is over, and what is known of these steps.
    fn two_steps(one: Verdict, two: Verdict) -> Fixture {
        let applied = |change: &mut Change| change.applied(at(NOW - 90));
        let given = Fixture::pinned().change_with("one", "a", ChangeState::Applied, applied).change_with(
            "two",
            "b",
            ChangeState::Applied,
            applied,
        );
        given.with(|facts| {
            for (step, (verdict, started)) in facts.state.steps.iter_mut().zip([(one, 100), (two, 200)]) {
                step.verification = Some(Verification { verdict: Some(verdict), ..Verification::default() });
                step.started_at = Some(at(started));
            }
        })
    }

    #[test]
    fn only_the_newest_step_is_asked_whether_it_helped() {
        let both = |one, two| next(&two_steps(one, two));
        assert_eq!(both(Verdict::Unknown, Verdict::False), "may start", "it was passed long ago");
        assert_eq!(both(Verdict::False, Verdict::Unknown), "VerifyUnknown");
        let off = two_steps(Verdict::False, Verdict::Unknown).with(|facts| {
            facts.state.changes[1].sit_out(SitsOut::new(Reason::Idle, "it is parked"));
        });
        assert_eq!(next(&off), "may start", "a step of which all objects are off is passed over");
    }

    #[test]
    fn a_list_that_fails_for_a_moment_leaves_what_holds_the_response() {
        let failed = |since: Option<i64>| {
            two_steps(Verdict::False, Verdict::False).with(|facts| {
                let found = facts.state.steps[1].verification.as_mut().unwrap();
                found.unanswered_since = since.map(at);
                facts.state.held = Some(Held::new(Reason::LadderUsedUp, "as before"));
            })
        };
        let held = |given: &Fixture| {
            let mut deciding = given.deciding();
            let next = deciding.next_step();
            let held = deciding.what_is_missing(0, &next, Severity::P0);
            (held.map(|held| held.reason), deciding.happened.len())
        };
        assert_eq!(held(&failed(None)), (Some(Reason::LadderUsedUp), 0));
        assert_eq!(held(&failed(Some(NOW - 1))), (Some(Reason::LadderUsedUp), 0));
        assert_eq!(held(&failed(Some(NOW - 61))), (Some(Reason::VerifyUnknown), 1));
    }

    #[test]
    fn a_failed_target_needs_a_person_unless_the_step_says_otherwise() {
        let failed = |on_failure: &str| {
            let given = Fixture::pinned().policy(|spec| spec["steps"][0]["onFailure"] = on_failure.into());
            given.change("one", "a", ChangeState::Failed)
        };
        let reason = |given: &Fixture| given.deciding().trouble().map(|held| held.reason);
        assert_eq!(reason(&failed("Halt")), Some(Reason::StepFailed));
        assert_eq!(reason(&failed("Continue")), None);
        assert_eq!(reason(&failed("Revert")), None);
        let unclear = Fixture::pinned().change("one", "a", ChangeState::Held);
        assert_eq!(reason(&unclear), Some(Reason::OutcomeUnknown));
    }

    #[test]
    fn nothing_in_force_waits_for_facts_and_is_stalled_only_where_all_steps_wait_for_a_person() {
        let pending = |reasons: [Reason; 2]| {
            let given = Fixture::pinned();
            let mut deciding = given.deciding();
            for (step, reason) in ["one", "two"].into_iter().zip(reasons) {
                deciding.pending(step, reason, "why");
            }
            let held = deciding.what_is_missing(2, &NextStep::MayStart, Severity::P0).unwrap();
            (held.reason.clone(), held.reason.moves_on(), held.message)
        };
        let (reason, moves_on, _) = pending([Reason::CannotListTargets, Reason::NoTargets]);
        assert_eq!((reason, moves_on), (Reason::NothingInForce, MovesOn::Itself));
        let (reason, moves_on, message) = pending([Reason::CannotListTargets, Reason::CannotListTargets]);
        assert_eq!((reason, moves_on), (Reason::StepsBlocked, MovesOn::Person));
        assert!(message.contains("firebreak withdraw outage -n serving"), "{message}");
    }
}
