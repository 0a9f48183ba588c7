use firebreak_engine::facts::Role;
use firebreak_engine::verdict::Verdict;
use serde_json::{Value, json};

use super::{
    Kind, by_labels, health, idle, in_place, obstacle, pace, paths, pending, placement, selection, slots,
    trouble, waits_for, with,
};

const KIND: Kind = ("serving.kserve.io/v1alpha2", "LLMInferenceService");
const PARTS: [&str; 4] = ["/spec/template", "/spec/worker", "/spec/prefill/template", "/spec/prefill/worker"];

/// A model on one node, whose container gets the command of KServe.
fn single() -> Value {
    json!({
        "apiVersion": KIND.0, "kind": KIND.1, "metadata": {"name": "qwen", "generation": 2},
        "spec": {
            "model": {"uri": "hf://Qwen/Qwen3-Coder-30B-A3B-Instruct-FP8", "name": "qwen"}, "replicas": 1,
            "router": {"route": {}, "scheduler": {}},
            "template": {"containers": [{
                "name": "main", "image": "ghcr.io/llm-d/llm-d-cuda:v0.9.0",
                "env": [{"name": "VLLM_ADDITIONAL_ARGS", "value": "--enable-auto-tool-choice"}],
                "resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"nvidia.com/gpu": "1"}},
            }]},
        },
        "status": {"observedGeneration": 2, "conditions": [{"type": "Ready", "status": "True"}],
            "workloads": {"primary": {"kind": "Deployment", "name": "qwen-kserve", "readyReplicas": 1}}},
    })
}

/// Two parts, each on several nodes, with commands of their own.
fn parts() -> Value {
    let pod = |batch: i64| {
        json!({"schedulerName": "volcano", "nodeSelector": {"nvidia.com/gpu.product": "H200", "zone": "a"},
            "containers": [{"name": "main", "command": ["vllm", "serve", "/mnt/models"],
                "args": [format!("--max-num-seqs={batch}")], "resources": {"limits": {"nvidia.com/gpu": 8}}}]})
    };
    let workload = json!({"template": pod(128), "worker": pod(128), "replicas": 1,
        "prefill": {"replicas": 2, "template": pod(64), "worker": pod(64)}});
    with(&single(), json!({"spec": workload, "status": {"workloads": {"prefill": {"readyReplicas": 2}}}}))
}

#[test]
fn all_parts_are_changed_together() {
    let in_each = |field: &str| PARTS.map(|part| format!("{part}/{field}")).to_vec();
    assert_eq!(
        paths(KIND, &parts(), &Role::Accelerator),
        in_each("containers/[name=main]/resources/limits/nvidia.com~1gpu")
    );
    assert_eq!(
        paths(KIND, &parts(), &Role::BatchSize),
        in_each("containers/[name=main]/args/[flag=--max-num-seqs]")
    );
    assert_eq!(paths(KIND, &parts(), &Role::Scheduler), in_each("schedulerName"));
    let picker = with(
        &parts(),
        json!({"spec": {"router": {"scheduler": {"template": {"schedulerName": "volcano"}}}}}),
    );
    assert_eq!(
        paths(KIND, &picker, &Role::Scheduler).last().map(String::as_str),
        Some("/spec/router/scheduler/template/schedulerName")
    );
    assert_eq!(placement(KIND, &parts()), in_each("nodeSelector/nvidia.com~1gpu.product"));
    assert_eq!(paths(KIND, &parts(), &Role::Replicas), ["/spec/replicas"], "the prefill part has its own");
    assert_eq!(paths(KIND, &single(), &Role::Accelerator).len(), 2);
}

#[test]
fn a_number_of_replicas_is_not_set_beside_scaling_and_both_limits_are_raised() {
    assert_eq!(obstacle(KIND, &single(), &Role::Replicas), None);
    let scaling = |most: i64| json!({"minReplicas": 1, "maxReplicas": most, "wva": {"hpa": {}}});
    let spec = json!({"replicas": null, "scaling": scaling(3), "prefill": {"replicas": null, "scaling": scaling(5)}});
    let scaled = with(&parts(), json!({"spec": spec}));
    assert!(obstacle(KIND, &scaled, &Role::Replicas).unwrap().contains("spec.scaling.maxReplicas"));
    assert_eq!(
        paths(KIND, &scaled, &Role::AutoscalerLimit),
        ["/spec/scaling/maxReplicas", "/spec/prefill/scaling/maxReplicas"]
    );
    assert_eq!(paths(KIND, &single(), &Role::AutoscalerLimit), ["/spec/scaling/maxReplicas"]);
}

