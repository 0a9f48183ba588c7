use serde_json::json;

use super::accelerators::RESOURCE_MAPS;
use super::*;
use crate::workloads::Profiles;

pub(super) const GPU: &str = "nvidia.com/gpu";

/// apiVersion and kind.
pub(super) type Kind = (&'static str, &'static str);
pub(super) const DEPLOYMENT: Kind = ("apps/v1", "Deployment");
pub(super) const STATEFUL_SET: Kind = ("apps/v1", "StatefulSet");
pub(super) const LLM_DEPLOYMENT: Kind = ("inference.llm-d.io/v1alpha1", "LLMDeployment");
pub(super) const AUTOSCALER: Kind = ("autoscaling/v2", "HorizontalPodAutoscaler");
pub(super) const INFERENCE_SERVICE: Kind = ("serving.kserve.io/v1beta1", "InferenceService");
pub(super) const SCALED_OBJECT: Kind = ("keda.sh/v1alpha1", "ScaledObject");

/// What the kind's profile finds in the object.
pub(super) fn found((api_version, kind): Kind, object: &Value) -> Slots {
    let profiles = Profiles::built_in().unwrap();
    slots(profiles.find(api_version, kind).unwrap(), object)
}

/// The paths of the fields with a role.
pub(super) fn with_role(slots: &Slots, role: &Role) -> Vec<String> {
    slots.of(role).map(|slot| slot.path.to_string()).collect()
}

/// Why a role does not apply.
pub(super) fn obstacle(slots: &Slots, role: &Role) -> Option<String> {
    slots.obstacles.iter().find(|obstacle| obstacle.role == *role).map(|obstacle| obstacle.why.clone())
}

fn model(spec: Value) -> Slots {
    fallback_of(LLM_DEPLOYMENT, &json!({"metadata": {"name": "m"}, "spec": spec}))
}

fn deployment(pod: Value) -> Slots {
    fallback_of(DEPLOYMENT, &json!({"spec": {"template": {"spec": pod}}}))
}

/// What a fallback from accelerators changes in the object.
fn fallback_of(kind: Kind, object: &Value) -> Slots {
    let Slots { mut fields, pins, fixed, obstacles: _, unused: _, metadata_propagates: _, .. } =
        found(kind, object);
    fields.retain(|slot| match slot.role {
        Role::Accelerator
        | Role::QuantizationEnabled
        | Role::QuantizationPrecision
        | Role::Placement { .. } => true,
        Role::AutoscalerLimit
        | Role::Scheduler
        | Role::BatchSize
        | Role::MaxConcurrency
        | Role::Replicas
        | Role::Restart
        | Role::Pace { .. } => false,
    });
    Slots { fields, pins, fixed, ..Slots::default() }
}

/// A Deployment's pod with one GPU and more fields.
fn gpu_pod(more: Value) -> Slots {
    let mut pod = json!({"containers": [{"name": "vllm", "resources": {"limits": {GPU: "1"}}}]});
    let more = more.as_object().unwrap().clone();
    pod.as_object_mut().unwrap().extend(more);
    deployment(pod)
}

fn paths(slots: &Slots) -> Vec<String> {
    slots.fields.iter().map(|slot| slot.path.to_string()).collect()
}

fn accelerator_paths(slots: &Slots) -> Vec<String> {
    let accelerators = slots.fields.iter().filter(|slot| slot.role == Role::Accelerator);
    accelerators.map(|slot| slot.path.to_string()).collect()
}

fn released(slots: &Slots) -> Vec<(String, Option<Value>)> {
    let placement = slots.fields.iter().filter_map(|slot| match &slot.role {
        Role::Placement { released } => Some((slot.path.to_string(), released.clone())),
        Role::Accelerator
        | Role::QuantizationEnabled
        | Role::QuantizationPrecision
        | Role::AutoscalerLimit
        | Role::Scheduler
        | Role::BatchSize
        | Role::MaxConcurrency
        | Role::Replicas
        | Role::Restart
        | Role::Pace { .. } => None,
    });
    placement.collect()
}

fn problems(slots: &Slots) -> Vec<&str> {
    slots.fields.iter().filter_map(|slot| slot.out_of_bounds.as_deref()).collect()
}

#[test]
fn a_model_gives_the_amounts_that_are_there_and_both_quantization_fields_though_they_are_absent() {
    let slots =
        model(json!({"resources": {"limits": {GPU: "2", "memory": "16384Mi"}, "requests": {"cpu": 1}}}));
    assert_eq!(
        paths(&slots),
        [
            "/spec/resources/limits/nvidia.com~1gpu",
            "/spec/model/quantization/enabled",
            "/spec/model/quantization/precision",
        ]
    );
    assert_eq!(problems(&slots), Vec::<&str>::new());
}

