//! Nodes that are not ready are cordoned, and uncordoned exactly.

use serde_json::{Value, json};

use super::{assert_closed, install};
use crate::{
    drill::change_of,
    support::{
        nodes::Nodes,
        object::{Object, Snapshot},
        testbed::repository,
        world::World,
    },
};

/// The taint that the control plane sets on a cordoned node, and removes again.
const TAINT: &str = "node.kubernetes.io/unschedulable";

/// Whether a new node has its addresses, and no taint of one that is not ready yet.
fn is_settled(node: &kube::api::DynamicObject) -> bool {
    let spec = &node.data["spec"];
    let keys = spec["taints"].as_array().into_iter().flatten().filter_map(|taint| taint["key"].as_str());
    let mut passing = keys.filter(|key| key.starts_with("node.kubernetes.io/") && *key != TAINT);
    spec["podCIDRs"].is_array() && passing.next().is_none()
}

/// Nodes of the world, and their state before the emergency.
async fn objects(world: &World, nodes: &Nodes) -> Vec<(Object, Snapshot)> {
    let mut objects = Vec::new();
    for name in nodes.names() {
        let node = Object::new(&world.client, "v1", "Node", None, name);
        node.wait_until("the control plane has finished with it", is_settled).await;
        let before = node.snapshot().await;
        objects.push((node, before));
    }
    objects
}

async fn wait_until_cordoned(node: &Object) {
    node.wait_until("it is cordoned", |node| node.data["spec"]["unschedulable"] == true).await;
}

/// The node is as it was: its spec to the last field, and nothing of Firebreak's is left on it.
async fn assert_uncordoned(node: &Object, before: &Snapshot) {
    // The control plane removes its taint a moment later.
    node.wait_until("its spec is as before", |node| node.data["spec"] == before.spec).await;
    let after = node.snapshot().await;
    assert_eq!(after.traces(), Vec::<&str>::new(), "{node}");
    assert!(!after.managers.iter().any(|manager| manager.starts_with("firebreak/")), "{node}");
}

#[tokio::test]
async fn sick_nodes_are_cordoned_and_uncordoned_exactly_when_they_are_ready() {
    let world = World::new("s17-nodes").await;
    let nodes = world.gpu_nodes(4).await;
    // One is already cordoned, for maintenance.
    let maintained = Object::new(&world.client, "v1", "Node", None, nodes.names()[1]);
    maintained.merge("harness", json!({"spec": {"unschedulable": true}})).await;
    let is_tainted = |node: &kube::api::DynamicObject| node.data["spec"].to_string().contains(TAINT);
    maintained.wait_until("it is tainted", is_tainted).await;
    let objects = objects(&world, &nodes).await;
    let _operator = world.operator().start().await;
    let policy = install(&world, "nodes", "sick-nodes").await;

    nodes.some(0..2).fail().await;
    let incident = world.incident_of(&policy).await;
    wait_until_cordoned(&objects[0].0).await;
    let open = incident
        .wait_until("the change is recorded", |incident| {
            change_of(incident, nodes.names()[0])["state"] == "Applied"
        })
        .await;
    let change = change_of(&open, nodes.names()[0]);
    assert_eq!(change["target"]["namespace"], Value::Null, "{incident}");
    assert_eq!(change["fields"][0]["path"], "/spec/unschedulable", "{incident}");
    assert_eq!((&change["fields"][0]["before"], &change["fields"][0]["after"]), (&Value::Null, &json!(true)));

    nodes.some(0..2).recover().await;
    assert_closed(&incident, "Recovered").await;
    for (node, before) in &objects {
        assert_uncordoned(node, before).await;
    }
    assert_eq!(maintained.get().await.data["spec"]["unschedulable"], true, "{maintained}");
}

#[tokio::test]
async fn a_node_that_somebody_uncordons_stays_so_and_undo_needs_no_operator() {
    let world = World::new("s17-cordons").await;
    let nodes = world.gpu_nodes(4).await;
    let objects = objects(&world, &nodes).await;
    let operator = world.operator().start().await;
    let policy = install(&world, "nodes", "sick-nodes").await;
    nodes.some(0..2).fail().await;
    let incident = world.incident_of(&policy).await;
    for (node, _) in &objects[..2] {
        wait_until_cordoned(node).await;
    }
    let [mine, theirs] = [&objects[0], &objects[1]];
    theirs.0.merge("alice", json!({"spec": {"unschedulable": null}})).await;
    let is_ceded = |incident: &kube::api::DynamicObject| {
        change_of(incident, theirs.0.name())["fields"][0]["cededTo"].is_string()
    };
    incident.wait_until("it is left to its person", is_ceded).await;
    assert_eq!(theirs.0.get().await.data["spec"]["unschedulable"], Value::Null, "{}", theirs.0);

    operator.stop().await;
    let undone = world.firebreak(&["undo", &format!("node/{}", mine.0.name())]).await;
    assert!(undone.status.success(), "{}", String::from_utf8_lossy(&undone.stderr));
    nodes.some(0..2).recover().await;
    assert_uncordoned(&mine.0, &mine.1).await;
}

#[tokio::test]
async fn check_prints_a_cluster_role_for_nodes_and_nothing_for_namespaces() {
    let world = World::new("s17-check").await;
    let file = repository().join("examples/nodes/sick-nodes.yaml");
    let checked = world.firebreak(&["check", "-f", &file.display().to_string()]).await;
    let printed = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{printed}");
    assert!(printed.contains("kind: ClusterRole\n"), "{printed}");
    let nodes =
        printed.split("- nodes").nth(1).and_then(|rest| rest.split("apiGroups").next()).unwrap_or_default();
    for verb in ["get", "list", "watch", "patch"] {
        assert!(nodes.contains(&format!("- {verb}\n")), "{verb} of nodes in {printed}");
    }
    assert!(!printed.contains("namespaces"), "{printed}");
}
