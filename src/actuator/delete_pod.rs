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

use super::guarded_patch::exchange;
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
        Ok(outcome) => outcome,
        Err(error) => Outcome::Unclear { why: retry::explain(&error) },
    }
}
