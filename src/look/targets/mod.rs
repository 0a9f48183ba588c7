//! Reads the targets of a decision as the policy's ServiceAccount.
//!
//! - `mod.rs`: lists the objects that one step selects, and makes targets of them.
//! - `owners`: an object that another one owns is changed through its owner.
//! - `autoscalers`: what autoscalers want, and what they scale.
//! - `borrowed`: Deployments whose pod template a Rollout runs.
//! - `beside`: all objects of a kind in the namespaces of some others.
//! - `pods`: pods that keep a change from the other pods.
//! - `nodes`: the nodes that match what stays of a placement.
//! - `exempt`: namespaces in which nothing may be changed.
//! - `scope`: which objects names, labels and namespaces select.
//! - `survey`: which of the objects that the steps of a policy may change Argo CD applies.
//! - `unread`: what is said where something could not be read.

mod autoscalers;
mod borrowed;
mod beside;
mod definitions;
mod exempt;
mod nodes;
mod owners;
mod pods;
mod scope;
mod survey;
mod unread;

pub use self::autoscalers::{HPA, Kind, SCALED_OBJECT};
pub use self::borrowed::{DEPLOYMENT, ROLLOUT};
pub use self::survey::survey;

use self::borrowed::Runners;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use firebreak_engine::action::Autoscalers;
use firebreak_engine::change::Change;
use firebreak_engine::decide::ladder;
use firebreak_engine::facts::{Listing, ListingRead, Looked, ObjectRead, Stage, Target};
use firebreak_engine::id::TargetId;
use firebreak_engine::incident::IncidentState;
use firebreak_engine::period::after;
use firebreak_engine::placement::Nodes;
use firebreak_engine::policy::ObjectRef;
use firebreak_engine::rules::{Rules, Step};
use firebreak_engine::selector::Namespaces;
use firebreak_engine::verdict::Verdict;
use futures::future::try_join_all;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use serde_json::Value;
use tokio::sync::OnceCell;

use self::pods::{Budget, EXPLAINED};
use self::scope::{is_named, names_to_look_up};
use self::unread::{Unread, found};
use crate::actuator::live_read::{self, Scope};
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
    let listing = async |step: String| {
        let read = match unread.get(&step) {
            None => reader.step(&step).await,
            Some(why) => ListingRead::Failed { why: why.clone() },
        };
        (step, read)
    };
    let object = async |target: TargetId| {
        let read = reader.object(&target).await;
        (target, read)
    };
    let listings = stream::iter(listings).map(listing).buffer_unordered(IN_FLIGHT).collect();
    let objects = stream::iter(objects).map(object).buffer_unordered(IN_FLIGHT).collect();
    let (listings, objects) = tokio::join!(listings, objects);
    Looked { listings, objects, ..Looked::default() }
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
    /// How many more objects may have their pods listed only to say why they do not start.
    to_explain: Budget,
}

impl<'a> Reader<'a> {
    fn new(
        kinds: Kinds<'a>,
        client: &'a Client,
        namespace: &'a str,
        state: &'a IncidentState,
        steps: &'a [Step],
    ) -> Self {
        let (nodes, to_explain) = (OnceCell::new(), Budget::of(EXPLAINED));
        Self { kinds, client, namespace, state, steps, now: Timestamp::now(), nodes, to_explain }
    }
}

