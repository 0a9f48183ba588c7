use firebreak_engine::facts::Role;
use firebreak_engine::id::TargetId;
use firebreak_engine::verdict::Verdict;
use serde_json::{Value, json};

use super::{
    Kind, by_labels, health, idle, in_place, obstacle, pace, paths, paused, pending, placement, profile,
    selection, trouble, waits_for, with,
};

const KIND: Kind = ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet");
const GPU: &str = "nvidia.com/gpu";
const TEMPLATES: &str = "/spec/leaderWorkerTemplate";

/// A model on two nodes for each replica, with a leader that serves.
fn object() -> Value {
    let pod = |name: &str, args: Value| {
        json!({"spec": {
            "nodeSelector": {"nvidia.com/gpu.product": "H100"}, "schedulerName": "volcano",
            "containers": [{"name": name, "image": "vllm/vllm-openai:v0.11.0", "command": ["vllm"], "args": args,
                "resources": {"limits": {GPU: "8", "memory": "1124Gi"}, "requests": {"cpu": 125}}}],
        }})
    };
    json!({
        "apiVersion": KIND.0, "kind": KIND.1, "metadata": {"name": "vllm", "generation": 3},
        "spec": {"replicas": 2, "leaderWorkerTemplate": {
            "size": 2, "restartPolicy": "RecreateGroupOnPodRestart",
            "leaderTemplate": pod("leader", json!(["serve", "m", "--max-num-seqs=256", "--nnodes", "2"])),
            "workerTemplate": pod("worker", json!(["serve", "m", "--max-num-seqs=256", "--nnodes", "2", "--headless"])),
        }},
        "status": {"observedGeneration": 3, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 2},
    })
}

#[test]
fn leaders_and_workers_are_changed_together() {
    let containers =
        |template: &str, name: &str| format!("{TEMPLATES}/{template}/spec/containers/[name={name}]");
    let limits = |template, name| format!("{}/resources/limits/nvidia.com~1gpu", containers(template, name));
    assert_eq!(
        paths(KIND, &object(), &Role::Accelerator),
        [limits("leaderTemplate", "leader"), limits("workerTemplate", "worker")]
    );
    let flag = |template, name| format!("{}/args/[flag=--max-num-seqs]", containers(template, name));
    assert_eq!(
        paths(KIND, &object(), &Role::BatchSize),
        [flag("leaderTemplate", "leader"), flag("workerTemplate", "worker")]
    );
    let field = |template: &str, field: &str| format!("{TEMPLATES}/{template}/spec/{field}");
    assert_eq!(
        paths(KIND, &object(), &Role::Scheduler),
        [field("leaderTemplate", "schedulerName"), field("workerTemplate", "schedulerName")]
    );
    assert_eq!(
        placement(KIND, &object()),
        ["leaderTemplate", "workerTemplate"].map(|t| field(t, "nodeSelector/nvidia.com~1gpu.product"))
    );
    assert_eq!(paths(KIND, &object(), &Role::Replicas), ["/spec/replicas"]);
}

#[test]
fn without_a_leader_template_the_template_of_the_workers_is_that_of_all() {
    let object = with(&object(), json!({"spec": {"leaderWorkerTemplate": {"leaderTemplate": null}}}));
    assert_eq!(paths(KIND, &object, &Role::Accelerator).len(), 1);
    assert_eq!(paths(KIND, &object, &Role::BatchSize).len(), 1);
    assert_eq!(obstacle(KIND, &object, &Role::BatchSize), None);
}

#[test]
fn a_leader_that_a_shell_starts_is_not_guessed() {
    let shell = json!([{"name": "leader", "image": "vllm/vllm-openai:v0.8.5", "command": ["sh", "-c",
        "bash /vllm-workspace/examples/online_serving/multi-node-serving.sh leader; \
         python3 -m vllm.entrypoints.openai.api_server --port 8080 --max-num-seqs 64"]}]);
    let template = json!({"leaderTemplate": {"spec": {"containers": shell}}});
    let object = with(&object(), json!({"spec": {"leaderWorkerTemplate": template}}));
    let why = obstacle(KIND, &object, &Role::BatchSize).unwrap();
    assert!(why.contains("container leader"), "{why}");
}

#[test]
fn it_is_healthy_with_three_quarters_of_its_groups() {
    let groups = |replicas: Value, ready: Value| {
        health(KIND, &json!({"spec": {"replicas": replicas}, "status": {"readyReplicas": ready}}))
    };
    for (replicas, ready) in [(1, 1), (4, 3), (0, 0)] {
        assert_eq!(groups(json!(replicas), json!(ready)), Verdict::True, "{replicas} {ready}");
    }
    for (replicas, ready) in [(1, 0), (2, 1), (4, 2)] {
        assert_eq!(groups(json!(replicas), json!(ready)), Verdict::False, "{replicas} {ready}");
    }
    assert_eq!(health(KIND, &json!({"spec": {}, "status": {}})), Verdict::False, "it wants one and has none");
    assert!(idle(KIND, &json!({"spec": {"replicas": 0}})).is_some());
    assert_eq!(idle(KIND, &object()), None);
}

