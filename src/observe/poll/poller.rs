//! Asks one question, at intervals, for everyone who asks the same.
//!
//! # Flow
//! Find the endpoint in the configuration, wait for a turn there, ask as each ServiceAccount whether it may use it, ask the
//! question once, and give the answer to those who may; the others learn nothing of the endpoint. Then wait: for the interval
//! since the request, somewhat less so that pollers spread; longer after a failure, and after successes that alternate with
//! failures; not at all when an account joins. When the endpoint is replaced, what it said is forgotten, and what it is being
//! asked is dropped.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::http;
use super::metrics::Metrics;
use super::question::{Asks, PollKey, Question, Read};
use super::shared::{Asker, Board};
use super::state::PollState;
use crate::configuration::EndpointsInForce;
use crate::endpoints::{Endpoint, Unanswered};
use crate::kubernetes::access::{self, Right};
use crate::kubernetes::retry;

/// The longest pause after failures, unless the interval is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// How often the pause doubles at most.
const MOST_DOUBLINGS: u32 = 3;
const AFTER_PANIC: Duration = Duration::from_secs(30);
/// The longest pause before the first request, so that what begins at the same time spreads: a tenth of the interval, or this.
const LONGEST_START: Duration = Duration::from_millis(500);
/// How many ServiceAccounts the API server is asked about at once.
const REVIEWS_AT_ONCE: usize = 8;

/// What a poller reports to the hub.
pub struct Signals {
    /// What is known may have changed.
    pub changed: Box<dyn Fn() + Send + Sync>,
    /// Something went wrong; the text is one word.
    pub error: Arc<dyn Fn(&'static str) + Send + Sync>,
}

/// A poller, and what it knows.
pub struct Poller {
    key: PollKey,
    endpoints: EndpointsInForce,
    board: Arc<Board>,
    signals: Signals,
    /// What is watched beside the question.
    metrics: Option<Metrics>,
}

/// How a request went, and when the interval to the next one begins.
type Asked = (Went, Instant);

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Went {
    Well,
    Wrong,
}

impl Poller {
    /// A poller that writes what it knows to the board.
    pub fn new(key: PollKey, endpoints: EndpointsInForce, board: Arc<Board>, signals: Signals) -> Self {
        let metrics = match &key.question {
            Question::Metrics(question) => Some(Metrics::new(question)),
            Question::Endpoint { .. } | Question::Service { .. } => None,
        };
        Self { key, endpoints, board, signals, metrics }
    }

    /// Asks forever; dropping the future ends it.
    pub async fn run(self) {
        loop {
            let asking =
                async { tokio::join!(self.ask_for_ever(), self.watch_for_ever(), self.expire_for_ever()) };
            // A panic must not leave behind a reading that never changes again.
            if AssertUnwindSafe(asking).catch_unwind().await.is_err() {
                let detail = "reading it ended unexpectedly; see the log of the operator";
                self.settle_all(&Unanswered::unusable("InternalError", detail));
                sleep(AFTER_PANIC).await;
            }
        }
    }

    async fn ask_for_ever(&self) {
        let mut endpoints = self.endpoints.clone();
        loop {
            let of = self.endpoint(&endpoints);
            tokio::select! {
                biased;
                () = self.replaced(&mut endpoints, of.as_ref()) => {}
                () = self.ask_one(of.as_ref()) => {}
            }
            self.board.edit_all(|state| *state = PollState::default());
            (self.signals.changed)();
        }
    }

    /// The endpoint in this configuration, if there is one.
    fn endpoint(&self, endpoints: &EndpointsInForce) -> Option<Arc<Endpoint>> {
        match &self.key.question {
            Question::Endpoint { name, asks } => endpoints.now().find(name, asks.type_()).ok(),
            Question::Service { .. } | Question::Metrics(_) => None,
        }
    }

    /// Waits until the endpoint is another one. It is not if only others have changed.
    async fn replaced(&self, endpoints: &mut EndpointsInForce, of: Option<&Arc<Endpoint>>) {
        let is_same = |now: Option<Arc<Endpoint>>| now.as_ref().map(Arc::as_ptr) == of.map(Arc::as_ptr);
        while is_same(self.endpoint(endpoints)) {
            endpoints.changed().await;
        }
    }

