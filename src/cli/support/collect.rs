//! What an archive consists of.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::core::ApiResource;
use serde_json::{Value, json};

use super::index::PodEntry;
use super::read::{Objects, Reader, Run};
use crate::api::{self, Incident, RemediationPolicy};
use crate::cli::Error;
use crate::kubernetes::events::REPORTING_CONTROLLER;
use crate::kubernetes::lease;
use crate::look::brake;

/// The label of everything that belongs to the operator.
const OURS: &str = "app.kubernetes.io/name=firebreak";
/// Where the operator listens, unless its pod says otherwise.
const PORT: i64 = 8080;

/// Whose objects are read.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The only namespace; none for all of them.
    pub namespace: Option<&'a str>,
    /// The namespace that is read if the user may not list all of them.
    pub fallback: &'a str,
    /// The namespace of the operator.
    pub operator: &'a str,
}

impl Places<'_> {
    /// The namespaces that were read, for people, if only the fallback was read of these.
    pub fn scope(&self, narrowed: &[String]) -> String {
        match self.namespace {
            Some(namespace) => format!("namespace {namespace}"),
            None if narrowed.is_empty() => "all namespaces".to_owned(),
            None => {
                format!("all namespaces, but only namespace {} for {}", self.fallback, narrowed.join(", "))
            }
        }
    }
}

/// Reads everything, what is most useful first, because there may be no room for the rest. Returns the pods of the
/// operator.
pub async fn all(reader: &mut Reader<'_>, places: &Places<'_>) -> Result<Vec<PodEntry>, Error> {
    let closed = incidents(reader, places).await?;
    list(
        reader,
        places,
        &ApiResource::erase::<RemediationPolicy>(&()),
        "policies.yaml",
        "RemediationPolicies",
    )
    .await?;
    operator(reader, places.operator).await?;
    let pods = pods(reader, places.operator).await?;
    logs(reader, places.operator, &pods, Run::Current).await?;
    events(reader, places).await?;
    cluster(reader).await?;
    for pod in &pods {
        reader.metrics(places.operator, &pod.entry.name, pod.port).await?;
    }
    logs(reader, places.operator, &pods, Run::Previous).await?;
    if let Some((objects, what)) = closed {
        reader.add(objects, "incidents/closed.yaml", &what)?;
    }
    Ok(pods.into_iter().map(|pod| pod.entry).collect())
}

/// Open and closed ones in files of their own, so that many closed ones push out no open one. Returns the closed ones.
async fn incidents(reader: &mut Reader<'_>, places: &Places<'_>) -> Result<Option<(Objects, String)>, Error> {
    let (mut open, mut closed) = (Objects::new(), Objects::new());
    let each = |incident: Value| {
        let is_closed = incident["status"]["resolvedAt"].is_string();
        (if is_closed { &mut closed } else { &mut open }).push(incident);
    };
    let resource = ApiResource::erase::<Incident>(&());
    let read = in_places(reader, places, &resource, ListParams::default(), "Incidents", each).await;
    let Some(what) = read else { return Ok(None) };
    reader.add(open, "incidents/open.yaml", &format!("open {what}"))?;
    Ok(Some((closed, format!("closed {what}"))))
}

async fn list(
    reader: &mut Reader<'_>,
    places: &Places<'_>,
    resource: &ApiResource,
    file: &str,
    what: &str,
) -> Result<(), Error> {
    let mut objects = Objects::new();
    let each = |object| objects.push(object);
    if let Some(what) = in_places(reader, places, resource, ListParams::default(), what, each).await {
        reader.add(objects, file, &what)?;
    }
    Ok(())
}

async fn events(reader: &mut Reader<'_>, places: &Places<'_>) -> Result<(), Error> {
    let resource = ApiResource::erase::<Event>(&());
    let mut ours = Objects::new();
    let params = ListParams::default().fields(&format!("reportingComponent={REPORTING_CONTROLLER}"));
    let each = |event| ours.push(event);
    if let Some(what) = in_places(reader, places, &resource, params, "Events of Firebreak", each).await {
        reader.add(ours, "events/firebreak.yaml", &what)?;
    }
    let what = format!("Events in namespace {}", places.operator);
    in_operator_namespace(
        reader,
        places.operator,
        &resource,
        ListParams::default(),
        "events/operator.yaml",
        &what,
    )
    .await
}

