//! A cluster on which someone installs the chart, with the commands of docs/installation.md.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command, time::Duration};

use kube::Client;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    server::Server,
    support::{
        object::Object,
        operator, shell,
        testbed::{Testbed, repository},
        tools,
    },
};

/// The page whose commands are typed.
pub const PAGE: &str = include_str!("../../docs/installation.md");

/// How long the commands below one heading may take. On an idle machine it is a few seconds.
const PATIENCE: Duration = Duration::from_secs(180);

/// Each site has a control plane of its own, for which a small machine has not enough memory if all tests run at once.
static SITES: Semaphore = Semaphore::const_new(2);

/// A cluster of its own, and a clone of the repository in which someone types.
pub struct Site {
    pub cluster: Testbed,
    pub client: Client,
    pub clone: PathBuf,
    _permit: SemaphorePermit<'static>,
}

impl Site {
    /// A cluster with six nodes, and a clone with this version of Helm on its path.
    pub async fn new(helm: &str) -> Self {
        Self::on(Testbed::bare, helm).await
    }

    /// The same on a cluster with other nodes.
    pub async fn on(start: fn() -> Testbed, helm: &str) -> Self {
        let permit = SITES.acquire().await.expect("it is never closed");
        let cluster = start();
        let clone = cluster.dir.join("clone");
        let bin = clone.join("tools");
        fs::create_dir_all(&bin).expect("a folder");
        for part in ["charts", "deploy", "crds"] {
            symlink(repository().join(part), clone.join(part)).expect("a link");
        }
        symlink(tools::built(helm), bin.join("helm")).expect("a link");
        symlink(operator::binary(), bin.join("firebreak")).expect("a link");
        let client = cluster.client().await;
        Self { cluster, client, clone, _permit: permit }
    }

    /// Types commands, and returns what they print.
    pub async fn type_in(&self, commands: &str) -> String {
        let (worked, said) = shell::run(commands, &self.clone, &self.cluster, PATIENCE).await;
        assert!(worked, "{commands}\n{said}");
        said
    }

    /// Types what the page says below a heading.
    pub async fn follow(&self, heading: &str) -> String {
        let chapter = PAGE.split("\n## ").find(|chapter| chapter.starts_with(heading));
        let chapter = chapter.unwrap_or_else(|| panic!("no heading {heading:?} on the page"));
        let blocks = chapter.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
        self.type_in(&blocks.collect::<String>()).await
    }

    pub fn object(&self, api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Object {
        Object::new(&self.client, api_version, kind, namespace, name)
    }

    pub fn deployment(&self) -> Object {
        self.object("apps/v1", "Deployment", Some("firebreak-system"), "firebreak")
    }

    /// Runs the operator as the release says.
    pub async fn operator(&self) -> Server {
        let token = "kubectl create token firebreak --namespace firebreak-system --duration=1h";
        let kubeconfig = self.clone.join("operator.kubeconfig");
        let token = self.type_in(token).await;
        fs::write(&kubeconfig, operator::direct_kubeconfig(&self.cluster.kubeconfig, token.trim()))
            .expect("a file");
        let container = &self.deployment().get().await.data["spec"]["template"]["spec"]["containers"][0];
        let mut command = Command::new(operator::binary());
        for argument in container["args"].as_array().expect("arguments") {
            let argument = argument.as_str().expect("text").replace("$(POD_NAMESPACE)", "firebreak-system");
            // Pods have addresses of their own; this machine has one for all.
            command.arg(argument.replace("0.0.0.0:8080", "127.0.0.1:0"));
        }
        command.env("KUBECONFIG", &kubeconfig).env("POD_NAME", "firebreak-0").env("RUST_LOG", "info");
        Server::of("firebreak", &self.cluster.dir, command)
    }
}