#[test]
fn a_limit_may_be_a_number_or_a_text_and_may_be_zero() {
    for amount in [json!("2"), json!(2), json!("0"), json!(0), json!("2000m"), json!("1k")] {
        let slots = model(json!({"resources": {"requests": {GPU: amount}}}));
        assert_eq!(accelerator_paths(&slots), ["/spec/resources/requests/nvidia.com~1gpu"], "{amount}");
        assert_eq!(problems(&slots), Vec::<&str>::new(), "{amount}");
    }
}

#[test]
fn an_amount_out_of_bounds_is_not_lent() {
    for amount in [
        json!("-1"),
        json!("1025"),
        json!("500m"),
        json!("four"),
        json!(true),
        json!({}),
        json!([2]),
        json!(""),
    ] {
        let slots = model(json!({"resources": {"limits": {GPU: amount}}}));
        assert_eq!(problems(&slots), ["is not a whole number from 0 to 1024"], "{amount}");
    }
}

#[test]
fn two_accelerators_give_the_halves_that_are_there_each_pair_together() {
    let slots = model(json!({"resources": {
        "limits": {"nvidia.com/mig-1g.5gb": 1, GPU: "2", "amd.com/gpu": null},
        "requests": {"habana.ai/gaudi": 1, "nvidia.com/mig-1g.5gb": 1},
    }}));
    assert_eq!(
        accelerator_paths(&slots),
        [
            "/spec/resources/requests/habana.ai~1gaudi",
            "/spec/resources/limits/nvidia.com~1gpu",
            "/spec/resources/limits/nvidia.com~1mig-1g.5gb",
            "/spec/resources/requests/nvidia.com~1mig-1g.5gb",
        ]
    );
}

/// Every kind that has accelerators, and every form of it, with these resources in it.
fn every_form(resources: &Value) -> Vec<(Kind, Value)> {
    let containers = json!([{"name": "main", "resources": resources}]);
    let template = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let predictor = |predictor: Value| json!({"spec": {"predictor": predictor}});
    vec![
        (DEPLOYMENT, template.clone()),
        (STATEFUL_SET, template),
        (LLM_DEPLOYMENT, json!({"spec": {"resources": resources}})),
        (INFERENCE_SERVICE, predictor(json!({"model": {"resources": resources}}))),
        (INFERENCE_SERVICE, predictor(json!({"containers": containers}))),
        (INFERENCE_SERVICE, predictor(json!({"workerSpec": {"containers": containers}}))),
    ]
}

#[test]
fn the_half_of_a_pair_that_is_absent_is_not_added_in_any_kind() {
    for there in RESOURCE_MAPS {
        for beside in [json!({}), json!({"memory": "1Gi"}), Value::Null] {
            for name in [GPU, "amd.com/gpu", "google.com/tpu", "nvidia.com/mig-1g.5gb"] {
                let mut resources = json!({"limits": beside, "requests": beside});
                resources[there] = json!({name: "1", "memory": "1Gi"});
                for (kind, object) in every_form(&resources) {
                    let paths = accelerator_paths(&fallback_of(kind, &object));
                    let there = format!("/resources/{there}/{}", name.replace('/', "~1"));
                    assert!(paths.len() == 1 && paths[0].ends_with(&there), "{kind:?}: {paths:?}");
                }
            }
        }
    }
}

#[test]
fn without_accelerators_there_is_nothing_to_lend() {
    for spec in [
        json!({}),
        json!({"resources": {"limits": {"memory": "16384Mi", "nvidia.com/gpu.shared.x": "1"}}}),
        json!({"resources": {"limits": {GPU: null}}}),
        json!({"resources": "two", "nodeSelector": {"nvidia.com/gpu": "true"}}),
        json!({"resources": {"limits": [GPU]}, "runtimeClassName": "nvidia"}),
        json!([1, 2]),
    ] {
        assert_eq!(model(spec.clone()), Slots::default(), "{spec}");
    }
}

#[test]
fn a_map_of_another_shape_beside_the_accelerator_is_not_written() {
    let slots = model(json!({"resources": {"limits": {GPU: "1"}, "requests": "none"}, "model": "llama"}));
    assert_eq!(
        problems(&slots),
        ["cannot be set: /spec/model is not a map", "cannot be set: /spec/model is not a map"]
    );
}

