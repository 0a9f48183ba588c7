//! Labels and annotations of an InferenceService propagate to its pods. The pods restart for a change of its
//! spec, and never for Firebreak's metadata.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{
    grant,
    kserve::{KServe, predictor},
    loans,
};
use crate::{
    drill::{self, Drill, QUICK_HEART, change_of, heartbeats, touches},
    support::{
        object::{Object, Snapshot},
        operator::Operator,
        proxy::{Fault, Rule},
    },
};

/// An InferenceService, its Deployment, and how both were before the emergency.
struct Service {
    object: Object,
    deployment: Object,
    before: Snapshot,
    generation: i64,
}

/// InferenceServices that KServe reconciles, and an operator.
struct Scene {
    drill: Drill,
    operator: Operator,
    services: Vec<Service>,
    _kserve: KServe,
    _nodes: crate::support::nodes::Nodes,
}

impl Scene {
    async fn prepare(name: &str, services: &[&str]) -> Self {
        let drill = Drill::new(name).await;
        grant(&drill).await;
        let nodes = drill.world.gpu_nodes(1).await;
        let kserve = KServe::start(&drill.world.client, &drill.world.a);
        let mut all = Vec::new();
        for service in services {
            let manifest = json!({
                "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
                "metadata": {"name": service, "namespace": drill.world.a, "labels": {"tier": "gold"}},
                "spec": {"predictor": {
                    "minReplicas": 1, "maxReplicas": 4, "containerConcurrency": 8,
                    "tolerations": [{"key": "nvidia.com/gpu.pool", "value": drill.world.id}],
                    "model": {"storageUri": "hf://m", "resources": {
                        "limits": {"nvidia.com/gpu": "1"}, "requests": {"nvidia.com/gpu": "1"},
                    }},
                }},
            });
            let object = drill.world.apply("flux", &manifest.to_string()).await.remove(0);
            object.wait_for_condition("Ready", "True").await;
            let deployment = drill.world.deployment(&drill.world.a, &predictor(service));
            let (before, generation) = (object.snapshot().await, deployment.snapshot().await.generation);
            all.push(Service { object, deployment, before, generation });
        }
        let plan = drill.world.operator();
        let operator = QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag)).start().await;
        Self { drill, operator, services: all, _kserve: kserve, _nodes: nodes }
    }

    /// The policy with these steps, each about all InferenceServices unless it says otherwise.
    async fn policy(&self, steps: Value) -> Object {
        let mut steps = steps;
        for step in steps.as_array_mut().expect("a list") {
            let action = step["action"].as_object_mut().and_then(|action| action.values_mut().next());
            let targets = &mut action.expect("an action")["targets"];
            targets["apiVersion"] = json!("serving.kserve.io/v1beta1");
            targets["kind"] = json!("InferenceService");
            targets["where"] = json!("true");
        }
        self.drill.policy_with(|spec| spec["steps"] = steps).await
    }
}

impl Service {
    /// How often the pod template was changed, after all writes to the InferenceService so far
    /// have reached it. The marker that shows it is one more change, which is not counted.
    async fn restarts(&self, mark: &str) -> i64 {
        let annotation = json!({"metadata": {"annotations": {"mark": mark}}});
        self.object.merge("alice", annotation).await;
        let arrived = |deployment: &DynamicObject| {
            deployment.data["spec"]["template"]["metadata"]["annotations"]["mark"] == mark
        };
        let deployment = self.deployment.wait_until("marked", arrived).await;
        deployment.metadata.generation.unwrap_or_default() - self.generation - 1
    }

    fn name(&self) -> &str {
        self.object.name()
    }
}

