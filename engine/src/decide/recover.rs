//! The staged way back: first one object, then waves, each healthy before the next.
//!
//! # Flow
//! Steps newest first. Within a step one object goes back, then `maxAtOnce` at a
//! time. A wave is done when its objects have rolled out and are healthy; then
//! the bare rules are watched for `between`. A rule that holds again, or a wave
//! that does not get healthy, is a relapse (see `relapse`).
//!
//! # Guarantees
//! Many emergency changes are the reason why the signal looks well again, so no
//! more than one wave is ever put back before its effect was seen. An object that
//! cannot be put back holds up nothing but itself, and neither does an
//! autoscaler that still needs its higher limit.

use jiff::Timestamp;

use super::Round;
use super::climb::{RELIST_BUSY, RELIST_IDLE};
use crate::change::{Again, Change, ChangeState};
use crate::facts::{Demand, Look, LookResult};
use crate::id::ChangeId;
use crate::incident::{Because, Closing, Held, RuleStatus, Withdrawal};
use crate::period::after;
use crate::phase::AWAITING_WITHDRAWAL;
use crate::policy::Revert;
use crate::rules::{Action, Step};
use crate::value::whole;
use crate::verdict::Verdict;

/// How far a withdrawal in waves has come in this round.
pub(super) enum Progress {
    /// Nothing is left that goes back by itself.
    Done,
    /// It goes on when something moves or at the next wake-up.
    Waits,
    /// It was taken back.
    Relapsed,
}

/// Where the present wave stands.
enum Wave {
    /// Not all of it is back, healthy and watched.
    Waits,
    /// The next one may begin.
    Done,
    /// It must be taken back: why.
    Relapsed(String),
}

