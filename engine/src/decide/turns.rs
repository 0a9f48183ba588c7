//! Whose turn it is among the targets of a step that takes them one level after the other.
//!
//! # Flow
//! A target has had its turn when it is healthy and has rolled out. Until then it counts as unavailable, and no target of
//! a later level has its turn. A target that is not back within the timeout of the step stops the levels after it, and no
//! step waits for these any longer; they continue if it comes back after all.

use jiff::Timestamp;

use super::Deciding;
use super::plan::Plans;
use crate::action::Turns;
use crate::change::{Change, ChangeState};
use crate::facts::Target;
use crate::period::{Period, after};
use crate::reason::Reason;
use crate::rules::Step;
use crate::verdict::Verdict;

/// A target that has had its turn and is not back.
struct Away {
    level: usize,
    /// For people: which one, and what is missing.
    why: String,
    /// Whether it is not waited for any longer.
    is_over: bool,
    /// When it will not be.
    until: Option<Timestamp>,
}

impl Deciding<'_> {
    /// Targets that no longer need a turn wait for none, and the others say what they wait for.
    pub(super) fn note_turns(&mut self, step: &Step, plans: &Plans) {
        let is_planned = |change: &Change| plans.changes.iter().any(|(planned, _)| planned.id == change.id);
        self.next
            .changes
            .retain(|change| change.step != step.name || !change.has_no_turn_yet() || is_planned(change));
        let Some(turns) = step.action.kind().turns() else { return };
        let away = self.away(step, turns);
        let (reason, why) = what_it_waits_for(&away);
        let waiting = self.next.own_changes_mut(&step.name).filter(|change| change.has_no_turn_yet());
        for change in waiting.filter(|_| !away.is_empty()) {
            change.stand(ChangeState::Skipped, reason.clone(), why.clone());
        }
    }

    /// The changes whose turn it is. The others get an entry that says what they wait for.
    pub(super) fn in_turn(&mut self, step: &Step, changes: Vec<(Change, Target)>) -> Vec<(Change, Target)> {
        let Some(turns) = step.action.kind().turns().cloned() else { return changes };
        let away = self.away(step, &turns);
        let levels = changes.iter().map(|(_, target)| turns.level_of(target));
        let Some(level) = levels.chain(away.iter().map(|away| away.level)).min() else {
            return changes;
        };
        let gone = away.iter().filter(|away| away.level == level).count();
        let mut room = turns.at_once().map_or(usize::MAX, |most| most.saturating_sub(gone));
        let mut due = Vec::new();
        for (mut change, target) in changes {
            if turns.level_of(&target) == level && room > 0 {
                room -= 1;
                due.push((change, target));
                continue;
            }
            let (reason, why) = what_it_waits_for(&away);
            self.not_done(&step.name, Some(&target), reason.clone(), &why);
            change.stand(ChangeState::Skipped, reason, why);
            self.journal([change]);
        }
        self.wake(away.iter().filter_map(|away| away.until).min());
        due
    }

    /// The targets that have had their turn and are not back. One that is gone or off is not missed.
    fn away(&self, step: &Step, turns: &Turns) -> Vec<Away> {
        let started = self.next.changes_of(&step.name).filter(|change| change.on_behalf_of().is_none());
        let away = started.filter_map(|change| {
            let target = self.listed(&step.name, &change.target.uid)?;
            let why = self.why_away(step, change, target)?;
            let due = change.took_effect_at().map(|at| after(at, step.timeout));
            let is_late = due.is_some_and(|due| due <= self.now);
            let late = if is_late { format!(" after {}", Period::from(step.timeout)) } else { String::new() };
            Some(Away {
                level: turns.level_of(target),
                why: format!("{}{late}: {why}", target.id),
                is_over: is_late || change.state == ChangeState::Failed,
                until: due.filter(|_| !is_late),
            })
        });
        away.collect()
    }

    /// Why a target is not back; none if it is.
    fn why_away(&self, step: &Step, change: &Change, target: &Target) -> Option<String> {
        if let Some(operation) = change.as_operation().filter(|_| change.is_open_operation()) {
            return Some(format!("its {} is under way", operation.operation.name()));
        }
        if change.state == ChangeState::Failed {
            return Some(change.message.clone().unwrap_or_default());
        }
        let is_back = !change.stands() || target.is_well() == Verdict::True;
        if is_back || self.why_it_sits_out(step, target).is_some() {
            return None;
        }
        let why = match target.rollout.0 {
            Verdict::True => "it is not healthy",
            Verdict::False | Verdict::Unknown => &target.rollout.1,
        };
        Some(why.to_owned())
    }
}

/// What the targets wait for that have no turn yet.
fn what_it_waits_for(away: &[Away]) -> (Reason, String) {
    let over = away.iter().find(|away| away.is_over);
    match (over, away.first()) {
        (Some(over), _) => {
            let why =
                format!("it is not its turn before another object is back, and that is not: {}", over.why);
            (Reason::LevelNotHealthy, why)
        }
        (None, Some(first)) => (Reason::WaitsForTurn, format!("it waits for another object: {}", first.why)),
        (None, None) => (Reason::WaitsForTurn, "others of the step come first".to_owned()),
    }
}
