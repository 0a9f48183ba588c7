//! Pods that block a change, and pods that do not start.
//!
//! They are listed only while a change of this Incident is in force there, or was just reverted, and has not
//! reached all of them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use firebreak_engine::change::{Change, ChangeState};
use firebreak_engine::facts::Target;
use firebreak_engine::period::after;
use firebreak_engine::pods::{Pods, StuckPod};
use firebreak_engine::verdict::Verdict;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::borrowed::Runners;
use super::{LISTS, Reader};
use crate::actuator::live_read::{self, Read, Scope};
use crate::observe::selector_text;
use crate::workloads::{self, EventsOf, PodsOf, Profile, Selection, Template, Trouble};

/// The number of objects whose pods one round of live reads lists only to say why they do not start. A status names one.
pub(super) const EXPLAINED: usize = 16;

/// How many objects may still be asked; shared by the live reads of one round.
pub(super) struct Budget(AtomicUsize);

impl Budget {
    pub fn of(number: usize) -> Self {
        Self(AtomicUsize::new(number))
    }

    /// Takes one of what is left. False if nothing is.
    fn take(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// What is asked about the pods of one object.
struct Question<'a> {
    profile: &'a Profile,
    /// The template that pods get one after the other.
    template: Option<Template<'a>>,
    /// How its pods are found to say why they do not start.
    pods: Option<Cow<'a, PodsOf>>,
    /// The name of the object that runs its pods: most often its own.
    runner: String,
}

/// What was seen of one pod.
struct SeenPod {
    stuck: Option<StuckPod>,
    trouble: Option<Trouble>,
}

impl Reader<'_> {
    /// Adds the stuck pods to each target, and to its rollout why new pods do not start.
    pub(super) async fn ask_for_pods(&self, targets: &mut [Target], runners: &Runners) {
        let mut reached: Vec<&mut Target> =
            targets.iter_mut().filter(|target| self.reaches_pods(target)).collect();
        for target in reached.iter_mut().filter(|target| target.rollout.0 == Verdict::True) {
            if target.pods.are_in_order() {
                target.pods = Pods::Stuck(Vec::new());
            }
        }
        let waiting = reached.into_iter().filter(|target| target.rollout.0 != Verdict::True);
        let (in_order, others): (Vec<_>, Vec<_>) = waiting.partition(|target| target.pods.are_in_order());
        let others = others.into_iter().take_while(|_| self.to_explain.take());
        let asked = in_order.into_iter().chain(others);
        stream::iter(asked).for_each_concurrent(LISTS, |target| self.ask_for_pods_of(target, runners)).await;
    }

    async fn ask_for_pods_of(&self, target: &mut Target, runners: &Runners) {
        let object = target.object.clone();
        let Some(profile) = self.profile(&object) else { return };
        let ordered = profile.ordered_pods.as_ref().filter(|_| target.pods.are_in_order());
        let template = ordered.and_then(|ordered| ordered.template(&object));
        let selection = match (ordered, &template, &profile.pods) {
            (Some(_), None, _) => {
                target.pods = Pods::NotYet;
                return;
            }
            (Some(ordered), Some(_), _) => ordered.selector(&object).map(Selection::Labels),
            (None, _, Some(pods)) if is_observed(&object) => pods.selection(&object),
            (None, _, _) => return,
        };
        let question = self.question(target, profile, template, runners);
        let listed = match selection {
            Ok(selection) => self.list_pods(target, selection, &question).await,
            Err(why) => Err(why),
        };
        let why = match listed {
            Ok(seen) => {
                let (stuck, troubles): (Vec<_>, Vec<_>) =
                    seen.into_iter().map(|pod| (pod.stuck, pod.trouble)).unzip();
                if ordered.is_some() {
                    let mut stuck: Vec<StuckPod> = stuck.into_iter().flatten().collect();
                    stuck.sort_by(|one, other| one.name.cmp(&other.name));
                    target.pods = Pods::Stuck(stuck);
                }
                match troubles.iter().flatten().min() {
                    Some(trouble) => Some(trouble.text().to_owned()),
                    None => self.why_not_created(target, &question, troubles.len()).await,
                }
            }
            Err(why) => {
                let why = format!("its pods cannot be listed: {why}");
                if ordered.is_some() {
                    target.pods = Pods::Unknown(why.clone());
                }
                Some(why)
            }
        };
        if let Some(why) = why {
            target.rollout.1 = format!("{}; {why}", target.rollout.1);
        }
    }