/// The ReplicaSets of these Deployments, with their numbers of revision.
async fn replica_sets(drill: &Drill, deployment: &Object) -> Vec<String> {
    let sets = drill.world.list("apps/v1", "ReplicaSet", &drill.world.a).await;
    let of_it = |set: &&DynamicObject| {
        let owners = set.metadata.owner_references.iter().flatten();
        owners.into_iter().any(|owner| owner.name == deployment.name())
    };
    let revision = |set: &DynamicObject| {
        let annotations = set.metadata.annotations.clone().unwrap_or_default();
        annotations.get("deployment.kubernetes.io/revision").cloned().unwrap_or_default()
    };
    let mut revisions: Vec<String> = sets.iter().filter(of_it).map(revision).collect();
    revisions.sort();
    revisions
}

fn cpu_fallback(names: &[&str]) -> Value {
    let verify = json!({"within": "30s", "checks": [{"rollout": {}}]});
    json!({"name": "cpu-fallback", "action": {"cpuFallback": {"targets": {"names": names}}}, "verify": verify})
}

fn reduce_concurrency() -> Value {
    let verify = json!({"within": "30s", "checks": [{"rollout": {}}]});
    json!({"name": "reduce", "action": {"reduceBatch": {"targets": {}, "maxConcurrency": 4}}, "verify": verify})
}

#[tokio::test]
async fn pods_restart_once_for_the_change_and_once_for_the_return_and_for_nothing_else() {
    let scene = Scene::prepare("s18-restarts", &["chat", "other"]).await;
    let [chat, other] = &scene.services[..] else { unreachable!("two") };
    let others = json!({"names": ["other"]});
    let policy = scene
        .policy(json!([
            {"name": "raise", "action": {"raiseAutoscalerLimit": {"targets": others, "ceiling": 9}}},
            {"name": "scale", "action": {"scale": {"targets": others, "replicas": 3}}},
            cpu_fallback(&["chat"]),
        ]))
        .await;
    let incident = scene.drill.respond(&policy).await;
    // An action that does not restart pods must not restart them by its record.
    let refused = incident.get().await;
    let change = change_of(&refused, other.name());
    assert_eq!(
        (&change["state"], &change["reason"]),
        (&json!("Skipped"), &json!("RestartsPods")),
        "{change}"
    );
    for (step, reason) in [("raise", "RestartsPods"), ("scale", "NotApplicable")] {
        let changes = refused.data["status"]["changes"].as_array().expect("changes");
        assert!(changes.iter().any(|change| change["step"] == step && change["reason"] == reason), "{step}");
    }
    heartbeats(&scene.operator, 2).await;
    assert_eq!(replica_sets(&scene.drill, &chat.deployment).await, ["1", "2"], "{}", chat.deployment);

    scene.drill.recover(&incident).await;
    let after = chat.object.snapshot().await;
    assert_eq!((&after.spec, after.traces()), (&chat.before.spec, Vec::new()), "{}", chat.object);
    assert_eq!(
        (&after.labels, &after.managers),
        (&chat.before.labels, &chat.before.managers),
        "{}",
        chat.object
    );
    assert_eq!(other.object.snapshot().await.version, other.before.version, "{}: untouched", other.object);
    // The template is what it was to the last annotation, so the pods from before return: the first
    // ReplicaSet, under a new number.
    assert_eq!(replica_sets(&scene.drill, &chat.deployment).await, ["2", "3"], "{}", chat.deployment);
    assert_eq!(chat.restarts("recovered").await, 2, "{}", chat.deployment);
    assert_eq!(other.restarts("recovered").await, 0, "{}", other.deployment);
}

