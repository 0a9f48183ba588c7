use firebreak_engine::facts::{About, Role};
use firebreak_engine::verdict::Verdict;
use serde_json::{Value, json};

use super::{
    Kind, Selection, by_labels, health, idle, in_place, obstacle, pace, paths, paused, pending, placement,
    profile, selection, slots, trouble, waits_for, with,
};

const KIND: Kind = ("argoproj.io/v1alpha1", "Rollout");

/// A canary without a pause that needs a person.
fn object() -> Value {
    json!({
        "apiVersion": KIND.0, "kind": KIND.1, "metadata": {"name": "chat", "namespace": "serving", "generation": 4},
        "spec": {
            "replicas": 4, "selector": {"matchLabels": {"app": "chat"}},
            "strategy": {"canary": {"steps": [{"setWeight": 25}, {"pause": {"duration": "10s"}}]}},
            "template": {"metadata": {"labels": {"app": "chat"}}, "spec": {
                "nodeSelector": {"nvidia.com/gpu.present": "true"}, "schedulerName": "ml-scheduler",
                "containers": [{"name": "server", "image": "vllm/vllm-openai:v0.11.0",
                    "args": ["--model", "m", "--max-num-seqs", "128"], "resources": {"limits": {"nvidia.com/gpu": 1}}}],
            }},
        },
        "status": {"observedGeneration": "4", "replicas": 4, "updatedReplicas": 4, "readyReplicas": 4,
            "availableReplicas": 4, "stableRS": "abc", "currentPodHash": "abc", "phase": "Healthy"},
    })
}

/// The template is in a Deployment.
fn by_reference() -> Value {
    let reference =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat", "scaleDown": "onsuccess"});
    with(&object(), json!({"spec": {"template": null, "selector": null, "workloadRef": reference}}))
}

#[test]
fn its_own_template_is_changed_as_that_of_a_deployment() {
    let server = "/spec/template/spec/containers/[name=server]";
    assert_eq!(
        paths(KIND, &object(), &Role::Accelerator),
        [format!("{server}/resources/limits/nvidia.com~1gpu")]
    );
    assert_eq!(paths(KIND, &object(), &Role::BatchSize), [format!("{server}/args/[flag=--max-num-seqs]")]);
    assert_eq!(paths(KIND, &object(), &Role::Scheduler), ["/spec/template/spec/schedulerName"]);
    assert_eq!(placement(KIND, &object()), ["/spec/template/spec/nodeSelector/nvidia.com~1gpu.present"]);
    assert_eq!(paths(KIND, &object(), &Role::Replicas), ["/spec/replicas"]);
    assert_eq!(obstacle(KIND, &object(), &Role::Accelerator), None);
}

#[test]
fn a_template_in_another_object_is_named_and_the_replicas_are_its_own() {
    for role in [Role::Accelerator, Role::Scheduler, Role::BatchSize] {
        let why = obstacle(KIND, &by_reference(), &role).unwrap();
        assert!(why.starts_with("its pod template is in Deployment/chat,"), "{role:?}: {why}");
    }
    assert_eq!(obstacle(KIND, &by_reference(), &Role::Replicas), None);
    assert_eq!(paths(KIND, &by_reference(), &Role::Replicas), ["/spec/replicas"]);
}

#[test]
fn it_is_healthy_with_three_quarters_of_its_replicas() {
    let available =
        |number: Value| health(KIND, &with(&object(), json!({"status": {"availableReplicas": number}})));
    assert_eq!(available(json!(3)), Verdict::True);
    assert_eq!(available(json!(2)), Verdict::False);
    assert_eq!(available(Value::Null), Verdict::False, "Argo Rollouts omits a 0");
    assert!(idle(KIND, &with(&object(), json!({"spec": {"replicas": 0}}))).is_some());
    assert_eq!(idle(KIND, &object()), None);
}

