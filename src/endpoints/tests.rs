//! Endpoints against a server on the loopback interface.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

use super::*;

const WITHIN: Duration = Duration::from_secs(5);

/// A server that answers with what it was asked, unless the path says otherwise.
async fn server() -> SocketAddr {
    async fn answer(State(address): State<SocketAddr>, request: Request) -> Response {
        let text = |name: &str| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        match request.uri().path() {
            "/moved" => {
                let to = [(LOCATION, format!("http://{address}/here"))];
                (StatusCode::FOUND, to).into_response()
            }
            "/metadata" => {
                (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, "http://169.254.169.254/")]).into_response()
            }
            "/long" => "x".repeat(5000).into_response(),
            "/silent" => std::future::pending().await,
            _ => format!("{} {}", request.uri(), text("authorization")).into_response(),
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(address);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn endpoint(url: &str, more: &str) -> Arc<Endpoint> {
    let text = format!("{{name: main, type: Prometheus, url: '{url}'{more}}}");
    let endpoints = Endpoints::of(vec![serde_saphyr::from_str(&text).unwrap()], &Endpoints::default());
    endpoints.find("main", EndpointType::Prometheus).unwrap()
}

async fn body(endpoint: &Endpoint, path: &str) -> Result<String, Unanswered> {
    let answer = endpoint.get(path, &[("query", "up{a=\"b\"} > 1&x")], Take::Body(4096)).await?;
    Ok(String::from_utf8(answer.body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_request_goes_below_the_url_with_its_own_parameters_and_credentials() {
    let address = server().await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "s3cret").unwrap();
    let endpoint = endpoint(
        &format!("http://{address}/prefix/?tenant=a"),
        &format!(", bearerTokenFile: {}", token.display()),
    );
    let query = "query=up%7Ba%3D%22b%22%7D%20%3E%201%26x";
    let expected = format!("/prefix/api/v1/query?tenant=a&{query} Bearer s3cret");
    assert_eq!(body(&endpoint, "/api/v1/query").await.unwrap(), expected);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_long_body_is_not_read() {
    let address = server().await;
    let url = format!("http://{address}/?key=s3cret");
    for (path, reason) in [("/moved", "Redirect"), ("/metadata", "Redirect"), ("/long", "TooLarge")] {
        let why = body(&endpoint(&url, ""), path).await.unwrap_err();
        assert_eq!(why.kind(), reason, "{path}");
        assert!(!format!("{why:?}").contains("s3cret"), "{why:?}");
    }
    let status = endpoint(&url, "").get("/long", &[], Take::Status).await.unwrap();
    assert_eq!((status.status, status.body.len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn no_answer_is_told_without_the_key_in_the_url() {
    let address = server().await;
    let silent = endpoint(&format!("http://{address}/?key=s3cret"), "");
    let turn = silent.turn(&[], WITHIN).await.unwrap();
    let why =
        turn.send(Duration::from_millis(50), silent.get("/silent", &[], Take::Status)).await.unwrap_err();
    let why = silent.named(why);
    assert_eq!(why, Unanswered::NoAnswer("endpoint main: it did not answer within 50 ms".to_owned()));
    let gone = body(&endpoint("http://127.0.0.1:1/?key=s3cret", ""), "/").await.unwrap_err();
    let Unanswered::NoAnswer(text) = &gone else { panic!("{gone:?}") };
    assert!(text.contains("Connection refused") && !text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn what_the_other_side_of_tls_says_is_not_told() {
    use std::io::{Error, ErrorKind};
    let of_tls = Error::new(ErrorKind::InvalidData, "certificate is only valid for DnsName(\"s3cret\")");
    assert!(is_of_tls(&Error::other(Error::other(of_tls))));
    assert!(!is_of_tls(&Error::other(Error::from(ErrorKind::ConnectionRefused))));
    // A server that speaks no TLS at all, asked with any authority.
    let address = server().await;
    let why = body(&endpoint(&format!("https://{address}/"), ""), "/").await.unwrap_err();
    assert_eq!(why, Unanswered::NoAnswer(NO_TLS.to_owned()));
}

#[tokio::test]
async fn files_of_tls_that_are_not_there_are_named_without_their_path() {
    let why = body(&endpoint("https://127.0.0.1:1/", ", caFile: /nowhere/s3cret"), "/").await.unwrap_err();
    assert_eq!(why.kind(), "BadCredentials");
    let text = format!("{why:?}");
    assert!(text.contains("the certificates cannot be read") && !text.contains("s3cret"), "{text}");
}

#[test]
fn an_endpoint_that_is_not_there_is_answered_with_those_that_are() {
    let specs = ["b", "a"].map(|name| {
        serde_saphyr::from_str(&format!("{{name: {name}, type: Prometheus, url: 'http://a'}}")).unwrap()
    });
    let endpoints = Endpoints::of(specs.into(), &Endpoints::default());
    let why = endpoints.find("c", EndpointType::Prometheus).unwrap_err();
    let detail = "the operator's configuration has no endpoint c; of type Prometheus it has a, b";
    assert_eq!(why, Unanswered::unusable("NoSuchEndpoint", detail));
    let none = Endpoints::default().find("c", EndpointType::Prometheus).unwrap_err();
    assert!(format!("{none:?}").contains("it has none of type Prometheus"), "{none:?}");
}
