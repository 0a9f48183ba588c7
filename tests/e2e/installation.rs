//! The first and the last minute of a release.

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::ResourceExt;

use crate::node::{NAMESPACE, Node, line_of, measured};

/// Installed with the commands of the page, which wait for the probes, and tested with a Job that really runs.
pub async fn the_chart_installs_what_the_image_needs(node: &Node) {
    let said = node.site.follow("Install with Helm").await;
    assert!(said.contains("Succeeded"), "{said}");
    let replicas = node.replicas().await;
    assert_eq!(replicas.len(), 2, "on one node, since there is no other");
    for pod in &replicas {
        let status = pod.status.as_ref().expect("a status");
        let container = &status.container_statuses.as_ref().expect("containers")[0];
        assert!(container.ready, "{container:?}");
        assert_eq!(container.restart_count, 0, "{container:?}");
        is_confined(node.process(pod));
        let memory = node.memory(pod).await;
        let megabytes = |name: &str| memory[name].as_u64().expect("a number") as f64 / 1e6;
        let (resident, working) = (megabytes("rssBytes"), megabytes("workingSetBytes"));
        measured("memory of a replica", format!("{resident:.1} MB resident, {working:.1} MB working set"));
        assert!(working < 64.0, "it fits into its request");
        measured("from the start of the container to Ready", format!("{} s", seconds_to_ready(pod)));
        let log = node.site.type_in(&format!("kubectl logs {} -n {NAMESPACE}", pod.name_any())).await;
        assert!(log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{log}");
    }
}

/// What the security context of the chart says is what the kernel enforces.
fn is_confined(process: u32) {
    assert_eq!(line_of(process, "Uid"), "65532 65532 65532 65532");
    assert_eq!(line_of(process, "Gid"), "65532 65532 65532 65532");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(line_of(process, set), "0000000000000000", "{set}");
    }
    assert_eq!(line_of(process, "NoNewPrivs"), "1");
    assert_eq!(line_of(process, "Seccomp"), "2", "a filter");
    let mounts = std::fs::read_to_string(format!("/proc/{process}/mounts")).expect("mounts");
    let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/")).expect("a root");
    let options = root.split(' ').nth(3).unwrap_or_default();
    assert!(options.split(',').any(|option| option == "ro"), "the root can be written: {root}");
}

/// The API has these times to the second.
fn seconds_to_ready(pod: &Pod) -> i64 {
    let status = pod.status.as_ref().expect("a status");
    let container = &status.container_statuses.as_ref().expect("containers")[0];
    let running = container.state.as_ref().and_then(|state| state.running.as_ref()).expect("it runs");
    let started: Timestamp = running.started_at.as_ref().expect("a time").0;
    let conditions = status.conditions.as_ref().expect("conditions");
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready").expect("a condition");
    ready.last_transition_time.as_ref().expect("a time").0.as_second() - started.as_second()
}

/// Uninstalled with the command of the page.
pub async fn uninstalling_leaves_nothing_that_runs(node: &Node) {
    let replicas = node.replicas().await;
    node.site.follow("Uninstall").await;
    for pod in replicas {
        node.pod(&pod).wait_until_gone().await;
    }
    let left = node
        .site
        .type_in(&format!(
            "kubectl get -n {NAMESPACE} -o name all,pdb,networkpolicy,role,rolebinding,resourcequota
            kubectl get -n {NAMESPACE} -o name --ignore-not-found serviceaccount firebreak
            kubectl get -o name clusterrole,clusterrolebinding,flowschema,prioritylevelconfiguration | grep firebreak || :"
        ))
        .await;
    assert!(!left.contains('/'), "{left}");
}
