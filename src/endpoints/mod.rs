//! The endpoints of the operator's configuration: what signals ask, with the operator's credentials.
//!
//! # Flow
//! The configuration names them ([`spec`]); a policy holds a name, never a URL. Whoever asks waits for a turn ([`gate`]). In it,
//! [`Endpoint::get`] sends one request: it reads the files with credentials ([`credentials`]), and returns the status and,
//! bounded, the body.
//!
//! # Guarantees
//! Whoever asks has checked that the ServiceAccount of the policy may use the endpoint. Where a request may go is checked by
//! [`crate::outbound`]. No text of an answer leaves this module but as the body; errors show neither credentials nor the rest
//! of a URL behind the host. An endpoint that does not answer gets one request at a time.

mod credentials;
mod gate;
mod spec;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use firebreak_engine::signal::EndpointType;
use http::header::{ACCEPT, USER_AGENT};
use http::{Request, StatusCode};
use kube::client::Body;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prost::bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::credentials::{Files, headers};
use self::gate::Gate;
pub use self::gate::Turn;
pub use self::spec::EndpointSpec;
use crate::outbound::addresses::Reach;
use crate::outbound::{self, HttpClient};

/// Why there is no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Asking again does not help before somebody changes something: nothing is known from now on.
    Unusable {
        /// In one word.
        reason: &'static str,
        /// For people.
        detail: String,
    },
    /// No conclusive answer. What was read last counts until it is too old. The text is for people.
    NoAnswer(String),
    /// Nothing was sent, because others had their turn. What was read last counts until it is too old.
    Busy(String),
}

/// The reason of [`Unanswered::NoAnswer`].
pub const UNREACHABLE: &str = "Unreachable";
/// The reason of [`Unanswered::Busy`].
pub const BUSY: &str = "Busy";

impl Unanswered {
    /// Asking again does not help.
    pub fn unusable(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::Unusable { reason, detail: detail.into() }
    }

    /// In one word, for the metric.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unusable { reason, .. } => reason,
            Self::NoAnswer(_) => UNREACHABLE,
            Self::Busy(_) => BUSY,
        }
    }
}

/// What is taken of an answer.
#[derive(Clone, Copy, Debug)]
pub enum Take {
    /// A body of at most this many bytes.
    Body(usize),
    /// Only the status. The body is not read.
    Status,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status of HTTP.
    pub status: StatusCode,
    /// The body, as far as it was asked for.
    pub body: Bytes,
    /// How long it took until the status was there.
    pub took: Duration,
}

/// The reason of a signal that asks an endpoint which the configuration does not have.
pub const NO_SUCH_ENDPOINT: &str = "NoSuchEndpoint";

/// All endpoints of a configuration.
#[derive(Debug, Default)]
pub struct Endpoints(BTreeMap<String, Arc<Endpoint>>);

impl Endpoints {
    /// These endpoints. Those that are the same as before keep their connections and their turns.
    #[must_use]
    pub fn of(specs: Vec<EndpointSpec>, before: &Self) -> Self {
        let endpoint = |spec: EndpointSpec| {
            let same = before.0.get(&spec.name).filter(|old| old.spec == spec).cloned();
            (spec.name.clone(), same.unwrap_or_else(|| Arc::new(Endpoint::new(spec))))
        };
        Self(specs.into_iter().map(endpoint).collect())
    }

    /// Endpoints that are functions of the test.
    #[cfg(test)]
    pub(crate) fn answering(all: impl IntoIterator<Item = Endpoint>) -> Self {
        Self(all.into_iter().map(|endpoint| (endpoint.spec.name.clone(), Arc::new(endpoint))).collect())
    }

    /// The endpoint of this name and type.
    ///
    /// # Errors
    /// There is none. The text names those that there are.
    pub fn find(&self, name: &str, type_: EndpointType) -> Result<Arc<Endpoint>, Unanswered> {
        let known = || {
            let names: Vec<&str> = self.of_type(type_).collect();
            match names.as_slice() {
                [] => format!("it has none of type {}", type_.name()),
                names => format!("of type {} it has {}", type_.name(), names.join(", ")),
            }
        };
        match self.0.get(name) {
            Some(endpoint) if endpoint.spec.type_ == type_ => Ok(Arc::clone(endpoint)),
            Some(endpoint) => Err(Unanswered::unusable(
                "WrongEndpoint",
                format!(
                    "endpoint {name} of the operator's configuration has type {}; {}",
                    endpoint.spec.type_.name(),
                    known()
                ),
            )),
            None => Err(Unanswered::unusable(
                NO_SUCH_ENDPOINT,
                format!("the operator's configuration has no endpoint {name}; {}", known()),
            )),
        }
    }

    fn of_type(&self, type_: EndpointType) -> impl Iterator<Item = &str> {
        self.0.values().filter(move |found| found.spec.type_ == type_).map(|found| found.spec.name.as_str())
    }
}

/// One endpoint.
pub struct Endpoint {
    spec: EndpointSpec,
    gate: Gate,
    /// The client, and the content of the files with which it was created.
    client: Mutex<Option<(Files, HttpClient)>>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(f)
    }
}

impl Endpoint {
    fn new(spec: EndpointSpec) -> Self {
        Self { spec, gate: Gate::default(), client: Mutex::default() }
    }

