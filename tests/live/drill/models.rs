//! The models of a drill, and how they must look at the end.

use serde_json::{Value, json};

use crate::support::{
    object::{Object, Snapshot},
    world::World,
};

const MODEL: &str = include_str!("model.yaml");

/// The manifest of a model, for [`World::apply`].
pub fn manifest(name: &str) -> String {
    MODEL.replace("${name}", name)
}

/// The manifest of a model, to be changed and created.
pub fn document(world: &World, name: &str) -> Value {
    world.documents(&manifest(name)).remove(0)
}

/// Some models, and how they were before the emergency.
pub struct Models {
    pub objects: Vec<Object>,
    pub before: Vec<Snapshot>,
}

impl Models {
    pub(super) async fn apply(world: &World, names: &[&str]) -> Self {
        let yaml: Vec<String> = names.iter().map(|name| manifest(name)).collect();
        let objects = world.apply("flux", &yaml.join("---\n")).await;
        for object in &objects {
            serve(object).await;
        }
        Self::of(objects).await
    }

    /// Any objects, as they are now.
    pub async fn of(objects: Vec<Object>) -> Self {
        let mut before = Vec::new();
        for object in &objects {
            before.push(object.snapshot().await);
        }
        Self { objects, before }
    }

    /// All of them run without GPUs.
    pub async fn wait_until_fallen(&self) {
        for object in &self.objects {
            object.wait_until("without GPUs", |model| super::has_fallen(&model.data)).await;
        }
    }

    /// Each is as it was, after exactly two changes of its spec.
    pub async fn assert_reverted(&self) {
        for number in 0..self.objects.len() {
            self.assert_one_reverted(number, 0).await;
        }
    }

    /// This one is as it was, after two changes of its spec and this many by others.
    pub async fn assert_one_reverted(&self, number: usize, edits: i64) {
        let (object, before) = (&self.objects[number], &self.before[number]);
        let after = object.snapshot().await;
        assert_eq!(after.spec, before.spec, "{object}: spec");
        // Where a rollout has a surge, its pace goes back in a write of its own.
        let surge = before.spec.pointer("/strategy/rollingUpdate/maxSurge");
        let writes = if surge.is_some_and(|surge| *surge != 0) { 3 } else { 2 };
        assert_eq!(after.generation, before.generation + writes + edits, "{object}: generation");
        assert_no_trace(object, before, &after);
    }

    /// This one was never touched: nothing was written, not even its metadata.
    pub async fn assert_untouched(&self, number: usize) {
        let (object, before) = (&self.objects[number], &self.before[number]);
        let after = object.snapshot().await;
        assert_eq!(after.uid, before.uid, "{object}: uid");
        assert_eq!(after.version, before.version, "{object}: resourceVersion");
    }
}

/// The model serves, now and after every change: no controller reconciles the models of a drill, so this
/// status says that its operator has observed every change that there will ever be.
pub async fn serve(model: &Object) {
    let status = json!({"phase": "Ready", "observedGeneration": 1_000_000});
    model.merge_status("llm-d-operator", json!({"status": status})).await;
}

/// Nothing of Firebreak's is left in the metadata.
pub fn assert_no_trace(object: &Object, before: &Snapshot, after: &Snapshot) {
    assert_eq!(after.traces(), Vec::<&str>::new(), "{object}: traces");
    assert_eq!(after.labels, before.labels, "{object}: labels");
    assert_eq!(after.annotations, before.annotations, "{object}: annotations");
    assert_eq!(after.managers, before.managers, "{object}: managers");
}

/// The spec of a drill's model during the emergency.
pub fn fallen_spec(before: &Value) -> Value {
    let mut spec = before.clone();
    for part in ["requests", "limits"] {
        spec["resources"][part]["nvidia.com/gpu"] = json!("0");
    }
    spec["model"]["quantization"] = json!({"enabled": true, "precision": "int8"});
    spec["nodeSelector"].as_object_mut().expect("a map").remove("nvidia.com/gpu.pool");
    spec
}
