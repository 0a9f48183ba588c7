//! The layer around every request: one deadline, and metrics.
//!
//! kube marks each request with its operation (`get`, `patch_status`, `watch`, …) as an extension;
//! this name distinguishes streams from calls and becomes the `verb` label.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use http::{Request, Response};
use http_body_util::{BodyExt, Either, Full, Limited};
use kube::client::Body;
use tokio::time::Instant;
use tower::{BoxError, Service};

use crate::telemetry::metrics::Metrics;

/// The time that one request may take, including the body of the response. A stream (watch, log, streamed list) must
/// start within it, and may then continue.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The maximum size of a response in bytes: a page of objects that are as large as the API server allows
/// must only fail one read, not the process.
const LARGEST: usize = 64 << 20;

/// The extension of a request whose answer is read piece by piece, such as a list of many objects. The deadline includes its
/// head; whoever reads it bounds the rest.
#[derive(Clone, Copy, Debug)]
pub struct Streamed;

/// The API server gave no complete answer in time. Its effect is not known.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {} s", DEADLINE.as_secs())]
pub struct DeadlineExceeded;

/// A service that counts the requests that it passes on and has a deadline.
pub struct Metered<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> Metered<S> {
    /// Wraps a service.
    pub fn new(inner: S, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }
}

type Answer<B> = Response<Either<Full<Bytes>, B>>;

impl<S, B> Service<Request<Body>> for Metered<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Answer<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let operation = operation(&request);
        let resource = resource(request.uri().path()).to_owned();
        let metrics = Arc::clone(&self.metrics);
        let takes = Takes::of(operation, request.extensions().get::<Streamed>());
        let answer = self.inner.call(request);
        let sent = Instant::now();
        Box::pin(async move {
            let ended = tokio::time::timeout(DEADLINE, receive(answer, takes)).await;
            let (code, result) = match ended {
                Ok(Ok(answer)) => (answer.status().as_str().to_owned(), Ok(answer)),
                Ok(Err(error)) => ("error".to_owned(), Err(error)),
                Err(_) => ("deadline".to_owned(), Err(DeadlineExceeded.into())),
            };
            metrics.api_request(operation, &resource, &code, sent.elapsed());
            result
        })
    }
}

/// What of a response the deadline includes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// All of it.
    Whole,
    /// All of it, unless it succeeds: then it is a stream.
    Stream,
    /// Its head. It is of a pod, which may send any amount; whoever asks bounds what is read.
    Head,
}

impl Takes {
    fn of(operation: &str, streamed: Option<&Streamed>) -> Self {
        match operation {
            _ if streamed.is_some() => Self::Stream,
            "watch" | "watch_metadata" | "log_stream" | "exec" | "attach" | "portforward" => Self::Stream,
            "proxy" => Self::Head,
            _ => Self::Whole,
        }
    }
}

/// Waits for a response; for anything but a stream this includes the body. kube reads the whole body of a call
/// into memory in any case, so collecting it here costs nothing more.
async fn receive<B>(
    answer: impl Future<Output = Result<Response<B>, BoxError>>,
    takes: Takes,
) -> Result<Answer<B>, BoxError>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let answer = answer.await?;
    if takes == Takes::Head || takes == Takes::Stream && answer.status().is_success() {
        return Ok(answer.map(Either::Right));
    }
    let (head, body) = answer.into_parts();
    let whole = Limited::new(body, LARGEST).collect().await?.to_bytes();
    Ok(Response::from_parts(head, Either::Left(Full::new(whole))))
}

fn operation(request: &Request<Body>) -> &'static str {
    if let Some(operation) = request.extensions().get::<&'static str>() {
        return operation;
    }
    match request.method().as_str() {
        "GET" => "get",
        "POST" => "create",
        "PUT" => "replace",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "other",
    }
}