#[test]
fn flags_are_changed_where_they_are_and_are_not_added_to_the_command_of_kserve() {
    let why = |main: Value| {
        let object = with(&single(), json!({"spec": {"template": {"containers": [main]}}}));
        (obstacle(KIND, &object, &Role::BatchSize), paths(KIND, &object, &Role::BatchSize))
    };
    let variable = |value: &str| json!([{"name": "VLLM_ADDITIONAL_ARGS", "value": value}]);
    // KServe appends the variable.
    let (in_variable, paths) = why(json!({"name": "main", "env": variable("--max-num-seqs=32")}));
    assert!(in_variable.unwrap().contains("VLLM_ADDITIONAL_ARGS"), "{paths:?}");
    let (nowhere, _) = why(json!({"name": "main", "env": variable("--enforce-eager")}));
    assert!(nowhere.unwrap().contains("no container"));
    let (none, paths) =
        why(json!({"name": "main", "args": ["--max-num-seqs=32"], "env": variable("--enforce-eager")}));
    assert_eq!(none, None);
    assert_eq!(paths, ["/spec/template/containers/[name=main]/args/[flag=--max-num-seqs]"]);
    let (hidden, _) = why(json!({"name": "main", "args": ["--max-num-seqs=32"],
        "env": [{"name": "VLLM_ADDITIONAL_ARGS", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}}]}));
    assert!(hidden.unwrap().contains("VLLM_ADDITIONAL_ARGS"));
}

#[test]
fn what_it_inherits_is_not_guessed() {
    let inherits = with(&single(), json!({"spec": {"baseRefs": [{"name": "llmisvc-config-pd-disagg"}]}}));
    for role in [Role::Accelerator, Role::Scheduler, Role::BatchSize, Role::AutoscalerLimit] {
        let why = obstacle(KIND, &inherits, &role).unwrap();
        assert!(why.contains("spec.baseRefs"), "{role:?}: {why}");
    }
    assert_eq!(obstacle(KIND, &inherits, &Role::Replicas), None, "its own number counts");
    let bare = with(&inherits, json!({"spec": {"replicas": null}}));
    assert!(obstacle(KIND, &bare, &Role::Replicas).unwrap().contains("spec.baseRefs"));
    let none = with(&single(), json!({"spec": {"baseRefs": []}}));
    assert_eq!(obstacle(KIND, &none, &Role::Accelerator), None);
}

#[test]
fn devices_that_kserve_claims_for_it_cannot_be_taken_away() {
    let claims =
        json!({"metadata": {"annotations": {"serving.kserve.io/exp-dra-device-class": "gpu.nvidia.com"}}});
    assert!(slots(KIND, &with(&single(), claims)).fixed[0].contains("exp-dra-device-class"));
    assert_eq!(slots(KIND, &single()).fixed, Vec::<String>::new());
}

#[test]
fn it_is_healthy_when_ready_and_not_with_nothing() {
    let of = |patch: Value| health(KIND, &with(&parts(), patch));
    assert_eq!(of(json!({})), Verdict::True);
    let ready = |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
    for status in ["False", "Unknown"] {
        assert_eq!(of(ready(status)), Verdict::False, "{status}");
    }
    assert_eq!(of(json!({"status": {"observedGeneration": 1}})), Verdict::False);
    assert_eq!(of(json!({"status": null})), Verdict::False);
    // A Deployment with maxUnavailable 1 of one replica is Available with none, and Ready repeats that.
    for part in ["primary", "prefill"] {
        assert_eq!(
            of(json!({"status": {"workloads": {part: {"readyReplicas": 0}}}})),
            Verdict::False,
            "{part}"
        );
    }
    assert_eq!(
        of(json!({"status": {"workloads": null}})),
        Verdict::True,
        "not every version reports the number"
    );
    let asleep = json!({"spec": {"replicas": null, "scaling": {"minReplicas": 0, "maxReplicas": 3}},
        "status": {"workloads": {"primary": {"readyReplicas": 0}}}});
    assert_eq!(of(asleep), Verdict::True, "it scales to 0 by itself");
}

#[test]
fn it_is_idle_while_it_is_stopped_or_scaled_to_0() {
    let stop = |value: &str| json!({"metadata": {"annotations": {"serving.kserve.io/stop": value}}});
    assert!(idle(KIND, &with(&single(), stop("True"))).unwrap().contains("stop"));
    assert_eq!(idle(KIND, &with(&single(), stop("false"))), None);
    assert!(idle(KIND, &with(&single(), json!({"spec": {"replicas": 0}}))).is_some());
    assert_eq!(idle(KIND, &single()), None);
}

