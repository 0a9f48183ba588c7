//! In mode Observe the plan is published and nothing is changed.

use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, change_of, closed, heartbeats, is_stalled, message_of, touches},
    support::object::Object,
};

async fn wait_for_plan(incident: &Object, models: &[Object]) {
    for model in models {
        incident
            .wait_until(&format!("{model} is Planned"), |incident| {
                change_of(incident, model.name())["state"] == "Planned"
            })
            .await;
    }
}

fn observe(spec: &mut Value) {
    // It is the default.
    spec.as_object_mut().expect("a map").remove("mode");
}

#[tokio::test]
async fn observe_publishes_the_plan_and_changes_nothing() {
    let drill = Drill::new("observe").await;
    let models = drill.models(2).await;
    let plan = drill.world.operator();
    let operator = drill::QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag)).start().await;
    let policy = drill.policy_with(observe).await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    wait_for_plan(&incident, &models.objects).await;
    heartbeats(&operator, 5).await;

    let planned = incident.get().await;
    assert_eq!(planned.data["status"]["severity"], "P0", "{incident}");
    assert_eq!(planned.data["status"]["changesInForce"], 0, "{incident}");
    for (number, model) in models.objects.iter().enumerate() {
        let fields = change_of(&planned, model.name())["fields"].as_array().cloned().unwrap_or_default();
        let path = "/spec/resources/limits/nvidia.com~1gpu";
        let limit = fields.iter().find(|field| field["path"] == path).unwrap_or(&Value::Null);
        assert_eq!((&limit["before"], &limit["after"]), (&json!("1"), &json!("0")), "{incident}: {model}");
        models.assert_untouched(number).await;
    }

    drill.hush().await;
    let resolved = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(resolved.data["status"]["closing"], "Recovered", "{incident}");
    for (number, model) in models.objects.iter().enumerate() {
        models.assert_untouched(number).await;
        let tried = operator.proxy.calls().iter().filter(|each| touches(&each.call, model.name())).count();
        assert_eq!(tried, 0, "{model}: writes that were tried");
    }
}

#[tokio::test]
async fn a_policy_that_goes_over_to_enforce_carries_its_plan_out() {
    let drill = Drill::new("observe-enforce").await;
    let models = drill.models(2).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill.policy_with(observe).await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    wait_for_plan(&incident, &models.objects).await;
    policy.merge("alice", json!({"spec": {"mode": "Enforce"}})).await;
    incident.wait_for_condition("Mitigated", "True").await;
    models.wait_until_fallen().await;
    drill.recover(&incident).await;
    models.assert_reverted().await;
}

#[tokio::test]
async fn a_policy_that_goes_back_to_observe_leaves_what_is_in_force_to_a_person() {
    let drill = Drill::new("observe-back").await;
    let models = drill.models(1).await;
    let plan = drill.world.operator();
    let operator = drill::QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag)).start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    policy.merge("alice", json!({"spec": {"mode": "Observe"}})).await;
    let held = incident.wait_until("Held", |incident| is_stalled(incident, "PolicyUnavailable")).await;
    assert!(message_of(&held, "Stalled").contains("Observe"), "{incident}: {}", message_of(&held, "Stalled"));
    drill.hush().await;
    heartbeats(&operator, 8).await;
    assert!(!closed(&incident.get().await), "{incident}: closed by a policy that may change nothing");
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    incident.wait_for_condition("Resolved", "True").await;
    models.assert_reverted().await;
}
