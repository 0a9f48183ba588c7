//! One wave of a withdrawal: what to revert now, whether it is healthy, and whether it may stay reverted.

use jiff::Timestamp;

use super::Deciding;
use super::held::Findings;
use super::recover::is_stuck;
use super::relapse::Relapse;
use super::wave_health::{Judged, WaveHealth};
use crate::action::Autoscalers;
use crate::change::{Again, Change, ChangeState, Evidence};
use crate::facts::{Stage, is_due};
use crate::id::ChangeId;
use crate::incident::{Because, Held, RuleStatus};
use crate::period::after;
use crate::reason::Reason;
use crate::rules::Step;
use crate::verdict::Verdict;

/// The state of the present wave.
pub(super) enum Wave {
    /// Not all of it is reverted, healthy and watched yet; with what holds it, if a person must know.
    Waits(Option<Held>),
    /// The next one may start.
    Done,
    /// It must be applied again.
    Relapsed(Relapse),
}

/// Whether another wave starts.
pub(super) enum NextWave {
    /// It has started.
    Begun,
    /// Nothing may be reverted now.
    Nothing,
}

/// The changes that may be in the next wave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Candidates {
    /// One whose template is back, and whose pace could not be reverted before. A rollout must not keep the pace of the
    /// emergency for the waves of others.
    HalfReturned,
    /// Changes that nothing has blocked yet.
    Fresh,
    /// One that could not be reverted before and is to be retried.
    Stuck,
}

