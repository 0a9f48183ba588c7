//! Whose turn it is among the targets of a step that takes them one level after the other.
//!
//! # Flow
//! A target has had its turn when it is healthy and has rolled out. Until then it counts as unavailable, and no target of
//! a later level has its turn. A target that is not back within the timeout of the step stops the levels after it, and no
//! step waits for these any longer; they continue if it comes back after all. So does a target of an earlier level that
//! waits for its own approval, or whose `where` is Unknown.
//!
//! A target that waits for its turn was approved with its step, and is not approved again when its turn comes: not when
//! its `where` was Unknown in between, and however late that is.

use jiff::Timestamp;

use super::plan::may_join;
use super::plan_hash::row;
use super::plans::Plans;
use super::{Deciding, is_begun};
use crate::action::Turns;
use crate::change::{Change, ChangeState};
use crate::facts::{ListingRead, Stage, Target};
use crate::id::TargetId;
use crate::period::{Period, after};
use crate::reason::Reason;
use crate::rules::Step;
use crate::verdict::Verdict;

/// A target for which others wait.
struct Away<'a> {
    target: &'a TargetId,
    level: usize,
    /// Whether it has had its turn. Then it takes one of the places of its level.
    has_had_turn: bool,
    /// For people: which one, and what is missing.
    why: String,
    /// Whether no step waits for it any longer.
    is_over: bool,
    /// When none will.
    until: Option<Timestamp>,
}

impl<'a> Deciding<'a> {
    /// Targets that no longer need a turn wait for none.
    pub(super) fn drop_turns(&mut self, step: &Step, plans: &Plans) {
        let is_planned = |change: &Change| plans.changes.iter().any(|(planned, _)| planned.id == change.id);
        let mut unknown = self.targets_of(step);
        unknown.retain(|target| target.matched == Verdict::Unknown && !is_left_alone(target));
        let may_need_it = |change: &Change| {
            is_planned(change) || unknown.iter().any(|target| target.id.uid == change.target.uid)
        };
        self.next
            .changes
            .retain(|change| change.step != step.name || !change.has_no_turn_yet() || may_need_it(change));
    }

    /// The targets that have no turn yet say what they wait for.
    pub(super) fn note_turns(&mut self, step: &Step, plans: &Plans) {
        let Some(turns) = step.action.kind().turns() else { return };
        let away = self.away(step, turns);
        let is_planned =
            |target: &&Target| plans.changes.iter().any(|(change, _)| change.target == target.id);
        for target in self.targets_of(step) {
            let (reason, why) = match target.matched {
                Verdict::True if is_planned(&target) => {
                    what_it_waits_for(&away, turns, turns.level_of(target))
                }
                // Nothing else starts before it is known, at most for the timeout of the step.
                Verdict::Unknown => match away.iter().find(|away| *away.target == target.id) {
                    Some(away) if !away.is_over => (Reason::WaitsForTurn, target.why_no_match()),
                    Some(_) | None => (Reason::WhereUnknown, target.why_no_match()),
                },
                Verdict::True | Verdict::False => continue,
            };
            let is_it = |change: &&mut Change| change.target.uid == target.id.uid && change.has_no_turn_yet();
            if let Some(waiting) = self.next.own_changes_mut(&step.name).find(is_it) {
                waiting.stand(ChangeState::Skipped, reason, why);
            }
        }
    }

    /// While nothing may join the step, nobody has a turn, and no step waits for one.
    pub(super) fn end_turns(&mut self, step: &Step) {
        let comes = |change: &&mut Change| change.reason == Some(Reason::WaitsForTurn);
        for change in self.next.own_changes_mut(&step.name).filter(comes) {
            let why = "it was not its turn before the step stopped taking objects";
            change.stand(ChangeState::Skipped, Reason::NotAdmitted, why);
        }
    }

    /// Nobody has a turn while the API server refuses to list the targets, and that may be for good.
    pub(super) fn end_turns_unlisted(&mut self, step: &Step) {
        if matches!(self.facts.looked.listings.get(&step.name), Some(ListingRead::Refused { .. })) {
            self.end_turns(step);
        }
    }

