//! The chart with the tools that its users and their CI have: both versions of Helm, helm-unittest, kubeconform against
//! the API of the oldest and the newest Kubernetes, and helm-docs. `tests/chart.rs` has what needs only Helm.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    bundle,
    support::{manifest, testbed::repository, tools},
};

/// The oldest Kubernetes that the chart supports, and the newest.
const KUBERNETES: [&str; 2] = ["v1.33.13", "v1.37.2"];

/// The version of the Prometheus operator whose definitions the chart's objects must meet.
const PROMETHEUS_OPERATOR: &str = "v0.85.0";

/// The version of the Operator Lifecycle Manager's API whose definitions the bundle must meet.
const OLM: &str = "v0.9.1";

/// Values that render every object that the chart can render.
const EVERYTHING: &str = "metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true,\
    metrics.dashboards.enabled=true,config.reportTemplate=report,secrets={token},watchNamespaces={a,b},\
    flowControl.responderNamespaces={a,b},alerts.enabled=true,alerts.tlsSecret=certificate";

fn chart() -> PathBuf {
    repository().join("charts/firebreak")
}

/// What a tool printed. Fails with what it said if it fails.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{complained}");
    said
}

fn rendered(helm: &str, kubernetes: &str, values: &str) -> String {
    let mut command = Command::new(tools::built(helm));
    command.args(["template", "firebreak"]).arg(chart()).args([
        "--namespace",
        "ops",
        "--kube-version",
        kubernetes,
    ]);
    run(command.args(["--set", values]))
}

#[test]
fn the_unit_tests_of_the_templates_pass() {
    // It creates a folder for snapshots beside the tests.
    let folder = tempfile::tempdir().expect("a folder");
    run(Command::new("cp").arg("--recursive").arg(chart()).arg(folder.path()));
    let copy = folder.path().join("firebreak");
    let said = run(Command::new(tools::built("helm-unittest")).args(["--strict", "--color=false"]).arg(copy));
    assert!(said.contains("PASS"), "{said}");
}

#[test]
fn both_versions_of_helm_find_no_fault_and_render_the_same() {
    let mut same = BTreeSet::new();
    for helm in ["helm", "helm4"] {
        let lint = ["lint", "--strict", "--kube-version", KUBERNETES[0]];
        run(Command::new(tools::built(helm)).args(lint).arg(chart()));
        let documents = manifest::documents(&rendered(helm, KUBERNETES[0], EVERYTHING));
        assert!(documents.len() > 20, "{}", documents.len());
        same.insert(documents.iter().map(Value::to_string).collect::<BTreeSet<_>>());
    }
    assert_eq!(same.len(), 1, "the versions of Helm render different objects");
}

#[test]
fn the_readme_of_the_chart_is_up_to_date() {
    let mut docs = Command::new(tools::built("helm-docs"));
    let printed = run(docs.args(["--dry-run", "--chart-search-root"]).arg(chart()));
    let readme = fs::read_to_string(chart().join("README.md")).unwrap_or_default();
    assert_eq!(printed.trim(), readme.trim(), "charts/firebreak/README.md: run `make generate`");
}

#[test]
fn every_object_meets_the_api_of_the_oldest_and_the_newest_kubernetes() {
    for version in KUBERNETES {
        let schemas = Schemas::of(version);
        for values in ["replicas=2", EVERYTHING] {
            let documents = manifest::documents(&rendered("helm", version, values));
            let (valid, said) = schemas.check(&documents);
            assert!(valid, "{version}, {values}: {said}");
            assert!(
                said.contains(&format!("{} resources found", documents.len())),
                "{version}, {values}: {said}"
            );
            assert!(said.contains("Skipped: 0"), "{version}, {values}: {said}");
        }
    }
}

