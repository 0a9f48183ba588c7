//! Where the scheduler puts the operator of the chart, and which share of the API server it gets.

use std::collections::BTreeSet;

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{Api, Client, ResourceExt, api::ListParams, client::Body, config::AuthInfo};
use serde_json::Value;

use crate::site::Site;

const INSTALL: &str = "helm upgrade --install firebreak charts/firebreak --namespace firebreak-system --create-namespace --wait";

/// Cordons nodes, lets the Deployment start new pods, and returns the nodes of these.
async fn nodes_without(site: &Site, cordoned: &str) -> Vec<String> {
    // Another value makes other pods.
    let new = format!("--set-string podAnnotations.cordoned={}", cordoned.replace(' ', "-"));
    site.type_in(&format!(
        "{cordon}
        {INSTALL} {new}",
        cordon = if cordoned.is_empty() { String::new() } else { format!("kubectl cordon {cordoned}") },
    ))
    .await;
    let mut nodes: Vec<String> = pods(site).await.into_iter().filter_map(|pod| pod.spec?.node_name).collect();
    nodes.sort();
    nodes
}

/// The pods of the operator that are not being deleted.
async fn pods(site: &Site) -> Vec<Pod> {
    let api: Api<Pod> = Api::namespaced(site.client.clone(), "firebreak-system");
    let ours = ListParams::default().labels("app.kubernetes.io/name=firebreak");
    let all = api.list(&ours).await.expect("pods can be listed").items;
    all.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect()
}

#[tokio::test]
async fn the_replicas_are_apart_and_off_accelerators_if_they_can_be() {
    let site = Site::new("helm").await;
    site.type_in("kubectl label node node-0 node-1 node-2 node-3 nvidia.com/gpu.present=true").await;
    let nodes = nodes_without(&site, "").await;
    assert_eq!(nodes, ["node-4", "node-5"], "apart, and on the nodes without accelerators");

    let apart = |nodes: &[String]| nodes.iter().collect::<BTreeSet<_>>().len() == 2;
    let nodes = nodes_without(&site, "node-4").await;
    assert!(nodes.contains(&"node-5".to_owned()), "{nodes:?}");
    assert!(apart(&nodes), "apart, if need be on accelerators: {nodes:?}");

    let nodes = nodes_without(&site, "node-4 node-5").await;
    assert!(apart(&nodes), "only accelerators are left: {nodes:?}");
    assert!(nodes.iter().all(|node| node.as_str() < "node-4"), "{nodes:?}");

    let nodes = nodes_without(&site, "node-0 node-1 node-2 node-4 node-5").await;
    assert_eq!(nodes, ["node-3", "node-3"], "the only node that is left runs both");
}

#[tokio::test]
async fn a_replica_leaves_a_node_that_is_not_ready_after_half_a_minute() {
    let site = Site::new("helm").await;
    site.type_in(INSTALL).await;
    let before = pods(&site).await;
    let node_of = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).expect("a node");
    let lost = node_of(&before[0]);
    let gone = site.object("v1", "Pod", Some("firebreak-system"), &before[0].name_any());
    site.type_in(&format!("kubectl label node {lost} node-not-ready.stage.kwok.x-k8s.io=true")).await;
    let node = site.object("v1", "Node", None, &lost);
    let taint = |node: &kube::api::DynamicObject| -> Option<Timestamp> {
        let taints = node.data["spec"]["taints"].as_array()?;
        let evicts =
            |taint: &&Value| taint["key"] == "node.kubernetes.io/not-ready" && taint["effect"] == "NoExecute";
        taints.iter().find(evicts)?["timeAdded"].as_str()?.parse().ok()
    };
    let tainted = node.wait_until("is tainted", |node| taint(node).is_some()).await;
    gone.wait_until_gone().await;
    site.type_in("kubectl rollout status deployment/firebreak --namespace firebreak-system --timeout=60s")
        .await;
    let after = pods(&site).await;
    let (stayed, new): (Vec<_>, Vec<_>) = after.iter().partition(|pod| pod.uid() == before[1].uid());
    assert_eq!((stayed.len(), new.len()), (1, 1), "the other replica stays");
    assert_ne!(node_of(new[0]), lost);
    let created = new[0].metadata.creation_timestamp.as_ref().expect("a time").0;
    let seconds = created.as_second() - taint(&tainted).expect("it was there").as_second();
    assert!((29..60).contains(&seconds), "replaced after {seconds} s");
}

#[tokio::test]
async fn the_share_of_the_api_server_is_for_the_operator_and_the_responders_of_listed_namespaces() {
    let site = Site::new("helm").await;
    site.type_in(&format!("{INSTALL} --set 'flowControl.responderNamespaces={{serving}}'")).await;
    let schema = site.object("flowcontrol.apiserver.k8s.io/v1", "FlowSchema", None, "firebreak");
    let is_in_use = |schema: &kube::api::DynamicObject| {
        let conditions = schema.data["status"]["conditions"].as_array();
        conditions
            .is_some_and(|all| all.iter().any(|one| one["type"] == "Dangling" && one["status"] == "False"))
    };
    let uid = schema.wait_until("is in use", is_in_use).await.metadata.uid.expect("a uid");
    let token =
        site.type_in("kubectl create token firebreak --namespace firebreak-system --duration=1h").await;
    let classified = async |user: Option<&str>| {
        let mut config = site.cluster.config().await;
        config.auth_info = AuthInfo {
            token: Some(token.trim().to_owned().into()),
            impersonate: user.map(str::to_owned),
            ..AuthInfo::default()
        };
        let client = Client::try_from(config).expect("a client");
        let request = http::Request::get("/version").body(Body::empty()).expect("a request");
        let answer = client.send(request).await.expect("everybody may ask");
        let header = answer.headers().get("X-Kubernetes-PF-FlowSchema-UID").expect("the header");
        header.to_str().expect("text").to_owned()
    };
    assert_eq!(classified(None).await, uid, "the operator");
    let responder = |namespace: &str| format!("system:serviceaccount:{namespace}:firebreak-responder");
    assert_eq!(classified(Some(&responder("serving"))).await, uid, "a responder");
    assert_ne!(classified(Some(&responder("elsewhere"))).await, uid, "another responder");
}
