//! What binds pods to nodes with accelerators, and what Firebreak cannot know of it: then it says so, and guesses nothing.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, change_of},
    support::object::Object,
};

/// A Deployment that asks for a GPU. No node has one, and no controller is waited for.
async fn server(drill: &Drill, name: &str, pod: Value) -> Object {
    let mut spec = json!({"containers": [{
        "name": "main", "image": "example.com/vllm-cpu:1", "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }]});
    for (key, value) in pod.as_object().expect("fields") {
        spec[key] = value.clone();
    }
    let manifest = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": drill.world.a},
        "spec": {"replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec}},
    });
    drill.world.create("gitops", &manifest.to_string()).await.remove(0)
}

/// Rings for a policy that falls back from the accelerators of Deployments.
async fn fall_back(drill: &Drill, placement: &str) -> Object {
    let policy = drill
        .policy_with(|spec| {
            *drill::targets(spec) = json!({"apiVersion": "apps/v1", "kind": "Deployment", "where": "true"});
            let fallback = &mut spec["steps"][0]["action"]["cpuFallback"];
            fallback["placement"] = json!(placement);
            fallback.as_object_mut().expect("an action").remove("quantization");
        })
        .await;
    drill.ring().await;
    drill.world.incident_of(&policy).await
}

#[tokio::test]
async fn where_nodes_may_not_be_listed_the_fallback_says_so_and_does_not_guess() {
    let drill = Drill::new("placement-nodes").await;
    // Only a node that does not exist matches what stays. With the right to list nodes, it would be pinned.
    let elsewhere = json!({"nodeSelector": {"nvidia.com/gpu.present": "true", "topology.kubernetes.io/zone": "no-such-zone"}});
    let chat = server(&drill, "chat", elsewhere).await;
    let before = chat.snapshot().await;
    let _operator = drill.world.operator().start().await;
    let incident = fall_back(&drill, "Release").await;
    let is_lent = |incident: &DynamicObject| {
        ["Applied", "Verified"].iter().any(|state| change_of(incident, "chat")["state"] == *state)
    };
    let lent = incident.wait_until("the change is applied", is_lent).await;
    let timeline = lent.data["status"]["timeline"].to_string();
    for words in [
        "topology.kubernetes.io/zone=no-such-zone stays, and it is not known whether a node without accelerators matches it",
        "the nodes cannot be listed",
        "forbidden",
    ] {
        assert!(timeline.contains(words), "{incident}: no {words:?} in {timeline}");
    }
    let during = chat.get().await;
    let selector = &during.data["spec"]["template"]["spec"]["nodeSelector"];
    assert_eq!(*selector, json!({"topology.kubernetes.io/zone": "no-such-zone"}), "{chat}");
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(chat.snapshot().await.spec, before.spec, "{chat}");
}

#[tokio::test]
async fn devices_by_claim_are_named_also_where_the_placement_is_kept() {
    let drill = Drill::new("placement-claims").await;
    let claims = json!({"resourceClaims": [{"name": "devices", "resourceClaimTemplateName": "devices"}]});
    let chat = server(&drill, "chat", claims).await;
    let before = chat.snapshot().await;
    let _operator = drill.world.operator().start().await;
    let incident = fall_back(&drill, "Keep").await;
    let is_left = |incident: &DynamicObject| change_of(incident, "chat")["reason"] == "NotApplicable";
    let left = incident.wait_until("it is left alone", is_left).await;
    let message = change_of(&left, "chat")["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("resourceClaims (DRA)"), "{incident}: {message:?}");
    assert_eq!(chat.snapshot().await.spec, before.spec, "{chat}");
}
