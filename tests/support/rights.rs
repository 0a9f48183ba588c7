//! The permissions of a policy's ServiceAccount, `firebreak-responder` in the first namespace.

use serde_json::{Value, json};

use super::{manifest, object::Object, world::World};

/// The rules of a role.
#[derive(Clone)]
pub struct Rule<'a> {
    pub group: &'a str,
    pub resources: &'a [&'a str],
    pub verbs: &'a [&'a str],
}

impl World {
    /// Allows `firebreak-responder` this in the whole cluster.
    pub async fn grant_everywhere(&self, rules: &[Rule<'_>]) {
        let name = format!("{}-responder", self.id);
        let role = self.role("ClusterRole", &name, None, rules);
        let binding = self.binding("ClusterRole", &name, None);
        for document in [role, binding] {
            manifest::apply(&self.client, "harness", &document).await.expect("rights");
            self.belongings().objects.push(Object::of(&self.client, &document));
        }
    }

    /// Allows `firebreak-responder` this in one namespace, and nothing that it could do there before.
    pub async fn grant(&self, namespace: &str, rules: &[Rule<'_>]) {
        let role = self.role("Role", "responder", Some(namespace), rules);
        let binding = self.binding("Role", "responder", Some(namespace));
        for document in [role, binding] {
            manifest::apply(&self.client, "harness", &document).await.expect("rights");
        }
    }

    /// Allows operators of this world to ask the API server who sends alerts, as the chart does.
    pub async fn let_review(&self) {
        let name = format!("{}-alerts", self.id);
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
            "subjects": [{"kind": "ServiceAccount", "name": "firebreak", "namespace": self.operator_namespace}],
        });
        manifest::apply(&self.client, "harness", &binding).await.expect("rights");
        self.belongings().objects.push(Object::of(&self.client, &binding));
    }

    fn role(&self, kind: &str, name: &str, namespace: Option<&str>, rules: &[Rule<'_>]) -> Value {
        let rules: Vec<Value> = rules
            .iter()
            .map(|rule| json!({"apiGroups": [rule.group], "resources": rule.resources, "verbs": rule.verbs}))
            .collect();
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
            "metadata": metadata(name, namespace), "rules": rules,
        })
    }

    fn binding(&self, role: &str, name: &str, namespace: Option<&str>) -> Value {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{role}Binding"),
            "metadata": metadata(name, namespace),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "firebreak-responder", "namespace": self.a}],
        })
    }
}

fn metadata(name: &str, namespace: Option<&str>) -> Value {
    match namespace {
        Some(namespace) => json!({"name": name, "namespace": namespace}),
        None => json!({"name": name}),
    }
}
