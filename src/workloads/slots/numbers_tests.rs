use firebreak_engine::facts::{Absent, Role, Slots};
use serde_json::{Value, json};

use super::tests::{
    AUTOSCALER, DEPLOYMENT, INFERENCE_SERVICE, Kind, LLM_DEPLOYMENT, SCALED_OBJECT, STATEFUL_SET, found,
    obstacle, with_role,
};
use super::with_article;

const KINDS: [Kind; 6] =
    [DEPLOYMENT, STATEFUL_SET, LLM_DEPLOYMENT, AUTOSCALER, INFERENCE_SERVICE, SCALED_OBJECT];

/// Why the current value of the only field with this role is not changed.
fn problem(slots: &Slots, role: &Role) -> Option<String> {
    let all: Vec<_> = slots.of(role).collect();
    assert_eq!(all.len(), 1, "{role:?}");
    all[0].out_of_bounds.clone()
}

#[test]
fn each_kind_has_its_own_fields_and_says_what_it_has_not() {
    let table: [(Role, [Option<&str>; 6]); 4] = [
        (
            Role::Replicas,
            [Some("/spec/replicas"), Some("/spec/replicas"), Some("/spec/replicas"), None, None, None],
        ),
        (
            Role::AutoscalerLimit,
            [
                None,
                None,
                Some("/spec/autoscaling/maxReplicas"),
                Some("/spec/maxReplicas"),
                Some("/spec/predictor/maxReplicas"),
                Some("/spec/maxReplicaCount"),
            ],
        ),
        (
            Role::MaxConcurrency,
            [
                None,
                None,
                Some("/spec/serving/maxConcurrency"),
                None,
                Some("/spec/predictor/containerConcurrency"),
                None,
            ],
        ),
        (
            Role::BatchSize,
            [
                // A flag of a container, which this object does not have.
                None,
                None,
                Some("/spec/serving/batchSize"),
                None,
                Some("/spec/predictor/batcher/maxBatchSize"),
                None,
            ],
        ),
    ];
    let object = json!({"spec": {"predictor": {"batcher": {}}}});
    for (role, paths) in table {
        for (kind, path) in KINDS.into_iter().zip(paths) {
            let slots = found(kind, &object);
            assert_eq!(with_role(&slots, &role), path.into_iter().collect::<Vec<_>>(), "{kind:?}");
            assert_eq!(obstacle(&slots, &role).is_some(), path.is_none(), "{kind:?} {role:?}");
        }
    }
    let why = |kind, role| obstacle(&found(kind, &object), &role).unwrap();
    assert_eq!(why(AUTOSCALER, Role::BatchSize), "a HorizontalPodAutoscaler has no batch size");
    assert_eq!(why(AUTOSCALER, Role::Accelerator), "a HorizontalPodAutoscaler has no accelerators");
    assert_eq!(why(INFERENCE_SERVICE, Role::Replicas), "an InferenceService has no number of replicas");
    assert_eq!(why(DEPLOYMENT, Role::MaxConcurrency), "a Deployment has no concurrency limit");
    assert_eq!(why(SCALED_OBJECT, Role::Scheduler), "a ScaledObject has no scheduler name");
}

#[test]
fn only_the_metadata_of_a_service_reaches_its_pods() {
    let propagating: Vec<Kind> =
        KINDS.into_iter().filter(|kind| found(*kind, &json!({})).metadata_propagates).collect();
    assert_eq!(propagating, [INFERENCE_SERVICE]);
}

