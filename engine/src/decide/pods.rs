//! Pods that block a change in kinds whose pods wait for each other.
//!
//! # Flow
//! A pod that is not ready and lacks the current template is deleted, and its controller creates it again
//! with that template. This applies while a change is in force, and for the timeout of its step after it was
//! reverted.
//!
//! # Guarantees
//! A deletion is a guarded operation: it is recorded in the journal before it
//! is sent and carries the pod's uid, so no other pod is ever deleted. No deletion
//! uses force: a pod that does not terminate is left to a person.

use jiff::{SignedDuration, Timestamp};

use super::Deciding;
use super::climb::{RELIST_BUSY, RELIST_IDLE};
use super::course::Writes;
use crate::change::{Change, ChangeState, Operation, cut};
use crate::facts::{ObjectRead, Target};
use crate::id::{ChangeId, TargetId};
use crate::incident::Held;
use crate::period::after;
use crate::pods::{End, Pods, StuckPod};
use crate::reason::Reason;
use crate::rules::Step;

/// How soon a deletion is sent again.
pub(super) const AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// The maximum number of pods of one object that are deleted at a time.
const AT_ONCE: usize = 8;

impl Deciding<'_> {
    /// Deletes stuck pods of all objects that the step has changed, as far as they were read in this decision.
    pub(super) fn tend_pods(&mut self, step: &Step) {
        for index in 0..self.next.changes.len() {
            let change = &self.next.changes[index];
            if change.step == step.name
                && change.is_in_order()
                && (change.stands() || self.is_just_back(change))
                && let Some(pods) = self.seen_pods(change)
            {
                self.tend_pods_at(index, &pods);
            }
        }
    }

    /// What this decision has read of the pods of the changed object.
    fn seen_pods(&self, change: &Change) -> Option<Pods> {
        if let Some(target) = self.listed(&change.step, &change.target.uid) {
            return Some(pods_of(target));
        }
        match self.facts.looked.objects.get(&change.target)? {
            ObjectRead::Found(target) => Some(pods_of(target)),
            ObjectRead::Gone | ObjectRead::Refused { .. } | ObjectRead::Failed { .. } => None,
        }
    }

    /// Whether it was reverted so recently that its pods still need attention.
    fn is_just_back(&self, change: &Change) -> bool {
        change.state == ChangeState::Reverted && self.pods_are_tended_until(change) > Some(self.now)
    }

    fn pods_are_tended_until(&self, change: &Change) -> Option<Timestamp> {
        let step = self.step(&change.step)?;
        Some(after(change.returned_at()?, step.timeout)).filter(|_| change.is_in_order())
    }

    fn tend_pods_at(&mut self, index: usize, pods: &Pods) {
        match pods {
            Pods::Free | Pods::Stuck(_) => {
                let stuck = if let Pods::Stuck(stuck) = pods { stuck.as_slice() } else { &[] };
                self.end_deletions(index, stuck);
                if self.permits.writes == Writes::All {
                    self.delete_pods(index, stuck);
                }
                let why = self.why_stuck(&self.next.changes[index], stuck);
                say(&mut self.next.changes[index], why);
            }
            Pods::Unknown(why) => {
                say(&mut self.next.changes[index], Some((Reason::CannotListPods, why.clone())));
            }
            Pods::InOrder | Pods::NotYet => {}
        }
    }

    /// A pod that no longer blocks the change need not be deleted.
    fn end_deletions(&mut self, index: usize, stuck: &[StuckPod]) {
        let open: Vec<ChangeId> = self
            .next
            .on_behalf_of(&self.next.changes[index])
            .filter(|deletion| deletion.is_open_operation() && !is_among(deletion, stuck))
            .map(|deletion| deletion.id.clone())
            .collect();
        let now = self.now;
        for deletion in self.next.changes.iter_mut().filter(|change| open.contains(&change.id)) {
            if deletion.came_to_nothing() {
                deletion.stand(
                    ChangeState::Skipped,
                    Reason::NoLongerStuck,
                    "the pod no longer blocks the change",
                );
            } else {
                deletion.done(now);
            }
        }
    }

    /// Records the deletions that are due, to be sent once they are recorded.
    fn delete_pods(&mut self, index: usize, stuck: &[StuckPod]) {
        let change = self.next.changes[index].clone();
        let mut new = Vec::new();
        for pod in stuck.iter().filter(|pod| pod.end == End::NotAsked) {
            // Another step that has changed the same object may already have requested it.
            let of_pod = self.next.changes.iter().filter(|other| other.target.uid == pod.uid);
            if let Some(sent) = of_pod.filter_map(|other| other.sent_at).max()
                && after(sent, AGAIN) > self.now
            {
                self.wake(Some(after(sent, AGAIN)));
                continue;
            }
            let id = ChangeId::on_behalf_of(&change.id, &pod.uid);
            let known = self.next.changes.iter().find(|known| known.id == id);
            // The API server may have asked for more patience.
            if let Some(at) = known.and_then(|known| known.retry_at).filter(|at| *at > self.now) {
                self.wake(Some(at));
                continue;
            }
            let is_begun = known.is_some_and(Change::is_open_operation);
            if known.is_none() {
                let of_object = self.next.on_behalf_of(&change);
                let is_full = of_object.filter(|other| is_among(other, stuck)).count() >= AT_ONCE;
                if is_full || !self.has_room() {
                    continue;
                }
                let target = TargetId::pod(&change.target.namespace, pod.name.clone(), pod.uid.clone());
                let deletion = Operation::delete_pod(change.target.clone());
                self.journal([Change::operation(id.clone(), &change.step, target, deletion)]);
            }
            if !is_begun {
                new.push(pod.name.clone());
            }
            if let Some(at) = self.next.changes.iter().position(|known| known.id == id) {
                self.edit(at, Self::request);
            }
        }
        if !new.is_empty() {
            let names = new.join(", ");
            let message = format!(
                "{}: deleting pods that are not ready and would keep their old template: {names}",
                change.target
            );
            self.happen("PodsDeleted", &message);
        }
    }

    /// Why pods of the object keep the change from taking effect.
    fn why_stuck(&self, change: &Change, stuck: &[StuckPod]) -> Option<(Reason, String)> {
        let namespace = &change.target.namespace;
        let lost = stuck.iter().find_map(|pod| match &pod.end {
            End::Overdue(why) => Some((&pod.name, why)),
            End::NotAsked | End::UnderWay => None,
        });
        if let Some((name, why)) = lost {
            let message = format!(
                "pod {name} is Terminating: {why}. The others wait for it, and Firebreak never force-deletes a pod. Once \
                 you are certain that it has stopped: `kubectl delete pod {name} -n {namespace} --force --grace-period=0`"
            );
            return Some((Reason::PodStuckTerminating, message));
        }
        let is_refused =
            |deletion: &&Change| deletion.reason == Some(Reason::Refused) && is_among(deletion, stuck);
        let refused = self.next.on_behalf_of(change).find(is_refused)?;
        let (name, why) = (&refused.target.name, refused.message.as_ref()?);
        let message = format!("pod {name} would keep its old template forever, and cannot be deleted: {why}");
        Some((Reason::CannotDeletePods, message))
    }

    /// Reports on the step, unless it has helped already, why pods keep a change from taking effect.
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

    /// What a person must know about a pod that does not terminate.
    pub(super) fn lost_pod(&self) -> Option<Held> {
        let is_lost = |change: &&Change| {
            change.reason == Some(Reason::PodStuckTerminating)
                && (change.stands() || self.is_just_back(change))
        };
        let change = self.next.changes.iter().find(is_lost)?;
        let message = format!("{}: {}", change.target, change.message.clone().unwrap_or_default());
        Some(Held::new(Reason::PodStuckTerminating, &message))
    }

    /// The same where nothing new is applied anyway.
    pub(super) fn lost_pod_on_the_way_back(&self) -> Option<Held> {
        self.lost_pod().map(Held::only_said)
    }

    /// Whether pods with the emergency template still block the revert. They are awaited at most for the
    /// timeout of the step.
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
        }
        waits
    }

    fn is_in_the_way(&mut self, index: usize, target: &TargetId) -> bool {
        let pods = match self.look_at(target) {
            Some(ObjectRead::Found(target)) => pods_of(target),
            None => return true,
            Some(ObjectRead::Failed { .. }) => {
                self.wake_in(RELIST_IDLE);
                return true;
            }
            Some(ObjectRead::Gone | ObjectRead::Refused { .. }) => return false,
        };
        self.tend_pods_at(index, &pods);
        match &pods {
            Pods::NotYet => true,
            Pods::Stuck(stuck) => stuck.iter().any(|pod| pod.end != End::UnderWay),
            Pods::Free | Pods::InOrder | Pods::Unknown(_) => false,
        }
    }
}

/// The pods of the object that may block a change. An object that is off on purpose waits for none.
fn pods_of(target: &Target) -> Pods {
    if target.off_on_purpose().is_some() { Pods::Free } else { target.pods.clone() }
}

fn is_about_pods(reason: Option<&Reason>) -> bool {
    matches!(reason, Some(Reason::PodStuckTerminating | Reason::CannotDeletePods | Reason::CannotListPods))
}

/// Reports it on the change, unless the change has something else to report.
fn say(change: &mut Change, why: Option<(Reason, String)>) {
    if change.reason.is_none() || is_about_pods(change.reason.as_ref()) {
        change.explain(why);
    }
}

/// Whether the operation is about one of these pods.
fn is_among(operation: &Change, stuck: &[StuckPod]) -> bool {
    stuck.iter().any(|pod| pod.uid == operation.target.uid)
}