/// Lists the objects of the wanted namespaces. If the user may not list all of them, the namespace of the context. Returns
/// what was read, for people, if anything was answered.
async fn in_places(
    reader: &mut Reader<'_>,
    places: &Places<'_>,
    resource: &ApiResource,
    params: ListParams,
    what: &str,
    mut each: impl FnMut(Value),
) -> Option<String> {
    let mut count = 0;
    let mut counted = |object: Value| {
        count += 1;
        each(object);
    };
    let mut end = reader.list(resource, places.namespace, params.clone(), &mut counted).await;
    let mut what = what.to_owned();
    if let (Err(kube::Error::Api(status)), None) = (&end, places.namespace)
        && status.code == 403
    {
        let error = end.unwrap_err();
        reader.failed(&format!("{what} of all namespaces"), &error);
        reader.narrowed.push(what.clone());
        what = format!("{what} of namespace {}", places.fallback);
        end = reader.list(resource, Some(places.fallback), params, &mut counted).await;
    }
    match end {
        Ok(()) => Some(what),
        Err(error) => {
            let rest = if count == 0 { what.clone() } else { format!("{what} after the first {count}") };
            reader.failed(&rest, &error);
            (count > 0).then_some(what)
        }
    }
}

async fn in_operator_namespace(
    reader: &mut Reader<'_>,
    namespace: &str,
    resource: &ApiResource,
    params: ListParams,
    file: &str,
    what: &str,
) -> Result<(), Error> {
    let mut objects = Objects::new();
    let end = reader.list(resource, Some(namespace), params, |object| objects.push(object)).await;
    match end {
        Ok(()) => reader.add(objects, file, what),
        Err(error) => {
            reader.failed(what, &error);
            Ok(())
        }
    }
}

/// The Deployment with the configuration that it mounts, the lease and the brake.
async fn operator(reader: &mut Reader<'_>, namespace: &str) -> Result<(), Error> {
    let mut deployments = Objects::new();
    let mut configurations = Vec::new();
    let params = ListParams::default().labels(OURS);
    let what = format!("Deployments of Firebreak in namespace {namespace}");
    let each = |deployment: Value| {
        configurations.extend(mounted(&deployment));
        deployments.push(deployment);
    };
    match reader.list(&ApiResource::erase::<Deployment>(&()), Some(namespace), params, each).await {
        Ok(()) => reader.add(deployments, "operator/deployments.yaml", &what)?,
        Err(error) => reader.failed(&what, &error),
    }
    let map = ApiResource::erase::<ConfigMap>(&());
    let brake = (map.clone(), brake::NAME.to_owned(), "operator/brake.yaml".to_owned(), "brake");
    let lease =
        (ApiResource::erase::<Lease>(&()), lease::NAME.to_owned(), "operator/lease.yaml".to_owned(), "lease");
    let configurations = configurations.into_iter().map(|name| {
        let file = format!("operator/configuration-{name}.yaml");
        (map.clone(), name, file, "configuration")
    });
    for (resource, name, file, what) in [brake, lease].into_iter().chain(configurations) {
        let what = format!("{what}: {} {namespace}/{name}", resource.kind);
        if let Some(object) = reader.get(&resource, Some(namespace), &name, &what).await {
            let mut objects = Objects::new();
            objects.push(object);
            reader.add(objects, &file, &what)?;
        }
    }
    Ok(())
}

/// The ConfigMaps that the pods of a Deployment mount. Secrets are never read.
fn mounted(deployment: &Value) -> Vec<String> {
    let volumes = deployment.pointer("/spec/template/spec/volumes").and_then(Value::as_array);
    let names = volumes.into_iter().flatten().flat_map(|volume| {
        let projected = volume["projected"]["sources"].as_array().into_iter().flatten();
        [volume].into_iter().chain(projected).filter_map(|source| source["configMap"]["name"].as_str())
    });
    names.map(str::to_owned).collect()
}

