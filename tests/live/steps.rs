//! The ladder: a step that fails, one that does not help, and objects that someone else holds.

use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, Models, change_of, heartbeats, is_stalled, message_of},
    support::{
        object::condition,
        proxy::{Fault, Rule},
        rights,
    },
};

/// A second step that changes Deployments.
fn with_second_step(spec: &mut Value) {
    let mut second = spec["steps"][0].clone();
    second["name"] = json!("second");
    let targets = &mut second["action"]["cpuFallback"]["targets"];
    targets["apiVersion"] = json!("apps/v1");
    targets["kind"] = json!("Deployment");
    spec["steps"].as_array_mut().expect("a list").push(second);
}

/// A Deployment that runs on a GPU node of the world, and on any node once its accelerator is released.
async fn deployment(drill: &Drill) -> Models {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "gateway", "namespace": drill.world.a},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "gateway"}},
            "template": {"metadata": {"labels": {"app": "gateway"}}, "spec": {
                "nodeSelector": {"nvidia.com/gpu.pool": drill.world.id},
                "tolerations": [{"key": "nvidia.com/gpu.pool", "value": drill.world.id}],
                "containers": [
                    {"name": "main", "image": "example.com/vllm:1", "resources": {"limits": {"nvidia.com/gpu": "1"}}},
                ],
            }},
        },
    });
    let made = drill.world.create("flux", &deployment.to_string()).await;
    made[0].wait_until("it runs", drill::has_rolled_out).await;
    Models::of(made).await
}

#[tokio::test]
async fn a_step_that_fails_is_held_for_a_person_and_the_next_one_does_not_start() {
    let drill = Drill::new("step-failed").await;
    let models = drill.models(2).await;
    let _nodes = drill.world.gpu_nodes(1).await;
    let gateway = deployment(&drill).await;
    let plan = drill.world.operator();
    let operator = drill::QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag)).start().await;
    operator.proxy.on(Rule::each(|call| drill::is_apply(call, "model-0"), Fault::answer(403)));
    let policy = drill
        .policy_with(|spec| {
            with_second_step(spec);
            spec["steps"][0]["retries"] = json!(1);
        })
        .await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let held = incident.wait_until("StepFailed", |incident| is_stalled(incident, "StepFailed")).await;
    assert_eq!(held.data["status"]["phase"], "Held", "{incident}");
    let message = message_of(&held, "Stalled");
    for word in ["cpu-fallback", "model-0", "403", "firebreak withdraw"] {
        assert!(message.contains(word), "{incident}: no {word} in {message:?}");
    }
    incident.wait_for_event("StepFailed").await;
    operator.wait_for_metric("firebreak_steps_total{action=\"cpuFallback\",outcome=\"failed\"}", 1.0).await;
    let sent = operator.proxy.calls().iter().filter(|each| drill::is_apply(&each.call, "model-0")).count();
    assert_eq!(sent, 2, "{incident}: one try and one retry");
    heartbeats(&operator, 5).await;
    gateway.assert_untouched(0).await;

    // The one that succeeded is reverted, the other was never changed.
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    incident.wait_for_condition("Resolved", "True").await;
    models.assert_one_reverted(1, 0).await;
    let (model, before) = (&models.objects[0], &models.before[0]);
    let after = model.snapshot().await;
    assert_eq!((&after.spec, after.generation), (&before.spec, before.generation), "{model}");
    drill::models::assert_no_trace(model, before, &after);
}

#[tokio::test]
async fn a_right_that_is_missed_in_the_middle_of_a_response_is_named() {
    let drill = Drill::new("step-rights").await;
    let models = drill.models(1).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    policy.wait_for_condition("Authorized", "True").await;
    let fewer: Vec<rights::Rule> = drill::rights()
        .into_iter()
        .map(|rule| match rule.resources {
            ["llmdeployments"] => rights::Rule { verbs: &["get", "list", "watch"], ..rule },
            _ => rule,
        })
        .collect();
    drill.world.grant(&drill.world.a, &fewer).await;
    drill.ring().await;
    let refused = policy.wait_for_condition("Authorized", "False").await;
    let lacks = message_of(&refused, "Authorized");
    assert!(lacks.contains("patch llmdeployments"), "{policy}: what is missing is not named: {lacks:?}");
    models.assert_untouched(0).await;
    drill.world.grant(&drill.world.a, &drill::rights()).await;
    policy.wait_for_condition("Authorized", "True").await;
}