    /// Asks this endpoint forever.
    async fn ask_one(&self, of: Option<&Arc<Endpoint>>) {
        sleep((self.key.every() / 10).min(LONGEST_START).mul_f64(fastrand::f64())).await;
        let mut setbacks = 0;
        loop {
            let (went, since) = match &self.key.question {
                Question::Endpoint { name, asks } => self.ask_endpoint(name, asks, of).await,
                Question::Service { path, expect_status, .. } => self.ask_service(path, *expect_status).await,
                Question::Metrics(_) => self.ask_metrics().await,
            };
            setbacks = match went {
                Went::Well => u32::saturating_sub(setbacks, 1),
                Went::Wrong => (setbacks + 1).min(MOST_DOUBLINGS),
            };
            tokio::select! {
                () = sleep_until(since + self.pause(went, setbacks)) => {}
                () = self.board.joined.notified() => {}
            }
        }
    }

    /// How long to wait. A value must not become too old only because its endpoint was slow before.
    fn pause(&self, went: Went, setbacks: u32) -> Duration {
        let every = self.key.every();
        let longest = match went {
            Went::Well => self.key.max_age().saturating_sub(self.key.timeout() * 2) / 2,
            Went::Wrong => LONGEST_PAUSE,
        };
        let pause = (every * 2_u32.pow(setbacks)).min(longest.max(every));
        // Up to a tenth less, so that what began at the same time spreads.
        pause.mul_f64(1.0 - 0.1 * fastrand::f64())
    }

    async fn ask_endpoint(&self, name: &str, asks: &Asks, of: Option<&Arc<Endpoint>>) -> Asked {
        let within = self.key.timeout();
        let accounts: Vec<String> = self.board.askers().into_iter().map(|asker| asker.account).collect();
        let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
        let turn = match of {
            Some(endpoint) => endpoint.turn(&accounts, within).await.map(|turn| (endpoint, turn)),
            None => Err(self.missing(name, asks)),
        };
        // Asked right before the request, and also if there is none: only who may use the endpoint learns of it.
        let allowed = self.allowed(name).await;
        if allowed.is_empty() {
            (self.signals.changed)();
            // Nothing is wrong with the endpoint.
            return (Went::Well, Instant::now());
        }
        match turn {
            Ok((endpoint, turn)) => {
                let sent = Instant::now();
                let answer = turn.send(within, asks.ask(endpoint)).await;
                (self.take(&allowed, answer.map_err(|error| endpoint.named(error)), sent), sent)
            }
            Err(why) => {
                let now = Instant::now();
                (self.take(&allowed, Err(why), now), now)
            }
        }
    }

    /// Why there is no such endpoint.
    fn missing(&self, name: &str, asks: &Asks) -> Unanswered {
        let found = self.endpoints.now().find(name, asks.type_());
        found.err().unwrap_or_else(|| Unanswered::NoAnswer(format!("endpoint {name} has just been added")))
    }

    /// Those who may use the endpoint now. The others are told why they may not.
    async fn allowed(&self, name: &str) -> Vec<Asker> {
        let until = Instant::now() + self.key.timeout();
        let reviews = stream::iter(self.board.askers()).map(|asker| async move {
            let may = self.may_use(name, &asker, until).await;
            (asker, may)
        });
        let reviewed: Vec<_> = reviews.buffer_unordered(REVIEWS_AT_ONCE).collect().await;
        let mut allowed = Vec::new();
        for (asker, may) in reviewed {
            match may {
                Ok(()) => allowed.push(asker),
                Err(why) => self.settle(&asker, &why),
            }
        }
        allowed
    }

    /// The API server itself checks what the account may do.
    async fn ask_service(&self, path: &str, expect_status: Option<u16>) -> Asked {
        let sent = Instant::now();
        let askers = self.board.askers();
        // The key has the account, so there is one.
        let Some(asker) = askers.first() else { return (Went::Well, sent) };
        let answer = http::ask_service(&asker.client, path, expect_status, self.key.timeout()).await;
        (self.take(&askers[..1], answer, sent), sent)
    }

