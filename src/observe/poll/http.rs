//! GET requests to an endpoint, or to a Service through the proxy of the API server.

use std::time::Duration;

use firebreak_engine::expression::FieldValue;
use firebreak_engine::signal::ServiceSpec;
use http::header::RETRY_AFTER;
use http::response::Parts;
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
pub(super) async fn ask(endpoint: &Endpoint, path: &str, expected: Option<u16>) -> Result<Read, Unanswered> {
    let answer = endpoint.get(path, &[], Take::Status).await?;
    Ok(read(answer.status, expected, answer.took))
}

/// Asks a Service through the API server's proxy.
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
        if head.status.is_client_error() || head.status.is_server_error() {
            let body = Limited::new(body, LONGEST_ERROR).collect().await.map(|body| body.to_bytes());
            if let Some(why) = of_control_plane(&head, &body.unwrap_or_default()) {
                return Err(why);
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

/// The header that the API server adds to each answer, also to those that it passes on.
const PASSED_BY_API_SERVER: &str = "audit-id";
/// How texts of the API server begin that are no Status.
const OF_API_SERVER: [&str; 2] = ["Internal Server Error: \"/api/", "This request caused apiserver to panic"];

/// What an error says if it is not of the Service: of the API server, or of what is before it, such as a load balancer.
fn of_control_plane(head: &Parts, body: &[u8]) -> Option<Unanswered> {
    let code = head.status;
    let of = |who: &str| Some(Unanswered::NoAnswer(format!("{who} answers {code}, and not the Service")));
    if !head.headers.contains_key(PASSED_BY_API_SERVER) {
        return of("what is before the API server");
    }
    if let Some(status) = serde_json::from_slice(body).ok().filter(Status::is_one) {
        return status.meaning(code);
    }
    let is_of_server = match code {
        StatusCode::TOO_MANY_REQUESTS => head.headers.contains_key(RETRY_AFTER),
        StatusCode::INTERNAL_SERVER_ERROR => {
            OF_API_SERVER.iter().any(|begin| body.starts_with(begin.as_bytes()))
        }
        _ => false,
    };
    if is_of_server { of("the API server") } else { None }
}

/// What the API server itself says of a request, or a pod that speaks as it does.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    kind: String,
    api_version: String,
    message: String,
    details: Details,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    kind: String,
}

impl Status {
    fn is_one(&self) -> bool {
        self.kind == "Status" && self.api_version == "v1"
    }

    /// None if it is the answer of a pod. The text may have what a pod has said, so it is not told.
    fn meaning(&self, code: StatusCode) -> Option<Unanswered> {
        let unusable = |reason, detail: &str| Some(Unanswered::unusable(reason, detail));
        match code {
            StatusCode::UNAUTHORIZED => unusable("Unauthorized", "the API server answers 401"),
            StatusCode::FORBIDDEN if self.message.contains("services/proxy") => {
                unusable("Forbidden", "the ServiceAccount may not get services/proxy of this Service")
            }
            StatusCode::NOT_FOUND if self.details.kind == "services" => {
                unusable("NotFound", "there is no such Service")
            }
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => None,
            StatusCode::SERVICE_UNAVAILABLE => Some(Unanswered::NoAnswer(
                "the API server reaches no pod of the Service: none is ready, or it does not listen on this port".to_owned(),
            )),
            code if code.is_client_error() && code != StatusCode::TOO_MANY_REQUESTS => {
                unusable("Refused", &format!("the API server answers {code}"))
            }
            code => Some(Unanswered::NoAnswer(format!("the API server answers {code}"))),
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
    Read::of(values)
}

#[cfg(test)]
mod tests {
    use http::Response;
    use serde_json::json;
    use tower::BoxError;

    use super::*;

    /// A Service whose proxy answers like this.
    async fn asked(code: u16, body: &str) -> Result<Values, Unanswered> {
        answered(code, body, &[("audit-id", "1")]).await
    }

    async fn answered(
        code: u16,
        body: &str,
        headers: &'static [(&'static str, &'static str)],
    ) -> Result<Values, Unanswered> {
        let body = body.to_owned();
        let service = tower::service_fn(move |request: Request<Body>| {
            assert_eq!(request.uri().path(), "/proxy/health");
            let body = body.clone();
            let mut response = Response::builder().status(code);
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            async move { Ok::<_, BoxError>(response.body(Body::from(body.into_bytes()))?) }
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
        for (code, ok) in [(200, true), (503, false), (500, false), (429, false), (404, false)] {
            for body in ["s3cret", "Internal Server Error"] {
                assert_eq!(asked(code, body).await.unwrap()["ok"], FieldValue::Boolean(ok), "{code} {body}");
            }
        }
        let message =
            "services \"chat:8000\" is forbidden: User \"s3cret\" cannot get resource \"services/proxy\"";
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "message": message, "details": {"kind": "services", "name": "s3cret"},
        });
        for (code, expected) in [
            (401, "Unauthorized"),
            (403, "Forbidden"),
            (404, "NotFound"),
            (400, "Refused"),
            (429, "Unreachable"),
            (503, "Unreachable"),
            (500, "Unreachable"),
        ] {
            let why = asked(code, &status.to_string()).await.unwrap_err();
            assert_eq!(why.kind(), expected, "{code}");
            assert!(!format!("{why:?}").contains("s3cret"), "{why:?}");
        }
    }

    #[tokio::test]
    async fn a_text_of_the_control_plane_is_not_the_health_of_the_service() {
        for body in [
            "Internal Server Error: \"/api/v1/namespaces/a/services/chat:8000/proxy/\": s3cret",
            "This request caused apiserver to panic. Look in the logs for details.",
        ] {
            assert_eq!(asked(500, body).await.unwrap_err().kind(), "Unreachable", "{body}");
        }
        let busy = answered(429, "Too many requests", &[("audit-id", "1"), ("retry-after", "1")]).await;
        assert_eq!(busy.unwrap_err().kind(), "Unreachable");
        for code in [404, 429, 500, 502, 503, 504] {
            let before = answered(code, "s3cret", &[]).await.unwrap_err();
            assert_eq!(before.kind(), "Unreachable", "{code}");
            assert!(!format!("{before:?}").contains("s3cret"), "{before:?}");
        }
    }

    #[tokio::test]
    async fn a_pod_that_speaks_as_the_api_server_lacks_no_right_and_is_no_missing_service() {
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "message": "no", "details": {"kind": "models"}});
        for code in [403, 404] {
            let values = asked(code, &status.to_string()).await.unwrap();
            assert_eq!(values["status"], FieldValue::Int(code.into()));
        }
    }
}
