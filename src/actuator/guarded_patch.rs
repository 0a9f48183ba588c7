//! Sends one guarded patch and reports exactly what is known afterwards.
//!
//! # Guarantees
//! One request per call: nothing here or below repeats it. Anything but a clear
//! answer of the API server is [`Outcome::Unclear`].

use std::sync::Arc;

use firebreak_engine::facts::Outcome;
use firebreak_engine::id::TargetId;
use firebreak_engine::undo::{GuardedPatch, MANAGER};
use http::Request;
use http::header::{HeaderMap, RETRY_AFTER};
use jiff::SignedDuration;
use kube::Client;
use kube::api::{Patch, PatchParams};
use kube::client::Body;
use kube::core::Status;
use serde_json::Value;

use super::requests;
use crate::kubernetes::discovery::ServedKind;
use crate::kubernetes::retry;

/// Sends a patch to the object that it was made for.
pub async fn send(client: &Client, kind: &ServedKind, target: &TargetId, patch: &GuardedPatch) -> Outcome {
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let request = requests(kind, &target.namespace).patch(&target.name, &params, &Patch::Merge(patch.body()));
    let request = match request {
        Ok(mut request) => {
            request.extensions_mut().insert("patch");
            request
        }
        // Nothing was sent, but the caller need not rely on that.
        Err(error) => return Outcome::Unclear { why: error.to_string() },
    };
    match exchange(client, request.map(Body::from)).await {
        Ok(answer) => answer.outcome(),
        Err(error) => Outcome::Unclear { why: retry::explain(&error) },
    }
}

/// What the API server, or something in between, said to one request.
pub(super) enum Answer {
    /// It was carried out, and this is the object as it is now.
    Done(Arc<Value>),
    /// Anything else.
    Other {
        /// What it said.
        status: Box<Status>,
        /// How long it asked to wait.
        asked: Option<SignedDuration>,
    },
}

impl Answer {
    /// What it means for an intent.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::Done(object) => Outcome::Done(object),
            Self::Other { status, asked } => outcome(&status, asked),
        }
    }
}

/// Not `client.request`, which drops the headers, and with them how long to wait.
pub(super) async fn exchange(client: &Client, request: Request<Body>) -> Result<Answer, kube::Error> {
    let answer = client.send(request).await?;
    let (code, asked) = (answer.status(), asked_to_wait(answer.headers()));
    let body = answer.into_body().collect_bytes().await?;
    if code.is_success() {
        let object = serde_json::from_slice::<Value>(&body).map_err(kube::Error::SerdeError)?;
        return Ok(Answer::Done(Arc::new(object)));
    }
    // Not every answer is the API server's own: a proxy in between may say something else.
    let status: Status = serde_json::from_slice(&body).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&body);
        Status::failure(text.trim(), "Unreadable")
    });
    Ok(Answer::Other { status: Box::new(status.with_code(code.as_u16())), asked })
}

/// The header Retry-After, as the API server writes it.
fn asked_to_wait(headers: &HeaderMap) -> Option<SignedDuration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse::<u16>().ok()?;
    Some(SignedDuration::from_secs(seconds.into()))
}

/// The meaning of an answer of the API server for an intent.
fn outcome(status: &Status, asked: Option<SignedDuration>) -> Outcome {
    let why = reasons(status);
    match status.code {
        409 => Outcome::Conflict,
        429 => {
            let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            let told = SignedDuration::from_secs(seconds.into());
            Outcome::Throttled { after: Some(told.max(asked.unwrap_or_default())) }
        }
        400 | 401 | 403 | 404 | 405 | 410 | 413 | 415 | 422 => {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            Outcome::Refused {
                code: status.code,
                why,
                fields: causes.map(|cause| cause.field.clone()).collect(),
            }
        }
        code => Outcome::Unclear { why: format!("the API server answered {code}: {why}") },
    }
}

/// The message of the API server. For invalid fields without their values, which may be env or args of a
/// container and must not get into a status: only the field, and the rule that it broke.
fn reasons(status: &Status) -> String {
    let causes: Vec<String> = status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .map(|cause| match rule(&cause.reason, &cause.message) {
            "" => format!("{}: {}", cause.field, cause.reason),
            rule => format!("{}: {rule}", cause.field),
        })
        .collect();
    if status.code == 422 && !causes.is_empty() { causes.join("; ") } else { status.message.clone() }
}

/// The part after the value in a message such as `Invalid value: "abc": must be short`.
fn rule<'a>(reason: &str, message: &'a str) -> &'a str {
    match reason {
        // They contain no value.
        "FieldValueRequired" | "FieldValueForbidden" | "FieldValueTooLong" | "FieldValueTooMany" => message,
        "FieldValueInvalid" | "FieldValueNotSupported" | "FieldValueTypeInvalid" => {
            let rule = message.rsplit_once(": ").map_or("", |(_, rule)| rule);
            // Without a rule the last part is the value itself.
            if rule.starts_with(['"', '{', '[', '`']) { "" } else { rule }
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_field_is_named_and_its_value_is_not() {
        let status: Status = serde_json::from_value(serde_json::json!({
            "status": "Failure", "code": 422, "reason": "Invalid",
            "message": "x is invalid: spec.env[0].value: Invalid value: \"s3cret: x\": must be short",
            "details": {"causes": [
                {"reason": "FieldValueInvalid", "field": "spec.env[0].value",
                 "message": "Invalid value: \"s3cret: x\": must be short"},
                {"reason": "FieldValueDuplicate", "field": "spec.args[1]", "message": "Duplicate value: \"s3cret\""},
                {"reason": "FieldValueRequired", "field": "spec.image", "message": "Required value: name it"},
            ]},
        }))
        .unwrap();
        let Outcome::Refused { why, fields, .. } = outcome(&status, None) else { panic!("422 is a no") };
        assert_eq!(
            why,
            "spec.env[0].value: must be short; spec.args[1]: FieldValueDuplicate; spec.image: Required value: name it"
        );
        assert_eq!(fields.len(), 3);
    }

    fn answered(code: u16) -> Outcome {
        outcome(&Status { code, ..Status::failure("no", "Reason") }, None)
    }

    #[test]
    fn only_a_clear_no_is_a_no() {
        for code in [400, 403, 404, 422] {
            assert!(matches!(answered(code), Outcome::Refused { .. }), "{code}");
        }
        for code in [500, 502, 503, 504, 0] {
            assert!(matches!(answered(code), Outcome::Unclear { .. }), "{code}");
        }
        assert!(matches!(answered(409), Outcome::Conflict));
        assert!(matches!(answered(429), Outcome::Throttled { .. }));
    }

    #[test]
    fn a_throttled_write_waits_as_long_as_the_header_says() {
        let mut headers = HeaderMap::new();
        assert_eq!(asked_to_wait(&headers), None);
        headers.insert(RETRY_AFTER, "Wed, 21 Oct 2026 07:28:00 GMT".parse().unwrap());
        assert_eq!(asked_to_wait(&headers), None);
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        let seven = Some(SignedDuration::from_secs(7));
        assert_eq!(asked_to_wait(&headers), seven);
        let Outcome::Throttled { after } =
            outcome(&Status { code: 429, ..Status::failure("no", "Slow") }, seven)
        else {
            panic!("429 is tried again")
        };
        assert_eq!(after, seven);
    }
}
