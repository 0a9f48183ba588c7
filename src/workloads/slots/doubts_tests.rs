use firebreak_engine::facts::Role;
use serde_json::json;

use super::super::tests::{DEPLOYMENT, GPU, INFERENCE_SERVICE, Kind, LLM_DEPLOYMENT, found};
use super::*;

/// What the doubts about an object are about.
fn about(kind: Kind, object: &Value) -> Vec<About> {
    found(kind, object).doubts.into_iter().map(|doubt| doubt.about).collect()
}

/// A Deployment whose only container is `main`, with these fields beside a GPU.
fn with(container: Value, pod: Value) -> Value {
    let mut main = json!({"name": "main", "resources": {"limits": {GPU: "1"}}});
    let mut pod = pod;
    for (key, value) in container.as_object().unwrap() {
        main[key] = value.clone();
    }
    pod["containers"] = json!([main, {"name": "proxy", "image": "cuda-proxy:1"}]);
    json!({"metadata": {}, "spec": {"template": {"spec": pod}}})
}

#[test]
fn an_image_that_looks_like_one_for_accelerators_only_is_told_of_a_container_that_uses_them() {
    let doubted = |image: &str| {
        let about = about(DEPLOYMENT, &with(json!({"image": image}), json!({})));
        about.contains(&About::Image("main".to_owned()))
    };
    for image in [
        "vllm/vllm-openai:v0.11.0",
        "registry.example.com:5000/vllm-openai@sha256:0123",
        "pytorch/pytorch:2.3.0-cuda12.1-cudnn8-runtime",
        "lmsysorg/sglang:v0.5-cu126",
        "ghcr.io/huggingface/text-generation-inference:2.0",
        "rayproject/ray:2.9.0-gpu",
        "tensorflow/serving:latest-gpu",
        "kserve/huggingfaceserver:latest-gpu",
        "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.3.3",
        "nvcr.io/nvidia/pytorch:24.05-py3",
        "registry.example.com:5000/nvcr.io/nim/meta/llama@sha256:0123",
    ] {
        assert!(doubted(image), "{image}");
    }
    for image in [
        "public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.11.0",
        "vllm/vllm-openai-cpu:v1",
        "ghcr.io/ggml-org/llama.cpp:server",
        "example.com/cuda/server:1",
        "example.com:5000/nim/server:1",
        "kserve/huggingfaceserver:latest",
        "rayproject/ray:2.9.0-cpu",
        "example.com/gpuless:1",
        "nginx",
    ] {
        assert!(!doubted(image), "{image}");
    }
}

#[test]
fn a_flag_that_asks_for_an_accelerator_is_told_and_others_are_not() {
    let flags = |args: Value| {
        let about = about(DEPLOYMENT, &with(json!({"args": args}), json!({})));
        let flag = |about| match about {
            About::Flag { container, flag } => Some(format!("{container} {flag}")),
            _ => None,
        };
        about.into_iter().filter_map(flag).collect::<Vec<_>>()
    };
    assert_eq!(
        flags(json!(["m", "--device", "cuda", "--quantization=fp8"])),
        ["main --device", "main --quantization"]
    );
    assert_eq!(
        flags(json!(["m", "-q", "fp8", "--kv_cache_dtype=fp8"])),
        ["main --kv-cache-dtype", "main --quantization"]
    );
    let script = "exec vllm serve m --device cuda \\\n --quantization 'fp8';";
    assert_eq!(flags(json!(["sh", "-c", script])), ["main --device", "main --quantization"]);
    assert!(flags(json!(["sh", "-c", "vllm serve m --device cpu"])).is_empty());
    assert!(
        flags(json!(["m", "--device=cpu", "--quantization", "awq", "--tensor-parallel-size=2"])).is_empty()
    );
}

