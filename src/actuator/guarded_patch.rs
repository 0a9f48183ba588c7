//! Sends one guarded patch and says honestly what is known afterwards.
//!
//! # Guarantees
//! One request per call: nothing here or below repeats it. Anything but a clear
//! answer of the API server is [`Outcome::Unclear`].

use std::sync::Arc;

use firebreak_engine::facts::Outcome;
use firebreak_engine::id::TargetId;
use firebreak_engine::undo::{GuardedPatch, MANAGER};
use jiff::SignedDuration;
use kube::Client;
use kube::api::{Patch, PatchParams};
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
    match client.request::<Value>(request).await {
        Ok(object) => Outcome::Done(Arc::new(object)),
        Err(kube::Error::Api(status)) => outcome(&status),
        Err(error) => Outcome::Unclear { why: retry::explain(&error) },
    }
}

/// What an answer of the API server means for an intent.
fn outcome(status: &Status) -> Outcome {
    let why = status.message.clone();
    match status.code {
        409 => Outcome::Later { conflict: true, after: None },
        429 => {
            let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            Outcome::Later { conflict: false, after: Some(SignedDuration::from_secs(seconds.into())) }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: u16) -> Outcome {
        outcome(&Status { code, ..Status::failure("no", "Reason") })
    }

    #[test]
    fn only_a_clear_no_is_a_no() {
        for code in [400, 403, 404, 422] {
            assert!(matches!(answered(code), Outcome::Refused { .. }), "{code}");
        }
        for code in [500, 502, 503, 504, 0] {
            assert!(matches!(answered(code), Outcome::Unclear { .. }), "{code}");
        }
        assert!(matches!(answered(409), Outcome::Later { conflict: true, .. }));
        assert!(matches!(answered(429), Outcome::Later { conflict: false, .. }));
    }
}