    /// Nothing has a turn after the end.
    pub(super) fn end_all_turns(&mut self) {
        let waits = [Some(Reason::WaitsForTurn), Some(Reason::WhereUnknown)];
        let comes = |change: &&mut Change| change.has_no_turn_yet() && waits.contains(&change.reason);
        for change in self.next.changes.iter_mut().filter(comes) {
            let why = "it was not its turn before the response ended";
            change.stand(ChangeState::Skipped, Reason::NotAdmitted, why);
        }
    }

    /// Whether the step started with this change, which has not had its turn since.
    pub(super) fn has_place(&self, step: &Step, change: &Change) -> bool {
        let is_it =
            |known: &Change| known.id == change.id && known.has_no_turn_yet() && row(known) == row(change);
        is_begun(&self.next, &step.name) && self.next.changes_of(&step.name).any(is_it)
    }

    /// The stage that is changed now: while an object of it is still to be changed, or such a change is under way, nothing
    /// of a later stage is.
    pub(super) fn first_stage(
        &self,
        step: &Step,
        changes: &[(Change, Target)],
        is_under_way: impl Fn(&Change) -> bool,
    ) -> Option<Stage> {
        let under_way = self.next.changes_of(&step.name).filter(|change| is_under_way(change));
        let under_way = under_way.map(|change| self.stage_of(step, change));
        under_way.chain(changes.iter().map(|(_, target)| target.stage)).min()
    }

    /// The changes whose turn it is. The others get an entry that says what they wait for.
    pub(super) fn in_turn(&mut self, step: &Step, changes: Vec<(Change, Target)>) -> Vec<(Change, Target)> {
        let Some(turns) = step.action.kind().turns() else { return changes };
        let mut away = self.away(step, turns);
        // What waited for its approval may have it now.
        away.retain(|away| away.has_had_turn || changes.iter().all(|(_, target)| target.id != *away.target));
        let levels = changes.iter().map(|(_, target)| turns.level_of(target));
        let Some(level) = levels.chain(away.iter().map(|away| away.level)).min() else {
            return changes;
        };
        let gone = away.iter().filter(|away| away.has_had_turn && away.level == level).count();
        let mut room = turns.at_once().map_or(usize::MAX, |most| most.saturating_sub(gone));
        let (mut due, mut waiting) = (Vec::new(), Vec::new());
        for (mut change, target) in changes {
            let its_level = turns.level_of(&target);
            if its_level == level && room > 0 {
                room -= 1;
                due.push((change, target));
                continue;
            }
            let (reason, why) = what_it_waits_for(&away, turns, its_level);
            self.not_done(&step.name, Some(&target), reason.clone(), &why);
            change.stand(ChangeState::Skipped, reason, why);
            waiting.push(change);
        }
        self.journal(waiting);
        self.wake(away.iter().filter_map(|away| away.until).min());
        due
    }

