//! Reads the targets of a decision as the policy's ServiceAccount.
//!
//! - `mod.rs`: reads what a decision asks for, and makes targets of it.
//! - `listing`: lists the objects that one step selects.
//! - `owners`: an object that another one owns is changed through its owner.
//! - `autoscalers`: what autoscalers want, and what they scale.
//! - `beside`: all objects of a kind in the namespaces of some others.
//! - `borrowed`: Deployments whose pod template a Rollout runs.
//! - `pods`: pods that keep a change from the other pods.
//! - `nodes`: the nodes that match what stays of a placement.
//! - `exempt`: namespaces in which nothing may be changed.
//! - `revisions`: templates that controllers have seen, which settle a restart whose answer was lost.
//! - `scope`: which objects names, labels and namespaces select.
//! - `survey`: which of the objects that the steps of a policy may change Argo CD applies.
//! - `unread`: what is said where something could not be read.

mod autoscalers;
mod beside;
mod borrowed;
mod definitions;
mod exempt;
mod listing;
mod nodes;
mod owners;
mod pods;
mod revisions;
mod scope;
mod survey;
mod unread;

pub use self::autoscalers::{HPA, Kind, SCALED_OBJECT};
pub use self::borrowed::{DEPLOYMENT, ROLLOUT};
pub use self::survey::{Reach, Survey, survey};

use self::borrowed::Runners;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firebreak_engine::action::Autoscalers;
use firebreak_engine::change::Change;
use firebreak_engine::decide::ladder;
use firebreak_engine::facts::{ListingRead, Looked, ObjectRead, Target};
use firebreak_engine::id::TargetId;
use firebreak_engine::incident::IncidentState;
use firebreak_engine::period::after;
use firebreak_engine::placement::Nodes;
use firebreak_engine::rules::{Rules, Step};
use firebreak_engine::verdict::Verdict;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use serde_json::Value;
use tokio::sync::OnceCell;

use self::exempt::Exemption;
use self::pods::asks_in;
use self::unread::{Unread, found};
use crate::actuator::live_read;
use crate::kubernetes::discovery::{Discovery, ResolveError, ServedKind};
use crate::workloads::{self, Profile, Profiles};

/// Live reads in flight.
const IN_FLIGHT: usize = 32;
/// Lists of one step in flight.
const LISTS: usize = 8;
/// The time after which an operator without observedGeneration is assumed to have observed a change.
const OPERATORS_NOTICE_WITHIN: SignedDuration = SignedDuration::from_secs(10);

/// The client that acts as the ServiceAccount, or why there is none.
pub type Account = Result<Client, String>;

/// The resources that serve kinds, and the profiles of kinds.
#[derive(Clone, Copy)]
pub struct Kinds<'a> {
    /// The resource that serves a kind.
    pub discovery: &'a Discovery,
    /// The profiles of kinds.
    pub profiles: &'a Profiles,
}

/// Performs live reads, several at a time.
pub async fn look(
    kinds: Kinds<'_>,
    account: &Account,
    namespace: &str,
    state: &IncidentState,
    rules: Option<&Rules>,
    listings: Vec<String>,
    objects: Vec<TargetId>,
) -> Looked {
    let client = match account {
        Ok(client) => client,
        Err(why) => {
            let listing = |step| (step, ListingRead::Refused { why: why.clone() });
            let object = |target| (target, ObjectRead::Refused { why: why.clone() });
            return Looked {
                listings: listings.into_iter().map(listing).collect(),
                objects: objects.into_iter().map(object).collect(),
                ..Looked::default()
            };
        }
    };
    let steps = ladder(state, rules);
    let (profiles, unread) = definitions::with_scaled_kinds(kinds, &steps).await;
    let kinds = Kinds { profiles: &profiles, ..kinds };
    let reader = Reader::new(kinds, client, namespace, state, &steps);
    let object = async |target: TargetId| {
        let (read, runners) = reader.object(&target).await;
        (target, read, runners)
    };
    let listings = reader.steps(listings, &unread);
    let objects = stream::iter(objects).map(object).buffer_unordered(IN_FLIGHT).collect::<Vec<_>>();
    let (mut listings, mut objects) = tokio::join!(listings, objects);
    // Of which objects the pods are listed must not depend on which of them was read first.
    reader.ask_for_pods(asks_in(&mut listings, &mut objects)).await;
    Looked {
        listings: listings.into_iter().map(|(step, read, _)| (step, read)).collect(),
        objects: objects.into_iter().map(|(target, read, _)| (target, read)).collect(),
        ..Looked::default()
    }
}

