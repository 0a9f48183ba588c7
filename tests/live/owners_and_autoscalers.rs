//! How far a policy sees and reaches: workloads through their replicas, objects through their owners,
//! autoscalers, and a scheduler that it scales to zero.

use http::Method;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, Models, change_of},
    support::{
        object::Object,
        proxy::{Call, Exchange, Fault, Rule},
        rights,
    },
};

const MODEL: (&str, &str) = ("inference.llm-d.io/v1alpha1", "LLMDeployment");
const CONFIG_MAP: (&str, &str) = ("v1", "ConfigMap");

/// A Deployment that only a step writes, and whose pods would start nowhere.
fn deployment(drill: &Drill, name: &str, owners: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": drill.world.a, "labels": {"tier": "gold"}, "ownerReferences": owners},
        "spec": {
            "replicas": 0, "paused": true,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {
                "nodeSelector": {"nobody": "has-this-label"},
                "containers": [
                    {"name": "main", "image": "example.com/vllm:1", "resources": {"limits": {"nvidia.com/gpu": "1"}}},
                ],
            }},
        },
    })
}

/// The owner reference of an object that this one controls.
async fn owner((api_version, kind): (&str, &str), owner: &Object) -> Value {
    let uid = owner.snapshot().await.uid;
    json!([{"apiVersion": api_version, "kind": kind, "name": owner.name(), "uid": uid, "controller": true}])
}

/// A Deployment that the model `owner` owns through a ConfigMap, a kind without a profile,
/// and the model.
async fn owned(drill: &Drill) -> (Models, Models) {
    let model = drill.models_named(&["owner"]).await;
    let between = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "between", "namespace": drill.world.a,
                     "ownerReferences": owner(MODEL, &model.objects[0]).await},
    });
    let between = drill.world.create("llm-d-operator", &between.to_string()).await;
    let manifest = deployment(drill, "owned", owner(CONFIG_MAP, &between[0]).await);
    (create(drill, &manifest).await, model)
}

/// Creates the Deployment, and waits until its controller has reported everything.
async fn create(drill: &Drill, manifest: &Value) -> Models {
    let made = drill.world.create("llm-d-operator", &manifest.to_string()).await;
    let observed = |object: &DynamicObject| {
        object.data["status"]["observedGeneration"] == json!(object.metadata.generation)
    };
    made[0].wait_until("observed", observed).await;
    Models::of(made).await
}

/// The step of the drill is about Deployments.
fn of_deployments(spec: &mut Value) {
    let targets = drill::targets(spec);
    targets["apiVersion"] = json!("apps/v1");
    targets["kind"] = json!("Deployment");
}

/// The Incident has this reason why the object was left alone. Returns the message.
async fn skipped(incident: &Object, object: &str, reason: &str) -> String {
    let is_skipped = |incident: &DynamicObject| change_of(incident, object)["reason"] == reason;
    let seen = incident.wait_until(&format!("{object}: {reason}"), is_skipped).await;
    let change = change_of(&seen, object);
    assert_eq!(change["state"], "Skipped", "{incident}: {object}: {change}");
    change["message"].as_str().unwrap_or_default().to_owned()
}

fn reads(call: &Call, resource: &str, name: &str) -> bool {
    call.method == Method::GET && call.target.resource == resource && call.target.name == name
}

#[tokio::test]
async fn a_rule_reads_the_replicas_of_workloads() {
    let drill = Drill::new("reach-signal").await;
    let gateway = create(&drill, &deployment(&drill, "gateway", json!([]))).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            let workloads = json!({"apiVersion": "apps/v1", "kind": "Deployment", "names": ["gateway"]});
            spec["signals"] = json!([{"name": "gateway", "workloads": workloads}]);
            spec["severity"][0]["when"] = json!(
                "signals.gateway.unavailable > 0 && signals.gateway.readyReplicas < signals.gateway.desiredReplicas"
            );
            spec["steps"] = json!([]);
        })
        .await;
    gateway.objects[0].merge("alice", json!({"spec": {"paused": false, "replicas": 2}})).await;
    let incident = drill.world.incident_of(&policy).await;
    let open = incident
        .wait_until("the signal is in its status", |incident| {
            incident.data["status"]["signals"][0]["state"] == "Known"
        })
        .await;
    let summary = open.data["status"]["signals"][0]["summary"].as_str().unwrap_or_default();
    for word in ["unavailable 1", "desiredReplicas 2", "readyReplicas 0", "total 1"] {
        assert!(summary.contains(word), "{incident}: no {word} in {summary:?}");
    }
    gateway.objects[0].merge("alice", json!({"spec": {"replicas": 0}})).await;
    incident.wait_for_condition("Resolved", "True").await;
}

