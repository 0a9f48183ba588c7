//! Requests to what is not the API server: the endpoint of traces, and the endpoints of signals.
//!
//! # Guarantees
//! It checks every address before it connects ([`addresses`]), follows no redirect and uses no proxy. For https it has the
//! TLS of the client for Kubernetes; with http no
//! certificate is read, because the image has none. An error never shows the path or the query of a URL, which may have a
//! key, nor the value of a header.

pub mod addresses;
mod tls;

use std::io;

use http::response::Parts;
use http::uri::Authority;
use http::{Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use prost::bytes::Bytes;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};

use self::addresses::{Reach, Resolver};
pub use self::tls::{Identity, TlsFiles};

/// The value of the header User-Agent.
pub const USER_AGENT: &str = concat!("firebreak/", env!("CARGO_PKG_VERSION"));

/// The body of an answer.
pub type AnswerBody = UnsyncBoxBody<Bytes, io::Error>;
/// Sends requests. Cheap to clone.
pub type HttpClient = BoxCloneSyncService<Request<Body>, Response<AnswerBody>, BoxError>;

/// A client for the server of this URL. Sends nothing.
///
/// # Errors
/// A file cannot be read, or has something else in it. The text names no path.
pub async fn client(url: &Uri, files: &TlsFiles, reach: Reach) -> Result<HttpClient, String> {
    let mut connector = HttpConnector::new_with_resolver(Resolver::new(reach));
    if url.scheme_str() != Some("https") {
        return Ok(through(connector));
    }
    connector.enforce_http(false);
    let config = files.read(url).await?;
    let connector = config.rustls_https_connector_with_connector(connector);
    Ok(through(connector.map_err(|error| explain(&error))?))
}

/// A client that connects like this.
fn through<C: Connect + Clone + Send + Sync + 'static>(connector: C) -> HttpClient {
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let client = client
        .map_response(|response: Response<_>| {
            response.map(|body| body.map_err(io::Error::other).boxed_unsync())
        })
        .map_err(BoxError::from);
    BoxCloneSyncService::new(client)
}

/// Sends a request, and returns the answer as soon as its head is there.
///
/// # Errors
/// There is no answer.
pub async fn send(client: HttpClient, request: Request<Body>) -> Result<(Parts, AnswerBody), BoxError> {
    Ok(client.oneshot(request).await?.into_parts())
}

/// The whole body of an answer; an error if it is cut off or longer.
///
/// # Errors
/// It is cut off, or it is longer.
pub async fn at_most(longest: usize, body: AnswerBody) -> Result<Bytes, BoxError> {
    Ok(Limited::new(body, longest).collect().await?.to_bytes())
}

/// The scheme and the authority of a URL, which may have a credential in the rest.
pub fn origin(url: &Uri) -> String {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    format!("{}://{authority}", url.scheme_str().unwrap_or_default())
}

/// A URL with http or https, a host, and no user and no password in it.
pub fn url(text: &str) -> Option<Uri> {
    let is_meant = |url: &Uri| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.authority().is_some_and(is_plain)
    };
    text.parse::<Uri>().ok().filter(is_meant)
}

/// A host, and perhaps a port that exists. No user and no password.
fn is_plain(authority: &Authority) -> bool {
    let rest = authority.as_str().strip_prefix(authority.host()).filter(|_| !authority.host().is_empty());
    rest.is_some_and(|rest| rest.is_empty() || authority.port_u16().is_some_and(|port| port > 0))
}

/// What went wrong, and why: the outermost error of hyper says only where.
pub fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts.dedup();
    texts.join(": ")
}
