//! Who leads when the pod or the process of the leader ends.

use std::time::Instant;

use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::{ResourceExt, api::DynamicObject};
use rustix::process::{Pid, Signal, kill_process};

use crate::node::{NAMESPACE, Node, holder, measured, until};

const LEADS: &str = "leader_election_master_status{name=\"firebreak\"} 1";

async fn leads(node: &Node, pod: &Pod) -> bool {
    node.ask(pod, 8080, "/metrics").await.is_ok_and(|text| text.lines().any(|line| line == LEADS))
}

/// It is told to stop, gives the lease back and exits without an error.
pub async fn another_replica_leads_when_the_pod_of_the_leader_is_deleted(node: &Node) {
    let leader = node.leader().await;
    let name = leader.name_any();
    let ending = node.pod(&leader);
    let lease = node.lease();
    let start = Instant::now();
    let command = format!("kubectl delete pod {name} -n {NAMESPACE} --wait=false");
    let deleted = node.site.type_in(&command);
    let has_ended = |pod: &DynamicObject| state_of(pod).is_some_and(|state| state.terminated.is_some());
    // The watch brings every state of the lease, also the one between two holders.
    let mut given_back = false;
    let another = |lease: &DynamicObject| {
        given_back |= holder(lease).is_none();
        holder(lease).is_some_and(|holder| holder != name)
    };
    let took_over = async {
        lease.wait_until("is held by the other replica", another).await;
        measured("from the deletion of the leader to another in the lease", seconds(start));
    };
    let (_, ended, ()) = tokio::join!(deleted, ending.wait_until("has ended", has_ended), took_over);
    assert!(given_back, "the other replica had to wait until the lease expired");
    let ended = state_of(&ended).and_then(|state| state.terminated).expect("it has ended");
    assert_eq!((ended.exit_code, ended.reason.as_deref()), (0, Some("Completed")));
    let next = node.leader().await;
    until("the other replica leads", async || leads(node, &next).await.then_some(())).await;
    ending.wait_until_gone().await;
    measured("from the deletion of the leader to the end of its pod", seconds(start));
    node.site
        .type_in(&format!("kubectl rollout status deployment/firebreak -n {NAMESPACE} --timeout=60s"))
        .await;
}

/// A replica that restarts has the same name, so it does not wait for its own lease.
pub async fn a_leader_that_is_killed_leads_again(node: &Node) {
    let leader = node.leader().await;
    let restarting = node.pod(&leader);
    let process = Pid::from_raw(node.process(&leader).try_into().expect("an id")).expect("an id");
    let start = Instant::now();
    kill_process(process, Signal::KILL).expect("it runs");
    let restarted = |pod: &DynamicObject| {
        let container = &pod.data["status"]["containerStatuses"][0];
        container["restartCount"] == 1 && container["ready"] == true
    };
    let serves = async {
        until("it was restarted and leads", async || leads(node, &leader).await.then_some(())).await;
        measured("from SIGKILL of the leader to the same pod leading again", seconds(start));
    };
    let (pod, ()) = tokio::join!(restarting.wait_until("was restarted", restarted), serves);
    measured("from SIGKILL of the leader to Ready", seconds(start));
    let last: ContainerState =
        serde_json::from_value(pod.data["status"]["containerStatuses"][0]["lastState"].clone())
            .expect("a state");
    assert_eq!(last.terminated.map(|ended| ended.exit_code), Some(137));
    assert_eq!(node.leader().await.uid(), leader.uid());
}

fn state_of(pod: &DynamicObject) -> Option<ContainerState> {
    serde_json::from_value(pod.data["status"]["containerStatuses"][0]["state"].clone()).ok()
}

fn seconds(start: Instant) -> String {
    format!("{:.1} s", start.elapsed().as_secs_f64())
}
