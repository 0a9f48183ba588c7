//! `kubectl rollout undo` restores an old pod template with the annotations that the Deployment had then:
//! during the emergency this removes our record, and afterwards it restores a dead one.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::loans;
use crate::{
    drill::{self, Drill, change_of},
    support::{
        object::{Object, PATIENCE, Snapshot},
        rights::Rule,
        shell,
        testbed::testbed,
    },
};

/// The page with the command that finds leftovers.
const UNINSTALL: &str = include_str!("../../../docs/uninstall.md");

/// What the command in the documentation that finds leftovers prints for this namespace and these kinds.
async fn leftovers(drill: &Drill, kinds: &str) -> String {
    let chapter = UNINSTALL.split("\n## Leftovers").nth(1).expect("a chapter about leftovers");
    let typed: Vec<&str> = chapter.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let script = typed[..3].join("\n");
    let all = "$(kubectl api-resources --namespaced --verbs=list,patch -o name)";
    assert!(script.contains(all) && script.contains(" -A "), "{script}");
    let script = script.replace(all, kinds).replace(" -A ", &format!(" -n {} ", drill.world.a));
    let (worked, said) = shell::run(&script, &drill.world.files(), testbed(), PATIENCE).await;
    assert!(worked, "{script}\n{said}");
    said
}

/// A Deployment that has had two images, and requested more in the first revision. It runs on a GPU node of
/// the world, and on any node while its accelerator is released. It has no surge, which a rollback would leave changed.
async fn deployment(drill: &Drill, name: &str) -> Object {
    let manifest = |image: &str, gpus: &str| {
        let resources = json!({"limits": {"nvidia.com/gpu": gpus}, "requests": {"nvidia.com/gpu": gpus}});
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": drill.world.a, "annotations": {"team": "serving"}},
            "spec": {"replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "nodeSelector": {"nvidia.com/gpu.pool": drill.world.id},
                    "tolerations": [{"key": "nvidia.com/gpu.pool", "value": drill.world.id}],
                    "containers": [{"name": "main", "image": image, "resources": resources}],
                },
            }},
        })
    };
    let object =
        drill.world.apply("flux", &manifest("example.com/server:1", "2").to_string()).await.remove(0);
    wait_for_revision(&object, "1").await;
    drill.world.apply("flux", &manifest("example.com/server:2", "1").to_string()).await;
    wait_for_revision(&object, "2").await;
    object.wait_until("it runs", drill::has_rolled_out).await;
    object
}

/// Its controller has created the ReplicaSet of the present template, which has this number.
async fn wait_for_revision(deployment: &Object, revision: &str) -> Snapshot {
    let observed = |object: &DynamicObject| {
        let annotations = object.metadata.annotations.clone().unwrap_or_default();
        annotations.get("deployment.kubernetes.io/revision").is_some_and(|now| now == revision)
            && object.data["status"]["observedGeneration"] == json!(object.metadata.generation)
    };
    Snapshot::of(&deployment.wait_until(&format!("at revision {revision}"), observed).await)
}

async fn rollout_undo(drill: &Drill, deployment: &Object, to: &str) {
    let (name, to) = (format!("deployment/{}", deployment.name()), format!("--to-revision={to}"));
    drill.world.kubectl(&["rollout", "undo", &name, &to, "--namespace", &drill.world.a]).await;
}

fn gpus(spec: &Value) -> (&Value, &Value) {
    let container = &spec["template"]["spec"]["containers"][0];
    (&container["resources"]["limits"]["nvidia.com/gpu"], &container["image"])
}

async fn policy(drill: &Drill) -> Object {
    drill
        .policy_with(|spec| {
            let targets = drill::targets(spec);
            *targets = json!({"apiVersion": "apps/v1", "kind": "Deployment", "where": "true"});
        })
        .await
}