#[test]
fn quantization_out_of_bounds_is_not_lent() {
    let with = |quantization: Value| {
        model(json!({"resources": {"limits": {GPU: 1}}, "model": {"quantization": quantization}}))
    };
    assert_eq!(problems(&with(json!({"enabled": false, "precision": "fp16"}))).len(), 0);
    assert_eq!(problems(&with(json!({"enabled": null, "precision": null}))).len(), 0);
    assert_eq!(problems(&with(json!({"enabled": "yes", "precision": 8}))).len(), 2);
    assert_eq!(problems(&with(json!({"precision": "ü".repeat(63)}))).len(), 0);
    assert_eq!(problems(&with(json!({"precision": "x".repeat(64)}))).len(), 1);
}

#[test]
fn only_containers_with_accelerators_give_slots_wherever_they_stand() {
    let slots = deployment(json!({
        "initContainers": [{"name": "warm", "resources": {"requests": {"amd.com/gpu": 1}}}],
        "containers": [
            {"name": "sidecar", "resources": {"limits": {"cpu": "1"}}},
            {"name": "vllm", "resources": {"limits": {GPU: "4"}, "requests": {GPU: "4"}}},
            {"name": "bare"},
        ],
    }));
    assert_eq!(
        paths(&slots),
        [
            "/spec/template/spec/containers/[name=vllm]/resources/limits/nvidia.com~1gpu",
            "/spec/template/spec/containers/[name=vllm]/resources/requests/nvidia.com~1gpu",
            "/spec/template/spec/initContainers/[name=warm]/resources/requests/amd.com~1gpu",
        ]
    );
}

#[test]
fn a_container_that_cannot_be_addressed_keeps_its_accelerators() {
    let gpu = json!({"limits": {GPU: 1}});
    let slots = deployment(
        json!({"containers": [{"name": "a", "resources": gpu}, {"name": "a", "resources": gpu}, {"resources": gpu}]}),
    );
    assert_eq!((slots.fields.len(), slots.fixed.len()), (1, 2));
}

#[test]
fn placement_slots_are_only_those_that_ask_for_accelerators() {
    let slots = gpu_pod(json!({
        "nodeSelector": {"nvidia.com/gpu.product": "A100", "zone": "b", "cloud.google.com/gke-accelerator": "t4"},
        "runtimeClassName": "nvidia-cdi",
    }));
    let at = |field: &str| (format!("/spec/template/spec/{field}"), None);
    assert_eq!(
        released(&slots),
        [
            at("nodeSelector/cloud.google.com~1gke-accelerator"),
            at("nodeSelector/nvidia.com~1gpu.product"),
            at("runtimeClassName")
        ]
    );
    assert_eq!(released(&gpu_pod(json!({"nodeSelector": {"zone": "b"}, "runtimeClassName": "gvisor"}))), []);
}

fn affinity(terms: Value) -> Option<Option<Value>> {
    let required = json!({"nodeSelectorTerms": terms});
    let slots = gpu_pod(
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}),
    );
    let found = released(&slots);
    assert!(found.len() <= 1);
    found.into_iter().next().map(|(_, released)| released)
}

#[test]
fn an_affinity_loses_its_accelerator_requirements_only() {
    let gpu = json!({"key": "nvidia.com/gpu.product", "operator": "In", "values": ["A100"]});
    let zone = json!({"key": "zone", "operator": "In", "values": ["b"]});
    let other = json!({"matchExpressions": [zone], "matchFields": []});
    let released = affinity(json!([{"matchExpressions": [gpu, zone]}, other]));
    assert_eq!(released, Some(Some(json!({"nodeSelectorTerms": [{"matchExpressions": [zone]}, other]}))));
    assert_eq!(affinity(json!([other])), None);
}

#[test]
fn a_term_of_accelerators_only_means_any_node_and_so_does_every_alternative() {
    let gpu = json!({"key": "nvidia.com/gpu.present", "operator": "Exists"});
    let zone = json!({"key": "zone", "operator": "In", "values": ["b"]});
    assert_eq!(affinity(json!([{"matchExpressions": [zone]}, {"matchExpressions": [gpu]}])), Some(None));
    let fields = json!([{"key": "metadata.name", "operator": "In", "values": ["n1"]}]);
    let released = affinity(json!([{"matchExpressions": [gpu], "matchFields": fields}]));
    assert_eq!(released, Some(Some(json!({"nodeSelectorTerms": [{"matchFields": fields}]}))));
}

#[test]
fn a_requirement_that_keeps_away_from_accelerators_stays() {
    for operator in ["NotIn", "DoesNotExist"] {
        let away = json!({"key": "nvidia.com/gpu.product", "operator": operator, "values": ["T4"]});
        assert_eq!(affinity(json!([{"matchExpressions": [away]}])), None);
    }
    assert_eq!(affinity(json!("anywhere")), None);
    assert_eq!(affinity(json!([null, 3, {"matchExpressions": "x"}])), None);
}

