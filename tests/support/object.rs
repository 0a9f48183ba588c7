//! One object of the cluster, as a test sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    pin::pin,
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    runtime::{
        WatchStreamExt,
        watcher::{self, watch_object},
    },
};
use serde_json::Value;

use super::manifest;

/// How long a test waits for anything, unless it says otherwise. Far above what is
/// needed on an idle machine, because machines that run tests are not idle.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The name of an object, and the API to reach it.
#[derive(Clone)]
pub struct Object {
    client: Client,
    api: Api<DynamicObject>,
    resource: ApiResource,
    namespace: Option<String>,
    name: String,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind(), self.name),
            None => write!(f, "{} {}", self.kind(), self.name),
        }
    }
}

/// What a test compares before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub uid: String,
    /// The resourceVersion, which changes with every write that changes anything.
    pub version: String,
    pub generation: i64,
    pub spec: Value,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Who owns fields, as `manager/Apply` or `manager/Update`, with `/status` for those of the status.
    pub managers: BTreeSet<String>,
}

impl Object {
    pub fn new(client: &Client, api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Self {
        let resource = manifest::resource(api_version, kind);
        Self {
            client: client.clone(),
            api: manifest::api(client, &resource, namespace),
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    /// The handle of the object that a document describes.
    pub fn of(client: &Client, document: &Value) -> Self {
        let (resource, namespace, name) = manifest::identity(document);
        Self::new(client, &resource.api_version, &resource.kind, namespace.as_deref(), &name)
    }

    pub fn kind(&self) -> &str {
        &self.resource.kind
    }

    /// Its kind, as the API serves it.
    pub fn resource(&self) -> &ApiResource {
        &self.resource
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The object as it is now. Fails when there is none.
    pub async fn get(&self) -> DynamicObject {
        self.find().await.unwrap_or_else(|| panic!("{self} does not exist"))
    }

    /// The object as it is now, if there is one.
    pub async fn find(&self) -> Option<DynamicObject> {
        self.api.get_opt(&self.name).await.unwrap_or_else(|error| panic!("{self}: {error}"))
    }

    pub async fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.get().await)
    }

    /// Waits until the object satisfies the predicate, and returns it as it was then.
    /// On failure the message has the object as it was last seen.
    pub async fn wait_until(
        &self,
        wish: &str,
        predicate: impl FnMut(&DynamicObject) -> bool,
    ) -> DynamicObject {
        self.wait_within(PATIENCE, wish, predicate).await
    }

    /// [`Self::wait_until`] with another deadline.
    pub async fn wait_within(
        &self,
        patience: Duration,
        wish: &str,
        mut predicate: impl FnMut(&DynamicObject) -> bool,
    ) -> DynamicObject {
        let seen = self.watch(patience, |object| object.is_some_and(&mut predicate)).await;
        match seen {
            Ok(object) => object.expect("the predicate was true for an object"),
            Err(last) => {
                let last = last.as_ref().map_or("it does not exist".to_owned(), manifest::readable);
                panic!("{self}: not {wish:?} within {patience:?}. Last seen:\n{last}")
            }
        }
    }

    /// Waits until a condition of the status has this truth (`True`, `False` or `Unknown`).
    pub async fn wait_for_condition(&self, type_: &str, truth: &str) -> DynamicObject {
        self.wait_until(&format!("{type_}={truth}"), |object| condition(object, type_) == Some(truth)).await
    }

    pub async fn wait_until_gone(&self) {
        self.wait_until_gone_within(PATIENCE).await;
    }

    /// [`Self::wait_until_gone`] with another deadline.
    pub async fn wait_until_gone_within(&self, patience: Duration) {
        if let Err(Some(last)) = self.watch(patience, |object| object.is_none()).await {
            panic!("{self}: still there after {patience:?}:\n{}", manifest::readable(&last));
        }
    }

    /// Follows the object until `done`. `Err` has the last state when the time is over.
    async fn watch(
        &self,
        patience: Duration,
        mut done: impl FnMut(Option<&DynamicObject>) -> bool,
    ) -> Result<Option<DynamicObject>, Option<DynamicObject>> {
        let mut last = None;
        let follow = async {
            let mut states = pin!(watch_object(self.api.clone(), &self.name).default_backoff());
            while let Some(state) = states.next().await {
                // Errors are ignored: the stream continues after a pause, and the deadline counts.
                let Ok(state) = state else { continue };
                last = state;
                if done(last.as_ref()) {
                    return;
                }
            }
        };
        let in_time = tokio::time::timeout(patience, follow).await.is_ok();
        if in_time { Ok(last) } else { Err(last) }
    }

    /// A merge patch by the manager.
    pub async fn merge(&self, manager: &str, patch: Value) -> DynamicObject {
        self.patch(manager, &Patch::Merge(patch)).await
    }

    /// A merge patch of the status by the manager.
    pub async fn merge_status(&self, manager: &str, patch: Value) -> DynamicObject {
        self.api
            .patch_status(&self.name, &by(manager), &Patch::Merge(patch))
            .await
            .unwrap_or_else(|error| panic!("{self}: {error}"))
    }

    /// A JSON patch by the manager, for what a merge patch cannot express: a position in a list.
    pub async fn json_patch(&self, manager: &str, operations: Value) -> DynamicObject {
        let operations = serde_json::from_value(operations).expect("a JSON patch");
        self.patch(manager, &Patch::Json(operations)).await
    }

    async fn patch(&self, manager: &str, patch: &Patch<Value>) -> DynamicObject {
        self.api
            .patch(&self.name, &by(manager), patch)
            .await
            .unwrap_or_else(|error| panic!("{self}: {error}"))
    }

    /// A merge patch that may fail.
    pub(super) async fn try_merge(&self, manager: &str, patch: Value) -> bool {
        self.api.patch(&self.name, &by(manager), &Patch::Merge(patch)).await.is_ok()
    }

    /// A deletion that may fail.
    pub(super) async fn try_delete(&self) -> bool {
        self.api.delete(&self.name, &DeleteParams::background()).await.is_ok()
    }

    /// Requests the deletion and does not wait for it.
    pub async fn delete(&self) {
        self.api
            .delete(&self.name, &DeleteParams::background())
            .await
            .unwrap_or_else(|error| panic!("{self}: {error}"));
    }

    /// Waits for an event on this object with this reason, and returns its note.
    pub async fn wait_for_event(&self, reason: &str) -> String {
        let about = watcher::Config::default().fields(&self.regarding());
        let seen = async {
            let mut events =
                pin!(watcher::watcher(self.events_api(), about).default_backoff().applied_objects());
            while let Some(event) = events.next().await {
                let Ok(event) = event else { continue };
                if event.reason.as_deref() == Some(reason) {
                    return event.note.unwrap_or_default();
                }
            }
            unreachable!("a watcher does not end")
        };
        match tokio::time::timeout(PATIENCE, seen).await {
            Ok(note) => note,
            Err(_) => panic!("{self}: no event {reason} within {PATIENCE:?}, but {:#?}", self.events().await),
        }
    }

    /// The events on this object, as `reason: note`, oldest first.
    pub async fn events(&self) -> Vec<String> {
        let about = ListParams::default().fields(&self.regarding());
        let listed = self.events_api().list(&about).await;
        let mut events = listed.unwrap_or_else(|error| panic!("events of {self}: {error}")).items;
        events.sort_by_key(|event| event.event_time.clone());
        events
            .into_iter()
            .map(|event| {
                let (reason, note) = (event.reason.unwrap_or_default(), event.note.unwrap_or_default());
                format!("{reason}: {note}")
            })
            .collect()
    }

    /// The namespace of the events: those on cluster-scoped objects are in the namespace default.
    fn events_api(&self) -> Api<Event> {
        Api::namespaced(self.client.clone(), self.namespace.as_deref().unwrap_or("default"))
    }

    fn regarding(&self) -> String {
        format!("regarding.name={},regarding.kind={}", self.name, self.kind())
    }
}

impl Snapshot {
    pub fn of(object: &DynamicObject) -> Self {
        let managers = object.managed_fields().iter().map(|entry| {
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            let subresource = entry.subresource.as_ref().map_or(String::new(), |name| format!("/{name}"));
            format!("{}/{}{subresource}", part(&entry.manager), part(&entry.operation))
        });
        let mut spec = object.data["spec"].clone();
        // Kubernetes 1.33 sends `creationTimestamp: null` in a template, and later minors nothing.
        if let Some(Value::Object(template)) = spec.pointer_mut("/template/metadata") {
            template.retain(|_, value| !value.is_null());
        }
        Self {
            uid: object.uid().unwrap_or_default(),
            version: object.resource_version().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            spec,
            labels: object.labels().clone(),
            annotations: object.annotations().clone(),
            managers: managers.collect(),
        }
    }

    /// Labels and annotations of Firebreak.
    pub fn traces(&self) -> Vec<&str> {
        let keys = self.labels.keys().chain(self.annotations.keys());
        keys.map(String::as_str).filter(|key| key.starts_with("firebreak.dev/")).collect()
    }
}

fn by(manager: &str) -> PatchParams {
    PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() }
}

/// The truth of a condition in the object's status.
pub fn condition<'a>(object: &'a DynamicObject, type_: &str) -> Option<&'a str> {
    object.data["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == type_)?["status"]
        .as_str()
}