/// Lists what each step may change, to judge it and not to change it: a namespace that may not be read counts as one that is
/// not exempt.
pub async fn list_to_judge(
    kinds: Kinds<'_>,
    client: &Client,
    namespace: &str,
    rules: &Rules,
) -> BTreeMap<String, ListingRead> {
    let (profiles, unread) = definitions::with_scaled_kinds(kinds, &rules.steps).await;
    let kinds = Kinds { profiles: &profiles, ..kinds };
    let state = IncidentState::default();
    let reader = Reader::to_judge(kinds, client, namespace, &state, &rules.steps);
    let names = rules.steps.iter().map(|step| step.name.clone()).collect();
    let listings = reader.steps(names, &unread).await;
    listings.into_iter().map(|(step, read, _)| (step, read)).collect()
}

struct Reader<'a> {
    kinds: Kinds<'a>,
    client: &'a Client,
    namespace: &'a str,
    state: &'a IncidentState,
    steps: &'a [Step],
    now: Timestamp,
    /// The nodes of the cluster, once something has asked for them.
    nodes: OnceCell<Nodes>,
    exemption: Exemption,
}

impl<'a> Reader<'a> {
    fn new(
        kinds: Kinds<'a>,
        client: &'a Client,
        namespace: &'a str,
        state: &'a IncidentState,
        steps: &'a [Step],
    ) -> Self {
        let (nodes, exemption) = (OnceCell::new(), Exemption::MustBeKnown);
        Self { kinds, client, namespace, state, steps, now: Timestamp::now(), nodes, exemption }
    }

    /// Reads only to judge: nothing is changed.
    fn to_judge(
        kinds: Kinds<'a>,
        client: &'a Client,
        namespace: &'a str,
        state: &'a IncidentState,
        steps: &'a [Step],
    ) -> Self {
        Self { exemption: Exemption::IfItMayBeRead, ..Self::new(kinds, client, namespace, state, steps) }
    }
}

