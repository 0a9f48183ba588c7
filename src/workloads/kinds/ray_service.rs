use firebreak_engine::facts::{About, Role};
use firebreak_engine::verdict::Verdict;
use serde_json::{Value, json};

use super::{
    Kind, Selection, by_labels, health, idle, obstacle, paths, paused, pending, placement, selection, slots,
    trouble, waits_for, with,
};

const KIND: Kind = ("ray.io/v1", "RayService");
const CLUSTER: &str = "/spec/rayClusterConfig";
const SERVE: &str = "applications:\n- name: chat\n  import_path: chat:app\n  deployments:\n  - name: Chat\n    num_replicas: 2\n    max_ongoing_requests: 64\n";

/// A service that Ray does not schedule by accelerators.
fn object() -> Value {
    let group = |name: &str| {
        json!({"groupName": name, "replicas": 1, "minReplicas": 1, "maxReplicas": 4, "rayStartParams": {},
        "template": {"spec": {
            "schedulerName": "volcano", "nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
            "containers": [{"name": "ray-worker", "image": "rayproject/ray-llm:2.52.0-py311-cu128",
                "resources": {"limits": {"cpu": "32", "nvidia.com/gpu": "4"}, "requests": {"nvidia.com/gpu": "4"}}}],
        }}})
    };
    let head = json!({"rayStartParams": {"num-cpus": "0", "num-gpus": "0"}, "template": {"spec": {
        "schedulerName": "volcano",
        "containers": [{"name": "ray-head", "image": "rayproject/ray-llm:2.52.0-py311-cu128", "resources": {"limits": {"cpu": "2"}}}],
    }}});
    json!({
        "apiVersion": KIND.0, "kind": KIND.1, "metadata": {"name": "chat", "generation": 5},
        "spec": {"serveConfigV2": SERVE, "rayClusterConfig": {
            "rayVersion": "2.52.0", "headGroupSpec": head, "workerGroupSpecs": [group("gpu-group"), group("spare")],
        }},
        "status": {"observedGeneration": 5, "numServeEndpoints": 2, "serviceStatus": "Running",
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "UpgradeInProgress", "status": "False"}],
            "activeServiceStatus": {"rayClusterName": "chat-7xk2p", "applicationStatuses": {"chat": {"status": "RUNNING"}}},
            "pendingServiceStatus": {}},
    })
}

fn group(name: &str, field: &str) -> String {
    format!("{CLUSTER}/workerGroupSpecs/[groupName={name}]/template/spec/{field}")
}

#[test]
fn the_head_and_every_group_of_workers_are_changed_together() {
    let gpus = |name: &str| {
        ["limits", "requests"]
            .map(|map| group(name, &format!("containers/[name=ray-worker]/resources/{map}/nvidia.com~1gpu")))
    };
    assert_eq!(paths(KIND, &object(), &Role::Accelerator), [gpus("gpu-group"), gpus("spare")].concat());
    assert_eq!(
        paths(KIND, &object(), &Role::Scheduler),
        [
            format!("{CLUSTER}/headGroupSpec/template/spec/schedulerName"),
            group("gpu-group", "schedulerName"),
            group("spare", "schedulerName"),
        ]
    );
    assert_eq!(
        placement(KIND, &object()),
        ["gpu-group", "spare"].map(|name| group(name, "nodeSelector/cloud.google.com~1gke-accelerator"))
    );
    assert_eq!(obstacle(KIND, &object(), &Role::Accelerator), None);
}

#[test]
fn what_would_have_no_effect_or_is_in_a_text_is_named() {
    let table = [
        (Role::Replicas, "running cluster"),
        (Role::AutoscalerLimit, "running cluster"),
        (Role::BatchSize, "serveConfigV2"),
        (Role::MaxConcurrency, "serveConfigV2"),
    ];
    for (role, expected) in table {
        let why = obstacle(KIND, &object(), &role).unwrap();
        assert!(why.contains(expected), "{role:?}: {why}");
    }
}

