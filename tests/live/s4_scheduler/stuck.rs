//! Pods of a StatefulSet that no scheduler schedules: missing permissions to delete them, pods that do not
//! terminate, and pods that the fallback itself has left.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{BROKEN, allow, deletes_pod, made, wait_until_pending, wait_until_ready, workload};
use crate::{
    drill::{Drill, change_of, is_stalled, message_of},
    support::{
        object::{Object, Snapshot},
        operator::Operator,
    },
};

const HOLD: &str = "example.com/hold";

/// The step moves StatefulSets between these schedulers.
async fn policy(drill: &Drill, from: &str, to: &str) -> Object {
    let targets = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "where": "true"});
    let action = json!({"targets": targets, "from": from, "schedulerName": to});
    let sets = json!({
        "name": "sets", "action": {"schedulerFallback": action}, "revert": "OnRecovery",
        "verify": {"within": "5m", "checks": [{"rollout": {}}]},
    });
    drill.policy_with(|spec| spec["steps"] = json!([sets])).await
}

fn pod(drill: &Drill, name: &str) -> Object {
    drill.world.object("v1", "Pod", &drill.world.a, name)
}

#[tokio::test]
async fn the_missing_right_is_named_and_a_pod_that_does_not_end_is_left_to_a_person() {
    let drill = Drill::new("s4-stuck").await;
    allow(&drill, &["list", "delete"]).await;
    let store =
        made(&drill, workload(&drill, "StatefulSet", "store", json!({"schedulerName": BROKEN}))).await;
    wait_until_pending(&store).await;
    let first = pod(&drill, "store-0");
    first.merge("alice", json!({"metadata": {"finalizers": [HOLD]}})).await;
    let operator = drill.world.operator().start().await;
    let policy = policy(&drill, BROKEN, "default-scheduler").await;
    allow(&drill, &[]).await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    for (verb, reason, then) in
        [("list", "CannotListPods", &["list"][..]), ("delete", "CannotDeletePods", &["list", "delete"])]
    {
        let is_said = |incident: &DynamicObject| change_of(incident, "store")["reason"] == reason;
        let said = incident.wait_until(reason, is_said).await;
        let (step, change) = (&said.data["status"]["steps"][0], change_of(&said, "store"));
        for message in [&step["message"], &change["message"]] {
            let message = message.as_str().unwrap_or_default();
            assert!(message.contains(&format!("cannot {verb} resource \"pods\"")), "{incident}: {message:?}");
        }
        assert_eq!((&step["state"], &change["state"]), (&json!("Applied"), &json!("Applied")), "{incident}");
        allow(&drill, then).await;
    }

    let is_held = |incident: &DynamicObject| is_stalled(incident, "PodStuckTerminating");
    let held = incident.wait_until("a person is asked", is_held).await;
    assert_eq!(held.data["status"]["phase"], "Held", "{incident}");
    let command = format!("`kubectl delete pod store-0 -n {} --force --grace-period=0`", drill.world.a);
    for words in ["held by the finalizers example.com/hold", &command] {
        assert!(message_of(&held, "Stalled").contains(words), "{incident}: no {words}");
    }
    first.merge("alice", json!({"metadata": {"finalizers": null}})).await;
    incident.wait_for_condition("Mitigated", "True").await;
    wait_until_ready(&store).await;
    let calls = operator.proxy.calls();
    let forced = |body: &Value| body.get("gracePeriodSeconds").is_some();
    let mut deletions = calls.iter().filter(|exchange| deletes_pod(&exchange.call));
    assert!(deletions.all(|exchange| !exchange.call.body.as_ref().is_some_and(forced)), "none by force");
}

/// A fallback to a scheduler that does not exist, and the pod that it has left without one.
struct Left {
    drill: Drill,
    store: Object,
    before: Snapshot,
    operator: Operator,
    incident: Object,
    pod: Object,
    uid: String,
}

impl Left {
    async fn pending(name: &str) -> Self {
        let drill = Drill::new(name).await;
        allow(&drill, &["list", "delete"]).await;
        let store = made(&drill, workload(&drill, "StatefulSet", "store", json!({}))).await;
        wait_until_ready(&store).await;
        let before = store.snapshot().await;
        let operator = drill.world.operator().start().await;
        let policy = policy(&drill, "default-scheduler", "nobody").await;
        drill.ring().await;
        let incident = drill.world.incident_of(&policy).await;
        let pod = pod(&drill, "store-1");
        let is_left = |pod: &DynamicObject| pod.data["spec"]["schedulerName"] == "nobody";
        let uid = pod.wait_until("nobody schedules it", is_left).await.metadata.uid.unwrap_or_default();
        Self { drill, store, before, operator, incident, pod, uid }
    }

    /// All pods run as before, and the one that was left was deleted.
    async fn assert_back(&self) {
        let closed = self.incident.wait_for_condition("Resolved", "True").await;
        assert_eq!(closed.data["status"]["relapses"], Value::Null, "{}", self.incident);
        let is_new = |pod: &DynamicObject| {
            pod.metadata.uid.as_ref() != Some(&self.uid)
                && pod.data["spec"]["schedulerName"] == "default-scheduler"
        };
        self.pod.wait_until("created again", is_new).await;
        wait_until_ready(&self.store).await;
        let after = self.store.snapshot().await;
        assert_eq!((&after.spec, after.traces()), (&self.before.spec, Vec::new()), "{}", self.store);
        let calls = self.operator.proxy.calls();
        // Not always the one that was seen: its controller may have created another one that is just as hopeless.
        let deleted = calls.iter().any(|exchange| {
            let body = exchange.call.body.as_ref();
            deletes_pod(&exchange.call)
                && exchange.was_applied()
                && exchange.call.target.name == self.pod.name()
                && body.is_some_and(|body| body["preconditions"]["uid"].is_string())
        });
        assert!(deleted, "{}: it was not Firebreak that deleted it", self.incident);
    }
}

#[tokio::test]
async fn what_the_fallback_has_left_pending_is_deleted_when_it_goes_back_in_waves() {
    let left = Left::pending("s4-waves").await;
    left.drill.hush().await;
    left.assert_back().await;
}

#[tokio::test]
async fn what_the_fallback_has_left_pending_is_deleted_at_a_withdrawal() {
    let left = Left::pending("s4-withdrawn").await;
    left.incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    left.assert_back().await;
}
