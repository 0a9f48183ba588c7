//! What a cluster needs before an operator can run in it, from the same files
//! that a customer installs.
//!
//! A customer has one operator; here every test has its own. The CRDs and ClusterRoles
//! are shared, everything else of `deploy/` is created once per operator, with its
//! namespace instead of `firebreak-system`. Nothing is granted beyond that:
//! an operator that needs more than `deploy/` gives fails here as it would there.
//! The admission policies, which would apply to everybody's Incidents, are created for
//! the worlds that ask for them.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use kube::Client;
use serde_json::{Value, json};

use super::{
    manifest,
    testbed::{Testbed, repository},
};

/// The namespace that the manifests in `deploy/` are written for.
const SHIPPED_NAMESPACE: &str = "firebreak-system";

/// The CRDs of the kinds that tests change, our CRDs and our ClusterRoles.
pub fn once_per_cluster(testbed: &Testbed) -> Result<(), String> {
    let repository = repository();
    server_side_apply(testbed, "-f", &repository.join("examples/llm-d/stand-in/crd.yaml"))?;
    server_side_apply(testbed, "-f", &repository.join("tests/support/crds"))?;
    release(testbed, repository)?;
    let all = ["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"];
    run(testbed.kubectl().args(all))?;
    // The first request for a kind opens its storage, and is told to retry until that is done. kubectl
    // retries, so that no test has to.
    let kinds = run(testbed.kubectl().args(["get", "crd", "-o", "jsonpath={.items[*].metadata.name}"]))?;
    run(testbed.kubectl().args(["get", &kinds.replace(' ', ","), "--all-namespaces"])).map(drop)
}

/// Our CRDs and our ClusterRoles as the release in this directory has them, in place of those of another one.
pub fn release(testbed: &Testbed, root: &Path) -> Result<(), String> {
    edited_release(testbed, root, |_| {})
}

/// The same with edited documents.
pub fn edited_release(testbed: &Testbed, root: &Path, edit: impl Fn(&mut Value)) -> Result<(), String> {
    for folder in ["crds", "deploy"] {
        for (file, mut document) in documents(&root.join(folder))? {
            if ["CustomResourceDefinition", "ClusterRole"]
                .contains(&document["kind"].as_str().unwrap_or_default())
            {
                edit(&mut document);
                // The file has other documents too, which must not be applied as they are.
                let one = testbed.dir.join("shared.json");
                fs::write(&one, document.to_string()).map_err(|error| format!("{file}: {error}"))?;
                server_side_apply(testbed, "-f", &one)?;
            }
        }
    }
    Ok(())
}

/// The operator's ServiceAccount in its namespace, and the rights of `deploy/` bound to it.
/// Returns the cluster-scoped objects, which are not deleted with a namespace.
pub async fn once_per_operator(client: &Client, namespace: &str) -> Vec<Value> {
    let own = |shipped: &Value| match shipped["kind"].as_str().unwrap_or_default() {
        "ServiceAccount" | "Role" | "RoleBinding" => Some(renamed(shipped, namespace)),
        "ClusterRoleBinding" => Some(suffixed(renamed(shipped, namespace), namespace)),
        _ => None,
    };
    let shipped = shipped().unwrap_or_else(|why| panic!("{why}"));
    let mut made = apply(client, shipped.iter().filter_map(|(_, shipped)| own(shipped))).await;
    made.retain(|document| document["metadata"].get("namespace").is_none());
    made
}

/// The admission policies for the operator in its namespace and the Incidents and policies of some
/// namespaces. Returns what was created.
pub async fn admission(client: &Client, namespace: &str, watched: &[&str]) -> Vec<Value> {
    let own = |shipped: &Value| {
        let own = || suffixed(renamed(shipped, namespace), namespace);
        match shipped["kind"].as_str().unwrap_or_default() {
            "ValidatingAdmissionPolicy" => Some(own()),
            "ValidatingAdmissionPolicyBinding" => {
                let mut binding = own();
                let policy = &binding["spec"]["policyName"];
                binding["spec"]["policyName"] = suffix(policy, namespace);
                // Each operator has its own copy of the policy, which names its user.
                binding["spec"]["matchResources"]["namespaceSelector"] = json!({"matchExpressions": [
                    {"key": "kubernetes.io/metadata.name", "operator": "In", "values": watched}
                ]});
                Some(binding)
            }
            _ => None,
        }
    };
    let shipped = documents(&repository().join("crds")).unwrap_or_else(|why| panic!("{why}"));
    apply(client, shipped.iter().filter_map(|(_, shipped)| own(shipped))).await
}

