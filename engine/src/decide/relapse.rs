//! Detects a relapse: the emergency is not over.
//!
//! The last wave is applied again, in a new round and within the bounds of the first. The quiet time before
//! the next withdrawal doubles, and after `recovery.relapses` relapses a person must decide.

use jiff::SignedDuration;

use super::Deciding;
use super::course::Course;
use super::plans::Plans;
use crate::change::{Again, Change, ChangeState};
use crate::facts::Target;
use crate::id::ChangeId;
use crate::incident::{Because, Held, RuleStatus};
use crate::policy::Severity;
use crate::reason::Reason;
use crate::rules::{Rules, Step};
use crate::verdict::Verdict;

/// Why this is a relapse.
pub(super) enum Relapse {
    /// A rule is True again, so every reverted change may be needed.
    Rule(String),
    /// The reverted objects do not become healthy, so their change is needed.
    NotHealthy(String),
}

impl Deciding<'_> {
    /// The current wave is applied again. If a rule holds again, so are earlier reverted changes that their
    /// step still selects.
    pub(super) fn relapse(&mut self, relapse: &Relapse) {
        let wave = self.next.withdrawal.take().map(|withdrawal| withdrawal.wave).unwrap_or_default();
        let (by_rule, why) = match relapse {
            Relapse::Rule(why) => (true, why),
            Relapse::NotHealthy(why) => (false, why),
        };
        let before = self.made_before_wave(&wave);
        for change in self.next.changes.iter_mut().filter(|change| change.again() == Again::Possible) {
            let is_back = matches!(change.state, ChangeState::Reverted | ChangeState::Reverting);
            let again = match is_back {
                true if wave.contains(&change.id) => Again::Always,
                true if by_rule && before.contains(&change.id) => Again::Always,
                true if by_rule => Again::IfMatching,
                true => Again::Possible,
                false => Again::Never,
            };
            change.set_again(again);
        }
        self.count_relapse(why);
        self.await_no_rollouts();
    }

    /// What was changed before the targets of the wave, by its own steps or by others that the emergency needs as well:
    /// nothing moves away before what it leaves is out of the way.
    fn made_before_wave(&self, wave: &[ChangeId]) -> Vec<ChangeId> {
        let is_of_wave = |step: &&Step| self.next.changes_of(&step.name).any(|it| wave.contains(&it.id));
        let mut before = Vec::new();
        for step in self.begun().iter().filter(is_of_wave) {
            let made = self.made_before(step).into_iter();
            let made = made.filter(|change| {
                change.step == step.name
                    || self.step(&change.step).is_some_and(|other| self.is_needed_with(other, step))
            });
            before.extend(made.map(|change| change.id.clone()));
        }
        before
    }

    /// Whether the emergency that returned needs a step as well as the one that relapses. A rule that is True and does
    /// not hold yet may never enter its level, so it counts only for a step that was in force as long as the other.
    fn is_needed_with(&self, step: &Step, relapsing: &Step) -> bool {
        let as_long = self.was_listed_as_long(step, relapsing);
        if let Some(pinned) = self.facts.intent.pinned {
            return if relapsing.is_for(pinned) { step.is_for(pinned) } else { as_long };
        }
        let rules = self.assessment.rules.iter().filter(|rule| rule.holds || rule.truth == Verdict::True);
        let rules: Vec<&RuleStatus> = rules.collect();
        if !rules.iter().any(|rule| relapsing.is_for(rule.level)) {
            return as_long; // it is applied again whatever the level is
        }
        let level = rules.iter().filter(|rule| rule.holds).map(|rule| rule.level).min();
        let is_for_both = |rule: &&RuleStatus| step.is_for(rule.level) && relapsing.is_for(rule.level);
        level.is_some_and(|level| step.is_for(level)) || (as_long && rules.iter().any(is_for_both))
    }

    /// Whether a step listed the severity for as long as another one.
    fn was_listed_as_long(&self, step: &Step, other: &Step) -> bool {
        let until = |step: &Step| self.next.step(&step.name).and_then(|status| status.unlisted_since);
        match (until(step), until(other)) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(until), Some(other)) => until >= other,
        }
    }

    /// The emergency returned for steps that were reverted. They are applied again.
    pub(super) fn notice_rise(&mut self, level: Severity) {
        if self.next.withdrawal.as_ref().is_some_and(|withdrawal| withdrawal.because == Because::Recovered) {
            return;
        }
        let for_level: Vec<String> =
            self.begun().iter().filter(|step| step.is_for(level)).map(|step| step.name.clone()).collect();
        let may_return =
            |change: &Change| for_level.contains(&change.step) && change.again() == Again::Possible;
        let is_back = |change: &Change| {
            (change.state == ChangeState::Reverted || change.is_half_returned()) && may_return(change)
        };
        if !self.next.changes.iter().any(is_back) {
            return;
        }
        // A change whose revert is still in progress is included, or it would count as another relapse afterwards.
        let is_going =
            |change: &Change| matches!(change.state, ChangeState::Reverted | ChangeState::Reverting);
        for change in self.next.changes.iter_mut().filter(|change| may_return(change) && is_going(change)) {
            change.set_again(Again::IfMatching);
        }
        self.count_relapse("a rule holds again for steps that were reverted");
        self.await_no_rollouts();
    }

    /// What a relapse was to apply again, and could not until the emergency was over, is applied only if a rule holds again.
    pub(super) fn want_nothing_without_a_rule(&mut self, is_over: impl Fn(&Change) -> bool) {
        let is_wanted = |change: &&mut Change| {
            change.state == ChangeState::Reverted && change.again() == Again::Always && is_over(change)
        };
        self.next.changes.iter_mut().filter(is_wanted).for_each(|change| change.set_again(Again::IfMatching));
    }

    fn count_relapse(&mut self, why: &str) {
        self.next.relapses = self.next.relapses.saturating_add(1);
        self.next.relapsed_at = Some(self.now);
        let number = self.next.relapses;
        self.happen("Relapse", &format!("relapse {number}: {why}. The last wave is applied again"));
    }

    /// How long no rule may hold before the response is withdrawn. Defaults to 5m.
    pub(super) fn quiet_time(&self, rules: &Rules) -> SignedDuration {
        let doublings = u32::from(self.next.relapses.min(20));
        let length = rules.recovery.for_.saturating_mul(1 << doublings);
        length.min(SignedDuration::from_hours(24 * 365))
    }

    /// Whether there were too many relapses: nothing is reverted automatically any more.
    pub(super) fn relapses_are_used_up(&self) -> bool {
        self.next.relapses > 0
            && self.rules.is_some_and(|rules| self.next.relapses >= rules.recovery.relapses)
    }

    /// What a person must decide after the last relapse.
    pub(super) fn relapsed_too_often(&self) -> Option<Held> {
        if !self.relapses_are_used_up() {
            return None;
        }
        let number = self.next.relapses;
        let message = format!(
            "the response was withdrawn {number} time(s), and each time the emergency came back: the workload needs this \
             change. Fix the cause and revert everything with `{}`, or make the changes permanent with `{}`{}",
            self.facts.incident.withdraw_command(),
            self.facts.incident.command("keep"),
            self.not_applied_again()
        );
        Some(Held::new(Reason::Relapsed, &message))
    }

    /// What the last relapse did not apply again, because nobody has approved it over another value or the journal is full,
    /// to be added to a text.
    fn not_applied_again(&self) -> String {
        let is_one = |change: &&Change| {
            change.state == ChangeState::Reverted
                && matches!(change.reason, Some(Reason::PlanChanged | Reason::JournalFull))
        };
        let mut left = self.next.changes.iter().filter(is_one);
        let Some(first) = left.next() else { return String::new() };
        let why = first.message.as_deref().unwrap_or_default();
        format!(
            ". {} object(s) are not changed again; the first is {}: {why}",
            left.count() + 1,
            first.target
        )
    }

    /// The course after a relapse, in the same decision.
    pub(super) fn course_after_relapse(&mut self) -> Course {
        let held = self.rules.and_then(|rules| self.too_many_incidents(rules));
        match (self.next.severity, held) {
            (None, _) => {
                self.note_quiet_time();
                Course::Wait
            }
            (Some(_), Some(held)) => Course::Hold(held),
            (Some(_), None) => Course::Climb,
        }
    }

    /// What a relapse would apply again over another value than was approved is like any other object: it joins while a
    /// rule holds, and once its plan is approved.
    pub(super) fn ask_for_what_was_not_approved(&mut self, plans: &mut Plans) {
        for (change, _) in &mut plans.changes {
            let asks = change.approved().is_some() || self.must_be_asked_for(change);
            let Some(path) = change.beyond_approval().filter(|_| asks && change.again() == Again::Always)
            else {
                continue;
            };
            let why = format!("{path} has another value than when its plan was approved");
            change.set_again(Again::IfMatching);
            if let Some(known) = self.next.changes.iter_mut().find(|known| known.id == change.id) {
                known.set_again(Again::IfMatching);
                known.explain(Some((Reason::PlanChanged, why)));
            }
        }
        let joins = |change: &Change, target: &Target| {
            change.again() != Again::IfMatching || target.matched == Verdict::True
        };
        plans.changes.retain(|(change, target)| joins(change, target));
    }

    /// Whether anything of this step is still to be applied again.
    pub(super) fn is_wanted_again(&self, step: &Step) -> bool {
        let changes = self.next.changes_of(&step.name);
        changes.into_iter().any(|change| change.state == ChangeState::Reverted && change.comes_back())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;
    use crate::incident::Closing;

    fn after_relapses(number: u8) -> Fixture {
        Fixture::pinned().with(|facts| facts.state.relapses = number)
    }

    #[test]
    fn the_quiet_time_doubles_with_each_relapse_and_stays_bounded() {
        for (relapses, minutes) in [(0, 5), (1, 10), (2, 20), (3, 40), (255, 365 * 24 * 60)] {
            let given = after_relapses(relapses);
            let quiet = given.deciding().quiet_time(&given.rules);
            assert_eq!(quiet, SignedDuration::from_mins(minutes), "{relapses}");
        }
    }

    #[test]
    fn a_person_decides_after_the_last_relapse() {
        for (relapses, reason) in [(0, None), (1, None), (2, Some(Reason::Relapsed))] {
            let held = after_relapses(relapses).deciding().relapsed_too_often();
            assert_eq!(held.map(|held| held.reason), reason, "{relapses}");
        }
    }

    #[test]
    fn a_relapse_turns_to_a_course_that_no_withdrawal_is() {
        let quiet = Fixture::quiet();
        assert!(matches!(quiet.deciding().course_after_relapse(), Course::Wait));
        let pinned = Fixture::pinned();
        assert!(matches!(pinned.deciding().course_after_relapse(), Course::Climb));
        let none = Fixture::pinned().policy(|spec| {
            spec["guardrails"] = serde_json::json!({"maxIncidents": {"count": 1, "per": "1h"}});
        });
        // Only an earlier response counts, and there is none.
        assert!(matches!(none.deciding().course_after_relapse(), Course::Climb));
        assert!(!Course::Wait.permits().withdraws());
        assert!(Course::Withdraw(Closing::Recovered).permits().withdraws());
    }
}
