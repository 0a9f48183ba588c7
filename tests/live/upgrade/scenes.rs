//! Responses that stand still in the middle of what they do, each in another state; see README.md.

use std::ops::Range;

use http::Method;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, is_apply, is_return, is_stalled},
    support::{
        object::Object,
        operator::Operator,
        proxy::{Call, Fault, Rule},
        rights,
    },
};

/// The scheduler of the StatefulSet, which does not exist.
const BROKEN: &str = "ml-scheduler";

/// A response on its way to the standstill.
pub struct Response {
    pub name: &'static str,
    pub alarm: Object,
    pub policy: Object,
    pub targets: Vec<Object>,
    /// The targets before the emergency.
    pub before: Vec<DynamicObject>,
}

/// Brings one response to each standstill, and kills the operator.
pub async fn at_a_standstill(drill: &Drill, operator: &Operator) -> Vec<Response> {
    allow_more_kinds(drill).await;
    let mut open = open(drill).await;
    let mut all = vec![
        closed(drill).await,
        waiting(drill).await,
        awaiting_approval(drill).await,
        without_effect(drill).await,
        paused(drill).await,
        failed(drill, operator).await,
        unknown(drill, operator).await,
    ];
    let reverting = reverting(drill).await;
    let pods = pods(drill).await;
    // From here on, a write is always under way.
    join_late(drill, operator, &mut open).await;
    delete_a_pod(drill, operator, &pods).await;
    stop_in_a_wave(operator, &reverting).await;
    all.push(unclear(drill, operator).await);
    operator.kill();
    all.extend([open, reverting, pods]);
    all
}

impl Response {
    /// A policy with an alarm of its own, which watches; `edit` changes its spec.
    async fn prepare(
        drill: &Drill,
        name: &'static str,
        targets: Vec<Object>,
        edit: impl FnOnce(&mut Value),
    ) -> Self {
        let alarm = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"rings": "no"},
            "metadata": {"name": format!("{name}-alarm"), "namespace": drill.world.a}});
        let alarm = drill.world.apply("harness", &alarm.to_string()).await.remove(0);
        let mut before = Vec::new();
        for target in &targets {
            before.push(target.get().await);
        }
        let mut policy = drill::policy_manifest(|spec| {
            spec["signals"][0]["objects"]["names"] = json!([alarm.name()]);
            edit(spec);
        });
        policy["metadata"]["name"] = json!(name);
        let policy = drill.world.apply("flux", &policy.to_string()).await.remove(0);
        policy.wait_for_condition("Ready", "True").await;
        Self { name, alarm, policy, targets, before }
    }

    /// The emergency begins.
    async fn ring(&self, drill: &Drill) -> Object {
        self.alarm.merge("harness", json!({"data": {"rings": "yes"}})).await;
        drill.world.incident_of(&self.policy).await
    }

    /// The emergency is over.
    pub async fn hush(&self) {
        self.alarm.merge("harness", json!({"data": {"rings": "no"}})).await;
    }
}

/// Models of this response, which are served: its name and a number.
async fn models(drill: &Drill, name: &str, numbers: Range<usize>) -> Vec<Object> {
    let mut models = Vec::new();
    for number in numbers {
        let mut model = drill::models::document(&drill.world, &format!("{name}-{number}"));
        model["spec"]["serving"] = json!({"batchSize": 64, "maxConcurrency": 9});
        let model = drill.world.apply("flux", &model.to_string()).await.remove(0);
        drill::models::serve(&model).await;
        models.push(model);
    }
    models
}

/// The targets of a step: the models of this response, whether they are there yet or not.
fn targets(name: &str, count: usize) -> Value {
    let names: Vec<String> = (0..count).map(|number| format!("{name}-{number}")).collect();
    json!({"apiVersion": "inference.llm-d.io/v1alpha1", "kind": "LLMDeployment", "names": names, "where": "true"})
}

async fn phase(incident: &Object, phase: &str) {
    incident.wait_until(phase, |incident| incident.data["status"]["phase"] == phase).await;
}

/// Two steps on two models; one is exempt, and another is made later.
async fn open(drill: &Drill) -> Response {
    let mut models = models(drill, "open", 0..2).await;
    let exempt = self::models(drill, "open", 3..4).await.remove(0);
    exempt.merge("alice", json!({"metadata": {"annotations": {"firebreak.dev/exempt": "true"}}})).await;
    models.push(exempt);
    let response = Response::prepare(drill, "open", models, |spec| {
        let batch = json!({"targets": targets("open", 4), "percent": 50});
        let smaller = json!({"name": "smaller-batch", "settle": "100ms", "action": {"reduceBatch": batch}});
        *drill::targets(spec) = targets("open", 4);
        spec["steps"].as_array_mut().expect("a list").insert(0, smaller);
    })
    .await;
    let incident = response.ring(drill).await;
    incident.wait_for_condition("Mitigated", "True").await;
    response
}

