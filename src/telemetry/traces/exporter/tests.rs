//! The exporter against a server on the loopback interface that speaks OTLP.

use std::collections::VecDeque;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::*;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::span::{SpanEvent, SpanId, TraceId, Value};
use crate::telemetry::traces::{Compression, TraceSettings};

/// What the server answers to a request.
enum Say {
    /// This status, with these headers.
    Status(u16, &'static [(&'static str, &'static str)]),
    /// Accepted without so many spans.
    Without(i64),
    /// Nothing, ever.
    Nothing,
}

/// What a request contained.
struct Received {
    headers: HeaderMap,
    message: ExportTraceServiceRequest,
}

/// A server, and what it has received. It accepts what it has no other answer for.
#[derive(Clone, Default)]
struct Server {
    answers: Arc<Mutex<VecDeque<Say>>>,
    received: Arc<Mutex<Vec<Received>>>,
    moved: Arc<Notify>,
}

impl Server {
    fn saying(answers: impl IntoIterator<Item = Say>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Self::default() }
    }

    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    async fn until_received(&self, number: usize) {
        while self.received.lock().unwrap().len() < number {
            self.moved.notified().await;
        }
    }
}

async fn answer(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Response {
    let mut plain = Vec::new();
    match headers.get("content-encoding") {
        Some(_) => GzDecoder::new(body.as_ref()).read_to_end(&mut plain).map(drop).unwrap(),
        None => plain.extend_from_slice(&body),
    }
    let message = ExportTraceServiceRequest::decode(plain.as_slice()).unwrap();
    server.received.lock().unwrap().push(Received { headers, message });
    server.moved.notify_one();
    let say = server.answers.lock().unwrap().pop_front().unwrap_or(Say::Status(200, &[]));
    match say {
        Say::Status(status, headers) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            response.body(Bytes::new().into()).unwrap()
        }
        Say::Without(spans) => {
            let partial =
                ExportTracePartialSuccess { rejected_spans: spans, error_message: "too old".to_owned() };
            let message = ExportTraceServiceResponse { partial_success: Some(partial) };
            Response::new(message.encode_to_vec().into())
        }
        Say::Nothing => std::future::pending().await,
    }
}

fn settings(address: SocketAddr) -> TraceSettings {
    TraceSettings {
        url: format!("http://{address}/v1/traces").parse().unwrap(),
        headers: vec![(HeaderName::from_static("x-scope-orgid"), HeaderValue::from_static("ops"))],
        timeout: Duration::from_secs(5),
        certificate: None,
        compression: Compression::None,
        resource: vec![("service.name".to_owned(), "firebreak".to_owned())],
        doubts: Vec::new(),
    }
}

struct Running {
    queue: Queue,
    counter: SpanCounter,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn to(settings: TraceSettings) -> Self {
        Self::through(Endpoint::new(settings).await.unwrap())
    }

    fn through(endpoint: Endpoint) -> Self {
        let counter = SpanCounter::show(&Metrics::new().unwrap()).unwrap();
        let resource = vec![("service.name".to_owned(), "firebreak".to_owned())];
        let (queue, exporter) = exporter(endpoint, resource, counter.clone());
        let stop = CancellationToken::new();
        let task = exporter.start(stop.clone());
        Self { queue, counter, stop, task }
    }

    /// How many spans were sent, dropped, rejected, and given up, once it has ended.
    async fn ended(self) -> [u64; 4] {
        self.stop.cancel();
        self.task.await.unwrap();
        [Fate::Sent, Fate::Dropped, Fate::Rejected, Fate::Failed].map(|fate| self.counter.of(fate))
    }
}

fn span(number: u64) -> Span {
    Span {
        trace: TraceId::of("uid-1"),
        id: SpanId(number.to_be_bytes()),
        parent: Some(SpanId([7; 8])),
        name: "apply Deployment".to_owned(),
        start: Timestamp::from_second(1_700_000_000).unwrap(),
        end: Timestamp::from_millisecond(1_700_000_001_500).unwrap(),
        attributes: vec![
            ("firebreak.outcome", "failed".into()),
            ("firebreak.round", 1_u8.into()),
            ("firebreak.fields", Value::Texts(vec!["/spec/replicas".to_owned()])),
        ],
        events: vec![SpanEvent {
            at: Timestamp::from_second(1_700_000_001).unwrap(),
            name: "Opened".to_owned(),
        }],
        error: Some("Refused".to_owned()),
    }
}

