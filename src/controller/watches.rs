//! The watches of our own two kinds. An object that does not decode is one faulty
//! object, and never makes the whole list unreadable.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, future, pin_mut, stream};
use kube::core::{NamespaceResourceScope, Resource};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};

use super::Operator;
use super::queue::Name;
use super::refusal::Refusal;
use super::seen::{Kept, Seen, Shelf};
use crate::api::lean::Parts;
use crate::kubernetes::guarded::Guarded;
use crate::observe::Changes;

/// How long a watch asks to run, in seconds. A watch that is silent for longer is opened
/// again, because a quiet watch cannot be distinguished from a frozen one.
const WATCH_FOR: u32 = 60;
/// Objects of one page of a list: an Incident may have more than a megabyte.
const PAGE: u32 = 50;

/// Watches until it is dropped. `moved` names policies whose readings have changed.
pub async fn run(operator: Arc<Operator>, moved: Changes) {
    let policies = watch(
        &operator,
        "policies",
        |operator| &operator.policies,
        |operator, name, before, now| operator.policy_moved(name, before, now),
    );
    let incidents = watch(
        &operator,
        "incidents",
        |operator| &operator.incidents,
        |operator, name, before, now| {
            if let Some(gone) = before.filter(|_| now.is_none()) {
                gone.metadata().uid.iter().for_each(|uid| operator.memories.forget_incident(uid));
            }
            operator.incident_moved(name, before, now);
        },
    );
    future::join3(policies, incidents, readings(&operator, moved)).await;
}

/// A policy whose readings have changed is due, and so is its open Incident.
async fn readings(operator: &Operator, mut moved: Changes) {
    loop {
        let policies = moved.next().await;
        operator.readings_moved(policies.into_iter().map(|key| Name::new(key.namespace, key.name)));
    }
}

/// What to do about an object that changed from one state to the other.
type Moved<K> = fn(&Operator, &Name, Option<&Seen<K>>, Option<&Seen<K>>);

async fn watch<K>(
    operator: &Operator,
    cache: &'static str,
    shelf: fn(&Operator) -> &Shelf<K>,
    moved: Moved<K>,
) where
    K: Kept + Parts + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + Send + 'static,
{
    let client = &operator.context.client;
    let apis: Vec<Api<Guarded<K>>> = if operator.context.watch_namespaces.is_empty() {
        vec![Api::all(client.clone())]
    } else {
        let namespaces = &operator.context.watch_namespaces;
        namespaces.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect()
    };
    operator.context.health.cache(cache, false);
    let expected = apis.len();
    let (mut tried, mut primed) = (BTreeSet::new(), BTreeSet::new());
    let watching = watcher::Config::default().timeout(WATCH_FOR).page_size(PAGE);
    let streams = apis.into_iter().enumerate().map(|(at, api)| {
        watcher(api, watching.clone()).default_backoff().map(move |event| (at, event)).boxed()
    });
    let events = stream::select_all(streams);
    pin_mut!(events);
    let mut listed: Vec<BTreeSet<Name>> = vec![BTreeSet::new(); expected];
    let take_in = |name: &Name, object: Guarded<K>| {
        Refusal::of_guarded(&object).into_iter().for_each(|refusal| operator.context.refuse(refusal));
        let now = Seen::from(object);
        let before = shelf(operator).put(name, now.clone());
        moved(operator, name, before.as_ref(), Some(&now));
    };
    let let_go = |name: &Name| {
        let before = shelf(operator).remove(name);
        moved(operator, name, before.as_ref(), None);
    };
    while let Some((at, event)) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed[at].clear(),
            Ok(watcher::Event::InitApply(object)) => {
                let name = name_of(&object);
                take_in(&name, object);
                listed[at].insert(name);
            }
            Ok(watcher::Event::InitDone) => {
                // Objects that were deleted while nobody watched.
                let scope = operator.context.watch_namespaces.get(at);
                let in_scope = |name: &Name| scope.is_none_or(|namespace| *namespace == name.namespace);
                let is_gone = |name: &Name| in_scope(name) && !listed[at].contains(name);
                shelf(operator).names().iter().filter(|name| is_gone(name)).for_each(&let_go);
                primed.insert(at);
                if primed.len() == expected {
                    shelf(operator).set_primed();
                }
                operator.context.health.cache(cache, primed.len() == expected);
                tried.insert(at);
            }
            Ok(watcher::Event::Apply(object)) => take_in(&name_of(&object), object),
            Ok(watcher::Event::Delete(object)) => let_go(&name_of(&object)),
            Err(error) => {
                operator.context.metrics.watch_errors.with_label_values(&[cache]).inc();
                tracing::warn!(cache, %error, "a watch was interrupted; reopening it");
                tried.insert(at);
            }
        }
        if tried.len() == expected && !shelf(operator).is_tried() {
            shelf(operator).set_tried();
            operator.note_survey();
        }
    }
}

fn name_of(object: &impl ResourceExt) -> Name {
    Name::new(object.namespace().unwrap_or_default(), object.name_any())
}
