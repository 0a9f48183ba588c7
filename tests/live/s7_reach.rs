//! A policy reaches as far as the rights of its ServiceAccount and what it names itself: it is never
//! narrowed to what happens to be allowed, and never goes beyond it.

use std::collections::BTreeSet;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{Drill, Models, heartbeats, message_of, models, policy_manifest, targets},
    support::{
        manifest,
        object::{Object, condition},
        operator::Operator,
    },
};

/// The namespaces of tenants that something was read from or written to; empty text is the whole cluster.
/// What was refused was not.
fn reached(operator: &Operator) -> BTreeSet<String> {
    let calls = operator.proxy.calls();
    let of_a_tenant = calls.iter().filter(|each| {
        let target = &each.call.target;
        let ours = ["firebreak.dev", "authorization.k8s.io", "authentication.k8s.io"];
        each.was_applied()
            && each.call.user.is_some()
            && !target.resource.is_empty()
            && !ours.contains(&target.group.as_str())
    });
    of_a_tenant
        .map(|each| match each.call.target.resource.as_str() {
            "namespaces" => each.call.target.name.clone(),
            _ => each.call.target.namespace.clone(),
        })
        .collect()
}

/// What the policy says that its ServiceAccount lacks.
async fn lacks(policy: &Object, words: &[&str]) {
    let says = |policy: &DynamicObject| {
        let message = message_of(policy, "Authorized");
        words.iter().all(|word| message.contains(word))
    };
    let refused = policy.wait_until(&format!("Authorized lacks {words:?}"), says).await;
    assert_eq!(condition(&refused, "Authorized"), Some("False"), "{policy}");
}

/// The models of another namespace, whose owner has given nobody any right.
async fn foreign(drill: &Drill) -> Models {
    let mut model = models::document(&drill.world, "model-0");
    model["metadata"]["namespace"] = json!(drill.world.b);
    Models::of(drill.world.create("flux", &model.to_string()).await).await
}

#[tokio::test]
async fn a_policy_that_says_all_reads_and_changes_nothing_until_it_names_the_namespace_and_then_only_there() {
    let drill = Drill::new("s7-all").await;
    let (a, b) = (drill.world.a.clone(), drill.world.b.clone());
    drill.world.grant(&b, &[]).await;
    let (models, foreign) = (drill.models(2).await, foreign(&drill).await);
    let operator = drill.quick_operator().await;
    let all = json!({"all": true});
    let policy = drill
        .apply_policy(|spec| {
            spec["signals"][0]["objects"]["namespaces"] = all.clone();
            targets(spec)["namespaces"] = all.clone();
        })
        .await;
    drill.ring().await;

    // The signal says all: it is Unknown, and opens nothing.
    let in_all = ["list configmaps (cluster-wide)", "patch llmdeployments.inference.llm-d.io (cluster-wide)"];
    lacks(&policy, &in_all).await;
    let is_unknown = |policy: &DynamicObject| policy.data["status"]["signals"][0]["state"] == "Unknown";
    policy.wait_until("its signal is Unknown", is_unknown).await;
    heartbeats(&operator, 8).await;
    assert!(drill.incidents().await.is_empty(), "{policy}: opened on a signal that it may not read");
    assert_eq!(reached(&operator), BTreeSet::new(), "nothing was read");

    // The signal names the namespace, the step still says all: the step waits.
    let edit = |signal: &Value, targets_: &Value| {
        policy_manifest(|spec| {
            spec["signals"][0]["objects"]["namespaces"] = signal.clone();
            targets(spec)["namespaces"] = targets_.clone();
        })
    };
    let here = json!({"names": ["${a}"]});
    drill.world.apply("flux", &edit(&here, &all).to_string()).await;
    let incident = drill.world.incident_of(&policy).await;
    let waits =
        |incident: &DynamicObject| incident.data["status"]["steps"][0]["reason"] == "CannotListTargets";
    let held = incident.wait_until("its step cannot list its targets", waits).await;
    let message = held.data["status"]["steps"][0]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("llmdeployments"), "{incident}: {message:?}");
    lacks(&policy, &in_all[1..]).await;
    heartbeats(&operator, 5).await;
    assert_eq!(reached(&operator), BTreeSet::from([a.clone()]), "only the signal was read");
    for each in operator.proxy.calls().iter().filter(|each| each.was_applied()) {
        assert_ne!(each.call.target.resource, "llmdeployments", "{each}");
    }

    // Both name it: exactly there.
    drill.world.apply("flux", &edit(&here, &here).to_string()).await;
    incident.wait_for_condition("Mitigated", "True").await;
    models.wait_until_fallen().await;
    policy.wait_for_condition("Authorized", "True").await;
    drill.recover(&incident).await;
    models.assert_reverted().await;
    foreign.assert_untouched(0).await;
    assert_eq!(reached(&operator), BTreeSet::from([a]), "nothing outside of it was read or changed");
}

#[tokio::test]
async fn a_policy_gets_no_service_account_but_the_one_that_the_operator_may_impersonate() {
    let drill = Drill::new("s7-account").await;
    let models = drill.models(1).await;
    // It could do everything that the policy asks for.
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "mighty", "namespace": drill.world.a},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": drill.world.a}],
    });
    manifest::apply(&drill.world.client, "harness", &binding).await.expect("a binding");
    let operator = drill.quick_operator().await;
    drill.ring().await;
    let policy = drill.apply_policy(|spec| spec["serviceAccountName"] = json!("default")).await;
    let may_not = format!("may not impersonate ServiceAccount {}/default", drill.world.a);
    lacks(&policy, &[&may_not, "with default in resourceNames"]).await;
    heartbeats(&operator, 8).await;
    assert!(drill.incidents().await.is_empty(), "{policy}: opened as another ServiceAccount");
    let calls = operator.proxy.calls();
    let tried: Vec<_> = calls.iter().filter(|each| each.call.user.is_some()).collect();
    assert!(!tried.is_empty(), "nothing was tried");
    for each in tried {
        assert_eq!(each.server, Some(403), "it acted as somebody: {each}");
    }
    models.assert_untouched(0).await;
}
