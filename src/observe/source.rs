//! Where a signal is read: which watches, and what they look at.

use std::collections::BTreeSet;
use std::sync::Arc;

use firebreak_engine::expression::{ObjectCondition, ObjectScope};
use firebreak_engine::facts::Reading;
use firebreak_engine::policy::{NamespacesSpec, NodesSpec, ObjectsSpec, SignalSpec, WorkloadsSpec};

use super::fold::Judge;
use super::hub::PolicyKey;
use super::selector::selector_text;
use crate::workloads::Profiles;

/// The watches that a signal is read from.
pub(super) struct Source {
    /// What they look at in each object.
    pub judge: Judge,
    /// Each reads one part of the scope.
    pub watches: Vec<WatchKey>,
}

/// Signals with the same key share a watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatchKey {
    /// The ServiceAccount.
    pub account: String,
    /// None for nodes.
    pub objects: Option<ObjectsKey>,
    /// None for the whole cluster.
    pub namespace: Option<String>,
    /// As the API wants it.
    pub selector: String,
}

/// Objects that are judged alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectsKey {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Only these; empty for all.
    pub names: BTreeSet<String>,
    /// What is looked at in each of them.
    pub judged: Judged,
}

/// What is looked at in an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Judged {
    /// Its health, by this expression if there is one.
    Health(Option<String>),
    /// Its replicas and its health, as the profile of its kind says.
    Replicas,
}

impl Source {
    /// The source of a signal of this policy, read as `account`; or why there is none.
    pub(super) fn of(
        policy: &PolicyKey,
        account: &str,
        profiles: &Profiles,
        signal: &SignalSpec,
    ) -> Result<Self, Reading> {
        match (&signal.nodes, &signal.objects, &signal.workloads) {
            (Some(nodes), None, None) => of_nodes(account, nodes),
            (None, Some(objects), None) => of_objects(policy, account, profiles, objects),
            (None, None, Some(workloads)) => of_workloads(policy, account, profiles, workloads),
            (None, None, None) | (Some(_), _, Some(_)) | (Some(_), Some(_), _) | (_, Some(_), Some(_)) => {
                Err(unknown("BadSignal", "exactly one of nodes, objects and workloads must be set"))
            }
        }
    }
}

fn of_nodes(account: &str, nodes: &NodesSpec) -> Result<Source, Reading> {
    let selector = selector_text(nodes.selector.as_ref()).map_err(|why| unknown("BadSelector", &why))?;
    let key = WatchKey { account: account.to_owned(), objects: None, namespace: None, selector };
    Ok(Source { judge: Judge::Nodes, watches: vec![key] })
}

fn of_objects(
    policy: &PolicyKey,
    account: &str,
    profiles: &Profiles,
    objects: &ObjectsSpec,
) -> Result<Source, Reading> {
    let selector = selector_text(objects.selector.as_ref()).map_err(|why| unknown("BadSelector", &why))?;
    let healthy = match &objects.healthy {
        Some(text) => {
            let parsed = ObjectCondition::parse(text, ObjectScope::Object);
            Some(parsed.map_err(|error| unknown("BadExpression", &error.to_string()))?)
        }
        None => profiles.find(&objects.api_version, &objects.kind).map(|profile| profile.healthy.clone()),
    };
    let names: BTreeSet<String> = objects.names.iter().cloned().collect();
    let key = ObjectsKey {
        api_version: objects.api_version.clone(),
        kind: objects.kind.clone(),
        names: names.clone(),
        judged: Judged::Health(healthy.as_ref().map(|condition| condition.source().to_owned())),
    };
    let watches = watches(policy, account, objects.namespaces.as_ref(), &key, &selector)?;
    Ok(Source { watches, judge: Judge::Objects { names, healthy } })
}

fn of_workloads(
    policy: &PolicyKey,
    account: &str,
    profiles: &Profiles,
    workloads: &WorkloadsSpec,
) -> Result<Source, Reading> {
    let selector = selector_text(workloads.selector.as_ref()).map_err(|why| unknown("BadSelector", &why))?;
    let Some(profile) = profiles.find(&workloads.api_version, &workloads.kind) else {
        let detail = format!(
            "{} {} has no profile, so nothing says where its replicas are",
            workloads.api_version, workloads.kind
        );
        return Err(unknown("NoProfile", &detail));
    };
    let names: BTreeSet<String> = workloads.names.iter().cloned().collect();
    let key = ObjectsKey {
        api_version: workloads.api_version.clone(),
        kind: workloads.kind.clone(),
        names: names.clone(),
        judged: Judged::Replicas,
    };
    let watches = watches(policy, account, workloads.namespaces.as_ref(), &key, &selector)?;
    Ok(Source { watches, judge: Judge::Workloads { names, profile: Arc::clone(profile) } })
}

/// One watch for each scope.
fn watches(
    policy: &PolicyKey,
    account: &str,
    namespaces: Option<&NamespacesSpec>,
    objects: &ObjectsKey,
    selector: &str,
) -> Result<Vec<WatchKey>, Reading> {
    let watch = |namespace| WatchKey {
        account: account.to_owned(),
        objects: Some(objects.clone()),
        namespace,
        selector: selector.to_owned(),
    };
    Ok(scopes(policy, namespaces)?.into_iter().map(watch).collect())
}

/// One scope per namespace; none is the whole cluster.
fn scopes(
    policy: &PolicyKey,
    namespaces: Option<&NamespacesSpec>,
) -> Result<BTreeSet<Option<String>>, Reading> {
    match namespaces {
        None => Ok(BTreeSet::from([Some(policy.namespace.clone())])),
        Some(NamespacesSpec { all: true, names }) if names.is_empty() => Ok(BTreeSet::from([None])),
        Some(NamespacesSpec { all: false, names }) if !names.is_empty() => {
            Ok(names.iter().cloned().map(Some).collect())
        }
        Some(_) => Err(unknown("BadScope", "exactly one of all: true and names must be set")),
    }
}

/// A reading without values.
pub(super) fn unknown(reason: &str, detail: &str) -> Reading {
    Reading::Unknown { reason: reason.to_owned(), detail: detail.to_owned() }
}