#[test]
fn what_cannot_be_released_is_a_pin() {
    assert_eq!(gpu_pod(json!({"nodeName": "", "resourceClaims": []})).pins.len(), 0);
    assert_eq!(gpu_pod(json!({"nodeName": "gpu-1"})).pins.len(), 1);
    assert_eq!(gpu_pod(json!({"resourceClaims": [{"name": "gpu"}]})).fixed.len(), 1);
    let cpu = json!([{"name": "web"}]);
    assert_eq!(deployment(json!({"containers": cpu, "nodeName": "n"})), Slots::default());
    let claims_only = deployment(json!({"containers": cpu, "resourceClaims": [{"name": "gpu"}]}));
    assert_eq!((claims_only.fields.len(), claims_only.pins.len(), claims_only.fixed.len()), (0, 0, 1));
}

#[test]
fn what_belongs_to_an_accelerator_goes_with_it_and_is_left_alone_without_one() {
    let limits = |limits: Value| {
        let containers = json!([
            {"name": "main", "resources": {"limits": limits}},
            {"name": "proxy", "resources": {"limits": {"rdma/ib": "1"}}},
        ]);
        let slots = deployment(json!({"containers": containers}));
        let of = slots.of(&Role::Accelerator).filter(|slot| slot.path.to_string().contains("/limits/"));
        of.map(|slot| (slot.path.to_string(), slot.out_of_bounds.clone())).collect::<Vec<_>>()
    };
    let shared = limits(json!({
        GPU: "1", "nvidia.com/gpumem": "80000", "nvidia.com/gpumem-percentage": "50", "nvidia.com/gpucores": "30",
        "vpc.amazonaws.com/efa": "4", "huawei.com/Ascend310P-memory": "21527", "cpu": "8", "example.com/license": "1",
    }));
    let names: Vec<&str> =
        shared.iter().filter_map(|(path, _)| path.rsplit_once("limits/").map(|(_, name)| name)).collect();
    let expected = [
        "nvidia.com~1gpu",
        "huawei.com~1Ascend310P-memory",
        "nvidia.com~1gpucores",
        "nvidia.com~1gpumem",
        "nvidia.com~1gpumem-percentage",
        "vpc.amazonaws.com~1efa",
        "rdma~1ib",
    ];
    assert_eq!(names, expected);
    assert!(shared.iter().all(|(_, problem)| problem.is_none()), "{shared:?}");
    for other in ["aws.amazon.com/neuroncore", "huawei.com/Ascend910", "volcano.sh/vgpu-number"] {
        assert_eq!(limits(json!({other: "1"})).len(), 2, "{other}, and the network beside it");
    }
    assert!(limits(json!({"cpu": "8"})).is_empty(), "a network alone is no accelerator");
}

#[test]
fn a_name_too_long_to_record_is_not_lent() {
    let name = format!("nvidia.com/mig-{}", "x".repeat(600));
    assert_eq!(problems(&model(json!({"resources": {"limits": {name: "1"}}}))).len(), 1);
}

#[test]
fn a_service_has_accelerators_in_its_model_or_in_its_containers() {
    let service =
        |predictor: Value| fallback_of(INFERENCE_SERVICE, &json!({"spec": {"predictor": predictor}}));
    let gpu = json!({"limits": {GPU: "1"}});
    let model = service(json!({
        "model": {"resources": gpu, "storageUri": "s3://m"}, "nodeSelector": {"nvidia.com/gpu.product": "A100"},
    }));
    let accelerators = |resources: &str| [format!("/spec/predictor/{resources}/limits/nvidia.com~1gpu")];
    assert_eq!(accelerator_paths(&model), accelerators("model/resources"));
    let selector = "/spec/predictor/nodeSelector/nvidia.com~1gpu.product".to_owned();
    assert_eq!(released(&model), [(selector, None)]);
    let containers = json!([{"name": "kserve-container", "resources": gpu}, {"name": "agent"}]);
    let custom = service(json!({"containers": containers, "runtimeClassName": "nvidia"}));
    assert_eq!(accelerator_paths(&custom), accelerators("containers/[name=kserve-container]/resources"));
    assert_eq!(released(&custom), [("/spec/predictor/runtimeClassName".to_owned(), None)]);
    let worker =
        service(json!({"workerSpec": {"containers": containers, "nodeSelector": {"accelerator": "a"}}}));
    assert_eq!((accelerator_paths(&worker).len(), released(&worker).len()), (1, 1));
}

#[test]
fn a_huge_list_is_no_problem() {
    let container = |index: i32| json!({"name": format!("c{index}"), "resources": {"limits": {GPU: 1}}});
    let slots = deployment(json!({"containers": (0..20_000).map(container).collect::<Vec<_>>()}));
    assert_eq!(slots.fields.len(), 20_000);
}