#[tokio::test]
async fn a_target_is_changed_through_the_owner_at_the_top_and_reverted_there() {
    let drill = Drill::new("reach-owner").await;
    let (deployment, model) = owned(&drill).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            of_deployments(spec);
            drill::targets(spec)["where"] = json!("object.metadata.labels.tier == 'gold'");
            spec["steps"][0]["verify"]["checks"] = json!([{"rollout": {}}]);
        })
        .await;
    let plan = drill.world.firebreak(&["plan", policy.name(), "-n", &drill.world.a]).await;
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    let (a, wish) = (&drill.world.a, "the plan says what is changed in place of what");
    let line = format!("LLMDeployment {a}/owner, instead of Deployment {a}/owned, which it owns");
    assert!(plan.contains(&line), "{wish}: {plan}");

    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    model.wait_until_fallen().await;
    let open = incident.get().await;
    assert_eq!(change_of(&open, "owned"), &Value::Null, "{incident}: only the owner is a target");
    deployment.assert_untouched(0).await;

    // The object no longer matches, but its change is still reverted.
    let child = &deployment.objects[0];
    child.merge("alice", json!({"metadata": {"labels": {"tier": "lead"}}})).await;
    incident.wait_until("verified", |incident| change_of(incident, "owner")["state"] == "Verified").await;

    drill.recover(&incident).await;
    for (object, before, writes) in
        [(&model.objects[0], &model.before[0], 2), (child, &deployment.before[0], 0)]
    {
        let after = object.snapshot().await;
        assert_eq!((&after.spec, after.traces()), (&before.spec, Vec::new()), "{object}");
        assert_eq!(after.generation, before.generation + writes, "{object}: generation");
    }
}

#[tokio::test]
async fn what_was_changed_for_an_object_that_is_gone_is_reverted() {
    let drill = Drill::new("reach-orphan").await;
    let (deployment, model) = owned(&drill).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill.policy_with(of_deployments).await;
    let incident = drill.respond(&policy).await;
    model.wait_until_fallen().await;
    deployment.objects[0].delete().await;
    deployment.objects[0].wait_until_gone().await;
    drill.recover(&incident).await;
    model.assert_reverted().await;
}

#[tokio::test]
async fn an_object_whose_owner_may_not_be_read_waits_until_it_may() {
    let drill = Drill::new("reach-refused").await;
    let (deployment, model) = owned(&drill).await;
    let operator = drill.world.operator().start().await;
    operator.proxy.on(Rule::each(|call| reads(call, "llmdeployments", "owner"), Fault::answer(403)));
    let policy = drill.policy_with(of_deployments).await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let message = skipped(&incident, "owned", "OwnedByController").await;
    for words in ["LLMDeployment/owner", "cannot be read: a fault"] {
        assert!(message.contains(words), "{incident}: no {words} in {message:?}");
    }
    model.assert_untouched(0).await;
    operator.proxy.forget_rules();
    model.wait_until_fallen().await;
    drill.recover(&incident).await;
    model.assert_reverted().await;
    deployment.assert_untouched(0).await;
}

#[tokio::test]
async fn an_object_that_is_exempt_keeps_its_owner_out() {
    let drill = Drill::new("reach-exempt").await;
    let (deployment, model) = owned(&drill).await;
    let exempt = json!({"metadata": {"annotations": {"firebreak.dev/exempt": "true"}}});
    deployment.objects[0].merge("alice", exempt).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill.policy_with(of_deployments).await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let message = skipped(&incident, "owner", "Exempt").await;
    assert!(message.contains("firebreak.dev/exempt"), "{incident}: {message:?}");
    drill.recover(&incident).await;
    model.assert_untouched(0).await;
}

