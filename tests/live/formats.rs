//! An operator does not lead over what a newer release has stored, and cannot write over it.

use http::{Method, StatusCode};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    drill::{Drill, change_in, heartbeats},
    support::{
        manifest,
        object::{Object, Snapshot},
        operator::Operator,
        proxy::{Call, Fault, Rule},
        world::World,
    },
};

/// No release writes it yet.
const NEWER: u16 = 1000;

fn lease(world: &World) -> Object {
    world.object("coordination.k8s.io/v1", "Lease", &world.operator_namespace, "firebreak")
}

/// What a newer release does to an object when it leads.
async fn becomes_newer(object: &Object) {
    object.merge_status("newer", json!({"status": {"format": NEWER}})).await;
}

async fn assert_refuses(operator: &Operator, object: &Object) {
    assert_eq!(operator.exit_status().await.code(), Some(3), "{}", operator.log());
    let log = operator.log();
    let said = format!("a newer release of Firebreak wrote the status of {}", called(object));
    assert!(log.contains(&said) && log.contains("run the newer release"), "{said}: not in\n{log}");
    let note = object.wait_for_event("NewerFormat").await;
    assert!(note.contains("it has format 1000"), "{note}");
}

fn called(object: &Object) -> String {
    format!("{} {}", object.kind(), object.name())
}

#[tokio::test]
async fn a_leader_that_meets_a_newer_incident_ends_and_leaves_the_lease_to_a_newer_release() {
    let drill = Drill::new("format-lead").await;
    let models = drill.models(1).await;
    let operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    let format = |object: &kube::api::DynamicObject| object.data["status"]["format"].clone();
    assert_eq!(format(&incident.get().await), json!(3), "{incident}");
    assert_eq!(format(&policy.get().await), json!(3), "{policy}");

    becomes_newer(&incident).await;
    assert_refuses(&operator, &incident).await;
    let newer = incident.get().await;
    assert_eq!(change_in(&newer, "cpu-fallback", "model-0")["state"], "Verified", "{incident}");
    assert_eq!(format(&newer), json!(NEWER), "{incident}");
    let holder = lease(&drill.world).get().await.data["spec"]["holderIdentity"].clone();
    assert!(holder.is_null() || holder == "", "held by {holder}");

    // It starts again, as the kubelet would start it, while the emergency ends.
    drill.hush().await;
    let model: Snapshot = models.objects[0].snapshot().await;
    operator.restart();
    assert_refuses(&operator, &incident).await;
    assert_eq!(incident.get().await.metadata.resource_version, newer.metadata.resource_version);
    assert_eq!(models.objects[0].snapshot().await, model, "nothing was reverted");
}

#[tokio::test]
async fn what_starts_beside_a_newer_policy_never_takes_the_lease() {
    let drill = Drill::new("format-start").await;
    let policy = drill.apply_policy(|_| {}).await;
    becomes_newer(&policy).await;
    let stored = policy.get().await;
    let operator = drill.world.operator().start().await;
    assert_refuses(&operator, &policy).await;
    assert!(lease(&drill.world).find().await.is_none(), "it led");
    assert_eq!(policy.get().await.metadata.resource_version, stored.metadata.resource_version, "{policy}");
}

fn lists_incidents(call: &Call) -> bool {
    call.method == Method::GET && call.target.resource == "incidents" && call.target.name.is_empty()
}

/// For example without rights in one of the namespaces that it watches: it continues what is in the others.
#[tokio::test]
async fn what_cannot_be_listed_keeps_nobody_from_leading_until_it_is_seen() {
    let drill = Drill::new("format-list").await;
    let incident = drill.open("by-hand", json!({"policyRef": {"name": "drill"}})).await;
    becomes_newer(&incident).await;
    let stored = incident.get().await;
    let operator = drill.world.operator().start().await;
    assert_refuses(&operator, &incident).await;

    operator.proxy.on(Rule::each(lists_incidents, Fault::answer(403)));
    operator.restart();
    operator.wait_for_metric("leader_election_master_status{name=\"firebreak\"}", 1.0).await;
    heartbeats(&operator, 1).await;
    operator.proxy.forget_rules();
    assert_eq!(operator.exit_status().await.code(), Some(3), "{}", operator.log());
    assert_eq!(
        incident.get().await.metadata.resource_version,
        stored.metadata.resource_version,
        "{incident}"
    );
}

/// A release that knows no format writes a status without one, and a known older release an older one.
#[tokio::test]
async fn the_api_server_accepts_no_status_with_an_older_format() {
    let drill = Drill::new("format-rule").await;
    let policy = drill.apply_policy(|_| {}).await;
    let incident = drill.open("by-hand", json!({"policyRef": {"name": "drill"}})).await;
    for object in [&policy, &incident] {
        let status = |format: Value| json!({"status": {"format": format}});
        object.merge_status("older", status(Value::Null)).await;
        becomes_newer(object).await;
        for format in [Value::Null, json!(1), json!(NEWER - 1)] {
            let api = manifest::api(&drill.world.client, object.resource(), Some(&drill.world.a));
            let patch = Patch::Merge(status(format.clone()));
            let answer = api.patch_status(object.name(), &PatchParams::default(), &patch).await;
            let Err(kube::Error::Api(refused)) = answer else { panic!("{object}: {format} was accepted") };
            assert_eq!(refused.code, StatusCode::UNPROCESSABLE_ENTITY.as_u16(), "{object}: {format}");
            assert!(
                refused.message.contains("a newer release of Firebreak wrote this status"),
                "{refused:?}"
            );
        }
        object.merge_status("newest", status(json!(NEWER + 1))).await;
    }
}