#[test]
fn an_object_with_a_field_that_the_api_does_not_have_is_found() {
    let schemas = Schemas::of(KUBERNETES[0]);
    let documents = manifest::documents(&rendered("helm", KUBERNETES[0], EVERYTHING));
    for (kind, pointer, value) in [
        ("Deployment", "/spec/template/spec/topologySpreadConstraints/0/nodeTaintPolicy", json!("Honor")),
        ("Deployment", "/spec/replicas", json!("two")),
        ("CustomResourceDefinition", "/spec/version", json!("v1alpha1")),
        ("ServiceMonitor", "/spec/endpoints/0/every", json!("30s")),
        ("PrometheusRule", "/spec/groups/0/rules/0/expr", json!(null)),
    ] {
        let mut wrong = documents.iter().find(|document| document["kind"] == kind).cloned().expect(kind);
        let (parent, field) = pointer.rsplit_once('/').expect("a field");
        wrong.pointer_mut(parent).expect(pointer)[field] = value;
        let (valid, said) = schemas.check(&[wrong]);
        assert!(!valid && said.contains("Invalid: 1"), "{kind} {pointer}: {said}");
    }
}

#[test]
fn the_bundle_for_olm_has_what_the_chart_installs() {
    let rendered = manifest::documents(&rendered("helm", KUBERNETES[0], "crds.enabled=false"));
    let definitions = [("crd.yaml".to_owned(), "kind: CustomResourceDefinition\n".to_owned())];
    let files = bundle::files(&rendered, &definitions);
    let objects: Vec<Value> = files
        .iter()
        .filter(|(name, _)| name.starts_with("manifests/") && !name.ends_with("/crd.yaml"))
        .map(|(_, content)| manifest::documents(content).remove(0))
        .collect();
    let (valid, said) = Schemas::of(KUBERNETES[0]).check(&objects);
    assert!(valid && said.contains("Skipped: 0"), "{said}");
    assert!(
        objects.iter().all(|object| object["metadata"].get("namespace").is_none()),
        "OLM chooses the namespace"
    );
    let of_helm = objects.iter().filter(|object| object.to_string().contains("Helm"));
    assert_eq!(of_helm.count(), 0, "Helm has installed nothing of it");
    let version =
        objects.iter().find(|object| object["kind"] == "ClusterServiceVersion").expect("it is there");
    let install = &version["spec"]["install"]["spec"];
    let is = |object: &Value, kind: &str| object["kind"] == kind && object["metadata"]["name"] == "firebreak";
    let find = |kind: &str| rendered.iter().find(|object| is(object, kind)).expect(kind);
    assert_eq!(install["deployments"][0]["spec"], find("Deployment")["spec"]);
    assert_eq!(install["permissions"][0]["rules"], find("Role")["rules"]);
    let kinds: BTreeSet<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
    assert!(
        kinds.is_superset(&["ClusterRole", "PodDisruptionBudget", "Role", "Service"].into()),
        "{kinds:?}"
    );
    assert!(files["metadata/annotations.yaml"].contains("bundle.package.v1: firebreak"));
    assert!(
        files["bundle.Dockerfile"].contains("LABEL operators.operatorframework.io.bundle.channels.v1=alpha")
    );
}

/// The schemas of a version of Kubernetes, from its module, and of the Prometheus operator and the Operator Lifecycle Manager,
/// from theirs.
struct Schemas {
    definitions: Value,
    custom: Vec<Value>,
    /// Where kubeconform reads them.
    folder: TempDir,
}

impl Schemas {
    fn of(version: &str) -> Self {
        let file = module("k8s.io/kubernetes", version).join("api/openapi-spec/swagger.json");
        let mut api: Value = serde_json::from_str(&read(&file)).expect("JSON");
        let mut definitions = api["definitions"].take();
        for (name, schema) in definitions.as_object_mut().expect("definitions") {
            if name.ends_with(".resource.Quantity") {
                *schema = json!({"type": ["string", "number"]});
            }
            strict(schema);
        }
        let prometheus = module("github.com/prometheus-operator/prometheus-operator", PROMETHEUS_OPERATOR)
            .join("example/prometheus-operator-crd");
        let custom = [
            prometheus.join("monitoring.coreos.com_servicemonitors.yaml"),
            prometheus.join("monitoring.coreos.com_prometheusrules.yaml"),
            module("github.com/operator-framework/api", OLM)
                .join("crds/operators.coreos.com_clusterserviceversions.yaml"),
        ]
        .map(|file| manifest::documents(&read(&file)).remove(0));
        let folder = tempfile::tempdir().expect("a folder");
        let all = json!({"definitions": definitions});
        fs::write(folder.path().join("definitions.json"), all.to_string()).expect("a file");
        Self { definitions, custom: custom.into(), folder }
    }