    /// An endpoint that is a function of the test, because the clock of a test does not wait for sockets.
    #[cfg(test)]
    pub(crate) fn answering(spec: EndpointSpec, client: HttpClient) -> Self {
        Self { client: Mutex::new(Some((Files::default(), client))), ..Self::new(spec) }
    }

    /// Waits, at most for `within`, for a turn of one of these accounts. Nothing is sent without one.
    ///
    /// # Errors
    /// It was not its turn within this time.
    pub async fn turn(&self, accounts: &[&str], within: Duration) -> Result<Turn<'_>, Unanswered> {
        self.gate.turn(accounts, within).await.map_err(|error| self.named(error))
    }

    /// Asks for a path below the URL of the endpoint, with these parameters. Whoever calls it has a turn, which ends a
    /// request that takes too long.
    ///
    /// # Errors
    /// There is no answer, or one that is none: a redirect, or a body that is too long.
    pub async fn get(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
        take: Take,
    ) -> Result<Answer, Unanswered> {
        let result = self.exchange(path, parameters, take).await;
        match &result {
            Err(Unanswered::NoAnswer(_) | Unanswered::Busy(_)) => self.gate.was_silent(),
            Ok(_) | Err(Unanswered::Unusable { .. }) => self.gate.has_answered(),
        }
        result
    }

    async fn exchange(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
        take: Take,
    ) -> Result<Answer, Unanswered> {
        let client = self.client().await?;
        let mut request = Request::get(self.address(path, parameters))
            .header(USER_AGENT, outbound::USER_AGENT)
            .header(ACCEPT, "application/json");
        for (name, value) in headers(&self.spec).await? {
            request = request.header(name, value);
        }
        let request = request.body(Body::empty());
        let request = request.map_err(|_| Unanswered::unusable("Refused", "its URL cannot be completed"))?;
        let sent = Instant::now();
        let no_answer = |error: &tower::BoxError| match refused(error.as_ref()) {
            Some(refused) => Unanswered::unusable("AddressRefused", refused.to_string()),
            None if is_of_tls(error.as_ref()) => Unanswered::NoAnswer(NO_TLS.to_owned()),
            None => Unanswered::NoAnswer(outbound::explain(error.as_ref())),
        };
        let (head, body) = outbound::send(client, request).await.map_err(|error| no_answer(&error))?;
        let took = sent.elapsed();
        if head.status.is_redirection() {
            let detail =
                format!("it redirects ({}), which is never followed; set the final URL", head.status);
            return Err(Unanswered::unusable("Redirect", detail));
        }
        let body =
            match take {
                Take::Status => Bytes::new(),
                Take::Body(longest) => outbound::at_most(longest, body).await.map_err(|error| {
                    match error.is::<http_body_util::LengthLimitError>() {
                        true => Unanswered::unusable(
                            "TooLarge",
                            format!("its answer is longer than {} KiB; ask for less", longest / 1024),
                        ),
                        false => Unanswered::NoAnswer("its answer was cut off".to_owned()),
                    }
                })?,
            };
        Ok(Answer { status: head.status, body, took })
    }

    /// The URL of a request.
    fn address(&self, path: &str, parameters: &[(&str, &str)]) -> String {
        let url = &self.spec.url;
        let of_endpoint = url.query().into_iter().map(str::to_owned);
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let of_request = parameters.iter().map(|(name, value)| format!("{name}={}", encode(value)));
        let query: Vec<String> = of_endpoint.chain(of_request).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        format!(
            "{}{}{path}{mark}{}",
            outbound::origin(url),
            url.path().trim_end_matches('/'),
            query.join("&")
        )
    }

    /// A client with the present content of the files.
    async fn client(&self) -> Result<HttpClient, Unanswered> {
        let files =
            Files::read(&self.spec.tls).await.map_err(|why| Unanswered::unusable("BadCredentials", why))?;
        let mut known = self.client.lock().await;
        if let Some((_, client)) = known.as_ref().filter(|(of, _)| *of == files) {
            return Ok(client.clone());
        }
        let reach = Reach::of(&self.spec.url);
        let client = outbound::client(&self.spec.url, &self.spec.tls, reach).await;
        let client = client.map_err(|why| Unanswered::unusable("BadCredentials", format!("TLS: {why}")))?;
        *known = Some((files, client.clone()));
        Ok(client)
    }

    /// The error, with the name of the endpoint before its text.
    pub fn named(&self, error: Unanswered) -> Unanswered {
        let name = &self.spec.name;
        match error {
            Unanswered::Unusable { reason, detail } => {
                Unanswered::Unusable { reason, detail: format!("endpoint {name}: {detail}") }
            }
            Unanswered::NoAnswer(detail) => Unanswered::NoAnswer(format!("endpoint {name}: {detail}")),
            Unanswered::Busy(detail) => Unanswered::Busy(format!("endpoint {name}: {detail}")),
        }
    }
}

/// The refusal of an address, if that is the cause of an error.
fn refused<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e outbound::addresses::Refused> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref() {
            return Some(refused);
        }
        cause = error.source();
    }
    None
}

/// What is told of an error of TLS, whose own text has what the peer says: the names in its certificate.
const NO_TLS: &str = "the TLS connection failed: check that its certificate is valid for the host of its URL, that caFile has \
                      the authority of it, and whether it demands a certificate of the client";

/// Whether TLS is the cause of an error: the library says so with this kind of error, inside of others.
fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::InvalidData) {
            return true;
        }
        // The source of such an error is not what it wraps, but the source of that.
        cause = match io.and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests;
