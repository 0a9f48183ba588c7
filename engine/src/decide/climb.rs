//! The ladder: which step is tended, and which one may start.

use jiff::SignedDuration;

use super::plan::{JOURNAL, Plans};
use super::settle::last_applied;
use super::{Round, is_begun};
use crate::change::{Change, ChangeState};
use crate::facts::Target;
use crate::incident::{Held, StepState, StepStatus, count};
use crate::period::after;
use crate::policy::Severity;
use crate::rules::Step;
use crate::verdict::Verdict;

/// How often the targets of a step are listed while it is not verified.
pub(super) const RELIST_BUSY: SignedDuration = SignedDuration::from_secs(1);
/// How often they are listed when there is nothing to wait for.
pub(super) const RELIST_IDLE: SignedDuration = SignedDuration::from_secs(10);
/// Intents that one status write records.
const BATCH: usize = 100;

/// Whether the step after the one that began last may start.
enum Turn {
    /// Yes.
    Next,
    /// Not yet: why.
    Wait(String),
    /// The climb is over: the last step helped.
    Mitigated,
}

impl Round<'_> {
    /// Tends the steps that have begun and starts the next one if it is its turn.
    pub(super) fn climb(&mut self) {
        let Some(level) = self.next.severity else { return };
        self.next.held = None;
        for step in self.begun() {
            self.tend(&step, true);
        }
        let trouble = self.trouble();
        if trouble.is_some() {
            self.next.held = trouble;
        }
        if self.next.held.is_none() {
            self.start_next(level);
        }
    }

    /// Tends the steps that have begun, and lets nothing join them.
    pub(super) fn watch_steps(&mut self) {
        for step in self.begun() {
            self.tend(&step, false);
        }
    }

    fn begun(&self) -> Vec<Step> {
        self.ladder.iter().filter(|step| is_begun(&self.next, &step.name)).cloned().collect()
    }

    /// Joiners, drift and verification of one step.
    fn tend(&mut self, step: &Step, admit: bool) {
        let settled = self
            .next
            .changes_of(&step.name)
            .all(|c| !c.state.is_outstanding() || c.state == ChangeState::Verified);
        let interval = if settled { RELIST_IDLE } else { RELIST_BUSY };
        match self.facts.listing_age {
            Some(age) if age < interval => return self.wake_in(interval - age),
            _ => self.wake_in(interval),
        }
        let Some(plans) = self.plan(step) else { return };
        self.note(step, &plans);
        self.notice_drift(step);
        self.verify(step);
        if admit && !self.has_failed(step) {
            self.begin_changes(step, plans);
        }
    }

    fn start_next(&mut self, level: Severity) {
        let turn = self.turn();
        let mut left = 0;
        for step in self.ladder.clone() {
            if is_begun(&self.next, &step.name) {
                continue;
            }
            if !step.is_for(level) {
                self.pending(&step.name, "OtherSeverity", &format!("it is not for {level}"));
                continue;
            }
            left += 1;
            match &turn {
                Turn::Next => {}
                Turn::Wait(why) => {
                    self.pending(&step.name, "WaitsForEarlierStep", why);
                    continue;
                }
                Turn::Mitigated => {
                    self.pending(&step.name, "NotNeeded", "an earlier step was verified");
                    continue;
                }
            }
            if self.start(&step) {
                return;
            }
            self.wake_in(RELIST_IDLE);
        }
        self.say_what_is_missing(left, &turn, level);
    }

    /// Starts a step if it can start. Whether it (or a live read for it) is under way.
    fn start(&mut self, step: &Step) -> bool {
        if let Some(when) = &step.when {
            let found = when.evaluate(&self.assessment.values);
            let (reason, text) = match found.verdict {
                Verdict::True => ("", String::new()),
                Verdict::False => ("WhenFalse", format!("its condition is false: {}", when.source())),
                Verdict::Unknown => ("WhenUnknown", found.why.unwrap_or_default()),
            };
            if found.verdict != Verdict::True {
                self.pending(&step.name, reason, &text);
                return false;
            }
        }
        let asked = self.look.len();
        let Some(plans) = self.plan(step) else { return self.look.len() > asked };
        self.note(step, &plans);
        if plans.changes.is_empty() {
            let (reason, text) = match (plans.matched, plans.refused.first()) {
                (0, _) => ("NoTargets", "no object matches its targets now".to_owned()),
                (_, Some(refused)) => (
                    "NothingCanBeChanged",
                    format!("{}: {}", refused.target, refused.message.clone().unwrap_or_default()),
                ),
                (_, None) => ("NothingToDo", "every matching object is so already".to_owned()),
            };
            self.record_refused(plans.refused);
            self.pending(&step.name, reason, &text);
            return false;
        }
        let number = plans.changes.len();
        if !self.begin_changes(step, plans) {
            return true;
        }
        let now = self.now;
        let status = self.step_status(&step.name);
        status.definition = Some(step.definition.clone());
        status.started_at = Some(now);
        status.reason = None;
        status.message = None;
        self.happen(
            "StepStarted",
            &format!("step {}: {} on {number} object(s)", step.name, step.action.name()),
        );
        true
    }

    /// Intends the planned changes, unless a guardrail speaks against it.
    fn begin_changes(&mut self, step: &Step, plans: Plans) -> bool {
        self.record_refused(plans.refused);
        let new = plans.changes.len();
        let present = self.next.changes_of(&step.name).filter(|change| change.state.is_outstanding()).count();
        let most = self.rules.map_or(0, |rules| rules.max_targets);
        if new > 0 && present + new > most {
            let message = format!(
                "step {} would change {} objects, and guardrails.maxTargets is {most}: raise it, or withdraw with `firebreak withdraw`",
                step.name,
                present + new
            );
            self.not_done(&step.name, None, "TooManyTargets", &message);
            self.next.held = Some(Held::new("TooManyTargets", &message, true));
            return false;
        }
        for (mut change, target) in plans.changes.into_iter().take(BATCH) {
            if self.is_being_written(&target.id) {
                continue; // it joins when the answer to that write is there
            }
            if self.next.changes.len() >= JOURNAL
                && !self.next.changes.iter().any(|known| known.id == change.id)
            {
                self.not_done(
                    &step.name,
                    Some(&target),
                    "JournalFull",
                    &format!("the journal holds {JOURNAL} changes"),
                );
                continue;
            }
            self.intend(&mut change, &target);
            self.journal(change);
        }
        true
    }

    fn record_refused(&mut self, refused: Vec<Change>) {
        for change in refused {
            if self.next.changes.len() < JOURNAL
                || self.next.changes.iter().any(|known| known.id == change.id)
            {
                self.journal(change);
            }
        }
    }

    fn journal(&mut self, change: Change) {
        match self.next.changes.iter_mut().find(|known| known.id == change.id) {
            Some(known) => *known = change,
            None => self.next.changes.push(change),
        }
    }

    fn note(&mut self, step: &Step, plans: &Plans) {
        let counts = &mut self.step_status(&step.name).targets;
        counts.matched = plans.matched;
        counts.nothing_to_do = plans.nothing_to_do;
    }

    /// Whether the step after the newest begun one may start.
    fn turn(&mut self) -> Turn {
        let newest =
            self.begun().into_iter().max_by_key(|step| self.next.step(&step.name).and_then(|s| s.started_at));
        let Some(step) = newest else { return Turn::Next };
        let name = &step.name;
        if self.next.changes_of(name).any(|change| change.state.is_open_intent()) {
            return Turn::Wait(format!("step {name} is being applied"));
        }
        let status = self.next.step(name);
        let begun = last_applied(self.next.changes_of(name)).or(status.and_then(|status| status.started_at));
        let lost = status.is_some_and(|status| status.verified_at.is_some());
        let (patience, waits) = match &step.verify {
            Some(_) if self.is_verified(name) => return Turn::Mitigated,
            Some(_) if lost => return Turn::Next,
            Some(verify) => (verify.within, format!("step {name} is being verified")),
            None => (step.settle, format!("step {name} may still help")),
        };
        match begun.map(|begun| after(begun, patience)).filter(|due| *due > self.now) {
            Some(due) => {
                self.wake(Some(due));
                Turn::Wait(waits)
            }
            None => Turn::Next,
        }
    }

    pub(super) fn is_verified(&self, step: &str) -> bool {
        stands_verified(self.next.changes_of(step))
    }

    fn has_failed(&self, step: &Step) -> bool {
        self.next.changes_of(&step.name).any(|change| change.state == ChangeState::Failed)
    }

    /// What needs a person before anything new may start.
    fn trouble(&mut self) -> Option<Held> {
        for step in self.begun() {
            let failed: Vec<&Change> = self
                .next
                .changes_of(&step.name)
                .filter(|change| change.state == ChangeState::Failed)
                .collect();
            if let Some(first) = failed.first() {
                let message = format!(
                    "step {}: {} target(s) failed, the first is {}: {}. Remove the cause, or put everything back with `firebreak withdraw`",
                    step.name,
                    failed.len(),
                    first.target,
                    first.message.clone().unwrap_or_default()
                );
                return Some(Held::new("StepFailed", &message, true));
            }
            let unknown =
                |change: &&Change| change.state == ChangeState::Held || self.is_overdue(change, &step);
            if let Some(change) = self.next.changes_of(&step.name).find(unknown) {
                let message = format!(
                    "step {}: nobody can tell whether {} was changed: {}. Look at the object, then put everything back with `firebreak withdraw`",
                    step.name,
                    change.target,
                    change.message.clone().unwrap_or_default()
                );
                return Some(Held::new("OutcomeUnknown", &message, true));
            }
        }
        self.next.held.take()
    }

    /// When nothing (more) can be done although a rule holds, a person has to know.
    fn say_what_is_missing(&mut self, left: usize, turn: &Turn, level: Severity) {
        let any_for_level = self.ladder.iter().any(|step| step.is_for(level));
        if !any_for_level {
            return;
        }
        if left == 0 && matches!(turn, Turn::Next) {
            let message = "every step was tried and the rule still holds: look at the cause, then withdraw with `firebreak withdraw`";
            if self.facts.state.held.as_ref().is_none_or(|held| held.reason != "LadderUsedUp") {
                self.happen("LadderUsedUp", message);
            }
            self.next.held = Some(Held::new("LadderUsedUp", message, true));
            return;
        }
        let patience =
            self.ladder.iter().find(|step| step.is_for(level)).map(|step| step.timeout).unwrap_or_default();
        let Some(classified) = self.next.classified_at else { return };
        if self.next.in_force() == 0 && self.begun().is_empty() {
            let due = after(classified, patience);
            if due > self.now {
                return self.wake(Some(due));
            }
            let why: Vec<String> =
                self.why.iter().map(|why| format!("{}: {}", why.step, why.message)).take(3).collect();
            let message = format!("nothing is in force although a rule holds. {}", why.join("; "));
            self.next.held = Some(Held::new("NothingInForce", &message, false));
        }
    }

    /// Where every step stands, from its changes.
    pub(super) fn refresh_steps(&mut self) {
        for step in self.ladder.clone() {
            self.step_status(&step.name);
        }
        let order: Vec<String> = self.ladder.iter().map(|step| step.name.clone()).collect();
        let mut steps = std::mem::take(&mut self.next.steps);
        steps.retain(|status| status.definition.is_some() || order.contains(&status.name));
        steps.sort_by_key(|status| order.iter().position(|name| *name == status.name));
        for status in &mut steps {
            let changes: Vec<&Change> = self.next.changes_of(&status.name).collect();
            status.targets =
                count(changes.iter().copied(), status.targets.matched, status.targets.nothing_to_do);
            let state = step_state(status, &changes, self.next.closing.is_some());
            if state == StepState::Returned && status.finished_at.is_none() {
                status.finished_at = Some(self.now);
            }
            if !matches!(state, StepState::Pending | StepState::Applied) {
                (status.reason, status.message) = (None, None);
            }
            status.state = state;
        }
        self.next.steps = steps;
    }

    /// The listed target with this uid, if this round has listed the step.
    pub(super) fn listed(&self, step: &str, uid: &str) -> Option<&Target> {
        match self.facts.looked.get(&crate::facts::Look::Step(step.to_owned()))? {
            crate::facts::LookResult::Listed(targets) => targets.iter().find(|target| target.id.uid == uid),
            _ => None,
        }
    }
}

fn step_state(status: &StepStatus, changes: &[&Change], closing: bool) -> StepState {
    let any = |state: ChangeState| changes.iter().any(|change| change.state == state);
    let outstanding = changes.iter().any(|change| change.state.is_outstanding());
    match () {
        () if status.definition.is_none() => StepState::Pending,
        () if closing && outstanding => StepState::Reverting,
        () if closing => StepState::Returned,
        () if any(ChangeState::Failed) => StepState::Failed,
        () if any(ChangeState::Held) => StepState::Held,
        () if changes.iter().any(|change| change.state.is_open_intent()) => StepState::Applying,
        () if stands_verified(changes.iter().copied()) => StepState::Verified,
        () => StepState::Applied,
    }
}

/// Whether everything of a step that stands on the objects was verified.
fn stands_verified<'a>(changes: impl Iterator<Item = &'a Change>) -> bool {
    let mut standing =
        changes.filter(|c| matches!(c.state, ChangeState::Applied | ChangeState::Verified)).peekable();
    standing.peek().is_some() && standing.all(|change| change.state == ChangeState::Verified)
}