/// The emergency is over, and its report is written. One model had been changed by somebody else meanwhile. The
/// next response has to wait.
async fn closed(drill: &Drill) -> Response {
    let models = models(drill, "closed", 0..2).await;
    let response = Response::prepare(drill, "closed", models, |spec| {
        *drill::targets(spec) = targets("closed", 2);
        spec["guardrails"]["cooldown"] = json!("1h");
    })
    .await;
    let incident = response.ring(drill).await;
    incident.wait_for_condition("Mitigated", "True").await;
    let theirs = json!({"spec": {"model": {"quantization": {"precision": "fp8"}}}});
    response.targets[1].merge("alice", theirs).await;
    response.hush().await;
    incident.wait_for_condition("Resolved", "True").await;
    response.policy.wait_until("free", |policy| policy.data["status"].get("activeIncident").is_none()).await;
    response
}

/// Withdrawn by a person while the alarm rings on.
async fn waiting(drill: &Drill) -> Response {
    let models = models(drill, "waiting", 0..1).await;
    let response = Response::prepare(drill, "waiting", models, |spec| {
        *drill::targets(spec) = targets("waiting", 1);
        spec["guardrails"]["maxIncidents"] = json!({"count": 1, "per": "1h"});
    })
    .await;
    let incident = response.ring(drill).await;
    incident.wait_for_condition("Mitigated", "True").await;
    decide(&incident, "Withdrawn").await;
    incident.wait_for_condition("Resolved", "True").await;
    response.policy.wait_until("waits", |policy| policy.data["status"].get("waitingFor").is_some()).await;
    response
}

/// A person decides.
pub async fn decide(incident: &Object, response: &str) {
    incident.merge("alice", json!({"spec": {"response": response, "responseBy": "alice"}})).await;
}

/// Its plan needs an approval.
async fn awaiting_approval(drill: &Drill) -> Response {
    let models = models(drill, "approval", 0..2).await;
    let response = Response::prepare(drill, "approval", models, |spec| {
        *drill::targets(spec) = targets("approval", 2);
        spec["steps"][0]["approval"] = json!("Required");
    })
    .await;
    let incident = response.ring(drill).await;
    phase(&incident, "AwaitingApproval").await;
    response
}

/// Its only step has not helped.
async fn without_effect(drill: &Drill) -> Response {
    let models = models(drill, "effect", 0..2).await;
    let response = Response::prepare(drill, "effect", models, |spec| {
        *drill::targets(spec) = targets("effect", 2);
        let never = json!([{"cel": {"expression": "signals.alarm.total > 5"}}]);
        spec["steps"][0]["verify"] = json!({"within": "1s", "checks": never});
    })
    .await;
    let incident = response.ring(drill).await;
    phase(&incident, "Held").await;
    response
}

/// Taken on and paused by a person while its changes are in force.
async fn paused(drill: &Drill) -> Response {
    let models = models(drill, "paused", 0..2).await;
    let response =
        Response::prepare(drill, "paused", models, |spec| *drill::targets(spec) = targets("paused", 2)).await;
    let incident = response.ring(drill).await;
    incident.wait_for_condition("Mitigated", "True").await;
    incident.merge("alice", json!({"spec": {"acknowledgedBy": "alice"}})).await;
    incident.wait_for_condition("Acknowledged", "True").await;
    decide(&incident, "Paused").await;
    incident.wait_until("paused", |incident| is_stalled(incident, "Paused")).await;
    response
}

/// One step has raised the limit of an autoscaler. The next one is refused for one of its models, and a fence keeps
/// late requests away from that.
async fn failed(drill: &Drill, operator: &Operator) -> Response {
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "failed", "namespace": drill.world.a},
        "spec": {"minReplicas": 1, "maxReplicas": 4,
                 "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "nobody"}},
    });
    let mut all = drill.world.apply("flux", &autoscaler.to_string()).await;
    all.extend(models(drill, "failed", 0..2).await);
    let response = Response::prepare(drill, "failed", all, |spec| {
        let autoscalers =
            json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "names": ["failed"]});
        let raise = json!({"raiseAutoscalerLimit": {"targets": autoscalers, "factor": 3, "ceiling": 20}});
        *drill::targets(spec) = targets("failed", 2);
        spec["steps"][0]["retries"] = json!(0);
        let raise = json!({"name": "raise", "settle": "100ms", "action": raise});
        spec["steps"].as_array_mut().expect("a list").insert(0, raise);
    })
    .await;
    operator.proxy.on(Rule::each(|call| is_apply(call, "failed-1"), Fault::answer(403)));
    let incident = response.ring(drill).await;
    incident.wait_until("a step has failed", |incident| is_stalled(incident, "StepFailed")).await;
    response
}

/// Nobody can tell whether its change was made: every answer is an error of the server.
async fn unknown(drill: &Drill, operator: &Operator) -> Response {
    let models = models(drill, "unknown", 0..1).await;
    let response =
        Response::prepare(drill, "unknown", models, |spec| *drill::targets(spec) = targets("unknown", 1))
            .await;
    let fails = |call: &Call| is_apply(call, "unknown-0");
    operator.proxy.on(Rule::each(fails, Fault::answer(500)));
    let incident = response.ring(drill).await;
    let is_held = |incident: &DynamicObject| {
        incident.data["status"]["changes"][0]["state"] == "Held" && incident.data["status"]["phase"] == "Held"
    };
    incident.wait_until("its change is Held", is_held).await;
    response
}

