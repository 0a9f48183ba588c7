//! What the operator gets instead of, or as, the server's answer.

use std::convert::Infallible;

use futures::{Stream, StreamExt};
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};

use super::{Broken, Call, Refusal, record::Record};

pub(super) type Body = UnsyncBoxBody<Bytes, Broken>;

/// The server's answer as it is.
pub(super) fn whole(code: StatusCode, headers: HeaderMap, body: Bytes) -> Response<Body> {
    respond(code, headers, Full::new(body).map_err(|never| match never {}).boxed_unsync())
}

/// The server's answer as it comes.
pub(super) fn streamed(
    code: StatusCode,
    headers: HeaderMap,
    lines: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
) -> Response<Body> {
    let frames = lines.map(|line| line.map(Frame::data).map_err(|never| match never {}));
    respond(code, headers, BodyExt::boxed_unsync(StreamBody::new(frames)))
}

fn respond(code: StatusCode, mut headers: HeaderMap, body: Body) -> Response<Body> {
    for name in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let mut response = Response::new(body);
    *response.status_mut() = code;
    *response.headers_mut() = headers;
    response
}

/// The headers and half of the body, then the connection breaks.
pub(super) fn cut_in_half(answer: &Bytes, headers: HeaderMap, code: StatusCode) -> Response<Body> {
    let half = answer.slice(..answer.len() / 2);
    let frames = futures::stream::iter([Ok(Frame::data(half)), Err(Broken)]);
    respond(code, headers, BodyExt::boxed_unsync(StreamBody::new(frames)))
}

pub(super) fn refuse(record: &Record, call: &Call, refusal: Refusal) -> Response<Body> {
    let reason = match refusal.code {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        403 => "Forbidden",
        404 => "NotFound",
        500 => "InternalError",
        504 => "Timeout",
        _ => "",
    };
    let mut response = json_response(refusal.code, &status(refusal.code, reason));
    if let Some(seconds) = refusal.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    record.answered(call, refusal.code);
    response
}

pub(super) fn gone(record: &Record, call: &Call) -> Response<Body> {
    record.answered(call, 200);
    json_response(200, &json!({"type": "ERROR", "object": status(410, "Expired")}))
}

fn status(code: u16, reason: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": "a fault put in by the test", "reason": reason, "code": code,
    })
}

fn json_response(code: u16, body: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(format!("{body}\n")));
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    let code = StatusCode::from_u16(code).expect("a status code");
    respond(code, headers, body.map_err(|never| match never {}).boxed_unsync())
}
