//! Kubernetes Events, best effort.
//!
//! # Flow
//! [`Events::publish`] puts a notice into a bounded queue and returns. One task takes notices from it,
//! merges a repeated one into its existing Event, and writes at a limited rate.
//!
//! # Guarantees
//! Publishing never waits and never fails. A notice with another note is another Event (kube's own
//! recorder sends the first note again). Memory is bounded: a full queue drops notices, and the
//! oldest of too many remembered series is forgotten.
//!
//! # Caveats
//! An Event can be lost: when the queue is full, a write is rejected, or the process crashes. Nothing may depend on
//! one. What must last is in the status and in the report.

mod series;

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::retry;
use series::{Series, Write};

/// The name under which Events are reported.
pub const REPORTING_CONTROLLER: &str = "firebreak.dev/firebreak";
/// Notices that wait for the writer.
const QUEUE: usize = 1024;
/// Writes per second on average, and the initial burst.
const PER_SECOND: u32 = 20;
const BURST: u32 = 100;
/// How often counts that were not written yet are written.
const FLUSH_EVERY: Duration = Duration::from_secs(30);
/// How long shutdown waits for the queue.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Whether a person should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// As intended.
    Normal,
    /// A person should look.
    Warning,
}

impl EventType {
    fn label(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// A message about an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The object.
    pub regarding: ObjectReference,
    /// Whether a person should look.
    pub event_type: EventType,
    /// Why, as one CamelCase word.
    pub reason: String,
    /// What was done, as one CamelCase word.
    pub action: String,
    /// For people; cut to 1 kB.
    pub note: String,
}

/// The queue for notices. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<Notice>,
}

impl Events {
    /// The queue for notices, and the writer to run as a task. `instance` is the identity of
    /// this process.
    #[must_use]
    pub fn new(client: Client, instance: String) -> (Self, EventWriter) {
        let (queue, notices) = mpsc::channel(QUEUE);
        let writer =
            EventWriter { client, notices, series: Series::new(instance), allowance: Allowance::full() };
        (Self { queue }, writer)
    }

    /// Publishes a notice if the queue has room. Never waits.
    pub fn publish(&self, notice: Notice) {
        if let Err(dropped) = self.queue.try_send(notice) {
            let notice = dropped.into_inner();
            tracing::debug!(reason = notice.reason, note = notice.note, "an Event was dropped");
        }
    }
}

/// Writes Events until it is stopped.
pub struct EventWriter {
    client: Client,
    notices: mpsc::Receiver<Notice>,
    series: Series,
    allowance: Allowance,
}

impl EventWriter {
    /// Runs until `stop`, and then for at most two seconds more to write what is on its way and what is queued.
    pub async fn run(mut self, stop: CancellationToken) {
        let last_words = async {
            stop.cancelled().await;
            sleep(LAST_WORDS).await;
        };
        tokio::select! {
            () = self.write_all(&stop) => {}
            // An Event that is not written by now is lost, which is acceptable for Events.
            () = last_words => {}
        }
    }

    /// Closes the queue at `stop`, and ends when it is closed and empty.
    async fn write_all(&mut self, stop: &CancellationToken) {
        let mut flush = interval(FLUSH_EVERY);
        loop {
            tokio::select! {
                notice = self.notices.recv() => match notice {
                    Some(notice) => {
                        let write = self.series.record(&notice, Instant::now());
                        self.write(write).await;
                    }
                    None => return self.write_counts(true).await,
                },
                _ = flush.tick() => self.write_counts(false).await,
                () = stop.cancelled(), if !self.notices.is_closed() => self.notices.close(),
            }
        }
    }

    async fn write_counts(&mut self, last: bool) {
        for write in self.series.due(Instant::now(), last) {
            self.write(write).await;
        }
    }

    async fn write(&mut self, write: Write) {
        if matches!(write, Write::Nothing) {
            return;
        }
        self.allowance.take().await;
        let (name, result) = match write {
            Write::Nothing => return,
            Write::Create(event) => (name_of(&event), self.create(&event).await),
            Write::Count { event, patch } => (name_of(&event), self.count(&event, &patch).await),
        };
        if let Err(error) = result {
            tracing::debug!(event = name, why = retry::explain(&error), "an Event was lost");
        }
    }

    async fn create(&self, event: &Event) -> Result<(), kube::Error> {
        self.events(event).create(&PostParams::default(), event).await.map(drop)
    }

    /// Raises the count of an Event, or writes a new one if the server has deleted it (after 1 h).
    async fn count(&self, event: &Event, patch: &serde_json::Value) -> Result<(), kube::Error> {
        let counted =
            self.events(event).patch(&name_of(event), &PatchParams::default(), &Patch::Merge(patch)).await;
        match counted {
            Err(kube::Error::Api(status)) if status.is_not_found() => self.create(event).await,
            other => other.map(drop),
        }
    }

    fn events(&self, event: &Event) -> Api<Event> {
        let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
        Api::namespaced(self.client.clone(), namespace)
    }
}

fn name_of(event: &Event) -> String {
    event.metadata.name.clone().unwrap_or_default()
}

/// A token bucket for writes.
struct Allowance {
    left: u32,
    counted_at: Instant,
}

impl Allowance {
    fn full() -> Self {
        Self { left: BURST, counted_at: Instant::now() }
    }