/// The plural of the resource in a path of the API server, or the purpose of the path.
fn resource(path: &str) -> &str {
    let mut parts = path.trim_start_matches('/').split('/');
    let below_version = match parts.next() {
        Some("api") => parts.next().and(Some(parts)),
        Some("apis") => parts.next().and(parts.next()).and(Some(parts)),
        Some("version") => return "version",
        Some(_) | None => return "other",
    };
    let Some(mut parts) = below_version else {
        return "discovery";
    };
    match (parts.next(), parts.next(), parts.next()) {
        (Some("namespaces"), Some(_), Some(resource)) => resource,
        (Some(resource), _, _) if !resource.is_empty() => resource,
        (Some(_) | None, _, _) => "discovery",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body as AnyBody;
    use futures::StreamExt;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{Api, Client, client::ClientBuilder};

    fn client<F>(metrics: &Arc<Metrics>, answer: impl Fn() -> F + Clone + Send + 'static) -> Client
    where
        F: Future<Output = Result<Response<AnyBody>, BoxError>> + Send + 'static,
    {
        let server = tower::service_fn(move |_: Request<Body>| answer());
        let metered = tower::layer::layer_fn(|s| Metered::new(s, Arc::clone(metrics)));
        ClientBuilder::new(server, "default").with_layer(&metered).build()
    }

    fn rendered(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render().unwrap()).unwrap()
    }

    #[test]
    fn the_resource_is_read_from_the_path() {
        for (path, expected) in [
            ("/api/v1/nodes", "nodes"),
            ("/api/v1/namespaces/llm", "namespaces"),
            ("/api/v1/namespaces/llm/pods/router-0/eviction", "pods"),
            ("/apis/apps/v1/namespaces/llm/deployments/router", "deployments"),
            ("/apis/firebreak.dev/v1alpha1/namespaces/llm/incidents/i/status", "incidents"),
            ("/apis/apps/v1", "discovery"),
            ("/api", "discovery"),
            ("/version", "version"),
            ("/favicon.ico", "other"),
            ("", "other"),
        ] {
            assert_eq!(resource(path), expected, "{path}");
        }
    }

    #[tokio::test]
    async fn a_request_is_counted_by_operation_resource_and_code() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let client =
            client(&metrics, || async { Ok(Response::builder().status(404).body(AnyBody::empty())?) });
        let maps: Api<ConfigMap> = Api::namespaced(client, "llm");
        assert!(maps.get_opt("brake").await.unwrap_or(None).is_none());
        let line = "firebreak_api_requests_total{code=\"404\",resource=\"configmaps\",verb=\"get\"} 1";
        assert!(rendered(&metrics).contains(line), "{}", rendered(&metrics));
        let timed = "firebreak_api_request_duration_seconds_count{verb=\"get\"} 1";
        assert!(rendered(&metrics).contains(timed), "{}", rendered(&metrics));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up_at_the_deadline() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let client = client(&metrics, || async {
            let never = futures::stream::pending::<Result<Bytes, BoxError>>();
            Ok(Response::new(AnyBody::from_stream(never)))
        });
        let before = tokio::time::Instant::now();
        let maps: Api<ConfigMap> = Api::namespaced(client, "llm");
        let error = maps.get("brake").await.unwrap_err();
        assert_eq!(before.elapsed(), DEADLINE);
        assert!(super::super::retry::is_transient(&error), "{error}");
        assert!(rendered(&metrics).contains("code=\"deadline\""));
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_not_read_to_its_end() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let client = client(&metrics, || async {
            let megabyte = Bytes::from(vec![b'x'; 1 << 20]);
            let endless = futures::stream::repeat_with(move || Ok::<_, BoxError>(megabyte.clone()));
            Ok(Response::new(AnyBody::from_stream(endless)))
        });
        let maps: Api<ConfigMap> = Api::namespaced(client, "llm");
        assert!(maps.get("brake").await.is_err());
    }

    #[tokio::test]
    async fn a_streamed_list_arrives_before_it_is_complete() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let client = client(&metrics, || async {
            let begins = futures::stream::iter([Ok::<_, BoxError>(Bytes::from_static(b"{"))]);
            Ok(Response::new(AnyBody::from_stream(begins.chain(futures::stream::pending()))))
        });
        let mut request = Request::get("/api/v1/pods").body(Vec::new()).unwrap();
        request.extensions_mut().insert(Streamed);
        let mut body = Box::pin(client.request_stream(request).await.unwrap());
        assert_eq!(futures::AsyncBufReadExt::fill_buf(&mut body).await.unwrap(), b"{");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_began_may_go_on() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let client = client(&metrics, || async {
            let never = futures::stream::pending::<Result<Bytes, BoxError>>();
            Ok(Response::new(AnyBody::from_stream(never)))
        });
        let maps: Api<ConfigMap> = Api::namespaced(client, "llm");
        let stream = maps.watch(&kube::api::WatchParams::default(), "0").await;
        let mut stream = Box::pin(stream.unwrap());
        let next = futures::StreamExt::next(&mut stream);
        assert!(tokio::time::timeout(DEADLINE * 4, next).await.is_err());
    }
}
