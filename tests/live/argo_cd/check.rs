//! `firebreak check --cluster` against a cluster without Argo CD, and against Applications.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::models;
use crate::{
    drill::{Drill, policy_manifest},
    support::{manifest, object::Object, operator::binary, testbed::testbed},
};

const DEFINITION: &str = include_str!("application.yaml");

/// The policy of the drill in a file.
fn file(drill: &Drill) -> PathBuf {
    let policy = drill.world.documents(&policy_manifest(super::only_ill_models).to_string()).remove(0);
    let file = drill.world.files().join("policy.json");
    std::fs::write(&file, policy.to_string()).expect("the testbed's directory is writable");
    file
}

/// What the verb prints. The answer is yes: what Argo CD does is no fault of the policy.
async fn check(drill: &Drill) -> String {
    let file = file(drill);
    let done = drill.world.firebreak(&["check", "--cluster", "-f", file.to_str().expect("text")]).await;
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}{err}");
    // Whatever is said, the output is YAML with the permissions.
    let kinds: Vec<Value> =
        manifest::documents(&out).into_iter().map(|document| document["kind"].clone()).collect();
    assert!(kinds.contains(&json!("Role")), "{out}");
    out.into_owned()
}

/// The lines of an object, up to the next one.
fn about<'o>(said: &'o str, model: &str) -> &'o str {
    let mark = format!("/{model}: ");
    let from = said.find(&mark).unwrap_or_else(|| panic!("nothing of {model} in\n{said}"));
    let lines: Vec<&str> = said[from..].splitn(3, '\n').collect();
    &said[from..from + lines[..2].join("\n").len()]
}

/// What is to be added to an Application, as it is printed.
fn to_add(said: &str, application: &str) -> Value {
    let lines =
        said.lines().skip_while(|line| !(line.contains("Add this to ") && line.contains(application)));
    let part: Vec<&str> = lines.skip(1).map_while(|line| line.strip_prefix("#     ")).collect();
    manifest::documents(&part.join("\n")).remove(0)
}

async fn application(drill: &Drill, name: &str, spec: Value) -> Object {
    let mut document = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {"name": name, "namespace": drill.world.b},
        "spec": {"project": "default", "destination": {"server": "https://kubernetes.default.svc"}},
    });
    for (key, value) in spec.as_object().expect("fields") {
        document["spec"][key] = value.clone();
    }
    drill.world.create("argocd-server", &document.to_string()).await.remove(0)
}

