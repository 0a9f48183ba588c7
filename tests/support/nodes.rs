//! Simulated GPU nodes of one test, and their failures.
//!
//! The nodes have the label and the taint `nvidia.com/gpu.pool=<world>`. The label
//! lets signals and workloads of the test select them; a nodeSelector with it counts
//! as accelerator placement. The taint keeps the pods of other tests away, whose
//! fallback may go to any node that takes them; workloads of the test tolerate it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    object::{Object, condition},
    testbed::Testbed,
    world::World,
};

/// The key of the label and of the taint.
pub const POOL: &str = "nvidia.com/gpu.pool";

/// The simulated kubelet reports Ready=False as long as its node has this label.
const NOT_READY: &str = "node-not-ready.stage.kwok.x-k8s.io";

/// Nodes whose kubelets report what the test wants. Fast, because the control plane
/// believes a kubelet that says "not ready" at once.
pub struct Nodes {
    client: kube::Client,
    nodes: Vec<Object>,
}

/// Nodes whose machines can fall silent together. Slow, like the real thing: the
/// control plane waits for heartbeats before it gives a node up.
pub struct SilentNodes {
    pub nodes: Nodes,
    group: String,
    testbed: &'static Testbed,
    /// Its standard input is the pipe whose end means the end of the machines.
    process: Child,
}

impl Nodes {
    pub(super) async fn create(world: &World, count: usize) -> Self {
        let nodes = Self::create_each(world, "gpu", count, |_| {}).await;
        nodes.wait_for_ready("True").await;
        nodes
    }

    /// Node objects without a kubelet, until [`Self::start`].
    pub(super) async fn create_unstarted(world: &World, count: usize) -> Self {
        let without_kubelet =
            |manifest: &mut serde_json::Value| manifest["metadata"]["annotations"] = json!({});
        Self::create_each(world, "new", count, without_kubelet).await
    }

    async fn create_each(
        world: &World,
        name: &str,
        count: usize,
        edit: impl Fn(&mut serde_json::Value),
    ) -> Self {
        let mut nodes = Self { client: world.client.clone(), nodes: Vec::new() };
        for i in 0..count {
            let mut manifest = manifest(&world.id, &format!("{}-{name}-{i}", world.id));
            edit(&mut manifest);
            nodes.nodes.extend(world.create("harness", &manifest.to_string()).await);
        }
        world.belongings().objects.extend(nodes.nodes.iter().cloned());
        nodes
    }

    /// The kubelets start, and report that their nodes are ready. kwok would not: it only takes nodes that were its own from
    /// the beginning. So the nodes are ready until the node controller misses the next report, most of a minute later.
    pub async fn start(&self) {
        let now = jiff::Timestamp::now().to_string();
        let ready = json!({"status": {"conditions": [{
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }]}});
        join_all(self.nodes.iter().map(|node| node.merge_status("harness", ready.clone()))).await;
        self.wait_for_ready("True").await;
    }

    pub fn names(&self) -> Vec<&str> {
        self.nodes.iter().map(Object::name).collect()
    }

    /// A part of the nodes, which fails and recovers separately.
    pub fn some(&self, range: std::ops::Range<usize>) -> Self {
        Self { client: self.client.clone(), nodes: self.nodes[range].to_vec() }
    }

    /// The kubelets report that they are not ready, and the pods on them are unready, until [`Self::recover`].
    pub async fn fail(&self) {
        // The simulated kubelet handles pods and node separately, and would repair the pods a
        // second after the node controller has made them unready.
        self.mark_pods(true).await;
        self.label(NOT_READY, json!("true")).await;
        self.wait_for_ready("False").await;
        // Those that were scheduled in the meantime. From here on the nodes are tainted, and no more are.
        self.mark_pods(true).await;
    }

    /// The kubelets are ready again, and so are the pods that still exist.
    pub async fn recover(&self) {
        self.label(NOT_READY, json!(null)).await;
        self.mark_pods(false).await;
        self.wait_for_ready("True").await;
    }

    /// The Node objects are deleted, as when a cloud provider removes machines.
    pub async fn delete(&self) {
        for node in &self.nodes {
            node.delete().await;
        }
        for node in &self.nodes {
            node.wait_until_gone().await;
        }
    }

    /// The nodes are in this zone.
    pub async fn are_in_zone(&self, zone: &str) {
        self.label("topology.kubernetes.io/zone", json!(zone)).await;
    }

    async fn label(&self, key: &str, value: serde_json::Value) {
        let label = json!({"metadata": {"labels": {key: value}}});
        join_all(self.nodes.iter().map(|node| node.merge("harness", label.clone()))).await;
    }