#[tokio::test]
async fn spans_arrive_as_the_protocol_has_them_with_the_headers_that_were_set() {
    for compression in [Compression::None, Compression::Gzip] {
        let server = Server::default();
        let running = Running::to(TraceSettings { compression, ..settings(server.start().await) }).await;
        running.queue.add(span(1));
        running.queue.add(span(2));
        assert_eq!(running.ended().await, [2, 0, 0, 0]);
        let received = server.received.lock().unwrap();
        let [Received { headers, message, .. }] = received.as_slice() else { panic!("one batch") };
        assert_eq!(headers["content-type"], "application/x-protobuf");
        assert_eq!(headers["x-scope-orgid"], "ops");
        let of_resource = &message.resource_spans[0];
        let shown = format!("{:?}", of_resource.resource);
        assert!(shown.contains("service.name") && shown.contains("firebreak"), "{shown}");
        let spans = &of_resource.scope_spans[0].spans;
        assert_eq!(spans.len(), 2);
        let first = &spans[0];
        assert_eq!(first.trace_id, TraceId::of("uid-1").0);
        assert_eq!(
            (first.span_id.clone(), first.parent_span_id.clone()),
            (1_u64.to_be_bytes().to_vec(), vec![7; 8])
        );
        assert_eq!(first.start_time_unix_nano, 1_700_000_000_000_000_000);
        assert_eq!(first.end_time_unix_nano, 1_700_000_001_500_000_000);
        assert_eq!((first.events[0].name.as_str(), first.attributes.len()), ("Opened", 3));
        let status = first.status.clone().unwrap();
        assert_eq!((status.code, status.message.as_str()), (2, "Refused"));
    }
}

#[tokio::test]
async fn what_the_endpoint_rejects_is_not_sent_again() {
    let server =
        Server::saying([Say::Status(400, &[]), Say::Without(1), Say::Status(307, &[("location", "/")])]);
    let running = Running::to(settings(server.start().await)).await;
    for number in 1..=3 {
        running.queue.add(span(number));
        server.until_received(usize::try_from(number).unwrap()).await;
    }
    assert_eq!(running.ended().await, [0, 0, 3, 0]);
    assert_eq!(server.received.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn an_endpoint_that_never_answers_costs_what_has_room_and_nobody_waits() {
    let server = Server::saying([Say::Nothing, Say::Nothing]);
    let running = Running::to(settings(server.start().await)).await;
    running.queue.add(span(0));
    server.until_received(1).await; // one batch is on its way
    let sent = u64::try_from(QUEUE).unwrap();
    (0..sent + 5).for_each(|number| running.queue.add(span(number))); // returns although nothing moves
    assert_eq!(running.counter.of(Fate::Dropped), 5);
    assert_eq!(running.ended().await[1], 5);
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_a_reason_to_send_again() {
    let server = Server::saying([Say::Nothing]);
    let timeout = Duration::from_millis(50);
    let running = Running::to(TraceSettings { timeout, ..settings(server.start().await) }).await;
    running.queue.add(span(1));
    server.until_received(2).await;
    assert_eq!(running.ended().await[0], 1);
}

#[tokio::test]
async fn a_dead_endpoint_loses_spans_and_holds_up_no_shutdown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener); // nobody listens there now
    let running = Running::to(settings(address)).await;
    running.queue.add(span(1));
    assert_eq!(running.ended().await, [0, 0, 0, 1]);
}

#[tokio::test]
async fn many_spans_are_sent_in_batches_and_all_of_them_before_the_end() {
    let server = Server::default();
    let running = Running::to(settings(server.start().await)).await;
    let number = u64::try_from(QUEUE).unwrap();
    (0..number).for_each(|number| running.queue.add(span(number)));
    assert_eq!(running.ended().await, [number, 0, 0, 0]);
    let received = server.received.lock().unwrap();
    let sizes = received.iter().map(|request| request.message.resource_spans[0].scope_spans[0].spans.len());
    assert!(sizes.into_iter().all(|size| size <= BATCH));
}

mod times;
mod tls;
