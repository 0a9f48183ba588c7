//! The state of every step, derived from its changes each time.

use super::Deciding;
use super::course::StandingPlans;
use super::plans::Plans;
use crate::change::{Again, Change, ChangeState};
use crate::facts::{ListingRead, Target};
use crate::incident::{IncidentState, Spared, StepState, StepStatus, count};
use crate::reason::Reason;
use crate::rules::Step;

impl Deciding<'_> {
    pub(super) fn note(&mut self, step: &Step, plans: &Plans) {
        let status = self.step_status(&step.name);
        status.targets.matched = plans.matched;
        status.targets.nothing_to_do = u32::try_from(plans.nothing_to_do.len()).unwrap_or(u32::MAX);
        status.nothing_to_do = Spared::first(&plans.nothing_to_do);
        self.note_plan(step, plans);
    }

    pub(super) fn is_verified(&self, step: &str) -> bool {
        stands_verified(self.next.changes_of(step))
    }

    pub(super) fn has_failed(&self, step: &Step) -> bool {
        self.next.changes_of(&step.name).any(|change| change.state == ChangeState::Failed)
    }

    /// Sets the state of each step from its changes.
    pub(super) fn refresh_steps(&mut self) {
        for step in self.ladder.clone() {
            self.step_status(&step.name);
        }
        let asks = self.next.held.as_ref().filter(|held| held.asks_for_approval());
        let asks_about = asks.and_then(|held| held.step.clone());
        let order: Vec<String> = self.ladder.iter().map(|step| step.name.clone()).collect();
        let mut steps = std::mem::take(&mut self.next.steps);
        steps.retain(|status| status.definition.is_some() || order.contains(&status.name));
        steps.sort_by_key(|status| order.iter().position(|name| *name == status.name));
        for status in &mut steps {
            if awaits_approval(status) && asks_about.as_ref() != Some(&status.name) {
                (status.reason, status.message) = (None, None); // nobody is asked any more
            }
            let changes: Vec<&Change> = self.next.changes_of(&status.name).collect();
            status.targets =
                count(changes.iter().copied(), status.targets.matched, status.targets.nothing_to_do);
            let state = step_state(status, &changes, &self.next);
            status.finished_at = match state {
                StepState::Returned => status.finished_at.or(Some(self.now)),
                StepState::Pending
                | StepState::AwaitingApproval
                | StepState::Applying
                | StepState::Applied
                | StepState::Verified
                | StepState::Failed
                | StepState::Skipped
                | StepState::Held
                | StepState::Reverting => None,
            };
            let waits = self.next.withdrawal.as_ref().is_some_and(|withdrawal| {
                withdrawal.step.as_ref() == Some(&status.name)
                    && !withdrawal.wave.is_empty()
                    && withdrawal.healthy_at.is_none()
            });
            if !waits
                && !matches!(state, StepState::Pending | StepState::AwaitingApproval | StepState::Applied)
            {
                (status.reason, status.message) = (None, None);
            }
            status.state = state;
        }
        self.next.steps = steps;
        // A plan is in the status while someone needs to read it: in Observe, and for an approval.
        let all = self.permits.plans == StandingPlans::All;
        self.next.changes.retain(|change| {
            change.state != ChangeState::Planned || all || asks_about.as_ref() == Some(&change.step)
        });
    }

    /// The status of a step, created if there is none.
    pub(super) fn step_status(&mut self, name: &str) -> &mut StepStatus {
        let index = self.step_index(name);
        &mut self.next.steps[index]
    }

    /// The position of the status of a step, created if there is none.
    pub(super) fn step_index(&mut self, name: &str) -> usize {
        self.next.steps.iter().position(|status| status.name == name).unwrap_or_else(|| {
            self.next.steps.push(StepStatus { name: name.to_owned(), ..StepStatus::default() });
            self.next.steps.len() - 1
        })
    }

    /// The listed target with this uid, if this decision has listed the step.
    pub(super) fn listed(&self, step: &str, uid: &str) -> Option<&Target> {
        match self.facts.looked.listings.get(step)? {
            ListingRead::Listed(listing) => listing.targets.iter().find(|target| target.id.uid == uid),
            ListingRead::Refused { .. } | ListingRead::Failed { .. } => None,
        }
    }
}