#[tokio::test]
async fn check_on_a_cluster_says_what_the_applications_of_argo_cd_lack() {
    let drill = Drill::new("argo-check").await;
    // The first is in an Application in another namespace than Argo CD, which writes its namespace with it.
    let (b, id) = (drill.world.b.clone(), drill.world.id.clone());
    let name = |model: &str| format!("{id}-{model}");
    let instance = |model: &str| {
        if model == "annotated" { format!("{b}_{}", name(model)) } else { name(model) }
    };
    let models = models(&drill, instance).await;
    let mut before = Vec::new();
    for model in &models {
        before.push(model.snapshot().await.version);
    }

    let without = check(&drill).await;
    assert!(without.contains("Argo CD applies 2 and possibly 1 more of the objects"), "{without}");
    let annotated = about(&without, "annotated");
    assert!(annotated.contains("tracked by the annotation argocd.argoproj.io/tracking-id"), "{annotated}");
    assert!(annotated.contains("this cluster has no Applications"), "{annotated}");
    let labelled = about(&without, "labelled");
    assert!(labelled.contains("field manager argocd-controller/Apply writes the object"), "{labelled}");
    let alone = about(&without, "alone");
    assert!(
        alone.contains("Argo CD may apply it: only the label")
            && alone.contains("this cluster has no Applications"),
        "{alone}"
    );
    assert!(!without.contains("copied"), "{without}");

    drill.world.define(&manifest::documents(DEFINITION).remove(0)).await;
    let entry = json!({"group": "inference.*", "kind": "LLMDeployment", "jsonPointers": [
        "/spec/resources/limits/nvidia.com~1gpu", "/spec/resources/requests", "/spec/nodeSelector",
    ], "jqPathExpressions": [".spec.model.quantization"]});
    let respects = json!({"syncOptions": ["CreateNamespace=true", "RespectIgnoreDifferences=true"]});
    let complete = json!({"ignoreDifferences": [entry], "syncPolicy": respects});
    let complete = application(&drill, &name("annotated"), complete).await;
    let lacking =
        application(&drill, &name("labelled"), json!({"syncPolicy": {"automated": {"selfHeal": true}}}))
            .await;
    let with = check(&drill).await;
    let annotated = about(&with, "annotated");
    let called = format!("Application {b}/{}", name("annotated"));
    assert!(annotated.contains(&format!("{called} leaves the fields alone that the steps change")), "{with}");
    assert!(!with.contains(&format!("Add this to what {called} has")), "{with}");
    let labelled = about(&with, "labelled");
    assert!(labelled.contains("may restore its own values: it ignores none of the "), "{labelled}");
    assert!(labelled.contains("lacks syncOption RespectIgnoreDifferences=true"), "{labelled}");
    assert!(about(&with, "alone").contains("no Application"), "{with}");

    // What is printed is enough.
    lacking.merge("alice", to_add(&with, &name("labelled"))).await;
    let added = check(&drill).await;
    assert!(about(&added, "labelled").contains("leaves the fields alone that the steps change"), "{added}");
    assert!(!added.contains("Add this to"), "{added}");

    // And what cannot be judged is never called enough.
    let opaque = json!([{"group": "*", "kind": "LLMDeployment", "jqPathExpressions": ["paths"]}]);
    lacking.merge("alice", json!({"spec": {"ignoreDifferences": opaque}})).await;
    let unknown = check(&drill).await;
    assert!(
        about(&unknown, "labelled").contains("is not known: what the jqPathExpressions `paths`"),
        "{unknown}"
    );

    // What drops the undo record is never called enough either.
    let replaces =
        json!({"spec": {"syncPolicy": {"syncOptions": ["RespectIgnoreDifferences=true", "Replace=true"]}}});
    complete.merge("alice", replaces).await;
    let replaced = check(&drill).await;
    assert!(about(&replaced, "annotated").contains("remove Replace=true from the syncOptions"), "{replaced}");

    as_the_responder(&drill).await;
    for (model, before) in models.iter().zip(before) {
        assert_eq!(model.snapshot().await.version, before, "{model} was written");
    }
}

/// Whoever may not read Applications is told so.
async fn as_the_responder(drill: &Drill) {
    let world = &drill.world;
    let token = world.token(&world.a, "firebreak-responder").await;
    let kubeconfig = world.files().join("responder");
    std::fs::copy(&testbed().kubeconfig, &kubeconfig).expect("a kubeconfig");
    let kubeconfig = kubeconfig.to_str().expect("text");
    let with = ["--kubeconfig", kubeconfig, "config", "set-credentials", "responder", "--token", &token];
    world.kubectl(&with).await;
    world
        .kubectl(&["--kubeconfig", kubeconfig, "config", "set-context", "--current", "--user", "responder"])
        .await;
    let file = file(drill);
    let mut command = tokio::process::Command::new(binary());
    command.args(["check", "--cluster", "--kubeconfig", kubeconfig, "-f"]).arg(file);
    let done = command.output().await.expect("it runs");
    let out = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{out}{}", String::from_utf8_lossy(&done.stderr));
    let (annotated, labelled) = (about(&out, "annotated"), about(&out, "labelled"));
    assert!(annotated.contains("cannot be read: applications.argoproj.io"), "{annotated}");
    assert!(labelled.contains("cannot be read: applications.argoproj.io"), "{labelled}");
    assert!(out.contains("lacks this, add it to what it has:"), "{out}");
}