/// Its change was made, and the answer was an error of the server.
async fn unclear(drill: &Drill, operator: &Operator) -> Response {
    let models = models(drill, "unclear", 0..1).await;
    let response =
        Response::prepare(drill, "unclear", models, |spec| *drill::targets(spec) = targets("unclear", 1))
            .await;
    operator.proxy.on(Rule::nth(1, |call| is_apply(call, "unclear-0"), Fault::answer_after(500)));
    let incident = response.ring(drill).await;
    let is_unclear = |incident: &DynamicObject| incident.data["status"]["changes"][0]["state"] == "Unclear";
    incident.wait_until("its change is Unclear", is_unclear).await;
    response
}

/// Approved and in force on five models, and the first of them is back.
async fn reverting(drill: &Drill) -> Response {
    let models = models(drill, "reverting", 0..5).await;
    let response = Response::prepare(drill, "reverting", models, |spec| {
        *drill::targets(spec) = targets("reverting", 5);
        spec["steps"][0]["approval"] = json!("Required");
        spec["recovery"] = json!({"for": "1s", "between": "1s", "maxAtOnce": 2});
    })
    .await;
    let incident = response.ring(drill).await;
    phase(&incident, "AwaitingApproval").await;
    let plan = incident.get().await.data["status"]["steps"][0]["planHash"].clone();
    let approval = json!([{"step": "cpu-fallback", "planHash": plan, "approvedBy": "alice"}]);
    incident.merge("alice", json!({"spec": {"approvals": approval}})).await;
    incident.wait_for_condition("Mitigated", "True").await;
    response
}

/// Two pods of a StatefulSet that start one after the other, and that nobody schedules.
async fn pods(drill: &Drill) -> Response {
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "store", "namespace": drill.world.a},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "store"}}, "template": {
            "metadata": {"labels": {"app": "store"}},
            "spec": {"schedulerName": BROKEN, "containers": [{"name": "main", "image": "example.com/main:1"}]},
        }},
    });
    let store = drill.world.create("gitops", &set.to_string()).await.remove(0);
    store.wait_until("its first pod is there", |set| set.data["status"]["replicas"] == 1).await;
    Response::prepare(drill, "pods", vec![store], |spec| {
        let targets = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "names": ["store"]});
        spec["steps"] = json!([{
            "name": "sets", "verify": {"within": "5m", "checks": [{"rollout": {}}]},
            "action": {"schedulerFallback": {"targets": targets, "from": BROKEN}},
        }]);
    })
    .await
}

async fn allow_more_kinds(drill: &Drill) {
    let sets = rights::Rule { group: "apps", resources: &["statefulsets"], verbs: &["get", "list", "patch"] };
    let pods = rights::Rule { group: "", resources: &["pods"], verbs: &["list", "delete"] };
    let autoscalers = rights::Rule {
        group: "autoscaling",
        resources: &["horizontalpodautoscalers"],
        verbs: &["get", "list", "watch", "patch"],
    };
    drill.world.grant(&drill.world.a, &[drill::rights(), vec![sets, pods, autoscalers]].concat()).await;
}

/// A third model joins: its intent is recorded, and the write does not come through.
async fn join_late(drill: &Drill, operator: &Operator, open: &mut Response) {
    operator.proxy.on(Rule::each(|call| is_apply(call, "open-2"), Fault::Silence));
    let late = models(drill, "open", 2..3).await.remove(0);
    open.before.push(late.get().await);
    open.targets.push(late);
    operator.proxy.wait_for("the write to open-2", |exchange| is_apply(&exchange.call, "open-2")).await;
}

/// The deletion of the pod in the way is recorded, and does not come through.
async fn delete_a_pod(drill: &Drill, operator: &Operator, pods: &Response) {
    let deletes = |call: &Call| call.method == Method::DELETE && call.target.resource == "pods";
    operator.proxy.on(Rule::each(deletes, Fault::Silence));
    pods.ring(drill).await;
    operator.proxy.wait_for("the deletion", move |exchange| deletes(&exchange.call)).await;
}

/// One model is back; of the next two one is back and nobody knows, and the other write does not come through.
async fn stop_in_a_wave(operator: &Operator, reverting: &Response) {
    let returns =
        |call: &Call| call.target.name.starts_with("reverting") && is_return(call, &call.target.name);
    operator.proxy.on(Rule::nth(2, returns, Fault::SilenceAfter));
    operator.proxy.on(Rule::nth(3, returns, Fault::Silence));
    reverting.hush().await;
    let both =
        operator.proxy.wait_for_nth(3, "three are being reverted", move |exchange| returns(&exchange.call));
    both.await;
    let second = operator
        .proxy
        .wait_for_nth(2, "two are back", move |exchange| returns(&exchange.call) && exchange.was_applied());
    second.await;
}
