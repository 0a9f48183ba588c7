//! Restarts: each workload rolls once, whatever happens to the answer, and nothing that ends the response restarts it again.

mod kinds;
mod settled;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, change_of},
    support::{object::Object, rights::Rule},
};

/// Where `kubectl rollout restart` writes, too.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

/// A drill whose ServiceAccount may restart workloads.
async fn drill(name: &str) -> Drill {
    let drill = Drill::new(name).await;
    grant(&drill, &["replicasets", "controllerrevisions"]).await;
    drill
}

/// Lets the ServiceAccount restart workloads and list these kinds, which settle what became of a restart.
async fn grant(drill: &Drill, revisions: &[&str]) {
    let sets = &["daemonsets", "statefulsets"];
    let change = &["get", "list", "patch"];
    let rules = [
        Rule { group: "apps", resources: sets, verbs: change },
        Rule { group: "apps", resources: revisions, verbs: &["list"] },
        // What a restart of a StatefulSet and what messages about pods need.
        Rule { group: "", resources: &["pods"], verbs: &["list", "delete"] },
        Rule { group: "", resources: &["events"], verbs: &["list"] },
        Rule { group: "argoproj.io", resources: &["rollouts"], verbs: change },
        Rule { group: "leaderworkerset.x-k8s.io", resources: &["leaderworkersets"], verbs: change },
        Rule { group: "serving.kserve.io", resources: &["inferenceservices"], verbs: change },
    ];
    drill.world.grant(&drill.world.a, &[drill::rights(), rules.to_vec()].concat()).await;
}

/// A server that runs on the nodes of the test.
fn workload(drill: &Drill, kind: &str, name: &str, more: Value) -> Value {
    let pool = &drill.world.id;
    let mut spec = json!({
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {
            "terminationGracePeriodSeconds": 1,
            "nodeSelector": {"nvidia.com/gpu.pool": pool},
            "tolerations": [{"key": "nvidia.com/gpu.pool", "value": pool}],
            "containers": [{"name": "server", "image": "example.com/server:1"}],
        }},
    });
    for (key, value) in more.as_object().expect("fields") {
        spec[key] = value.clone();
    }
    let metadata = json!({"name": name, "namespace": drill.world.a});
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// Creates it and waits until its controller has rolled it out.
async fn running(drill: &Drill, kind: &str, name: &str, more: Value) -> Object {
    let object = drill.world.create("gitops", &workload(drill, kind, name, more).to_string()).await.remove(0);
    object.wait_until("it runs", runs).await;
    object
}

/// Whether all pods are available, and made from the present template.
fn runs(object: &DynamicObject) -> bool {
    let status = &object.data["status"];
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    let is_of_now = status["observedGeneration"] == json!(object.metadata.generation);
    let all = match status["desiredNumberScheduled"].as_i64() {
        Some(wanted) => {
            wanted > 0 && number("updatedNumberScheduled") == wanted && number("numberAvailable") == wanted
        }
        None => {
            let wanted = object.data["spec"]["replicas"].as_i64().unwrap_or(1);
            ["updatedReplicas", "availableReplicas", "replicas"].iter().all(|field| number(field) == wanted)
        }
    };
    is_of_now && all
}

/// A step that restarts these objects.
fn step(name: &str, api_version: &str, kind: &str, names: &[&str]) -> Value {
    let targets = json!({"apiVersion": api_version, "kind": kind, "names": names, "where": "true"});
    json!({"name": name, "action": {"rolloutRestart": {"targets": targets}}, "settle": "0s"})
}

fn restarted_at(object: &DynamicObject) -> &Value {
    &object.data["spec"]["template"]["metadata"]["annotations"][RESTARTED]
}

/// The templates of the object that its controller keeps, as their names.
async fn revisions(drill: &Drill, kind: &str, of: &Object) -> Vec<String> {
    let uid = of.get().await.metadata.uid;
    let is_its = |revision: &DynamicObject| {
        revision.metadata.owner_references.iter().flatten().any(|owner| Some(&owner.uid) == uid.as_ref())
    };
    let all = drill.world.list("apps/v1", kind, &drill.world.a).await;
    all.into_iter().filter(is_its).filter_map(|revision| revision.metadata.name).collect()
}

async fn wait_until_done(incident: &Object, names: &[&str]) -> DynamicObject {
    let done =
        |incident: &DynamicObject| names.iter().all(|name| change_of(incident, name)["state"] == "Done");
    incident.wait_until("all restarts are done", done).await
}