#[tokio::test]
async fn no_fence_is_put_on_an_intent_that_the_server_refuses() {
    let scene = Scene::prepare("s18-fence", &["chat"]).await;
    let chat = &scene.services[0];
    let name = chat.name().to_owned();
    scene.operator.proxy.on(Rule::each(move |call| drill::is_apply(call, &name), Fault::answer(403)));
    let mut step = cpu_fallback(&["chat"]);
    step["retries"] = json!(0);
    let policy = scene.policy(json!([step])).await;
    scene.drill.ring().await;
    let incident = scene.drill.world.incident_of(&policy).await;
    incident
        .wait_until("refused", |incident| change_of(incident, chat.name())["tries"].as_i64() >= Some(1))
        .await;
    // In other kinds a fence would follow at once. Here the intent stays open until no request of it can arrive.
    heartbeats(&scene.operator, 4).await;
    let calls = scene.operator.proxy.calls();
    let fences = calls.iter().filter(|exchange| {
        touches(&exchange.call, chat.name()) && !drill::is_apply(&exchange.call, chat.name())
    });
    assert_eq!(fences.count(), 0, "{}: written", chat.object);
    assert_eq!(chat.object.snapshot().await.version, chat.before.version, "{}: version", chat.object);
    assert_eq!(chat.restarts("refused").await, 0, "{}", chat.deployment);
}

#[tokio::test]
async fn the_record_of_a_loan_that_ended_ceded_stays_until_the_next_write_or_until_it_is_forgotten() {
    let scene = Scene::prepare("s18-ceded", &["chat", "embed"]).await;
    let policy = scene.policy(json!([reduce_concurrency()])).await;
    let first = scene.drill.respond(&policy).await;
    for Service { object, .. } in &scene.services {
        object.merge("alice", json!({"spec": {"predictor": {"containerConcurrency": 6}}})).await;
        let is_theirs = |incident: &DynamicObject| {
            change_of(incident, object.name())["fields"][0]["cededTo"].as_str() == Some("alice/Update")
        };
        first.wait_until(&format!("{object} is alice's"), is_theirs).await;
    }
    let resolved = scene.drill.recover(&first).await;
    for service in &scene.services {
        let Service { object, before, .. } = service;
        let change = change_of(&resolved, object.name());
        assert_eq!(change["state"], "Ceded", "{object}: {change}");
        assert_eq!(loans(object).await.len(), 1, "{object}: the record");
        assert_eq!(
            object.snapshot().await.generation,
            before.generation + 2,
            "{object}: the change and alice's"
        );
        assert_eq!(service.restarts("resolved").await, 2, "{object}: restarts");
    }
    // The report says where a record is left, and how to remove it.
    let name = resolved.data["status"]["report"]["name"].as_str().expect("a report");
    let report = scene.drill.world.object("v1", "ConfigMap", &scene.drill.world.a, name).get().await;
    let report = report.data["data"]["report.md"].as_str().expect("Markdown").to_owned();
    for object in scene.services.iter().map(|service| &service.object) {
        let command = format!("firebreak undo inferenceservice/{}", object.name());
        assert!(report.contains(&command) && report.contains("--forget"), "no {command} in {report}");
    }

    // A person drops one. The other is dropped by the next write: it is dead, so it blocks nothing.
    let [chat, embed] = &scene.services[..] else { unreachable!("two") };
    let target = format!("inferenceservice/{}", embed.name());
    let forget = ["undo", &target, "--namespace", &scene.drill.world.a, "--forget"];
    let done = scene.drill.world.firebreak(&forget).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(embed.object.snapshot().await.traces(), Vec::<&str>::new(), "{}", embed.object);

    let next = scene.drill.respond(&policy).await;
    let uid = next.get().await.metadata.uid.unwrap_or_default();
    for Service { object, .. } in [chat, embed] {
        object
            .wait_until("4", |service| service.data["spec"]["predictor"]["containerConcurrency"] == 4)
            .await;
        let loans = loans(object).await;
        assert_eq!(loans.len(), 1, "{object}: {loans:?}");
        assert!(loans[0]["incident"].as_str().is_some_and(|id| id.ends_with(&uid)), "{object}: {loans:?}");
        assert_eq!(loans[0]["fields"][0]["before"], 6, "{object}: {loans:?}");
    }
    scene.drill.recover(&next).await;
    for Service { object, .. } in [chat, embed] {
        let after = object.snapshot().await;
        assert_eq!(after.spec["predictor"]["containerConcurrency"], 6, "{object}");
        assert_eq!(after.traces(), Vec::<&str>::new(), "{object}: traces");
    }
}
