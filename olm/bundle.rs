//! The bundle for the Operator Lifecycle Manager, from the objects that the chart renders.

use std::collections::BTreeMap;

use serde_json::{Value, json};

const BASE: &str = include_str!("base.yaml");
const CHART: &str = include_str!("../charts/firebreak/Chart.yaml");

/// The kinds that a bundle may contain beside the ClusterServiceVersion, of those that the chart renders. The operator's own
/// Deployment, ServiceAccount and permissions are in the ClusterServiceVersion.
const BESIDE: &[&str] = &["PodDisruptionBudget", "Service"];

/// The labels that say that Helm has installed an object.
const OF_HELM: &[&str] = &["helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/instance"];

/// Where the bundle has its parts, for the tools that read it from an image.
const ANNOTATIONS: &[(&str, &str)] = &[
    ("operators.operatorframework.io.bundle.mediatype.v1", "registry+v1"),
    ("operators.operatorframework.io.bundle.manifests.v1", "manifests/"),
    ("operators.operatorframework.io.bundle.metadata.v1", "metadata/"),
    ("operators.operatorframework.io.bundle.package.v1", "firebreak"),
    ("operators.operatorframework.io.bundle.channels.v1", "alpha"),
    ("operators.operatorframework.io.bundle.channel.default.v1", "alpha"),
];

/// The files of the bundle: path and content. `objects` are those of the chart without the CRDs, which are `definitions`, each
/// with the name of its file.
pub fn files(objects: &[Value], definitions: &[(String, String)]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut manifest = |name: &str, object: &Value| files.insert(format!("manifests/{name}"), yaml(object));
    manifest("firebreak.clusterserviceversion.yaml", &version(objects));
    for object in objects.iter().filter(|object| is_beside(object)) {
        let mut object = object.clone();
        object["metadata"]["labels"] = labels(&object);
        // OLM installs into the namespace that the administrator chooses.
        object["metadata"].as_object_mut().expect("metadata").remove("namespace");
        let name = text(&object["metadata"]["name"]);
        manifest(&format!("{name}.{}.yaml", text(&object["kind"]).to_lowercase()), &object);
    }
    let definitions =
        definitions.iter().map(|(name, content)| (format!("manifests/{name}"), content.clone()));
    files.extend(definitions);
    let annotations: BTreeMap<&str, &str> = ANNOTATIONS.iter().copied().collect();
    files.insert("metadata/annotations.yaml".to_owned(), yaml(&json!({"annotations": annotations})));
    let labels = ANNOTATIONS.iter().map(|(name, value)| format!("LABEL {name}={value}\n"));
    let image = format!(
        "FROM scratch\n{}COPY manifests /manifests/\nCOPY metadata /metadata/\n",
        labels.collect::<String>()
    );
    files.insert("bundle.Dockerfile".to_owned(), image);
    files
}

/// Roles for people are bound by no one here, so a bundle may contain them.
fn is_beside(object: &Value) -> bool {
    let is_role = ["ClusterRole", "Role"].iter().any(|kind| object["kind"] == *kind);
    let is_role_for_people = is_role && object["metadata"]["name"] != "firebreak";
    is_role_for_people || BESIDE.iter().any(|kind| object["kind"] == *kind)
}

/// The labels of the object that are true without Helm.
fn labels(object: &Value) -> Value {
    let mut labels = object["metadata"]["labels"].clone();
    labels.as_object_mut().expect("labels").retain(|name, _| !OF_HELM.contains(&name.as_str()));
    labels
}

/// The ClusterServiceVersion.
fn version(objects: &[Value]) -> Value {
    let chart: Value = serde_saphyr::from_str(CHART).expect("Chart.yaml is YAML");
    let version = text(&chart["version"]);
    let examples: Value = serde_saphyr::from_str(text(&chart["annotations"]["artifacthub.io/crdsExamples"]))
        .expect("examples are YAML");
    let named = |kind: &str| {
        let found =
            objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == "firebreak");
        found.unwrap_or_else(|| panic!("the chart renders no {kind} firebreak"))
    };
    let deployment = named("Deployment");
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    let rights = |kind: &str| json!([{"serviceAccountName": "firebreak", "rules": named(kind)["rules"]}]);
    let mut it: Value = serde_saphyr::from_str(BASE).expect("base.yaml is YAML");
    it["metadata"]["name"] = json!(format!("firebreak.v{version}"));
    it["metadata"]["annotations"]["containerImage"] = image.clone();
    it["metadata"]["annotations"]["alm-examples"] = json!(examples.to_string());
    it["spec"]["version"] = json!(version);
    it["spec"]["relatedImages"] = json!([{"name": "firebreak", "image": image}]);
    it["spec"]["install"]["spec"] = json!({
        "deployments": [{"name": "firebreak", "label": labels(deployment), "spec": deployment["spec"]}],
        "clusterPermissions": rights("ClusterRole"),
        "permissions": rights("Role"),
    });
    it
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).expect("maps, lists and scalars")
}