impl Round<'_> {
    /// Everything back in waves, then closed; or all but what only a person puts back.
    pub(super) fn recover(&mut self, due: Timestamp) {
        let back: Vec<Step> = self.steps_that_go_back(|_| true);
        let left = self.waits_for_a_person();
        if left && back.is_empty() && self.next.withdrawal.is_none() {
            return self.await_withdrawal();
        }
        match self.take_back(Because::Recovered, &back, due) {
            Progress::Waits => self.next.quiet_until = None,
            Progress::Relapsed => self.go_on_after_relapse(),
            Progress::Done if left => {
                self.next.withdrawal = None;
                self.await_withdrawal();
            }
            Progress::Done => {
                self.next.withdrawal = None;
                self.withdraw(Closing::Recovered);
            }
        }
    }

    /// Begun steps whose changes go back by themselves and of which some are still there, newest first.
    pub(super) fn steps_that_go_back(&self, wanted: impl Fn(&Step) -> bool) -> Vec<Step> {
        let is_there =
            |step: &Step| self.next.changes_of(&step.name).any(|change| change.state.is_outstanding());
        let mut steps: Vec<Step> = self
            .begun()
            .into_iter()
            .filter(|step| step.revert == Revert::OnRecovery && is_there(step) && wanted(step))
            .collect();
        steps.reverse();
        steps.sort_by_key(|step| std::cmp::Reverse(self.next.step(&step.name).and_then(|s| s.started_at)));
        steps
    }

    /// Whether changes are in force that go back only when a person says so.
    fn waits_for_a_person(&self) -> bool {
        self.begun().iter().any(|step| {
            step.revert == Revert::OnRequest
                && self.next.changes_of(&step.name).any(|change| change.state.is_outstanding())
        })
    }

    fn await_withdrawal(&mut self) {
        let message = format!(
            "no rule holds, and what is left goes back only on request: put it back with `{}`",
            self.facts.incident.withdraw_command()
        );
        self.next.held = Some(Held::new(AWAITING_WITHDRAWAL, &message, false));
        self.watch_steps();
        self.next.held = self.lost_pod().or_else(|| self.next.held.take());
    }

    /// One step further with these steps, newest first. `due` is since when they could go back.
    pub(super) fn take_back(&mut self, because: Because, steps: &[Step], due: Timestamp) -> Progress {
        self.begin_withdrawal(because);
        self.next.held = None;
        self.retry_what_is_stuck(steps);
        if self.has_wave() {
            match self.tend_wave() {
                Wave::Waits => {
                    self.next.held = self.lost_pod_on_the_way_back();
                    return Progress::Waits;
                }
                Wave::Relapsed(why) => {
                    self.relapse(&why);
                    return Progress::Relapsed;
                }
                Wave::Done => self.end_wave(),
            }
        }
        if self.begin_next_wave(steps, due) {
            // Its first writes belong into this round; it cannot be over in it.
            let _ = self.tend_wave();
            return Progress::Waits;
        }
        let outstanding = steps
            .iter()
            .any(|step| self.next.changes_of(&step.name).any(|change| change.state.is_outstanding()));
        if !outstanding {
            return Progress::Done;
        }
        if self.next.held.is_none() {
            self.say_what_is_outstanding();
        }
        Progress::Waits
    }

    fn begin_withdrawal(&mut self, because: Because) {
        if self.next.withdrawal.as_ref().is_some_and(|withdrawal| withdrawal.because == because) {
            return;
        }
        if self.next.withdrawal.is_none() {
            let text = match because {
                Because::Recovered => "no rule has held for recovery.for: everything is put back, in waves",
                Because::SeverityFell => {
                    "the severity has been lower for recovery.for: steps that are not for it are put back, in waves"
                }
            };
            self.happen("WithdrawalStarted", text);
        }
        let old = self.next.withdrawal.take();
        self.next.withdrawal = Some(match old {
            Some(old) => Withdrawal { because, ..old },
            None => Withdrawal { because, step: None, waves: 0, wave: Vec::new(), healthy_at: None },
        });
    }

    fn has_wave(&self) -> bool {
        self.next.withdrawal.as_ref().is_some_and(|withdrawal| !withdrawal.wave.is_empty())
    }

    fn end_wave(&mut self) {
        let wave = self.wave();
        let is_back = |change: &Change| change.state == ChangeState::Reverted && wave.contains(&change.id);
        let anything_is_back = self.next.changes.iter().any(is_back);
        if let Some(withdrawal) = &mut self.next.withdrawal {
            if !anything_is_back {
                // It has shown nothing, so the next one is no larger.
                withdrawal.waves = withdrawal.waves.saturating_sub(1);
            }
            withdrawal.wave.clear();
            withdrawal.healthy_at = None;
        }
    }

    fn wave(&self) -> Vec<ChangeId> {
        self.next.withdrawal.as_ref().map(|withdrawal| withdrawal.wave.clone()).unwrap_or_default()
    }

    /// What could not be put back in its wave is tried again, and nothing waits for it.
    fn retry_what_is_stuck(&mut self, steps: &[Step]) {
        let wave = self.wave();
        for index in 0..self.next.changes.len() {
            let change = &self.next.changes[index];
            let of_steps = steps.iter().any(|step| step.name == change.step);
            let is_left = change.state == ChangeState::Reverting || is_stuck(change);
            if of_steps && is_left && change.state.is_in_force() && !wave.contains(&change.id) {
                self.give_back_at(index);
            }
        }
    }

    fn tend_wave(&mut self) -> Wave {
        let wave = self.wave();
        let of_wave = self.next.changes.iter().find(|change| wave.contains(&change.id));
        let Some(step) = of_wave.and_then(|change| self.step(&change.step)).cloned() else {
            return Wave::Done;
        };
        if let Some(why) = self.needed_again(&step) {
            return Wave::Relapsed(why);
        }
        for index in 0..self.next.changes.len() {
            let change = &self.next.changes[index];
            if wave.contains(&change.id) && change.state.is_in_force() {
                self.give_back_at(index);
            }
        }
        let changes: Vec<Change> =
            self.next.changes.iter().filter(|change| wave.contains(&change.id)).cloned().collect();
        if changes.iter().any(|change| change.state.is_outstanding() && !is_stuck(change)) {
            return Wave::Waits;
        }
        let back: Vec<&Change> =
            changes.iter().filter(|change| change.state == ChangeState::Reverted).collect();
        let healthy_at = self.next.withdrawal.as_ref().and_then(|withdrawal| withdrawal.healthy_at);
        let healthy_at = match healthy_at {
            Some(at) => at,
            None => {
                let health = self.wave_health(&step, &back);
                self.tend_pods(&step);
                match health {
                    Ok(()) => self.wave_is_healthy(&step, back.len()),
                    Err(why) => return self.wave_is_not_healthy(&step, &back, why),
                }
            }
        };
        self.watch_rules(&step, healthy_at)
    }

    /// Whether these objects have rolled out and are healthy. Without a listing in this round nothing is known.
    fn wave_health(&mut self, step: &Step, back: &[&Change]) -> Result<(), Option<String>> {
        let returned = back.iter().filter_map(|change| change.returned_at).max();
        if !self.is_listing_newer(&step.name, returned) {
            return Err(None);
        }
        if self.looked(Look::Step(step.name.clone())).is_none() {
            return Err(None);
        }
        for change in back {
            let found = match self.listed(&step.name, &change.target.uid) {
                Some(target) => Some((target.rollout.clone(), target.healthy)),
                None => match self.look_at(&change.target) {
                    None => return Err(None),
                    Some(LookResult::Found(target)) => Some((target.rollout.clone(), target.healthy)),
                    Some(LookResult::Gone) => None,
                    Some(LookResult::Refused { why } | LookResult::Failed { why }) => {
                        return Err(Some(format!("{} cannot be read: {why}", change.target)));
                    }
                    Some(LookResult::Listed(_) | LookResult::Holder(_)) => None,
                },
            };
            match found {
                None | Some(((Verdict::True, _), Verdict::True)) => {}
                Some(((Verdict::True, _), _)) => {
                    return Err(Some(format!("{} is not healthy", change.target)));
                }
                Some(((_, why), _)) => return Err(Some(format!("{}: {why}", change.target))),
            }
        }
        Ok(())
    }

    fn wave_is_healthy(&mut self, step: &Step, number: usize) -> Timestamp {
        let now = self.now;
        if let Some(withdrawal) = &mut self.next.withdrawal {
            withdrawal.healthy_at = Some(now);
        }
        let left = self.next.changes_of(&step.name).filter(|change| change.state.is_outstanding()).count();
        let text = format!("step {}: {number} object(s) are back and healthy, {left} to go", step.name);
        if number > 0 {
            self.happen("WaveReturned", &text);
        }
        now
    }

    /// `why` is none while it was not looked at.
    fn wave_is_not_healthy(&mut self, step: &Step, back: &[&Change], why: Option<String>) -> Wave {
        let patience = step.verify.as_ref().map_or(step.timeout, |verify| verify.within.max(step.timeout));
        let Some(returned) = back.iter().filter_map(|change| change.returned_at).max() else {
            return Wave::Done; // everything of it is somebody else's
        };
        let due = after(returned, patience);
        match why {
            Some(why) if due <= self.now => {
                return Wave::Relapsed(format!("step {}: put back and not healthy: {why}", step.name));
            }
            Some(why) => {
                self.pending(&step.name, "WaveNotHealthy", &format!("waits for what went back: {why}"));
            }
            None => {}
        }
        self.wake_in(RELIST_BUSY);
        self.wake(Some(due).filter(|due| *due > self.now));
        Wave::Waits
    }

    /// The rules are watched for `between`, without their `for`.
    fn watch_rules(&mut self, step: &Step, healthy_at: Timestamp) -> Wave {
        if let Some(rule) = self.rule_against(step, |rule| rule.truth == Verdict::True) {
            return Wave::Relapsed(rule);
        }
        let between = self.rules.map_or(step.timeout, |rules| rules.recovery.between);
        let due = after(healthy_at, between);
        if due > self.now {
            self.wake(Some(due));
            return Wave::Waits;
        }
        // What is not known neither ends the watch nor makes a relapse.
        match self.rule_against(step, |rule| rule.truth != Verdict::False) {
            Some(_) => Wave::Waits,
            None => Wave::Done,
        }
    }

    /// Why what goes back is needed after all, however far its wave has come.
    fn needed_again(&self, step: &Step) -> Option<String> {
        let fell = self.next.withdrawal.as_ref().is_some_and(|w| w.because == Because::SeverityFell);
        if let Some(level) = self.next.severity.filter(|level| fell && step.is_for(*level)) {
            return Some(format!("the severity is {level} again"));
        }
        self.rule_against(step, |rule| rule.holds)
    }

    /// A rule of this kind that speaks against putting the step back: after a fall of severity only
    /// one of a level that the step is for.
    fn rule_against(&self, step: &Step, speaks: impl Fn(&RuleStatus) -> bool) -> Option<String> {
        let fell = self.next.withdrawal.as_ref().is_some_and(|w| w.because == Because::SeverityFell);
        let counts = |rule: &&RuleStatus| !fell || step.is_for(rule.level);
        let rule = self.assessment.rules.iter().filter(counts).find(|rule| speaks(rule))?;
        Some(format!("rule {} holds again ({})", rule.reason, rule.evidence))
    }

    /// Chooses what goes back next. Whether there is anything.
    fn begin_next_wave(&mut self, steps: &[Step], due: Timestamp) -> bool {
        for step in steps {
            let mut candidates: Vec<ChangeId> = self
                .next
                .changes_of(&step.name)
                .filter(|change| matches!(change.state, ChangeState::Applied | ChangeState::Verified))
                .filter(|change| !is_stuck(change))
                .map(|change| change.id.clone())
                .collect();
            if matches!(step.action, Action::RaiseAutoscalerLimit { .. }) && !candidates.is_empty() {
                candidates = self.wanted_no_more(step, candidates, due);
            }
            if candidates.is_empty() {
                continue;
            }
            let retired = self.retired_of(step).filter(|retired| candidates.contains(retired));
            let same = self.next.withdrawal.as_ref().filter(|w| w.step.as_ref() == Some(&step.name));
            let waves = same.map_or(0, |withdrawal| withdrawal.waves);
            let most = self.rules.map_or(1, |rules| rules.recovery.max_at_once);
            let (wave, waves) = match retired {
                Some(retired) => (vec![retired], 0),
                None => {
                    candidates.truncate(if waves == 0 { 1 } else { most });
                    (candidates, waves.saturating_add(1))
                }
            };
            for change in self.next.changes.iter_mut().filter(|change| wave.contains(&change.id)) {
                change.again = Again::Possible;
            }
            if let Some(withdrawal) = &mut self.next.withdrawal {
                withdrawal.step = Some(step.name.clone());
                withdrawal.waves = waves;
                withdrawal.wave = wave;
                withdrawal.healthy_at = None;
            }
            return true;
        }
        false
    }

    /// Those whose autoscaler wants no more than it was allowed before. The others wait, and say so.
    fn wanted_no_more(&mut self, step: &Step, candidates: Vec<ChangeId>, due: Timestamp) -> Vec<ChangeId> {
        if !self.is_listing_due(&step.name, RELIST_IDLE) {
            self.keep_saying("AutoscalerStillNeedsIt");
            return Vec::new();
        }
        self.wake_in(RELIST_IDLE);
        if self.looked(Look::Step(step.name.clone())).is_none() {
            return Vec::new();
        }
        let mut wanted = Vec::new();
        let mut waits = None;
        for id in candidates {
            let Some(change) = self.next.changes.iter().find(|change| change.id == id) else { continue };
            let before = change.fields.iter().filter_map(|field| whole(field.before.as_ref()?)).max();
            let (before, target) = (before.unwrap_or(i64::MAX), change.target.clone());
            let demand =
                self.listed(&step.name, &target.uid).map_or(Demand::None, |target| target.demand.clone());
            match demand {
                Demand::None => wanted.push(id),
                Demand::Wants(number) if number <= before => wanted.push(id),
                Demand::Wants(number) => {
                    waits.get_or_insert(format!(
                        "{target}: the autoscaler wants {number} replicas, and {before} was its limit"
                    ));
                }
                Demand::Unknown(why) => {
                    waits.get_or_insert(format!("{target}: what the autoscaler wants is not known: {why}"));
                }
            }
        }
        if let Some(why) = waits {
            let late = after(due, step.timeout);
            if late > self.now {
                self.wake(Some(late));
            } else {
                let message = format!(
                    "{why}. It goes back by itself when the autoscaler wants no more than that, or now with `{}`",
                    self.facts.incident.withdraw_command()
                );
                self.next.held = Some(Held::new("AutoscalerStillNeedsIt", &message, false));
            }
            self.not_done(&step.name, None, "AutoscalerStillNeedsIt", &why);
        }
        wanted
    }

    /// What a listing showed is so until the next one.
    fn keep_saying(&mut self, reason: &str) {
        if self.next.held.is_none() {
            self.next.held = self.facts.state.held.clone().filter(|held| held.reason == reason);
        }
    }

    /// The change that retired the broken scheduler of this step.
    pub(super) fn retired_of(&self, step: &Step) -> Option<ChangeId> {
        let own = &self.facts.incident.namespace;
        let scheduler = step.action.retires()?;
        let is_it = |change: &&Change| scheduler.names(&change.target, own);
        self.next.changes_of(&step.name).find(is_it).map(|change| change.id.clone())
    }
}

/// Whether it could not be put back for now, so that nothing else waits for it.
pub(super) fn is_stuck(change: &Change) -> bool {
    matches!(change.reason.as_deref(), Some("CannotPutBack" | "CannotRead"))
}
