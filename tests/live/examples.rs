//! Every shipped example is taken by the API server, and the rights that come with a
//! policy are all that it needs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::support::{manifest, object::Object, testbed::repository, world::World};

/// The namespace that the examples are written for.
const SHIPPED_NAMESPACE: &str = "llm-serving";

#[tokio::test]
async fn shipped_policies_are_accepted_and_have_the_rights_that_they_need() {
    let world = World::new("examples").await;
    let _operator = world.operator().start().await;
    let (mut policies, mut cluster_scoped) = (Vec::new(), Vec::new());
    for file in manifests(&repository().join("examples")) {
        let yaml = fs::read_to_string(&file).expect("an example");
        for document in manifest::documents(&yaml.replace(SHIPPED_NAMESPACE, &world.a)) {
            let document = harmless(document);
            let object = Object::of(&world.client, &document);
            let applied = manifest::apply(&world.client, "harness", &document).await;
            applied.unwrap_or_else(|error| panic!("{}: {object}: {error}", file.display()));
            match document["kind"].as_str() {
                Some("RemediationPolicy") => policies.push(object),
                Some("ClusterRole" | "ClusterRoleBinding") => cluster_scoped.push(object),
                _ => {}
            }
        }
    }
    assert!(!policies.is_empty(), "examples without a policy");
    for policy in &policies {
        policy.wait_for_condition("Accepted", "True").await;
        policy.wait_for_condition("Authorized", "True").await;
    }
    for object in cluster_scoped {
        object.delete().await;
    }
}

#[tokio::test]
async fn a_kustomization_of_examples_has_every_file_of_its_directory() {
    let world = World::new("kustomize").await;
    let mut kustomizations = files(&repository().join("examples"));
    kustomizations.retain(|file| is_kustomization(file));
    assert!(!kustomizations.is_empty(), "examples without a kustomization");
    for kustomization in kustomizations {
        let directory = kustomization.parent().expect("a file is in a directory");
        let built = world.kubectl(&["kustomize", &directory.display().to_string()]).await;
        let built = manifest::documents(&built);
        for file in manifests(directory).iter().filter(|file| file.parent() == Some(directory)) {
            for document in manifest::documents(&fs::read_to_string(file).expect("an example")) {
                let name = |document: &Value| (document["kind"].clone(), document["metadata"].clone());
                let is_there = built.iter().any(|built| name(built) == name(&document));
                assert!(is_there, "{} is not in {}", file.display(), kustomization.display());
            }
        }
    }
}

/// The policy without its effect: all live tests share a cluster, and the examples reach all of it.
fn harmless(mut document: Value) -> Value {
    if document["kind"] == "RemediationPolicy" {
        document["spec"]["mode"] = json!("Observe");
    }
    document
}

/// What can be applied; stories are for `firebreak test`.
fn manifests(directory: &Path) -> Vec<PathBuf> {
    let is_story = |file: &Path| file.parent().is_some_and(|folder| folder.ends_with("stories"));
    let mut all = files(directory);
    all.retain(|file| !is_kustomization(file) && !is_story(file));
    all
}

fn is_kustomization(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == "kustomization.yaml")
}

/// Every YAML file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory of examples");
    let mut all = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            all.push(path);
        }
    }
    all.sort();
    all
}
