//! A plan that a guardrail holds is carried out after a person has approved it.

use serde_json::json;

use crate::{
    drill::{Drill, is_stalled, message_of},
    support::object::Object,
};

/// Approves the plan that waits for this reason, with kubectl alone.
async fn approve(incident: &Object, reason: &str) -> String {
    let asking = incident.wait_until(reason, |incident| is_stalled(incident, reason)).await;
    let plan = asking.data["status"]["steps"][0]["planHash"].as_str().expect("a plan").to_owned();
    let approval = json!({"step": "cpu-fallback", "planHash": plan, "approvedBy": "alice"});
    incident.merge("alice", json!({"spec": {"approvals": [approval]}})).await;
    message_of(&asking, "Stalled").to_owned()
}

#[tokio::test]
async fn more_targets_than_allowed_and_what_a_suspect_detector_asks_for_wait_for_an_approval() {
    let drill = Drill::new("s20-guardrails").await;
    let first = drill.models_named(&["model-0", "model-1"]).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill.policy_with(|spec| spec["guardrails"]["maxTargets"] = json!(1)).await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let said = approve(&incident, "TooManyTargets").await;
    assert!(said.contains("2 object(s), and guardrails.maxTargets is 1"), "{said}");
    first.wait_until_fallen().await;

    // Everything that the rule reads looks sick: no further target is changed on that basis alone.
    let wary = json!({"maxTargets": 100, "suspectDetectorAbovePercent": 80});
    policy.merge("flux", json!({"spec": {"guardrails": wary}})).await;
    incident
        .wait_until("it follows the new policy", |incident| {
            incident.data["status"]["policy"]["generation"] == 2
        })
        .await;
    let late = drill.models_named(&["late"]).await;
    let said = approve(&incident, "DetectorSuspect").await;
    assert!(said.contains("reports 1 of 1 as sick"), "{said}");
    late.wait_until_fallen().await;
    drill.recover(&incident).await;
    first.assert_reverted().await;
    late.assert_reverted().await;
}
