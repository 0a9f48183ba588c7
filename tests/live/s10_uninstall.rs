//! The operator is uninstalled in the wrong order: while changes are in force. The uninstall completes, people have
//! what they need to revert everything by hand, and the commands of docs/uninstall.md do it.

use std::{fs, path::Path};

use serde_json::json;

use crate::{
    drill::Drill,
    support::{object::condition, testbed::repository},
};

const DOCUMENT: &str = include_str!("../../docs/uninstall.md");

/// The contents of `deploy/`, under names that no other test uses: others need the cluster-scoped ones.
fn overlay(drill: &Drill) -> String {
    let folder = drill.world.files().join("deploy");
    fs::create_dir_all(&folder).expect("the testbed's directory is writable");
    let namespace = format!("{}-system", drill.world.id);
    let elsewhere = json!([{"op": "add", "path": "/spec/matchResources", "value":
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}}]);
    let text = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": [relative(&repository().join("deploy"), &folder)],
        "namespace": namespace, "nameSuffix": format!("-{}", drill.world.id),
        "patches": [{"target": {"kind": "ValidatingAdmissionPolicyBinding"}, "patch": elsewhere.to_string()}],
    });
    fs::write(folder.join("kustomization.yaml"), text.to_string()).expect("a file");
    folder.display().to_string()
}

/// Kustomize accepts no absolute path.
fn relative(to: &Path, from: &Path) -> String {
    let from = from.canonicalize().expect("a folder");
    let up = "../".repeat(from.components().count() - 1);
    let to = to.canonicalize().expect("a folder");
    format!("{up}{}", to.strip_prefix("/").expect("an absolute path").display())
}

#[tokio::test]
async fn an_uninstall_completes_and_everything_can_be_reverted_by_hand() {
    let drill = Drill::new("s10-uninstall").await;
    let a = drill.world.a.as_str();
    let models = drill.models(1).await;
    let overlay = overlay(&drill);
    drill.world.kubectl(&["apply", "-k", &overlay]).await;
    let operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    models.wait_until_fallen().await;

    operator.stop().await;
    let gone = drill.world.kubectl(&["delete", "-k", &overlay, "--timeout=60s"]).await;
    for kind in ["namespace", "clusterrole.", "clusterrolebinding.", "deployment.apps"] {
        assert!(gone.lines().any(|line| line.starts_with(kind)), "no {kind} in\n{gone}");
    }
    assert!(!gone.contains("customresourcedefinition"), "{gone}");
    let left = incident.get().await;
    assert_eq!(condition(&left, "Resolved"), Some("False"), "{incident}");
    assert_eq!(left.data["status"]["changesInForce"], 1, "{incident}");
    policy.get().await;

    // By hand, as it is documented.
    let place = |command: &str| DOCUMENT.find(command).unwrap_or_else(|| panic!("no {command} on the page"));
    assert!(place("--withdraw-all") < place("delete -k deploy/"), "first all changes are reverted");
    for command in [
        "kubectl api-resources --namespaced --verbs=list,patch -o name",
        "-l firebreak.dev/incident,app.kubernetes.io/managed-by!=firebreak",
        "firebreak undo",
        r#"--type=merge -p '{"metadata":{"finalizers":null}}'"#,
    ] {
        assert!(DOCUMENT.contains(command), "{command} is not documented");
    }
    let found = ["get", "llmdeployments", "--namespace", a, "-l", "firebreak.dev/incident", "-o", "name"];
    let found = drill.world.kubectl(&found).await;
    assert_eq!(found.trim(), "llmdeployment.inference.llm-d.io/model-0");
    let undone = drill.world.firebreak(&["undo", "llmdeployment/model-0", "-n", a]).await;
    assert!(undone.status.success(), "{}", String::from_utf8_lossy(&undone.stderr));
    models.assert_reverted().await;
    incident.delete().await;
    let patch = r#"{"metadata":{"finalizers":null}}"#;
    let release = ["patch", "incident", incident.name(), "-n", a, "--type=merge", "-p", patch];
    drill.world.kubectl(&release).await;
    incident.wait_until_gone().await;
}
