//! Pods that block a change, of objects whose profile says that each
//! pod waits for the previous one.
//!
//! They are listed only while a change of this Incident is in force there, or was just reverted, and has not
//! reached all of them.

use std::sync::Arc;

use firebreak_engine::change::{Change, ChangeState};
use firebreak_engine::facts::Target;
use firebreak_engine::period::after;
use firebreak_engine::pods::Pods;
use firebreak_engine::verdict::Verdict;
use futures::{StreamExt, stream};
use serde_json::Value;

use super::{LISTS, Reader};
use crate::actuator::live_read::{self, Read, Scope};
use crate::observe::selector_text;
use crate::workloads::{OrderedPods, Template, controlling_owner};

impl Reader<'_> {
    /// Adds the stuck pods to each target.
    pub(super) async fn ask_for_pods(&self, targets: &mut [Target]) {
        let asked =
            targets.iter_mut().filter(|target| target.pods.are_in_order() && self.reaches_pods(target));
        stream::iter(asked)
            .for_each_concurrent(LISTS, |target| async {
                target.pods = match target.rollout.0 {
                    Verdict::True => Pods::Stuck(Vec::new()),
                    Verdict::False | Verdict::Unknown => self.pods_of(target).await,
                };
                if let Pods::Unknown(why) = &target.pods {
                    target.rollout.1 = format!("{}; {why}", target.rollout.1);
                }
            })
            .await;
    }

    /// Whether a change of this Incident affects the pods of the object, or is being reverted from them.
    fn reaches_pods(&self, target: &Target) -> bool {
        let changes = self.state.changes.iter().filter(|change| change.target.uid == target.id.uid);
        changes.into_iter().any(|change| match change.state {
            ChangeState::Applied | ChangeState::Verified => true,
            ChangeState::Reverted => self.is_just_back(change),
            ChangeState::Planned
            | ChangeState::Intended
            | ChangeState::Unclear
            | ChangeState::Reverting
            | ChangeState::Ceded
            | ChangeState::Kept
            | ChangeState::Done
            | ChangeState::Skipped
            | ChangeState::Failed
            | ChangeState::Held => false,
        })
    }

    fn is_just_back(&self, change: &Change) -> bool {
        let step = self.steps.iter().find(|step| step.name == change.step);
        step.zip(change.returned_at()).is_some_and(|(step, at)| after(at, step.timeout) > self.now)
    }

    async fn pods_of(&self, target: &Target) -> Pods {
        let Some(ordered) = self.profile(&target.object).and_then(|profile| profile.ordered_pods.as_ref())
        else {
            return Pods::Free;
        };
        let Some(template) = ordered.template(&target.object) else { return Pods::NotYet };
        self.stuck(target, ordered, &template)
            .await
            .unwrap_or_else(|why| Pods::Unknown(format!("its pods cannot be listed: {why}")))
    }

    async fn stuck(
        &self,
        target: &Target,
        ordered: &OrderedPods,
        template: &Template<'_>,
    ) -> Result<Pods, String> {
        let labels = ordered.selector(&target.object).and_then(|selector| selector_text(Some(&selector)))?;
        let kind = self.kinds.discovery.resolve("v1", "Pod").await.map_err(|error| error.to_string())?;
        let stuck = |pod: Arc<Value>| {
            let is_its = controlling_owner(&pod).is_some_and(|owner| owner.uid == target.id.uid);
            if is_its { template.stuck(&pod, self.now) } else { None }
        };
        let scope = Scope { namespace: &target.id.namespace, labels: &labels, name: None };
        match live_read::list(self.client, &kind, scope, &stuck).await {
            Read::Found(mut stuck) => {
                stuck.sort_by(|one, other| one.name.cmp(&other.name));
                Ok(Pods::Stuck(stuck))
            }
            Read::Gone => Ok(Pods::Stuck(Vec::new())),
            Read::Refused(why) | Read::Failed(why) => Err(why),
        }
    }
}
