//! Live reads of targets: never from a cache, and never narrowed.

use std::sync::Arc;

use firebreak_engine::id::TargetId;
use kube::Client;
use kube::api::{GetParams, ListParams};
use serde_json::Value;

use super::{requests, uid};
use crate::kubernetes::discovery::ServedKind;
use crate::kubernetes::retry::{self, says_gone};

/// Objects of one page of a list. One object may have more than a megabyte.
const PAGE: u32 = 200;
/// How often a list is restarted because its snapshot became too old.
const RESTARTS: usize = 3;

/// The result of a live read.
#[derive(Clone, Debug)]
pub enum Read<T> {
    /// It was read.
    Found(T),
    /// There is no such object, or another one has its name.
    Gone,
    /// The server rejected the request: permissions or a kind are missing.
    Refused(String),
    /// No conclusive answer.
    Failed(String),
}

/// Reads one object.
pub async fn object(client: &Client, kind: &ServedKind, target: &TargetId) -> Read<Arc<Value>> {
    let read = retry::read(|| async {
        let request = requests(kind, &target.namespace).get(&target.name, &GetParams::default());
        client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await
    });
    match read.await {
        Ok(object) => match uid(&object) {
            Some(uid) if uid == target.uid => Read::Found(Arc::new(object)),
            Some(_) => Read::Gone,
            // Not an answer of the API server, so it says nothing about the object.
            None => Read::Failed("the reply has no uid".to_owned()),
        },
        Err(kube::Error::Api(status)) if says_gone(&status, &target.name) => Read::Gone,
        Err(error) => failure(&error),
    }
}

/// Reads an object by its name. A cluster-scoped object, such as a namespace, has the empty namespace.
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

/// Which objects of a kind to list.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The namespace, or empty for all.
    pub namespace: &'a str,
    /// As in the API; empty for any.
    pub labels: &'a str,
    /// As in the API; empty for any. A name makes the server look that object up, however many others there are.
    pub fields: &'a str,
}

/// How much of each object a list has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Its metadata.
    Metadata,
}

/// Lists the objects of a kind. Without a resourceVersion in the request, the list is consistent and as new
/// as a read of each object. Only what `keep` makes of the objects is stored, page by page.
pub async fn list<T>(
    client: &Client,
    kind: &ServedKind,
    scope: Scope<'_>,
    keep: &(dyn Fn(Arc<Value>) -> Option<T> + Sync),
) -> Read<Vec<T>> {
    list_of(client, kind, scope, Extent::Whole, keep).await
}

/// The same, with this much of each object.
pub async fn list_of<T>(
    client: &Client,
    kind: &ServedKind,
    scope: Scope<'_>,
    extent: Extent,
    keep: &(dyn Fn(Arc<Value>) -> Option<T> + Sync),
) -> Read<Vec<T>> {
    let Scope { namespace, labels, fields } = scope;
    let selector = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut items = Vec::new();
    let mut restarts = 0;
    let mut params = ListParams {
        limit: Some(PAGE),
        label_selector: selector(labels),
        field_selector: selector(fields),
        ..ListParams::default()
    };
    loop {
        let page = retry::read(|| async {
            let requests = requests(kind, namespace);
            let request = match extent {
                Extent::Whole => requests.list(&params),
                Extent::Metadata => requests.list_metadata(&params),
            };
            client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await
        });
        let mut page = match page.await {
            Ok(page) => page,
            // The snapshot of the first page is too old by now: start again.
            Err(kube::Error::Api(status))
                if status.code == 410 && params.continue_token.is_some() && restarts < RESTARTS =>
            {
                restarts += 1;
                params.continue_token = None;
                items.clear();
                continue;
            }
            Err(error) => return failure(&error),
        };
        let (api_version, kind_name) = (&kind.resource.api_version, &kind.resource.kind);
        match page.get_mut("items").map(Value::take) {
            Some(Value::Array(found)) => {
                items.extend(found.into_iter().filter_map(|mut item| {
                    // Items of a list of a built-in kind have no kind field, and metadata alone have another one.
                    let fields = item.as_object_mut()?;
                    fields.insert("apiVersion".to_owned(), Value::from(api_version.as_str()));
                    fields.insert("kind".to_owned(), Value::from(kind_name.as_str()));
                    keep(Arc::new(item))
                }));
            }
            // An empty list may have this form.
            Some(Value::Null) => {}
            // Not an answer of the API server: treating it as an empty list would be a guess.
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) | None => {
                return Read::Failed("the reply is not a list".to_owned());
            }
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
