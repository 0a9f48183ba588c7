//! Pods that block a change, and pods that do not start.
//!
//! They are listed only while a change of this Incident is in force there, or was just reverted, and has not
//! reached all of them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use firebreak_engine::change::{Change, ChangeState};
use firebreak_engine::facts::{ListingRead, ObjectRead, Stage, Target};
use firebreak_engine::id::TargetId;
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
use crate::workloads::{self, EventsOf, OrderedPods, PodsOf, Profile, Selection, Template, Trouble};

/// The number of objects whose pods one round of live reads lists only to say why they do not start. A status names one.
const EXPLAINED: usize = 16;

/// A target that was read, and what runs the pods of others in their place.
pub(super) type Asked<'a> = (&'a mut Target, &'a Runners);

/// All targets that were read. What a step changes before its targets is left out of its listing.
pub(super) fn asks_in<'a>(
    listings: &'a mut [(String, ListingRead, Runners)],
    objects: &'a mut [(TargetId, ObjectRead, Runners)],
) -> Vec<Asked<'a>> {
    let mut asks: Vec<Asked<'a>> = Vec::new();
    for (_, read, runners) in listings {
        let runners: &'a Runners = runners;
        if let ListingRead::Listed(listing) = read {
            let targets = listing.targets.iter_mut().filter(|target| target.stage == Stage::Targets);
            asks.extend(targets.map(|target| (target, runners)));
        }
    }
    for (_, read, runners) in objects {
        if let ObjectRead::Found(target) = read {
            asks.push((&mut **target, &*runners));
        }
    }
    asks
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
    pub(super) async fn ask_for_pods(&self, asks: Vec<Asked<'_>>) {
        let mut waiting: Vec<Asked<'_>> = Vec::new();
        for (target, runners) in asks.into_iter().filter(|(target, _)| self.reaches_pods(target)) {
            if target.rollout.0 != Verdict::True {
                waiting.push((target, runners));
            } else if target.pods.are_in_order() {
                target.pods = Pods::Stuck(Vec::new());
            }
        }
        let explained = self.explained(waiting.iter().map(|(target, _)| &**target));
        let asks = waiting
            .into_iter()
            .filter(|(target, _)| target.pods.are_in_order() || explained.contains(&target.id));
        stream::iter(asks)
            .for_each_concurrent(LISTS, |(target, runners)| self.ask_for_pods_of(target, runners))
            .await;
    }

    /// Of which objects the pods are listed only to say why they do not start: the first ones, so that the same objects
    /// have a reason in every pass.
    fn explained<'t>(&self, waiting: impl Iterator<Item = &'t Target>) -> BTreeSet<TargetId> {
        let has_pods = |target: &&Target| {
            let profile = self.profile(&target.object);
            !target.pods.are_in_order() && profile.is_some_and(|profile| profile.pods.is_some())
        };
        let all: BTreeSet<TargetId> = waiting.filter(has_pods).map(|target| target.id.clone()).collect();
        all.into_iter().take(EXPLAINED).collect()
    }

    async fn ask_for_pods_of(&self, target: &mut Target, runners: &Runners) {
        let object = target.object.clone();
        let Some(profile) = self.profile(&object) else { return };
        let ordered = profile.ordered_pods.as_ref().filter(|_| target.pods.are_in_order());
        let template = ordered.and_then(|ordered| ordered.template(&object));
        if ordered.is_some() && template.is_none() {
            target.pods = Pods::NotYet;
            return;
        }
        let Some(selection) = selection(profile, ordered, &object) else { return };
        let question = self.question(target, profile, template, runners);
        let seen = match selection {
            Ok(selection) => self.list_pods(target, selection, &question).await,
            Err(why) => Err(why),
        };
        let seen = seen.map_err(|why| format!("its pods cannot be listed: {why}"));
        if ordered.is_some() {
            target.pods = stuck(&seen);
        }
        let why = match seen {
            Ok(pods) => self.why_not_started(target, &question, &pods).await,
            Err(why) => Some(why),
        };
        if let Some(why) = why {
            target.rollout.1 = format!("{}; {why}", target.rollout.1);
        }
    }

    /// Why the rollout waits, as far as its pods or their absence say.
    async fn why_not_started(
        &self,
        target: &Target,
        question: &Question<'_>,
        pods: &[SeenPod],
    ) -> Option<String> {
        match pods.iter().filter_map(|pod| pod.trouble.as_ref()).min() {
            Some(trouble) => Some(trouble.text().to_owned()),
            None => self.why_not_created(target, question, pods.len()).await,
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
            ChangeState::Applied | ChangeState::Verified | ChangeState::Reverting | ChangeState::Done => true,
            ChangeState::Reverted => self.is_just_back(change),
            ChangeState::Planned
            | ChangeState::Intended
            | ChangeState::Unclear
            | ChangeState::Ceded
            | ChangeState::Kept
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
        let paths = changes.flat_map(Change::paths);
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
        let since = changes.filter_map(|change| change.returned_at().max(change.took_effect_at())).max()?;
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

/// How the pods are listed; none if nothing is asked about them yet.
fn selection(
    profile: &Profile,
    ordered: Option<&OrderedPods>,
    object: &Value,
) -> Option<Result<Selection, String>> {
    match (ordered, &profile.pods) {
        (Some(ordered), _) => Some(ordered.selector(object).map(Selection::Labels)),
        (None, Some(pods)) if is_observed(object) => Some(pods.selection(object)),
        (None, _) => None,
    }
}

/// The pods that keep a change from the others, by name.
fn stuck(seen: &Result<Vec<SeenPod>, String>) -> Pods {
    match seen {
        Ok(pods) => {
            let mut stuck: Vec<StuckPod> = pods.iter().filter_map(|pod| pod.stuck.clone()).collect();
            stuck.sort_by(|one, other| one.name.cmp(&other.name));
            Pods::Stuck(stuck)
        }
        Err(why) => Pods::Unknown(why.clone()),
    }
}

/// Whether the status is about the object as it is; also if it does not say.
fn is_observed(object: &Value) -> bool {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    number("/status/observedGeneration").is_none_or(|seen| Some(seen) >= number("/metadata/generation"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use firebreak_engine::incident::IncidentState;
    use kube::Client;
    use serde_json::json;

    use super::super::Kinds;
    use super::*;
    use crate::kubernetes::discovery::Discovery;
    use crate::workloads::Profiles;

    fn target(profiles: &Profiles, kind: (&str, &str), name: &str) -> Target {
        let object = json!({"apiVersion": kind.0, "kind": kind.1, "spec": {}, "metadata": {"name": name,
            "namespace": "serving", "uid": name, "resourceVersion": "1"}});
        let profile = profiles.find(kind.0, kind.1).map(Arc::as_ref);
        workloads::target(profile, Arc::new(object), None, None, &BTreeSet::new()).unwrap()
    }

    #[tokio::test]
    async fn the_same_objects_are_explained_whatever_was_read_first() {
        let profiles = Profiles::built_in().unwrap();
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Ok::<_, tower::BoxError>(http::Response::new(kube::client::Body::empty()))
        });
        let client = Client::new(service, "default");
        let discovery = Discovery::new(client.clone());
        let kinds = Kinds { discovery: &discovery, profiles: &profiles };
        let state = IncidentState::default();
        let reader = Reader::new(kinds, &client, "serving", &state, &[]);
        let deployment = ("apps/v1", "Deployment");
        let without = ("inference.llm-d.io/v1alpha1", "LLMDeployment");
        assert!(profiles.find(without.0, without.1).unwrap().pods.is_none());
        let mut targets: Vec<Target> =
            (0..40).map(|number| target(&profiles, deployment, &format!("d-{number:02}"))).collect();
        targets.extend((0..40).map(|number| target(&profiles, without, &format!("a-{number:02}"))));
        let names = |explained: BTreeSet<TargetId>| -> Vec<String> {
            explained.into_iter().map(|id| id.name).collect()
        };
        let first: Vec<String> = (0..EXPLAINED).map(|number| format!("d-{number:02}")).collect();
        assert_eq!(names(reader.explained(targets.iter())), first);
        assert_eq!(names(reader.explained(targets.iter().rev())), first);
    }
}
