//! The share of the API server that the chart keeps for the operator and its responders.

use kube::{ResourceExt, api::DynamicObject};
use serde_json::Value;

use super::{install, manifest, object::Object, world::World};

impl World {
    /// Keeps a share for the operator of this world and the responder in its first namespace, as `deploy/` does.
    /// Returns the uid of the priority level, which every answer of the API server names.
    pub async fn flow_control(&self) -> String {
        self.share(&install::flow_control(&self.operator_namespace, &self.a)).await
    }

    /// Creates a FlowSchema and its priority level, and waits until the API server uses them.
    pub async fn share(&self, documents: &[Value]) -> String {
        for document in documents {
            let made = manifest::apply(&self.client, "harness", document).await;
            made.unwrap_or_else(|error| panic!("{document}: {error}"));
            self.belongings().objects.push(Object::of(&self.client, document));
        }
        let of_kind = |kind: &str| {
            let document = documents.iter().find(|document| document["kind"] == kind).expect(kind);
            Object::of(&self.client, document)
        };
        of_kind("FlowSchema").wait_until("is in use", is_in_use).await;
        of_kind("PriorityLevelConfiguration").get().await.uid().expect("a uid")
    }
}

/// The API server says so after it has taken over both objects.
fn is_in_use(schema: &DynamicObject) -> bool {
    let conditions = schema.data["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Dangling" && one["status"] == "False"))
}
