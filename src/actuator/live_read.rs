//! Live reads of targets: never from a cache, and never narrowed.

use std::sync::Arc;

use firebreak_engine::id::TargetId;
use kube::Client;
use kube::api::{GetParams, ListParams};
use serde_json::Value;

use super::{is, requests};
use crate::kubernetes::discovery::ServedKind;
use crate::kubernetes::retry;

/// Objects of one page of a list.
const PAGE: u32 = 500;

/// What a live read showed.
#[derive(Clone, Debug)]
pub enum Read<T> {
    /// It was read.
    Found(T),
    /// There is no such object, or another one has its name.
    Gone,
    /// The server said no: rights or a kind are missing.
    Refused(String),
    /// There was no answer that says anything.
    Failed(String),
}

/// Reads one object.
pub async fn object(client: &Client, kind: &ServedKind, target: &TargetId) -> Read<Arc<Value>> {
    let read = retry::read(|| async {
        let request = requests(kind, &target.namespace).get(&target.name, &GetParams::default());
        client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await
    });
    match read.await {
        Ok(object) if is(&object, target) => Read::Found(Arc::new(object)),
        Ok(_) => Read::Gone,
        Err(kube::Error::Api(status)) if says_gone(&status, &target.name) => Read::Gone,
        Err(error) => failure(&error),
    }
}

/// Reads an object by its name. One of the cluster, such as a namespace, is in the empty namespace.
pub async fn named(client: &Client, kind: &ServedKind, namespace: &str, name: &str) -> Read<Value> {
    let read = retry::read(|| async {
        let request = requests(kind, namespace).get(name, &GetParams::default());
        client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await
    });
    match read.await {
        Ok(object) => Read::Found(object),
        Err(kube::Error::Api(status)) if says_gone(&status, name) => Read::Gone,
        Err(error) => failure(&error),
    }
}

/// A 404 that names the object says that it is gone; one that does not may only
/// mean that its CRD is.
fn says_gone(status: &kube::core::Status, name: &str) -> bool {
    status.code == 404 && status.details.as_ref().is_some_and(|details| details.name == name)
}

/// Lists the objects of a kind in one namespace, or in all of them when it is
/// empty. No resourceVersion is asked for, so the list is consistent and as new
/// as a read of each object.
pub async fn list(
    client: &Client,
    kind: &ServedKind,
    namespace: &str,
    labels: &str,
) -> Read<Vec<Arc<Value>>> {
    let mut items = Vec::new();
    let mut params = ListParams {
        limit: Some(PAGE),
        label_selector: (!labels.is_empty()).then(|| labels.to_owned()),
        ..ListParams::default()
    };
    loop {
        let page = retry::read(|| async {
            let request = requests(kind, namespace).list(&params).map_err(kube::Error::BuildRequest)?;
            client.request::<Value>(request).await
        });
        let mut page = match page.await {
            Ok(page) => page,
            // The snapshot of the first page is too old by now: from the start.
            Err(kube::Error::Api(status)) if status.code == 410 && params.continue_token.is_some() => {
                params.continue_token = None;
                items.clear();
                continue;
            }
            Err(error) => return failure(&error),
        };
        let (api_version, kind_name) = (&kind.resource.api_version, &kind.resource.kind);
        if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
            // Items of a list of a built-in kind do not say what they are.
            items.extend(found.into_iter().map(|mut item| {
                item["apiVersion"] = Value::from(api_version.as_str());
                item["kind"] = Value::from(kind_name.as_str());
                Arc::new(item)
            }));
        }
        match page.pointer("/metadata/continue").and_then(Value::as_str).filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token.to_owned()),
            None => return Read::Found(items),
        }
    }
}

fn failure<T>(error: &kube::Error) -> Read<T> {
    match error {
        kube::Error::Api(status) if matches!(status.code, 400 | 401 | 403 | 404 | 405) => {
            Read::Refused(status.message.clone())
        }
        error => Read::Failed(retry::explain(error)),
    }
}
