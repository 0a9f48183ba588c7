//! The usage of nodes or pods, from the metrics API of the cluster.
//!
//! The metrics API can only be listed. The objects themselves are watched: a list of all nodes or pods would be large, and
//! nearly the same every time. Of each object only its name, and what it can allocate or requests, is kept. A metric has no uid,
//! so both are joined by name, and a metric from before the start of an object belongs to an earlier one.
//!
//! # Time
//! Metrics are dated by the clocks of the nodes. One counts if it will not be older than `maxAge` before the next answer is
//! there, so that one node that is slow does not make the signal flap.

mod sizes;
mod tally;
mod usage;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firebreak_engine::signal::{self, MetricsOf};
use futures::FutureExt;
use futures::future::join_all;
use jiff::Timestamp;
use kube::Client;
use kube::core::ApiResource;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use self::sizes::Sizes;
use self::tally::Tally;
use self::usage::{Fresh, Usages};
use super::question::Read;
use crate::endpoints::Unanswered;
use crate::observe::doubt::Doubt;
use crate::observe::failure::Failure;
use crate::observe::fold::{Of, digests};
use crate::observe::list::{Pieces, Selection, list};
use crate::observe::sync_state::SyncState;
use crate::observe::watch::{Scope, Served, Signals, Watch};

/// Whose usage is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricsQuestion {
    /// The ServiceAccount: what one may read, another may not.
    pub account: String,
    /// Nodes or pods.
    pub of: MetricsOf,
    /// As the API wants it; empty for all.
    pub selector: String,
    /// The namespaces; none is the whole cluster.
    pub places: Vec<Option<String>>,
}

/// The objects whose usage is asked for, as they are watched.
pub(super) struct Metrics {
    question: MetricsQuestion,
    places: Vec<Place>,
    /// Notified when more may be known of a place.
    moved: Arc<Notify>,
}

struct Place {
    namespace: Option<String>,
    sync: Arc<Mutex<SyncState>>,
}

impl Metrics {
    /// Nothing is known of the objects before they are watched.
    pub(super) fn new(question: &MetricsQuestion) -> Self {
        let place = |namespace: &Option<String>| Place {
            namespace: namespace.clone(),
            sync: Arc::new(Mutex::new(SyncState::new())),
        };
        let places = question.places.iter().map(place).collect();
        Self { question: question.clone(), places, moved: Arc::default() }
    }

