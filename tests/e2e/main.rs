//! Firebreak on a node that is not simulated: a kubelet, containerd and runc run the image, as the chart installs it.
//! `make e2e` runs this, in namespaces of its own, because it needs root (`testbed/isolate.sh`).
//!
//! The other tests run the operator as a process beside the cluster. Here is what only a kubelet does: it starts the
//! operator with the security context, the probes and the limits of the chart, and ends it. The node has one network
//! plugin, which does not enforce a NetworkPolicy, and there is no DNS.
//!
//! One release has one life, so this is one test. Each file is about one part of that life.

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, reason = "a library for tests, of which these use a part")]
#[path = "../real/server.rs"]
mod server;

#[allow(dead_code, reason = "a library for tests, of which these use a part")]
#[path = "../real/site.rs"]
mod site;

mod installation;
mod leadership;
mod node;
mod response;

use node::Node;

#[tokio::test]
async fn a_release_lives_on_a_real_node() {
    let node = Node::start().await;
    installation::the_chart_installs_what_the_image_needs(&node).await;
    leadership::another_replica_leads_when_the_pod_of_the_leader_is_deleted(&node).await;
    leadership::a_leader_that_is_killed_leads_again(&node).await;
    response::pods_roll_and_return(&node).await;
    installation::uninstalling_leaves_nothing_that_runs(&node).await;
}
