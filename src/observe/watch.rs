//! One watch: list, follow, resume, forever.
//!
//! # Flow
//! Resolve the kind, list in pages, open a watch from the list's version; when
//! it ends, open the next one from the last version seen. A watch asks for 60 s
//! and is closed by our own clock a little later, because a quiet watch cannot be
//! distinguished from a frozen one in any other way. A failed attempt is repeated
//! after a jittered pause that doubles up to half a minute.
//!
//! # Guarantees
//! The list counts only once the watch after it was answered, so a ServiceAccount
//! that may list and not watch never flickers. Objects are read one by one from
//! the raw answer. No object outlives the event that brought it.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, TryStreamExt};
use jiff::Timestamp;
use kube::Client;
use kube::api::{WatchEvent, WatchParams};
use kube::core::{ApiResource, DynamicObject, Request, Resource};
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::failure::Failure;
use super::fold::{Fold, Judge};
use super::list::{PAGE_WITHIN, Pieces, Selection, list, unsendable, within};
use super::sync_state::SyncState;

/// How long a watch asks to run.
const WATCH_FOR: Duration = Duration::from_secs(60);
/// When it is closed, because it should have ended.
const GIVE_UP_AFTER: Duration = Duration::from_secs(65);
/// How long the opening of a watch may take.
const OPEN_WITHIN: Duration = Duration::from_secs(15);
/// A watch that ends sooner did not go well, whatever it says, so the next one must wait.
const SHORTEST: Duration = Duration::from_secs(5);
const AFTER_PANIC: Duration = Duration::from_secs(30);

/// A resource that the cluster serves.
#[derive(Clone, Debug)]
pub struct Served {
    /// Where it is.
    pub resource: ApiResource,
    /// Whether its kind is namespaced.
    pub namespaced: bool,
}

/// Why a kind has no resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// The cluster does not serve the kind.
    NoSuchKind(String),
    /// The cluster could not be asked.
    Trouble(String),
}

/// What a watch reads, and where.
pub(super) struct Scope {
    /// Acts as the ServiceAccount.
    pub client: Client,
    /// Finds the resource; called again at each attempt.
    pub resolve: Box<dyn Fn() -> BoxFuture<'static, Result<Served, Unresolved>> + Send + Sync>,
    /// None is the whole cluster.
    pub namespace: Option<String>,
    /// As the API wants it; empty for everything.
    pub selector: String,
    /// The same for fields.
    pub fields: String,
    /// What is looked at in each object.
    pub judge: Arc<dyn Judge>,
}

/// What a watch reports to the hub.
pub(super) struct Signals {
    /// What is known may have changed.
    pub changed: Box<dyn Fn() + Send + Sync>,
    /// Something went wrong; the text is one word.
    pub error: Box<dyn Fn(&'static str) + Send + Sync>,
}

/// A watch and what it knows.
pub(super) struct Watch {
    scope: Scope,
    signals: Signals,
    sync: Arc<Mutex<SyncState>>,
    opened: Notify,
}

/// The last version seen; none before a list.
type Position = Option<String>;

type Event = Result<WatchEvent<Box<RawValue>>, kube::Error>;

impl Watch {
    /// A watch that writes what it knows to `sync`.
    pub(super) fn new(scope: Scope, signals: Signals, sync: Arc<Mutex<SyncState>>) -> Self {
        Self { scope, signals, sync, opened: Notify::new() }
    }

    /// Watches forever; dropping the future ends it.
    pub(super) async fn run(self) {
        loop {
            let watching = async { tokio::join!(self.follow_for_ever(), self.expire_for_ever()) };
            // A panic must not leave behind a reading that never changes again.
            if AssertUnwindSafe(watching).catch_unwind().await.is_err() {
                let detail = "reading it ended unexpectedly; see the log of the operator".to_owned();
                self.failed(&Failure::Blind { reason: "InternalError", detail }, &mut None);
                sleep(AFTER_PANIC).await;
            }
        }
    }

    async fn follow_for_ever(&self) {
        let mut position: Position = None;
        let mut pauses = pauses();
        loop {
            let began = Instant::now();
            match self.attempt(&mut position).await {
                Ok(()) if began.elapsed() >= SHORTEST => {
                    pauses = self::pauses();
                    continue;
                }
                Ok(()) => {}
                Err(failure) => self.failed(&failure, &mut position),
            }
            // The backoff never ends.
            sleep(pauses.next().unwrap_or(SHORTEST)).await;
        }
    }

    /// Drops data that is too old even while a request hangs.
    async fn expire_for_ever(&self) {
        loop {
            let stale_at = self.update(|sync| sync.stale_at());
            match stale_at {
                None => self.opened.notified().await,
                Some(at) => {
                    sleep_until(at).await;
                    if self.update(|sync| sync.expire(Instant::now())) {
                        (self.signals.error)("Stale");
                    }
                    // A reader may have found the data stale a moment before; the others are notified here.
                    (self.signals.changed)();
                }
            }
        }
    }

