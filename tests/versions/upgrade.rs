//! The earlier release runs, with an Incident in every state; this one takes over and ends all of them.

use std::collections::BTreeSet;

use http::Method;
use kube::{ResourceExt, api::DynamicObject};
use serde_json::json;

use crate::{
    drill::{self, Drill, SpecWrites, heartbeats, is_stalled, spec_writes},
    release::{Cluster, new_operator, old_operator},
    scenes::{self, Response, decide},
    support::{
        object::{Object, Snapshot},
        proxy::Exchange,
    },
};

#[tokio::test]
async fn an_upgrade_continues_and_ends_incidents_of_every_phase() {
    let cluster = Cluster::of_the_old_release().await;
    let drill = Drill::new("upgrade").await;
    let models = drill.models(1).await;
    let old = old_operator(drill.world.operator(), "old").start().await;
    let policy =
        drill.policy_with(|spec| drill::targets(spec)["names"] = json!([models.objects[0].name()])).await;
    let mitigated = drill.respond(&policy).await;
    let responses = scenes::at_a_standstill(&drill, &old).await;
    let phases: BTreeSet<String> = drill.incidents().await.iter().map(phase).collect();
    let all = ["AwaitingApproval", "Held", "Monitoring", "Remediating", "Resolved", "Reverting", "Verifying"];
    assert_eq!(phases, all.map(str::to_owned).into(), "all but Open, which lasts for a moment");

    cluster.upgrade(&responses[0].policy).await;
    let new = new_operator(drill.world.operator(), "new").start().await;
    heartbeats(&new, 1).await;
    for response in &responses {
        let incident = incident_of(&drill, response).await;
        end(response, &incident).await;
    }
    drill.hush().await;
    resolved(&mitigated, "Recovered").await;
    models.assert_reverted().await;
    let records = [old.proxy.record(), new.proxy.record()];
    for response in &responses {
        for (target, before) in response.targets.iter().zip(&response.before) {
            assert_reverted(target, before).await;
            assert_eq!(spec_writes(&records, target.name()), writes(target.name()), "{target}");
        }
    }
    let deletes = |done: &&Exchange| {
        done.call.method == Method::DELETE && done.call.target.resource == "pods" && done.was_applied()
    };
    let deleted: usize = records.iter().map(|record| record.all().iter().filter(deletes).count()).sum();
    assert_eq!(deleted, 1, "the pod that was in the way");
    assert_eq!(drill.incidents().await.len(), responses.len() + 1, "no other Incident was opened");
}

fn phase(incident: &DynamicObject) -> String {
    incident.data["status"]["phase"].as_str().unwrap_or_default().to_owned()
}

async fn incident_of(drill: &Drill, response: &Response) -> Object {
    let mut incidents = drill.incidents().await;
    incidents.retain(|incident| incident.data["spec"]["policyRef"]["name"] == response.name);
    assert_eq!(incidents.len(), 1, "{}", response.name);
    drill.world.incident(&incidents[0].name_any())
}

/// What each of them waited for happens.
async fn end(response: &Response, incident: &Object) {
    let is_held = |reason: &'static str| move |incident: &DynamicObject| is_stalled(incident, reason);
    match response.name {
        "closed" => {
            let closed = incident.get().await;
            assert_eq!(closed.data["status"]["format"], json!(null), "{incident}: it was written again");
        }
        "waiting" => {
            response.hush().await;
            let is_free = |policy: &DynamicObject| policy.data["status"].get("waitingFor").is_none();
            response.policy.wait_until("waits no more", is_free).await;
        }
        "reverting" => resolved(incident, "Recovered").await,
        "open" => {
            let late = |incident: &DynamicObject| {
                let changes = incident.data["status"]["changes"].as_array().cloned().unwrap_or_default();
                let theirs = changes.iter().filter(|change| change["target"]["name"] == "open-2");
                theirs
                    .filter(|change| ["Applied", "Verified"].map(|one| json!(one)).contains(&change["state"]))
                    .count()
                    == 2
            };
            incident.wait_until("both steps have changed the third model", late).await;
            recovers(response, incident).await;
        }
        "unclear" => recovers(response, incident).await,
        "approval" => {
            let waiting = incident.wait_until("waits", is_held("ApprovalRequired")).await;
            let plan = waiting.data["status"]["steps"][0]["planHash"].clone();
            let approval = json!([{"step": "cpu-fallback", "planHash": plan, "approvedBy": "alice"}]);
            incident.merge("alice", json!({"spec": {"approvals": approval}})).await;
            recovers(response, incident).await;
        }
        "paused" => {
            incident.wait_until("is paused", is_held("Paused")).await;
            decide(incident, "Active").await;
            recovers(response, incident).await;
        }
        "effect" | "failed" | "unknown" | "pods" => {
            decide(incident, "Withdrawn").await;
            resolved(incident, "Withdrawn").await;
        }
        other => panic!("{other}: how does it end?"),
    }
}

async fn recovers(response: &Response, incident: &Object) {
    incident.wait_for_condition("Mitigated", "True").await;
    response.hush().await;
    resolved(incident, "Recovered").await;
}

async fn resolved(incident: &Object, closing: &str) {
    let resolved = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(resolved.data["status"]["closing"], closing, "{incident}");
    assert_eq!(resolved.data["status"]["changesInForce"], 0, "{incident}");
    assert_eq!(resolved.data["status"]["format"], 3, "{incident}");
}

/// It is as it was before the emergency, with the same owners of its fields.
async fn assert_reverted(target: &Object, before: &DynamicObject) {
    let (mut before, after) = (Snapshot::of(before), target.snapshot().await);
    if target.name() == "closed-1" {
        // Somebody has changed it meanwhile. The earlier release closed the Incident itself, and reverted `enabled` without it.
        before.spec["model"]["quantization"]["precision"] = json!("fp8");
        before.managers.insert("alice/Update".to_owned());
    }
    if target.name() == "open-3" {
        before.annotations.insert("firebreak.dev/exempt".to_owned(), "true".to_owned());
    }
    assert_eq!(after.spec, before.spec, "{target}");
    assert_eq!((&after.labels, &after.annotations), (&before.labels, &before.annotations), "{target}");
    let owners = |managers: BTreeSet<String>| -> Vec<String> {
        managers.into_iter().filter(|manager| !manager.ends_with("/status")).collect()
    };
    assert_eq!(owners(after.managers), owners(before.managers), "{target}");
}

/// How often both releases together have changed this target, and changed it back.
fn writes(target: &str) -> SpecWrites {
    let (applied, returned) = match target {
        // Two steps, and the first one that goes back leaves a record with the other.
        "open-0" | "open-1" | "open-2" => (3, 1),
        // Exempt, refused, and never answered.
        "open-3" | "failed-1" | "unknown-0" => (0, 0),
        _ => (1, 1),
    };
    SpecWrites { applied, returned }
}
