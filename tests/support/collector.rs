//! A collector of traces in the process of the test: it speaks OTLP over HTTP and keeps every span.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message;
use tokio::{net::TcpListener, sync::Notify, task::AbortHandle};

use super::object::PATIENCE;

/// A collector that listens. It ends when this is dropped.
pub struct Collector {
    address: SocketAddr,
    received: Received,
    server: AbortHandle,
}

#[derive(Clone, Default)]
struct Received {
    spans: Arc<Mutex<Vec<Span>>>,
    moved: Arc<Notify>,
}

impl Collector {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let received = Received::default();
        let router = Router::new().route("/v1/traces", post(receive)).with_state(received.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await }).abort_handle();
        Self { address, received, server }
    }

    /// The value of `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every span that has come, in this order.
    pub fn spans(&self) -> Vec<Span> {
        self.received.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until there is a span that is meant.
    pub async fn wait_for(&self, wish: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        let found = async {
            loop {
                if let Some(span) = self.spans().into_iter().find(|span| is_it(span)) {
                    return span;
                }
                self.received.moved.notified().await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("no span {wish} within {PATIENCE:?}: {:#?}", self.spans()))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(received): State<Received>, body: Bytes) {
    let message = ExportTraceServiceRequest::decode(body).expect("OTLP");
    let spans = message.resource_spans.into_iter().flat_map(|of_resource| of_resource.scope_spans);
    let spans = spans.flat_map(|of_scope| of_scope.spans);
    received.spans.lock().unwrap_or_else(PoisonError::into_inner).extend(spans);
    received.moved.notify_one();
}

/// The text of an attribute; empty if there is none.
pub fn attribute(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}
