//! What controllers of kinds do with a write: copy it to pods, overwrite what they own, restore old values.

mod borrowed;
mod children;
mod keda;
mod kserve;
mod propagation;
mod rollout_undo;

use serde_json::Value;

use crate::{
    drill::{Drill, rights},
    support::{object::Object, rights::Rule},
};

/// The permissions to change InferenceServices and ScaledObjects, and to see the autoscalers.
async fn grant(drill: &Drill) {
    let change = &["get", "list", "watch", "patch"];
    let more = vec![
        Rule { group: "serving.kserve.io", resources: &["inferenceservices"], verbs: change },
        Rule { group: "keda.sh", resources: &["scaledobjects"], verbs: change },
        Rule { group: "autoscaling", resources: &["horizontalpodautoscalers"], verbs: change },
    ];
    drill.world.grant(&drill.world.a, &[rights(), more].concat()).await;
}

/// The loans in the record on an object; none if there is no record.
async fn loans(object: &Object) -> Vec<Value> {
    let annotations = object.snapshot().await.annotations;
    let Some(text) = annotations.get("firebreak.dev/undo") else { return Vec::new() };
    let record: Value = serde_json::from_str(text).expect("a record");
    record["loans"].as_array().expect("loans").clone()
}
