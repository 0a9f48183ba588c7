//! YAML documents and the calls that send them, for objects of any kind.

use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::Value;

/// The documents of a YAML text, without empty ones.
pub fn documents(yaml: &str) -> Vec<Value> {
    let all: Vec<Value> =
        serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("not YAML: {error}\n{yaml}"));
    all.into_iter().filter(|document| !document.is_null()).collect()
}

/// An object as YAML for people, without the fields that the server manages.
pub fn readable(object: &DynamicObject) -> String {
    let mut object = object.clone();
    object.metadata.managed_fields = None;
    serde_saphyr::to_string(&object).unwrap_or_else(|error| format!("{object:?} ({error})"))
}

/// What identifies the kind to the API.
///
/// Plurals are guessed by kube, which is right for every kind in these tests and
/// saves the discovery calls.
pub fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// The API for objects of this kind in the namespace, or of the cluster.
pub fn api(client: &Client, resource: &ApiResource, namespace: Option<&str>) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {document}"))
}

/// The kind, the namespace and the name in a document.
pub fn identity(document: &Value) -> (ApiResource, Option<String>, String) {
    let resource = resource(text(document, "/apiVersion"), text(document, "/kind"));
    let namespace = document.pointer("/metadata/namespace").and_then(Value::as_str);
    (resource, namespace.map(str::to_owned), text(document, "/metadata/name").to_owned())
}

/// Server-side apply by the manager, which may meet a conflict.
pub async fn apply(client: &Client, manager: &str, document: &Value) -> kube::Result<DynamicObject> {
    let (resource, namespace, name) = identity(document);
    api(client, &resource, namespace.as_deref())
        .patch(&name, &PatchParams::apply(manager), &Patch::Apply(document))
        .await
}

/// Creates the object as the manager.
pub async fn create(client: &Client, manager: &str, document: &Value) -> kube::Result<DynamicObject> {
    let (resource, namespace, _) = identity(document);
    let object: DynamicObject = serde_json::from_value(document.clone()).map_err(kube::Error::SerdeError)?;
    let by = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
    api(client, &resource, namespace.as_deref()).create(&by, &object).await
}
