//! When the time of a started step to help is over, and what is known of the step then.

use jiff::{SignedDuration, Timestamp};

use super::Deciding;
use super::settle::last_applied;
use crate::change::{Change, ChangeState};
use crate::incident::{Held, StepStatus};
use crate::period::after;
use crate::policy::OnFailure;
use crate::reason::Reason;
use crate::rules::Step;
use crate::severity::UNKNOWN_GRACE;
use crate::verdict::Verdict;

/// How long the last answer of the checks of a step stands while they cannot be asked.
const UNANSWERED: SignedDuration = UNKNOWN_GRACE;

/// What is known of a step that is not verified.
pub(super) enum Known {
    /// A check is False, or pods keep the change from taking effect.
    Fails,
    /// Its checks were not evaluated yet.
    NotAsked,
    /// Its checks cannot be asked at the moment.
    Asks,
    /// No check is False, and not all are True.
    Nothing(Held),
}

impl Deciding<'_> {
    /// What a person must know of a step that cannot go on by itself; none if it can.
    pub(super) fn trouble_of(&self, step: &str) -> Option<&'static str> {
        let any = |state| self.next.changes_of(step).any(|change: &Change| change.state == state);
        let passes_over = self.step(step).is_some_and(|step| step.on_failure == OnFailure::Continue);
        match () {
            () if any(ChangeState::Failed) && !passes_over => Some("has failed on an object"),
            () if any(ChangeState::Held) => Some("may have changed an object: the outcome is not known"),
            () => None,
        }
    }

    /// Nothing new starts: a step that waited for an earlier one says what became of that.
    pub(super) fn say_who_waits(&mut self) {
        let trouble = |step: &Step| Some(format!("step {} {}", step.name, self.trouble_of(&step.name)?));
        let Some(why) = self.begun().iter().find_map(trouble) else { return };
        let waits = |status: &&StepStatus| status.reason == Some(Reason::WaitsForEarlierStep);
        let waiting: Vec<String> =
            self.next.steps.iter().filter(waits).map(|status| status.name.clone()).collect();
        for step in waiting {
            self.pending(&step, Reason::WaitsForEarlierStep, &why);
        }
    }

    /// The step that started last of those with changes that stand and say something.
    pub(super) fn newest_that_stands(&self) -> Option<String> {
        let says_something = |step: &Step| {
            self.next.changes_of(&step.name).any(|change| change.stands() && !change.sits_out())
        };
        let started_at = |step: &Step| self.next.step(&step.name).and_then(|status| status.started_at);
        let standing = self.begun().into_iter().filter(says_something);
        standing.max_by_key(started_at).map(|step| step.name)
    }

    /// Whether all changes of the step that stand sit out.
    pub(super) fn all_sit_out(&self, step: &str) -> bool {
        let mut standing = self.next.changes_of(step).filter(|change| change.stands()).peekable();
        standing.peek().is_some() && standing.all(Change::sits_out)
    }

    /// When the time of a started step to help is over. After a verification was lost, only objects that have joined
    /// since have any.
    pub(super) fn judged_at(&self, step: &Step) -> Option<Timestamp> {
        let changes = || self.next.changes_of(&step.name).filter(|change| !change.sits_out());
        let is_lost = |change: &&Change| change.state == ChangeState::Applied && change.was_verified();
        let is_new = |change: &&Change| change.state == ChangeState::Applied && !change.was_verified();
        let begun = match changes().any(|change| is_lost(&change)) {
            true => last_applied(changes().filter(is_new)),
            false => last_applied(changes())
                .or_else(|| self.next.step(&step.name).and_then(|status| status.started_at)),
        };
        let patience = step.verify.as_ref().map_or(step.settle, |verify| verify.within);
        begun.map(|begun| after(begun, patience))
    }

    /// Whether the time of the step has run out since its targets were last listed: it is judged by what they are now.
    pub(super) fn is_over_since_last_listing(&self, step: &Step) -> bool {
        let age = self.facts.listing_age.get(&step.name);
        let listed_at = age.map(|age| after(self.now, -*age));
        let due = self.judged_at(step).filter(|due| step.verify.is_some() && *due <= self.now);
        listed_at.zip(due).is_some_and(|(listed_at, due)| listed_at < due) && !self.is_verified(&step.name)
    }

    /// What is known of a step whose time to help is over. Not knowing is no reason for a harsher step; after a restart,
    /// nothing is known for a moment, either.
    pub(super) fn known_of(&mut self, step: &Step) -> Known {
        let Some(found) = self.next.step(&step.name).map(StepStatus::verification) else {
            return Known::NotAsked;
        };
        match (found.unanswered_since.map(|since| after(since, UNANSWERED)), found.verdict) {
            (Some(until), _) if until > self.now => {
                self.wake(Some(until));
                return Known::Asks;
            }
            (None, Some(Verdict::False)) => return Known::Fails,
            (None, Some(Verdict::True) | None) => return Known::NotAsked,
            (Some(_), _) | (None, Some(Verdict::Unknown)) => {}
        }
        let message = format!(
            "step {}: its time is over, and it is not known whether it helped: {}. Therefore no later step starts. The \
             response continues as soon as this is known. To revert everything: `{}`",
            step.name,
            found.message.unwrap_or_default(),
            self.facts.incident.withdraw_command()
        );
        Known::Nothing(Held::new(Reason::VerifyUnknown, &message))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn a_step_that_waited_for_one_says_what_became_of_that() {
        let says = |state| {
            let given = Fixture::pinned().change("one", "a", state).with(|facts| {
                facts.state.steps.push(StepStatus {
                    name: "two".to_owned(),
                    reason: Some(Reason::WaitsForEarlierStep),
                    message: Some("step one is being applied".to_owned()),
                    ..StepStatus::default()
                });
            });
            let mut deciding = given.deciding();
            deciding.climb();
            deciding.next.step("two").unwrap().message.clone().unwrap()
        };
        assert_eq!(says(ChangeState::Failed), "step one has failed on an object");
        let unknown = "step one may have changed an object: the outcome is not known";
        assert_eq!(says(ChangeState::Held), unknown);
        assert_eq!(says(ChangeState::Intended), "step one is being applied");
    }
}