#[test]
fn it_waits_for_each_stage_in_turn() {
    let table = [
        (json!({"observedGeneration": "3"}), "not observed"),
        (json!({"observedGeneration": null}), "not observed"),
        (json!({"abort": true}), "aborted"),
        (
            json!({"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]}),
            "progress deadline",
        ),
        (json!({"conditions": [{"type": "InvalidSpec", "status": "True"}]}), "invalid"),
        (json!({"pauseConditions": [{"reason": "CanaryPauseStep"}]}), "promote chat -n serving`"),
        (json!({"updatedReplicas": 1}), "created yet"),
        (json!({"availableReplicas": 3}), "available yet"),
        (json!({"currentPodHash": "def"}), "steps"),
        (json!({"phase": "Progressing"}), "phase"),
    ];
    for (status, expected) in table {
        let (verdict, why) = waits_for(KIND, &with(&object(), json!({"status": status})));
        assert_eq!(verdict, Verdict::False, "{expected}");
        assert!(why.contains(expected), "{why}");
    }
    assert_eq!(waits_for(KIND, &object()).0, Verdict::True);
    let old = with(&object(), json!({"status": {"observedGeneration": "6f8b9c"}}));
    assert_eq!(waits_for(KIND, &old).0, Verdict::Unknown, "versions before 1.0 wrote a hash");
}

#[test]
fn what_only_a_person_promotes_is_not_changed() {
    let steps = |steps: Value| with(&object(), json!({"spec": {"strategy": {"canary": {"steps": steps}}}}));
    let pause = paused(KIND, &steps(json!([{"setWeight": 20}, {"pause": {}}]))).unwrap();
    assert!(pause.contains("promote chat -n serving --full"), "{pause}");
    assert_eq!(paused(KIND, &object()), None);
    assert_eq!(paused(KIND, &steps(json!([]))), None);
    let halted = paused(KIND, &with(&object(), json!({"spec": {"paused": true}}))).unwrap();
    assert!(halted.contains("kubectl patch rollout"), "{halted}");
    let blue_green = |promotion: Value| {
        let strategy = json!({"canary": null, "blueGreen": {"activeService": "chat", "autoPromotionEnabled": promotion}});
        paused(KIND, &with(&object(), json!({"spec": {"strategy": strategy}})))
    };
    assert!(blue_green(json!(false)).unwrap().contains("autoPromotionEnabled"));
    assert_eq!(blue_green(json!(true)), None);
    assert_eq!(blue_green(Value::Null), None);
}

const CANARY: &str = "/spec/strategy/canary";
const UNAVAILABLE: &[&str] = &["maxUnavailable"];

#[test]
fn a_canary_replaces_its_pods_in_place_while_it_has_fallen_back() {
    let with_canary = |replicas: i64, canary: Value| {
        let canary = with(&json!({}), canary);
        pace(KIND, &with(&object(), json!({"spec": {"replicas": replicas, "strategy": {"canary": canary}}})))
    };
    // What is absent is 25%, which of fewer than four is none.
    assert_eq!(with_canary(4, json!({})), in_place(CANARY, &[]));
    assert_eq!(with_canary(3, json!({})), in_place(CANARY, UNAVAILABLE));
    assert_eq!(with_canary(2, json!({"maxSurge": 1, "maxUnavailable": 0})), in_place(CANARY, UNAVAILABLE));
    assert_eq!(with_canary(2, json!({"maxSurge": "20%", "maxUnavailable": "50%"})), in_place(CANARY, &[]));
    // Argo Rollouts takes a text for a percentage, with or without a sign.
    assert_eq!(with_canary(2, json!({"maxSurge": "20", "maxUnavailable": "50"})), in_place(CANARY, &[]));
    assert_eq!(with_canary(2, json!({"maxSurge": 0, "maxUnavailable": 1})), []);
    assert_eq!(with_canary(2, json!({"maxSurge": "0%"})), []);
    // A router keeps the old pods until the new ones have the traffic.
    assert_eq!(with_canary(2, json!({"trafficRouting": {"nginx": {}}})), []);
    assert_eq!(pace(KIND, &by_reference()), [], "its template is elsewhere");
}

#[test]
fn where_all_new_pods_start_beside_the_old_ones_it_is_told_before() {
    let told = |strategy: Value| {
        let object = with(&object(), json!({"spec": {"strategy": strategy}}));
        assert_eq!(pace(KIND, &object), []);
        slots(KIND, &object)
            .doubts
            .into_iter()
            .find(|doubt| doubt.about == About::NewPods)
            .map(|doubt| doubt.why)
    };
    let blue_green = told(json!({"canary": null, "blueGreen": {"activeService": "chat"}})).unwrap();
    assert!(blue_green.contains("room for both"), "{blue_green}");
    let routed = told(json!({"canary": {"trafficRouting": {"nginx": {}}}})).unwrap();
    assert!(routed.contains("trafficRouting"), "{routed}");
    assert!(!slots(KIND, &object()).doubts.iter().any(|doubt| doubt.about == About::NewPods));
}

#[test]
fn its_pods_are_those_of_its_replica_sets() {
    assert_eq!(selection(KIND, &object()), by_labels(&json!({"app": "chat"})));
    let reported = with(&by_reference(), json!({"status": {"selector": "app=chat,tier in (gold)"}}));
    assert_eq!(selection(KIND, &reported), Selection::Text("app=chat,tier in (gold)".to_owned()));

    let labels = json!({"app": "chat", "rollouts-pod-template-hash": "5d4f"});
    let object = with(
        &object(),
        json!({"spec": {"template": {"spec": {"containers": [{"name": "server",
        "resources": {"limits": {"nvidia.com/gpu": "0"}}}]}}}}),
    );
    let new = trouble(KIND, &object, &pending(&labels, "server", "0"));
    assert_eq!(new.as_deref(), Some("pod pod-1 is not scheduled: 0/3 nodes are available"));
    assert_eq!(trouble(KIND, &object, &pending(&labels, "server", "1")), None, "an old one");

    let owned = |name: &str| {
        let mut pod = pending(&labels, "server", "0");
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": "r", "controller": true}]);
        profile(KIND).pods.as_ref().unwrap().has(&pod, "chat", "u")
    };
    assert!(owned("chat-5d4f") && !owned("other-5d4f"));
}
