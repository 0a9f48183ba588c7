//! A release of the chart over its whole life, with an open Incident: installed, tested, upgraded, rolled back, uninstalled
//! and installed again, with the commands of docs/installation.md, by each version of Helm and on a cluster of its own.
//!
//! The pods of the release run on simulated nodes, so nothing runs in them. The operator runs beside them as a process,
//! with the arguments of the live Deployment and the token of its ServiceAccount. What `helm test` shows here is that its
//! Job is admitted and completes; that its command works with that ServiceAccount is shown by running it.

use std::fs;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    site::{PAGE, Site},
    support::object::{Object, condition},
};

/// A model server, a smaller one, and the policy that scales the smaller one when the other is down.
const SCENE: &str = include_str!("release.yaml");

/// The number of replicas in the specification.
fn replicas(object: &DynamicObject) -> &Value {
    &object.data["spec"]["replicas"]
}

/// What must be the same before and after anything that is done to the release.
async fn journal(incident: &Object) -> Value {
    let incident = incident.get().await;
    assert_eq!(condition(&incident, "Resolved"), Some("False"));
    assert_eq!(incident.data["status"]["changesInForce"], 1);
    json!([
        incident.metadata.uid,
        incident.metadata.finalizers,
        incident.data["spec"],
        incident.data["status"]["changes"]
    ])
}

async fn whole_life(helm: &str) {
    let site = Site::new(helm).await;
    let said = site.follow("Install with Helm").await;
    assert!(said.contains("Firebreak 0.1.0 is installed in namespace firebreak-system"), "{said}");
    assert!(
        said.contains("pod-security.kubernetes.io/enforce=restricted"),
        "the notes ask for the label: {said}"
    );
    assert!(said.contains("Succeeded"), "{said}");
    let running = site.operator().await;
    let as_the_test = "firebreak get --all-namespaces --kubeconfig operator.kubeconfig";
    site.type_in(as_the_test).await;

    // An emergency, and a response that stays in force.
    fs::write(site.clone.join("scene.yaml"), SCENE).expect("a file");
    site.type_in(
        "kubectl create namespace serving
        firebreak check -f scene.yaml | kubectl apply -f -
        kubectl apply -f scene.yaml
        kubectl rollout status deployment/chat -n serving --timeout=60s
        kubectl wait --for=condition=Ready rpol/chat-down -n serving --timeout=60s
        kubectl patch deployment chat -n serving --type=merge -p \
          '{\"spec\":{\"strategy\":{\"type\":\"Recreate\",\"rollingUpdate\":null},\"template\":{\"spec\":{\"nodeSelector\":{\"accelerator\":\"lost\"}}}}}'",
    )
    .await;
    let policy = site.object("firebreak.dev/v1alpha1", "RemediationPolicy", Some("serving"), "chat-down");
    let named =
        |policy: &DynamicObject| policy.data["status"]["activeIncident"]["name"].as_str().map(str::to_owned);
    let opened = policy.wait_until("has an Incident", |policy| named(policy).is_some()).await;
    let incident =
        site.object("firebreak.dev/v1alpha1", "Incident", Some("serving"), &named(&opened).expect("a name"));
    incident.wait_for_condition("Verified", "True").await;
    let small = site.object("apps/v1", "Deployment", Some("serving"), "chat-small");
    assert_eq!(replicas(&small.get().await), 3);
    let before = journal(&incident).await;

    // Other values, and back.
    site.follow("Set values").await;
    assert_eq!(replicas(&site.deployment().get().await), 3);
    let role = site.object("rbac.authorization.k8s.io/v1", "ClusterRole", None, "firebreak");
    assert!(role.get().await.data["rules"].to_string().contains("sre-bot"));
    drop(running);
    let running = site.operator().await;
    site.follow("Upgrade").await;
    assert_eq!(replicas(&site.deployment().get().await), 3, "the values are kept");
    site.type_in("helm rollback firebreak 1 --namespace firebreak-system --wait").await;
    assert_eq!(replicas(&site.deployment().get().await), 2);
    assert!(!role.get().await.data["rules"].to_string().contains("sre-bot"));
    site.follow("Roll back").await;
    assert_eq!(journal(&incident).await, before, "nothing is lost");

    // Uninstalled in the middle of it.
    drop(running);
    site.follow("Uninstall").await;
    let gone = "kubectl get -n firebreak-system -o name deploy,svc,pdb,networkpolicy,role,rolebinding,resourcequota,job
        kubectl get -n firebreak-system -o name --ignore-not-found serviceaccount firebreak
        kubectl get -o name clusterrole,clusterrolebinding,flowschema,prioritylevelconfiguration | grep firebreak || :";
    let left = site.type_in(gone).await;
    assert!(!left.contains('/'), "{left}");
    let left = site
        .type_in("kubectl get crd,validatingadmissionpolicy,validatingadmissionpolicybinding -o name")
        .await;
    for name in [
        "crd.apiextensions.k8s.io/incidents.firebreak.dev",
        "remediationpolicies.firebreak.dev",
        "validatingadmissionpolicy.admissionregistration.k8s.io/status.firebreak.dev",
        "validatingadmissionpolicybinding.admissionregistration.k8s.io/decisions.firebreak.dev",
    ] {
        let name = name.replace("crd.", "customresourcedefinition.");
        assert!(left.contains(&name), "{name} is gone: {left}");
    }
    assert_eq!(journal(&incident).await, before, "nothing is lost");
    assert_eq!(replicas(&small.get().await), 3);

    // Installed again, it continues.
    site.follow("Install with Helm").await;
    let _running = site.operator().await;
    site.type_in("firebreak brake on --withdraw-all").await;
    assert_eq!(condition(&incident.get().await, "Resolved"), Some("True"), "{incident}");
    assert_eq!(replicas(&small.get().await), 1, "as before the emergency");
}

#[tokio::test]
async fn nothing_is_lost_over_the_life_of_a_release_of_helm_3() {
    whole_life("helm").await;
}

#[tokio::test]
async fn nothing_is_lost_over_the_life_of_a_release_of_helm_4() {
    whole_life("helm4").await;
}

/// Helm takes over what kubectl has installed, and the page says with which flags.
#[tokio::test]
async fn a_release_takes_over_what_kustomize_has_installed() {
    for (helm, more) in [("helm", ""), ("helm4", "--force-conflicts")] {
        let site = Site::new(helm).await;
        site.follow("Install without Helm").await;
        site.type_in("kubectl create namespace serving && kubectl get rpol,inc -A").await;
        let uid = site.deployment().get().await.metadata.uid;
        let page = PAGE.split("\n## Change from Kustomize to Helm").nth(1).expect("the heading");
        let command =
            page.split("```sh\n").nth(1).and_then(|rest| rest.split('\n').next()).expect("a command");
        assert!(page.contains(more));
        site.type_in(&format!("{command} {more}")).await;
        let taken = site.deployment().get().await;
        assert_eq!(taken.metadata.uid, uid, "not created again");
        let labels = taken.metadata.labels.unwrap_or_default();
        assert_eq!(labels.get("app.kubernetes.io/managed-by").map(String::as_str), Some("Helm"));
        site.follow("Uninstall").await;
        site.deployment().wait_until_gone().await;
    }
}
