//! The end of a response: all changes are reverted, whatever the reason, and then the Incident is closed.

use jiff::SignedDuration;

use super::Deciding;
use super::climb::RELIST_BUSY;
use super::held::Findings;
use super::recover::is_stuck;
use crate::change::{Change, ChangeState};
use crate::effect::Act;
use crate::facts::{Look, NamespaceRead, ObjectRead, Outcome, OwnLook};
use crate::incident::{Closing, Held, WITHDRAWAL_STARTED};
use crate::period::after;
use crate::reason::Reason;
use crate::rules::Step;
use crate::verdict::Verdict;

/// How long a revert is retried when it is rejected while the namespace is being deleted.
const LET_GO: SignedDuration = SignedDuration::from_secs(120);

fn let_go(change: &mut Change, reason: Reason, why: &str) {
    change.set_fence(None);
    if change.is_outstanding() {
        change.stand(ChangeState::Ceded, reason, why);
    }
}

impl Deciding<'_> {
    /// Reverts all changes at once, then closes.
    pub(super) fn withdraw(&mut self, closing: Closing) -> Findings {
        self.next.withdrawal = None;
        self.next.quiet_until = None;
        if self.next.closing != Some(closing) {
            self.next.closing = Some(closing);
            self.next.closing_since = Some(self.now);
            let person = self.facts.intent.person();
            let text = match closing {
                Closing::Recovered => "all changes are reverted".to_owned(),
                Closing::Withdrawn => format!("withdrawn by {person}: reverting all changes"),
                Closing::Kept => format!("kept by {person}: the changes become permanent"),
                Closing::Deleted => "the Incident is being deleted: reverting all changes".to_owned(),
                Closing::NotClassified => "no rule ever held: there is nothing to do".to_owned(),
                Closing::Superseded => {
                    "the policy's claim names another Incident: this one closes".to_owned()
                }
            };
            if closing != Closing::Recovered {
                let type_ = if closing == Closing::Kept { "KeepStarted" } else { WITHDRAWAL_STARTED };
                self.happen(type_, &text);
            }
            self.end_all_turns();
        }
        for index in 0..self.next.changes.len() {
            let change = &self.next.changes[index];
            let only_fenced = change.fence().is_some() && !change.is_outstanding();
            let on_its_way = change.state == ChangeState::Reverting || only_fenced;
            if on_its_way || (change.is_in_force() && !self.waits_for_an_earlier_stage(index)) {
                self.revert_at(index);
            }
            if self.facts.intent.deleting && self.is_refused_for_good(index) {
                let_go(
                    &mut self.next.changes[index],
                    Reason::NamespaceGone,
                    "the namespace of the Incident is being deleted, and the API server rejected the \
                     revert; the record stays on the object",
                );
            }
        }
        if self.facts.intent.deleting && self.facts.intent.abandon {
            self.let_go();
        }
        if self.next.owes_anything() {
            return self.outstanding().into();
        }
        if self.waits_for_pods() {
            return self.lost_pod_on_the_way_back().into();
        }
        self.close(closing);
        Findings::default()
    }

    /// Whether the change moves pods to a scheduler that is not back yet. The change waits for it at most for
    /// the timeout of the step, because a person wants all changes reverted.
    fn waits_for_an_earlier_stage(&mut self, index: usize) -> bool {
        let change = self.next.changes[index].clone();
        let Some(step) = self.step(&change.step).cloned() else { return false };
        let before: Vec<Change> = self.made_before(&step).into_iter().cloned().collect();
        // A change in a stage before the targets waits for the stages before it, and never for itself.
        let before = before.into_iter().take_while(|before| before.id != change.id);
        before.into_iter().any(|before| self.waits_for(&step, &before))
    }

    fn waits_for(&mut self, step: &Step, before: &Change) -> bool {
        if before.is_outstanding() {
            let late = self.next.closing_since.map(|since| after(since, step.timeout));
            let waits = late.is_none_or(|late| late > self.now);
            if waits {
                self.wake(late);
            }
            return waits;
        }
        before.state == ChangeState::Reverted && !self.is_available_again(step, before)
    }

    /// Whether something that was changed before this one, possibly by another step, must be back and available first.
    pub(super) fn waits_for_what_was_made_before(&mut self, step: &Step, change: &Change) -> bool {
        let before = self.made_before(step).into_iter().take_while(|other| other.id != change.id);
        let before: Vec<Change> = before.cloned().collect();
        before.into_iter().any(|before| {
            if before.is_outstanding() {
                self.must_be_back(step, &before);
                return true;
            }
            before.state == ChangeState::Reverted && !self.is_available_again(step, &before)
        })
    }

    fn must_be_back(&mut self, step: &Step, before: &Change) {
        let message = format!("{} must be available before the workloads return to it", before.target);
        self.not_done(&step.name, None, Reason::WaitsForScheduler, &message);
    }

    fn is_available_again(&mut self, step: &Step, before: &Change) -> bool {
        let Some(late) =
            before.returned_at().map(|at| after(at, step.timeout)).filter(|late| *late > self.now)
        else {
            return true;
        };
        let is_back = match self.look_at(&before.target) {
            None => return false,
            Some(ObjectRead::Found(target)) => target.rollout.0 == Verdict::True,
            Some(ObjectRead::Gone) => true,
            Some(ObjectRead::Refused { .. } | ObjectRead::Failed { .. }) => false,
        };
        if !is_back {
            self.wake_in(RELIST_BUSY);
            self.wake(Some(late));
            self.must_be_back(step, before);
        }
        is_back
    }

    /// Whether the permissions to revert the change will not return: the Incident has been closing for long
    /// enough, the revert is rejected, and the namespace with the ServiceAccount is being deleted.
    fn is_refused_for_good(&mut self, index: usize) -> bool {
        let change = self.next.changes[index].clone();
        if !(change.is_outstanding() || change.fence().is_some()) || !self.was_refused(&change) {
            return false;
        }
        let due = self.next.closing_since.map(|since| after(since, LET_GO));
        if due.is_some_and(|due| due > self.now) {
            self.wake(due);
            return false;
        }
        let read = self.facts.looked.namespace.as_ref();
        match self.or_ask(read, || Look::Own(OwnLook::Namespace)) {
            Some(NamespaceRead::Terminating) => true,
            Some(NamespaceRead::Stays | NamespaceRead::Unknown(_)) | None => false,
        }
    }

    fn was_refused(&self, change: &Change) -> bool {
        let read = self.facts.looked.objects.get(&change.target);
        let written = [Act::Return, Act::Fence, Act::HandBack].map(|act| self.answer(change, act));
        matches!(read, Some(ObjectRead::Refused { .. }))
            || written.iter().any(|answer| matches!(answer, Some(Outcome::Refused { code: 403 | 404, .. })))
    }

    /// A person wants the Incident gone, even if changes are not reverted.
    fn let_go(&mut self) {
        for change in
            self.next.changes.iter_mut().filter(|change| change.is_outstanding() || change.fence().is_some())
        {
            let_go(change, Reason::Abandoned, "abandoned by a person; the record stays on the object");
        }
        self.effects.clear();
        self.look.clear();
    }

    /// What cannot be reverted for now, if anything.
    pub(super) fn outstanding(&self) -> Option<Held> {
        let closes = self.next.closing.is_some(); // only then fences are removed
        let stuck = |change: &&Change| {
            (change.is_outstanding() || closes && change.fence().is_some()) && is_stuck(change)
        };
        let Some(change) = self.next.changes.iter().find(stuck) else {
            // A change that is being retried right now is not reverted yet, so the finding still stands.
            let is_tried_again = |change: &Change| {
                change.state == ChangeState::Reverting && change.tries > 0 && change.returned_at().is_none()
            };
            let is_so = self.next.changes.iter().any(is_tried_again);
            let said = self.facts.state.held.clone().filter(|_| is_so);
            return said.filter(|held| held.reason == Reason::CannotPutBack);
        };
        let number = self.next.changes.iter().filter(stuck).count();
        let message = format!(
            "{number} object(s) cannot be reverted yet; the first is {}: {}. Firebreak keeps trying. If the ServiceAccount \
             lacks rights, grant them. As a last resort, let go of the objects, which keep their undo records: \
             `kubectl annotate incident {} -n {} firebreak.dev/abandon=true`, then delete the Incident",
            change.target,
            change.message.clone().unwrap_or_default(),
            self.facts.incident.name,
            self.facts.incident.namespace
        );
        Some(Held::new(Reason::CannotPutBack, &message))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    fn cannot_go_back(change: &mut Change) {
        change.explain(Some((Reason::CannotPutBack, "answered 403".to_owned())));
    }

    #[test]
    fn what_cannot_be_reverted_is_counted_and_the_message_names_the_way_out() {
        let given = Fixture::pinned().change("one", "a", ChangeState::Applied);
        assert_eq!(given.deciding().outstanding(), None);
        let given = given.change_with("one", "b", ChangeState::Reverting, cannot_go_back).change_with(
            "two",
            "c",
            ChangeState::Applied,
            cannot_go_back,
        );
        let held = given.deciding().outstanding().unwrap();
        assert_eq!((held.reason, held.stops), (Reason::CannotPutBack, false));
        for words in ["2 object(s)", "serving/b: answered 403", "kubectl annotate incident outage -n serving"]
        {
            assert!(held.message.contains(words), "no {words} in {}", held.message);
        }
    }

    #[test]
    fn what_is_tried_again_at_this_moment_still_holds_the_response() {
        let given = Fixture::pinned()
            .change_with("one", "a", ChangeState::Reverting, |change| change.tries = 1)
            .with(|facts| facts.state.held = Some(Held::new(Reason::CannotPutBack, "as before")));
        assert_eq!(given.deciding().outstanding().map(|held| held.message), Some("as before".to_owned()));
        let given = given.with(|facts| facts.state.held = Some(Held::new(Reason::StepFailed, "another")));
        assert_eq!(given.deciding().outstanding(), None);
    }
}
