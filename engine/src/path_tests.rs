use super::*;
use serde_json::json;

fn path(text: &str) -> FieldPath {
    text.parse().unwrap()
}

#[test]
fn a_path_reads_through_named_list_elements() {
    let object = json!({"spec": {"containers": [{"name": "proxy"}, {"name": "main", "resources": {"limits": {"nvidia.com/gpu": "4"}}}]}});
    let gpu = path("/spec/containers/[name=main]/resources/limits/nvidia.com~1gpu");
    assert_eq!(gpu.read(&object).as_deref(), Some(&json!("4")));
    assert_eq!(gpu.to_string(), "/spec/containers/[name=main]/resources/limits/nvidia.com~1gpu");
}

#[test]
fn writing_creates_maps_but_never_list_elements() {
    let mut object = json!({"spec": {}});
    let precision = path("/spec/model/quantization/precision");
    assert_eq!(precision.missing_ancestor(&object), Some(path("/spec/model")));
    precision.write(&mut object, Some(json!("int8"))).unwrap();
    assert_eq!(object, json!({"spec": {"model": {"quantization": {"precision": "int8"}}}}));
    let element = path("/spec/containers/[name=main]/image");
    assert!(element.write(&mut json!({"spec": {"containers": []}}), Some(json!("x"))).is_err());
}

#[test]
fn pruning_stops_at_what_somebody_else_put_there() {
    let mut object = json!({"spec": {"model": {"uri": "m", "quantization": {}}}});
    path("/spec/model/quantization/precision").prune_empty(&mut object, &path("/spec/model"));
    assert_eq!(object, json!({"spec": {"model": {"uri": "m"}}}));
}

#[test]
fn request_and_limit_of_one_resource_are_one_group() {
    let limit = path("/spec/resources/limits/nvidia.com~1gpu");
    let request = path("/spec/resources/requests/nvidia.com~1gpu");
    assert_eq!(limit.group(), request.group());
    assert_ne!(limit.group(), path("/spec/resources/limits/memory").group());
}

#[test]
fn what_has_an_effect_only_together_is_one_group() {
    for (one, other) in [
        ("/spec/minReplicas", "/spec/maxReplicas"),
        ("/spec/minReplicaCount", "/spec/maxReplicaCount"),
        ("/spec/strategy/rollingUpdate/maxSurge", "/spec/strategy/rollingUpdate/maxUnavailable"),
        ("/spec/model/quantization/enabled", "/spec/model/quantization/precision"),
        ("/args/[flag=--enable-prefix-caching]", "/args/[flag=--no-enable-prefix-caching]"),
        ("/args/[flag=--max-num-seqs]", "/args/[flag=--max_num_seqs]"),
        ("/args/[flag=-tp]", "/args/[flag=--tensor_parallel_size]"),
        ("/args/[flag=-ep]", "/args/[flag=--no-enable-expert-parallel]"),
    ] {
        assert_eq!(path(one).group(), path(other).group(), "{one} {other}");
    }
    for (one, other) in [
        ("/spec/a/enabled", "/spec/b/precision"),
        ("/spec/maxReplicas", "/spec/maxReplicaCount"),
        ("/args/[flag=--note]", "/args/[flag=--no-te]"),
    ] {
        assert_ne!(path(one).group(), path(other).group(), "{one} {other}");
    }
}

#[test]
fn malformed_paths_are_refused() {
    for text in [
        "",
        "spec",
        "/",
        "//",
        "/spec//x",
        "/[name]",
        "/[=x]",
        "/args/[flag=x]",
        "/args/[flag=--x=1]",
        "/args/[flag=--x y]",
        "/args/[flag=--x]/more",
    ] {
        assert!(text.parse::<FieldPath>().is_err(), "{text}");
    }
}

const FLAG: &str = "/spec/containers/[name=vllm]/args/[flag=--max-num-seqs]";

