//! One request to the endpoint of traces: OTLP over HTTP, with protobuf.
//!
//! It sends with the client of [`crate::outbound`].

use std::io::{self, Write};
use std::time::Duration;

use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use kube::client::Body;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use prost::bytes::Bytes;
use tower::BoxError;

use super::{Compression, TraceSettings};
use crate::outbound::addresses::Reach;
use crate::outbound::{self, HttpClient, TlsFiles, explain};

/// The most of an answer that is read.
const LONGEST_ANSWER: usize = 64 * 1024;
/// The longest wait that the endpoint can impose, so that one wrong answer does not end the traces of a day.
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

/// What the endpoint has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has the spans, without those that it rejected.
    Accepted {
        /// How many it rejected.
        rejected: u64,
        /// Why it rejected them.
        why: String,
    },
    /// It does not take this request, however often it is sent.
    Rejected {
        /// Why.
        why: String,
    },
    /// The same request may be accepted later.
    TryAgain {
        /// Why it was not accepted.
        why: String,
        /// The wait that the endpoint asks for.
        after: Option<Duration>,
    },
}

/// Why no client could be created.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {origin} with TLS: {why}; check OTEL_EXPORTER_OTLP_CERTIFICATE")]
pub struct EndpointError {
    origin: String,
    why: String,
}

/// The endpoint of traces.
pub struct Endpoint {
    settings: TraceSettings,
    client: HttpClient,
}

impl Endpoint {
    /// A client for the endpoint. Sends nothing.
    ///
    /// # Errors
    /// The certificate authorities cannot be read.
    pub async fn new(settings: TraceSettings) -> Result<Self, EndpointError> {
        let files = TlsFiles { authorities: settings.certificate.clone(), identity: None };
        // Whoever sets the variables owns this process.
        match outbound::client(&settings.url, &files, Reach::Anywhere).await {
            Ok(client) => Ok(Self { settings, client }),
            Err(why) => Err(EndpointError { origin: outbound::origin(&settings.url), why }),
        }
    }

    /// An endpoint that is a function of the test, because the clock of a test does not wait for sockets.
    #[cfg(test)]
    pub(super) fn answering(settings: TraceSettings, client: HttpClient) -> Self {
        Self { settings, client }
    }

    /// The body of a request with this message, compressed if the settings say so.
    pub fn body(&self, message: Vec<u8>) -> Bytes {
        let compressed = match self.settings.compression {
            Compression::None => return message.into(),
            Compression::Gzip => compress(&message),
        };
        // Writing to memory does not fail.
        compressed.unwrap_or_default().into()
    }

    /// Posts a body and waits for the answer, at most for the timeout of the settings.
    pub async fn post(&self, body: Bytes) -> Answer {
        let request = match self.request(body) {
            Ok(request) => request,
            Err(error) => return Answer::Rejected { why: error.to_string() },
        };
        let timeout = self.settings.timeout;
        match tokio::time::timeout(timeout, exchange(self.client.clone(), request)).await {
            Err(_) => {
                Answer::TryAgain { why: format!("no answer within {} ms", timeout.as_millis()), after: None }
            }
            Ok(Err(error)) => Answer::TryAgain { why: explain(error.as_ref()), after: None },
            Ok(Ok((head, body))) if head.status.is_success() => accepted(&body),
            Ok(Ok((head, _))) => refused(head.status, &head.headers),
        }
    }

    fn request(&self, body: Bytes) -> Result<Request<Body>, http::Error> {
        let mut request = Request::post(&self.settings.url)
            .header(USER_AGENT, outbound::USER_AGENT)
            .header(CONTENT_TYPE, "application/x-protobuf");
        if self.settings.compression == Compression::Gzip {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        for (name, value) in &self.settings.headers {
            request = request.header(name, value);
        }
        request.body(Body::from(body))
    }
}

/// Sends a request. An answer whose body is cut off or too long counts by its status.
async fn exchange(client: HttpClient, request: Request<Body>) -> Result<(Parts, Bytes), BoxError> {
    let (head, body) = outbound::send(client, request).await?;
    let body = outbound::at_most(LONGEST_ANSWER, body).await;
    Ok((head, body.unwrap_or_default()))
}

fn compress(message: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(message)?;
    encoder.finish()
}

fn accepted(body: &[u8]) -> Answer {
    // An answer that cannot be read is one of an endpoint that has accepted everything.
    let response = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let partial = response.partial_success.unwrap_or_default();
    let rejected = u64::try_from(partial.rejected_spans).unwrap_or_default();
    Answer::Accepted { rejected, why: partial.error_message }
}

/// Which answers may change is a rule of OTLP.
fn refused(status: StatusCode, headers: &HeaderMap) -> Answer {
    let why = format!("the endpoint answers {status}");
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            Answer::TryAgain { why, after: headers.get(RETRY_AFTER).and_then(wait) }
        }
        _ => Answer::Rejected { why },
    }
}

/// In seconds. A date is not followed: it is as good as none where clocks differ.
fn wait(value: &HeaderValue) -> Option<Duration> {
    let seconds: u64 = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}
