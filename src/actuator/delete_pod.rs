//! Deletes one pod, and no other of its name.
//!
//! # Guarantees
//! One request per call, with the uid as precondition and the pod's own grace
//! period: nothing is deleted by force.

use firebreak_engine::facts::Outcome;
use firebreak_engine::id::TargetId;
use kube::Client;
use kube::api::{DeleteParams, Preconditions};
use kube::client::Body;

use super::guarded_patch::{Answer, exchange};
use super::requests;
use crate::kubernetes::discovery::ServedKind;
use crate::kubernetes::retry;

/// Requests the deletion of this pod.
pub async fn send(client: &Client, pods: &ServedKind, pod: &TargetId) -> Outcome {
    let only = Preconditions { uid: Some(pod.uid.clone()), ..Preconditions::default() };
    let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
    let request = match requests(pods, &pod.namespace).delete(&pod.name, &params) {
        Ok(mut request) => {
            request.extensions_mut().insert("delete");
            request
        }
        // Nothing was sent, but the caller need not rely on that.
        Err(error) => return Outcome::Unclear { why: error.to_string() },
    };
    match exchange(client, request.map(Body::from)).await {
        Ok(answer) => outcome(answer, &pod.name),
        Err(error) => Outcome::Unclear { why: retry::explain(&error) },
    }
}

/// What the answer means. The engine takes 404 and 409 for the end of the pod: there is none of its name, or one with
/// another uid. Only the API server can say so, and then it names the pod: a webhook, a proxy, or an API server that does
/// not serve pods at the moment does not.
fn outcome(answer: Answer, pod: &str) -> Outcome {
    match answer {
        Answer::Other { status, .. } if matches!(status.code, 404 | 409) && !retry::names(&status, pod) => {
            let why =
                format!("the answer was {}, and it is not about the pod: {}", status.code, status.message);
            Outcome::Unclear { why }
        }
        answer => answer.outcome(),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn answered(code: u16, name: &str) -> Outcome {
        let status = json!({"status": "Failure", "code": code, "message": "no", "details": {"name": name}});
        let status: Status = serde_json::from_value(status).unwrap();
        outcome(Answer::Other { status: Box::new(status), asked: None }, "web-0")
    }

    #[test]
    fn a_pod_is_gone_only_if_the_answer_is_about_it() {
        assert!(matches!(answered(404, "web-0"), Outcome::Refused { code: 404, .. }));
        assert!(matches!(answered(409, "web-0"), Outcome::Conflict));
        for code in [404, 409] {
            assert!(matches!(answered(code, ""), Outcome::Unclear { .. }), "{code}");
        }
    }

    #[test]
    fn no_other_answer_says_that_a_pod_is_gone() {
        for name in ["web-0", ""] {
            assert!(matches!(answered(429, name), Outcome::Throttled { .. }));
            for code in [400, 401, 403, 405, 410, 413, 415, 422] {
                assert!(matches!(answered(code, name), Outcome::Refused { code: said, .. } if said == code));
            }
            for code in [408, 425, 500, 502, 503, 504] {
                assert!(matches!(answered(code, name), Outcome::Unclear { .. }), "{code}");
            }
        }
    }
}
