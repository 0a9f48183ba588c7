use http::StatusCode;
use kube::client::Body as KubeBody;
use serde_json::{Value, json};

use super::*;
use crate::receiver::delivery::{Deliveries, channel};
use crate::telemetry::metrics::Metrics;

const PATH: &str = "/api/v1/namespaces/llm/policies/gpu/alerts";
const MESSAGE: &str =
    r#"{"alerts": [{"status": "firing", "labels": {"a": "b"}, "fingerprint": "00c8a5b5c4f6d1e2"}]}"#;

/// A desk at which the token `good` may send alerts to `gpu` in `llm`.
fn desk() -> (Desk, Deliveries) {
    desk_led(Leadership::without_election())
}

fn desk_led(leadership: Leadership) -> (Desk, Deliveries) {
    let service = tower::service_fn(|request: Request<KubeBody>| async move {
        let body = request.into_body().collect_bytes().await?;
        let mut review: Value = serde_json::from_slice(&body)?;
        review["status"] = match review["spec"]["token"].as_str() {
            Some(token) => json!({"authenticated": token == "good", "user": {"username": "alice"}}),
            None => json!({"allowed": review["spec"]["resourceAttributes"]["name"] == "gpu"}),
        };
        Ok::<_, tower::BoxError>(Response::new(KubeBody::from(review.to_string().into_bytes())))
    });
    let (sender, deliveries) = channel();
    let counter = RequestCounter::show(&Metrics::new().unwrap()).unwrap();
    (Desk::new(Client::new(service, "default"), leadership, counter, sender), deliveries)
}

fn request(path: &str, token: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::post(path).header(AUTHORIZATION, token);
    request.body(Full::from(body.into())).unwrap()
}

