//! GET requests to an endpoint, or to a Service through the proxy of the API server.

use std::time::Duration;

use firebreak_engine::expression::FieldValue;
use firebreak_engine::signal::ServiceSpec;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::question::Read;
use crate::endpoints::{Endpoint, Take, Unanswered};
use crate::kubernetes::retry;
use crate::observe::kind::Values;

/// The longest error of the API server that is read, to tell it from one of the Service.
const LONGEST_ERROR: usize = 64 * 1024;

/// Asks an endpoint.
pub(super) async fn ask(
    endpoint: &Endpoint,
    path: &str,
    expected: Option<u16>,
    within: Duration,
) -> Result<Read, Unanswered> {
    let answer = endpoint.get(path, &[], Take::Status, within).await?;
    Ok(read(answer.status, expected, answer.took))
}

/// Asks a Service: the path is that of its proxy.
pub(super) async fn ask_service(
    client: &Client,
    path: &str,
    expected: Option<u16>,
    within: Duration,
) -> Result<Read, Unanswered> {
    let exchange = async {
        let mut request = Request::get(path)
            .body(Body::empty())
            .map_err(|_| Unanswered::unusable("Refused", "its path cannot be used"))?;
        request.extensions_mut().insert("proxy");
        let sent = Instant::now();
        let no_answer = |error: kube::Error| Unanswered::NoAnswer(retry::explain(&error));
        let (head, body) = client.send(request).await.map_err(no_answer)?.into_parts();
        let took = sent.elapsed();
        if !head.status.is_success() && !head.status.is_redirection() {
            let body = Limited::new(body, LONGEST_ERROR).collect().await.map(|body| body.to_bytes());
            let of_server: Option<Status> = body.ok().and_then(|body| serde_json::from_slice(&body).ok());
            if let Some(status) = of_server.filter(Status::is_of_api_server) {
                return Err(status.meaning(head.status));
            }
        }
        Ok(read(head.status, expected, took))
    };
    let late =
        || Unanswered::NoAnswer(format!("the Service did not answer within {} ms", within.as_millis()));
    timeout(within, exchange).await.unwrap_or_else(|_| Err(late()))
}

/// The path of a request to a Service through the proxy of the API server.
pub(super) fn proxy(service: &ServiceSpec, namespace: &str, path: &str) -> String {
    let (namespace, name) = (service.place(namespace), service.proxied());
    format!("/api/v1/namespaces/{namespace}/services/{name}/proxy{path}")
}

/// What the API server itself says of a request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    kind: String,
    api_version: String,
}

impl Status {
    fn is_of_api_server(&self) -> bool {
        self.kind == "Status" && self.api_version == "v1"
    }

    /// The text of the server may have what a pod has said, so it is not told.
    fn meaning(&self, code: StatusCode) -> Unanswered {
        match code {
            StatusCode::UNAUTHORIZED => Unanswered::unusable("Unauthorized", "the API server answers 401"),
            StatusCode::FORBIDDEN => {
                Unanswered::unusable("Forbidden", "the ServiceAccount may not get services/proxy of this Service")
            }
            StatusCode::NOT_FOUND => Unanswered::unusable("NotFound", "there is no such Service, or nothing behind it"),
            StatusCode::SERVICE_UNAVAILABLE => Unanswered::NoAnswer(
                "the API server reaches no pod of the Service: none is ready, or it does not listen on this port".to_owned(),
            ),
            code if code.is_client_error() && code != StatusCode::TOO_MANY_REQUESTS => {
                Unanswered::unusable("Refused", format!("the API server answers {code}"))
            }
            code => Unanswered::NoAnswer(format!("the API server answers {code}")),
        }
    }
}

fn read(status: StatusCode, expected: Option<u16>, took: Duration) -> Read {
    let ok = expected.map_or(status.is_success(), |expected| status.as_u16() == expected);
    let values = Values::from([
        ("ok".to_owned(), FieldValue::Boolean(ok)),
        ("status".to_owned(), FieldValue::Int(status.as_u16().into())),
        ("latencyMs".to_owned(), FieldValue::Int(i64::try_from(took.as_millis()).unwrap_or(i64::MAX))),
    ]);
    Read { values, age: Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use http::Response;
    use serde_json::json;
    use tower::BoxError;

    use super::*;

    /// A Service whose proxy answers like this.
    async fn asked(code: u16, body: String) -> Result<Values, Unanswered> {
        let service = tower::service_fn(move |request: Request<Body>| {
            assert_eq!(request.uri().path(), "/proxy/health");
            let body = body.clone();
            async move { Ok::<_, BoxError>(Response::builder().status(code).body(Body::from(body.into_bytes()))?) }
        });
        let client = Client::new(service, "default");
        ask_service(&client, "/proxy/health", None, Duration::from_secs(5)).await.map(|read| read.values)
    }

    #[test]
    fn ok_is_what_was_expected() {
        let ok = |code: u16, expected| {
            let values = read(StatusCode::from_u16(code).unwrap(), expected, Duration::from_millis(7)).values;
            assert_eq!(
                values.keys().collect::<Vec<_>>(),
                ["latencyMs", "ok", "status"],
                "the fields of the shape"
            );
            assert_eq!(values["latencyMs"], FieldValue::Int(7));
            assert_eq!(values["status"], FieldValue::Int(code.into()));
            values["ok"] == FieldValue::Boolean(true)
        };
        assert!(ok(200, None) && ok(204, None) && ok(503, Some(503)));
        assert!(!ok(301, None) && !ok(500, None) && !ok(200, Some(204)));
    }

    #[tokio::test]
    async fn an_error_of_the_service_is_an_answer_and_one_of_the_api_server_is_none() {
        assert_eq!(asked(503, "s3cret".to_owned()).await.unwrap()["ok"], FieldValue::Boolean(false));
        assert_eq!(asked(200, "s3cret".to_owned()).await.unwrap()["ok"], FieldValue::Boolean(true));
        let status = json!({"kind": "Status", "apiVersion": "v1", "message": "s3cret"}).to_string();
        for (code, expected) in [
            (401, "Unauthorized"),
            (403, "Forbidden"),
            (404, "NotFound"),
            (400, "Refused"),
            (429, "Unreachable"),
            (503, "Unreachable"),
            (500, "Unreachable"),
        ] {
            let why = asked(code, status.clone()).await.unwrap_err();
            assert_eq!(why.kind(), expected, "{code}");
            assert!(!format!("{why:?}").contains("s3cret"), "{why:?}");
        }
    }
}
