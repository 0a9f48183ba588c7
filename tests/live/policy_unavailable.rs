//! The policy becomes unusable while its Incident is open: nothing is applied or reverted
//! automatically, and a person can still end it.

use std::collections::BTreeSet;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, Models, closed, has_fallen, heartbeats, is_stalled, message_of},
    support::{object::Object, operator::Operator, proxy::Exchange},
};

/// Another ServiceAccount of the policy's namespace, which may do everything there and in the other one, and which
/// the operator may impersonate.
const OTHER_ACCOUNT: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: other, namespace: "${a}"}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: other, namespace: "${a}"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: other, namespace: "${a}"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: other, namespace: "${b}"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: other, namespace: "${a}"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: be-other, namespace: "${a}"}
rules:
- {apiGroups: [""], resources: [serviceaccounts], resourceNames: [other], verbs: [impersonate]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: be-other, namespace: "${a}"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: be-other}
subjects: [{kind: ServiceAccount, name: firebreak, namespace: "${operator}"}]
"#;

struct Response {
    drill: Drill,
    operator: Operator,
    models: Models,
    policy: Object,
    incident: Object,
}

async fn begin(name: &str) -> Response {
    let drill = Drill::new(name).await;
    let models = drill.models(2).await;
    let plan = drill.world.operator();
    let operator = drill::QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag)).start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    models.wait_until_fallen().await;
    Response { drill, operator, models, policy, incident }
}

impl Response {
    /// Held for a person, whatever the signals say.
    async fn assert_stands(&self) {
        let incident = &self.incident;
        let held = incident.wait_until("Held", |incident| is_stalled(incident, "PolicyUnavailable")).await;
        assert_eq!(held.data["status"]["phase"], "Held", "{incident}");
        let message = message_of(&held, "Stalled");
        for word in ["drill", "withdraw"] {
            assert!(message.contains(word), "{incident}: no {word} in {message:?}");
        }
        self.drill.hush().await;
        heartbeats(&self.operator, 8).await;
        assert!(!closed(&incident.get().await), "{incident}: closed without its policy");
        for model in &self.models.objects {
            assert!(has_fallen(&model.get().await.data), "{model}: reverted without the policy");
        }
    }

    async fn assert_can_be_withdrawn(&self) {
        self.incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
        self.incident.wait_for_condition("Resolved", "True").await;
        self.models.assert_reverted().await;
    }
}

/// An edit of the policy makes it unusable.
async fn stands_and_can_be_withdrawn(name: &str, patch: Value) {
    let response = begin(name).await;
    response.policy.merge("alice", patch).await;
    response.assert_stands().await;
    response.assert_can_be_withdrawn().await;
}

#[tokio::test]
async fn a_suspended_policy_leaves_its_incident_to_a_person() {
    stands_and_can_be_withdrawn("suspended", json!({"spec": {"suspend": true}})).await;
}

#[tokio::test]
async fn a_policy_that_is_not_accepted_any_more_leaves_its_incident_to_a_person() {
    let rule = json!([{"level": "P0", "reason": "AlarmRings", "when": "signals.nothing.total > 0"}]);
    stands_and_can_be_withdrawn("unaccepted", json!({"spec": {"severity": rule}})).await;
}

#[tokio::test]
async fn a_deleted_policy_leaves_its_incident_to_a_person() {
    let response = begin("policy-gone").await;
    response.policy.delete().await;
    response.policy.wait_until_gone().await;
    response.assert_stands().await;
    response.assert_can_be_withdrawn().await;
}

#[tokio::test]
async fn a_policy_of_the_old_name_takes_the_incident_back() {
    let response = begin("policy-back").await;
    response.policy.delete().await;
    response.policy.wait_until_gone().await;
    response.assert_stands().await;
    let policy = response.drill.policy().await;
    let incident = &response.incident;
    let resolved = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(resolved.data["status"]["closing"], "Recovered", "{incident}: there was a relapse");
    response.models.assert_reverted().await;
    policy.wait_until("has no claim", |policy| policy.data["status"].get("activeIncident").is_none()).await;
    assert_eq!(response.drill.incidents().await.len(), 1, "{incident} is the only one");
}

