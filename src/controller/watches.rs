//! Watches of our own two kinds, object by object: one that does not decode is
//! one object that is wrong, never a blind list.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, future, pin_mut, stream};
use kube::core::{ApiResource, DynamicObject, Resource};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;

use super::queue::{Key, Name};
use super::seen::{Kept, Seen, Shelf};
use super::{Operator, incident, retention};
use crate::observe::Changes;

/// Seconds that a watch asks for. One that gives nothing for longer is opened
/// again, because a quiet watch cannot be told from a frozen one.
const WATCH_FOR: u32 = 60;
/// Objects of one page of a list: an Incident may have more than a megabyte.
const PAGE: u32 = 50;

/// Watches until it is dropped. `moved` names policies whose readings changed.
pub async fn run(operator: Arc<Operator>, moved: Changes) {
    let policies = watch(
        &operator,
        "policies",
        |operator| &operator.policies,
        |operator, name, _| {
            operator.queue.nudge(Key::Policy(name.clone()), 1);
            operator.nudge_incidents_of(name);
        },
    );
    let incidents = watch(
        &operator,
        "incidents",
        |operator| &operator.incidents,
        |operator, name, seen| {
            operator.count_incidents();
            match seen {
                Some(Seen::Object(incident)) => {
                    incident::nudge(operator, incident);
                    retention::consider(operator, incident);
                    if let Some(policy) = incident::policy_of(incident) {
                        operator.queue.nudge(Key::Policy(policy), 1);
                    }
                }
                Some(Seen::Undecodable { why, .. }) => {
                    tracing::error!(incident = %name, why, "an Incident cannot be read")
                }
                None => {
                    for policy in operator
                        .policies
                        .names()
                        .into_iter()
                        .filter(|policy| policy.namespace == name.namespace)
                    {
                        operator.queue.nudge(Key::Policy(policy), 1);
                    }
                }
            }
        },
    );
    future::join3(policies, incidents, readings(&operator, moved)).await;
}

/// Readings that changed make their policy due, and its open Incident.
async fn readings(operator: &Operator, mut moved: Changes) {
    loop {
        let key = moved.next().await;
        let name = Name::new(key.namespace, key.name);
        operator.nudge_incidents_of(&name);
        operator.queue.nudge(Key::Policy(name), 1);
    }
}

async fn watch<K>(
    operator: &Operator,
    cache: &'static str,
    shelf: fn(&Operator) -> &Shelf<K>,
    changed: impl Fn(&Operator, &Name, Option<&Seen<K>>),
) where
    K: Kept + Resource<DynamicType = ()> + DeserializeOwned + Clone,
{
    let resource = ApiResource::erase::<K>(&());
    let client = &operator.context.client;
    let apis: Vec<Api<DynamicObject>> = if operator.context.watch_namespaces.is_empty() {
        vec![Api::all_with(client.clone(), &resource)]
    } else {
        let namespaces = &operator.context.watch_namespaces;
        namespaces
            .iter()
            .map(|namespace| Api::namespaced_with(client.clone(), namespace, &resource))
            .collect()
    };
    operator.context.health.cache(cache, false);
    let expected = apis.len();
    let mut primed = BTreeSet::new();
    let watching = watcher::Config::default().timeout(WATCH_FOR).page_size(PAGE);
    let streams = apis.into_iter().enumerate().map(|(at, api)| {
        watcher(api, watching.clone()).default_backoff().map(move |event| (at, event)).boxed()
    });
    let events = stream::select_all(streams);
    pin_mut!(events);
    let mut listed: Vec<BTreeSet<Name>> = vec![BTreeSet::new(); expected];
    while let Some((at, event)) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed[at].clear(),
            Ok(watcher::Event::InitApply(object)) => {
                listed[at].insert(name_of(&object));
                take_in(operator, shelf(operator), object, &changed);
            }
            Ok(watcher::Event::InitDone) => {
                let scope = operator.context.watch_namespaces.get(at);
                forget_unlisted(operator, shelf(operator), scope, &listed[at], &changed);
                primed.insert(at);
                if primed.len() == expected {
                    shelf(operator).set_primed();
                }
                operator.context.health.cache(cache, primed.len() == expected);
            }
            Ok(watcher::Event::Apply(object)) => take_in(operator, shelf(operator), object, &changed),
            Ok(watcher::Event::Delete(object)) => {
                let name = name_of(&object);
                object.uid().into_iter().for_each(|uid| operator.forget(&uid));
                shelf(operator).remove(&name);
                changed(operator, &name, None);
            }
            Err(error) => tracing::warn!(cache, %error, "a watch was interrupted; it is opened again"),
        }
    }
}

fn take_in<K: Kept + DeserializeOwned + Clone>(
    operator: &Operator,
    shelf: &Shelf<K>,
    mut object: DynamicObject,
    changed: &impl Fn(&Operator, &Name, Option<&Seen<K>>),
) {
    object.managed_fields_mut().clear();
    let name = name_of(&object);
    let seen = Seen::decode(object);
    shelf.put(name.clone(), seen.clone());
    changed(operator, &name, Some(&seen));
}

/// What was deleted while nobody watched.
fn forget_unlisted<K: Clone>(
    operator: &Operator,
    shelf: &Shelf<K>,
    scope: Option<&String>,
    listed: &BTreeSet<Name>,
    changed: &impl Fn(&Operator, &Name, Option<&Seen<K>>),
) {
    let in_scope = |name: &Name| scope.is_none_or(|namespace| *namespace == name.namespace);
    for name in shelf.names().into_iter().filter(|name| in_scope(name) && !listed.contains(name)) {
        shelf.remove(&name);
        changed(operator, &name, None);
    }
}

fn name_of(object: &DynamicObject) -> Name {
    Name::new(object.namespace().unwrap_or_default(), object.name_any())
}