    /// Takes one token, or waits for one.
    async fn take(&mut self) {
        let each = Duration::from_secs(1) / PER_SECOND;
        loop {
            let gained = self.counted_at.elapsed().as_millis() / each.as_millis();
            let gained = u32::try_from(gained).unwrap_or(BURST).min(BURST);
            self.left = (self.left + gained).min(BURST);
            self.counted_at =
                if self.left == BURST { Instant::now() } else { self.counted_at + each * gained };
            if let Some(left) = self.left.checked_sub(1) {
                self.left = left;
                return;
            }
            sleep_until(self.counted_at + each).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::Value;
    use std::sync::{Arc, Mutex};
    use tokio::task::JoinHandle;

    /// How long a request is on its way.
    const ON_ITS_WAY: Duration = Duration::from_millis(2);

    type Requests = Arc<Mutex<Vec<(Method, String, Value)>>>;

    /// A server that records requests, and answers each with a code.
    fn server(requests: &Requests, code: impl Fn(&Method) -> u16 + Send + 'static) -> Client {
        let requests = Arc::clone(requests);
        let service = tower::service_fn(move |request: Request<Body>| {
            let requests = Arc::clone(&requests);
            let code = code(request.method());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                let value: Value = serde_json::from_slice(&body)?;
                let path = head.uri.path().to_owned();
                sleep(ON_ITS_WAY).await;
                requests.lock().unwrap().push((head.method, path, value));
                let answer = if code < 300 {
                    r#"{"metadata":{}}"#.to_owned()
                } else {
                    format!(r#"{{"kind":"Status","code":{code},"reason":"NotFound","message":"no"}}"#)
                };
                let mut response = Response::new(Body::from(answer.into_bytes()));
                *response.status_mut() = StatusCode::from_u16(code)?;
                Ok::<_, tower::BoxError>(response)
            }
        });
        Client::new(service, "default")
    }

    fn start(client: Client) -> (Events, CancellationToken, JoinHandle<()>) {
        let (events, writer) = Events::new(client, "pod-0".to_owned());
        let stop = CancellationToken::new();
        let task = tokio::spawn(writer.run(stop.clone()));
        (events, stop, task)
    }

    fn notice(note: &str) -> Notice {
        Notice {
            regarding: ObjectReference {
                kind: Some("Deployment".into()),
                namespace: Some("llm".into()),
                name: Some("router".into()),
                uid: Some("u-1".into()),
                ..ObjectReference::default()
            },
            event_type: EventType::Normal,
            reason: "Applied".to_owned(),
            action: "Scale".to_owned(),
            note: note.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_notice_is_one_event_that_counts_and_another_note_is_another_event() {
        let requests = Requests::default();
        let (events, stop, task) = start(server(&requests, |_| 200));
        for note in ["3 to 6", "3 to 6", "3 to 6", "6 to 9"] {
            events.publish(notice(note));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        stop.cancel();
        task.await.unwrap();

        let requests = requests.lock().unwrap();
        let methods: Vec<&str> = requests.iter().map(|(method, _, _)| method.as_str()).collect();
        assert_eq!(methods, ["POST", "PATCH", "POST", "PATCH"]);
        assert_eq!(requests[0].1, "/apis/events.k8s.io/v1/namespaces/llm/events");
        assert_eq!(requests[0].2["reportingController"], REPORTING_CONTROLLER);
        assert_eq!(requests[0].2["note"], "3 to 6");
        assert_eq!(requests[1].2["series"]["count"], 2);
        assert_eq!(requests[2].2["note"], "6 to 9");
        assert_eq!(requests[3].2["series"]["count"], 3, "the rest is written at the end");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_the_server_has_deleted_is_written_again() {
        let requests = Requests::default();
        let (events, stop, task) =
            start(server(&requests, |method| if *method == Method::PATCH { 404 } else { 200 }));
        events.publish(notice("n"));
        events.publish(notice("n"));
        stop.cancel();
        task.await.unwrap();
        let requests = requests.lock().unwrap();
        assert_eq!(requests.len(), 3);
        assert_eq!(requests[2].0, Method::POST);
        assert_eq!(requests[2].2["series"]["count"], 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_neither_waits_nor_exceeds_the_rate() {
        let requests = Requests::default();
        let (events, _stop, _task) = start(server(&requests, |_| 200));
        let before = Instant::now();
        for number in 0..5_000 {
            events.publish(notice(&number.to_string()));
        }
        assert_eq!(before.elapsed(), Duration::ZERO);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let written = requests.lock().unwrap().len();
        assert!((250..=301).contains(&written), "{written}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_on_its_way_at_the_end_is_written_once() {
        let requests = Requests::default();
        let (events, stop, task) = start(server(&requests, |_| 200));
        events.publish(notice("the last word"));
        sleep(ON_ITS_WAY / 2).await;
        assert!(requests.lock().unwrap().is_empty(), "it is on its way");
        stop.cancel();
        task.await.unwrap();
        assert_eq!(requests.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_refuses_events_stops_nothing() {
        let requests = Requests::default();
        let (events, stop, task) = start(server(&requests, |_| 403));
        events.publish(notice("a"));
        events.publish(notice("b"));
        stop.cancel();
        task.await.unwrap();
        assert_eq!(requests.lock().unwrap().len(), 2);
    }
}