fn step_state(status: &StepStatus, changes: &[&Change], state: &IncidentState) -> StepState {
    let any = |state: ChangeState| changes.iter().any(|change| change.state == state);
    let outstanding = changes.iter().any(|change| change.is_outstanding());
    // An operation is never reverted.
    let operates = changes.iter().any(|change| change.as_operation().is_some());
    let closing = state.closing.is_some() && !operates;
    let in_waves = state.withdrawal.as_ref().is_some_and(|w| w.step.as_ref() == Some(&status.name));
    let reverted = changes.iter().any(|change| !matches!(change.again(), Again::Never | Again::AfterPause));
    match () {
        () if status.definition.is_none() && awaits_approval(status) => StepState::AwaitingApproval,
        () if status.definition.is_none() => StepState::Pending,
        () if (closing || in_waves) && outstanding => StepState::Reverting,
        () if closing || (reverted && !outstanding) => StepState::Returned,
        () if any(ChangeState::Failed) => StepState::Failed,
        () if any(ChangeState::Held) || changes.iter().any(|change| change.needs_settlement()) => {
            StepState::Held
        }
        () if changes.iter().any(|change| change.is_under_way()) => StepState::Applying,
        () if stands_verified(changes.iter().copied()) => StepState::Verified,
        () => StepState::Applied,
    }
}

/// Whether the step has not started because its plan must be approved.
fn awaits_approval(status: &StepStatus) -> bool {
    status.reason.as_ref().is_some_and(Reason::asks_for_approval)
}

/// Whether all changes of a step that are on the objects were verified, without those that say nothing about it. If none
/// says anything any more, one that was verified before still counts: what spoke against it has taken that from it.
fn stands_verified<'a>(changes: impl Iterator<Item = &'a Change>) -> bool {
    let (off, counted): (Vec<&Change>, Vec<&Change>) =
        changes.filter(|change| change.stands()).partition(|change| change.sits_out());
    match counted.is_empty() {
        true => off.into_iter().any(Change::is_verified),
        false => counted.into_iter().all(Change::is_verified),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;
    use crate::incident::Closing;

    fn state_of(given: &Fixture) -> StepState {
        let mut deciding = given.deciding();
        deciding.refresh_steps();
        deciding.next.step("one").unwrap().state
    }

    fn with(states: &[ChangeState]) -> Fixture {
        let names = ["a", "b", "c"];
        states
            .iter()
            .zip(names)
            .fold(Fixture::pinned(), |given, (state, name)| given.change("one", name, *state))
    }

    #[test]
    fn what_is_worst_about_its_changes_is_said_of_a_step() {
        use ChangeState::{Applied, Failed, Held, Intended, Skipped, Verified};
        let cases: [(&[ChangeState], StepState); 7] = [
            (&[Verified, Failed, Held], StepState::Failed),
            (&[Verified, Held, Intended], StepState::Held),
            (&[Verified, Applied, Intended], StepState::Applying),
            (&[Verified, Applied], StepState::Applied),
            (&[Verified, Verified, Skipped], StepState::Verified),
            (&[Skipped], StepState::Applied),
            (&[], StepState::Pending),
        ];
        for (states, expected) in cases {
            assert_eq!(state_of(&with(states)), expected, "{states:?}");
        }
    }

    #[test]
    fn a_step_is_returned_once_nothing_of_it_is_outstanding() {
        let closing = |states: &[ChangeState]| {
            with(states).with(|facts| facts.state.closing = Some(Closing::Withdrawn))
        };
        assert_eq!(
            state_of(&closing(&[ChangeState::Reverted, ChangeState::Reverting])),
            StepState::Reverting
        );
        assert_eq!(state_of(&closing(&[ChangeState::Reverted, ChangeState::Ceded])), StepState::Returned);
        // What was reverted in a wave may come again.
        let mut back = with(&[ChangeState::Reverted]);
        back.facts.state.changes[0].set_again(Again::Possible);
        assert_eq!(state_of(&back), StepState::Returned);
        back.facts.state.changes[0].set_again(Again::AfterPause);
        assert_ne!(state_of(&back), StepState::Returned, "it went back because another one had failed");
    }

    #[test]
    fn a_plan_is_kept_while_someone_needs_to_read_it() {
        use super::super::course::Course;
        let given = with(&[ChangeState::Planned, ChangeState::Applied]);
        let kept = |course: &Course| {
            let mut deciding = given.deciding();
            deciding.permits = course.permits();
            deciding.refresh_steps();
            deciding.next.changes.len()
        };
        assert_eq!((kept(&Course::Observe), kept(&Course::Climb)), (2, 1));
    }
}
