//! Responses that the previous release has started are continued and withdrawn by this one, in whatever state they
//! were: nothing is done twice, nothing is forgotten, and every target is at the end what it was at first.

mod restore;

use http::Method;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use self::restore::Restored;
use crate::{
    drill::{change_in, change_of, heartbeats, is_apply, is_stalled, message_of, spec_writes, times},
    support::{
        object::{Object, Snapshot, condition},
        operator::Operator,
        proxy::{Call, Exchange},
    },
};

/// Long enough for the operator to do everything that it wanted to do.
const A_WHILE: usize = 5;

async fn resolved(incident: &Object, closing: &str) -> DynamicObject {
    let resolved = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(resolved.data["status"]["closing"], closing, "{incident}");
    resolved
}

/// The response was recorded as one of this policy, and no other was opened.
async fn assert_one_incident(restored: &Restored) {
    let world = &restored.world;
    let all = world.list("firebreak.dev/v1alpha1", "Incident", &world.a).await;
    let names: Vec<_> = all.iter().filter_map(|incident| incident.metadata.name.as_deref()).collect();
    assert_eq!(names, [restored.incident.name()]);
}

/// It stays Held for the reason for which it was Held, and no target is written.
async fn assert_stays_held(restored: &Restored, operator: &Operator, reason: &str) {
    heartbeats(operator, A_WHILE).await;
    let incident = restored.incident.get().await;
    assert!(is_stalled(&incident, reason), "{}: not {reason}", restored.incident);
    let held = |incident: &DynamicObject| incident.data["status"]["held"]["reason"].clone();
    assert_eq!((held(&incident), held(&restored.stored)), (json!(reason), json!(reason)));
    assert_eq!(incident.data["status"]["phase"], restored.stored.data["status"]["phase"], "{reason}");
    restored.assert_no_target_was_written(&operator.proxy.record()).await;
}

#[tokio::test]
async fn an_open_response_takes_in_its_late_target_and_recovers() {
    let restored = Restored::new("open").await;
    let operator = restored.start().await;
    let late = |incident: &DynamicObject| {
        change_in(incident, "smaller-batch", "open-2")["state"] == "Applied"
            && change_in(incident, "cpu-fallback", "open-2")["state"] == "Verified"
    };
    let seen = restored.incident.wait_until("the third model is changed by both steps", late).await;
    assert_eq!(change_in(&seen, "smaller-batch", "open-2")["round"], 1, "one intent, carried out");
    assert_eq!(condition(&seen, "Verified"), Some("True"));

    // Someone changes a field that one step has changed.
    let drifted = restored.target("open-1");
    drifted.object.merge("alice", json!({"spec": {"model": {"quantization": {"precision": "fp8"}}}})).await;
    restored.ring("no").await;
    resolved(&restored.incident, "Recovered").await;
    restored.target("open-0").assert_reverted(2).await;
    let theirs = |before: &mut Snapshot| {
        // `enabled` stays with it: the two have an effect only together.
        before.spec["model"]["quantization"] = json!({"enabled": true, "precision": "fp8"});
        before.managers.insert("alice/Update".to_owned());
    };
    drifted.assert_reverted_except(3, theirs).await;
    restored.target("open-2").assert_reverted(4).await;
    let exempt = restored.target("open-3");
    assert_eq!(exempt.object.snapshot().await, exempt.stored, "{}", exempt.object);
    let applied = |name: &str| {
        let calls = operator.proxy.calls();
        calls.into_iter().filter(|done| lends(&done.call, name) && done.was_applied()).count()
    };
    assert_eq!(
        (applied("open-0"), applied("open-1"), applied("open-2")),
        (0, 0, 2),
        "applied once by each step"
    );
    assert_one_incident(&restored).await;
}