#[test]
fn a_number_in_bounds_is_lent_and_one_out_of_them_is_not() {
    let scaler = |limit: Value| found(AUTOSCALER, &json!({"spec": {"maxReplicas": limit}}));
    for limit in [json!(1), json!(10000), json!("20"), Value::Null] {
        assert_eq!(problem(&scaler(limit.clone()), &Role::AutoscalerLimit), None, "{limit}");
    }
    for limit in [json!(0), json!(-1), json!(10001), json!("0")] {
        let why = problem(&scaler(limit.clone()), &Role::AutoscalerLimit).unwrap();
        assert!(why.contains("not from 1 to 10000"), "{limit}: {why}");
    }
    let scaled = |limit: i64| found(SCALED_OBJECT, &json!({"spec": {"maxReplicaCount": limit}}));
    assert_eq!(problem(&scaled(1), &Role::AutoscalerLimit), None);
    let off = problem(&scaled(0), &Role::AutoscalerLimit).expect("KEDA takes 0 literally");
    assert!(off.contains("not from 1 to 10000"), "{off}");
    // Not a number: the action reports it itself.
    for limit in [json!("many"), json!(1.5), json!({}), json!(true)] {
        assert_eq!(problem(&scaler(limit.clone()), &Role::AutoscalerLimit), None, "{limit}");
    }
    let model = |spec: Value| found(LLM_DEPLOYMENT, &json!({"spec": spec}));
    assert_eq!(problem(&model(json!({"replicas": 0})), &Role::Replicas), None);
    assert!(problem(&model(json!({"replicas": -1})), &Role::Replicas).is_some());
    assert_eq!(problem(&model(json!({"serving": {"batchSize": "32"}})), &Role::BatchSize), None);
    assert!(problem(&model(json!({"serving": {"batchSize": 0}})), &Role::BatchSize).is_some());
}

#[test]
fn a_field_that_is_absent_can_be_set_unless_something_else_is_on_the_way() {
    let batch = |spec: Value| problem(&found(LLM_DEPLOYMENT, &json!({"spec": spec})), &Role::BatchSize);
    for spec in [json!({}), json!({"serving": {}}), json!({"serving": null}), Value::Null] {
        assert_eq!(batch(spec.clone()), None, "{spec}");
    }
    let why = batch(json!({"serving": "fast"})).unwrap();
    assert_eq!(why, "cannot be set: /spec/serving is not a map");
    assert_eq!(batch(json!([1])).unwrap(), "cannot be set: /spec is not a map");
}

#[test]
fn a_service_without_a_batcher_is_not_given_one() {
    let service = |predictor: Value| found(INFERENCE_SERVICE, &json!({"spec": {"predictor": predictor}}));
    for predictor in [json!({}), json!({"batcher": null}), json!("x")] {
        let slots = service(predictor);
        assert_eq!(slots.of(&Role::BatchSize).count(), 0);
        assert!(obstacle(&slots, &Role::BatchSize).unwrap().contains("no batcher"));
    }
    let slots = service(json!({"batcher": {"maxBatchSize": 32}, "containerConcurrency": 0}));
    assert_eq!(obstacle(&slots, &Role::BatchSize), None);
    assert_eq!(problem(&slots, &Role::BatchSize), None);
    assert_eq!(problem(&slots, &Role::MaxConcurrency), None);
}

/// The limit that counts while none is set, or why it is not changed.
fn absent_limit(kind: Kind, object: &Value) -> Result<Option<i64>, String> {
    let slots = found(kind, object);
    if let Some(why) = obstacle(&slots, &Role::AutoscalerLimit) {
        return Err(why);
    }
    assert_eq!(problem(&slots, &Role::AutoscalerLimit), None);
    Ok(slots.of(&Role::AutoscalerLimit).next().unwrap().number_if_absent())
}

