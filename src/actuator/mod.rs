//! The only part that writes to targets, and its live reads.
//!
//! Everything here acts as the policy's ServiceAccount: the client that is
//! passed in is an impersonating one.

pub mod delete_pod;
pub mod guarded_patch;
pub mod live_read;

use kube::core::{DynamicObject, Request, Resource};

use crate::kubernetes::discovery::ServedKind;

/// The requests of one resource in one namespace.
fn requests(kind: &ServedKind, namespace: &str) -> Request {
    let namespace = (kind.namespaced && !namespace.is_empty()).then_some(namespace);
    Request::new(DynamicObject::url_path(&kind.resource, namespace))
}

/// The uid of an object that was read: another object of the same name has another one.
fn uid(object: &serde_json::Value) -> Option<&str> {
    object.pointer("/metadata/uid").and_then(serde_json::Value::as_str).filter(|uid| !uid.is_empty())
}
