//! The API server accepts every shipped example, and a policy needs no more than the permissions that are
//! shipped with it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::support::{manifest, testbed::repository, world::World};

#[tokio::test]
async fn shipped_policies_are_accepted_and_have_the_rights_that_they_need() {
    for folder in folders() {
        let world = World::new("examples").await;
        let _operator = world.operator().start().await;
        let mut policies = Vec::new();
        for file in manifests(&folder) {
            for object in world.apply_example(&of_examples(&file), harmless).await {
                policies.extend(Some(object).filter(|object| object.kind() == "RemediationPolicy"));
            }
        }
        assert!(!policies.is_empty(), "{}: examples without a policy", folder.display());
        for policy in &policies {
            policy.wait_for_condition("Accepted", "True").await;
            policy.wait_for_condition("Authorized", "True").await;
        }
    }
}

#[tokio::test]
async fn every_shipped_policy_can_be_opened_by_hand() {
    let world = World::new("examples-by-hand").await;
    for folder in folders() {
        let policies = manifests(&folder).into_iter().flat_map(|file| world.example(&of_examples(&file)));
        let policies = policies.filter(|document| document["kind"] == "RemediationPolicy");
        let mut policies: Vec<_> = policies.map(|policy| policy["metadata"]["name"].clone()).collect();
        let mut opened = Vec::new();
        for file in files(&folder.join("incidents")) {
            let incident = world.create_example(&of_examples(&file)).await;
            let spec = incident.get().await.data["spec"].clone();
            assert!(spec["severity"].is_string() && spec["summary"].is_string(), "{}", file.display());
            opened.push(spec["policyRef"]["name"].clone());
        }
        for names in [&mut policies, &mut opened] {
            names.sort_by_key(ToString::to_string);
        }
        assert_eq!(policies, opened, "{}", folder.display());
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

/// The policy without its effect.
fn harmless(document: &mut Value) {
    if document["kind"] == "RemediationPolicy" {
        document["spec"]["mode"] = json!("Observe");
    }
}

/// The folders of examples.
fn folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join("examples")).expect("a directory of examples");
    let folders: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    assert!(folders.len() >= 2, "{folders:?}");
    folders
}

/// The path of a file within the examples.
fn of_examples(file: &Path) -> String {
    let path = file.strip_prefix(repository().join("examples")).expect("an example");
    path.display().to_string()
}

/// What can be applied; stories are for `firebreak test`, and Incidents are created by hand.
fn manifests(directory: &Path) -> Vec<PathBuf> {
    let is_other = |file: &Path| {
        file.parent().is_some_and(|folder| folder.ends_with("stories") || folder.ends_with("incidents"))
    };
    let mut all = files(directory);
    all.retain(|file| !is_kustomization(file) && !is_other(file));
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