/// A write that adds a loan to the record: the first one sets our label, and with a later one there are two.
fn lends(call: &Call, name: &str) -> bool {
    let metadata = call.body.as_ref().map_or(&Value::Null, |body| &body["metadata"]);
    let record = metadata["annotations"]["firebreak.dev/undo"].as_str().unwrap_or("null");
    let record: Value = serde_json::from_str(record).expect("JSON");
    let loans = record["loans"].as_array().map_or(0, Vec::len);
    is_apply(call, name) && (metadata["labels"]["firebreak.dev/incident"].is_string() || loans > 1)
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_found_applied_and_not_applied_again() {
    let restored = Restored::new("unclear").await;
    let operator = restored.start().await;
    restored.incident.wait_for_condition("Mitigated", "True").await;
    restored.assert_no_target_was_written(&operator.proxy.record()).await;
    restored.ring("no").await;
    resolved(&restored.incident, "Recovered").await;
    restored.target("unclear-0").assert_reverted(1).await;
    assert_one_incident(&restored).await;
}

#[tokio::test]
async fn a_plan_that_waited_for_an_approval_waits_for_it_and_is_carried_out() {
    let restored = Restored::new("approval").await;
    let operator = restored.start().await;
    assert_stays_held(&restored, &operator, "ApprovalRequired").await;
    let hash = restored.incident.get().await.data["status"]["steps"][0]["planHash"].clone();
    let approval = json!({"step": "cpu-fallback", "planHash": hash, "approvedBy": "alice"});
    restored.decides(json!({"approvals": [approval]})).await;
    restored.incident.wait_for_condition("Mitigated", "True").await;
    restored.ring("no").await;
    resolved(&restored.incident, "Recovered").await;
    for target in &restored.targets {
        target.assert_reverted(2).await;
    }
    assert_one_incident(&restored).await;
}

#[tokio::test]
async fn a_response_that_did_not_help_stays_held_until_it_is_withdrawn() {
    stays_held_until_withdrawn("effect", "LadderUsedUp", 1).await;
}

#[tokio::test]
async fn a_failed_step_stays_held_until_the_response_is_withdrawn_and_its_fence_goes_with_it() {
    let restored = stays_held_until_withdrawn("failed", "StepFailed", 1).await;
    assert!(restored.target("failed-1").stored.annotations.contains_key("firebreak.dev/fence"));
}

#[tokio::test]
async fn a_change_of_which_nobody_knows_stays_held_until_the_response_is_withdrawn() {
    stays_held_until_withdrawn("unknown", "OutcomeUnknown", 0).await;
}

/// Every target with a record is reverted with this many changes of its spec, the others with none.
async fn stays_held_until_withdrawn(name: &str, reason: &str, changes: i64) -> Restored {
    let restored = Restored::new(name).await;
    let operator = restored.start().await;
    assert_stays_held(&restored, &operator, reason).await;
    restored.decides(json!({"response": "Withdrawn", "responseBy": "alice"})).await;
    resolved(&restored.incident, "Withdrawn").await;
    for target in &restored.targets {
        let is_changed = target.stored.annotations.contains_key("firebreak.dev/undo");
        target.assert_reverted(if is_changed { changes } else { 0 }).await;
        let writes = spec_writes(&[operator.proxy.record()], target.object.name());
        assert_eq!((writes.applied, writes.returned), (0, usize::from(is_changed)), "{}", target.object);
    }
    assert_one_incident(&restored).await;
    restored
}

#[tokio::test]
async fn a_paused_response_stays_paused_and_goes_on_when_a_person_says_so() {
    let restored = Restored::new("paused").await;
    let operator = restored.start().await;
    assert_stays_held(&restored, &operator, "Paused").await;
    restored.decides(json!({"response": "Active", "responseBy": "alice"})).await;
    let goes_on = |incident: &DynamicObject| incident.data["status"]["phase"] == "Monitoring";
    let seen = restored.incident.wait_until("goes on", goes_on).await;
    assert_eq!(seen.data["status"]["acknowledgedBy"], "alice", "{}", restored.incident);
    assert_eq!(condition(&seen, "Acknowledged"), Some("True"), "{}", restored.incident);
    restored.ring("no").await;
    resolved(&restored.incident, "Recovered").await;
    for target in &restored.targets {
        target.assert_reverted(1).await;
    }
    assert_one_incident(&restored).await;
}

#[tokio::test]
async fn a_withdrawal_in_waves_goes_on_where_it_stood() {
    let restored = Restored::new("reverting").await;
    let operator = restored.start().await;
    let closed = resolved(&restored.incident, "Recovered").await;
    assert_eq!(closed.data["status"]["relapses"], Value::Null, "{}", restored.incident);
    assert_eq!(times(&closed, "WaveReturned"), 3, "waves of 1, 2 and 2: {}", restored.incident);
    assert_eq!(closed.data["status"]["steps"][0]["approval"]["state"], "Used", "{}", restored.incident);
    for (number, changes) in [0, 0, 1, 1, 1].into_iter().enumerate() {
        let target = restored.target(&format!("reverting-{number}"));
        target.assert_reverted(changes).await;
        let writes = spec_writes(&[operator.proxy.record()], target.object.name());
        let returned = usize::try_from(changes).expect("0 or 1");
        assert_eq!((writes.applied, writes.returned), (0, returned), "{}", target.object);
    }
    assert_one_incident(&restored).await;
}

#[tokio::test]
async fn a_pod_whose_deletion_was_recorded_is_deleted_once() {
    let restored = Restored::new("pods").await;
    let recorded = change_of(&restored.stored, "store")["pods"][0].clone();
    let operator = restored.start().await;
    restored.incident.wait_for_condition("Mitigated", "True").await;
    let deletes = |done: &Exchange| {
        done.call.method == Method::DELETE && done.call.target.resource == "pods" && done.was_applied()
    };
    let deleted: Vec<Exchange> = operator.proxy.calls().into_iter().filter(deletes).collect();
    let uids: Vec<&Value> =
        deleted.iter().filter_map(|done| Some(&done.call.body.as_ref()?["preconditions"]["uid"])).collect();
    assert_eq!(uids, [&recorded["uid"]], "the pod that was recorded, and no other");

    restored.decides(json!({"response": "Withdrawn", "responseBy": "alice"})).await;
    resolved(&restored.incident, "Withdrawn").await;
    restored.target("store").assert_reverted(1).await;
    assert_one_incident(&restored).await;
}

#[tokio::test]
async fn a_closed_incident_is_left_alone_and_its_policy_stays_in_its_cooldown() {
    let restored = Restored::new("closed").await;
    let report = restored.report.as_ref().expect("it has a report");
    let written = report.get().await;
    let operator = restored.start().await;
    restored.policy.wait_for_condition("Ready", "True").await;
    restored.ring("yes").await;
    let cools_down = |policy: &DynamicObject| {
        ready_reason(policy) == Some("Cooldown") && message_of(policy, "Ready").contains("cooldown")
    };
    restored.policy.wait_until("cools down", cools_down).await;
    heartbeats(&operator, A_WHILE).await;
    let writes = operator.proxy.writes();
    let beside: Vec<String> = writes.iter().map(|write| write.call.object()).collect();
    let own = format!("remediationpolicies {}/{}/status", restored.world.a, restored.policy.name());
    assert!(beside.iter().all(|object| *object == own), "more than the policy was written: {beside:?}");
    assert_eq!(restored.incident.get().await, restored.stored, "{}", restored.incident);
    assert_eq!(report.get().await, written, "{report}");
    restored.assert_no_target_was_written(&operator.proxy.record()).await;
    assert_one_incident(&restored).await;
}

fn ready_reason(policy: &DynamicObject) -> Option<&str> {
    let conditions = policy.data["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == "Ready")?["reason"].as_str()
}

#[tokio::test]
async fn a_rule_that_waits_to_be_false_goes_on_waiting_and_earlier_responses_count() {
    let restored = Restored::new("waiting").await;
    let operator = restored.start().await;
    let waits = |policy: &DynamicObject| ready_reason(policy) == Some("WaitingForFalse");
    restored.policy.wait_until("waits", waits).await;
    heartbeats(&operator, A_WHILE).await;
    let policy = restored.policy.wait_until("waits", waits).await;
    assert_eq!(policy.data["status"]["waitingFor"], json!(["AlarmRings"]), "{}", restored.policy);
    assert_one_incident(&restored).await;
    assert_eq!(restored.incident.get().await, restored.stored, "{}", restored.incident);

    restored.ring("no").await;
    let is_free = |policy: &DynamicObject| policy.data["status"].get("waitingFor").is_none();
    restored.policy.wait_until("waits no more", is_free).await;
    restored.ring("yes").await;
    let next = restored.world.incident_of(&restored.policy).await;
    assert_ne!(next.name(), restored.incident.name());
    let is_one_too_many = |incident: &DynamicObject| is_stalled(incident, "TooManyIncidents");
    let held = next.wait_until("one too many", is_one_too_many).await;
    assert!(message_of(&held, "Stalled").contains(restored.incident.name()), "{next}: which ones count");
    restored.assert_no_target_was_written(&operator.proxy.record()).await;
}