    /// Another object may run the pods of this one.
    fn question<'a>(
        &'a self,
        target: &Target,
        profile: &'a Profile,
        template: Option<Template<'a>>,
        runners: &Runners,
    ) -> Question<'a> {
        let own = profile.pods.as_ref();
        let runner = runners.get(&target.id.uid);
        let its = runner.and_then(|runner| self.profile(runner)?.pods.as_ref());
        let pods = own.map(|own| its.map_or(Cow::Borrowed(own), |its| Cow::Owned(own.run_by(its))));
        let name = runner.and_then(|runner| runner.pointer("/metadata/name")?.as_str());
        Question { profile, template, pods, runner: name.unwrap_or(&target.id.name).to_owned() }
    }

    /// Whether a change of this Incident affects the pods of the object, or is being reverted from them.
    fn reaches_pods(&self, target: &Target) -> bool {
        let mut changes = self.state.changes.iter().filter(|change| change.target.uid == target.id.uid);
        changes.any(|change| match change.state {
            ChangeState::Applied | ChangeState::Verified | ChangeState::Reverting => true,
            ChangeState::Reverted => self.is_just_back(change),
            ChangeState::Planned
            | ChangeState::Intended
            | ChangeState::Unclear
            | ChangeState::Ceded
            | ChangeState::Kept
            | ChangeState::Done
            | ChangeState::Skipped
            | ChangeState::Failed
            | ChangeState::Held => false,
        })
    }

    /// Whether its wave may still wait for the pods.
    fn is_just_back(&self, change: &Change) -> bool {
        let step = self.steps.iter().find(|step| step.name == change.step);
        step.zip(change.returned_at()).is_some_and(|(step, at)| after(at, step.patience()) > self.now)
    }

    async fn list_pods(
        &self,
        target: &Target,
        selection: Selection,
        question: &Question<'_>,
    ) -> Result<Vec<SeenPod>, String> {
        let labels = match selection {
            Selection::Labels(labels) => selector_text(Some(&labels))?,
            Selection::Text(text) => text,
            Selection::Nothing => return Ok(Vec::new()),
        };
        let kind = self.kinds.discovery.resolve("v1", "Pod").await.map_err(|error| error.to_string())?;
        let changes = self.state.changes.iter().filter(|change| change.target.uid == target.id.uid);
        let paths = changes.flat_map(Change::fields).map(|field| &field.path);
        let pods = question.pods.as_deref();
        let fresh = pods.map(|pods| pods.fresh(&target.object, paths)).unwrap_or_default();
        let uid = &target.id.uid;
        let seen = |pod: Arc<Value>| {
            let is_its = match pods {
                Some(pods) => pods.has(&pod, &question.runner, uid),
                None => workloads::is_controlled_by(&pod, uid),
            };
            is_its.then(|| SeenPod {
                stuck: question.template.and_then(|template| template.stuck(&pod, self.now)),
                trouble: pods.and_then(|of| of.trouble(&target.object, &pod, &fresh, self.now)),
            })
        };
        let scope = Scope { namespace: &target.id.namespace, labels: &labels, fields: "" };
        match live_read::list(self.client, &kind, scope, &seen).await {
            Read::Found(pods) => Ok(pods),
            Read::Gone => Ok(Vec::new()),
            Read::Refused(why) | Read::Failed(why) => Err(why),
        }
    }

    /// Why there are fewer pods than wanted, from the Events of a kind that has no field for that.
    async fn why_not_created(&self, target: &Target, question: &Question<'_>, pods: usize) -> Option<String> {
        let of = question.pods.as_deref().filter(|of| of.reads_events())?;
        let wanted = of.wanted(question.profile.replicas.as_ref()?, &target.object);
        if i64::try_from(pods).is_ok_and(|pods| pods >= wanted) {
            return None;
        }
        let kind = self.kinds.discovery.resolve("v1", "Event").await.ok()?;
        let whose = match of.events {
            EventsOf::Itself => format!("involvedObject.uid={}", target.id.uid),
            EventsOf::StatefulSets | EventsOf::Nobody => "involvedObject.kind=StatefulSet".to_owned(),
        };
        let fields = format!("{whose},type=Warning,reason=FailedCreate");
        let scope = Scope { namespace: &target.id.namespace, labels: "", fields: &fields };
        // What was refused before the template changed may be allowed by now.
        let changes = self.state.changes.iter().filter(|change| change.target.uid == target.id.uid);
        let since = changes.filter_map(|change| change.returned_at().max(change.applied_at())).max()?;
        let said = |event: Arc<Value>| {
            let text = |key: &str| event[key].as_str();
            let about = |key: &str| event["involvedObject"][key].as_str();
            of.is_told_by(&target.id, about("kind")?, about("name")?).then_some(())?;
            let at = text("lastTimestamp").or_else(|| text("eventTime"))?.parse::<Timestamp>().ok()?;
            // Events are told in whole seconds.
            (after(at, SignedDuration::from_secs(1)) > since).then_some(())?;
            Some((at, text("message")?.to_owned()))
        };
        match live_read::list(self.client, &kind, scope, &said).await {
            Read::Found(events) => {
                let newest = events.into_iter().collect::<BTreeSet<_>>().pop_last();
                newest.map(|(_, why)| format!("its pods are rejected: {}", workloads::quote(&why)))
            }
            Read::Gone => None,
            Read::Refused(why) | Read::Failed(why) => {
                Some(format!("there are fewer pods than it wants, and its Events cannot be listed: {why}"))
            }
        }
    }
}

/// Whether the status is about the object as it is; also if it does not say.
fn is_observed(object: &Value) -> bool {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    number("/status/observedGeneration").is_none_or(|seen| Some(seen) >= number("/metadata/generation"))
}
