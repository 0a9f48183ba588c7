//! Pods that are in the way of a change where one waits for the other.
//!
//! # Flow
//! A pod that is not ready and does not have the template of now is deleted, and
//! its controller makes it anew with that template. It is so while a change is in
//! force, and for as long as its step's timeout once it was put back.
//!
//! # Guarantees
//! A pod is named in the change before its deletion is sent, which carries its
//! uid: no other pod is ever deleted, and to send it twice is harmless. None is
//! deleted by force: one that does not end is left to a person.

use jiff::{SignedDuration, Timestamp};

use super::Round;
use super::climb::{RELIST_BUSY, RELIST_IDLE};
use crate::change::{Change, ChangeState, cut};
use crate::effect::{Act, Effect, EffectId, Guard, Write};
use crate::facts::{Look, LookResult, Outcome};
use crate::id::TargetId;
use crate::incident::Held;
use crate::period::after;
use crate::pods::{End, PodDeletion, Pods, StuckPod};
use crate::reason::Reason;
use crate::rules::Step;

/// How soon a deletion is sent again.
const AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// The most pods of one object that are deleted at a time.
const AT_ONCE: usize = 8;

impl Round<'_> {
    /// Takes in what the API server said to deletions.
    pub(super) fn hear_of_pods(&mut self) {
        let outcomes = &self.facts.outcomes;
        for change in &mut self.next.changes {
            for pod in change.work.loan_mut().into_iter().flat_map(|loan| &mut loan.pods) {
                let guard = Guard::Pod(pod.uid.clone());
                let id = EffectId { change: change.id.clone(), act: Act::DeletePod, guard };
                match outcomes.get(&id) {
                    // 404 and 409: it is gone, or another pod has its name.
                    Some(
                        Outcome::Done(_)
                        | Outcome::Refused { code: 404, .. }
                        | Outcome::Later { conflict: true, .. },
                    ) => pod.refused = None,
                    Some(Outcome::Refused { code, why, .. }) => {
                        pod.refused = Some(cut(&format!("the API server answered {code}: {why}"), 512));
                    }
                    Some(Outcome::Later { conflict: false, .. } | Outcome::Unclear { .. }) | None => {}
                }
            }
        }
    }

    /// Looks after the pods of everything that the step has changed, as far as it was read in this round.
    pub(super) fn tend_pods(&mut self, step: &Step) {
        for index in 0..self.next.changes.len() {
            let change = &self.next.changes[index];
            let in_force = matches!(change.state, ChangeState::Applied | ChangeState::Verified);
            if change.step == step.name
                && change.is_in_order()
                && (in_force || self.is_just_back(change))
                && let Some(pods) = self.seen_pods(change)
            {
                self.tend_pods_at(index, &pods);
            }
        }
    }

    /// What this round has read of the pods of the changed object.
    fn seen_pods(&self, change: &Change) -> Option<Pods> {
        if let Some(target) = self.listed(&change.step, &change.target.uid) {
            return Some(target.pods.clone());
        }
        match self.facts.looked.get(&Look::Object(change.target.clone()))? {
            LookResult::Found(target) => Some(target.pods.clone()),
            LookResult::Listed(_)
            | LookResult::Own(_)
            | LookResult::Gone
            | LookResult::Refused { .. }
            | LookResult::Failed { .. } => None,
        }
    }

    /// Whether it was put back so lately that its pods are still looked after.
    fn is_just_back(&self, change: &Change) -> bool {
        change.state == ChangeState::Reverted && self.pods_are_tended_until(change) > Some(self.now)
    }

    fn pods_are_tended_until(&self, change: &Change) -> Option<Timestamp> {
        let step = self.step(&change.step)?;
        Some(after(change.returned_at()?, step.timeout)).filter(|_| change.is_in_order())
    }

    fn tend_pods_at(&mut self, index: usize, pods: &Pods) {
        let mut change = self.next.changes[index].clone();
        match pods {
            Pods::Free | Pods::Stuck(_) => {
                let stuck = if let Pods::Stuck(stuck) = pods { stuck.as_slice() } else { &[] };
                if let Some(loan) = change.work.loan_mut() {
                    loan.pods.retain(|deletion| stuck.iter().any(|pod| pod.uid == deletion.uid));
                }
                if !self.rests {
                    self.delete_pods(&mut change, stuck);
                }
                let why = why_stuck(&change, stuck);
                say(&mut change, why);
            }
            Pods::Unknown(why) => say(&mut change, Some((Reason::CannotListPods, why.clone()))),
            Pods::InOrder | Pods::NotYet => {}
        }
        self.next.changes[index] = change;
    }

    /// Records the deletions that are due, to be sent once they are recorded.
    fn delete_pods(&mut self, change: &mut Change, stuck: &[StuckPod]) {
        let mut new = Vec::new();
        for pod in stuck.iter().filter(|pod| pod.end == End::NotAsked) {
            let of_all = self.next.changes.iter().chain([&*change]).flat_map(|change| change.pods());
            // A step that has changed the same object may have asked for it too.
            if let Some(sent) = of_all.filter(|other| other.uid == pod.uid).map(|other| other.sent_at).max()
                && after(sent, AGAIN) > self.now
            {
                self.wake(Some(after(sent, AGAIN)));
                continue;
            }
            let is_full = change.pods().len() >= AT_ONCE;
            let Some(loan) = change.work.loan_mut() else { return };
            match loan.pods.iter_mut().find(|deletion| deletion.uid == pod.uid) {
                Some(deletion) => deletion.sent_at = self.now,
                None if is_full => continue,
                None => {
                    new.push(pod.name.clone());
                    let (name, uid) = (pod.name.clone(), pod.uid.clone());
                    loan.pods.push(PodDeletion { name, uid, sent_at: self.now, refused: None });
                }
            }
            self.effects.push(Effect {
                change: change.id.clone(),
                target: change.target.clone(),
                act: Act::DeletePod,
                write: Write::DeletePod { name: pod.name.clone(), uid: pod.uid.clone() },
            });
        }
        if !new.is_empty() {
            let names = new.join(", ");
            let message = format!(
                "{}: deletes pods that are not ready and would keep their old template: {names}",
                change.target
            );
            self.happen("PodsDeleted", &message);
        }
    }

    /// Says with the step, unless it helped already, why pods keep a change from it.
    pub(super) fn say_which_pods_stay(&mut self, step: &Step) {
        let said = self.next.changes_of(&step.name).find(|change| is_about_pods(change.reason.as_ref()));
        let said =
            said.and_then(|c| Some((c.reason.clone()?, format!("{}: {}", c.target, c.message.clone()?))));
        let is_verified = self.is_verified(&step.name);
        let status = self.step_status(&step.name);
        match said.filter(|_| !is_verified) {
            Some((reason, message)) => {
                (status.reason, status.message) = (Some(reason), Some(cut(&message, 1024)));
            }
            None if is_about_pods(status.reason.as_ref()) => (status.reason, status.message) = (None, None),
            None => {}
        }
    }

    /// What a person has to know of a pod that does not end.
    pub(super) fn lost_pod(&self) -> Option<Held> {
        let is_lost = |change: &&Change| {
            let in_force = matches!(change.state, ChangeState::Applied | ChangeState::Verified);
            change.reason == Some(Reason::PodStuckTerminating) && (in_force || self.is_just_back(change))
        };
        let change = self.next.changes.iter().find(is_lost)?;
        let message = format!("{}: {}", change.target, change.message.clone().unwrap_or_default());
        Some(Held::new(Reason::PodStuckTerminating, &message))
    }

    /// The same where nothing new is applied anyway.
    pub(super) fn lost_pod_on_the_way_back(&self) -> Option<Held> {
        self.lost_pod().map(Held::only_said)
    }

    /// Whether pods with the template of the emergency are still in the way of what was put back. They are
    /// waited for as long as the step's timeout, and no longer.
    pub(super) fn waits_for_pods(&mut self) -> bool {
        let mut waits = false;
        for index in 0..self.next.changes.len() {
            let change = &self.next.changes[index];
            if !self.is_just_back(change) || self.facts.intent.abandon {
                continue;
            }
            let (target, late) = (change.target.clone(), self.pods_are_tended_until(change));
            if self.is_in_the_way(index, &target) {
                waits = true;
                self.wake(late);
            }
        }
        if waits {
            self.wake_in(RELIST_BUSY);
            self.next.held = self.lost_pod_on_the_way_back();
        }
        waits
    }

    fn is_in_the_way(&mut self, index: usize, target: &TargetId) -> bool {
        let pods = match self.look_at(target) {
            Some(LookResult::Found(target)) => target.pods.clone(),
            None => return true,
            Some(LookResult::Failed { .. }) => {
                self.wake_in(RELIST_IDLE);
                return true;
            }
            Some(
                LookResult::Gone | LookResult::Refused { .. } | LookResult::Listed(_) | LookResult::Own(_),
            ) => return false,
        };
        self.tend_pods_at(index, &pods);
        match &pods {
            Pods::NotYet => true,
            Pods::Stuck(stuck) => stuck.iter().any(|pod| pod.end != End::UnderWay),
            Pods::Free | Pods::InOrder | Pods::Unknown(_) => false,
        }
    }
}