#[tokio::test]
async fn a_step_that_does_not_help_is_followed_by_the_next_and_a_ladder_used_up_asks_a_person() {
    let drill = Drill::new("step-ladder").await;
    let models = drill.models(1).await;
    let _nodes = drill.world.gpu_nodes(1).await;
    let gateway = deployment(&drill).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            spec["steps"][0]["verify"] =
                json!({"within": "2s", "checks": [{"cel": {"expression": "signals.alarm.total == 0"}}]});
            with_second_step(spec);
        })
        .await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let held = incident.wait_until("LadderUsedUp", |incident| is_stalled(incident, "LadderUsedUp")).await;
    assert_eq!(
        (&held.data["status"]["phase"], &held.data["status"]["progress"]),
        (&json!("Held"), &json!("2/2"))
    );
    assert_eq!(condition(&held, "Mitigated"), Some("False"), "{incident}");
    let message = message_of(&held, "Stalled");
    assert!(message.contains("firebreak withdraw"), "{incident}: {message:?}");
    let steps = held.data["status"]["steps"].as_array().expect("steps");
    let started = |number: usize| steps[number]["startedAt"].as_str().expect("it has begun").to_owned();
    assert!(started(0) < started(1), "{incident}: both at once");
    assert_eq!(change_of(&held, "gateway")["state"], "Applied", "{incident}");
    // Recovery works in this state.
    drill.recover(&incident).await;
    models.assert_reverted().await;
    let after = gateway.objects[0].snapshot().await;
    assert_eq!(after.spec, gateway.before[0].spec, "gateway: spec");
    assert_eq!(after.traces(), Vec::<&str>::new(), "gateway: traces");
}

#[tokio::test]
async fn what_an_incident_that_is_gone_has_left_is_adopted_and_goes_back_with_the_next() {
    let drill = Drill::new("step-orphan").await;
    let models = drill.models(2).await;
    let operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let first = drill.respond(&policy).await;
    models.wait_until_fallen().await;
    operator.proxy.on(Rule::each(|call| drill::is_return(call, "model-1"), Fault::answer(403)));
    first.delete().await;
    first.wait_until("cannot revert", |incident| is_stalled(incident, "CannotPutBack")).await;
    first.merge("alice", json!({"metadata": {"annotations": {"firebreak.dev/abandon": "true"}}})).await;
    first.wait_until_gone().await;
    operator.proxy.forget_rules();
    let let_go = models.objects[1].wait_for_event("FirebreakLetGo").await;
    assert!(let_go.contains("firebreak undo"), "{let_go}");
    drill.hush().await;
    policy.wait_until("waits no more", |policy| policy.data["status"].get("waitingFor").is_none()).await;

    let next = drill.respond(&policy).await;
    let adopted = next
        .wait_until("model-1 is adopted", |incident| change_of(incident, "model-1")["state"] == "Verified")
        .await;
    let limit = "/spec/resources/limits/nvidia.com~1gpu";
    let fields = change_of(&adopted, "model-1")["fields"].as_array().cloned().unwrap_or_default();
    let limit = fields.iter().find(|field| field["path"] == limit).cloned().unwrap_or_default();
    assert_eq!((&limit["before"], &limit["after"]), (&json!("1"), &json!("0")), "{next}: the oldest before");
    let timeline = adopted.data["status"]["timeline"].to_string();
    assert!(timeline.contains("Adopted") && timeline.contains(first.name()), "{next}: {timeline}");
    drill.recover(&next).await;
    for (model, before) in models.objects.iter().zip(&models.before) {
        let after = model.snapshot().await;
        assert_eq!(after.spec, before.spec, "{model}: spec");
        drill::models::assert_no_trace(model, before, &after);
    }
}

#[tokio::test]
async fn a_larger_share_of_the_targets_than_the_guardrail_allows_is_held_until_it_is_raised() {
    let drill = Drill::new("step-share").await;
    let models = drill.models(3).await;
    let operator = drill::QUICK_HEART.into_iter().fold(drill.world.operator(), |plan, flag| plan.flag(flag));
    let operator = operator.start().await;
    let policy = drill.policy_with(|spec| spec["guardrails"]["maxTargetsPercent"] = json!(50)).await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let held = incident.wait_until("Held", |incident| is_stalled(incident, "TooManyTargets")).await;
    let message = message_of(&held, "Stalled");
    assert!(message.contains("maxTargetsPercent of 50 allows 2 of 3"), "{incident}: {message:?}");
    heartbeats(&operator, 3).await;
    for number in 0..3 {
        models.assert_untouched(number).await;
    }
    policy.merge("alice", json!({"spec": {"guardrails": {"maxTargetsPercent": 100}}})).await;
    incident.wait_for_condition("Mitigated", "True").await;
    models.wait_until_fallen().await;
    drill.recover(&incident).await;
    models.assert_reverted().await;
}
