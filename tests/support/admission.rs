//! The shipped admission policies for one world, and the people to whom they apply.

use std::time::Duration;

use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, Patch, PatchParams, PostParams},
    config::Kubeconfig,
};
use serde_json::json;

use super::{
    install, manifest,
    object::{Object, PATIENCE},
    world::World,
};

impl World {
    /// Installs the admission policies for this world alone, and waits until they are in force.
    pub async fn admission(&self) -> Vec<Object> {
        let watched = [self.a.as_str(), &self.b];
        let made = install::admission(&self.client, &self.operator_namespace, &watched).await;
        let made: Vec<Object> = made.iter().map(|document| Object::of(&self.client, document)).collect();
        self.belongings().objects.extend(made.iter().cloned());
        let probe = json!({
            "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
            "metadata": {"name": "probe", "namespace": self.b}, "spec": {},
        });
        manifest::create(&self.client, "harness", &probe).await.expect("a probe");
        let incidents = self.incidents_for(&self.client, &self.b);
        let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
        let refused = async |answer: kube::Result<DynamicObject>| matches!(answer, Err(kube::Error::Api(status)) if status.message.contains("ValidatingAdmissionPolicy"));
        until("the admission policies judge", async || {
            let name = Patch::Merge(json!({"spec": {"acknowledgedBy": "nobody"}}));
            let status = Patch::Merge(json!({"status": {"progress": "0/0"}}));
            refused(incidents.patch("probe", &dry_run, &name).await).await
                && refused(incidents.patch_status("probe", &dry_run, &status).await).await
        })
        .await;
        Object::of(&self.client, &probe).delete().await;
        made
    }

    /// Makes admission apply this JSON patch, a list in CEL, to each update of this kind in the first namespace, and waits
    /// until this merge patch of the object is stored differently for it.
    pub async fn admission_patches(
        &self,
        patch: &str,
        object: &Object,
        probe: serde_json::Value,
        is_stored_differently: impl Fn(&DynamicObject) -> bool,
    ) {
        let name = format!("patches-{}", self.a);
        let group = "admissionregistration.k8s.io/v1";
        let resource = object.resource();
        let policy = json!({
            "apiVersion": group, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail", "reinvocationPolicy": "Never",
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.a}},
                    "resourceRules": [{
                        "apiGroups": [resource.group], "apiVersions": [resource.version],
                        "operations": ["UPDATE"], "resources": [resource.plural],
                    }],
                },
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
            },
        });
        let binding = json!({
            "apiVersion": group, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name},
        });
        for document in [&policy, &binding] {
            let made = manifest::create(&self.client, "harness", document).await;
            made.unwrap_or_else(|error| panic!("{document}: {error}"));
            self.belongings().objects.push(Object::of(&self.client, document));
        }
        let api = manifest::api(&self.client, resource, Some(&self.a));
        let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
        let probe = Patch::Merge(probe);
        until("admission patches the kind", async || {
            let stored = api.patch(object.name(), &dry_run, &probe).await;
            stored.is_ok_and(|stored| is_stored_differently(&stored))
        })
        .await;
    }

    /// A client with the identity of this user only.
    pub async fn client_of(&self, user: &str) -> Client {
        let mut config = self.testbed.config().await;
        config.auth_info.impersonate = Some(user.to_owned());
        Client::try_from(config).expect("a client")
    }

    /// A client with the identity and the permissions of this world's operator.
    pub async fn operator_itself(&self) -> Client {
        self.install().await;
        let client =
            self.client_of(&format!("system:serviceaccount:{}:firebreak", self.operator_namespace)).await;
        self.until_it_may_create(&client).await;
        client
    }

    /// A kubeconfig with the identity of this user only.
    pub fn kubeconfig_of(&self, user: &str) -> String {
        let mut kubeconfig =
            Kubeconfig::read_from(&self.testbed.kubeconfig).expect("the testbed's kubeconfig");
        for named in &mut kubeconfig.auth_infos {
            named.auth_info.get_or_insert_default().impersonate = Some(user.to_owned());
        }
        let file = self.files().join(format!("{user}.kubeconfig"));
        let text = serde_saphyr::to_string(&kubeconfig).expect("a kubeconfig");
        std::fs::write(&file, text).expect("the testbed's directory is writable");
        file.display().to_string()
    }

    /// A client of a user who has these shipped ClusterRoles in the first namespace, including what is aggregated to
    /// `edit`.
    pub async fn person(&self, user: &str, roles: &[&str]) -> Client {
        // The test waits for the last one.
        for role in [roles, &["firebreak-view", "firebreak-edit"]].concat() {
            let binding = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": format!("{}-{role}", user.replace(':', ".")), "namespace": self.a},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
            });
            manifest::create(&self.client, "harness", &binding).await.expect("a binding");
        }
        let client = self.client_of(user).await;
        self.until_it_may_create(&client).await;
        client
    }

    /// The kubeconfig of a user who has what the chart grants for `firebreak support`, and nothing else.
    pub async fn kubeconfig_for_support(&self, user: &str) -> String {
        let rbac = "rbac.authorization.k8s.io";
        let name = format!("support-{}", self.operator_namespace);
        let subjects = json!([{"apiGroup": rbac, "kind": "User", "name": user}]);
        let bindings = [
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "firebreak-support"}, "subjects": subjects}),
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding",
                "metadata": {"name": name, "namespace": self.operator_namespace},
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "firebreak-support"}, "subjects": subjects}),
        ];
        for binding in &bindings {
            manifest::create(&self.client, "harness", binding).await.expect("a binding");
        }
        self.belongings().objects.push(Object::of(&self.client, &bindings[0]));
        let client = self.client_of(user).await;
        let incidents = self.incidents_for(&client, &self.a);
        let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client, &self.operator_namespace);
        let all = ListParams::default();
        let both = async || incidents.list(&all).await.is_ok() && pods.list(&all).await.is_ok();
        until("the bindings are in force", both).await;
        self.kubeconfig_of(user)
    }

    /// Waits until the permissions with which this client creates Incidents are in force.
    async fn until_it_may_create(&self, client: &Client) {
        let incidents = self.incidents_for(client, &self.a);
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let nothing: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "nothing"}, "spec": {},
        }))
        .expect("an Incident");
        until("the bindings are in force", async || incidents.create(&dry_run, &nothing).await.is_ok()).await;
    }

    /// The Incidents of a namespace, over the client of a user.
    pub fn incidents_for(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        manifest::api(client, &manifest::resource("firebreak.dev/v1alpha1", "Incident"), Some(namespace))
    }
}

/// Polls, for what offers nothing to wait for.
pub(super) async fn until(wish: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, asked).await;
    in_time.unwrap_or_else(|_| panic!("not {wish:?} within {PATIENCE:?}"));
}