/// The status and the text of the answer.
async fn ask(desk: &Desk, request: Request<Full<Bytes>>) -> (StatusCode, String) {
    let response = desk.answer(request).await;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Answers every delivery like this.
fn answering(mut deliveries: Deliveries, answer: Answer) {
    tokio::spawn(async move {
        while let Some(delivery) = deliveries.recv().await {
            delivery.answer.send(answer).unwrap();
        }
    });
}

#[tokio::test]
async fn a_message_is_handed_over_and_answered_when_it_is_recorded() {
    let (desk, mut deliveries) = desk();
    let taken = tokio::spawn(async move {
        let delivery = deliveries.recv().await.unwrap();
        delivery.answer.send(Answer::Recorded).unwrap();
        (delivery.namespace, delivery.policy, delivery.message.alerts.len())
    });
    assert_eq!(ask(&desk, request(PATH, "bearer  good", MESSAGE)).await.0, StatusCode::OK);
    assert_eq!(taken.await.unwrap(), ("llm".to_owned(), "gpu".to_owned(), 1));
}

#[tokio::test]
async fn an_alert_that_cannot_be_read_is_told_and_not_asked_for_again() {
    let (desk, deliveries) = desk();
    answering(deliveries, Answer::Recorded);
    let message = MESSAGE.replace("[{", r#"[{"status": "firing"}, {"#);
    let (code, said) = ask(&desk, request(PATH, "Bearer good", message)).await;
    assert_eq!(code, StatusCode::OK);
    assert!(said.starts_with("recorded; 1 of 2 alerts cannot be read, for example: missing field"), "{said}");
    let counted = |label: &str| desk.counter.of(label);
    assert_eq!((counted("recorded"), counted("recorded_in_part")), (0, 1));
}

#[tokio::test]
async fn what_may_not_or_cannot_be_taken_is_refused_before_it_is_handed_over() {
    let (desk, mut deliveries) = desk();
    let other = PATH.replace("gpu", "other");
    let table = [
        (request("/api/v1/namespaces/llm/policies/gpu", "Bearer good", MESSAGE), 404, "the path must be"),
        (
            request("/api/v1/namespaces/llm/policies/g%70u/alerts", "Bearer good", MESSAGE),
            404,
            "the path must be",
        ),
        (request("/api/v1/namespaces//policies/gpu/alerts", "Bearer good", MESSAGE), 404, "the path must be"),
        (Request::get(PATH).body(Full::default()).unwrap(), 405, "POST"),
        (Request::post(PATH).body(Full::from(MESSAGE)).unwrap(), 401, "Authorization"),
        (request(PATH, "Basic Z29vZA==", MESSAGE), 401, "Authorization"),
        (request(PATH, "Bearer ", MESSAGE), 401, "Authorization"),
        (request(PATH, "Bearer bad", MESSAGE), 401, "does not accept the token"),
        (
            request(&other, "Bearer good", MESSAGE),
            403,
            "alice may not create alerts.firebreak.dev other in namespace llm",
        ),
        (request(PATH, "Bearer good", "{}"), 400, "missing field `alerts`"),
        (request(PATH, "Bearer bad", "x".repeat(LONGEST + 1)), 401, "does not accept the token"),
    ];
    for (request, status, text) in table {
        let what = format!("{} {}", request.method(), request.uri());
        let (code, said) = ask(&desk, request).await;
        assert_eq!(code.as_u16(), status, "{what}: {said}");
        assert!(said.contains(text) && !said.contains("good"), "{what}: {said}");
    }
    assert!(deliveries.try_recv().is_err());
    assert_eq!(desk.bodies.available_permits(), BODIES, "every body has left");
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_and_the_policy_learns_of_it() {
    let (desk, mut deliveries) = desk();
    let long = request(PATH, "Bearer good", "x".repeat(LONGEST + 1));
    let mut announced = request(PATH, "Bearer good", MESSAGE);
    announced.headers_mut().insert(CONTENT_LENGTH, (LONGEST as u64 + 1).into());
    for request in [long, announced] {
        let (code, said) = ask(&desk, request).await;
        assert_eq!((code, said.contains("1048576 bytes")), (StatusCode::PAYLOAD_TOO_LARGE, true), "{said}");
        let delivery = deliveries.try_recv().unwrap();
        assert_eq!(delivery.message, Message { alerts: Vec::new(), extent: Extent::Oversized });
        drop(delivery);
        assert_eq!(desk.bodies.available_permits(), BODIES, "every body has left");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_controller_says_is_told_and_what_may_work_later_asks_to_try_again() {
    let table = [
        (Answer::Recorded, 200),
        (Answer::NoPolicy, 404),
        (Answer::NoSignal, 404),
        (Answer::NotAccepted, 503),
        (Answer::Undecodable, 503),
        (Answer::NotLeading, 503),
        (Answer::Full, 503),
    ];
    for (answer, status) in table {
        let (desk, deliveries) = desk();
        answering(deliveries, answer);
        let response = desk.answer(request(PATH, "Bearer good", MESSAGE)).await;
        assert_eq!(response.status().as_u16(), status, "{answer:?}");
        assert_eq!(response.headers().contains_key("retry-after"), status == 503, "{answer:?}");
        let closes = response.headers().get("connection").is_some_and(|value| value == "close");
        assert_eq!(closes, status != 200, "{answer:?}");
    }
    let (desk, mut deliveries) = desk();
    let (said, ()) = tokio::join!(ask(&desk, request(PATH, "Bearer good", MESSAGE)), async {
        drop(deliveries.recv().await);
    });
    assert_eq!(said.0, StatusCode::SERVICE_UNAVAILABLE, "it was dropped");
    let said = ask(&desk, request(PATH, "Bearer good", MESSAGE)).await;
    assert_eq!(said.0, StatusCode::SERVICE_UNAVAILABLE, "nobody takes it");
}

#[tokio::test(start_paused = true)]
async fn more_than_it_has_room_for_is_told_to_come_again() {
    let (desk, deliveries) = desk();
    let _kept: Vec<_> = (0..BODIES).map(|_| Arc::clone(&desk.bodies).try_acquire_owned().unwrap()).collect();
    let (code, said) = ask(&desk, request(PATH, "Bearer good", MESSAGE)).await;
    assert_eq!((code, said.contains("try again")), (StatusCode::SERVICE_UNAVAILABLE, true), "{said}");
    drop(deliveries);
}

#[tokio::test]
async fn a_body_that_never_ends_is_not_awaited() {
    tokio::time::pause();
    let (desk, _deliveries) = desk();
    let endless = http_body_util::StreamBody::new(futures::stream::pending::<
        Result<hyper::body::Frame<Bytes>, std::io::Error>,
    >());
    let request = Request::post(PATH).header(AUTHORIZATION, "Bearer good").body(endless).unwrap();
    let response = desk.answer(request).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "Alertmanager must send it again");
    assert!(response.headers().contains_key("retry-after"));
}
