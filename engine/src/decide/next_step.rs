//! Which step of the ladder is next, and what a person must know if there is none.

use jiff::Timestamp;

use super::Deciding;
use super::recover::is_stuck;
use super::settle::last_applied;
use crate::change::{Again, Change, ChangeState, cut};
use crate::incident::Held;
use crate::period::after;
use crate::policy::{OnFailure, Severity};
use crate::reason::{MovesOn, Reason};
use crate::rules::Step;

/// Whether it was reverted, and the emergency returned.
fn is_wanted_again(change: &Change) -> bool {
    change.state == ChangeState::Reverted && matches!(change.again(), Again::Always | Again::IfMatching)
}

/// The maximum length of what a text quotes of a step, in bytes.
const LONGEST_QUOTE: usize = 600;

/// Whether a step that has not started may start.
pub(super) enum NextStep {
    /// Yes.
    MayStart,
    /// Not yet, and why.
    Wait(String),
    /// Not yet, because a guardrail requires more time, and why.
    TooSoon(String),
    /// No, because it is not known whether an earlier step helped. A person is told what is missing.
    Unknown(Held),
    /// No further step starts, because a step helped.
    Mitigated,
}

/// What is known of a step that is not verified.
enum Known {
    /// A check is False, or pods keep the change from taking effect.
    Fails,
    /// Its checks were not evaluated yet.
    NotAsked,
    /// No check is False, and not all are True.
    Nothing(Held),
}

