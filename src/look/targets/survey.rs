//! The objects that the steps of a policy may change, whatever `where` says now, and that Argo CD applies.
//!
//! Read in quiet times, as the policy's ServiceAccount, so it costs no more than lists of metadata: of each object only
//! what names it is kept, and only if Argo CD applies it or if another object controls it, which is changed instead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firebreak_engine::gitops::argo::{Applied, Tracking};
use firebreak_engine::id::TargetId;
use firebreak_engine::incident::IncidentState;
use firebreak_engine::rules::{Rules, Step};
use firebreak_engine::selector::Namespaces;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use kube::Client;
use serde_json::Value;
use tokio::time::Instant;

use super::owners::{failure, owner_of, topmost};
use super::scope::is_named;
use super::{Kinds, LISTS, Reader, Unread, found};
use crate::actuator::live_read::{self, Extent};
use crate::workloads;

/// Owners that are read. An object may have an owner of its own, so there may be thousands.
const OWNERS: usize = 64;

/// Namespaces that are read to find out whether they are exempt. What is in others counts.
const NAMESPACES: usize = 256;

/// What a survey has found.
#[derive(Debug)]
pub struct Survey {
    /// What Argo CD applies.
    pub applied: Applied,
    /// How much of it was read.
    pub reach: Reach,
}

/// How much a survey has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All that may be read.
    All,
    /// What could be read in time.
    InTime,
}

/// What is kept of the objects in the scope of some steps. Objects count once, by their uid.
#[derive(Default)]
struct InScope {
    /// Those that Argo CD applies.
    tracked: BTreeMap<String, (TargetId, Tracking)>,
    /// Those that another object controls: one of each owner is enough.
    owned: BTreeMap<String, Arc<Value>>,
}

/// Lists the objects of all steps. What was refused is left out, and so is what was not read in this time; then the result
/// says that it is not all.
///
/// # Errors
/// There was no conclusive answer, so nothing is known.
pub async fn survey(
    kinds: Kinds<'_>,
    client: &Client,
    namespace: &str,
    rules: &Rules,
    within: Duration,
) -> Result<Survey, String> {
    let state = IncidentState::default();
    let reader = Reader::to_judge(kinds, client, namespace, &state, &rules.steps);
    let until = Instant::now() + within;
    let in_scope = Mutex::new(InScope::default());
    let mut applied = Applied::default();
    let mut reach = Reach::All;
    for step in once_per_scope(&rules.steps) {
        match tokio::time::timeout_at(until, reader.survey_step(step, &in_scope)).await {
            Ok(Ok(())) => {}
            Ok(Err(Unread::Refused(_))) => applied.is_not_all(),
            Ok(Err(Unread::Failed(why))) => return Err(why),
            Err(_) => reach = Reach::InTime,
        }
    }
    let InScope { mut tracked, owned } = in_scope.into_inner().unwrap_or_else(PoisonError::into_inner);
    if owned.len() > OWNERS {
        applied.is_not_all();
    }
    match tokio::time::timeout_at(until, reader.owners_of_argo(owned)).await {
        Ok(owners) => tracked.extend(owners?.into_iter().map(|one| (one.0.uid.clone(), one))),
        Err(_) => reach = Reach::InTime,
    }
    let namespaces: BTreeSet<&str> = tracked.values().map(|(id, _)| id.namespace.as_str()).collect();
    let exempt = match tokio::time::timeout_at(until, reader.exempt_among(namespaces)).await {
        Ok(exempt) => exempt?,
        Err(_) => {
            reach = Reach::InTime;
            BTreeSet::new()
        }
    };
    if reach == Reach::InTime {
        applied.is_not_all();
    }
    for (id, tracking) in tracked.values().filter(|(id, _)| !exempt.contains(&id.namespace)) {
        applied.add(id.clone(), tracking);
    }
    Ok(Survey { applied, reach })
}

/// The steps without those that change the same objects as an earlier one.
fn once_per_scope(steps: &[Step]) -> Vec<&Step> {
    let mut once: Vec<&Step> = Vec::new();
    for step in steps {
        let is_same = |other: &&Step| {
            other.targets().scope == step.targets().scope
                && other.action.kind().before() == step.action.kind().before()
        };
        if !once.iter().any(is_same) {
            once.push(step);
        }
    }
    once
}

