use serde_json::json;

use super::super::tests::{DEPLOYMENT, INFERENCE_SERVICE, Kind, found};
use super::*;

/// What stays of the placement, as people read it.
fn stays(kind: Kind, object: &Value) -> Vec<String> {
    let places = found(kind, object).places;
    places.iter().map(|place| place.released.to_string()).collect()
}

fn pod(more: Value) -> Value {
    let mut pod = json!({"containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]});
    pod.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    pod
}

fn affinity(terms: Value) -> Value {
    json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}})
}

#[test]
fn what_stays_is_what_is_no_accelerator_and_not_on_every_node() {
    let deployment = |more: Value| stays(DEPLOYMENT, &json!({"spec": {"template": {"spec": pod(more)}}}));
    let selector = |labels: Value| deployment(json!({"nodeSelector": labels}));
    assert_eq!(selector(json!({"kubernetes.io/os": "linux"})), Vec::<String>::new());
    assert_eq!(selector(json!({"nvidia.com/gpu.product": "A100", "kubernetes.io/os": "linux"})), [""]);
    let pinned = json!({"nvidia.com/gpu.product": "A100", "kubernetes.io/hostname": "gpu-1"});
    assert_eq!(selector(pinned), ["kubernetes.io/hostname=gpu-1"]);
    let terms = |terms: Value| deployment(json!({"affinity": affinity(terms)}));
    let gpu = json!({"key": "nvidia.com/gpu.present", "operator": "In", "values": ["true"]});
    let zone = json!({"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a", "b"]});
    let name = json!({"key": "metadata.name", "operator": "In", "values": ["gpu-1"]});
    let zoned = "topology.kubernetes.io/zone In a|b";
    assert_eq!(terms(json!([{"matchExpressions": [gpu, zone]}])), [zoned]);
    // The other one becomes "any node", and so the two are.
    assert_eq!(terms(json!([{"matchExpressions": [gpu]}, {"matchExpressions": [zone]}])), [""]);
    assert_eq!(
        terms(json!([{"matchExpressions": [zone]}, {"matchFields": [name]}])),
        [format!("{zoned} or metadata.name In gpu-1")]
    );
    let os = json!({"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]});
    assert_eq!(terms(json!([{"matchExpressions": [os]}])), Vec::<String>::new());
}

#[test]
fn selector_and_affinity_of_one_pod_stand_together_and_those_of_another_do_not() {
    let zone = json!([{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]);
    let service = json!({"spec": {"predictor": {
        "model": {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
        "nodeSelector": {"pool": "a"}, "affinity": affinity(zone),
        "workerSpec": {"nodeSelector": {"pool": "b"}},
    }}});
    assert_eq!(stays(INFERENCE_SERVICE, &service), ["pool=a, zone Exists", "pool=b"]);
}

#[test]
fn every_operator_is_read_and_one_that_is_not_valid_matches_nothing() {
    let read = |operator: &str, values: Value| {
        requirement(
            Of::Label("cores".to_owned()),
            &json!({"key": "cores", "operator": operator, "values": values}),
        )
        .is
    };
    assert_eq!(read("Gt", json!(["8"])), Is::Above(8));
    assert_eq!(read("Lt", json!(["8"])), Is::Below(8));
    assert_eq!(read("Gt", json!(["many"])), Is::Never);
    assert_eq!(read("NotIn", json!(["8"])), Is::NotIn(vec!["8".to_owned()]));
    assert_eq!(read("Exists", json!([])), Is::Present);
    assert_eq!(read("DoesNotExist", json!([])), Is::Absent);
    assert_eq!(read("Like", json!(["8"])), Is::Never);
    let field = json!({"key": "spec.unschedulable", "operator": "In", "values": ["true"]});
    assert_eq!(requirement(Of::Name, &field).is, Is::Never);
}

#[test]
fn a_node_has_accelerators_while_pods_can_get_them() {
    let names = crate::workloads::Profiles::built_in().unwrap();
    let names = &names.find("v1", "Node").unwrap().names;
    let has = |allocatable: Value| {
        node(names, &json!({"metadata": {"name": "n"}, "status": {"allocatable": allocatable}}))
            .has_accelerators
    };
    assert!(has(json!({"cpu": "8", "nvidia.com/gpu": "8"})));
    assert!(has(json!({"nvidia.com/mig-1g.5gb": 7})));
    assert!(!has(json!({"cpu": "8", "nvidia.com/gpu": "0"})), "its devices have failed");
    assert!(!has(json!({"cpu": "8", "rdma/ib": "1"})));
}