#[test]
fn devices_that_the_runtime_gives_without_a_request_are_told() {
    let table = [
        (json!({"value": "all"}), true),
        (json!({"value": "0,1"}), true),
        (json!({"valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}}), true),
        (json!({"value": "void"}), false),
        (json!({"value": "none"}), false),
        (json!({}), false),
    ];
    for (source, expected) in table {
        let mut entry = source.clone();
        entry["name"] = json!(VISIBLE_DEVICES);
        let object = with(json!({"env": [{"name": "A", "value": "secret"}, entry]}), json!({}));
        let doubts = found(DEPLOYMENT, &object).doubts;
        let devices = doubts.iter().find(|doubt| doubt.about == About::VisibleDevices("main".to_owned()));
        assert_eq!(devices.is_some(), expected, "{source}");
        assert!(doubts.iter().all(|doubt| !doubt.why.contains("secret") && !doubt.why.contains("0,1")));
    }
    let class = with(json!({}), json!({"runtimeClassName": "nvidia"}));
    assert_eq!(about(DEPLOYMENT, &class), [About::RuntimeClass]);
    let model = json!({"spec": {"runtimeClassName": "nvidia", "resources": {"limits": {GPU: "1"}}}});
    assert_eq!(about(LLM_DEPLOYMENT, &model), [About::RuntimeClass]);
    let service = json!({"spec": {"predictor": {"model": {
        "env": [{"name": VISIBLE_DEVICES, "value": "all"}], "resources": {"limits": {GPU: "1"}},
    }}}});
    assert_eq!(about(INFERENCE_SERVICE, &service), [About::VisibleDevices("kserve-container".to_owned())]);
}

#[test]
fn a_container_beside_the_server_is_told_by_its_path_where_the_server_has_its_name() {
    let container =
        |name: &str| json!({"name": name, "image": "triton:cuda12", "resources": {"limits": {GPU: "1"}}});
    let service = |transformer: &str| {
        json!({"spec": {"predictor": {"model": {"resources": {"limits": {GPU: "1"}}}},
            "transformer": {"containers": [container(transformer)]}}})
    };
    let image = |name: &str| About::Image(name.to_owned());
    let doubts = found(INFERENCE_SERVICE, &service("kserve-container")).doubts;
    assert_eq!(doubts.len(), 1);
    assert_eq!(doubts[0].about, image("/spec/transformer/containers/[name=kserve-container]"));
    assert!(doubts[0].why.ends_with("after it has a name of its own"), "{}", doubts[0].why);
    assert_eq!(about(INFERENCE_SERVICE, &service("pre")), [image("pre")]);
}

#[test]
fn resources_that_stay_and_only_some_nodes_have_are_named() {
    let told = |resources: Value| {
        let doubts = found(DEPLOYMENT, &with(json!({"resources": resources}), json!({}))).doubts;
        doubts.into_iter().find(|doubt| doubt.about == About::Devices).map(|doubt| doubt.why)
    };
    for (resource, amount) in [
        ("hugepages-2Mi", "5120Mi"),
        ("hugepages-1Gi", "2Gi"),
        ("openshift.io/mlnxnics", "1"),
        ("nvidia.com/hostdev", "1"),
        ("example.com/fpga", "2"),
    ] {
        for map in RESOURCE_MAPS {
            let why = told(json!({"limits": {GPU: "1"}, map: {GPU: "1", "memory": "8Gi", resource: amount}}))
                .unwrap();
            assert!(
                why.starts_with(&format!("new pods still request {resource} of container main, so")),
                "{why}"
            );
        }
    }
    let all =
        told(json!({"limits": {GPU: "1", "b.io/x": "1", "a.io/x": 1}, "requests": {"a.io/x": "1"}})).unwrap();
    assert!(all.contains("request a.io/x of container main, b.io/x of container main, so"), "{all}");
    for resource in ["cpu", "memory", "ephemeral-storage", "kubernetes.io/x", "pods.kubernetes.io/x"] {
        assert_eq!(told(json!({"limits": {GPU: "1", resource: "1"}})), None, "{resource}");
    }
    for gone in ["rdma/ib", "vpc.amazonaws.com/efa", "nvidia.com/gpumem", "amd.com/cpx_nps4"] {
        assert_eq!(told(json!({"limits": {GPU: "1", gone: "1"}})), None, "{gone}");
    }
    assert_eq!(told(json!({"limits": {GPU: "1", "example.com/fpga": "0"}})), None);
    let service = json!({"spec": {
        "predictor": {"model": {"resources": {"limits": {GPU: "1", "example.com/fpga": "1"}}}},
        "transformer": {"containers": [{"name": "pre", "resources": {"limits": {"hugepages-2Mi": "2Mi"}}}]},
    }});
    let doubts = found(INFERENCE_SERVICE, &service).doubts;
    let why = &doubts.iter().find(|doubt| doubt.about == About::Devices).unwrap().why;
    for expected in ["example.com/fpga of /spec/predictor/model/resources", "hugepages-2Mi of container pre"]
    {
        assert!(why.contains(expected), "{why}");
    }
}

#[test]
fn an_object_without_a_known_accelerator_names_its_other_devices() {
    let others = |resources: Value| {
        let main = json!({"name": "main", "resources": {"limits": resources}});
        found(DEPLOYMENT, &json!({"spec": {"template": {"spec": {"containers": [main]}}}})).other_devices
    };
    assert_eq!(others(json!({"example.com/fpga": "1"})), ["example.com/fpga of container main"]);
    assert_eq!(others(json!({"nvidia.com/gpumem": "8000"})), ["nvidia.com/gpumem of container main"]);
    for none in
        [json!({"cpu": "1", "hugepages-2Mi": "2Mi"}), json!({"example.com/fpga": "0"}), json!({GPU: "1"})]
    {
        assert_eq!(others(none.clone()), [""; 0], "{none}");
    }
    for known in [
        "amd.com/cpx_nps4",
        "amd.com/spx_nps1",
        "aliyun.com/gpu-mem",
        "cambricon.com/mlu370",
        "qualcomm.com/qaic",
    ] {
        let main = json!({"name": "main", "resources": {"limits": {known: "1"}}});
        let slots = found(DEPLOYMENT, &json!({"spec": {"template": {"spec": {"containers": [main]}}}}));
        assert_eq!(slots.of(&Role::Accelerator).count(), 1, "{known}");
    }
}

#[test]
fn a_queue_of_kueue_is_told_wherever_its_label_is() {
    let label = json!({"labels": {QUEUE: "gpus"}});
    for (at, kind) in [("metadata", DEPLOYMENT), ("metadata", LLM_DEPLOYMENT), ("template", DEPLOYMENT)] {
        let mut object = with(json!({}), json!({}));
        match at {
            "metadata" => object["metadata"] = label.clone(),
            _ => object["spec"]["template"]["metadata"] = label.clone(),
        }
        assert_eq!(about(kind, &object), [About::Queue], "{at}");
    }
    assert_eq!(about(DEPLOYMENT, &with(json!({}), json!({}))), []);
}