impl Reader<'_> {
    /// The objects of these steps, except of those for which something else could not be read.
    async fn steps(
        &self,
        names: Vec<String>,
        unread: &BTreeMap<String, String>,
    ) -> Vec<(String, ListingRead, Runners)> {
        let listing = async |step: String| {
            let (read, runners) = match unread.get(&step) {
                None => self.step(&step).await,
                Some(why) => (ListingRead::Failed { why: why.clone() }, Runners::new()),
            };
            (step, read, runners)
        };
        stream::iter(names).map(listing).buffer_unordered(IN_FLIGHT).collect().await
    }

    /// An object, and what runs its pods in its place.
    async fn object(&self, id: &TargetId) -> (ObjectRead, Runners) {
        let step = self.step_that_asks(id);
        let mut runners = Runners::new();
        let read = async {
            let Some(object) = self.live(id).await? else { return Ok(ObjectRead::Gone) };
            let mut target = self.target(object, step).map_err(Unread::Failed)?;
            self.ask_for_revisions(&mut target).await;
            // A new plan, or a change that waits for its autoscaler, needs as much information as a listing has.
            if let Some(step) = step {
                runners = self.ask_who_runs(step, std::slice::from_mut(&mut target)).await;
                self.ask_autoscalers(&step.action, std::slice::from_mut(&mut target)).await;
                if self.is_asked_by_intent(id) {
                    self.ask_for_nodes(&step.action, std::slice::from_mut(&mut target)).await;
                }
            }
            if self.is_asked_by_intent(id) && !id.namespace.is_empty() {
                target.exempt |= self.is_exempt(&id.namespace).await?;
            }
            Ok::<_, Unread>(ObjectRead::Found(Box::new(target)))
        };
        let read = read.await.unwrap_or_else(ObjectRead::from);
        (read, runners)
    }

    /// The step for which an object is read: the one with an open intent on it, otherwise one that has
    /// raised its autoscaler's limit, otherwise any that has changed it.
    fn step_that_asks(&self, id: &TargetId) -> Option<&Step> {
        let has = |step: &&Step, wanted: fn(&Change) -> bool| {
            self.state.changes_of(&step.name).any(|change| change.target.uid == id.uid && wanted(change))
        };
        let raises = |step: &&Step| step.action.descriptor().autoscalers == Autoscalers::Demand;
        let mut steps = self.steps.iter();
        let asks = steps.clone().find(|step| has(step, may_be_planned_again));
        let raised = || steps.clone().find(|step| raises(step) && has(step, |change| change.is_in_force()));
        asks.or_else(raised).or_else(|| steps.find(|step| has(step, |_| true)))
    }

    /// Whether a change of the object may be planned again now.
    fn is_asked_by_intent(&self, id: &TargetId) -> bool {
        let changes = &self.state.changes;
        changes.iter().any(|change| change.target.uid == id.uid && may_be_planned_again(change))
    }

    /// This object and no other of its name.
    async fn live(&self, id: &TargetId) -> Result<Option<Arc<Value>>, Unread> {
        let kind = self.resolve(&id.api_version, &id.kind).await?;
        found(live_read::object(self.client, &kind, id).await)
    }

    fn target(&self, object: Arc<Value>, step: Option<&Step>) -> Result<Target, String> {
        let profile = self.profile(&object).cloned();
        let condition = step.map(|step| &step.targets().where_);
        let mut target = workloads::target(profile.as_deref(), object, condition, None, &BTreeSet::new())?;
        if let Some(step) = step {
            target.stage = step.action.stage_of(&target.id, self.namespace);
            target.purpose = self.state.purpose(&step.name, &target.id.uid);
        }
        // If nothing rolls out, nothing has to be observed.
        let rolls_out = profile.is_some_and(|profile| !profile.rollout.is_empty());
        if rolls_out && target.rollout.0 == Verdict::True && self.may_be_of_before(&target) {
            let wait = OPERATORS_NOTICE_WITHIN.as_secs();
            let why = format!(
                "its operator does not report which change it has observed; waiting for \
                {wait} s"
            );
            target.rollout = (Verdict::Unknown, why);
        }
        Ok(target)
    }

    /// The profile of the kind of an object.
    fn profile(&self, object: &Value) -> Option<&Arc<Profile>> {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        self.kinds.profiles.find(text("apiVersion"), text("kind"))
    }

    /// Whether the status may still describe the object before our
    /// change: it has no observedGeneration, and the change is recent.
    fn may_be_of_before(&self, target: &Target) -> bool {
        // That of a Rollout is a text.
        let is_number =
            |seen: &Value| seen.is_i64() || seen.as_str().is_some_and(|text| text.parse::<i64>().is_ok());
        let says = target.object.pointer("/status/observedGeneration").is_some_and(is_number);
        let noticed = |at| after(at, OPERATORS_NOTICE_WITHIN) <= self.now;
        let changes = self.state.changes.iter().filter(|change| change.target.uid == target.id.uid);
        let newest = |change: &Change| {
            change.returned_at().max(change.template_back_at()).max(change.took_effect_at())
        };
        !says && !changes.filter_map(newest).all(noticed)
    }

    async fn resolve(&self, api_version: &str, kind: &str) -> Result<ServedKind, Unread> {
        self.kinds.discovery.resolve(api_version, kind).await.map_err(|error| match error {
            ResolveError::NotFound { .. } | ResolveError::Malformed(_) => Unread::Refused(error.to_string()),
            ResolveError::Unreachable { .. } => Unread::Failed(error.to_string()),
        })
    }
}

/// Whether the outcome of its newest request is open, so that it may be planned again.
fn may_be_planned_again(change: &Change) -> bool {
    change.is_open_intent() || change.is_open_operation()
}
