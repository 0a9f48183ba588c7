//! A Rollout with `workloadRef` runs the pod template of a Deployment that has no replicas of its own: the template is
//! changed on the Deployment, and the Rollout says how the pods are.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, change_of},
    support::{
        object::{Object, Snapshot},
        proxy::{self, Fault},
        rights::Rule,
    },
};

async fn deployment(drill: &Drill, name: &str) -> Object {
    let manifest = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": drill.world.a},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{
                "name": "server", "image": "example.com/vllm-cpu:1",
                "resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"nvidia.com/gpu": "1"}},
            }]}},
        },
    });
    let deployment = drill.world.apply("flux", &manifest.to_string()).await.remove(0);
    // This is the last thing that its controller reports.
    let settled = |object: &DynamicObject| {
        let conditions = object.data["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        conditions.iter().any(|one| one["reason"] == "NewReplicaSetAvailable")
    };
    deployment.wait_until("settled", settled).await;
    deployment
}

/// What Argo Rollouts reports about this version of the template.
fn status(template: i64, available: i64) -> Value {
    json!({"status": {
        "observedGeneration": "1", "workloadObservedGeneration": template.to_string(), "replicas": 2,
        "updatedReplicas": 2, "readyReplicas": available, "availableReplicas": available, "stableRS": "7d4b",
        "currentPodHash": "7d4b", "phase": if available == 2 { "Healthy" } else { "Progressing" },
    }})
}

#[tokio::test]
async fn a_deployment_whose_pods_a_rollout_runs_is_changed_and_reverted_and_one_that_is_off_is_not() {
    let drill = Drill::new("s18-borrowed").await;
    let rollouts = Rule { group: "argoproj.io", resources: &["rollouts"], verbs: &["list"] };
    drill.world.grant(&drill.world.a, &[drill::rights(), vec![rollouts]].concat()).await;
    let (chat, off) = (deployment(&drill, "chat").await, deployment(&drill, "off").await);
    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "chat", "namespace": drill.world.a},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "chat"}}, "strategy": {"canary": {}},
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat", "scaleDown": "onsuccess"}},
    });
    let rollout = drill.world.apply("flux", &rollout.to_string()).await.remove(0);
    let (before, untouched) = (chat.snapshot().await, off.snapshot().await);
    rollout.merge_status("argo-rollouts", status(before.generation, 0)).await;

    let operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            let targets = drill::targets(spec);
            *targets = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
            spec["steps"][0]["verify"]["checks"] = json!([{"rollout": {}}]);
        })
        .await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let is_cpu = |deployment: &DynamicObject| {
        deployment.data["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
            == "0"
    };
    let changed = chat.wait_until("on CPU", is_cpu).await;
    assert_eq!(
        changed.data["spec"].get("strategy"),
        before.spec.get("strategy"),
        "{chat}: its pace does not count"
    );
    let warns = |incident: &DynamicObject| {
        incident.data["status"]["timeline"]
            .to_string()
            .contains("set maxSurge: 0 and maxUnavailable: 1 in its canary")
    };
    incident.wait_until("it warns about the pace of the Rollout", warns).await;
    let waits = |incident: &DynamicObject| {
        let message = &incident.data["status"]["steps"][0]["message"];
        message.as_str().is_some_and(|text| text.contains("Rollout/chat") && text.contains("not observed"))
    };
    incident.wait_until("it waits for the Rollout", waits).await;
    // What cannot be read is not off: the change is no less expected to help.
    operator.proxy.on(proxy::Rule::each(|call| call.target.resource == "rollouts", Fault::answer(500)));
    let is_unknown = |incident: &DynamicObject| {
        let verification = &incident.data["status"]["steps"][0]["verification"];
        verification["verdict"] == "Unknown"
            && verification["message"]
                .as_str()
                .is_some_and(|text| text.contains("whether a Rollout runs its pods"))
    };
    let unread = incident.wait_until("nothing is known of the Rollout", is_unknown).await;
    assert_ne!(change_of(&unread, "chat")["sitsOut"]["reason"], "Idle", "{incident}");
    operator.proxy.forget_rules();
    rollout.merge_status("argo-rollouts", status(changed.metadata.generation.unwrap_or_default(), 2)).await;
    incident.wait_for_condition("Mitigated", "True").await;
    let during = incident.get().await;
    assert_eq!(change_of(&during, "chat")["state"], "Verified", "{incident}");
    assert_eq!(change_of(&during, "off"), &Value::Null, "{incident}: it is off on purpose");

    drill.hush().await;
    let is_back = |deployment: &DynamicObject| !is_cpu(deployment);
    let returned = chat.wait_until("back", is_back).await;
    rollout.merge_status("argo-rollouts", status(returned.metadata.generation.unwrap_or_default(), 2)).await;
    incident.wait_for_condition("Resolved", "True").await;
    let after: Snapshot = chat.snapshot().await;
    assert_eq!((&after.spec, after.traces()), (&before.spec, Vec::new()), "{chat}");
    assert_eq!(after.generation, before.generation + 2, "{chat}: the change and the revert");
    assert_eq!(off.snapshot().await.version, untouched.version, "{off}");
}

#[tokio::test]
async fn what_a_rollout_runs_is_scaled_neither_there_nor_against_the_autoscaler_of_the_rollout() {
    let drill = Drill::new("s18-scaled").await;
    let rollouts = Rule { group: "argoproj.io", resources: &["rollouts"], verbs: &["get", "list", "patch"] };
    let hpas = Rule { group: "autoscaling", resources: &["horizontalpodautoscalers"], verbs: &["list"] };
    let scaled_objects = Rule { group: "keda.sh", resources: &["scaledobjects"], verbs: &["list"] };
    drill
        .world
        .grant(&drill.world.a, &[drill::rights(), vec![rollouts, hpas, scaled_objects]].concat())
        .await;
    let template = deployment(&drill, "template").await;
    // It is about to be scaled to 0 by Argo Rollouts.
    template.merge("flux", json!({"spec": {"replicas": 1, "paused": true}})).await;
    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "runs", "namespace": drill.world.a},
        "spec": {"replicas": 2, "workloadRef":
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "template", "scaleDown": "progressively"}},
    });
    let rollout = drill.world.apply("flux", &rollout.to_string()).await.remove(0);
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "more", "namespace": drill.world.a},
        "spec": {"minReplicas": 1, "maxReplicas": 3,
                 "scaleTargetRef": {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "runs"}},
    });
    drill.world.create("alice", &hpa.to_string()).await;
    let before = rollout.snapshot().await;
    let _operator = drill.world.operator().start().await;
    let step = |name: &str, api_version: &str, kind: &str| {
        let targets = json!({"apiVersion": api_version, "kind": kind});
        json!({"name": name, "settle": "0s", "action": {"scale": {"targets": targets, "replicas": 5}}})
    };
    let steps = json!([
        step("rollouts", "argoproj.io/v1alpha1", "Rollout"),
        step("deployments", "apps/v1", "Deployment")
    ]);
    let policy = drill.policy_with(|spec| spec["steps"] = steps).await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    for (object, who) in [("runs", "HorizontalPodAutoscaler/more"), ("template", "Rollout/runs")] {
        let is_left = |incident: &DynamicObject| change_of(incident, object)["reason"] == "OwnedByAutoscaler";
        let left = incident.wait_until(&format!("{object} is left alone"), is_left).await;
        let message = change_of(&left, object)["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(who), "{incident}: {object}: {message:?}");
    }
    drill.recover(&incident).await;
    assert_eq!(rollout.snapshot().await.spec, before.spec, "{rollout}");
}
