//! Deployments whose pod template a Rollout runs (`spec.workloadRef`).
//!
//! Nothing in the Deployment shows this, so the Rollouts of its namespace are listed, and only if it matters: if the step
//! would change the template of a Deployment that has no replicas, or set replicas. If they cannot be listed, a
//! Deployment that the step has not changed stays idle, and of one that it has changed nothing is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use firebreak_engine::change::Change;
use firebreak_engine::facts::Target;
use firebreak_engine::id::TargetId;
use firebreak_engine::rules::Step;
use firebreak_engine::verdict::Verdict;
use serde_json::Value;

use super::Reader;
use super::autoscalers::Kind;
use crate::workloads::{borrows, may_be_borrowed, speak_for};

/// What may run the pod template of a Deployment.
pub const ROLLOUT: Kind = ("argoproj.io/v1alpha1", "Rollout");
/// What may lend its pod template to a Rollout.
pub const DEPLOYMENT: Kind = ("apps/v1", "Deployment");

/// The Rollouts that run the pods of other objects, by the uid of those.
pub(super) type Runners = BTreeMap<String, Arc<Value>>;

impl Reader<'_> {
    /// Lets the Rollouts speak for the Deployments whose template they run.
    pub(super) async fn ask_who_runs(&self, step: &Step, targets: &mut [Target]) -> Runners {
        let asked: Vec<&mut Target> =
            targets.iter_mut().filter(|target| may_be_borrowed(step, target)).collect();
        let ids: Vec<TargetId> = asked.iter().map(|target| target.id.clone()).collect();
        let rollouts = self.all_beside(ROLLOUT, &ids).await;
        let mut runners = Runners::new();
        for target in asked {
            match rollouts.get(&target.id.namespace) {
                Some(Ok(all)) => {
                    if let Some(rollout) = all.iter().find(|rollout| borrows(rollout, &target.id))
                        && let Some(profile) = self.profile(rollout)
                    {
                        speak_for(target, step, rollout, profile);
                        runners.insert(target.id.uid.clone(), Arc::clone(rollout));
                    }
                }
                Some(Err(why)) => {
                    let idle = target.idle.take().unwrap_or_default();
                    let why = format!("{idle}, and whether a Rollout runs its pods is not known: {why}");
                    let changes = || self.state.changes_of(&step.name);
                    if changes().any(|change| change.target.uid == target.id.uid && was_applied(change)) {
                        nothing_is_known(target, why);
                    } else {
                        target.idle = Some(why);
                    }
                }
                None => {} // a Deployment has a namespace
            }
        }
        runners
    }
}

/// Whether the object may have pods with the changed template.
fn was_applied(change: &Change) -> bool {
    change.applied_at().is_some()
}

/// The object may be off, or a Rollout may run pods from its template: neither is a guess that anything may rely on.
fn nothing_is_known(target: &mut Target, why: String) {
    target.healthy = Verdict::Unknown;
    target.matched = Verdict::Unknown;
    target.match_problem = Some(why.clone());
    target.rollout = (Verdict::Unknown, why);
}