#[tokio::test]
async fn a_rollback_during_the_emergency_is_somebodys_decision_and_is_not_overwritten() {
    let drill = Drill::new("s18-rollback").await;
    let _nodes = drill.world.gpu_nodes(2).await;
    let (back, older) = tokio::join!(deployment(&drill, "back"), deployment(&drill, "older"));
    let _operator = drill.world.operator().start().await;
    let policy = policy(&drill).await;
    let incident = drill.respond(&policy).await;
    for deployment in [&back, &older] {
        let fallen = wait_for_revision(deployment, "3").await;
        assert_eq!(gpus(&fallen.spec), (&json!("0"), &json!("example.com/server:2")), "{deployment}");
    }

    // To the template before the emergency, and to a much older one.
    rollout_undo(&drill, &back, "2").await;
    rollout_undo(&drill, &older, "1").await;
    for (deployment, state) in [(&back, "Reverted"), (&older, "Ceded")] {
        let wish = format!("{deployment} is {state}");
        let ended = |incident: &DynamicObject| change_of(incident, deployment.name())["state"] == state;
        let seen = incident.wait_until(&wish, ended).await;
        let owner = &change_of(&seen, deployment.name())["fields"][0]["cededTo"];
        let named = owner.as_str().is_some_and(|owner| owner.starts_with("kubectl"));
        assert_eq!(named, state == "Ceded", "{incident}: {deployment}: who has it now: {owner}");
    }
    // A new target shows that the step has read all of them since.
    let late = deployment(&drill, "late").await;
    incident.wait_until("late joins", |incident| change_of(incident, "late")["state"] == "Verified").await;

    drill.recover(&incident).await;
    for (deployment, gpu, image) in [
        (&back, "1", "example.com/server:2"),
        (&older, "2", "example.com/server:1"),
        (&late, "1", "example.com/server:2"),
    ] {
        let after = deployment.snapshot().await;
        assert_eq!(gpus(&after.spec), (&json!(gpu), &json!(image)), "{deployment}");
        assert_eq!(after.traces(), Vec::<&str>::new(), "{deployment}: traces");
        assert_eq!(after.annotations.get("team").map(String::as_str), Some("serving"), "{deployment}");
    }
}

#[tokio::test]
async fn a_rollback_to_the_emergency_brings_a_dead_record_back_which_nobody_takes_for_alive() {
    let drill = Drill::new("s18-revenant").await;
    let _nodes = drill.world.gpu_nodes(1).await;
    let model = deployment(&drill, "model").await;
    let _operator = drill.world.operator().start().await;
    let policy = policy(&drill).await;
    let first = drill.respond(&policy).await;
    wait_for_revision(&model, "3").await;
    drill.recover(&first).await;
    let before = wait_for_revision(&model, "4").await;
    assert_eq!(before.traces(), Vec::<&str>::new(), "{model}");

    rollout_undo(&drill, &model, "3").await;
    wait_for_revision(&model, "5").await;
    model.wait_until("it runs", drill::has_rolled_out).await;
    let revenant = model.snapshot().await;
    assert_eq!(gpus(&revenant.spec).0, "0", "{model}: without GPUs, as in the emergency");
    let dead = loans(&model).await;
    assert_eq!(dead.len(), 1, "{model}: the record of the emergency: {dead:?}");

    // The emergency is over and its change was reverted: the present values belong to the person who rolled back.
    let undo = ["undo", "deployment/model", "--namespace", &drill.world.a];
    let refused = drill.world.firebreak(&undo).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for word in [first.name(), "has ended", "--forget"] {
        assert!(said.contains(word), "no {word} in {said:?}");
    }
    // Its controller may write the status once more.
    let after = Snapshot { version: revenant.version.clone(), ..model.snapshot().await };
    assert_eq!(after, revenant, "{model}: undo wrote to it");

    // The next response does not adopt it: there is nothing to do.
    drill.ring().await;
    let second = drill.world.incident_of(&policy).await;
    let step = |incident: &DynamicObject| incident.data["status"]["steps"][0].clone();
    let idle = second.wait_until("nothing to do", |incident| step(incident)["reason"] == "NothingToDo").await;
    assert_eq!(step(&idle)["targets"]["nothingToDo"], 1, "{second}: {}", step(&idle));
    assert_eq!(model.snapshot().await, revenant, "{model}: touched");

    // Someone gives it GPUs again. Then there is something to do, and the dead record is replaced.
    let three = json!([
        {"op": "replace", "path": "/spec/template/spec/containers/0/resources/limits/nvidia.com~1gpu", "value": "3"},
        {"op": "replace", "path": "/spec/template/spec/containers/0/resources/requests/nvidia.com~1gpu", "value": "3"},
    ]);
    model.json_patch("alice", three).await;
    second.wait_until("it joins", |incident| change_of(incident, "model")["state"] == "Verified").await;
    let alive = loans(&model).await;
    assert_eq!(alive.len(), 1, "{model}: {alive:?}");
    assert_ne!(alive[0]["incident"], dead[0]["incident"], "{model}: whose record it is");
    assert_eq!(alive[0]["fields"][0]["before"], "3", "{model}: {alive:?}");
    drill.recover(&second).await;
    let after = model.snapshot().await;
    assert_eq!(gpus(&after.spec).0, "3", "{model}");
    assert_eq!(after.traces(), Vec::<&str>::new(), "{model}: traces");
}