    /// The targets for which others wait.
    fn away(&self, step: &Step, turns: &Turns) -> Vec<Away<'a>> {
        let mut away = self.not_back(step, turns);
        away.extend(self.not_begun(step, turns));
        away
    }

    /// The targets that have had their turn and are not back. One that is gone or off is not missed.
    fn not_back(&self, step: &Step, turns: &Turns) -> Vec<Away<'a>> {
        let listed = self.targets_of(step);
        let started = self.next.changes_of(&step.name).filter(|change| change.on_behalf_of().is_none());
        let away = started.filter_map(|change| {
            let target = listed.iter().find(|target| target.id.uid == change.target.uid)?;
            let why = self.why_away(step, change, target)?;
            let due = change.took_effect_at().map(|at| after(at, step.timeout));
            let is_late = due.is_some_and(|due| due <= self.now);
            let late = if is_late { format!(" after {}", Period::from(step.timeout)) } else { String::new() };
            Some(Away {
                target: &target.id,
                level: turns.level_of(target),
                has_had_turn: true,
                why: format!("{}{late}: {why}", target.id),
                is_over: is_late || change.state == ChangeState::Failed,
                until: due.filter(|_| !is_late),
            })
        });
        away.collect()
    }

    /// The targets of which nobody can tell whether they need a turn, and those that wait for their own approval. The
    /// levels after them have waited long enough once nothing has happened for the timeout of the step.
    fn not_begun(&self, step: &Step, turns: &Turns) -> Vec<Away<'a>> {
        let started = self.next.step(&step.name).and_then(|status| status.started_at);
        let took_effect = self.next.changes_of(&step.name).filter_map(Change::took_effect_at);
        let due = took_effect.chain(started).max().map(|since| after(since, step.timeout));
        let is_over = due.is_some_and(|due| due <= self.now);
        let away = self.targets_of(step).into_iter().filter_map(|target| {
            let known = self.next.newest_of(&step.name, &target.id.uid);
            let what = match (target.matched, known) {
                _ if is_left_alone(target) => return None,
                (Verdict::Unknown, known) if known.is_none_or(may_join) => {
                    "whether it must restart is not known"
                }
                (Verdict::True, Some(known)) if known.state == ChangeState::Planned => {
                    "it waits for approval"
                }
                _ => return None,
            };
            Some(Away {
                target: &target.id,
                level: turns.level_of(target),
                has_had_turn: false,
                why: format!("{}: {what}", target.id),
                is_over,
                until: due.filter(|_| !is_over),
            })
        });
        away.collect()
    }

    /// What the step selects, as this decision has listed it.
    pub(super) fn targets_of(&self, step: &Step) -> Vec<&'a Target> {
        match self.facts.looked.listings.get(&step.name) {
            Some(ListingRead::Listed(listing)) => listing.targets.iter().collect(),
            Some(ListingRead::Refused { .. } | ListingRead::Failed { .. }) | None => Vec::new(),
        }
    }

    /// Why a target is not back; none if it is. The texts stay the same while it comes back, because every target that
    /// waits for it repeats them.
    fn why_away(&self, step: &Step, change: &Change, target: &Target) -> Option<String> {
        if let Some(operation) = change.as_operation().filter(|_| change.is_open_operation()) {
            return Some(format!("its {} is under way", operation.operation.name()));
        }
        let has_failed = change.state == ChangeState::Failed;
        let was_tried = change.stands() || has_failed;
        if !was_tried || target.is_well() == Verdict::True || self.why_it_sits_out(step, target).is_some() {
            return None;
        }
        let why = match target.rollout.0 {
            _ if has_failed => change.message.as_deref().unwrap_or_default(),
            Verdict::True => "it is not healthy",
            Verdict::False | Verdict::Unknown => "it has not rolled out",
        };
        Some(why.to_owned())
    }
}

/// Whether the step changes nothing in it, whatever its `where` says.
fn is_left_alone(target: &Target) -> bool {
    target.exempt || target.owned_by.is_some() || target.off_on_purpose().is_some()
}

/// What a target of this level waits for before its turn. Once late targets take all places of its own level, only their
/// return makes room.
fn what_it_waits_for(away: &[Away<'_>], turns: &Turns, level: usize) -> (Reason, String) {
    let over = || away.iter().filter(|away| away.is_over);
    let late = || over().filter(|away| away.has_had_turn && away.level == level);
    let is_full = turns.at_once().is_some_and(|most| late().count() >= most);
    let blocks = over().find(|away| away.level < level).or_else(|| late().next().filter(|_| is_full));
    match (blocks, away.first()) {
        (Some(over), _) => {
            let why =
                format!("it is not its turn before another object is back, and that is not: {}", over.why);
            (Reason::LevelNotHealthy, why)
        }
        (None, Some(first)) => (Reason::WaitsForTurn, format!("it waits for another object: {}", first.why)),
        (None, None) => (Reason::WaitsForTurn, "others of the step come first".to_owned()),
    }
}
