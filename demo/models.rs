//! The models of the demo, and whether they are as they should be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use firebreak::api::names;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::{PATIENCE, Result};

const GPU: &str = "nvidia.com/gpu";

/// The label that the stand-in sets on the pods of a model.
const POD_OF: &str = "llm-d.io/deployment";

/// A model at one moment.
pub struct Model(DynamicObject);

fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("inference.llm-d.io", "v1alpha1", "LLMDeployment"))
}

/// All models, once each of them is Ready in the state that its spec requests.
pub async fn until_ready(client: &Client) -> Result<Vec<Model>> {
    let everywhere: Api<DynamicObject> = Api::all_with(client.clone(), &resource());
    let mut ready = Vec::new();
    for model in everywhere.list(&ListParams::default()).await? {
        let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
        let api = Api::namespaced_with(client.clone(), &namespace, &resource());
        let is_ready = |model: Option<&DynamicObject>| {
            model.is_some_and(|model| {
                let status = &model.data["status"];
                status["phase"] == "Ready" && status["observedGeneration"] == json!(model.metadata.generation)
            })
        };
        let found = tokio::time::timeout(PATIENCE, await_condition(api, &name, is_ready)).await;
        let found = found.map_err(|_| format!("{namespace}/{name} was not Ready within {PATIENCE:?}"))?;
        ready.extend(found?.map(Model));
    }
    Ok(ready)
}

/// The same models at two moments.
pub fn pairs<'a>(before: &'a [Model], after: &'a [Model]) -> Result<Vec<(&'a Model, &'a Model)>> {
    let names = |models: &[Model]| models.iter().map(Model::name).collect::<Vec<_>>();
    if names(before) != names(after) {
        return Err(format!("the models were {:?} and are {:?}", names(before), names(after)).into());
    }
    Ok(before.iter().zip(after).collect())
}

/// The models with the nodes that their pods are on.
pub async fn table(client: &Client, models: &[Model]) -> Result<String> {
    let mut nodes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let pods: Api<Pod> = Api::all(client.clone());
    for pod in pods.list(&ListParams::default().labels(POD_OF)).await? {
        // The pods of a dead node stay, Terminating, until the node is back.
        if pod.metadata.deletion_timestamp.is_none()
            && let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone())
        {
            let model = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.labels()[POD_OF]);
            nodes.entry(model).or_default().insert(node);
        }
    }
    let mut table = format!("{:22}{:9}{:6}{:11}pods on\n", "model", "phase", "GPUs", "precision");
    for model in models {
        let (status, spec) = (&model.0.data["status"], model.spec());
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let on = nodes.get(&model.name()).into_iter().flatten().cloned().collect::<Vec<_>>().join(" ");
        let (phase, gpus) = (word(&status["phase"]), word(&spec["resources"]["limits"][GPU]));
        let precision = word(&spec["model"]["quantization"]["precision"]);
        writeln!(table, "{:22}{phase:9}{gpus:6}{precision:11}{on}", model.name())?;
    }
    Ok(table)
}

impl Model {
    pub fn name(&self) -> String {
        format!("{}/{}", self.0.namespace().unwrap_or_default(), self.0.name_any())
    }

    fn spec(&self) -> &Value {
        &self.0.data["spec"]
    }

    fn generation(&self) -> i64 {
        self.0.metadata.generation.unwrap_or_default()
    }

    pub fn uses_gpu(&self) -> bool {
        self.spec()["resources"]["limits"].get(GPU).is_some()
    }

    /// Whether the fallback did what the runbook requires and left its undo record, and did
    /// nothing to a model without GPUs. What the model did not request, the fallback does not
    /// add.
    pub fn check_fallback(&self, fallen: &Self) -> Result<()> {
        let spec = fallen.spec();
        let released = |part: &str| {
            let gpus = |model: &Self| model.spec()["resources"][part].get(GPU).cloned();
            gpus(fallen) == gpus(self).map(|_| json!("0"))
        };
        let right = if self.uses_gpu() {
            ["limits", "requests"].into_iter().all(released)
                && fallen.0.annotations().contains_key(names::UNDO)
                && spec["model"]["quantization"] == json!({"enabled": true, "precision": "int8"})
        } else {
            fallen.generation() == self.generation()
        };
        if right { Ok(()) } else { Err(format!("the fallback of {} went wrong: {spec}", self.name()).into()) }
    }

    /// The differences from before, one line each: spec, metadata, and owners of fields.
    pub fn difference(&self, after: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        differences("spec", Some(self.spec()), Some(after.spec()), &mut lines);
        differences("labels", Some(&json!(self.0.labels())), Some(&json!(after.0.labels())), &mut lines);
        let (old, new) = (json!(self.0.annotations()), json!(after.0.annotations()));
        differences("annotations", Some(&old), Some(&new), &mut lines);
        differences("managers", Some(&self.managers()), Some(&after.managers()), &mut lines);
        // One change and one revert, and not a single further write.
        let expected = self.generation() + if self.uses_gpu() { 2 } else { 0 };
        if after.generation() != expected {
            lines.push(format!("generation: {} and not {expected}", after.generation()));
        }
        lines
    }

    fn managers(&self) -> Value {
        let managers = self.0.managed_fields().iter().filter_map(|entry| entry.manager.clone());
        json!(managers.collect::<BTreeSet<_>>())
    }
}

/// Every leaf that differs, as `path: before → after`.
fn differences(path: &str, before: Option<&Value>, after: Option<&Value>, lines: &mut Vec<String>) {
    if before == after {
        return;
    }
    if let (Some(Value::Object(old)), Some(Value::Object(new))) = (before, after) {
        for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            differences(&format!("{path}.{key}"), old.get(key), new.get(key), lines);
        }
        return;
    }
    let shown = |value: Option<&Value>| value.map_or("not set".to_owned(), Value::to_string);
    lines.push(format!("{path}: {} → {}", shown(before), shown(after)));
}
