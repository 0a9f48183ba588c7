//! Whether a step helped, and what others have done to its targets in the meantime.

use super::Deciding;
use crate::change::{Change, ChangeState, cut};
use crate::effect::Act;
use crate::facts::{ListingRead, ObjectRead, Outcome, Reading, Target};
use crate::incident::Verification;
use crate::path::FieldPath;
use crate::reason::Reason;
use crate::rules::{Check, Step};
use crate::undo;
use crate::value::same;
use crate::verdict::Verdict;

/// What the checks of a step say.
pub(super) struct Answer {
    pub verdict: Verdict,
    /// For people: what keeps it from being True.
    pub missing: String,
    /// The objects that say nothing about the step.
    pub left_out: Vec<String>,
    /// Whether an Unknown verdict is an answer.
    pub asked: Asked,
}

/// Whether a check could be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    /// Yes.
    Answered,
    /// Not yet: what it reads was not read yet.
    NotYet,
}

impl Answer {
    pub(super) fn new(verdict: Verdict, missing: String) -> Self {
        Self { verdict, missing, left_out: Vec::new(), asked: Asked::Answered }
    }

    pub(super) fn passed() -> Self {
        Self::new(Verdict::True, String::new())
    }
}

impl Deciding<'_> {
    /// Evaluates the checks of a step whose targets were listed in this decision.
    pub(super) fn verify(&mut self, step: &Step) {
        if step.verify.is_none() {
            return;
        }
        // An object that joined later cannot undo a verification that did not include it, and neither can one that
        // was left out of it. The checks of signals are asked whatever the objects say. What is off loses it, too: it does
        // not show the contrary.
        let verified = self.those_of(step, Change::is_verified);
        if !verified.is_empty() {
            let counted: Vec<Change> = verified.into_iter().filter(Change::was_ever_healthy).collect();
            let still = self.ask_all(step, &counted);
            if still.verdict == Verdict::False {
                self.lose(step, Change::is_verified, &still.missing);
            }
        }
        let is_open = Change::is_under_way;
        let open = self.next.changes_of(&step.name).any(is_open);
        let in_force = self.those_of(step, Change::stands);
        if self.all_sit_out(&step.name) {
            return self.ask_without_objects(step);
        }
        if open || in_force.is_empty() {
            return;
        }
        let found = self.ask_all(step, &in_force);
        match (found.verdict, found.asked) {
            (Verdict::True, _) => self.verified(step, &found.left_out),
            _ if self.is_verified(&step.name) => {}
            // Once they had their time, they speak for those that are off, too.
            (Verdict::False, _) if self.judged_at(step).is_none_or(|due| due <= self.now) => {
                self.lose(step, |change| change.is_verified() && change.sits_out(), &found.missing);
            }
            (Verdict::False, _) => self.not_verified(step, Verdict::False, &found.missing),
            (Verdict::Unknown, Asked::Answered) => self.not_verified(step, Verdict::Unknown, &found.missing),
            (Verdict::Unknown, Asked::NotYet) => self.not_answered(step, &found.missing),
        }
    }

    /// No object of the step says anything about it. What was verified still counts until a signal speaks against it. What
    /// was lost does not come back without an object that shows it.
    fn ask_without_objects(&mut self, step: &Step) {
        let still = self.ask_all(step, &[]);
        match (still.verdict, self.is_verified(&step.name)) {
            (Verdict::False, true) => self.lose(step, Change::is_verified, &still.missing),
            (Verdict::False, false) => self.not_verified(step, Verdict::False, &still.missing),
            (Verdict::True | Verdict::Unknown, false) => self.forget_verification(step),
            (Verdict::True | Verdict::Unknown, true) => {}
        }
    }

    /// The targets of the step could not be listed in this decision, so its checks are not asked.
    pub(super) fn verify_unlisted(&mut self, step: &Step) {
        let is_judged = step.verify.is_some()
            && !self.is_verified(&step.name)
            && !self.those_of(step, Change::stands).is_empty();
        match self.facts.looked.listings.get(&step.name).filter(|_| is_judged) {
            Some(ListingRead::Failed { why }) => self.not_answered(step, why),
            Some(ListingRead::Refused { why }) => self.found(step, Verdict::Unknown, why),
            Some(ListingRead::Listed(_)) | None => {}
        }
    }

    fn those_of(&self, step: &Step, wanted: fn(&Change) -> bool) -> Vec<Change> {
        let counts = |change: &&Change| wanted(change) && !change.sits_out();
        self.next.changes_of(&step.name).filter(counts).cloned().collect()
    }

    /// Whether all checks pass, and what is missing. The check of rollouts asks these changes.
    fn ask_all(&self, step: &Step, changes: &[Change]) -> Answer {
        let checks = step.verify.iter().flat_map(|verify| &verify.checks);
        let answers: Vec<Answer> = checks.map(|check| self.ask(check, step, changes)).collect();
        let open = || answers.iter().filter(|answer| answer.verdict != Verdict::True);
        let missing: Vec<&str> = open().map(|answer| answer.missing.as_str()).collect();
        Answer {
            verdict: answers.iter().map(|answer| answer.verdict).min().unwrap_or(Verdict::True),
            missing: missing.join("; "),
            left_out: answers.iter().flat_map(|answer| answer.left_out.clone()).collect(),
            asked: open().map(|answer| answer.asked).min().unwrap_or(Asked::Answered),
        }
    }

    fn ask(&self, check: &Check, step: &Step, changes: &[Change]) -> Answer {
        match check {
            Check::Rollout => self.ask_rollout(step, changes),
            Check::Cel(condition) => {
                let found = condition.evaluate(&self.assessment.values);
                let why = found.why.unwrap_or_else(|| format!("{} is false", condition.source()));
                let mut readings = condition.reads().iter().map(|signal| self.facts.signals.get(signal));
                let asked = match readings.any(|reading| reading.is_none_or(Reading::is_not_read_yet)) {
                    true => Asked::NotYet,
                    false => Asked::Answered,
                };
                Answer { asked, ..Answer::new(found.verdict, why) }
            }
            Check::Unreadable(why) => Answer::new(Verdict::Unknown, why.clone()),
        }
    }

    fn verified(&mut self, step: &Step, left_out: &[String]) {
        if self.is_verified(&step.name) {
            return;
        }
        let now = self.now;
        let is_new = |change: &Change| change.stands() && !change.sits_out() && !change.is_verified();
        for change in self.next.own_changes_mut(&step.name).filter(|change| is_new(change)) {
            change.verified(now);
        }
        self.next.mitigated_at.get_or_insert(now);
        let status = self.step_status(&step.name);
        status.verified_at.get_or_insert(now);
        status.verification = None;
        let left_out = match left_out {
            [] => String::new(),
            names => format!(
                ". Left out, because they were not healthy before the step and are not now: {}",
                names.join(", ")
            ),
        };
        self.happen("StepVerified", &format!("step {} helped: all checks passed{left_out}", step.name));
    }

    /// A check is False, so the step no longer helps, and what was verified of these changes counts no more.
    fn lose(&mut self, step: &Step, is_lost: fn(&Change) -> bool, missing: &str) {
        let lost = self.next.own_changes_mut(&step.name).filter(|change| is_lost(change));
        if lost.map(Change::lose_verification).count() > 0 {
            self.happen("VerifyLost", &format!("step {}: {missing}", step.name));
        }
        self.not_verified(step, Verdict::False, missing);
    }

    /// The answer of the checks, which the step reports.
    fn not_verified(&mut self, step: &Step, verdict: Verdict, missing: &str) {
        self.found(step, verdict, missing);
        let status = self.step_status(&step.name);
        status.reason =
            Some(if verdict == Verdict::False { Reason::VerifyFailed } else { Reason::VerifyUnknown });
        status.message = Some(cut(missing, 1024));
    }

    fn found(&mut self, step: &Step, verdict: Verdict, missing: &str) {
        let message = Some(cut(missing, 512));
        self.step_status(&step.name).verification =
            Some(Verification { verdict: Some(verdict), message, unanswered_since: None });
    }

    /// The checks cannot be asked now. The last answer stands for a while.
    fn not_answered(&mut self, step: &Step, why: &str) {
        let now = self.now;
        let status = self.step_status(&step.name);
        let last = status.verification();
        status.verification = Some(Verification {
            message: Some(cut(why, 512)),
            unanswered_since: last.unanswered_since.or(Some(now)),
            ..last
        });
    }

    /// Nothing is known of the step.
    fn forget_verification(&mut self, step: &Step) {
        let status = self.step_status(&step.name);
        status.verification = None;
        if matches!(status.reason, Some(Reason::VerifyFailed | Reason::VerifyUnknown)) {
            (status.reason, status.message) = (None, None);
        }
    }

    /// Cedes fields that others have changed: their value is theirs at once.
    pub(super) fn notice_drift(&mut self, step: &Step) {
        for index in 0..self.next.changes.len() {
            let change = &self.next.changes[index];
            if change.step != step.name
                || !matches!(change.state, ChangeState::Applied | ChangeState::Verified)
                || self.is_in_flight(&change.target.uid)
            {
                continue;
            }
            let target = match self.listed(&step.name, &change.target.uid) {
                Some(target) => target.clone(),
                // An object that is not listed may only have labels that no longer match.
                None => match self.look_at(&self.next.changes[index].target.clone()) {
                    Some(ObjectRead::Found(target)) => (**target).clone(),
                    Some(ObjectRead::Gone) => {
                        self.happen("Ceded", &format!("{} is gone", self.next.changes[index].target));
                        self.next.changes[index].stand(
                            ChangeState::Ceded,
                            Reason::ObjectGone,
                            "the object was deleted",
                        );
                        continue;
                    }
                    Some(ObjectRead::Refused { .. } | ObjectRead::Failed { .. }) | None => continue,
                },
            };
            let mut change = self.next.changes[index].clone();
            if undo::record(&target.object).is_err() {
                continue; // whether it is ours still cannot be told; the way back says so
            }
            let is_lent = undo::loan(&target.object, &change.id, &self.facts.incident).is_some();
            if is_lent {
                self.is_stuck_no_more(step, &mut change);
            }
            if !is_lent || self.is_half_returned(&change, &target.object) {
                self.happen(
                    "RecordGone",
                    &format!("{} was reverted or taken over by someone else", change.target),
                );
                self.revert_from(&mut change, &target.object, &target.version);
            } else if undo::cede_changed(&target.object, change.fields_mut()) {
                let ceded: Vec<String> = change
                    .fields()
                    .iter()
                    .filter_map(|field| {
                        field.ceded_to.as_ref().map(|owner| format!("{} ({owner})", field.path))
                    })
                    .collect();
                self.happen(
                    "Ceded",
                    &format!(
                        "{}: someone else has changed the value, which stays: {}",
                        change.target,
                        ceded.join(", ")
                    ),
                );
            } else {
                self.amend(&mut change, &target);
            }
            self.next.changes[index] = change;
        }
    }

    /// Corrects the record where the server stored another value than was sent.
    fn amend(&mut self, change: &mut Change, target: &Target) {
        if let Some(Outcome::Refused { why, .. }) = self.answer(change, Act::Amend) {
            change.explain(Some((
                Reason::RecordNotCorrected,
                format!("the record cannot be corrected: {why}"),
            )));
        }
        let Some(loan) = undo::loan(&target.object, &change.id, &self.facts.incident) else { return };
        let says =
            |path: &FieldPath| loan.fields.iter().find(|f| f.path == *path).and_then(|f| f.after.as_ref());
        let is_right = change.fields().iter().all(|f| same(&f.path, says(&f.path), f.after.as_ref()));
        let is_refused = change.reason == Some(Reason::RecordNotCorrected);
        // Where annotations propagate to the pods, only this Incident knows what was stored.
        let restarts = target.slots.metadata_propagates;
        if is_right || is_refused || restarts || self.is_being_written(&change.target) {
            return;
        }
        if let Ok(patch) = undo::amend_patch(&target.object, change) {
            change.sending(target.version.clone(), self.now);
            self.effect(change, Act::Amend, patch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, NOW, at, live};
    use super::*;
    use crate::change::SitsOut;

    /// What stands of the change of `a`, and the reason of its step, once the checks were asked.
    fn verified(given: &Fixture) -> (ChangeState, Option<Reason>) {
        let step = given.rules.steps[0].clone();
        let mut deciding = given.deciding();
        deciding.verify(&step);
        (deciding.next.changes[0].state, deciding.next.step("one").unwrap().reason.clone())
    }

    fn rolled_out(name: &str, verdict: Verdict) -> Target {
        Target { rollout: (verdict, "it has not rolled out".to_owned()), ..live(name) }
    }

    #[test]
    fn all_targets_must_pass_and_what_is_not_known_does_not() {
        let given =
            |state| Fixture::pinned().change("one", "a", state).change("one", "b", ChangeState::Applied);
        let applied = || given(ChangeState::Applied);
        let both = |b| vec![rolled_out("a", Verdict::True), rolled_out("b", b)];
        assert_eq!(verified(&applied().listed("one", both(Verdict::True))), (ChangeState::Verified, None));
        for (verdict, reason) in
            [(Verdict::False, Reason::VerifyFailed), (Verdict::Unknown, Reason::VerifyUnknown)]
        {
            let found = verified(&applied().listed("one", both(verdict)));
            assert_eq!(found, (ChangeState::Applied, Some(reason)));
        }
        let one = verified(&applied().listed("one", vec![live("a")]));
        assert_eq!(one, (ChangeState::Applied, Some(Reason::VerifyUnknown)), "the other was not listed");
    }

    #[test]
    fn only_what_turns_false_loses_what_was_verified() {
        let verified_with = |verdict| {
            let given = Fixture::pinned().change("one", "a", ChangeState::Verified);
            verified(&given.listed("one", vec![rolled_out("a", verdict)])).0
        };
        let found = [Verdict::True, Verdict::Unknown, Verdict::False].map(verified_with);
        assert_eq!(found, [ChangeState::Verified, ChangeState::Verified, ChangeState::Applied]);
        // A joiner that has not rolled out takes nothing from the others.
        let joined = Fixture::pinned()
            .change("one", "a", ChangeState::Verified)
            .change("one", "b", ChangeState::Applied)
            .listed("one", vec![live("a"), rolled_out("b", Verdict::False)]);
        assert_eq!(verified(&joined).0, ChangeState::Verified);
    }

    #[test]
    fn a_step_is_not_verified_while_a_change_of_it_is_under_way() {
        let open = Fixture::pinned()
            .change("one", "a", ChangeState::Applied)
            .change("one", "b", ChangeState::Intended)
            .listed("one", vec![live("a"), live("b")]);
        assert_eq!(verified(&open), (ChangeState::Applied, None));
    }

    #[test]
    fn a_list_that_fails_leaves_the_last_answer_and_one_that_is_refused_does_not() {
        let said = |read: Option<ListingRead>, unanswered: Option<i64>| {
            let given = Fixture::pinned().change("one", "a", ChangeState::Applied).with(|facts| {
                facts.state.steps[0].verification = Some(Verification {
                    verdict: Some(Verdict::False),
                    message: None,
                    unanswered_since: unanswered.map(at),
                });
                facts.looked.listings.extend(read.map(|read| ("one".to_owned(), read)));
            });
            let step = given.rules.steps[0].clone();
            let mut deciding = given.deciding();
            deciding.verify_unlisted(&step);
            let found = deciding.next.step("one").unwrap().verification.clone().unwrap();
            (found.verdict, found.unanswered_since, found.message)
        };
        let why = || Some("503".to_owned());
        let failed = || Some(ListingRead::Failed { why: "503".to_owned() });
        let refused = || Some(ListingRead::Refused { why: "503".to_owned() });
        assert_eq!(said(failed(), None), (Some(Verdict::False), Some(at(NOW)), why()));
        assert_eq!(said(failed(), Some(900)), (Some(Verdict::False), Some(at(900)), why()));
        assert_eq!(said(refused(), None), (Some(Verdict::Unknown), None, why()));
        assert_eq!(said(None, None), (Some(Verdict::False), None, None));
    }

    #[test]
    fn a_step_of_which_every_object_is_off_forgets_what_its_checks_said() {
        let given = Fixture::pinned()
            .change_with("one", "a", ChangeState::Applied, |change| {
                change.sit_out(SitsOut::new(Reason::Idle, "it is parked"));
            })
            .with(|facts| {
                let step = &mut facts.state.steps[0];
                step.reason = Some(Reason::VerifyFailed);
                step.verification =
                    Some(Verification { verdict: Some(Verdict::False), ..Verification::default() });
            })
            .listed("one", vec![live("a")]);
        assert_eq!(verified(&given), (ChangeState::Applied, None));
    }
}
