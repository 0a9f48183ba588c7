//! Kinds of a test's own.

use serde_json::Value;

use super::{admission::until, manifest, object::Object, world::World};

impl World {
    /// Defines a kind, and waits until it is served. It is deleted with the world, also if the test fails.
    pub async fn define(&self, definition: &Value) -> Object {
        manifest::apply(&self.client, "harness", definition).await.expect("a kind");
        let object = Object::of(&self.client, definition);
        self.belongings().objects.push(object.clone());
        object.wait_for_condition("Established", "True").await;
        // The first request opens its storage, and is told to retry until that is done.
        let name = definition["metadata"]["name"].as_str().expect("a name");
        let kinds = ["get", name, "--all-namespaces"];
        until("the kind is served", async || self.kubectl_answer(&kinds).await.status.success()).await;
        object
    }
}
