//! Which objects a step changes: including those that join late, and excluding those that someone has
//! reason to exclude.

use serde_json::json;

use crate::{
    drill::{self, Drill, Models, change_of, models},
    support::object::Object,
};

/// The Incident says that the object was left alone, with this reason and this message.
async fn assert_skipped(incident: &Object, object: &Object, reason: &str, words: &str) {
    let seen = incident
        .wait_until(&format!("{object} is Skipped"), |incident| {
            change_of(incident, object.name())["state"] == "Skipped"
        })
        .await;
    let change = change_of(&seen, object.name());
    assert_eq!(change["reason"], reason, "{incident}: {object}: {change}");
    let message = change["message"].as_str().unwrap_or_default();
    assert!(message.contains(words), "{incident}: {object}: no {words} in {message:?}");
}

#[tokio::test]
async fn a_target_that_comes_late_joins_and_is_reverted_with_the_others() {
    let drill = Drill::new("joiner").await;
    let first = drill.models_named(&["first"]).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    first.wait_until_fallen().await;

    let late = drill.models_named(&["late"]).await;
    late.wait_until_fallen().await;
    incident
        .wait_until("late is Verified", |incident| change_of(incident, "late")["state"] == "Verified")
        .await;

    drill.recover(&incident).await;
    first.assert_reverted().await;
    late.assert_reverted().await;
}

#[tokio::test]
async fn a_target_whose_owner_firebreak_cannot_change_is_left_alone_and_the_owner_is_named() {
    let drill = Drill::new("owned").await;
    let _nodes = drill.world.gpu_nodes(2).await;
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner", "namespace": drill.world.a}});
    let owner = Models::of(drill.world.create("somebody", &owner.to_string()).await).await;
    let uid = owner.before[0].uid.clone();
    let deployment = |name: &str, owners: serde_json::Value| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": drill.world.a, "ownerReferences": owners},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}}, "spec": {
                    "nodeSelector": {"nvidia.com/gpu.pool": drill.world.id},
                    "tolerations": [{"key": "nvidia.com/gpu.pool", "value": drill.world.id}],
                    "containers": [
                        {"name": "main", "image": "example.com/vllm:1", "resources": {"limits": {"nvidia.com/gpu": "1"}}},
                    ],
                }},
            },
        })
    };
    let owners = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid,
        "controller": true, "blockOwnerDeletion": true,
    }]);
    let mut made = drill.world.create("llm-d-operator", &deployment("owned", owners).to_string()).await;
    made.extend(drill.world.create("flux", &deployment("free", json!([])).to_string()).await);
    for object in &made {
        // Its controller has reported everything.
        object.wait_until("it runs", drill::has_rolled_out).await;
    }
    let free = made.pop().expect("two");
    let owned = Models::of(made).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            let targets = drill::targets(spec);
            targets["apiVersion"] = json!("apps/v1");
            targets["kind"] = json!("Deployment");
        })
        .await;
    let incident = drill.respond(&policy).await;
    assert_skipped(&incident, &owned.objects[0], "OwnedByController", "ConfigMap/owner").await;
    assert_eq!(change_of(&incident.get().await, free.name())["state"], "Verified", "{incident}: {free}");
    drill.recover(&incident).await;
    owned.assert_untouched(0).await;
    owner.assert_untouched(0).await;
}

#[tokio::test]
async fn what_is_exempt_is_never_a_target() {
    let drill = Drill::new("exempt").await;
    let exempt = json!({"metadata": {"annotations": {"firebreak.dev/exempt": "true"}}});
    let good = drill.models_named(&["good"]).await;
    let itself = drill.models_named(&["itself"]).await.objects;
    itself[0].merge("alice", exempt.clone()).await;
    let mut elsewhere = models::document(&drill.world, "elsewhere");
    elsewhere["metadata"]["namespace"] = json!(drill.world.b);
    let elsewhere = drill.world.apply("flux", &elsewhere.to_string()).await;
    let namespace = Object::new(&drill.world.client, "v1", "Namespace", None, &drill.world.b);
    namespace.merge("alice", exempt).await;
    let others = Models::of([itself, elsewhere].concat()).await;

    let _operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    for object in &others.objects {
        assert_skipped(&incident, object, "Exempt", "firebreak.dev/exempt").await;
    }
    drill.recover(&incident).await;
    good.assert_reverted().await;
    for number in 0..others.objects.len() {
        others.assert_untouched(number).await;
    }
}
