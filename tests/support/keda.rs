//! A stand-in for KEDA's operator, which is too large to build here: of a ScaledObject it keeps the
//! HorizontalPodAutoscaler, and nothing else.
//!
//! It does with that what KEDA 2 does: the autoscaler has the ScaledObject as its controller, its limits, its labels
//! beside KEDA's own, and its annotations. It is replaced as a whole, without a version, whenever its spec differs or
//! one of these labels or annotations is missing.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, PostParams},
    runtime::{Controller, controller::Action, watcher},
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
    let api = |resource: &ApiResource| Api::namespaced_with(client.clone(), &namespace, resource);
    let everything = watcher::Config::default();
    Controller::new_with(api(&scaled_objects()), everything.clone(), scaled_objects())
        .owns_with(api(&autoscalers()), autoscalers(), everything)
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_secs(1)), Arc::new(client.clone()))
        // Failures are retried above; an object that was deleted needs nothing.
        .for_each(|_| async {})
        .await;
}

async fn reconcile(scaled: Arc<DynamicObject>, client: Arc<Client>) -> Result<Action, kube::Error> {
    if scaled.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let namespace = scaled.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with((*client).clone(), &namespace, &autoscalers());
    let wanted = autoscaler(&scaled);
    let by = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match api.get_opt(&wanted.name_any()).await? {
        None => drop(api.create(&by, &wanted).await?),
        Some(found) if differs(&wanted, &found) => drop(api.replace(&wanted.name_any(), &by, &wanted).await?),
        Some(_) => {}
    }
    Ok(Action::await_change())
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
