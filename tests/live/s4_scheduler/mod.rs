//! S4: the scheduler of the training jobs fails, and its pods wait forever.

mod stuck;

use http::Method;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, Models, change_of, is_apply, is_return, is_stalled, touches},
    support::{
        object::Object,
        proxy::{Call, Exchange},
        rights,
    },
};

const BROKEN: &str = "ml-scheduler";

/// Lets the policy change StatefulSets, and do this to pods.
async fn allow(drill: &Drill, pods: &[&str]) {
    let sets = rights::Rule { group: "apps", resources: &["statefulsets"], verbs: &["get", "list", "patch"] };
    let pods = rights::Rule { group: "", resources: &["pods"], verbs: pods };
    let pods = if pods.verbs.is_empty() { Vec::new() } else { vec![pods] };
    drill.world.grant(&drill.world.a, &[drill::rights(), vec![sets], pods].concat()).await;
}

/// A Deployment or StatefulSet of two pods of this scheduler.
fn workload(drill: &Drill, kind: &str, name: &str, pod: Value) -> Value {
    let mut template = json!({"metadata": {"labels": {"app": name}}, "spec": pod});
    template["spec"]["containers"] = json!([{"name": "main", "image": "example.com/main:1"}]);
    json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": name, "namespace": drill.world.a},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template},
    })
}

async fn made(drill: &Drill, manifest: Value) -> Object {
    drill.world.create("gitops", &manifest.to_string()).await.remove(0)
}

fn replicas(object: &DynamicObject, field: &str) -> i64 {
    object.data["status"][field].as_i64().unwrap_or(0)
}

async fn wait_until_ready(object: &Object) {
    object.wait_until("all pods are ready", |object| replicas(object, "readyReplicas") == 2).await;
}

/// The controller has created the first pod, and no scheduler schedules it.
async fn wait_until_pending(object: &Object) {
    let is_pending = |object: &DynamicObject| {
        replicas(object, "replicas") > 0
            && replicas(object, "readyReplicas") == 0
            && object.data["status"]["observedGeneration"] == json!(object.metadata.generation)
    };
    object.wait_until("its pods are pending", is_pending).await;
}

/// The position of the first write of this kind.
fn place(writes: &[Exchange], what: &str, is: impl Fn(&Call) -> bool) -> usize {
    let found = writes.iter().position(|exchange| is(&exchange.call) && exchange.was_applied());
    found.unwrap_or_else(|| panic!("no write: {what}"))
}

fn deletes_pod(call: &Call) -> bool {
    call.method == Method::DELETE && call.target.resource == "pods"
}

/// The steps of the policy: Deployments, and the scheduler before them; then StatefulSets.
fn scheduler_fallback(spec: &mut Value) {
    let fallback = |kind: &str| json!({"targets": {"apiVersion": "apps/v1", "kind": kind}, "from": BROKEN});
    let mut deployments = fallback("Deployment");
    deployments["retire"] = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": BROKEN});
    spec["steps"] = json!([
        {"name": "deployments", "settle": "1s", "action": {"schedulerFallback": deployments}},
        {"name": "sets", "action": {"schedulerFallback": fallback("StatefulSet")},
         "verify": {"within": "1m", "checks": [{"rollout": {}}]}},
    ]);
}