impl Deciding<'_> {
    pub(super) fn has_wave(&self) -> bool {
        self.next.withdrawal.as_ref().is_some_and(|withdrawal| !withdrawal.wave.is_empty())
    }

    pub(super) fn end_wave(&mut self) {
        let wave = self.wave();
        let is_back = |change: &Change| change.state == ChangeState::Reverted && wave.contains(&change.id);
        let anything_is_back = self.next.changes.iter().any(is_back);
        if let Some(withdrawal) = &mut self.next.withdrawal {
            if !anything_is_back {
                // It has proved nothing, so the next one is no larger.
                withdrawal.waves = withdrawal.waves.saturating_sub(1);
            }
            withdrawal.wave.clear();
            withdrawal.healthy_at = None;
        }
    }

    /// Whether this wave has shown that the rest of the step may follow, or nothing that is left could show it.
    fn has_shown_enough(&self, step: &Step, back: &[&Change], health: &WaveHealth) -> bool {
        let has_shown =
            matches!(health, WaveHealth::Healthy) && back.iter().any(|change| self.shows(step, change));
        let could_show = |change: &Change| change.is_in_force() && self.shows(step, change);
        has_shown || !self.next.changes_of(&step.name).any(could_show)
    }

    pub(super) fn wave(&self) -> Vec<ChangeId> {
        self.next.withdrawal.as_ref().map(|withdrawal| withdrawal.wave.clone()).unwrap_or_default()
    }

    fn of_wave(&self) -> Vec<Change> {
        let wave = self.wave();
        self.next.changes.iter().filter(|change| wave.contains(&change.id)).cloned().collect()
    }

    pub(super) fn tend_wave(&mut self) -> Wave {
        let of_wave = self.of_wave();
        let Some(step) = of_wave.first().and_then(|change| self.step(&change.step)).cloned() else {
            return Wave::Done;
        };
        if let Some(why) = self.needed_again(&step) {
            return Wave::Relapsed(Relapse::Rule(why));
        }
        let wave = self.wave();
        for index in 0..self.next.changes.len() {
            let change = &self.next.changes[index];
            if wave.contains(&change.id) && change.is_in_force() {
                self.revert_at(index);
            }
        }
        self.leave_what_is_stuck();
        let of_wave = self.of_wave();
        if of_wave.iter().any(|change| change.is_outstanding()) {
            self.say_what_rolls_out(&step, &of_wave);
            return Wave::Waits(None);
        }
        let is_back = |change: &&Change| change.state == ChangeState::Reverted;
        let back: Vec<&Change> = of_wave.iter().filter(is_back).collect();
        if back.is_empty() {
            return Wave::Done; // all of it is somebody else's, gone, or left for later
        }
        let healthy_at = self.next.withdrawal.as_ref().and_then(|withdrawal| withdrawal.healthy_at);
        let healthy_at = match healthy_at {
            Some(at) => at,
            None => {
                let health = self.wave_health(&step, &back);
                self.tend_pods(&step);
                let of_wave = self.of_wave(); // with what was seen of them just now
                let back: Vec<&Change> = of_wave.iter().filter(is_back).collect();
                match self.judge_wave(&step, &back, &health) {
                    Judged::Over => self.wave_is_over(&step, &back, &health),
                    Judged::Open(wave) => return wave,
                }
            }
        };
        self.watch_rules(&step, healthy_at)
    }

    /// Reports on the step which returned template has still to roll out.
    fn say_what_rolls_out(&mut self, step: &Step, of_wave: &[Change]) {
        let waits = |change: &&Change| change.reason == Some(Reason::WaitsForRollout);
        if let Some(change) = of_wave.iter().find(waits) {
            let text = format!("{}: {}", change.target, change.message.clone().unwrap_or_default());
            return self.pending(&step.name, Reason::WaitsForRollout, &text);
        }
        let status = self.step_status(&step.name);
        if status.reason == Some(Reason::WaitsForRollout) {
            (status.reason, status.message) = (None, None);
        }
    }

    /// A change that cannot be reverted now blocks nothing: it gets a wave of its own later.
    fn leave_what_is_stuck(&mut self) {
        let stuck: Vec<ChangeId> = self
            .next
            .changes
            .iter()
            .filter(|change| change.is_outstanding() && is_stuck(change))
            .map(|change| change.id.clone())
            .collect();
        if let Some(withdrawal) = &mut self.next.withdrawal {
            withdrawal.wave.retain(|id| !stuck.contains(id));
        }
    }

    fn wave_is_over(&mut self, step: &Step, back: &[&Change], health: &WaveHealth) -> Timestamp {
        let now = self.now;
        let counts = self.has_shown_enough(step, back, health);
        if let Some(withdrawal) = &mut self.next.withdrawal {
            withdrawal.healthy_at = Some(now);
            // What has shown nothing does not make the next one larger.
            withdrawal.waves = withdrawal.waves.saturating_sub(u16::from(!counts));
        }
        let text = self.told_of_wave(step, back);
        self.happen("WaveReturned", &text);
        now
    }

    /// For people: what is back, and whose health shows nothing.
    fn told_of_wave(&self, step: &Step, back: &[&Change]) -> String {
        let left = self.next.changes_of(&step.name).filter(|change| change.is_outstanding()).count();
        let (count, name) = (back.len(), &step.name);
        let never =
            |change: &&&Change| self.evidence_of(step, change) != Evidence::NeedsChange && !change.sits_out();
        let never: Vec<String> = back.iter().filter(never).map(|change| change.target.to_string()).collect();
        let out = back.iter().filter_map(|change| Some((change, change.why_it_sits_out()?)));
        let out: Vec<String> =
            out.map(|(change, why)| format!("{} ({})", change.target, why.message)).collect();
        let healthy = if never.is_empty() && out.is_empty() { " and healthy" } else { "" };
        let mut text = format!("step {name}: {count} object(s) are reverted{healthy}, {left} to go");
        if !never.is_empty() {
            let names = never.join(", ");
            text += &format!(
                ". Not healthy when they were reverted, so that their health does not show whether the change is needed: {names}"
            );
        }
        if !out.is_empty() {
            text +=
                &format!(". Off, gone or with their old pods, so that they show nothing: {}", out.join(", "));
        }
        text
    }

    /// The rules are watched for `between`, without their `for`.
    fn watch_rules(&mut self, step: &Step, healthy_at: Timestamp) -> Wave {
        if let Some(rule) = self.rule_against(step, |rule| rule.truth == Verdict::True) {
            return Wave::Relapsed(Relapse::Rule(rule));
        }
        if self.assessment.rules.is_empty() {
            let message = format!(
                "the policy has no rule left that could tell whether the reverted objects may stay as they are, so nothing \
                 more is reverted automatically. Restore the rules, or revert everything with `{}`",
                self.facts.incident.withdraw_command()
            );
            return Wave::Waits(Some(Held::new(Reason::NoRuleToWatch, &message)));
        }
        let between = self.rules.map_or(step.timeout, |rules| rules.recovery.between);
        let due = after(healthy_at, between);
        if due > self.now {
            self.wake(Some(due));
            return Wave::Waits(None);
        }
        // An Unknown rule neither ends the wait nor is a relapse.
        match self.rule_against(step, |rule| rule.truth != Verdict::False) {
            Some(_) => Wave::Waits(None),
            None => Wave::Done,
        }
    }

    fn severity_fell(&self) -> bool {
        self.next.withdrawal.as_ref().is_some_and(|w| w.because == Because::SeverityFell)
    }

    /// Why the wave is needed after all, at any stage.
    fn needed_again(&self, step: &Step) -> Option<String> {
        if let Some(level) = self.next.severity.filter(|level| self.severity_fell() && step.is_for(*level)) {
            return Some(format!("the severity is {level} again"));
        }
        self.rule_against(step, |rule| rule.holds)
    }

    /// A rule with this truth that prevents the revert of the step: after a fall of severity only
    /// a rule of a level that the step lists, and none if a person has pinned the severity.
    fn rule_against(&self, step: &Step, speaks: impl Fn(&RuleStatus) -> bool) -> Option<String> {
        let fell = self.severity_fell();
        if fell && self.facts.intent.pinned.is_some() {
            return None;
        }
        let counts = |rule: &&RuleStatus| !fell || step.is_for(rule.level);
        let rule = self.assessment.rules.iter().filter(counts).find(|rule| speaks(rule))?;
        Some(format!("rule {} holds again ({})", rule.reason, rule.evidence))
    }

    /// Chooses what is reverted next, and returns what holds the rest.
    pub(super) fn begin_next_wave(&mut self, steps: &[Step], due: Timestamp) -> (NextWave, Findings) {
        let mut findings = Findings::default();
        for which in [Candidates::HalfReturned, Candidates::Fresh, Candidates::Stuck] {
            for step in steps {
                let (candidates, held) = self.candidates(step, which, due);
                findings.add(held);
                if !candidates.is_empty() {
                    self.begin_wave(step, which, candidates);
                    return (NextWave::Begun, findings);
                }
            }
        }
        (NextWave::Nothing, findings)
    }

    /// The changes of this step that may be reverted now, and what holds the rest.
    fn candidates(
        &mut self,
        step: &Step,
        which: Candidates,
        due: Timestamp,
    ) -> (Vec<ChangeId>, Option<Held>) {
        let is_open = |change: &&Change| {
            change.is_in_force() && change.returned_at().is_none() && !is_beside_waves(change)
        };
        let is_meant = |change: &&Change| {
            let kind = match change.is_half_returned() && is_due(change.retry_at, self.now) {
                true => Candidates::HalfReturned,
                false if is_stuck(change) => Candidates::Stuck,
                false => Candidates::Fresh,
            };
            kind == which
        };
        let mut candidates: Vec<Change> =
            self.next.changes_of(&step.name).filter(is_open).filter(is_meant).cloned().collect();
        if let Some(before) = self.made_before(step).into_iter().find(|before| before.is_outstanding()) {
            // No pod returns to a scheduler that is not available yet.
            candidates.retain(|change| change.id == before.id);
        }
        let retry = candidates.iter().filter_map(|change| change.retry_at).min();
        if which == Candidates::Stuck {
            candidates.retain(|change| is_due(change.retry_at, self.now));
            if candidates.is_empty() {
                self.wake(retry);
            }
        }
        let candidates = candidates.into_iter().map(|change| change.id).collect::<Vec<_>>();
        match step.action.descriptor().autoscalers {
            Autoscalers::Demand if !candidates.is_empty() => self.wanted_no_more(step, candidates, due),
            Autoscalers::Demand | Autoscalers::Owners | Autoscalers::Ignored => (candidates, None),
        }
    }

    fn begin_wave(&mut self, step: &Step, which: Candidates, mut candidates: Vec<ChangeId>) {
        // First what shows most: its health tells whether the others may follow. Last what shows nothing.
        let worth = |id: &ChangeId| {
            let change = self.next.changes.iter().find(|change| change.id == *id);
            change.map(|change| (change.sits_out(), self.evidence_of(step, change)))
        };
        candidates.sort_by_key(worth);
        let is_before = |change: &&Change| self.stage_of(step, change) != Stage::Targets;
        let before = self.next.changes_of(&step.name).filter(is_before).map(|change| change.id.clone());
        let before = before.into_iter().find(|before| candidates.contains(before));
        let same = self.next.withdrawal.as_ref().filter(|w| w.step.as_ref() == Some(&step.name));
        let waves = same.map_or(0, |withdrawal| withdrawal.waves);
        let most = self.rules.map_or(1, |rules| rules.recovery.max_at_once);
        let (wave, waves) = match before {
            Some(before) => (vec![before], 0),
            None => {
                let alone = waves == 0 || which != Candidates::Fresh;
                candidates.truncate(if alone { 1 } else { most });
                (candidates, waves.saturating_add(1))
            }
        };
        for change in self.next.changes.iter_mut().filter(|change| wave.contains(&change.id)) {
            change.set_again(Again::Possible);
            // It is retried, so it is not stuck until it fails again.
            if is_stuck(change) {
                change.explain(None);
            }
        }
        if let Some(withdrawal) = &mut self.next.withdrawal {
            withdrawal.step = Some(step.name.clone());
            withdrawal.waves = waves;
            withdrawal.wave = wave;
            withdrawal.healthy_at = None;
        }
    }
}

/// Whether a change goes back outside of the waves: its step has failed, or a person undoes it by hand.
pub(super) fn is_beside_waves(change: &Change) -> bool {
    match change.again() {
        Again::AfterPause => true,
        Again::Never => change.state == ChangeState::Reverting,
        Again::Possible | Again::IfMatching | Again::Always => false,
    }
}

#[cfg(test)]
#[path = "wave_tests.rs"]
mod tests;
