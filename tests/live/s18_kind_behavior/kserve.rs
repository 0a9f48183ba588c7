//! A stand-in for KServe, as far as pods are concerned: labels and annotations of an InferenceService propagate to
//! the pod template of its Deployment, and so do the fields of its predictor.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
    runtime::{Controller, controller::Action, watcher},
};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

const MANAGER: &str = "kserve-controller";

/// A stand-in that runs. It ends when this is dropped.
pub struct KServe(AbortHandle);

impl KServe {
    /// Reconciles the InferenceServices of a namespace.
    pub fn start(client: &Client, namespace: &str) -> Self {
        Self(tokio::spawn(run(client.clone(), namespace.to_owned())).abort_handle())
    }
}

impl Drop for KServe {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("serving.kserve.io", "v1beta1", "InferenceService"))
}

async fn run(client: Client, namespace: String) {
    let everything = watcher::Config::default();
    let services = Api::namespaced_with(client.clone(), &namespace, &resource());
    let deployments = Api::<Deployment>::namespaced(client.clone(), &namespace);
    Controller::new_with(services, everything.clone(), resource())
        .owns(deployments, everything)
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_secs(1)), Arc::new(client))
        .for_each(|_| async {})
        .await;
}

async fn reconcile(service: Arc<DynamicObject>, client: Arc<Client>) -> Result<Action, kube::Error> {
    let namespace = service.namespace().unwrap_or_default();
    let deployments: Api<Deployment> = Api::namespaced((*client).clone(), &namespace);
    let by_force = PatchParams::apply(MANAGER).force();
    let wanted = Patch::Apply(deployment(&service));
    let deployment = deployments.patch(&predictor(&service.name_any()), &by_force, &wanted).await?;
    let status = status(&service, &deployment);
    if service.data["status"] != status {
        let services = Api::<DynamicObject>::namespaced_with((*client).clone(), &namespace, &resource());
        let by = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        services.patch_status(&service.name_any(), &by, &Patch::Merge(json!({"status": status}))).await?;
    }
    Ok(Action::await_change())
}

/// The name of the Deployment.
pub fn predictor(service: &str) -> String {
    format!("{service}-predictor")
}

fn deployment(service: &DynamicObject) -> Value {
    let predictor_ = &service.data["spec"]["predictor"];
    let name = predictor(&service.name_any());
    let own = json!({"app": name});
    let mut labels = own.clone();
    for (key, value) in service.labels() {
        labels[key] = json!(value);
    }
    let mut container = json!({"name": "kserve-container", "image": "example.com/server:1"});
    container["args"] = json!([format!("--concurrency={}", predictor_["containerConcurrency"])]);
    if let Some(resources) = predictor_.pointer("/model/resources") {
        container["resources"] = resources.clone();
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "ownerReferences": [{
            "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "name": service.name_any(),
            "uid": service.metadata.uid, "controller": true, "blockOwnerDeletion": true,
        }]},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": own},
            "template": {
                "metadata": {"labels": labels, "annotations": service.annotations()},
                "spec": {"containers": [container], "tolerations": predictor_["tolerations"]},
            },
        },
    })
}

/// Ready as soon as the pods of this generation serve.
fn status(service: &DynamicObject, deployment: &Deployment) -> Value {
    let status = deployment.status.clone().unwrap_or_default();
    let count = |number: Option<i32>| number.unwrap_or_default();
    let serves = status.observed_generation >= deployment.metadata.generation
        && count(status.updated_replicas) == 1
        && count(status.replicas) == 1
        && count(status.available_replicas) == 1;
    json!({
        "observedGeneration": service.metadata.generation,
        "conditions": [{"type": "Ready", "status": if serves { "True" } else { "False" }}],
    })
}