/// What is installed for the whole cluster.
async fn cluster(reader: &mut Reader<'_>) -> Result<(), Error> {
    let mut definitions = Objects::new();
    let mut is_any = false;
    for definition in api::crds() {
        let name = definition.name_any();
        let resource = ApiResource::erase::<CustomResourceDefinition>(&());
        let what = format!("CustomResourceDefinition {name}");
        if let Some(found) = reader.get(&resource, None, &name, &what).await {
            definitions.push(without_schemas(found));
            is_any = true;
        }
    }
    if is_any {
        let what = "CustomResourceDefinitions, without schemas";
        reader.add(definitions, "cluster/definitions.yaml", what)?;
    }
    let kinds = [
        (ApiResource::erase::<ValidatingAdmissionPolicy>(&()), "ValidatingAdmissionPolicies"),
        (ApiResource::erase::<ValidatingAdmissionPolicyBinding>(&()), "ValidatingAdmissionPolicyBindings"),
    ];
    for (resource, what) in kinds {
        let mut objects = Objects::new();
        let params = ListParams::default().labels(OURS);
        match reader.list(&resource, None, params, |object| objects.push(object)).await {
            Ok(()) => {
                let file = format!("cluster/{}.yaml", what.to_lowercase());
                reader.add(objects, &file, what)?;
            }
            Err(error) => reader.failed(what, &error),
        }
    }
    Ok(())
}

/// The schemas are large, and known from the version.
fn without_schemas(mut definition: Value) -> Value {
    for version in
        definition.pointer_mut("/spec/versions").and_then(Value::as_array_mut).into_iter().flatten()
    {
        if let Some(version) = version.as_object_mut() {
            version.retain(|key, _| !["schema", "additionalPrinterColumns"].contains(&key.as_str()));
        }
    }
    definition
}

/// The pods of the operator.
async fn pods(reader: &mut Reader<'_>, namespace: &str) -> Result<Vec<OperatorPod>, Error> {
    let mut objects = Objects::new();
    let mut found = Vec::new();
    let params = ListParams::default().labels(OURS);
    let what = format!("pods of Firebreak in namespace {namespace}");
    let each = |pod: Value| {
        found.push(OperatorPod::of(&pod));
        objects.push(pod);
    };
    if let Err(error) = reader.list(&ApiResource::erase::<Pod>(&()), Some(namespace), params, each).await {
        reader.failed(&what, &error);
        reader.archive.could_not_read("logs and metrics of the operator", "its pods could not be listed");
        return Ok(Vec::new());
    }
    reader.add(objects, "operator/pods.yaml", &what)?;
    if found.is_empty() {
        let reason = format!(
            "namespace {namespace} has no pod with the label {OURS}; set the namespace of the operator with \
             --operator-namespace"
        );
        reader.archive.could_not_read("logs and metrics of the operator", reason);
    }
    Ok(found)
}

/// The logs of the pods of the operator. Only a container that was restarted has a previous one.
async fn logs(reader: &mut Reader<'_>, namespace: &str, pods: &[OperatorPod], run: Run) -> Result<(), Error> {
    for pod in pods {
        for (container, restarts) in &pod.containers {
            if run == Run::Current || *restarts > 0 {
                reader.log(namespace, &pod.entry.name, container, run).await?;
            }
        }
    }
    Ok(())
}

/// What must be known of a pod to ask it.
struct OperatorPod {
    entry: PodEntry,
    /// Names and restarts.
    containers: Vec<(String, i64)>,
    port: i64,
}

impl OperatorPod {
    fn of(pod: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let containers = pod["spec"]["containers"].as_array().map_or(&[][..], Vec::as_slice);
        let statuses = pod["status"]["containerStatuses"].as_array().map_or(&[][..], Vec::as_slice);
        let restarts = |name: &Value| {
            let status = statuses.iter().find(|status| status["name"] == *name);
            status.and_then(|status| status["restartCount"].as_i64()).unwrap_or_default()
        };
        let mut ports = containers.iter().flat_map(|container| container["ports"].as_array()).flatten();
        let port = ports.find(|port| port["name"] == json!("http"));
        Self {
            entry: PodEntry {
                name: text(&pod["metadata"]["name"]),
                image: containers.first().map(|container| text(&container["image"])).unwrap_or_default(),
                restarts: containers.iter().map(|container| restarts(&container["name"])).sum(),
            },
            containers: containers.iter().map(|c| (text(&c["name"]), restarts(&c["name"]))).collect(),
            port: port.and_then(|port| port["containerPort"].as_i64()).unwrap_or(PORT),
        }
    }
}

#[cfg(test)]
mod tests;
