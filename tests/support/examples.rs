//! The files under `examples/`, in a test's own world.
//!
//! They are written for one namespace and the whole cluster, but all live tests share a cluster. So the
//! namespace becomes the namespace of the world, policies for all namespaces select those of the world, and
//! GPU nodes are those of the world. Everything else of a file is unchanged.

use std::fs;

use serde_json::{Value, json};

use super::{manifest, nodes::POOL, object::Object, testbed::repository, world::World};

/// The namespaces that the examples are written for. Nothing else has these names.
const SHIPPED_NAMESPACES: [&str; 2] = ["llm-serving", "hydatis"];

impl World {
    /// The documents of a file under `examples/`, for this world.
    pub fn example(&self, file: &str) -> Vec<Value> {
        let path = repository().join("examples").join(file);
        let yaml = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        manifest::documents(&yaml).into_iter().map(|document| self.moved(document)).collect()
    }

    /// Applies a file under `examples/`, changed by `edit`. Its cluster-scoped objects are deleted with the
    /// world.
    pub async fn apply_example(&self, file: &str, edit: impl Fn(&mut Value)) -> Vec<Object> {
        let mut applied = Vec::new();
        for mut document in self.example(file) {
            edit(&mut document);
            let object = Object::of(&self.client, &document);
            let done = manifest::apply(&self.client, "harness", &document).await;
            done.unwrap_or_else(|error| panic!("{file}: {object}: {error}"));
            if is_role_of_the_cluster(&document) {
                self.belongings().objects.push(object.clone());
            }
            applied.push(object);
        }
        applied
    }

    /// Creates the Incident of a file under `examples/` as its first lines say, with kubectl alone.
    pub async fn create_example(&self, file: &str) -> Object {
        let documents = self.example(file);
        assert_eq!(documents.len(), 1, "{file}: one Incident");
        let here = self.files().join("incident.json");
        fs::write(&here, documents[0].to_string()).expect("the directory of the world is writable");
        let created = self.kubectl(&["create", "-f", &here.display().to_string(), "-o", "name"]).await;
        let name = created.trim().rsplit('/').next().unwrap_or_default().to_owned();
        self.incident(&name)
    }

    fn moved(&self, mut document: Value) -> Value {
        if is_role_of_the_cluster(&document) {
            for name in ["/metadata/name", "/roleRef/name"] {
                if let Some(Value::String(name)) = document.pointer_mut(name) {
                    *name = format!("{name}-{}", self.id);
                }
            }
        }
        self.move_in(&mut document);
        document
    }

    fn move_in(&self, value: &mut Value) {
        match value {
            Value::String(text) if SHIPPED_NAMESPACES.contains(&text.as_str()) => text.clone_from(&self.a),
            Value::Array(list) => list.iter_mut().for_each(|value| self.move_in(value)),
            Value::Object(map) => {
                for (key, value) in map.iter_mut() {
                    match key.as_str() {
                        "namespaces" if value["all"] == true => *value = json!({"names": [self.a, self.b]}),
                        "matchLabels" if value["nvidia.com/gpu"] == "true" => *value = json!({POOL: self.id}),
                        _ => self.move_in(value),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

fn is_role_of_the_cluster(document: &Value) -> bool {
    ["ClusterRole", "ClusterRoleBinding"].iter().any(|kind| document["kind"] == **kind)
}