#[tokio::test]
async fn what_an_autoscaler_scales_is_not_scaled_and_the_autoscaler_is_named() {
    let drill = Drill::new("reach-scale").await;
    let autoscalers =
        |verbs| rights::Rule { group: "autoscaling", resources: &["horizontalpodautoscalers"], verbs };
    let scaled = rights::Rule { group: "keda.sh", resources: &["scaledobjects"], verbs: &["list"] };
    let rollouts = rights::Rule { group: "argoproj.io", resources: &["rollouts"], verbs: &["list"] };
    drill
        .world
        .grant(&drill.world.a, &[drill::rights(), vec![autoscalers(&["list"]), scaled, rollouts]].concat())
        .await;
    // One that is scaled to 0 would be idle.
    let mut manifest = deployment(&drill, "gateway", json!([]));
    manifest["spec"]["replicas"] = json!(1);
    let gateway = create(&drill, &manifest).await;
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "more-gateways", "namespace": drill.world.a},
        "spec": {"minReplicas": 1, "maxReplicas": 3,
                 "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gateway"}},
    });
    drill.world.create("alice", &hpa.to_string()).await;
    let operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            let targets = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
            spec["steps"][0]["action"] = json!({"scale": {"targets": targets, "replicas": 5}});
        })
        .await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let message = skipped(&incident, "gateway", "OwnedByAutoscaler").await;
    assert!(message.contains("HorizontalPodAutoscaler/more-gateways"), "{incident}: {message:?}");

    // A ServiceAccount that may not see the autoscalers does not know that there is none.
    let lists = |call: &Call| call.target.resource == "horizontalpodautoscalers";
    operator.proxy.on(Rule::each(lists, Fault::answer(403)));
    let message = skipped(&incident, "gateway", "AutoscalerUnknown").await;
    assert!(message.contains("cannot be listed: a fault"), "{incident}: {message:?}");
    drill.recover(&incident).await;
    gateway.assert_untouched(0).await;
}

#[tokio::test]
async fn a_scheduler_that_cannot_be_read_keeps_its_step_waiting_and_one_that_is_gone_does_not() {
    let drill = Drill::new("reach-retire").await;
    let scheduler = create(&drill, &deployment(&drill, "ml-scheduler", json!([]))).await;
    let operator = drill.world.operator().start().await;
    operator.proxy.on(Rule::each(|call| reads(call, "deployments", "ml-scheduler"), Fault::answer(403)));
    let policy = drill
        .policy_with(|spec| {
            let targets = json!({"apiVersion": "apps/v1", "kind": "Deployment", "where": "true"});
            let retire = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "ml-scheduler"});
            spec["steps"][0]["action"] =
                json!({"schedulerFallback": {"targets": targets, "from": "ml-scheduler", "retire": retire}});
        })
        .await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let step = |incident: &DynamicObject| incident.data["status"]["steps"][0].clone();
    let waiting = incident
        .wait_until("its step waits", |incident| step(incident)["reason"] == "CannotListTargets")
        .await;
    let message = step(&waiting)["message"].as_str().unwrap_or_default().to_owned();
    let called = format!("Deployment {}/ml-scheduler", drill.world.a);
    assert!(
        message.contains(&called) && message.contains("cannot be read: a fault"),
        "{incident}: {message:?}"
    );
    scheduler.assert_untouched(0).await;

    // Now that it can be read, there is no target for which it would be scaled down.
    operator.proxy.forget_rules();
    let idle = incident.wait_until("no target", |incident| step(incident)["reason"] == "NoTargets").await;
    assert_eq!(step(&idle)["targets"]["matched"], json!(0), "{incident}");
    scheduler.assert_untouched(0).await;
    scheduler.objects[0].delete().await;
    scheduler.objects[0].wait_until_gone().await;
    let is_gone = |exchange: &Exchange| {
        reads(&exchange.call, "deployments", "ml-scheduler") && exchange.client == Some(404)
    };
    operator.proxy.wait_for("a read of the scheduler that is gone", is_gone).await;
    assert_eq!(step(&incident.get().await)["reason"], "NoTargets", "{incident}");
    drill.recover(&incident).await;
}
