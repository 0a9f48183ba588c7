use proptest::prelude::*;
use serde_json::{Value, json};

use super::slots;
use super::tests::GPU;
use crate::workloads::Profiles;

/// JSON in which the relevant names occur in places where they do not belong.
fn anything() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        GPU,
        "limits",
        "requests",
        "resources",
        "containers",
        "name",
        "spec",
        "template",
        "model",
        "quantization",
        "enabled",
        "precision",
        "nodeSelector",
        "affinity",
        "nodeAffinity",
        "matchExpressions",
        "key",
        "operator",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
        "In",
        "runtimeClassName",
        "nvidia",
        "metadata",
        "status",
        "resourceClaims",
        "nodeName",
        "ownerReferences",
        "replicas",
        "autoscaling",
        "maxReplicas",
        "schedulerName",
        "scheduling",
        "scheduler",
        "serving",
        "batchSize",
        "predictor",
        "batcher",
        "maxBatchSize",
        "args",
        "command",
        "image",
        "vllm",
        "--max-num-seqs",
        "--max-num-seqs=3",
        "sh -c vllm",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        name.clone().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 128, 6, move |inner| {
        let map = prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner.clone(), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(Value::from),
            map.prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_object_makes_it_panic_and_every_path_can_be_read_back(spec in anything(), resources in anything(), pod in anything()) {
        let profiles = Profiles::built_in().unwrap();
        let objects = [
            json!({"spec": spec}),
            json!({"spec": {"resources": resources, "model": spec, "template": {"spec": pod}}}),
            json!({"spec": {"template": {"spec": {"containers": pod}}}}),
            json!({"spec": {"predictor": pod}}),
            spec,
        ];
        for profile in profiles.iter() {
            for object in &objects {
                for slot in slots(profile, object).fields {
                    prop_assert_eq!(slot.path.to_string().parse(), Ok(slot.path.clone()));
                    if slot.out_of_bounds.is_some() {
                        continue;
                    }
                    // A value within the bounds can be set and restored exactly.
                    let mut changed = object.clone();
                    let before = slot.path.read(object).map(|value| value.into_owned());
                    let created = slot.path.missing_ancestor(object);
                    prop_assert_eq!(slot.path.write(&mut changed, Some(json!("1"))), Ok(()));
                    prop_assert_eq!(slot.path.write(&mut changed, before.clone()), Ok(()));
                    if let (None, Some(created)) = (before, created) {
                        slot.path.prune_empty(&mut changed, &created);
                        let top = created.node(object).cloned();
                        if top.is_some() {
                            created.write(&mut changed, top).unwrap();
                        }
                    }
                    prop_assert_eq!(&changed, object);
                }
            }
        }
    }
}