    /// Watches the objects forever; dropping the future ends it.
    pub(super) async fn watch(&self, client: &Client, error: &Arc<dyn Fn(&'static str) + Send + Sync>) {
        let watches = self.places.iter().map(|place| {
            let kind = match self.question.of {
                MetricsOf::Nodes => "Node",
                MetricsOf::Pods => "Pod",
            };
            let resource = ApiResource {
                group: String::new(),
                version: "v1".to_owned(),
                api_version: "v1".to_owned(),
                kind: kind.to_owned(),
                plural: self.question.of.resource().to_owned(),
            };
            let served = Served { resource, namespaced: self.question.of == MetricsOf::Pods };
            let scope = Scope {
                client: client.clone(),
                resolve: Box::new(move || std::future::ready(Ok(served.clone())).boxed()),
                namespace: place.namespace.clone(),
                selector: self.question.selector.clone(),
                fields: String::new(),
                judge: Arc::new(Of { kind: Sizes { of: self.question.of }, names: Default::default() }),
            };
            let (moved, error) = (Arc::clone(&self.moved), Arc::clone(error));
            let signals = Signals {
                changed: Box::new(move || moved.notify_one()),
                error: Box::new(move |what| error(what)),
            };
            Watch::new(scope, signals, Arc::clone(&place.sync)).run()
        });
        join_all(watches).await;
    }

    /// Waits until all objects were listed, or that has failed for good.
    pub(super) async fn listed(&self) {
        let is_read = |place: &Place| place.with(|sync| !sync.is_new());
        while !self.places.iter().all(is_read) {
            self.moved.notified().await;
        }
    }

    /// Why they were not listed yet.
    pub(super) fn unlisted(&self) -> Unanswered {
        let why = |place: &Place| place.known().err().filter(|_| place.with(|sync| sync.is_new()));
        let why = self.places.iter().find_map(why);
        let (Some(Unanswered::Unusable { detail, .. }), resource) = (why, self.question.of.resource()) else {
            return Unanswered::NoAnswer("it has not been read yet".to_owned());
        };
        Unanswered::NoAnswer(format!("{resource}: {detail}"))
    }

    /// Asks the metrics API. Metrics may be so old at that moment.
    ///
    /// # Errors
    /// Nothing is known of the objects, or of their usage.
    pub(super) async fn ask(
        &self,
        client: &Client,
        within: Duration,
        fresh_within: Duration,
    ) -> Result<Read, Unanswered> {
        // Nobody needs the usage of objects that are not known.
        self.places.iter().try_for_each(Place::known)?;
        let fresh = Fresh { at: Timestamp::now(), within: fresh_within };
        let late = || {
            Unanswered::NoAnswer(format!("metrics.k8s.io did not answer within {} ms", within.as_millis()))
        };
        let usages = timeout(within, self.usages(client)).await.unwrap_or_else(|_| Err(late()))?;
        if usages.overflows {
            return Err(Unanswered::unusable(
                "TooLarge",
                "metrics.k8s.io has too many objects; use a selector",
            ));
        }
        let mut tally = Tally::default();
        for place in &self.places {
            place.with(|sync| {
                let sizes = sync.fold().map(|fold| &*fold);
                let sizes = sizes.into_iter().flat_map(digests::<Sizes>);
                sizes.for_each(|size| tally.add(size, &usages, fresh));
            });
            place.known()?;
        }
        let mut read = tally.read(self.question.of)?;
        read.doubts.uncounted = self.uncounted();
        Ok(read)
    }

    async fn usages(&self, client: &Client) -> Result<Usages, Unanswered> {
        let mut usages = Usages::default();
        for Place { namespace, .. } in &self.places {
            let (group, version) = (signal::Metrics::GROUP, signal::Metrics::VERSION);
            let below = namespace.as_ref().map(|name| format!("namespaces/{name}/")).unwrap_or_default();
            let url = format!("/apis/{group}/{version}/{below}{}", self.question.of.resource());
            let selection = Selection { labels: &self.question.selector, ..Selection::default() };
            let listed = list(client, &url, selection, Pieces::Pages, |object| usages.take(object)).await;
            listed.map_err(|failure| self.meaning(failure, namespace.as_deref()))?;
        }
        Ok(usages)
    }

    /// What a request that failed says of the metrics API.
    fn meaning(&self, failure: Failure, namespace: Option<&str>) -> Unanswered {
        let resource = self.question.of.resource();
        match failure {
            Failure::Blind { reason: "KindNotFound", .. } => Unanswered::unusable(
                "KindNotFound",
                "the cluster does not serve metrics.k8s.io; install metrics-server",
            ),
            Failure::Blind { reason: "Forbidden", .. } => {
                let place =
                    namespace.map_or_else(|| "the cluster".to_owned(), |name| format!("namespace {name}"));
                let detail = format!(
                    "the ServiceAccount may not list {resource} of metrics.k8s.io in {place}; it needs the rule \
                     {{apiGroups: [metrics.k8s.io], resources: [{resource}], verbs: [list]}} there"
                );
                Unanswered::unusable("Forbidden", detail)
            }
            Failure::Blind { reason, detail } => {
                Unanswered::unusable(reason, format!("metrics.k8s.io: {detail}"))
            }
            Failure::Expired => Unanswered::NoAnswer("the list of metrics.k8s.io has expired".to_owned()),
            Failure::Trouble(detail) => Unanswered::NoAnswer(format!("metrics.k8s.io: {detail}")),
        }
    }

    /// Objects that cannot be read, so that nothing counts them.
    fn uncounted(&self) -> Option<String> {
        let of_place = |place: &Place| place.with(|sync| sync.fold().map(|fold| fold.uncounted()));
        let all = self.places.iter().filter_map(of_place);
        all.fold(Doubt::default(), Doubt::and).told("read")
    }
}

impl Place {
    fn with<T>(&self, look: impl FnOnce(&mut SyncState) -> T) -> T {
        let mut sync = self.sync.lock().unwrap_or_else(PoisonError::into_inner);
        // The watch may be late.
        sync.expire(Instant::now());
        look(&mut sync)
    }

    /// Why its objects are not known.
    fn known(&self) -> Result<(), Unanswered> {
        self.with(|sync| match &*sync {
            SyncState::Known { .. } => Ok(()),
            SyncState::Unknown { reason, detail } => Err(Unanswered::unusable(
                reason,
                match &self.namespace {
                    Some(namespace) => format!("in namespace {namespace}: {detail}"),
                    None => detail.clone(),
                },
            )),
        })
    }
}