impl Reader<'_> {
    /// Adds what is kept of the objects in the scope of a step, and of those that it changes first, page by page.
    async fn survey_step(&self, step: &Step, in_scope: &Mutex<InScope>) -> Result<(), Unread> {
        let (kind, labels) = self.scope_of(step).await?;
        let scope = &step.targets().scope;
        let add = |object: Arc<Value>| -> Option<()> {
            if is_named(scope, &object) {
                in_scope.lock().unwrap_or_else(PoisonError::into_inner).add(&object);
            }
            None
        };
        let places = Namespaces::of(scope.namespaces.as_ref()).places(self.namespace);
        let lists: Vec<BoxFuture<'_, Result<Vec<()>, Unread>>> = places
            .iter()
            .map(|place| self.list_named(&kind, &labels, step, place, Extent::Metadata, &add).boxed())
            .collect();
        stream::iter(lists).buffered(LISTS).try_collect::<Vec<Vec<()>>>().await?;
        for named in step.action.kind().before() {
            let place = named.object.namespace.as_deref().unwrap_or(self.namespace);
            let kind = self.resolve(&named.object.api_version, &named.object.kind).await?;
            if let Some(object) =
                found(live_read::named(self.client, &kind, place, &named.object.name).await)?
            {
                let mut in_scope = in_scope.lock().unwrap_or_else(PoisonError::into_inner);
                in_scope.tracked.extend(tracked(&object).map(|one| (one.0.uid.clone(), one)));
            }
        }
        Ok(())
    }

    /// The topmost owners of these objects that Argo CD applies. One that may not be read is not changed either.
    async fn owners_of_argo(
        &self,
        owned: BTreeMap<String, Arc<Value>>,
    ) -> Result<Vec<(TargetId, Tracking)>, String> {
        let children: Vec<Arc<Value>> = owned.into_values().take(OWNERS).collect();
        let owners = self.owners(children.iter().filter_map(|child| owner_of(child)).collect()).await;
        if let Some(why) = failure(&owners) {
            return Err(why.to_owned());
        }
        let known = |owner: &&Arc<Value>| self.profile(owner).is_some();
        let owners = children.iter().filter_map(|child| topmost(child, &owners)).filter(known);
        Ok(owners.filter_map(|owner| tracked(owner)).collect())
    }

    /// Which of these namespaces are exempt, as far as they may be read.
    async fn exempt_among(&self, namespaces: BTreeSet<&str>) -> Result<BTreeSet<String>, String> {
        let names = namespaces.into_iter().filter(|name| !name.is_empty()).take(NAMESPACES);
        let names: Vec<String> = names.map(str::to_owned).collect();
        let read = async |name: String| match self.is_exempt(&name).await {
            Ok(is_exempt) => Ok(is_exempt.then_some(name)),
            Err(Unread::Refused(_)) => Ok(None),
            Err(Unread::Failed(why)) => Err(why),
        };
        let exempt: Vec<Option<String>> = stream::iter(names).map(read).buffered(LISTS).try_collect().await?;
        Ok(exempt.into_iter().flatten().collect())
    }
}

impl InScope {
    /// Keeps what matters of an object.
    fn add(&mut self, object: &Value) {
        if workloads::is_exempt(object) {
            return;
        }
        match owner_of(object) {
            Some((uid, _)) => {
                self.owned.entry(uid).or_insert_with(|| Arc::new(reference(object)));
            }
            None => self.tracked.extend(tracked(object).map(|one| (one.0.uid.clone(), one))),
        }
    }
}

/// The part of an object that names its owner.
fn reference(object: &Value) -> Value {
    let part = |pointer: &str| object.pointer(pointer).cloned().unwrap_or_default();
    serde_json::json!({"metadata": {
        "namespace": part("/metadata/namespace"), "ownerReferences": part("/metadata/ownerReferences"),
    }})
}

/// An object that Argo CD applies.
fn tracked(object: &Value) -> Option<(TargetId, Tracking)> {
    let tracking = Tracking::of(object)?;
    let id = workloads::identify(None, object).ok()?;
    (!workloads::is_exempt(object)).then_some((id, tracking))
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