#[test]
fn an_absent_limit_is_the_number_of_its_controller() {
    assert_eq!(absent_limit(SCALED_OBJECT, &json!({"spec": {}})), Ok(Some(100)));
    assert_eq!(absent_limit(LLM_DEPLOYMENT, &json!({"spec": {}})), Ok(None));
    assert_eq!(absent_limit(AUTOSCALER, &json!({"spec": {}})), Ok(None));
    let service = |mode: &str, predictor: Value| {
        let annotations = json!({"serving.kserve.io/deploymentMode": mode});
        json!({"metadata": {"annotations": annotations}, "spec": {"predictor": predictor}})
    };
    let limit = |object: &Value| absent_limit(INFERENCE_SERVICE, object);
    for mode in ["Standard", "RawDeployment"] {
        for (predictor, expected) in
            [(json!({}), 1), (json!({"minReplicas": 3}), 3), (json!({"minReplicas": 0, "maxReplicas": 0}), 1)]
        {
            assert_eq!(limit(&service(mode, predictor.clone())), Ok(Some(expected)), "{mode} {predictor}");
        }
    }
    for mode in ["Serverless", "Knative"] {
        assert_eq!(limit(&service(mode, json!({"minReplicas": 1}))), Ok(None), "{mode} has no limit");
    }
    let mode =
        |mode: &str| json!({"metadata": {}, "spec": {"predictor": {}}, "status": {"deploymentMode": mode}});
    assert_eq!(limit(&mode("Standard")), Ok(Some(1)));
    assert_eq!(limit(&mode("Knative")), Ok(None));
    let not_known = limit(&json!({"metadata": {}, "spec": {"predictor": {"minReplicas": 1}}})).unwrap_err();
    assert!(not_known.contains("deployment mode"), "{not_known}");
    assert_eq!(limit(&json!({"spec": {"predictor": {"maxReplicas": 2}}})), Ok(None), "it need not be known");
}

#[test]
fn a_limit_that_nothing_uses_is_named() {
    let unused = |kind: Kind, object: &Value| found(kind, object).unused;
    let class = |class: &str| {
        json!({"metadata": {"annotations": {"serving.kserve.io/autoscalerClass": class}},
               "spec": {"predictor": {"maxReplicas": 3}}})
    };
    for external in ["external", "none"] {
        let found = unused(INFERENCE_SERVICE, &class(external));
        assert_eq!(found.len(), 1, "{external}");
        assert!(
            found[0].role == Role::AutoscalerLimit && found[0].why.contains("autoscalerClass"),
            "{found:?}"
        );
    }
    for own in ["hpa", "keda"] {
        assert_eq!(unused(INFERENCE_SERVICE, &class(own)), []);
    }
    let behavior = |policy: &str| json!({"scaleUp": {"selectPolicy": policy}});
    for (policy, number) in [("Disabled", 1), ("Max", 0)] {
        let hpa = json!({"spec": {"maxReplicas": 4, "behavior": behavior(policy)}});
        assert_eq!(unused(AUTOSCALER, &hpa).len(), number);
        let advanced = json!({"horizontalPodAutoscalerConfig": {"behavior": behavior(policy)}});
        assert_eq!(unused(SCALED_OBJECT, &json!({"spec": {"advanced": advanced}})).len(), number);
    }
    for (paused, number) in [("true", 1), ("false", 0)] {
        let annotations = json!({"autoscaling.keda.sh/paused-scale-out": paused});
        assert_eq!(unused(SCALED_OBJECT, &json!({"metadata": {"annotations": annotations}})).len(), number);
    }
}

#[test]
fn schedulers_are_listed_where_they_are_named() {
    let of = |kind, spec: Value| with_role(&found(kind, &json!({"spec": spec})), &Role::Scheduler);
    let both = json!({"scheduling": {"scheduler": "ml-scheduler"}, "schedulerName": "ml-scheduler"});
    assert_eq!(of(LLM_DEPLOYMENT, both), ["/spec/scheduling/scheduler", "/spec/schedulerName"]);
    assert_eq!(of(LLM_DEPLOYMENT, json!({"schedulerName": "x", "scheduling": 4})), ["/spec/schedulerName"]);
    assert_eq!(of(LLM_DEPLOYMENT, json!({"schedulerName": null})), Vec::<String>::new());
    let pod = json!({"template": {"spec": {"schedulerName": "volcano"}}});
    for kind in [DEPLOYMENT, STATEFUL_SET] {
        assert_eq!(of(kind, pod.clone()), ["/spec/template/spec/schedulerName"]);
    }
    let predictor =
        json!({"predictor": {"schedulerName": "kai-scheduler", "workerSpec": {"schedulerName": "x"}}});
    assert_eq!(of(INFERENCE_SERVICE, predictor).len(), 2);
}

