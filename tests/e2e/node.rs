//! A cluster whose only node is not simulated, and what is seen of its pods.

use std::{fs, future::Future, path::Path, process::Command, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams},
};
use serde_json::Value;

use crate::{
    site::Site,
    support::{
        object::{Object, PATIENCE},
        testbed::Testbed,
        tools,
    },
};

/// The namespace of the operator.
pub const NAMESPACE: &str = "firebreak-system";

/// The cluster, and who types in it.
pub struct Node {
    pub site: Site,
}

impl Node {
    /// Starts the cluster and loads the images.
    pub async fn start() -> Self {
        let site = Site::on(Testbed::with_a_real_node, "helm").await;
        let node = Self { site };
        for archive in ["FIREBREAK_IMAGE", "FIREBREAK_MODEL_SERVER"] {
            let path =
                std::env::var(archive).unwrap_or_else(|_| panic!("no {archive}: run this with `make e2e`"));
            // As docs/image.md says.
            node.ctr(&["images", "import", &path]);
        }
        node
    }

    /// What containerd says.
    fn ctr(&self, arguments: &[&str]) -> String {
        let output = Command::new(tools::built("ctr"))
            .args(["--namespace", "k8s.io"])
            .args(arguments)
            .output()
            .expect("ctr starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The processes of all containers, as `(container, process)`.
    pub fn containers(&self) -> Vec<(String, u32)> {
        let listed = self.ctr(&["tasks", "list"]);
        let row = |line: &str| {
            let mut words = line.split_whitespace().map(str::to_owned);
            Some((words.next()?, words.next()?.parse().ok()?))
        };
        listed.lines().skip(1).map(|line| row(line).unwrap_or_else(|| panic!("{listed}"))).collect()
    }

    /// The process of the only container of a pod.
    pub fn process(&self, pod: &Pod) -> u32 {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        let id = statuses.and_then(|all| all[0].container_id.as_deref()).expect("it was started");
        let id = id.trim_start_matches("containerd://");
        let found = self.containers().into_iter().find(|(container, _)| container == id);
        found.unwrap_or_else(|| panic!("containerd does not know {id}")).1
    }

    /// The pods with this label that are not being deleted.
    pub async fn pods(&self, namespace: &str, label: &str) -> Vec<Pod> {
        let api: Api<Pod> = Api::namespaced(self.site.client.clone(), namespace);
        let listed = api.list(&ListParams::default().labels(label)).await.expect("pods can be listed");
        listed.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect()
    }

    /// The pods of the operator.
    pub async fn replicas(&self) -> Vec<Pod> {
        self.pods(NAMESPACE, "app.kubernetes.io/name=firebreak").await
    }

    pub fn pod(&self, pod: &Pod) -> Object {
        self.site.object("v1", "Pod", pod.namespace().as_deref(), &pod.name_any())
    }

    pub fn lease(&self) -> Object {
        self.site.object("coordination.k8s.io/v1", "Lease", Some(NAMESPACE), "firebreak")
    }

    /// The pod of the operator that leads.
    pub async fn leader(&self) -> Pod {
        let leads = |lease: &DynamicObject| holder(lease).is_some();
        let lease = self.lease().wait_until("is held", leads).await;
        let replicas = self.replicas().await;
        let found = replicas.into_iter().find(|pod| Some(pod.name_any().as_str()) == holder(&lease));
        found.unwrap_or_else(|| panic!("{:?} is no replica", holder(&lease)))
    }

    /// What the API server answers at a path.
    pub async fn get(&self, path: &str) -> kube::Result<String> {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        self.site.client.request_text(request).await
    }

    /// What a pod answers at a port and path.
    pub async fn ask(&self, pod: &Pod, port: u16, path: &str) -> kube::Result<String> {
        let namespace = pod.namespace().expect("a pod has a namespace");
        self.get(&format!("/api/v1/namespaces/{namespace}/pods/{}:{port}/proxy{path}", pod.name_any())).await
    }

    /// What the kubelet measures of the only container of a pod, once it has.
    pub async fn memory(&self, pod: &Pod) -> Value {
        until("the kubelet measures the pod", async || {
            let summary = self.get("/api/v1/nodes/real/proxy/stats/summary").await.ok()?;
            let summary: Value = serde_json::from_str(&summary).ok()?;
            let pods = summary["pods"].as_array()?;
            let found = pods.iter().find(|seen| seen["podRef"]["uid"] == pod.uid().unwrap_or_default())?;
            let memory = found["containers"][0]["memory"].clone();
            (memory["rssBytes"].as_u64()? > 0).then_some(memory)
        })
        .await
    }
}

/// Who holds a lease.
pub fn holder(lease: &DynamicObject) -> Option<&str> {
    lease.data["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty())
}

/// Asks for what nothing can be watched for.
pub async fn until<T, F: Future<Output = Option<T>>>(wish: &str, ask: impl Fn() -> F) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {wish}"))
}

/// What the kernel says of a process, by the names of its lines.
pub fn line_of(process: u32, name: &str) -> String {
    let path = Path::new("/proc").join(process.to_string()).join("status");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {name}: {text}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a person wants to know of this run, beside that it passed.
pub fn measured(what: &str, value: impl std::fmt::Display) {
    println!("measured: {what}: {value}");
}