    /// Whether these objects meet the API, and what kubeconform says.
    fn check(&self, documents: &[Value]) -> (bool, String) {
        let folder = self.folder.path();
        for document in documents {
            let text = |field: &str| document[field].as_str().expect(field);
            let (name, schema) = self.of_kind(text("apiVersion"), text("kind"));
            fs::write(folder.join(name), schema.to_string()).expect("a file");
        }
        let stream: String = documents.iter().map(|document| format!("---\n{document}\n")).collect();
        let file = folder.join("objects.yaml");
        fs::write(&file, stream).expect("a file");
        let location = format!("{}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json", folder.display());
        let mut command = Command::new(tools::built("kubeconform"));
        command.args(["-strict", "-summary", "-verbose", "-schema-location", &location]).arg(&file);
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The name of the file in which kubeconform looks for the schema of a kind, and the schema.
    fn of_kind(&self, api_version: &str, kind: &str) -> (String, Value) {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let first = group.split('.').next().unwrap_or_default();
        let suffix = if first.is_empty() { version.to_owned() } else { format!("{first}-{version}") };
        let name = format!("{}-{suffix}.json", kind.to_lowercase());
        let wanted = json!({"group": group, "version": version, "kind": kind});
        let is_it = |schema: &Value| {
            let kinds = schema["x-kubernetes-group-version-kind"].as_array();
            kinds.is_some_and(|kinds| kinds.contains(&wanted))
        };
        let definitions = self.definitions.as_object().expect("definitions");
        if let Some((definition, _)) = definitions.iter().find(|(_, schema)| is_it(schema)) {
            return (name, json!({"$ref": format!("definitions.json#/definitions/{definition}")}));
        }
        let custom = self.custom.iter().find(|definition| definition["spec"]["names"]["kind"] == kind);
        let custom = custom.unwrap_or_else(|| panic!("no schema of {api_version} {kind}"));
        let versions = custom["spec"]["versions"].as_array().expect("versions");
        let version = versions.iter().find(|each| each["name"] == version).expect("the version");
        let mut schema = version["schema"]["openAPIV3Schema"].clone();
        // It repeats the Deployment of an old Kubernetes; the Deployment of the chart is checked as such.
        let repeated = "/properties/spec/properties/install/properties/spec/properties/deployments/items/properties/spec";
        if let Some(repeated) = schema.pointer_mut(repeated) {
            *repeated = json!({"type": "object"});
        }
        strict(&mut schema);
        (name, schema)
    }
}

/// Makes a schema of the API one that rejects what the API would silently drop.
fn strict(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    if members.get("format").is_some_and(|format| format == "int-or-string")
        || members.contains_key("x-kubernetes-int-or-string")
    {
        members.insert("type".to_owned(), json!(["string", "integer"]));
    }
    if members.contains_key("properties") && !members.contains_key("additionalProperties") {
        members.insert("additionalProperties".to_owned(), json!(false));
    }
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(strict);
    }
    for part in ["items", "additionalProperties"] {
        members.get_mut(part).into_iter().for_each(strict);
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The folder of a Go module, from the cache of Go or the module proxy.
fn module(name: &str, version: &str) -> PathBuf {
    let said = run(Command::new("go").current_dir(Path::new("/")).args([
        "mod",
        "download",
        "-json",
        &format!("{name}@{version}"),
    ]));
    let module: Value = serde_json::from_str(&said).expect("JSON");
    PathBuf::from(module["Dir"].as_str().expect("a folder"))
}
