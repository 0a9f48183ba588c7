//! The requests of the operator to the API server for each object that it changes.

use std::{collections::BTreeMap, time::Duration};

use super::{numbers::Table, scene};
use crate::support::{
    object::Object,
    proxy::{Call, Exchange, Proxy},
    world::World,
};

const TARGETS: [usize; 3] = [1, 10, 40];
const STEADY: Duration = Duration::from_secs(30);

/// The requests of one phase, by type.
struct Tally {
    part: &'static str,
    counts: BTreeMap<&'static str, usize>,
}

/// One table, with a column for each number of targets.
pub async fn measure() -> String {
    let mut tallies = Vec::new();
    for targets in TARGETS {
        eprintln!("{targets} targets");
        tallies.push(story(targets).await);
    }
    let columns = TARGETS.map(|targets| format!("{targets} targets"));
    let columns = ["part", "requests", &columns[0], &columns[1], &columns[2]];
    let mut table = Table::new("Requests, as the recording proxy saw them", &columns);
    for (at, part) in tallies[0].iter().enumerate() {
        let mut kinds: Vec<&str> =
            tallies.iter().flat_map(|story| story[at].counts.keys().copied()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            let count = |story: &Vec<Tally>| story[at].counts.get(kind).copied().unwrap_or_default();
            let cells = tallies.iter().map(|story| count(story).to_string());
            table.row([part.part.to_owned(), kind.to_owned()].into_iter().chain(cells));
        }
    }
    table.to_string()
}

async fn story(targets: usize) -> Vec<Tally> {
    let world = World::new("calls").await;
    scene::grant(&world).await;
    let node = scene::nodes(&world, 0, 1).await.remove(0);
    let _pulse = scene::pulse(&world, &node).await;
    scene::models(&world, targets).await;
    let operator = world.operator().log("info").start().await;
    scene::wait_until_leading(&operator).await;
    let policy = scene::respond(&world).await;
    let mut tallies = Vec::new();
    let mut mark = 0;
    let mut tally = |part| {
        let calls = operator.proxy.calls();
        let counts = count(&calls[mark..]);
        mark = calls.len();
        tallies.push(Tally { part, counts });
    };

    quiet(&operator.proxy).await;
    tally("start");
    tokio::time::sleep(STEADY).await;
    tally("30 s, no Incident");

    node.merge_status("bench", scene::ready("False", "lost")).await;
    let incident = world.incident_of(&policy).await;
    let in_force = |object: &kube::api::DynamicObject| object.data["status"]["changesInForce"] == targets;
    incident.wait_until("all changes are in force", in_force).await;
    quiet(&operator.proxy).await;
    tally("apply");
    tokio::time::sleep(STEADY).await;
    tally("30 s, changes in force");

    node.merge_status("bench", scene::ready("True", "back")).await;
    incident.wait_for_condition("Resolved", "True").await;
    no_incident(&policy).await;
    quiet(&operator.proxy).await;
    tally("revert");
    tallies
}

async fn no_incident(policy: &Object) {
    policy.wait_until("no Incident", |object| object.data["status"]["activeIncident"].is_null()).await;
}

/// Waits until there was no request for three seconds, except for leases and watches.
async fn quiet(proxy: &Proxy) {
    let busy = || proxy.calls().into_iter().filter(|exchange| !is_upkeep(&exchange.call)).collect::<Vec<_>>();
    let mut last = busy().len();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let now = busy();
        if now.len() == last {
            return;
        }
        last = now.len();
    }
    let calls: Vec<String> = busy().iter().rev().take(20).rev().map(ToString::to_string).collect();
    panic!("the operator does not come to rest; its last calls:\n{}", calls.join("\n"));
}

fn is_upkeep(call: &Call) -> bool {
    call.is_watch() || call.target.resource == "leases"
}

fn count(exchanges: &[Exchange]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for exchange in exchanges {
        *counts.entry(kind(&exchange.call)).or_default() += 1;
    }
    counts
}

fn kind(call: &Call) -> &'static str {
    let (resource, name) = (call.target.resource.as_str(), call.target.name.as_str());
    let (mutating, status) = (call.is_mutating(), call.target.subresource == "status");
    match (resource, mutating) {
        ("leases", _) => "lease",
        ("events", _) => "events",
        ("llmdeployments", true) => "**target: write**",
        ("llmdeployments", false) if call.is_watch() => "watch",
        ("llmdeployments", false) if name.is_empty() => "**targets: list**",
        ("llmdeployments", false) => "**target: get**",
        ("incidents", true) if status => "**Incident: status write**",
        ("incidents", true) => "Incident: create, finalizer",
        ("remediationpolicies", true) => "**policy: status write**",
        ("configmaps", false) if name == "firebreak-brake" => "brake: get",
        ("configmaps", _) => "report",
        (_, false) if call.is_watch() => "watch",
        ("incidents" | "remediationpolicies", false) => "Incident, policy: get",
        ("namespaces", false) => "namespace: get",
        (_, false) => "other reads",
        (_, true) if call.is_write() => "**other writes**",
        (_, true) => "reviews",
    }
}