#[test]
fn accelerators_by_which_ray_schedules_are_not_taken_from_the_pods_alone() {
    let why = |patch: Value| obstacle(KIND, &with(&object(), patch), &Role::Accelerator);
    for text in [
        "applications:\n- import_path: ray.serve.llm:build_openai_app",
        "applications:\n- deployments:\n  - ray_actor_options:\n      num_gpus: 1",
        "applications:\n- args: {llm_configs: [{accelerator_type: L4}]}",
    ] {
        assert!(why(json!({"spec": {"serveConfigV2": text}})).unwrap().contains("serveConfigV2"), "{text}");
    }
    for resource in ["TPU", "HPU", "NPU", "neuron_cores", "RBLN", "TPU-v4-8-head"] {
        for text in [
            format!("applications:\n- deployments:\n  - ray_actor_options: {{resources: {{{resource}: 2}}}}"),
            format!("{{\"resources\": {{\"{resource}\": 0.5}}}}"),
        ] {
            let why = why(json!({"spec": {"serveConfigV2": text}}));
            assert!(why.unwrap().contains("serveConfigV2"), "{resource}");
        }
    }
    let words = "applications:\n- import_path: chat:input_output\n  args: {max_output: 3, inputs: [a]}";
    assert_eq!(why(json!({"spec": {"serveConfigV2": words}})), None);
    for (resources, expected) in [
        (r#""{\"TPU\": 4}""#, true),
        (r#"{"HPU": 2}"#, true),
        (r#"{"memory_bytes": 1, "neuron_cores": 0.5}"#, true),
        (r#"{"GPU": 10}"#, true),
        (r#"{"output": 4}"#, false),
    ] {
        for place in ["workerGroupSpecs", "headGroupSpec"] {
            let mut told = object();
            let cluster = &mut told["spec"]["rayClusterConfig"][place];
            let group = if place == "headGroupSpec" { cluster } else { &mut cluster[1] };
            group["rayStartParams"]["resources"] = json!(resources);
            let why = obstacle(KIND, &told, &Role::Accelerator);
            assert_eq!(
                why.is_some_and(|why| why.contains("rayStartParams")),
                expected,
                "{place} {resources}"
            );
        }
    }
    let mut started = object();
    started["spec"]["rayClusterConfig"]["workerGroupSpecs"][1]["rayStartParams"] = json!({"num-gpus": "4"});
    assert!(obstacle(KIND, &started, &Role::Accelerator).unwrap().contains("num-gpus"));
    assert_eq!(obstacle(KIND, &started, &Role::Scheduler), None);
    for (place, name, number) in [
        ("workerGroupSpecs", "GPU", "4"),
        ("workerGroupSpecs", "TPU", "4"),
        ("headGroupSpec", "GPU", "1"),
        ("headGroupSpec", "HPU", "2"),
        ("headGroupSpec", "GPU", "0"),
    ] {
        let mut told = object();
        let cluster = &mut told["spec"]["rayClusterConfig"][place];
        let group = if place == "headGroupSpec" { cluster } else { &mut cluster[1] };
        group["resources"] = json!({"CPU": "8", name: number});
        let why = obstacle(KIND, &told, &Role::Accelerator);
        assert_eq!(
            why.is_some_and(|why| why.contains("in the resources of a group")),
            number != "0",
            "{place} {name} {number}"
        );
    }
}

#[test]
fn a_second_cluster_is_told_before_it_is_started() {
    let doubts = slots(KIND, &object()).doubts;
    assert!(doubts.iter().any(|doubt| doubt.about == About::NewPods && doubt.why.contains("second cluster")));
}

#[test]
fn what_the_code_of_its_applications_asks_for_is_told() {
    let doubts = slots(KIND, &object()).doubts;
    assert!(doubts.iter().any(|doubt| doubt.about == About::Program && doubt.why.contains("import_path")));
}

#[test]
fn groups_that_cannot_be_told_apart_are_not_changed() {
    let mut object = object();
    object["spec"]["rayClusterConfig"]["workerGroupSpecs"][1]["groupName"] = json!("gpu-group");
    for role in [Role::Accelerator, Role::Scheduler] {
        assert!(obstacle(KIND, &object, &role).unwrap().contains("unique groupName"), "{role:?}");
    }
    assert!(slots(KIND, &object).fields.is_empty());
}

#[test]
fn it_is_healthy_when_a_proxy_answers_and_no_application_has_failed() {
    let of = |status: Value| health(KIND, &with(&object(), json!({"status": status})));
    assert_eq!(of(json!({})), Verdict::True);
    assert_eq!(of(json!({"conditions": [{"type": "Ready", "status": "False"}]})), Verdict::False);
    for failed in ["DEPLOY_FAILED", "UNHEALTHY"] {
        let status = json!({"activeServiceStatus": {"applicationStatuses": {"chat": {"status": failed}}}});
        assert_eq!(of(status), Verdict::False, "{failed}");
    }
    let deploying =
        json!({"activeServiceStatus": {"applicationStatuses": {"chat": {"status": "DEPLOYING"}}}});
    assert_eq!(of(deploying), Verdict::True);
    // KubeRay reports the applications of the new cluster, and nothing of those that serve.
    let upgrading = |applications: Value| {
        json!({"pendingServiceStatus": {"rayClusterName": "chat-9q4zd"},
               "activeServiceStatus": {"applicationStatuses": applications}})
    };
    assert_eq!(of(upgrading(Value::Null)), Verdict::Unknown);
    assert_eq!(of(upgrading(json!({"chat": {"status": "RUNNING"}}))), Verdict::True);
    // Before version 1.3.
    assert_eq!(of(json!({"conditions": null})), Verdict::True);
    assert_eq!(of(json!({"conditions": null, "serviceStatus": ""})), Verdict::False);
    assert_eq!(health(KIND, &json!({"metadata": {"generation": 1}})), Verdict::False);
}

#[test]
fn it_is_idle_while_it_is_suspended() {
    assert!(idle(KIND, &with(&object(), json!({"spec": {"suspend": true}}))).is_some());
    assert!(idle(KIND, &with(&object(), json!({"spec": {"rayClusterConfig": {"suspend": true}}}))).is_some());
    assert_eq!(idle(KIND, &with(&object(), json!({"spec": {"suspend": false}}))), None);
    assert_eq!(idle(KIND, &object()), None);
}

#[test]
fn it_waits_until_the_new_cluster_serves() {
    let table = [
        (json!({"observedGeneration": 4}), "not observed"),
        (json!({"observedGeneration": null}), "not observed"),
        (json!({"pendingServiceStatus": {"rayClusterName": "chat-9q4zd"}}), "old cluster"),
        (json!({"conditions": [{"type": "Ready", "status": "False"}]}), "Ready"),
    ];
    for (status, expected) in table {
        let (verdict, why) = waits_for(KIND, &with(&object(), json!({"status": status})));
        assert_eq!(verdict, Verdict::False, "{expected}");
        assert!(why.contains(expected), "{why}");
    }
    assert_eq!(waits_for(KIND, &object()).0, Verdict::True);
}

#[test]
fn without_a_new_cluster_nothing_gets_the_change() {
    let strategy = |kind: &str| with(&object(), json!({"spec": {"upgradeStrategy": {"type": kind}}}));
    assert!(paused(KIND, &strategy("None")).unwrap().contains("upgradeStrategy"));
    for kind in ["NewCluster", "NewClusterWithIncrementalUpgrade"] {
        assert_eq!(paused(KIND, &strategy(kind)), None, "{kind}");
    }
    assert_eq!(paused(KIND, &object()), None);
}

#[test]
fn its_new_pods_are_those_of_the_pending_cluster() {
    let starts =
        with(&object(), json!({"status": {"pendingServiceStatus": {"rayClusterName": "chat-9q4zd"}}}));
    let labels = json!({"ray.io/cluster": "chat-9q4zd"});
    assert_eq!(selection(KIND, &starts), by_labels(&labels));
    assert_eq!(selection(KIND, &object()), Selection::Nothing);
    let found = trouble(KIND, &starts, &pending(&labels, "ray-worker", "4")).unwrap();
    assert!(found.contains("is not scheduled"), "{found}");
}