fn is_about_pods(reason: Option<&Reason>) -> bool {
    matches!(reason, Some(Reason::PodStuckTerminating | Reason::CannotDeletePods | Reason::CannotListPods))
}

/// Says it with the change, unless that has something else to say.
fn say(change: &mut Change, why: Option<(Reason, String)>) {
    if change.reason.is_none() || is_about_pods(change.reason.as_ref()) {
        change.explain(why);
    }
}

fn why_stuck(change: &Change, stuck: &[StuckPod]) -> Option<(Reason, String)> {
    let namespace = &change.target.namespace;
    let lost = stuck.iter().find_map(|pod| match &pod.end {
        End::Overdue(why) => Some((&pod.name, why)),
        End::NotAsked | End::UnderWay => None,
    });
    if let Some((name, why)) = lost {
        let message = format!(
            "pod {name} is Terminating: {why}. The others wait for it, and Firebreak never force-deletes a pod. Once you \
             are certain that it has stopped: `kubectl delete pod {name} -n {namespace} --force`"
        );
        return Some((Reason::PodStuckTerminating, message));
    }
    let refused = change.pods().iter().find_map(|pod| Some((&pod.name, pod.refused.as_ref()?)));
    let (name, why) = refused?;
    let message = format!("pod {name} would keep its old template for ever, and cannot be deleted: {why}");
    Some((Reason::CannotDeletePods, message))
}
