//! The only part that writes to targets, and the live reads that belong to it.
//!
//! Everything here acts as the policy's ServiceAccount: the client that is
//! passed in is an impersonating one.

pub mod guarded_patch;
pub mod live_read;

use firebreak_engine::id::TargetId;
use kube::core::{DynamicObject, Request, Resource};

use crate::kubernetes::discovery::ServedKind;

/// The requests of one resource in one namespace.
fn requests(kind: &ServedKind, namespace: &str) -> Request {
    let namespace = (kind.namespaced && !namespace.is_empty()).then_some(namespace);
    Request::new(DynamicObject::url_path(&kind.resource, namespace))
}

/// Whether an object that was read is the one that was meant: another object
/// of the same name has another uid.
fn is(object: &serde_json::Value, target: &TargetId) -> bool {
    object.pointer("/metadata/uid").and_then(serde_json::Value::as_str) == Some(&target.uid)
}