impl Reader<'_> {
    async fn object(&self, id: &TargetId) -> ObjectRead {
        let step = self.step_that_asks(id);
        let object = match self.live(id).await {
            Ok(Some(object)) => object,
            Ok(None) => return ObjectRead::Gone,
            Err(unread) => return unread.into(),
        };
        match self.target(object, step) {
            Ok(mut target) => {
                // A new plan, or a change that waits for its autoscaler, needs as much information as a listing
                // has.
                let mut runners = Runners::new();
                if let Some(step) = step {
                    runners = self.ask_who_runs(step, std::slice::from_mut(&mut target)).await;
                    self.ask_autoscalers(&step.action, std::slice::from_mut(&mut target)).await;
                    if self.is_asked_by_intent(id) {
                        self.ask_for_nodes(&step.action, std::slice::from_mut(&mut target)).await;
                    }
                }
                if self.is_asked_by_intent(id) && !id.namespace.is_empty() {
                    match self.is_exempt(&id.namespace).await {
                        Ok(exempt) => target.exempt |= exempt,
                        Err(unread) => return unread.into(),
                    }
                }
                self.ask_for_pods(std::slice::from_mut(&mut target), &runners).await;
                ObjectRead::Found(Box::new(target))
            }
            Err(why) => ObjectRead::Failed { why },
        }
    }

    /// The step for which an object is read: the one with an open intent on it, otherwise one that has
    /// raised its autoscaler's limit, otherwise any that has changed it.
    fn step_that_asks(&self, id: &TargetId) -> Option<&Step> {
        let has = |step: &&Step, wanted: fn(&Change) -> bool| {
            self.state.changes_of(&step.name).any(|change| change.target.uid == id.uid && wanted(change))
        };
        let raises = |step: &&Step| step.action.descriptor().autoscalers == Autoscalers::Demand;
        let mut steps = self.steps.iter();
        let asks = steps.clone().find(|step| has(step, |change| change.is_open_intent()));
        let raised = || steps.clone().find(|step| raises(step) && has(step, |change| change.is_in_force()));
        asks.or_else(raised).or_else(|| steps.find(|step| has(step, |_| true)))
    }

    /// Whether a change of the object may be planned again.
    fn is_asked_by_intent(&self, id: &TargetId) -> bool {
        let changes = &self.state.changes;
        changes.iter().any(|change| change.target.uid == id.uid && change.is_open_intent())
    }

    /// This object and no other of its name.
    async fn live(&self, id: &TargetId) -> Result<Option<Arc<Value>>, Unread> {
        let kind = self.resolve(&id.api_version, &id.kind).await?;
        found(live_read::object(self.client, &kind, id).await)
    }

    async fn step(&self, name: &str) -> ListingRead {
        let Some(step) = self.steps.iter().find(|step| step.name == name) else {
            return ListingRead::Failed { why: format!("there is no step {name} any more") };
        };
        let before = step.action.kind().before().iter().map(|named| self.named(step, &named.object));
        match futures::try_join!(self.listed(step), futures::future::try_join_all(before)) {
            Ok((mut listing, before)) => {
                listing.targets.retain(|target| target.stage == Stage::Targets);
                listing.targets.extend(before.into_iter().flatten());
                ListingRead::Listed(listing)
            }
            Err(unread) => unread.into(),
        }
    }

    async fn listed(&self, step: &Step) -> Result<Listing, Unread> {
        let scope = &step.targets().scope;
        let (kind, labels) = self.scope_of(step).await?;
        let changes = || self.state.changes_of(&step.name);
        let known: BTreeSet<&str> = changes().map(|change| change.target.uid.as_str()).collect();
        // An owner that was changed stays in the listing: it is found through what it owns, whether selected or not.
        let owners_are_known = changes().any(|change| {
            let id = &change.target;
            let is_target = step.action.stage_of(id, self.namespace) == Stage::Targets;
            is_target && (&id.api_version, &id.kind) != (&scope.api_version, &scope.kind)
        });
        // Objects that are changed through one owner count once.
        let in_scope = Mutex::new(BTreeSet::new());
        let wanted = |object: Arc<Value>| {
            if !is_named(scope, &object) {
                return None;
            }
            let place = workloads::controlling_owner(&object).map(|owner| owner.uid);
            let target = self
                .target(object, Some(step))
                .inspect_err(|why| tracing::warn!(step = step.name, %why, "one object is not a target"));
            let target = target.ok()?;
            if target.is_in_scope() {
                let place = place.unwrap_or_else(|| target.id.uid.clone());
                in_scope.lock().unwrap_or_else(PoisonError::into_inner).insert(place);
            }
            let is_wanted = target.matched != Verdict::False
                || workloads::may_be_borrowed(step, &target)
                || known.contains(target.id.uid.as_str())
                || owners_are_known && target.owned_by.is_some();
            is_wanted.then_some(target)
        };
        let places: Vec<Vec<Target>> =
            stream::iter(Namespaces::of(scope.namespaces.as_ref()).places(self.namespace))
                .map(|namespace| self.place(&kind, &labels, step, namespace, &wanted).boxed())
                .buffered(LISTS)
                .try_collect()
                .await?;
        let mut listed: Vec<Target> = places.into_iter().flatten().collect();
        let runners = self.ask_who_runs(step, &mut listed).await;
        let runs = listed.iter().filter(|target| target.stage == Stage::Targets && target.idle.is_none());
        let owned = |target: &Target| workloads::controlling_owner(&target.object).map(|owner| owner.uid);
        let runs = runs.map(|target| owned(target).unwrap_or_else(|| target.id.uid.clone()));
        in_scope.lock().unwrap_or_else(PoisonError::into_inner).extend(runs);
        let mut targets = self.through_owners(step, listed, &known).await?;
        self.ask_autoscalers(&step.action, &mut targets).await;
        self.ask_for_nodes(&step.action, &mut targets).await;
        self.ask_for_pods(&mut targets, &runners).await;
        let scope = in_scope.lock().unwrap_or_else(PoisonError::into_inner).len();
        Ok(Listing { targets, scope })
    }

    /// The wanted objects of one namespace, or of the whole cluster. Before the first change of a step, a namespace
    /// that is known is read while its objects are listed, because the change waits for both. Afterwards it
    /// is only read if an object may join.
    async fn place(
        &self,
        kind: &ServedKind,
        labels: &str,
        step: &Step,
        namespace: String,
        wanted: &(dyn Fn(Arc<Value>) -> Option<Target> + Sync),
    ) -> Result<Vec<Target>, Unread> {
        let list = async {
            let list = |name: Option<&str>| {
                let fields = name.map(|name| format!("metadata.name={name}")).unwrap_or_default();
                let namespace = &namespace;
                async move {
                    let scope = Scope { namespace, labels, fields: &fields };
                    let list = live_read::list(self.client, kind, scope, wanted).await;
                    found(list).map(Option::unwrap_or_default)
                }
            };
            let lists =
                try_join_all(names_to_look_up(&step.targets().scope.names).into_iter().map(list)).await?;
            Ok(lists.into_iter().flatten().collect::<Vec<Target>>())
        };
        let has_begun = self.state.changes_of(&step.name).any(Change::stands);
        let (mut targets, exempt) = if !kind.namespaced || namespace.is_empty() || has_begun {
            let targets = list.await?;
            let exempt = self.exempt_namespaces(&targets).await?;
            (targets, exempt)
        } else {
            let (targets, is_exempt) = tokio::join!(list, self.is_exempt(&namespace));
            let targets = targets?;
            // A namespace without targets does not matter, even if it cannot be read.
            let is_exempt = !targets.is_empty() && is_exempt?;
            (targets, is_exempt.then_some(namespace).into_iter().collect())
        };
        for target in &mut targets {
            target.exempt |= exempt.contains(&target.id.namespace);
        }
        Ok(targets)
    }

    /// An object that the step changes before its targets; none if it does not exist.
    async fn named(&self, step: &Step, object: &ObjectRef) -> Result<Option<Target>, Unread> {
        let namespace = object.namespace.as_deref().unwrap_or(self.namespace);
        let called = format!("{} {namespace}/{}, which the step changes first,", object.kind, object.name);
        let read = async {
            let kind = self.resolve(&object.api_version, &object.kind).await?;
            found(live_read::named(self.client, &kind, namespace, &object.name).await)
        };
        let (read, is_exempt) = tokio::join!(read, self.is_exempt(namespace));
        let Some(object) = read.map_err(|unread| unread.of(&called))? else { return Ok(None) };
        let mut target = self.target(Arc::new(object), Some(step)).map_err(Unread::Failed)?;
        (target.matched, target.match_problem) = (Verdict::True, None);
        target.exempt |= is_exempt?;
        Ok(Some(target))
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
        let newest =
            |change: &Change| change.returned_at().max(change.template_back_at()).max(change.applied_at());
        !says && !changes.filter_map(newest).all(noticed)
    }

    async fn resolve(&self, api_version: &str, kind: &str) -> Result<ServedKind, Unread> {
        self.kinds.discovery.resolve(api_version, kind).await.map_err(|error| match error {
            ResolveError::NotFound { .. } | ResolveError::Malformed(_) => Unread::Refused(error.to_string()),
            ResolveError::Unreachable { .. } => Unread::Failed(error.to_string()),
        })
    }
}
