//! Whose turn it is on the ladder, and what a person has to know when it is nobody's.

use super::Round;
use super::recover::is_stuck;
use super::settle::last_applied;
use crate::change::{Change, ChangeState};
use crate::incident::Held;
use crate::period::after;
use crate::policy::{OnFailure, Severity};
use crate::reason::{MovesOn, Reason};

/// Whether a step that has not begun may start.
pub(super) enum Turn {
    /// Yes.
    Next,
    /// Not yet: why.
    Wait(String),
    /// Not yet, because a guardrail asks for more time: why.
    TooSoon(String),
    /// The climb is over: a step helped.
    Mitigated,
}

impl Round<'_> {
    /// Whether the next step may start. What has joined an older step counts like
    /// the rest of it: first it is applied and has its time to help.
    pub(super) fn turn(&mut self) -> Turn {
        let mut mitigated = false;
        let mut wait = None;
        for step in self.begun() {
            let name = &step.name;
            let changes: Vec<&Change> = self.next.changes_of(name).collect();
            if changes.iter().any(|change| change.is_open_intent()) {
                return Turn::Wait(format!("step {name} is being applied"));
            }
            if changes.iter().any(|change| change.state == ChangeState::Reverting && !is_stuck(change)) {
                return Turn::Wait(format!("step {name} is being put back"));
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
            }
        }
        match wait {
            _ if mitigated => Turn::Mitigated,
            Some(why) => Turn::Wait(why),
            None => self.too_soon().map_or(Turn::Next, Turn::TooSoon),
        }
    }

    /// What needs a person before anything new may start.
    pub(super) fn trouble(&self) -> Option<Held> {
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

    /// What holds the response when nothing (more) can be done although a rule holds.
    pub(super) fn what_is_missing(&mut self, left: usize, turn: &Turn, level: Severity) -> Option<Held> {
        let first = self.ladder.iter().find(|step| step.is_for(level))?;
        if left == 0 && matches!(turn, Turn::Next) {
            let message = &format!(
                "every step was tried, and the rule still holds. Find the cause; the policy has no further step. To revert \
                 everything: `{}`",
                self.facts.incident.withdraw_command()
            );
            if self.facts.state.held.as_ref().is_none_or(|held| held.reason != Reason::LadderUsedUp) {
                self.happen("LadderUsedUp", message);
            }
            return Some(Held::new(Reason::LadderUsedUp, message));
        }
        let classified = self.next.classified_at?;
        if self.next.changes.iter().any(|change| change.is_outstanding()) {
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

    /// Whether a fact could still start a step for this level, or let an object join one.
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
