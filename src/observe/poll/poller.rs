//! Asks one question, at intervals, for everyone who asks the same.
//!
//! # Flow
//! Find the endpoint in the configuration, ask as each ServiceAccount whether it may use it, ask the question once, and give
//! the answer to those who may. Then wait: for the interval, somewhat less so that pollers spread; longer after a failure,
//! and after successes that alternate with failures; not at all when an account joins or the endpoints change.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::http;
use super::question::{Asks, PollKey, Question, Read};
use super::shared::{Asker, Board};
use crate::configuration::EndpointsInForce;
use crate::endpoints::Unanswered;
use crate::kubernetes::access::{self, Right};
use crate::kubernetes::retry;

/// The longest pause after failures, unless the interval is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// How often the pause doubles at most.
const MOST_DOUBLINGS: u32 = 3;
const AFTER_PANIC: Duration = Duration::from_secs(30);

/// What a poller reports to the hub.
pub struct Signals {
    /// What is known may have changed.
    pub changed: Box<dyn Fn() + Send + Sync>,
    /// Something went wrong; the text is one word.
    pub error: Box<dyn Fn(&'static str) + Send + Sync>,
}

/// A poller, and what it knows.
pub struct Poller {
    key: PollKey,
    endpoints: EndpointsInForce,
    board: Arc<Board>,
    signals: Signals,
}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Went {
    Well,
    Wrong,
}

impl Poller {
    /// A poller that writes what it knows to the board.
    pub fn new(key: PollKey, endpoints: EndpointsInForce, board: Arc<Board>, signals: Signals) -> Self {
        Self { key, endpoints, board, signals }
    }

    /// Asks forever; dropping the future ends it.
    pub async fn run(self) {
        loop {
            let asking = async { tokio::join!(self.ask_for_ever(), self.expire_for_ever()) };
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
        let mut setbacks = 0;
        loop {
            let went = self.ask().await;
            setbacks = match went {
                Went::Well => u32::saturating_sub(setbacks, 1),
                Went::Wrong => (setbacks + 1).min(MOST_DOUBLINGS),
            };
            tokio::select! {
                () = sleep(self.pause(went, setbacks)) => {}
                () = self.board.joined.notified() => {}
                () = endpoints.changed() => {}
            }
        }
    }

    /// How long to wait. A value must not become too old only because its endpoint was slow before.
    fn pause(&self, went: Went, setbacks: u32) -> Duration {
        let every = self.key.every();
        let longest = match went {
            Went::Well => self.key.max_age().saturating_sub(self.key.timeout()) / 2,
            Went::Wrong => LONGEST_PAUSE,
        };
        let pause = (every * 2_u32.pow(setbacks)).min(longest.max(every));
        // Up to a tenth less, so that what began at the same time spreads.
        pause.mul_f64(1.0 - 0.1 * fastrand::f64())
    }

    async fn ask(&self) -> Went {
        match &self.key.question {
            Question::Endpoint { name, asks } => self.ask_endpoint(name, asks).await,
            Question::Service { path, expect_status, .. } => self.ask_service(path, *expect_status).await,
        }
    }

    async fn ask_endpoint(&self, name: &str, asks: &Asks) -> Went {
        let endpoint = match self.endpoints.now().find(name, asks.type_()) {
            Ok(endpoint) => endpoint,
            Err(why) => {
                self.settle_all(&why);
                return Went::Wrong;
            }
        };
        let askers = self.board.askers();
        let may = join_all(askers.iter().map(|asker| self.may_use(name, asker))).await;
        let mut allowed = Vec::new();
        for (asker, may) in askers.iter().zip(may) {
            match may {
                Ok(()) => allowed.push(asker),
                Err(why) => self.settle(asker, &why),
            }
        }
        if allowed.is_empty() {
            (self.signals.changed)();
            // Nothing is wrong with the endpoint.
            return Went::Well;
        }
        let sent = Instant::now();
        let answer = asks.ask(&endpoint, self.key.timeout()).await;
        self.take(&allowed, answer, sent)
    }

    /// The API server itself checks what the account may do.
    async fn ask_service(&self, path: &str, expect_status: Option<u16>) -> Went {
        let askers = self.board.askers();
        // The key has the account, so there is one.
        let Some(asker) = askers.first() else { return Went::Well };
        let sent = Instant::now();
        let answer = http::ask_service(&asker.client, path, expect_status, self.key.timeout()).await;
        self.take(&[asker], answer, sent)
    }

    /// Gives an answer to those who may have it.
    fn take(&self, allowed: &[&Asker], answer: Result<Read, Unanswered>, sent: Instant) -> Went {
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

    /// Whether a ServiceAccount may use the endpoint now.
    async fn may_use(&self, name: &str, asker: &Asker) -> Result<(), Unanswered> {
        let right = Right::to_use(name, &asker.namespace);
        let asked = timeout(self.key.timeout(), access::lacking(&asker.client, [right])).await;
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