/// As when a GitOps tool deletes a policy and creates it again in the middle of the emergency.
#[tokio::test]
async fn a_policy_that_is_created_again_continues_where_the_old_one_was() {
    let response = begin("policy-again").await;
    let Response { drill, operator, models, policy, incident } = &response;
    policy.delete().await;
    policy.wait_until_gone().await;
    incident.wait_until("Held", |incident| is_stalled(incident, "PolicyUnavailable")).await;

    let recreated = drill.policy().await;
    let uid = json!(incident.get().await.metadata.uid);
    let is_claimed = |policy: &DynamicObject| policy.data["status"]["activeIncident"]["uid"] == uid;
    recreated.wait_until("claimed by the old Incident", is_claimed).await;
    incident.wait_until("goes on", |incident| incident.data["status"]["phase"] == "Monitoring").await;
    heartbeats(operator, 5).await;
    for (model, before) in models.objects.iter().zip(&models.before) {
        let seen = model.get().await;
        assert!(has_fallen(&seen.data), "{model}: reverted while the alarm rings");
        assert_eq!(seen.metadata.generation, Some(before.generation + 1), "{model}: changed again");
    }
    let resolved = drill.recover(incident).await;
    assert_eq!(resolved.data["status"]["closing"], "Recovered", "{incident}");
    models.assert_reverted().await;
    drill.assert_one_resolved_incident().await;
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_leaves_its_incident_to_a_person() {
    let response = begin("undecodable").await;
    // The schema accepts a time that a program cannot hold.
    let rule = json!({
        "reason": "AlarmRings", "level": "P0", "truth": "True", "known": "True", "since": "9999-12-31T23:59:59Z",
    });
    response.policy.merge_status("mallory", json!({"status": {"rules": [rule]}})).await;
    response.assert_stands().await;
    response.assert_can_be_withdrawn().await;
}

#[tokio::test]
async fn a_policy_that_is_created_again_in_the_emergency_keeps_its_incident() {
    let Response { drill, operator, models, policy, incident } = begin("policy-again").await;
    policy.delete().await;
    policy.wait_until_gone().await;
    let policy = drill.policy().await;
    let uid = incident.get().await.metadata.uid;
    policy
        .wait_until("claimed again", |policy| {
            policy.data["status"]["activeIncident"]["uid"].as_str() == uid.as_deref()
        })
        .await;
    heartbeats(&operator, 4).await;
    assert!(!closed(&incident.get().await), "{incident}: closed although the alarm still rings");
    for model in &models.objects {
        assert!(has_fallen(&model.get().await.data), "{model}: reverted in the emergency");
    }
    assert_eq!(drill.incidents().await.len(), 1, "{incident} is the only one");
    let resolved = drill.recover(&incident).await;
    assert_eq!(resolved.data["status"]["closing"], "Recovered", "{incident}");
    models.assert_reverted().await;
}

#[tokio::test]
async fn a_policy_that_is_resumed_goes_on() {
    let response = begin("resumed").await;
    response.policy.merge("alice", json!({"spec": {"suspend": true}})).await;
    response.assert_stands().await;
    response.policy.merge("alice", json!({"spec": {"suspend": false}})).await;
    response.incident.wait_for_condition("Resolved", "True").await;
    response.models.assert_reverted().await;
}

#[tokio::test]
async fn a_suspended_policy_opens_nothing() {
    let drill = Drill::new("suspended-open").await;
    let models = drill.models(1).await;
    let plan = drill.world.operator();
    let operator = drill::QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag)).start().await;
    let policy = drill.apply_policy(|spec| spec["suspend"] = json!(true)).await;
    policy.wait_until("seen", |policy| !message_of(policy, "Ready").is_empty()).await;
    drill.ring().await;
    heartbeats(&operator, 8).await;
    assert!(drill.incidents().await.is_empty(), "{policy}: opened an Incident");
    models.assert_untouched(0).await;
}

/// The policy gets another ServiceAccount, and the Incident sees that it has changed.
async fn gets_another_account(response: &Response) {
    let Response { policy, incident, .. } = response;
    let edited = policy.merge("alice", json!({"spec": {"serviceAccountName": "other"}})).await;
    let now = json!(edited.metadata.generation);
    let sees_it = |seen: &DynamicObject| seen.data["status"]["policy"]["generation"] == now;
    incident.wait_until("sees the policy as it is now", sees_it).await;
}

/// Every write to a model was made as the first ServiceAccount, which is still in the status.
async fn assert_first_account_did_it(response: &Response) {
    let Response { drill, operator, models, incident, .. } = response;
    models.assert_reverted().await;
    let seen = incident.get().await;
    assert_eq!(seen.data["status"]["policy"]["serviceAccount"], "firebreak-responder", "{incident}");
    let first = format!("system:serviceaccount:{}:firebreak-responder", drill.world.a);
    let writes = operator.proxy.writes();
    let of_models = writes.iter().filter(|each| each.call.target.resource == "llmdeployments");
    let users: BTreeSet<_> = of_models.map(|each| each.call.user.as_deref()).collect();
    assert_eq!(users, BTreeSet::from([Some(first.as_str())]), "{incident}: who wrote the models");
}

#[tokio::test]
async fn a_response_goes_on_with_the_account_that_it_began_with_and_the_policy_watches_with_its_new_one() {
    let response = begin("account-mighty").await;
    let (world, incident) = (&response.drill.world, &response.incident);
    world.apply("harness", &OTHER_ACCOUNT.replace("${operator}", &world.operator_namespace)).await;
    gets_another_account(&response).await;
    let other = format!("system:serviceaccount:{}:other", world.a);
    let is_others = |exchange: &Exchange| {
        exchange.call.user.as_deref() == Some(other.as_str()) && exchange.call.watches("configmaps")
    };
    response.operator.proxy.wait_for("watched as the other", is_others).await;
    response.policy.wait_for_condition("Authorized", "True").await;
    let resolved = response.drill.recover(incident).await;
    assert_eq!(resolved.data["status"]["closing"], "Recovered", "{incident}");
    assert_first_account_did_it(&response).await;
}

#[tokio::test]
async fn a_response_is_withdrawn_by_its_first_account_when_the_policy_has_one_that_may_not_act() {
    let response = begin("account-none").await;
    response.policy.merge("alice", json!({"spec": {"serviceAccountName": "other"}})).await;
    response.policy.wait_for_condition("Authorized", "False").await;
    response.assert_can_be_withdrawn().await;
    assert_first_account_did_it(&response).await;
}
