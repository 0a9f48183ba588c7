//! The queue for spans, and the task that sends them in batches.
//!
//! # Guarantees
//! Adding a span never waits. Memory is bounded: a full queue drops spans. Every span is counted once in
//! `firebreak_trace_spans_total`, by what became of it.

use std::time::Duration;

use firebreak_engine::change::cut;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::counter::{Fate, SpanCounter};
use super::encode;
use super::endpoint::{Answer, Endpoint};
use super::span::Span;

/// Spans that wait for the exporter.
pub const QUEUE: usize = 2048;
/// The most spans of one request.
pub const BATCH: usize = 256;
/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// The wait before a request is repeated the first time; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long one batch is tried, from its first request on. Meanwhile the queue fills up.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest text of an endpoint that is logged.
const LONGEST_REASON: usize = 512;
/// How long shutdown waits for what is queued.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The queue for spans. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    spans: mpsc::Sender<Span>,
    counter: SpanCounter,
}

impl Queue {
    /// Adds a span if there is room. Never waits.
    pub fn add(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.counter.count(Fate::Dropped, 1);
        }
    }
}

/// Sends spans until it is stopped.
pub struct Exporter {
    spans: mpsc::Receiver<Span>,
    endpoint: Endpoint,
    resource: Vec<(String, String)>,
    counter: SpanCounter,
    /// Whether the last request was accepted, so that a long failure is one line of the log.
    works: bool,
    /// How long to wait if the next request fails.
    wait: Duration,
    /// When the next request may be sent, of this batch or of another one.
    not_before: Instant,
    /// Until when the endpoint wants no request. Not even the end of this process is a reason to send one before.
    refused_until: Instant,
}

/// The queue, and its exporter to run as a task.
#[must_use]
pub fn exporter(
    endpoint: Endpoint,
    resource: Vec<(String, String)>,
    counter: SpanCounter,
) -> (Queue, Exporter) {
    let (sender, spans) = mpsc::channel(QUEUE);
    let queue = Queue { spans: sender, counter: counter.clone() };
    let now = Instant::now();
    let exporter = Exporter {
        spans,
        endpoint,
        resource,
        counter,
        works: true,
        wait: FIRST_WAIT,
        not_before: now,
        refused_until: now,
    };
    (queue, exporter)
}

impl Exporter {
    /// Runs it as a task.
    #[must_use]
    pub fn start(self, stop: CancellationToken) -> JoinHandle<()> {
        tokio::spawn(self.run(stop))
    }

    /// Runs until `stop`, and then for at most two seconds more to send what is queued.
    pub async fn run(mut self, stop: CancellationToken) {
        let last_words = async {
            stop.cancelled().await;
            sleep(LAST_WORDS).await;
        };
        tokio::select! {
            () = self.send_all(stop.clone()) => {}
            // A span that is not sent by now is lost.
            () = last_words => {}
        }
    }

    /// Ends when it is stopped and the queue is empty.
    async fn send_all(&mut self, stop: CancellationToken) {
        loop {
            let batch = self.gather(stop.clone()).await;
            if batch.is_empty() {
                return;
            }
            self.send(batch, stop.clone()).await;
        }
    }

    /// The next batch; empty once it is stopped and nothing is left.
    async fn gather(&mut self, stop: CancellationToken) -> Vec<Span> {
        let mut batch = Vec::new();
        let until = sleep(GATHER);
        tokio::pin!(until);
        while batch.len() < BATCH {
            tokio::select! {
                // What was added before the stop, or in time, is in the queue by now.
                biased;
                span = self.spans.recv() => match span {
                    Some(span) => {
                        if batch.is_empty() {
                            until.as_mut().reset(Instant::now() + GATHER);
                        }
                        batch.push(span);
                    }
                    None => break,
                },
                () = stop.cancelled() => break,
                () = &mut until, if !batch.is_empty() => break,
            }
        }
        batch
    }

    /// Sends a batch, again while that may help.
    async fn send(&mut self, batch: Vec<Span>, stop: CancellationToken) {
        let number = batch.len() as u64;
        let body = self.endpoint.body(encode::request(batch, &self.resource));
        let mut give_up = None;
        while self.may_post(&stop).await {
            let give_up = *give_up.get_or_insert_with(|| Instant::now() + PATIENCE);
            let (why, asked) = match self.endpoint.post(body.clone()).await {
                Answer::Accepted { rejected, why } => {
                    self.wait = FIRST_WAIT;
                    let rejected = rejected.min(number);
                    self.counter.count(Fate::Sent, number - rejected);
                    self.counter.count(Fate::Rejected, rejected);
                    return if rejected > 0 { self.note_failure(&why) } else { self.note_success() };
                }
                Answer::Rejected { why } => {
                    self.wait = FIRST_WAIT;
                    self.counter.count(Fate::Rejected, number);
                    return self.note_failure(&why);
                }
                Answer::TryAgain { why, after } => (why, after),
            };
            self.note_failure(&why);
            self.hold_off(asked.unwrap_or_default());
            if self.not_before > give_up || stop.is_cancelled() {
                break;
            }
        }
        self.counter.count(Fate::Failed, number);
    }

    /// Waits until a request may be sent. At the stop it is sent at once, as the last try, unless the endpoint wants none.
    async fn may_post(&self, stop: &CancellationToken) -> bool {
        tokio::select! {
            biased;
            () = sleep_until(self.not_before) => true,
            () = stop.cancelled() => self.refused_until <= Instant::now(),
        }
    }

    /// Sends nothing for as long as the endpoint asks, and for longer the more requests have failed in a row.
    fn hold_off(&mut self, asked: Duration) {
        let now = Instant::now();
        self.refused_until = now + asked;
        self.not_before = now + asked.max(jittered(self.wait));
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }

    fn note_success(&mut self) {
        if !std::mem::replace(&mut self.works, true) {
            tracing::info!("traces are sent again");
        }
    }

    fn note_failure(&mut self, why: &str) {
        let why = cut(why, LONGEST_REASON);
        if std::mem::replace(&mut self.works, false) {
            tracing::warn!(why, "traces cannot be sent; responses do not wait for them");
        } else {
            tracing::debug!(why, "traces cannot be sent");
        }
    }
}

/// Between half of the wait and all of it, so that replicas do not try in step.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests;
