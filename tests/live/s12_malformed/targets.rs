//! Steps without targets, with too many targets, or with nothing to change in them.

use futures::{StreamExt, stream};
use serde_json::json;

use super::Response;
use crate::{
    drill::{
        self, Drill, Models, change_of, heartbeats, is_stalled, message_of, models, policy_manifest, targets,
    },
    support::object::condition,
};

#[tokio::test]
async fn an_unknown_kind_of_target_is_named_and_the_good_policy_beside_it_responds() {
    let response = Response::prepare("s12-kind").await;
    let mut unknown = policy_manifest(|spec| {
        *targets(spec) = json!({"apiVersion": "example.com/v1", "kind": "Unicorn", "where": "true"});
    });
    unknown["metadata"]["name"] = json!("unicorns");
    let unknown = response.drill.world.apply("mallory", &unknown.to_string()).await.remove(0);
    let refused = unknown.wait_for_condition("Accepted", "False").await;
    for type_ in ["Accepted", "Ready", "Stalled"] {
        let message = message_of(&refused, type_);
        for word in ["spec.steps[0].action.cpuFallback.targets", "example.com/v1", "Unicorn"] {
            assert!(message.contains(word), "{unknown}: {type_}: no {word} in {message:?}");
        }
    }
    let incident = response.drill.respond(&response.policy).await;
    response.end(&incident, &Models::of(Vec::new()).await).await;
    response.drill.assert_one_resolved_incident().await;
}

#[tokio::test]
async fn a_target_without_any_of_the_fields_is_left_alone_and_counted() {
    let response = Response::prepare("s12-fields").await;
    let mut bare = Vec::new();
    for (name, spec) in [
        ("empty", json!({})),
        ("no-accelerator", json!({"resources": {"limits": {"memory": "1Gi"}}, "model": {}})),
        ("already-zero", json!({"resources": {"limits": {"nvidia.com/gpu": 0}}})),
        ("wrong-shape", json!({"resources": [], "model": "chat", "nodeSelector": null})),
    ] {
        let mut model = models::document(&response.drill.world, name);
        model["spec"] = spec;
        bare.extend(response.drill.world.create("flux", &model.to_string()).await);
    }
    let bare = Models::of(bare).await;
    let incident = response.drill.respond(&response.policy).await;
    let counts = incident.get().await.data["status"]["steps"][0]["targets"].clone();
    assert_eq!((&counts["matched"], &counts["nothingToDo"]), (&json!(5), &json!(4)), "{incident}: {counts}");
    response.end(&incident, &bare).await;
}

#[tokio::test]
async fn more_targets_than_the_guardrail_allows_are_left_alone_until_their_plan_is_approved() {
    let drill = Drill::new("s12-many").await;
    let world = &drill.world;
    let made: Vec<_> = stream::iter(0..300)
        .map(|number| async move {
            let model = models::document(world, &format!("model-{number}"));
            let model = world.create("flux", &model.to_string()).await.remove(0);
            models::serve(&model).await;
            model
        })
        .buffered(8)
        .collect()
        .await;
    let all = Models::of(made).await;
    let plan = world.operator();
    let operator = drill::QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag)).start().await;
    let policy = drill.policy_with(|spec| spec["guardrails"] = json!({"maxTargets": 100})).await;
    drill.ring().await;
    let incident = world.incident_of(&policy).await;
    let held = incident.wait_until("Held", |incident| is_stalled(incident, "TooManyTargets")).await;
    assert_eq!(held.data["status"]["phase"], "AwaitingApproval", "{incident}");
    let message = message_of(&held, "Stalled");
    for word in ["300", "100", "maxTargets", "firebreak approve", "withdraw"] {
        assert!(message.contains(word), "{incident}: no {word} in {message:?}");
    }
    heartbeats(&operator, 5).await;
    for number in 0..all.objects.len() {
        all.assert_untouched(number).await;
    }

    // A person approves the plan, which is carried out in more than one batch.
    let plan = &held.data["status"]["steps"][0]["planHash"];
    let approval = json!({"step": "cpu-fallback", "planHash": plan, "approvedBy": "alice"});
    incident.merge("alice", json!({"spec": {"approvals": [approval]}})).await;
    incident.wait_for_condition("Mitigated", "True").await;
    all.wait_until_fallen().await;
    drill.recover(&incident).await;
    all.assert_reverted().await;
}

#[tokio::test]
async fn a_where_that_cannot_be_answered_is_no_target_and_says_so() {
    let response = Response::prepare_with("s12-where", |spec| {
        targets(spec)["where"] = json!("object.spec.model.quantization.precision == 'fp16'");
    })
    .await;
    let mut model = models::document(&response.drill.world, "without-model");
    model["spec"].as_object_mut().expect("a map").remove("model");
    let others = Models::of(response.drill.world.create("flux", &model.to_string()).await).await;
    let incident = response.drill.respond(&response.policy).await;
    assert!(change_of(&incident.get().await, "without-model").is_null(), "{incident}: it is no target");
    response.end(&incident, &others).await;
    assert_eq!(condition(&response.policy.get().await, "Accepted"), Some("True"), "{}", response.policy);
}
