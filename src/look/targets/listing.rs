//! Lists the objects that one step selects, and makes targets of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use firebreak_engine::change::Change;
use firebreak_engine::facts::{Listing, ListingRead, Stage, Target};
use firebreak_engine::policy::ObjectRef;
use firebreak_engine::rules::Step;
use firebreak_engine::selector::Namespaces;
use firebreak_engine::verdict::Verdict;
use futures::future::try_join_all;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::borrowed::Runners;
use super::scope::{absent, is_called, names_to_look_up};
use super::unread::{Unread, found};
use super::{LISTS, Reader};
use crate::actuator::live_read::{self, Extent, Scope};
use crate::kubernetes::discovery::ServedKind;
use crate::workloads;

impl Reader<'_> {
    /// The objects of a step, and what runs the pods of some in their place.
    pub(super) async fn step(&self, name: &str) -> (ListingRead, Runners) {
        let Some(step) = self.steps.iter().find(|step| step.name == name) else {
            let why = format!("there is no step {name} any more");
            return (ListingRead::Failed { why }, Runners::new());
        };
        let before = step.action.kind().before().iter().map(|named| self.named(step, &named.object));
        match futures::try_join!(self.listed(step), futures::future::try_join_all(before)) {
            Ok(((mut listing, runners), before)) => {
                listing.targets.retain(|target| target.stage == Stage::Targets);
                listing.targets.extend(before.into_iter().flatten());
                (ListingRead::Listed(listing), runners)
            }
            Err(unread) => (unread.into(), Runners::new()),
        }
    }

    async fn listed(&self, step: &Step) -> Result<(Listing, Runners), Unread> {
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
        let named = Mutex::new(BTreeSet::new());
        let wanted = |object: Arc<Value>| {
            let name = scope.names.iter().find(|name| is_called(name, &object));
            if name.is_none() && !scope.names.is_empty() {
                return None;
            }
            named.lock().unwrap_or_else(PoisonError::into_inner).extend(name);
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
        let absent = absent(scope, &named.lock().unwrap_or_else(PoisonError::into_inner));
        let scope = in_scope.lock().unwrap_or_else(PoisonError::into_inner).len();
        Ok((Listing { targets, scope, absent }, runners))
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
        let list = self.list_named(kind, labels, step, &namespace, Extent::Whole, wanted);
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

    /// What is kept of the objects of one namespace, or of the whole cluster, that the names and labels of a step select.
    pub(super) async fn list_named<T: Send>(
        &self,
        kind: &ServedKind,
        labels: &str,
        step: &Step,
        namespace: &str,
        extent: Extent,
        keep: &(dyn Fn(Arc<Value>) -> Option<T> + Sync),
    ) -> Result<Vec<T>, Unread> {
        let lists = names_to_look_up(&step.targets().scope.names).into_iter().map(|name| async move {
            let fields = name.map(|name| format!("metadata.name={name}")).unwrap_or_default();
            let scope = Scope { namespace, labels, fields: &fields };
            found(live_read::list_of(self.client, kind, scope, extent, keep).await)
                .map(Option::unwrap_or_default)
        });
        Ok(try_join_all(lists).await?.into_iter().flatten().collect())
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
}
