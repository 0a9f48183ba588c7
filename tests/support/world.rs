//! What one test has to itself in the shared cluster.

use std::{
    ffi::OsStr,
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::{authentication::v1::TokenRequest, core::v1::ServiceAccount};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, PostParams},
};
use serde_json::{Value, json};

use super::{
    install,
    keda::Keda,
    lines::Lines,
    manifest,
    nodes::{Nodes, SilentNodes},
    object::Object,
    operator::{self, Operator, Plan},
    process::Process,
    proxy::Record,
    standin::StandIn,
    story,
    testbed::{Testbed, testbed},
};

/// How long the deletion of a world may take. The rest is deleted with the cluster.
const FAREWELL: Duration = Duration::from_secs(10);

static WORLDS: AtomicUsize = AtomicUsize::new(0);

/// Two namespaces, a namespace for operators, and whatever else the test asks for.
/// All of it is deleted when this is dropped, and its history is printed if the test failed.
pub struct World {
    /// The administrator's client, for the runtime of the test.
    pub client: Client,
    /// The cluster.
    pub testbed: &'static Testbed,
    /// Unique in the cluster; starts with the name that the test gave.
    pub id: String,
    /// The namespace of the policies, with the ServiceAccount `firebreak-responder`.
    pub a: String,
    /// Another namespace.
    pub b: String,
    pub operator_namespace: String,
    belongings: Mutex<Belongings>,
}

/// What must be cleaned up, and the sources of the history.
#[derive(Default)]
pub(super) struct Belongings {
    /// Cluster-scoped objects.
    pub objects: Vec<Object>,
    pub processes: Vec<Arc<Process>>,
    pub records: Vec<Record>,
}

impl World {
    /// Creates the namespaces. The name is short, of lower case letters, digits and dashes.
    pub async fn new(name: &str) -> Self {
        Self::on(testbed(), name).await
    }