#[test]
fn it_waits_for_each_stage_in_turn() {
    let conditions = |list: Value| json!({"status": {"conditions": list}});
    let table = [
        (json!({"status": {"observedGeneration": 1}}), "not observed"),
        (json!({"status": {"observedGeneration": null}}), "not observed"),
        (conditions(json!([{"type": "PresetsCombined", "status": "False"}])), "merge"),
        (conditions(json!([{"type": "Ready", "status": "False"}])), "Ready"),
        (json!({"spec": {"replicas": 2}}), "replicas are ready"),
        (json!({"status": {"workloads": {"prefill": {"readyReplicas": 1}}}}), "prefill"),
    ];
    for (patch, expected) in table {
        let (verdict, why) = waits_for(KIND, &with(&parts(), patch));
        assert_eq!(verdict, Verdict::False, "{expected}");
        assert!(why.contains(expected), "{why}");
    }
    assert_eq!(waits_for(KIND, &parts()).0, Verdict::True);
    assert_eq!(waits_for(KIND, &with(&parts(), json!({"status": {"workloads": null}}))).0, Verdict::True);
}

#[test]
fn the_pace_of_each_part_is_changed_where_it_is_set() {
    let strategy =
        |surge: Value, unavailable: Value| json!({"maxSurge": surge, "maxUnavailable": unavailable});
    let single =
        |strategy: Value| pace(KIND, &with(&single(), json!({"spec": {"rolloutStrategy": strategy}})));
    let at = "/spec/rolloutStrategy";
    assert_eq!(single(strategy(json!(1), json!(0))), in_place(at, &["maxUnavailable"]));
    assert_eq!(single(json!({})), in_place(at, &["maxUnavailable"]), "25% of one pod is none");
    let half = strategy(json!(1), json!("50%"));
    assert_eq!(single(half.clone()), in_place(at, &["maxUnavailable"]));
    let four = with(
        &parts(),
        json!({"spec": {"replicas": 4, "rolloutStrategy": half.clone(),
        "prefill": {"replicas": 4, "rolloutStrategy": half}}}),
    );
    let two = |at: &str| [(format!("{at}/maxSurge"), json!(0)), (format!("{at}/maxUnavailable"), json!(2))];
    // KServe takes 50% of one replica, which is none.
    assert_eq!(pace(KIND, &four), [two(at), two("/spec/prefill/rolloutStrategy")].concat());
    assert_eq!(single(strategy(json!(0), json!(1))), []);
    assert_eq!(single(Value::Null), [], "not every release has it");

    let both = json!({"rolloutStrategy": {"maxSurge": "50%"},
        "prefill": {"rolloutStrategy": {"maxSurge": 1, "maxUnavailable": "40%"}}});
    let prefill = in_place("/spec/prefill/rolloutStrategy", &["maxUnavailable"]);
    let groups = pace(KIND, &with(&parts(), json!({"spec": both})));
    // In groups, one may be missing if nothing is said; 40% of two is none.
    assert_eq!(groups, [in_place(at, &[]), prefill.clone()].concat());
    let no_accelerator = json!({"spec": {"rolloutStrategy": {}, "template": {"containers": []}, "worker": null,
        "prefill": {"rolloutStrategy": {"maxSurge": 1, "maxUnavailable": 0}}}});
    assert_eq!(pace(KIND, &with(&parts(), no_accelerator)), prefill, "only where there are accelerators");
}

#[test]
fn its_pods_have_the_template_of_their_part() {
    let object = parts();
    let labels =
        json!({"app.kubernetes.io/name": "qwen", "app.kubernetes.io/part-of": "llminferenceservice"});
    assert_eq!(selection(KIND, &object), by_labels(&labels));
    let of = |component: &str, gpus: &str| {
        let labels = with(&labels, json!({"app.kubernetes.io/component": component}));
        trouble(KIND, &object, &pending(&labels, "main", gpus))
    };
    for part in ["workload-leader", "workload-worker", "workload-leader-prefill", "workload-worker-prefill"] {
        assert!(of(&format!("llminferenceservice-{part}"), "8").is_some(), "{part}");
        assert_eq!(of(&format!("llminferenceservice-{part}"), "0"), None, "{part}: an old one");
    }
    assert_eq!(of("llminferenceservice-router-scheduler", "8"), None, "no model runs in it");
}
