//! Something that signals ask, in the process of the test: it speaks the APIs of Prometheus and Alertmanager, and answers as it
//! is told.

use std::{
    convert::Infallible,
    fmt::Write,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use futures::stream;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::AbortHandle};

/// How it answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A vector of one element, from now.
    Value(&'static str),
    /// The same, and queries of a timestamp say that it is this many seconds old.
    Old(&'static str, i64),
    /// An empty vector.
    Empty,
    /// A vector with this many elements.
    Many(usize),
    /// A range of values.
    Matrix,
    /// A value, and a warning that part of the data is missing.
    Partial(&'static str),
    /// Something that is none of these APIs.
    Page,
    /// Alerts with these severities, and one that is silenced although nobody has asked for it.
    Alerts(&'static [&'static str]),
    /// A status of HTTP, with an error of the API.
    Error(u16, &'static str),
    /// A redirect to the metadata service of a cloud.
    Metadata,
    /// Nothing, ever.
    Silence,
}

/// An endpoint that listens. It is gone when this is dropped.
pub struct Endpoint {
    address: SocketAddr,
    state: Listens,
    server: AbortHandle,
}

#[derive(Clone)]
struct Listens {
    answer: Arc<Mutex<Answer>>,
    /// The headers Authorization that have come.
    credentials: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    /// Listens on a free port.
    pub async fn start(answer: Answer) -> Self {
        Self::listen("127.0.0.1:0".parse().expect("an address"), answer).await
    }

    /// Listens where another one did.
    pub async fn listen(address: SocketAddr, answer: Answer) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Listens { answer: Arc::new(Mutex::new(answer)), credentials: Arc::default() };
        let router = Router::new().fallback(respond).with_state(state.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await }).abort_handle();
        Self { address, state, server }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it answers like this.
    pub fn answer(&self, answer: Answer) {
        *self.state.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// The credentials that have come, the newest last.
    pub fn credentials(&self) -> Vec<String> {
        self.state.credentials.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn respond(State(state): State<Listens>, request: Request) -> Response {
    let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let authorization = authorization.unwrap_or_default().to_owned();
    state.credentials.lock().unwrap_or_else(PoisonError::into_inner).push(authorization);
    let asks_for_time = request.uri().query().unwrap_or_default().contains("timestamp");
    let answer = state.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match answer {
        Answer::Value(value) | Answer::Old(value, _) => {
            let age = if let Answer::Old(_, age) = answer { age } else { 0 };
            let time = (Timestamp::now().as_second() - age).to_string();
            success(&vector(&[if asks_for_time { &time } else { value }]), &json!(null))
        }
        Answer::Empty => success(&vector(&[]), &json!(null)),
        Answer::Partial(value) => success(&vector(&[value]), &json!(["a store did not answer: s3cret"])),
        Answer::Matrix => success(&json!({"resultType": "matrix", "result": []}), &json!(null)),
        Answer::Many(number) => many(number),
        Answer::Alerts(severities) => {
            let alert = |severity: &&str, state| json!({"labels": {"alertname": "A", "severity": severity}, "status": {"state": state}});
            let firing = severities.iter().map(|severity| alert(severity, "active"));
            let all: Vec<Value> = firing.chain([alert(&"critical", "suppressed")]).collect();
            json!(all).to_string().into_response()
        }
        Answer::Page => "<html>s3cret</html>".into_response(),
        Answer::Error(code, kind) => {
            let body = json!({"status": "error", "errorType": kind, "error": "s3cret"});
            (StatusCode::from_u16(code).expect("a status"), body.to_string()).into_response()
        }
        Answer::Metadata => {
            (StatusCode::FOUND, [(LOCATION, "http://169.254.169.254/latest/s3cret")]).into_response()
        }
        Answer::Silence => std::future::pending().await,
    }
}

fn success(data: &Value, warnings: &Value) -> Response {
    json!({"status": "success", "data": data, "warnings": warnings}).to_string().into_response()
}

fn vector(values: &[&str]) -> Value {
    let time = Timestamp::now().as_second();
    let element = |value: &&str| json!({"metric": {"job": "vllm"}, "value": [time, value]});
    json!({"resultType": "vector", "result": values.iter().map(element).collect::<Vec<_>>()})
}

/// Sent in parts, because nobody should need the memory for all of it.
fn many(number: usize) -> Response {
    const PART: usize = 1000;
    let part = move |first: usize| {
        let mut text = String::new();
        for at in first..(first + PART).min(number) {
            let comma = if at == 0 { "" } else { "," };
            write!(text, r#"{comma}{{"metric":{{"pod":"pod-{at}"}},"value":[1770000000,"1"]}}"#)
                .expect("memory");
        }
        Ok::<_, Infallible>(Bytes::from(text))
    };
    let start = Bytes::from_static(br#"{"status":"success","data":{"resultType":"vector","result":["#);
    let parts = [Ok(start)].into_iter().chain((0..number).step_by(PART).map(part));
    let parts = parts.chain([Ok(Bytes::from_static(b"]}}"))]);
    Body::from_stream(stream::iter(parts)).into_response()
}