    /// The same in a cluster that not all tests share.
    pub async fn on(testbed: &'static Testbed, name: &str) -> Self {
        let client = testbed.client().await;
        let id = format!("{name}-{}", WORLDS.fetch_add(1, Ordering::SeqCst));
        let world = Self {
            client,
            testbed,
            a: format!("{id}-a"),
            b: format!("{id}-b"),
            operator_namespace: format!("{id}-operator"),
            id,
            belongings: Mutex::default(),
        };
        for namespace in [&world.a, &world.b, &world.operator_namespace] {
            world
                .must_create(
                    "harness",
                    &json!({
                        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace},
                    }),
                )
                .await;
        }
        world
            .must_create(
                "harness",
                &json!({
                    "apiVersion": "v1", "kind": "ServiceAccount",
                    "metadata": {"name": "firebreak-responder", "namespace": world.a},
                }),
            )
            .await;
        world
    }

    /// A directory for files of this test. It is deleted with the cluster.
    pub fn files(&self) -> PathBuf {
        let files = self.testbed.dir.join("worlds").join(&self.id);
        fs::create_dir_all(&files).expect("the testbed's directory is writable");
        files
    }

    /// A plan for an operator of this world; `start` runs it.
    pub fn operator(&self) -> Plan<'_> {
        Plan::new(self)
    }

    /// Gives operators of this world the permissions that a customer's operator gets.
    pub async fn install(&self) {
        let made = install::once_per_operator(&self.client, &self.operator_namespace).await;
        let objects = made.iter().map(|document| Object::of(&self.client, document));
        self.belongings().objects.extend(objects);
    }

    /// The stand-in for the operator of LLMDeployments, for both namespaces.
    pub fn stand_in(&self) -> StandIn {
        StandIn::start(&self.client, &[&self.a, &self.b])
    }

    /// The stand-in for KEDA's operator, for the first namespace.
    pub fn keda(&self) -> Keda {
        Keda::start(&self.client, &self.a)
    }

    /// This many simulated nodes with 8 GPUs each, only for this world.
    pub async fn gpu_nodes(&self, count: usize) -> Nodes {
        Nodes::create(self, count).await
    }

    /// The same, of which no machine has started yet.
    pub async fn starting_gpu_nodes(&self, count: usize) -> Nodes {
        Nodes::create_unstarted(self, count).await
    }

    /// The same, with machines that can fall silent.
    pub async fn silent_gpu_nodes(&self, count: usize) -> SilentNodes {
        SilentNodes::start(self, count).await
    }

    /// The documents of a YAML text, in which `${a}` and `${b}` stand for the namespaces and
    /// `${pool}` for the value of the label and taint of the world's GPU nodes.
    pub fn documents(&self, yaml: &str) -> Vec<Value> {
        let names = [("${a}", &self.a), ("${b}", &self.b), ("${pool}", &self.id)];
        manifest::documents(
            &names.iter().fold(yaml.to_owned(), |text, (mark, name)| text.replace(mark, name)),
        )
    }

    /// Server-side apply of all documents by the manager; panics at a conflict.
    pub async fn apply(&self, manager: &str, yaml: &str) -> Vec<Object> {
        let mut applied = Vec::new();
        for document in self.documents(yaml) {
            let object = Object::of(&self.client, &document);
            let done = manifest::apply(&self.client, manager, &document).await;
            done.unwrap_or_else(|error| panic!("apply {object} as {manager}: {error}"));
            applied.push(object);
        }
        applied
    }

    /// Server-side apply of one document by the manager.
    pub async fn try_apply(&self, manager: &str, yaml: &str) -> kube::Result<DynamicObject> {
        let documents = self.documents(yaml);
        assert_eq!(documents.len(), 1, "one document");
        manifest::apply(&self.client, manager, &documents[0]).await
    }

    /// Creates all documents as the manager, by POST.
    pub async fn create(&self, manager: &str, yaml: &str) -> Vec<Object> {
        let mut created = Vec::new();
        for document in self.documents(yaml) {
            created.push(self.must_create(manager, &document).await);
        }
        created
    }

    async fn must_create(&self, manager: &str, document: &Value) -> Object {
        let object = Object::of(&self.client, document);
        let done = manifest::create(&self.client, manager, document).await;
        done.unwrap_or_else(|error| panic!("create {object} as {manager}: {error}"));
        object
    }

    /// A token of a ServiceAccount that outlives any test.
    pub async fn token(&self, namespace: &str, account: &str) -> String {
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": [], "expirationSeconds": 3 * 3600},
        });
        let request: TokenRequest = serde_json::from_value(request).expect("a token request");
        Api::<ServiceAccount>::namespaced(self.client.clone(), namespace)
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .unwrap_or_else(|error| panic!("token of ServiceAccount {namespace}/{account}: {error}"))
            .status
            .expect("a token request has a status")
            .token
    }

    /// The handle of an object of any kind.
    pub fn object(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Object {
        Object::new(&self.client, api_version, kind, Some(namespace), name)
    }

    pub fn llm_deployment(&self, namespace: &str, name: &str) -> Object {
        self.object("inference.llm-d.io/v1alpha1", "LLMDeployment", namespace, name)
    }

    pub fn deployment(&self, namespace: &str, name: &str) -> Object {
        self.object("apps/v1", "Deployment", namespace, name)
    }

    pub fn policy(&self, name: &str) -> Object {
        self.object("firebreak.dev/v1alpha1", "RemediationPolicy", &self.a, name)
    }

    pub fn incident(&self, name: &str) -> Object {
        self.object("firebreak.dev/v1alpha1", "Incident", &self.a, name)
    }

    /// Waits until the policy has an open Incident.
    pub async fn incident_of(&self, policy: &Object) -> Object {
        let named = |object: &DynamicObject| {
            let name = object.data["status"]["activeIncident"]["name"].as_str();
            name.map(str::to_owned)
        };
        let policy = policy.wait_until("has an Incident", |object| named(object).is_some()).await;
        let incident = self.incident(&named(&policy).expect("it was there"));
        incident.wait_until("exists", |_| true).await;
        incident
    }

    /// All objects of a kind in a namespace.
    pub async fn list(&self, api_version: &str, kind: &str, namespace: &str) -> Vec<DynamicObject> {
        let resource = manifest::resource(api_version, kind);
        manifest::api(&self.client, &resource, Some(namespace))
            .list(&ListParams::default())
            .await
            .unwrap_or_else(|error| panic!("{kind} in {namespace}: {error}"))
            .items
    }

    /// Runs `kubectl` as the administrator and returns what it printed; panics if it fails.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.kubectl_answer(arguments).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {}: {stderr}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `kubectl` as the administrator and returns its output and status.
    pub async fn kubectl_answer(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = self.testbed.kubectl();
        command.args(arguments);
        run(command).await
    }

    /// Runs a client verb of `firebreak` as the administrator.
    pub async fn firebreak(&self, arguments: &[&str]) -> std::process::Output {
        self.firebreak_in(&[], arguments).await
    }

    /// The same with further environment variables.
    pub async fn firebreak_in(
        &self,
        environment: &[(&str, &str)],
        arguments: &[&str],
    ) -> std::process::Output {
        let mut command = std::process::Command::new(operator::binary());
        command.envs(self.environment()).envs(environment.iter().copied()).args(arguments);
        run(command).await
    }

    /// A client verb of `firebreak` that goes on until it is ended, and the lines that it prints.
    pub fn firebreak_lines(&self, arguments: &[&str]) -> Lines {
        let mut command = std::process::Command::new(operator::binary());
        command.envs(self.environment()).args(arguments);
        Lines::of(command)
    }

    /// The output of a client verb of `firebreak` in a terminal window of this size, with control sequences.
    pub async fn firebreak_in_a_window(&self, columns: usize, rows: usize, arguments: &[&str]) -> String {
        let binary = operator::binary().display().to_string();
        let quoted: Vec<String> = arguments.iter().map(|argument| format!("'{argument}'")).collect();
        let typed = format!("stty cols {columns} rows {rows}; exec '{binary}' {}", quoted.join(" "));
        let mut command = std::process::Command::new("script");
        command.envs(self.environment()).args(["-qec", &typed, "/dev/null"]);
        let output = run(command).await;
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{typed}: {shown}");
        shown
    }

    /// Runs `kubectl` with `firebreak` as its plugin, as the administrator.
    pub async fn kubectl_firebreak(&self, arguments: &[&str]) -> std::process::Output {
        let plugin = self.files().join("kubectl-firebreak");
        if !plugin.exists() {
            std::os::unix::fs::symlink(operator::binary(), &plugin).expect("the plugin");
        }
        let path = std::env::join_paths([self.files()]).expect("a path");
        let mut command = std::process::Command::new(self.testbed.tools.join("kubectl"));
        command.envs(self.environment()).env("PATH", path).arg("firebreak").args(arguments);
        run(command).await
    }

    /// The variables of a user of this cluster and this operator.
    fn environment(&self) -> [(&'static str, &OsStr); 2] {
        [
            ("KUBECONFIG", self.testbed.kubeconfig.as_os_str()),
            ("FIREBREAK_OPERATOR_NAMESPACE", self.operator_namespace.as_ref()),
        ]
    }

    pub(super) fn remember(&self, operator: &Operator) {
        let mut belongings = self.belongings();
        belongings.processes.push(operator.process());
        belongings.records.push(operator.proxy.record());
    }

    pub(super) fn belongings(&self) -> MutexGuard<'_, Belongings> {
        self.belongings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without blocking the runtime: proxies and stand-ins live in it.
async fn run(command: std::process::Command) -> std::process::Output {
    let mut command = tokio::process::Command::from(command);
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    command.output().await.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

impl Drop for World {
    /// A thread with its own runtime: the test's runtime may be shutting down.
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        let belongings = std::mem::take(&mut *self.belongings());
        let mut states = Vec::new();
        for process in &belongings.processes {
            states.push(process.state());
            process.kill();
        }
        let testbed = self.testbed;
        let namespaces = [self.a.clone(), self.b.clone(), self.operator_namespace.clone()];
        let farewell = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            let work = async {
                let client = testbed.client().await;
                if failed {
                    eprintln!("{}", story::tell(&client, &namespaces, &belongings, &states).await);
                }
                delete(&client, &namespaces, &belongings.objects).await;
            };
            runtime.block_on(async {
                let _ = tokio::time::timeout(FAREWELL, work).await;
            });
        });
        let _ = farewell.join();
    }
}

/// Requests the deletion of everything, and does not wait for it.
async fn delete(client: &Client, namespaces: &[String], objects: &[Object]) {
    let incidents = manifest::resource("firebreak.dev/v1alpha1", "Incident");
    for namespace in namespaces {
        // No operator is left that would remove the finalizers.
        let api = manifest::api(client, &incidents, Some(namespace));
        for incident in api.list(&ListParams::default()).await.into_iter().flatten() {
            let name = incident.metadata.name.unwrap_or_default();
            Object::new(client, "firebreak.dev/v1alpha1", "Incident", Some(namespace), &name)
                .try_merge("harness", json!({"metadata": {"finalizers": null}}))
                .await;
        }
        Object::new(client, "v1", "Namespace", None, namespace).try_delete().await;
    }
    for object in objects {
        object.try_delete().await;
    }
}