#[test]
fn an_absent_scheduler_is_a_field_of_every_pod_spec_that_is_there() {
    let of = |kind, spec: Value| with_role(&found(kind, &json!({"spec": spec})), &Role::Scheduler);
    for pod in [json!({}), json!({"schedulerName": null}), json!({"schedulerName": ""})] {
        for kind in [DEPLOYMENT, STATEFUL_SET, ("apps/v1", "DaemonSet"), ("argoproj.io/v1alpha1", "Rollout")]
        {
            assert_eq!(
                of(kind, json!({"template": {"spec": pod}})),
                ["/spec/template/spec/schedulerName"],
                "{kind:?}"
            );
        }
    }
    assert_eq!(of(INFERENCE_SERVICE, json!({"predictor": {"model": {}}})), ["/spec/predictor/schedulerName"]);
    let multi = json!({"predictor": {"model": {}, "workerSpec": {}}});
    assert_eq!(of(INFERENCE_SERVICE, multi).len(), 2);
    let groups = ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet");
    let workers = json!({"leaderWorkerTemplate": {"leaderTemplate": null, "workerTemplate": {"spec": {}}}});
    assert_eq!(of(groups, workers), ["/spec/leaderWorkerTemplate/workerTemplate/spec/schedulerName"]);
    // Their operators may name a scheduler themselves.
    let service = ("serving.kserve.io/v1alpha2", "LLMInferenceService");
    assert_eq!(of(service, json!({"prefill": {"worker": {}}})), [""; 0]);
    let ray = json!({"rayClusterConfig": {"headGroupSpec": {"template": {"spec": {}}},
        "workerGroupSpecs": [{"groupName": "a", "template": {"spec": {}}}, {"groupName": "b"}]}});
    assert_eq!(of(("ray.io/v1", "RayService"), ray), [""; 0]);
    for (kind, spec) in [
        (LLM_DEPLOYMENT, json!({"scheduling": {}})),
        (DEPLOYMENT, json!({"template": "x"})),
        (DEPLOYMENT, json!({})),
    ] {
        assert_eq!(of(kind, spec.clone()), [""; 0], "{kind:?} {spec}");
    }
}

#[test]
fn a_kind_gets_the_article_with_which_it_is_read() {
    let table = [
        "a Deployment",
        "an InferenceService",
        "an LLMDeployment",
        "a HorizontalPodAutoscaler",
        "a VLLMRuntime",
    ];
    for expected in table {
        let (_, kind) = expected.split_once(' ').unwrap();
        assert_eq!(with_article(kind), expected);
    }
}

#[test]
fn what_an_absent_batch_is_depends_on_the_server_and_its_other_flags() {
    let server = |args: Value| {
        let container = json!({"name": "c", "image": "vllm/vllm-openai:v1", "args": args});
        let slots = found(DEPLOYMENT, &json!({"spec": {"template": {"spec": {"containers": [container]}}}}));
        slots.of(&Role::BatchSize).next().unwrap().absent
    };
    assert_eq!(server(json!(["m"])), Some(Absent::AtLeast(128)));
    assert_eq!(server(json!(["m", "--max-num-batched-tokens=4096"])), Some(Absent::AtLeast(128)));
    assert_eq!(server(json!(["m", "--max_num_batched_tokens", "64"])), Some(Absent::AtLeast(64)));
    for unclear in
        [json!(["m", "--max-num-batched-tokens=8k"]), json!(["m", "--max-num-batched-tokens", "$(N)"])]
    {
        assert_eq!(server(unclear.clone()), None, "{unclear}");
    }
    let service = found(INFERENCE_SERVICE, &json!({"spec": {"predictor": {"batcher": {"maxLatency": 500}}}}));
    let absent = |slots: &Slots, role: Role| slots.of(&role).next().unwrap().absent;
    assert_eq!(absent(&service, Role::BatchSize), Some(Absent::Is(32)));
    assert_eq!(absent(&service, Role::MaxConcurrency), Some(Absent::Unlimited));
    let model = found(LLM_DEPLOYMENT, &json!({"spec": {}}));
    assert_eq!(absent(&model, Role::BatchSize), None);
    assert_eq!(absent(&model, Role::MaxConcurrency), Some(Absent::Unlimited));
}