#[tokio::test]
async fn pods_of_a_broken_scheduler_are_scheduled_by_another_until_a_person_says_that_it_works() {
    let drill = Drill::new("s4").await;
    allow(&drill, &["list", "delete"]).await;

    let of_it = || json!({"schedulerName": BROKEN});
    let scheduler = made(&drill, workload(&drill, "Deployment", BROKEN, json!({}))).await;
    let train = made(&drill, workload(&drill, "Deployment", "train", of_it())).await;
    let tune = made(&drill, workload(&drill, "Deployment", "tune", of_it())).await;
    let store = made(&drill, workload(&drill, "StatefulSet", "store", of_it())).await;
    let healthy = made(&drill, workload(&drill, "Deployment", "healthy", json!({}))).await;
    let nowhere = json!({"nodeSelector": {"nobody": "has-this-label"}});
    let other = made(&drill, workload(&drill, "Deployment", "other", nowhere)).await;
    for object in [&scheduler, &healthy] {
        wait_until_ready(object).await;
    }
    for object in [&train, &tune, &store, &other] {
        wait_until_pending(object).await;
    }
    let first_pod = drill.world.object("v1", "Pod", &drill.world.a, "store-0");
    let stuck = first_pod.snapshot().await.uid;
    let before =
        Models::of([&scheduler, &train, &tune, &store, &healthy, &other].map(Clone::clone).to_vec()).await;

    let operator = drill.world.operator().start().await;
    let policy = drill.policy_with(scheduler_fallback).await;
    let incident = drill.respond(&policy).await;

    for object in [&train, &tune, &store] {
        wait_until_ready(object).await;
        let scheduled_by = object.get().await.data["spec"]["template"]["spec"]["schedulerName"].clone();
        assert_eq!(scheduled_by, "default-scheduler", "{object}");
    }
    assert_eq!(scheduler.get().await.data["spec"]["replicas"], 0, "{scheduler}");
    let writes = operator.proxy.writes();
    let retired = place(&writes, "the scheduler is retired", |call| is_apply(call, BROKEN));
    for name in ["train", "tune", "store"] {
        let changed = place(&writes, name, |call| is_apply(call, name));
        assert!(retired < changed, "{name} before the scheduler was retired");
    }
    assert_only_the_stuck_pod_was_deleted(&incident, &writes, &stuck);

    drill.hush().await;
    let waits = |incident: &DynamicObject| is_stalled(incident, "AwaitingWithdrawal");
    let waiting = incident.wait_until("a person is asked", waits).await;
    assert_eq!(waiting.data["status"]["phase"], "Monitoring", "{incident}");
    for name in [BROKEN, "train", "tune", "store"] {
        assert!(["Applied", "Verified"].contains(&change_of(&waiting, name)["state"].as_str().unwrap_or("")));
    }

    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    incident.wait_for_condition("Resolved", "True").await;
    assert_the_scheduler_came_back_first(&operator.proxy.calls());
    for (number, object) in before.objects.iter().enumerate() {
        let (before, after) = (&before.before[number], object.snapshot().await);
        assert_eq!((&after.spec, after.traces()), (&before.spec, Vec::new()), "{object}");
        let is_ours = ![healthy.name(), other.name()].contains(&object.name());
        let writes = if is_ours { 2 } else { 0 };
        assert_eq!(after.generation, before.generation + writes, "{object}: generation");
    }
    let writes = operator.proxy.writes();
    for object in [&healthy, &other] {
        assert!(!writes.iter().any(|exchange| touches(&exchange.call, object.name())), "{object}: written");
    }
}

/// It is named in the status before, with its uid, and deleted as the policy's ServiceAccount.
fn assert_only_the_stuck_pod_was_deleted(incident: &Object, writes: &[Exchange], uid: &str) {
    let deleted: Vec<&Exchange> = writes.iter().filter(|exchange| deletes_pod(&exchange.call)).collect();
    assert!(!deleted.is_empty(), "{incident}: no pod was deleted");
    for Exchange { call, .. } in deleted {
        let preconditions = call.body.as_ref().map(|body| body["preconditions"].clone());
        let wanted = Some(json!({"uid": uid}));
        assert_eq!((call.target.name.as_str(), preconditions), ("store-0", wanted), "{incident}");
        assert!(call.user.as_ref().is_some_and(|user| user.ends_with(":firebreak-responder")));
    }
    let names_it = |call: &Call| {
        call.writes("incidents") && call.body.as_ref().is_some_and(|body| body.to_string().contains(uid))
    };
    let named = place(writes, "an intent that names the pod", names_it);
    assert!(named < place(writes, "the deletion", deletes_pod), "{incident}: deleted before it was recorded");
}

/// Restored, seen available, and only then the workloads.
fn assert_the_scheduler_came_back_first(calls: &[Exchange]) {
    let back = place(calls, "the scheduler is restored", |call| is_return(call, BROKEN));
    let looks = |exchange: &Exchange| {
        exchange.call.method == Method::GET && exchange.call.target.name == BROKEN && exchange.was_applied()
    };
    for name in ["train", "tune", "store"] {
        let returned = place(calls, name, |call| is_return(call, name));
        assert!(back < returned, "{name} before its scheduler");
        assert!(calls[back..returned].iter().any(looks), "{name} before its scheduler was looked at");
    }
}