impl Deciding<'_> {
    /// Whether the next step may start. Objects that join an earlier step count like
    /// the rest of it: first they are applied and have their time to help.
    pub(super) fn next_step(&mut self) -> NextStep {
        let mut mitigated = false;
        let mut wait = None;
        let mut unknown = None;
        for step in self.begun() {
            let name = &step.name;
            let changes: Vec<&Change> = self.next.changes_of(name).collect();
            if changes.iter().any(|change| change.is_open_intent() || change.is_open_operation()) {
                return NextStep::Wait(format!("step {name} is being applied"));
            }
            if changes.iter().any(|change| change.state == ChangeState::Reverting && !is_stuck(change)) {
                return NextStep::Wait(format!("step {name} is being reverted"));
            }
            // What is back only now was not listed since, so that it could not be applied again yet.
            let returned =
                changes.iter().filter(|change| is_wanted_again(change)).filter_map(|c| c.returned_at());
            if returned.max().is_some_and(|at| !self.is_listed_since(name, at)) {
                return NextStep::Wait(format!("step {name} is applied again"));
            }
            if step.verify.is_some() && self.is_verified(name) {
                mitigated = true;
                continue;
            }
            let is_lost =
                |change: &&&Change| change.state == ChangeState::Applied && change.verified_at().is_some();
            let is_new =
                |change: &&Change| change.state == ChangeState::Applied && change.verified_at().is_none();
            let lost = changes.iter().any(|change| is_lost(&change));
            let begun = match lost {
                true => last_applied(changes.iter().copied().filter(is_new)),
                false => last_applied(changes.iter().copied())
                    .or_else(|| self.next.step(name).and_then(|status| status.started_at)),
            };
            let (patience, why) = match &step.verify {
                Some(verify) => (verify.within, format!("step {name} is being verified")),
                None => (step.settle, format!("step {name} may still help")),
            };
            if let Some(due) = begun.map(|begun| after(begun, patience)).filter(|due| *due > self.now) {
                self.wake(Some(due));
                wait = Some(why);
            } else if step.verify.is_some() && changes.iter().any(|change| change.stands()) {
                match self.known_of(&step) {
                    Known::Fails => {}
                    Known::NotAsked => wait = Some(why),
                    Known::Nothing(held) => unknown = unknown.or(Some(held)),
                }
            }
        }
        match wait {
            _ if mitigated => NextStep::Mitigated,
            Some(why) => NextStep::Wait(why),
            None if unknown.is_some() => unknown.map_or(NextStep::MayStart, NextStep::Unknown),
            None => self.too_soon().map_or(NextStep::MayStart, NextStep::TooSoon),
        }
    }

    /// Whether the targets of the step were listed at this time or later.
    fn is_listed_since(&self, step: &str, at: Timestamp) -> bool {
        let age = self.facts.listing_age.get(step);
        self.facts.looked.listings.contains_key(step) || age.is_some_and(|age| after(self.now, -*age) >= at)
    }

    /// What is known of a step whose time to help is over. Not knowing is no reason for a harsher step; after a restart,
    /// nothing is known for a moment, either.
    fn known_of(&self, step: &Step) -> Known {
        let Some(status) = self.next.step(&step.name) else { return Known::NotAsked };
        match &status.reason {
            Some(Reason::VerifyUnknown | Reason::CannotListTargets | Reason::TargetsUnknown) => {}
            Some(_) => return Known::Fails,
            None => return Known::NotAsked,
        }
        let message = format!(
            "step {}: its time is over, and it is not known whether it helped: {}. Therefore no later step starts. The \
             response continues as soon as this is known. To revert everything: `{}`",
            step.name,
            status.message.clone().unwrap_or_default(),
            self.facts.incident.withdraw_command()
        );
        Known::Nothing(Held::new(Reason::VerifyUnknown, &message))
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
            let status = self.next.step(&step.name)?;
            let is_about_checks = matches!(status.reason, Some(Reason::VerifyFailed | Reason::VerifyUnknown));
            let message = status.message.as_ref().filter(|_| is_about_checks)?;
            Some(format!(". Step {}: {}", step.name, cut(message, LONGEST_QUOTE)))
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
        let first = self.ladder.iter().find(|step| step.is_for(level))?;
        if left == 0 && matches!(next, NextStep::MayStart) {
            let message = &format!(
                "every step was tried, and the rule still holds. Find the cause; the policy has no further step. To revert \
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
        if self.next.changes.iter().any(Change::counts) {
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
                "a rule holds, and no change is in force. {first_three}. Each step starts as soon as it can. To see what \
                 keeps it from each object: `{}`. To close the Incident: `{withdraw}`",
                self.facts.incident.command("describe")
            );
            Held::new(Reason::NothingInForce, &message)
        } else {
            let message = format!(
                "a rule holds, and no step can start until this is fixed. {first_three}. Fix it, and the steps start; or \
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
            let message = change.message.as_ref()?;
            Some(format!("{step}: {}: {message}", change.target))
        });
        let status = self.next.step(step).filter(|status| status.definition.is_none());
        let pending = status.and_then(|status| Some(format!("{step}: {}", status.message.as_ref()?)));
        pending.or(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, NOW, at};
    use super::*;

    fn next(given: &Fixture) -> String {
        match given.deciding().next_step() {
            NextStep::MayStart => "may start".to_owned(),
            NextStep::Wait(why) => why,
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
        let over = |reason| {
            let given = Fixture::pinned().change_with("one", "a", ChangeState::Applied, applied_at(NOW - 90));
            given.with(|facts| facts.state.steps[0].reason = reason)
        };
        let cases = [
            (Fixture::pinned(), "may start"),
            (Fixture::pinned().change("one", "a", ChangeState::Intended), "step one is being applied"),
            (Fixture::pinned().change("one", "a", ChangeState::Reverting), "step one is being reverted"),
            (
                Fixture::pinned().change_with("one", "a", ChangeState::Applied, applied_at(NOW - 30)),
                "step one is being verified",
            ),
            (over(Some(Reason::VerifyFailed)), "may start"),
            (over(Some(Reason::CannotDeletePods)), "may start"),
            (over(Some(Reason::VerifyUnknown)), "VerifyUnknown"),
            (over(Some(Reason::CannotListTargets)), "VerifyUnknown"),
            (over(Some(Reason::TargetsUnknown)), "VerifyUnknown"),
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
