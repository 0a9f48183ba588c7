use firebreak_engine::facts::Role;
use firebreak_engine::verdict::Verdict;
use serde_json::{Value, json};

use super::{Kind, health, idle, obstacle, paths, paused, placement, waits_for, with};

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
        (json!({"pauseConditions": [{"reason": "CanaryPauseStep"}]}), "paused at a step"),
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
