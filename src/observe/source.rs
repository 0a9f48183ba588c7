//! Where a signal is read: which watches, and what they look at.

use std::collections::BTreeSet;

use firebreak_engine::expression::{ObjectCondition, ObjectScope};
use firebreak_engine::facts::Reading;
use firebreak_engine::policy::{NamespacesSpec, NodesSpec, ObjectsSpec, SignalSpec};

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
    /// The expression.
    pub healthy: Option<String>,
}

impl Source {
    /// The source of a signal of this policy, read as `account`; or why there is none.
    pub(super) fn of(
        policy: &PolicyKey,
        account: &str,
        profiles: &Profiles,
        signal: &SignalSpec,
    ) -> Result<Self, Reading> {
        match (&signal.nodes, &signal.objects) {
            (Some(nodes), None) => of_nodes(account, nodes),
            (None, Some(objects)) => of_objects(policy, account, profiles, objects),
            (None, None) | (Some(_), Some(_)) => {
                Err(unknown("BadSignal", "exactly one of nodes and objects must be set"))
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
        healthy: healthy.as_ref().map(|condition| condition.source().to_owned()),
    };
    let watches = scopes(policy, objects.namespaces.as_ref())?.into_iter().map(|namespace| WatchKey {
        account: account.to_owned(),
        objects: Some(key.clone()),
        namespace,
        selector: selector.clone(),
    });
    Ok(Source { watches: watches.collect(), judge: Judge::Objects { names, healthy } })
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