    async fn attempt(&self, position: &mut Position) -> Result<(), Failure> {
        if self.update(|sync| sync.fold().is_none()) {
            *position = None;
        }
        let url = self.url().await?;
        let (listed, version) = match position.clone() {
            Some(version) => (None, version),
            None => {
                let (fold, version) = self.list(&url).await?;
                (Some(fold), version)
            }
        };
        let give_up_at = Instant::now() + GIVE_UP_AFTER;
        let events = within(OPEN_WITHIN, "the watch", self.open(&url, &version)).await?;
        // Only now: a list whose watch does not open is dropped, and the data from before stays.
        *position = Some(version);
        if !self.update(|sync| sync.opened(listed, Instant::now())) {
            return Err(Failure::Trouble("the reply came too late".to_owned()));
        }
        self.opened.notify_one();
        (self.signals.changed)();
        self.follow(events, position, give_up_at).await
    }

    async fn url(&self) -> Result<String, Failure> {
        let resolve = async {
            (self.scope.resolve)().await.map_err(|error| match error {
                Unresolved::NoSuchKind(detail) => Failure::Blind { reason: "KindNotFound", detail },
                Unresolved::Trouble(detail) => Failure::Trouble(detail),
            })
        };
        let served = within(PAGE_WITHIN, "the discovery of the kind", resolve).await?;
        if !served.namespaced && self.scope.namespace.is_some() {
            let kind = &served.resource.kind;
            let detail = format!("{kind} is cluster-scoped; set `namespaces: {{all: true}}`");
            return Err(Failure::Blind { reason: "NotNamespaced", detail });
        }
        Ok(DynamicObject::url_path(&served.resource, self.scope.namespace.as_deref()))
    }

    /// Lists in pages. If the API server no longer has the version of the first page, everything at once: of very many objects
    /// the pages may take longer than it keeps a version.
    async fn list(&self, url: &str) -> Result<(Box<dyn Fold>, String), Failure> {
        match self.list_in(Pieces::Pages, url).await {
            Err(Failure::Expired) => self.list_in(Pieces::One, url).await,
            listed => listed,
        }
    }

    async fn list_in(&self, pieces: Pieces, url: &str) -> Result<(Box<dyn Fold>, String), Failure> {
        let mut fold = self.scope.judge.fold();
        let selection = Selection { labels: &self.scope.selector, fields: &self.scope.fields };
        let version = list(&self.scope.client, url, selection, pieces, |object| {
            if !fold.put(object, Timestamp::now()).readable {
                (self.signals.error)("Unreadable");
            }
        });
        let version = version.await?;
        // From an empty version the server would start anywhere.
        let versionless = || Failure::Trouble("the list has no version".to_owned());
        (!version.is_empty()).then_some((fold, version)).ok_or_else(versionless)
    }

    async fn open(&self, url: &str, version: &str) -> Result<impl Stream<Item = Event> + use<>, Failure> {
        let mut params = WatchParams::default().timeout(WATCH_FOR.as_secs() as u32);
        if !self.scope.selector.is_empty() {
            params = params.labels(&self.scope.selector);
        }
        if !self.scope.fields.is_empty() {
            params = params.fields(&self.scope.fields);
        }
        let mut request = Request::new(url).watch(&params, version).map_err(unsendable)?;
        request.extensions_mut().insert("watch");
        self.scope.client.request_events(request).await.map_err(|error| Failure::of(&error))
    }

    async fn follow(
        &self,
        events: impl Stream<Item = Event>,
        position: &mut Position,
        give_up_at: Instant,
    ) -> Result<(), Failure> {
        let mut events = std::pin::pin!(events);
        while let Ok(event) = timeout_at(give_up_at, events.try_next()).await {
            match event {
                Ok(Some(event)) => self.take(event, position)?,
                Ok(None) => return Ok(()),
                Err(kube::Error::SerdeError(error)) => {
                    // It is not known which object this was about.
                    *position = None;
                    return Err(Failure::Trouble(format!("an event cannot be read: {error}")));
                }
                Err(error) => return Err(Failure::of(&error)),
            }
        }
        Ok(())
    }

    fn take(&self, event: WatchEvent<Box<RawValue>>, position: &mut Position) -> Result<(), Failure> {
        let put = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                self.update(|sync| sync.fold().map(|fold| fold.put(object.get(), Timestamp::now())))
            }
            WatchEvent::Deleted(object) => {
                let removed = self.update(|sync| sync.fold().map(|fold| fold.remove(object.get())));
                removed.transpose().map_err(|problem| {
                    *position = None;
                    Failure::Trouble(format!("a deleted object cannot be read: {problem}"))
                })?
            }
            WatchEvent::Bookmark(bookmark) => {
                *position = Some(bookmark.metadata.resource_version).filter(|version| !version.is_empty());
                None
            }
            WatchEvent::Error(status) => return Err(Failure::of_status(&status)),
        };
        if let Some(put) = put {
            if !put.readable {
                (self.signals.error)("Unreadable");
            }
            if put.version.is_some() {
                *position = put.version;
            }
            if put.changed {
                (self.signals.changed)();
            }
        }
        Ok(())
    }

    fn failed(&self, failure: &Failure, position: &mut Position) {
        tracing::debug!(?failure, namespace = self.scope.namespace, "a watch could not continue");
        if *failure == Failure::Expired {
            *position = None;
        }
        (self.signals.error)(failure.kind());
        self.update(|sync| sync.failed(failure));
        (self.signals.changed)();
    }

    fn update<T>(&self, with: impl FnOnce(&mut SyncState) -> T) -> T {
        with(&mut self.sync.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn pauses() -> ExponentialBackoff {
    // Jitter adds up to as much again: 0.25 s at first, 30 s at most.
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(Duration::from_secs(15))
        .with_jitter()
        .without_max_times()
        .build()
}
