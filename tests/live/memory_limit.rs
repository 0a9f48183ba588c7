//! The memory limit of the chart is enough for an emergency with many Incidents and large objects.

use std::fs;

use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, policy_manifest},
    support::{
        cgroup::Cgroup,
        install,
        object::{Object, condition},
        operator::Operator,
    },
};

/// Policies that respond to the same alarm, each with its own target.
const POLICIES: usize = 30;
/// Objects that a signal counts, of 20 kB each, and so 10 MB in all.
const LARGE: usize = 500;

/// The most memory that a process has had, in bytes.
fn peak(operator: &Operator) -> u64 {
    let process = operator.id().expect("it runs");
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// The drill's policy for one model, and a signal that reads large objects.
fn policy(number: usize) -> Value {
    let mut policy = policy_manifest(|spec| {
        let targets = drill::targets(spec);
        targets["names"] = json!([format!("model-{number}")]);
        let large = json!({"name": "large", "objects": {
            "apiVersion": "v1", "kind": "ConfigMap", "selector": {"matchLabels": {"size": "large"}},
            "healthy": "object.data.text != ''",
        }});
        spec["signals"].as_array_mut().expect("a list").push(large);
    });
    policy["metadata"]["name"] = json!(format!("drill-{number}"));
    policy
}

async fn create_large_objects(drill: &Drill) {
    let text = "x".repeat(20_000);
    let map = |number: usize| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": format!("large-{number}"), "namespace": drill.world.a, "labels": {"size": "large"},
            },
            "data": {"text": text},
        })
    };
    for number in 0..LARGE {
        drill.world.create("alice", &map(number).to_string()).await;
    }
}

#[tokio::test]
async fn a_burst_of_incidents_over_large_objects_stays_within_the_limit_of_the_chart() {
    let limit = install::memory_limit();
    let drill = Drill::new("memory").await;
    let models = drill.models(POLICIES).await;
    create_large_objects(&drill).await;
    // If this machine lets nobody create one, only what the process has used shows that the limit is enough.
    let cgroup = Cgroup::limited_to(limit);
    let plan = drill.world.operator();
    let plan = if let Some(cgroup) = &cgroup { plan.within(cgroup) } else { plan };
    let operator = plan.start().await;
    let mut policies: Vec<Object> = Vec::new();
    for number in 0..POLICIES {
        policies.extend(drill.world.apply("flux", &policy(number).to_string()).await);
    }
    for policy in &policies {
        policy.wait_for_condition("Ready", "True").await;
    }
    drill.ring().await;
    models.wait_until_fallen().await;
    let in_the_burst = peak(&operator);
    // The lists are read again, with all Incidents open.
    operator.restart();
    drill.hush().await;
    for policy in &policies {
        policy.wait_until("no Incident", |policy| policy.data["status"]["activeIncident"].is_null()).await;
    }
    models.assert_reverted().await;
    let incidents = drill.incidents().await;
    assert_eq!(incidents.len(), POLICIES);
    assert!(incidents.iter().all(|incident| condition(incident, "Resolved") == Some("True")));

    let used = in_the_burst.max(peak(&operator));
    assert!(used < limit, "{used} bytes of {limit}");
    if let Some(cgroup) = &cgroup {
        assert_eq!(cgroup.kills(), 0, "the kernel has killed the operator");
        assert!(operator.is_running());
        assert!(cgroup.peak() <= limit);
    }
}