/// The share of the API server for the operator in its namespace and the responder of one namespace. Each operator has
/// its own, so their names differ.
pub fn flow_control(namespace: &str, responders: &str) -> Vec<Value> {
    let own = |shipped: &Value| {
        let kind = shipped["kind"].as_str().unwrap_or_default();
        ["FlowSchema", "PriorityLevelConfiguration"]
            .contains(&kind)
            .then(|| suffixed(renamed(shipped, namespace), namespace))
    };
    let shipped = shipped().unwrap_or_else(|why| panic!("{why}"));
    let mut made: Vec<Value> = shipped.iter().filter_map(|(_, shipped)| own(shipped)).collect();
    for schema in made.iter_mut().filter(|document| document["kind"] == "FlowSchema") {
        let level = &mut schema["spec"]["priorityLevelConfiguration"]["name"];
        *level = suffix(level, namespace);
        let subjects = schema["spec"]["rules"][0]["subjects"].as_array_mut().expect("subjects");
        // As the chart does for each namespace in its values.
        let account = json!({"name": "firebreak-responder", "namespace": responders});
        subjects.push(json!({"kind": "ServiceAccount", "serviceAccount": account}));
    }
    made
}

async fn apply(client: &Client, documents: impl Iterator<Item = Value>) -> Vec<Value> {
    let documents: Vec<Value> = documents.collect();
    for document in &documents {
        let made = manifest::apply(client, "harness", document).await;
        made.unwrap_or_else(|error| panic!("{document}: {error}"));
    }
    documents
}

/// The memory limit of the shipped Deployment, in bytes.
pub fn memory_limit() -> u64 {
    let limit = container()["resources"]["limits"]["memory"].as_str().map(str::to_owned).expect("a limit");
    let mebibytes = limit.strip_suffix("Mi").and_then(|number| number.parse::<u64>().ok());
    mebibytes.unwrap_or_else(|| panic!("{limit} is not in Mi")) << 20
}

/// The environment that the shipped Deployment sets for the operator, as far as it is plain text.
pub fn environment() -> Vec<(String, String)> {
    let container = container();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let variables = container["env"].as_array().into_iter().flatten();
    variables.filter_map(|variable| Some((text(&variable["name"])?, text(&variable["value"])?))).collect()
}

/// The container of the shipped Deployment.
fn container() -> Value {
    let documents = shipped().unwrap_or_else(|why| panic!("{why}"));
    let deployment = documents.into_iter().find(|(_, document)| document["kind"] == "Deployment");
    deployment
        .map(|(_, document)| document["spec"]["template"]["spec"]["containers"][0].clone())
        .unwrap_or_default()
}

/// The documents in `deploy/*.yaml`, each with the name of its file.
pub fn shipped() -> Result<Vec<(String, Value)>, String> {
    documents(&repository().join("deploy"))
}

/// The documents in the YAML files of a folder, each with the name of its file.
fn documents(folder: &Path) -> Result<Vec<(String, Value)>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter(|path| path.file_stem().is_some_and(|stem| stem != "kustomization"))
        .collect();
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let name = file.display().to_string();
        all.extend(manifest::documents(&text).into_iter().map(|document| (name.clone(), document)));
    }
    Ok(all)
}

/// The document with this namespace wherever it has the shipped one, including inside
/// of expressions (`system:serviceaccount:firebreak-system:firebreak`).
fn renamed(document: &Value, namespace: &str) -> Value {
    let text = document.to_string().replace(SHIPPED_NAMESPACE, namespace);
    serde_json::from_str(&text).expect("a namespace needs no escapes")
}

fn suffixed(mut document: Value, suffix_: &str) -> Value {
    document["metadata"]["name"] = suffix(&document["metadata"]["name"], suffix_);
    document
}

fn suffix(name: &Value, suffix: &str) -> Value {
    json!(format!("{}-{suffix}", name.as_str().unwrap_or_default()))
}

fn server_side_apply(testbed: &Testbed, flag: &str, path: &Path) -> Result<(), String> {
    let apply = ["apply", "--server-side", "--field-manager=harness", flag];
    run(testbed.kubectl().args(apply).arg(path)).map(drop)
}

/// The output of the command.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}
