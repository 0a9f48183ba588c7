//! A stand-in for KEDA's operator, which takes too long to build for `make test`: of a ScaledObject it keeps the
//! HorizontalPodAutoscaler, and nothing else.
//!
//! It does with that what KEDA 2 does, as `tests/real/keda.rs` shows with the real one: the autoscaler has the
//! ScaledObject as its controller, its limits, its labels beside KEDA's own, and its annotations. KEDA looks at it when
//! the spec of the ScaledObject or anything of the autoscaler has changed, not when only labels or annotations of the
//! ScaledObject have. It replaces the autoscaler as a whole, without a version, if its spec differs or one of these
//! labels or annotations is missing.

use std::{pin::pin, time::Duration};

use futures::{StreamExt, stream};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, predicates, watcher},
};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

/// The field manager of KEDA.
const MANAGER: &str = "keda";

/// A stand-in that runs. It ends when this is dropped.
pub struct Keda(AbortHandle);

impl Keda {
    /// Reconciles the ScaledObjects of a namespace.
    pub fn start(client: &Client, namespace: &str) -> Self {
        Self(tokio::spawn(run(client.clone(), namespace.to_owned())).abort_handle())
    }
}

impl Drop for Keda {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn scaled_objects() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject"))
}

fn autoscalers() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("autoscaling", "v2", "HorizontalPodAutoscaler"))
}

async fn run(client: Client, namespace: String) {
    let api = |resource| Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, resource);
    let (scaled_objects, autoscalers) = (scaled_objects(), autoscalers());
    let everything = watcher::Config::default;
    // Failures of a watch are retried; an object that was deleted needs nothing.
    let scaled = watcher(api(&scaled_objects), everything()).default_backoff().applied_objects();
    let scaled = scaled.predicate_filter(predicates::generation, Default::default());
    let scaled = scaled.filter_map(async |scaled| Some(scaled.ok()?.name_any()));
    let owned = watcher(api(&autoscalers), everything()).default_backoff().touched_objects();
    let owned = owned.filter_map(async |owned| owner(&owned.ok()?));
    let mut changed = pin!(stream::select(scaled, owned));
    while let Some(name) = changed.next().await {
        while reconcile(&api(&scaled_objects), &api(&autoscalers), &name).await.is_err() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

fn owner(autoscaler: &DynamicObject) -> Option<String> {
    let mut owners = autoscaler.owner_references().iter();
    owners.find(|owner| owner.kind == "ScaledObject").map(|owner| owner.name.clone())
}

async fn reconcile(
    scaled_objects: &Api<DynamicObject>,
    autoscalers: &Api<DynamicObject>,
    name: &str,
) -> kube::Result<()> {
    let Some(scaled) = scaled_objects.get_opt(name).await? else { return Ok(()) };
    if scaled.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let by = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let label = Patch::Merge(json!({"metadata": {"labels": {"scaledobject.keda.sh/name": name}}}));
    let scaled = scaled_objects.patch(name, &by, &label).await?;
    let wanted = autoscaler(&scaled);
    let by = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match autoscalers.get_opt(&wanted.name_any()).await? {
        None => drop(autoscalers.create(&by, &wanted).await?),
        Some(found) if differs(&wanted, &found) => {
            drop(autoscalers.replace(&wanted.name_any(), &by, &wanted).await?)
        }
        Some(_) => {}
    }
    Ok(())
}

fn autoscaler(scaled: &DynamicObject) -> DynamicObject {
    let name = scaled.name_any();
    let spec = &scaled.data["spec"];
    let mut labels = json!({
        "app.kubernetes.io/name": format!("keda-hpa-{name}"), "app.kubernetes.io/version": "2",
        "app.kubernetes.io/part-of": name, "app.kubernetes.io/managed-by": "keda-operator",
    });
    for (key, value) in scaled.labels() {
        labels[key] = json!(value);
    }
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": format!("keda-hpa-{name}"), "namespace": scaled.namespace(), "labels": labels,
            "annotations": scaled.annotations(),
            "ownerReferences": [{
                "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": name,
                "uid": scaled.metadata.uid, "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "minReplicas": spec["minReplicaCount"].as_i64().filter(|least| *least > 0).unwrap_or(1),
            "maxReplicas": spec["maxReplicaCount"].as_i64().unwrap_or(100),
            "scaleTargetRef": {
                "apiVersion": "apps/v1", "kind": "Deployment", "name": spec["scaleTargetRef"]["name"],
            },
        },
    });
    serde_json::from_value(autoscaler).expect("an autoscaler")
}

/// Whether KEDA would update the autoscaler.
fn differs(wanted: &DynamicObject, found: &DynamicObject) -> bool {
    let fields = |object: &DynamicObject| -> Vec<Value> {
        ["minReplicas", "maxReplicas", "scaleTargetRef"]
            .iter()
            .map(|field| object.data["spec"][*field].clone())
            .collect()
    };
    let lacks_label = wanted.labels().iter().any(|(key, value)| found.labels().get(key) != Some(value));
    let lacks_annotation =
        wanted.annotations().iter().any(|(key, value)| found.annotations().get(key) != Some(value));
    let has_too_many = wanted.annotations().is_empty() && !found.annotations().is_empty();
    fields(wanted) != fields(found) || lacks_label || lacks_annotation || has_too_many
}