#[tokio::test]
async fn each_workload_rolls_once_and_neither_recovery_nor_time_restarts_it_again() {
    let drill = drill("restarts").await;
    let _nodes = drill.world.gpu_nodes(1).await;
    let two = json!({"replicas": 2});
    let ((web, set), agent) = tokio::join!(
        async {
            tokio::join!(
                running(&drill, "Deployment", "web", two.clone()),
                running(&drill, "StatefulSet", "set", json!({"replicas": 2, "serviceName": "set"})),
            )
        },
        running(&drill, "DaemonSet", "agent", json!({})),
    );
    let objects = [(&web, "ReplicaSet"), (&set, "ControllerRevision"), (&agent, "ControllerRevision")];
    let mut before = Vec::new();
    for (object, kind) in objects {
        assert_eq!(revisions(&drill, kind, object).await.len(), 1, "{object}");
        before.push(object.snapshot().await);
    }

    let operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            spec["steps"] = json!([
                step("web", "apps/v1", "Deployment", &["web"]),
                step("set", "apps/v1", "StatefulSet", &["set"]),
                step("agent", "apps/v1", "DaemonSet", &["agent"]),
            ]);
        })
        .await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    wait_until_done(&incident, &["web", "set", "agent"]).await;
    for (object, kind) in objects {
        let now =
            object.wait_until("it has rolled", |object| runs(object) && restarted_at(object).is_string());
        let now = now.await;
        assert_eq!(revisions(&drill, kind, object).await.len(), 2, "{object}: one new revision");
        let value = restarted_at(&now).as_str().expect("a value").to_owned();
        assert!(value.starts_with("firebreak-"), "{object}: {value}");
    }

    let closed = drill.recover(&incident).await;
    for ((object, kind), before) in objects.into_iter().zip(before) {
        assert_eq!(change_of(&closed, object.name())["state"], "Done");
        let after = object.snapshot().await;
        assert_eq!(after.generation, before.generation + 1, "{object}: its spec was changed once");
        assert_eq!(after.traces(), Vec::<&str>::new(), "{object}: traces");
        assert!(restarted_at(&object.get().await).is_string(), "{object}: the value stays");
        assert_eq!(revisions(&drill, kind, object).await.len(), 2, "{object}: still one new revision");
        let sent = operator
            .proxy
            .writes()
            .into_iter()
            .filter(|exchange| drill::touches(&exchange.call, object.name()));
        assert_eq!(sent.count(), 1, "{object}: one request");
    }
    let report =
        drill.world.object("v1", "ConfigMap", &drill.world.a, &format!("{}-report", incident.name()));
    let report = report.get().await.data["data"].to_string();
    assert!(
        report.contains("restart of Deployment") && report.contains("would restart the pods"),
        "{report}"
    );
    let event = web.wait_for_event("FirebreakRestarted").await;
    assert!(event.contains("cannot be undone"), "{event}");
}

#[tokio::test]
async fn what_would_not_roll_is_left_alone_and_says_why() {
    let drill = drill("restarts-not").await;
    let _nodes = drill.world.gpu_nodes(1).await;
    let on_delete = json!({"updateStrategy": {"type": "OnDelete"}});
    let (paused, agent) = tokio::join!(
        running(&drill, "Deployment", "paused", json!({"replicas": 1})),
        running(&drill, "DaemonSet", "agent", on_delete),
    );
    paused.merge("alice", json!({"spec": {"paused": true}})).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            spec["steps"] = json!([
                step("paused", "apps/v1", "Deployment", &["paused"]),
                step("agent", "apps/v1", "DaemonSet", &["agent"]),
            ]);
        })
        .await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    for (object, words) in [(&paused, "paused"), (&agent, "OnDelete")] {
        let refused = |incident: &DynamicObject| {
            let change = change_of(incident, object.name());
            let message = change["message"].as_str().unwrap_or_default();
            change["state"] == "Skipped" && change["reason"] == "NotApplicable" && message.contains(words)
        };
        incident.wait_until(&format!("{object} is refused"), refused).await;
        assert!(restarted_at(&object.get().await).is_null(), "{object}");
    }
}

#[tokio::test]
async fn without_the_right_to_list_revisions_nothing_is_restarted_and_the_policy_names_it() {
    let drill = Drill::new("restarts-rights").await;
    grant(&drill, &["controllerrevisions"]).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill
        .apply_policy(|spec| spec["steps"] = json!([step("web", "apps/v1", "Deployment", &["web"])]))
        .await;
    let names_it = |policy: &DynamicObject| {
        drill::message_of(policy, "Ready").contains("replicasets")
            || drill::message_of(policy, "AccessGranted").contains("replicasets")
    };
    policy.wait_until("it names the right", names_it).await;
}