    /// Waits until the condition Ready of every node has this truth.
    pub async fn wait_for_ready(&self, truth: &str) {
        join_all(self.nodes.iter().map(|node| node.wait_for_condition("Ready", truth))).await;
    }

    async fn mark_pods(&self, unready: bool) {
        let value = if unready { json!("1") } else { json!(null) };
        let mark = Patch::Merge(json!({"metadata": {"annotations": {"sim/unready": value}}}));
        let pods: Api<Pod> = Api::all(self.client.clone());
        for node in self.names() {
            let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
            for pod in pods.list(&here).await.expect("pods can be listed") {
                let namespaced: Api<Pod> =
                    Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
                match namespaced.patch(&pod.name_any(), &PatchParams::default(), &mark).await {
                    Err(kube::Error::Api(status)) if status.is_not_found() => {} // deleted meanwhile
                    marked => drop(marked.expect("pods can be annotated")),
                }
            }
        }
    }
}

impl SilentNodes {
    pub(super) async fn start(world: &World, count: usize) -> Self {
        #[derive(Deserialize)]
        struct Description {
            nodes: Vec<String>,
        }
        let testbed = world.testbed;
        let mut process = Command::new(testbed.tools.join("testbed"))
            .args(["nodes", "--until-stdin-closes", "--group", &world.id])
            .args(["--gpu-nodes", &count.to_string(), "--dir"])
            .arg(&testbed.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("testbed nodes");
        let stdout = process.stdout.take().expect("stdout is a pipe");
        let first_line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let line = first_line.await.expect("no panic").expect("testbed nodes prints a line");
        let Description { nodes } = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("testbed nodes printed {line:?}: {error}"));

        let nodes: Vec<Object> =
            nodes.iter().map(|name| Object::new(&world.client, "v1", "Node", None, name)).collect();
        world.belongings().objects.extend(nodes.iter().cloned());
        let pool = json!({
            "metadata": {"labels": {POOL: world.id}},
            "spec": {"taints": [{"key": POOL, "value": world.id, "effect": "NoSchedule"}]},
        });
        join_all(nodes.iter().map(|node| node.merge("harness", pool.clone()))).await;
        let nodes = Nodes { client: world.client.clone(), nodes };
        Self { nodes, group: world.id.clone(), testbed, process }
    }

    /// The machines fall silent. Returns when the control plane has noticed (about 16 s).
    pub async fn freeze(&self) {
        self.signal("nodes-down").await;
        self.nodes.wait_for_ready("Unknown").await;
    }

    /// The machines are back. Returns when the control plane has noticed.
    pub async fn thaw(&self) {
        self.signal("nodes-up").await;
        self.nodes.wait_for_ready("True").await;
    }

    async fn signal(&self, verb: &str) {
        let testbed = self.testbed;
        let mut command = tokio::process::Command::new(testbed.tools.join("testbed"));
        command.args([verb, "--group", &self.group, "--dir"]).arg(&testbed.dir);
        let status = command.status().await.expect("testbed can be run");
        assert!(status.success(), "testbed {verb}: {status}");
    }
}

impl Drop for SilentNodes {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // It exits at the end of its input, even while its machines are frozen.
        let _ = self.process.wait();
    }
}

/// Whether the node is ready, according to its status.
pub fn is_ready(node: &DynamicObject) -> bool {
    condition(node, "Ready") == Some("True")
}

fn manifest(pool: &str, name: &str) -> serde_json::Value {
    let resources = json!({
        "cpu": "96", "memory": "1Ti", "ephemeral-storage": "4Ti", "pods": "110", "nvidia.com/gpu": "8",
    });
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {
                "kwok.x-k8s.io/node": "default",
                "metrics.k8s.io/resource-metrics-path": format!("/metrics/nodes/{name}/metrics/resource"),
            },
            "labels": {
                "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                "nvidia.com/gpu": "true", "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", POOL: pool,
                // The node controller treats a zone differently when many of its nodes are dead.
                "topology.kubernetes.io/zone": pool,
            },
        },
        "spec": {"taints": [{"key": POOL, "value": pool, "effect": "NoSchedule"}]},
        "status": {
            "capacity": resources, "allocatable": resources,
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": "v1.36.4",
                "containerRuntimeVersion": "kwok://0.8.0", "osImage": "simulated", "bootID": "", "kernelVersion": "",
                "kubeProxyVersion": "", "machineID": "", "systemUUID": "",
            },
        },
    })
}