#[tokio::test]
async fn a_rollback_after_the_incident_is_gone_leaves_the_replicas_of_a_person_alone() {
    let drill = Drill::new("s18-replicas").await;
    let _nodes = drill.world.gpu_nodes(1).await;
    let list = |group, resources| Rule { group, resources, verbs: &["list"] };
    let seen = [
        list("autoscaling", &["horizontalpodautoscalers"]),
        list("keda.sh", &["scaledobjects"]),
        list("argoproj.io", &["rollouts"]),
    ];
    drill.world.grant(&drill.world.a, &[drill::rights(), seen.to_vec()].concat()).await;
    let server = deployment(&drill, "server").await;
    let _operator = drill.world.operator().start().await;
    let targets = json!({"apiVersion": "apps/v1", "kind": "Deployment", "where": "true"});
    let steps =
        json!([{"name": "more", "settle": "0s", "action": {"scale": {"targets": targets, "replicas": 3}}}]);
    let policy = drill.policy_with(|spec| spec["steps"] = steps).await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    incident.wait_until("lent", |incident| change_of(incident, "server")["state"] == "Applied").await;
    // Its controller copies the record to the ReplicaSet of a deploy during the emergency.
    let kubectl = async |arguments: &[&str]| {
        drill.world.kubectl(&[arguments, &["--namespace", &drill.world.a]].concat()).await
    };
    kubectl(&["set", "image", "deployment/server", "main=example.com/server:3"]).await;
    wait_for_revision(&server, "3").await;
    drill.recover(&incident).await;
    kubectl(&["set", "image", "deployment/server", "main=example.com/server:4"]).await;
    wait_for_revision(&server, "4").await;
    kubectl(&["delete", "incident", incident.name()]).await;
    server.merge("alice", json!({"spec": {"replicas": 2}})).await;

    rollout_undo(&drill, &server, "3").await;
    let has_record = |object: &DynamicObject| {
        object.metadata.annotations.as_ref().is_some_and(|all| all.contains_key("firebreak.dev/undo"))
    };
    server.wait_until("the record is back", has_record).await;
    let found = leftovers(&drill, "deployments.apps replicasets.apps statefulsets.apps").await;
    let (mut on_server, mut on_copies) = (0, 0);
    for line in found.lines() {
        assert!(line.ends_with(&format!("-n {} --forget", drill.world.a)), "{found}");
        on_server += i32::from(line.starts_with("firebreak undo deployments.apps/server "));
        on_copies += i32::from(line.starts_with("firebreak undo replicasets.apps/server-"));
    }
    assert!(on_server == 1 && on_copies >= 1, "{server}: {found}");
    let undo = async |more: &[&str]| {
        let answer = drill
            .world
            .firebreak(&[&["undo", "deployment/server", "-n", &drill.world.a], more].concat())
            .await;
        String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned()
    };
    let said = undo(&[]).await;
    for words in ["not in force", "--forget", "ReplicaSet"] {
        assert!(said.contains(words), "{server}: no {words:?} in {said}");
    }
    assert_eq!(server.snapshot().await.spec["replicas"], 2, "{server}: {said}");
    let said = undo(&["--forget"]).await;
    assert_eq!(server.snapshot().await.traces(), Vec::<&str>::new(), "{server}: {said}");
    assert_eq!(server.snapshot().await.spec["replicas"], 2, "{server}: {said}");
    for line in found.lines().filter(|line| line.contains(" replicasets.apps/")) {
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        let done = drill.world.firebreak(&words).await;
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }
    assert_eq!(leftovers(&drill, "deployments.apps replicasets.apps").await, "", "{server}");
}