#[test]
fn a_flag_is_a_field_of_its_own_below_args_and_command_only() {
    assert!(path(FLAG).is_flag());
    assert_eq!(path(FLAG).to_string(), FLAG);
    assert!(path("/command/[flag=--a~1b]").is_flag());
    assert_eq!(path("/command/[flag=--a~1b]").to_string(), "/command/[flag=--a~1b]");
    let element = path("/spec/flags/[flag=--x]");
    assert!(!element.is_flag());
    assert_eq!(element.to_string(), "/spec/flags/[flag=--x]");
    let misplaced = vec![Segment::Key("env".to_owned()), Segment::Flag("--x".to_owned())];
    assert!(FieldPath::new(misplaced).is_err());
    assert_ne!(path(FLAG).group(), path("/spec/containers/[name=vllm]/args/[flag=--dtype]").group());
    assert!(!path(FLAG).is_quantity());
}

#[test]
fn a_flag_is_read_and_written_in_its_list_and_a_list_is_never_made() {
    let object = |args: Value| json!({"spec": {"containers": [{"name": "vllm", "args": args}]}});
    let mut there = object(json!(["--max-num-seqs", "256"]));
    assert_eq!(path(FLAG).read(&there).as_deref(), Some(&json!("256")));
    assert_eq!(path(FLAG).node(&there), None);
    path(FLAG).write(&mut there, Some(json!("16"))).unwrap();
    assert_eq!(there, object(json!(["--max-num-seqs", "16"])));
    path(FLAG).write(&mut there, None).unwrap();
    path(FLAG).prune_empty(&mut there, &path("/spec"));
    assert_eq!(there, object(json!([])), "the list stays");

    let without = json!({"spec": {"containers": [{"name": "vllm"}]}});
    for without in [without, object(Value::Null), json!({"spec": {"containers": []}}), json!({})] {
        assert_eq!(path(FLAG).missing_ancestor(&without), None);
        assert_eq!(path(FLAG).read(&without), None);
        let mut object = without.clone();
        assert_eq!(path(FLAG).write(&mut object, None), Ok(()));
        assert!(matches!(path(FLAG).write(&mut object, Some(json!("1"))), Err(PathError::NoElement(_))));
        assert_eq!(object, without);
    }
    let mut text = object(json!("serve"));
    assert!(matches!(path(FLAG).write(&mut text, None), Err(PathError::WrongShape(_))));
    let mut shell = object(json!(["vllm --max-num-seqs 3 --token secret"]));
    let problem = path(FLAG).write(&mut shell, Some(json!("1"))).unwrap_err().to_string();
    assert!(problem.contains("longer text") && !problem.contains("secret"), "{problem}");
}

#[test]
fn an_element_is_appended_and_goes_again_with_the_list_that_was_made_for_it() {
    let path: FieldPath = "/spec/containers/[name=vllm]/env/[name=A]".parse().unwrap();
    let object = json!({"spec": {"containers": [{"name": "vllm"}]}});
    let element = json!({"name": "A", "value": "1"});
    let created = path.missing_ancestor(&object).unwrap();
    assert_eq!(created.to_string(), "/spec/containers/[name=vllm]/env");
    let mut changed = object.clone();
    path.write(&mut changed, Some(element.clone())).unwrap();
    assert_eq!(path.read(&changed).as_deref(), Some(&element));
    assert!(path.is_variable() && !created.is_variable());
    path.write(&mut changed, None).unwrap();
    path.prune_empty(&mut changed, &created);
    assert_eq!(changed, object);
    // Others stay in their order.
    let mut others = json!({"spec": {"containers": [{"name": "vllm", "env": [{"name": "B"}, {"name": "A"}, {"name": "C"}]}]}});
    path.write(&mut others, Some(element)).unwrap();
    let env: FieldPath = "/spec/containers/[name=vllm]/env".parse().unwrap();
    assert_eq!(env.node(&others), Some(&json!([{"name": "B"}, {"name": "A", "value": "1"}, {"name": "C"}])));
    path.write(&mut others, None).unwrap();
    assert_eq!(env.node(&others), Some(&json!([{"name": "B"}, {"name": "C"}])));
}
