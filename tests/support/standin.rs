//! A stand-in for the operator of LLMDeployments, which is not published.
//!
//! For each LLMDeployment it keeps a Deployment of the same name with what the
//! object asks for, and says in `.status.phase` how that Deployment is doing:
//! `Ready`, `Degraded` (some replicas serve) or `Pending` (none does).
//!
//! It replaces pods without surge: on a cluster without a spare GPU the new pod
//! could never start while the old one holds the GPU.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, future::join_all};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
    runtime::{Controller, controller::Action, watcher},
};
use serde_json::{Map, Value, json};
use tokio::task::AbortHandle;

/// The field manager of the stand-in.
const MANAGER: &str = "llm-d-operator";

/// The kind LLMDeployment in the API.
fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("inference.llm-d.io", "v1alpha1", "LLMDeployment"))
}

/// A stand-in that runs. It ends when this is dropped.
pub struct StandIn {
    client: Client,
    tasks: Vec<AbortHandle>,
}

impl StandIn {
    /// Reconciles the LLMDeployments in these namespaces; in all if none is given.
    pub fn start(client: &Client, namespaces: &[&str]) -> Self {
        let mut scopes: Vec<Option<String>> =
            namespaces.iter().map(|namespace| Some((*namespace).to_owned())).collect();
        if scopes.is_empty() {
            scopes.push(None);
        }
        let start = |scope| tokio::spawn(run(client.clone(), scope)).abort_handle();
        Self { client: client.clone(), tasks: scopes.into_iter().map(start).collect() }
    }

    /// Makes the stand-in a noisy owner: it writes the status of these objects up to five times
    /// a second, as real operators do just when things are bad. On a machine under load, its pause is
    /// still a multiple of the time that its own writes took, so that the writer that reads, decides
    /// and writes between two of them needs luck and not a fast machine.
    pub fn be_noisy(&mut self, namespace: &str, names: &[&str]) {
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &resource());
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let noise = tokio::spawn(async move {
            for tick in 0_u64.. {
                let started = Instant::now();
                let patch = Patch::Merge(json!({"status": {"tick": tick}}));
                let by = manager();
                // An object may be deleted; the others continue.
                join_all(names.iter().map(|name| api.patch_status(name, &by, &patch))).await;
                tokio::time::sleep(Duration::from_millis(200).max(4 * started.elapsed())).await;
            }
        });
        self.tasks.push(noise.abort_handle());
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Reconciles the LLMDeployments of a namespace, or of all.
async fn run(client: Client, namespace: Option<String>) {
    let everything = watcher::Config::default();
    let (models, deployments) = match namespace {
        Some(namespace) => (
            Api::namespaced_with(client.clone(), &namespace, &resource()),
            Api::<Deployment>::namespaced(client.clone(), &namespace),
        ),
        None => (Api::all_with(client.clone(), &resource()), Api::all(client.clone())),
    };
    Controller::new_with(models, everything.clone(), resource())
        .owns(deployments, everything)
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_secs(1)), Arc::new(client))
        // Failures are retried above; an object that was deleted needs nothing.
        .for_each(|_| async {})
        .await;
}

async fn reconcile(model: Arc<DynamicObject>, client: Arc<Client>) -> Result<Action, kube::Error> {
    if model.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let namespace = model.namespace().unwrap_or_default();
    let deployments: Api<Deployment> = Api::namespaced((*client).clone(), &namespace);
    let by_force = PatchParams::apply(MANAGER).force();
    let applied = deployments.patch(&model.name_any(), &by_force, &Patch::Apply(deployment(&model))).await;
    let status = match applied {
        Ok(deployment) => status(&model, &deployment),
        // A spec that no pod can have, such as a request above its limit.
        Err(kube::Error::Api(refusal)) if refusal.is_invalid() => {
            json!({"phase": "Failed", "message": refusal.message, "observedGeneration": model.metadata.generation})
        }
        Err(error) => return Err(error),
    };
    let written = status.as_object().into_iter().flatten();
    let is_news = written.into_iter().any(|(field, value)| model.data["status"][field] != *value);
    if is_news {
        let models = Api::<DynamicObject>::namespaced_with((*client).clone(), &namespace, &resource());
        models.patch_status(&model.name_any(), &manager(), &Patch::Merge(json!({"status": status}))).await?;
    }
    Ok(Action::await_change())
}

fn manager() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

fn deployment(model: &DynamicObject) -> Value {
    let spec = &model.data["spec"];
    let name = model.name_any();
    let labels = json!({"app.kubernetes.io/name": "llm-d", "llm-d.io/deployment": name});
    let mut container = json!({
        "name": "server",
        "image": spec["image"].as_str().unwrap_or("example.com/llm-d/server:1"),
        "args": arguments(spec),
    });
    copy(spec, &mut container, &["resources", "env"]);
    let mut pod = json!({"containers": [container]});
    copy(spec, &mut pod, &["nodeSelector", "tolerations", "affinity", "schedulerName"]);
    if let Some(scheduler) = spec.pointer("/scheduling/scheduler") {
        pod["schedulerName"] = scheduler.clone();
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [{
            "apiVersion": "inference.llm-d.io/v1alpha1", "kind": "LLMDeployment",
            "name": name, "uid": model.metadata.uid, "controller": true, "blockOwnerDeletion": true,
        }]},
        "spec": {
            "replicas": replicas(model),
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    })
}

/// The fields that are there, as they are.
fn copy(from: &Value, to: &mut Value, fields: &[&str]) {
    for field in fields {
        if let Some(value) = from.get(field) {
            to[field] = value.clone();
        }
    }
}

/// The command line of the server, as vLLM has it.
fn arguments(spec: &Value) -> Vec<String> {
    let mut arguments = Vec::new();
    let model = &spec["model"];
    if let Some(uri) = model["modelUri"].as_str() {
        arguments.push(format!("--model={uri}"));
    }
    if model["quantization"]["enabled"] == true {
        let precision = model["quantization"]["precision"].as_str().unwrap_or("int8");
        arguments.push(format!("--quantization={precision}"));
    }
    let empty = Map::new();
    for (field, flag) in [("batchSize", "--max-num-batched-tokens"), ("maxConcurrency", "--max-num-seqs")] {
        if let Some(value) = spec["serving"].as_object().unwrap_or(&empty).get(field) {
            arguments.push(format!("{flag}={value}"));
        }
    }
    arguments
}

fn replicas(model: &DynamicObject) -> i64 {
    model.data["spec"]["replicas"].as_i64().unwrap_or(1)
}

/// The model's phase that follows from the Deployment's status: rolled out, and all replicas serve.
fn status(model: &DynamicObject, deployment: &Deployment) -> Value {
    let wanted = replicas(model);
    let status = deployment.status.clone().unwrap_or_default();
    let count = |number: Option<i32>| i64::from(number.unwrap_or_default());
    let is_observed = status.observed_generation >= deployment.metadata.generation;
    let is_rolled_out =
        count(status.updated_replicas) >= wanted && count(status.replicas) == count(status.updated_replicas);
    let serving = count(status.available_replicas);
    let phase = match serving {
        _ if is_observed && is_rolled_out && serving >= wanted => "Ready",
        0 => "Pending",
        _ => "Degraded",
    };
    json!({
        "phase": phase, "replicas": count(status.replicas), "readyReplicas": count(status.ready_replicas),
        "observedGeneration": model.metadata.generation,
    })
}