#[test]
fn it_waits_for_each_stage_in_turn() {
    let table = [
        (json!({"observedGeneration": 2}), "not observed"),
        (json!({"updatedReplicas": 1}), "have the change"),
        (json!({"replicas": 3}), "still exist"),
        (json!({"readyReplicas": 1}), "ready yet"),
        (json!({"readyReplicas": null}), "ready yet"),
    ];
    for (status, expected) in table {
        let (verdict, why) = waits_for(KIND, &with(&object(), json!({"status": status})));
        assert_eq!(verdict, Verdict::False, "{expected}");
        assert!(why.contains(expected), "{why}");
    }
    assert_eq!(waits_for(KIND, &object()).0, Verdict::True);
    let old = with(&object(), json!({"status": {"observedGeneration": null}}));
    assert_eq!(waits_for(KIND, &old).0, Verdict::True, "versions before 0.9 do not say");
    // A condition that an overtaken update has left.
    let left = json!({"status": {"conditions": [{"type": "UpdateInProgress", "status": "True"}]}});
    assert_eq!(waits_for(KIND, &with(&object(), left)).0, Verdict::True);
}

#[test]
fn a_partition_keeps_groups_at_their_template() {
    let partition = |number: i64| {
        let configuration = json!({"partition": number, "maxUnavailable": 1});
        with(
            &object(),
            json!({"spec": {"rolloutStrategy": {"type": "RollingUpdate", "rollingUpdateConfiguration": configuration}}}),
        )
    };
    assert!(paused(KIND, &partition(1)).unwrap().contains("partition"));
    assert_eq!(paused(KIND, &partition(0)), None);
    let held = with(&partition(1), json!({"status": {"updatedReplicas": 1}}));
    assert_eq!(waits_for(KIND, &held).0, Verdict::True, "the others have the change");
}

const ROLLING: &str = "/spec/rolloutStrategy/rollingUpdateConfiguration";

#[test]
fn a_surge_of_groups_becomes_0_while_it_has_fallen_back() {
    let with_pace = |configuration: Value| {
        let strategy = json!({"type": "RollingUpdate", "rollingUpdateConfiguration": configuration});
        pace(KIND, &with(&object(), json!({"spec": {"rolloutStrategy": strategy}})))
    };
    assert_eq!(
        with_pace(json!({"maxSurge": 1, "maxUnavailable": 0})),
        in_place(ROLLING, &["maxUnavailable"])
    );
    assert_eq!(
        with_pace(json!({"maxSurge": "50%", "maxUnavailable": "25%"})),
        in_place(ROLLING, &["maxUnavailable"])
    );
    assert_eq!(
        with_pace(json!({"maxSurge": 1, "maxUnavailable": "100%"})),
        [(format!("{ROLLING}/maxSurge"), json!(0)), (format!("{ROLLING}/maxUnavailable"), json!(2))],
        "with fewer replicas, a percentage may be none, which its webhook rejects"
    );
    assert_eq!(
        with_pace(json!({"maxSurge": 2})),
        in_place(ROLLING, &[]),
        "one may be missing if nothing is said"
    );
    assert_eq!(with_pace(json!({"maxSurge": 0, "maxUnavailable": 1, "partition": 0})), []);
    assert_eq!(pace(KIND, &object()), [], "without a strategy there is no surge");
}

#[test]
fn its_pods_have_the_template_of_leaders_or_of_workers() {
    let by = "leaderworkerset.sigs.k8s.io";
    assert_eq!(selection(KIND, &object()), by_labels(&json!({format!("{by}/name"): "vllm"})));
    let labels = |index: &str| json!({format!("{by}/name"): "vllm", format!("{by}/worker-index"): index});
    let (leader, worker) = (labels("0"), labels("1"));
    let pending = |labels: &Value, container: &str, gpus: &str| {
        trouble(KIND, &object(), &pending(labels, container, gpus))
    };
    assert!(pending(&leader, "leader", "8").is_some() && pending(&worker, "worker", "8").is_some());
    assert_eq!(pending(&leader, "leader", "0"), None, "an old one");
    assert_eq!(pending(&worker, "worker", "0"), None, "an old one");

    let bare = with(&object(), json!({"spec": {"leaderWorkerTemplate": {"leaderTemplate": null}}}));
    assert!(trouble(KIND, &bare, &super::pending(&leader, "worker", "8")).is_some(), "a leader has it, too");
}

#[test]
fn a_pod_that_does_not_end_keeps_the_one_of_its_name_from_being_created() {
    let mut lost = pending(&json!({}), "worker", "8");
    lost["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:10Z");
    lost["spec"]["nodeName"] = json!("gpu-1");
    let found = trouble(KIND, &object(), &lost).unwrap();
    assert!(found.contains("node gpu-1") && found.contains("kubectl delete pod pod-1"), "{found}");
    assert!(found.contains("the pod that takes its name cannot be created before it is gone"), "{found}");
}

#[test]
fn its_stateful_sets_say_why_pods_are_refused() {
    let profile = profile(KIND);
    let pods = profile.pods.as_ref().unwrap();
    let text = |text: &str| text.to_owned();
    let id = TargetId {
        api_version: text(KIND.0),
        kind: text(KIND.1),
        namespace: text("serving"),
        name: text("vllm"),
        uid: text("u"),
    };
    for (name, expected) in
        [("vllm", true), ("vllm-0", true), ("vllm-12", true), ("vllm-other", false), ("llm", false)]
    {
        assert_eq!(pods.is_told_by(&id, "StatefulSet", name), expected, "{name}");
    }
    assert!(!pods.is_told_by(&id, "ReplicaSet", "vllm"));
    assert_eq!(pods.wanted(profile.replicas.as_ref().unwrap(), &object()), 4, "two groups of two");
}