    /// Once the objects are known. Only the API server knows what the account may read.
    async fn ask_metrics(&self) -> Asked {
        let askers = self.board.askers();
        // The key has the account, so there is one.
        let (Some(metrics), Some(asker)) = (&self.metrics, askers.first()) else {
            return (Went::Well, Instant::now());
        };
        let within = self.key.timeout();
        if timeout(within, metrics.listed()).await.is_err() {
            self.take(&askers[..1], Err(metrics.unlisted()), Instant::now());
            metrics.listed().await;
        }
        let sent = Instant::now();
        let fresh_within = self.key.max_age().saturating_sub(self.key.every() + within);
        let answer = metrics.ask(&asker.client, within, fresh_within).await;
        (self.take(&askers[..1], answer, sent), sent)
    }

    /// Watches what is not asked for.
    async fn watch_for_ever(&self) {
        if let (Some(metrics), Some(asker)) = (&self.metrics, self.board.askers().first()) {
            metrics.watch(&asker.client, &self.signals.error).await;
        }
    }

    /// Gives an answer to those who may have it.
    fn take(&self, allowed: &[Asker], answer: Result<Read, Unanswered>, sent: Instant) -> Went {
        if let Err(why) = &answer {
            tracing::debug!(?why, signal = self.key.question.signal(), "a signal has no answer");
            (self.signals.error)(why.kind());
        }
        for asker in allowed {
            self.board.edit(&asker.account, |state| {
                state.settle(answer.as_ref(), sent, self.key.max_age());
            });
        }
        self.board.moved.notify_one();
        (self.signals.changed)();
        if answer.is_ok() { Went::Well } else { Went::Wrong }
    }

    /// Whether a ServiceAccount may use the endpoint now, if the API server says so until then.
    async fn may_use(&self, name: &str, asker: &Asker, until: Instant) -> Result<(), Unanswered> {
        let right = Right::to_use(name, &asker.namespace);
        let asked = timeout_at(until, access::lacking(&asker.client, [right])).await;
        match asked {
            Ok(Ok(lacking)) if lacking.is_empty() => Ok(()),
            Ok(Ok(_)) => {
                let namespace = &asker.namespace;
                let detail = format!(
                    "the ServiceAccount may not use endpoint {name}; its Role in namespace {namespace} needs the rule \
                     {{apiGroups: [firebreak.dev], resources: [endpoints], resourceNames: [{name}], verbs: [use]}}"
                );
                Err(Unanswered::unusable("Forbidden", detail))
            }
            Ok(Err(error)) => Err(Unanswered::NoAnswer(unasked(&retry::explain(&error)))),
            Err(_) => Err(Unanswered::NoAnswer(unasked("the API server does not answer"))),
        }
    }

    fn settle(&self, asker: &Asker, why: &Unanswered) {
        (self.signals.error)(why.kind());
        self.board.edit(&asker.account, |state| state.settle(Err(why), Instant::now(), self.key.max_age()));
    }

    fn settle_all(&self, why: &Unanswered) {
        (self.signals.error)(why.kind());
        self.board.edit_all(|state| state.settle(Err(why), Instant::now(), self.key.max_age()));
        (self.signals.changed)();
    }

    /// Drops values that are too old even while a request hangs.
    async fn expire_for_ever(&self) {
        loop {
            let until = async {
                match self.board.until() {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = until => {}
                () = self.board.moved.notified() => continue,
            }
            let mut expired = false;
            self.board.edit_all(|state| expired |= state.expire(Instant::now(), self.key.max_age()));
            if expired {
                (self.signals.error)("Stale");
            }
            // A reader may have found the values too old a moment before; the others are notified here.
            (self.signals.changed)();
        }
    }
}

fn unasked(why: &str) -> String {
    format!("whether the ServiceAccount may use the endpoint is not known: {why}")
}
