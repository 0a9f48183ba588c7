//! The control plane of the test binary: started by the first test, stopped with
//! the binary.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::Deserialize;

use super::{guardian, install, tools};

/// A running control plane.
#[derive(Debug)]
pub struct Testbed {
    /// The directory of the tools: `testbed`, `kubectl` and others.
    pub tools: PathBuf,
    /// The directory where the control plane has its files, and where tests may put theirs.
    pub dir: PathBuf,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Its standard input is the pipe whose end means the end of the cluster.
    _process: Child,
}

/// What `testbed up` prints when the cluster is usable.
#[derive(Deserialize)]
struct Description {
    kubeconfig: PathBuf,
}

/// The nodes that a test finds, unless it asks for others.
const SIMULATED: &[&str] = &["--nodes=6"];

static TESTBED: OnceLock<Result<Testbed, String>> = OnceLock::new();

/// The control plane of this binary. The first caller starts it, the others wait.
///
/// It belongs to no runtime: each test has its own, and creates its own clients.
pub fn testbed() -> &'static Testbed {
    match TESTBED.get_or_init(Testbed::start) {
        Ok(testbed) => testbed,
        Err(why) => panic!("no control plane: {why}"),
    }
}

impl Testbed {
    fn start() -> Result<Self, String> {
        let testbed = Self::up(SIMULATED)?;
        install::once_per_cluster(&testbed)?;
        Ok(testbed)
    }

    /// A control plane beside the shared one, whose components have further flags, for example
    /// `--apiserver-arg=--max-requests-inflight=40`. It stops with the binary.
    pub fn with_flags(flags: &[&str]) -> &'static Self {
        let started = Self::up(&[SIMULATED, flags].concat()).and_then(|testbed| {
            install::once_per_cluster(&testbed)?;
            Ok(testbed)
        });
        // Worlds refer to it, and tell its kubectl to delete what they have made, until the very end.
        Box::leak(Box::new(started.unwrap_or_else(|why| panic!("no control plane: {why}"))))
    }

    /// A control plane without anything of ours, for one test alone. It stops when this is dropped.
    pub fn bare() -> Self {
        Self::up(SIMULATED).unwrap_or_else(|why| panic!("no control plane: {why}"))
    }

    /// The same with one node, which is not simulated. The test runs in `testbed/isolate.sh`.
    pub fn with_a_real_node() -> Self {
        Self::up(&["--nodes=0", "--real-node"]).unwrap_or_else(|why| panic!("no control plane: {why}"))
    }

    fn up(nodes: &[&str]) -> Result<Self, String> {
        let tools = tools::folder()?;
        let dir = tempfile::Builder::new()
            .prefix("firebreak-live-")
            .tempdir()
            .map_err(|error| format!("temporary directory: {error}"))?
            .keep();
        guardian::remove_at_the_end(&dir);

        let mut process = Command::new(tools.join("testbed"))
            .args(["up", "--until-stdin-closes", "--dir"])
            .arg(&dir)
            .args(nodes)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", tools.join("testbed").display()))?;
        guardian::kill_at_the_end(&process);

        let mut line = String::new();
        let stdout = process.stdout.take().ok_or("testbed without stdout")?;
        BufReader::new(stdout).read_line(&mut line).map_err(|error| format!("testbed up: {error}"))?;
        let description: Description =
            serde_json::from_str(&line).map_err(|error| format!("testbed up printed {line:?}: {error}"))?;

        Ok(Self { tools, dir, kubeconfig: description.kubeconfig, _process: process })
    }

    /// The configuration with which the administrator reaches the cluster.
    pub async fn config(&self) -> Config {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).expect("the testbed's kubeconfig");
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("the testbed's kubeconfig is complete");
        // A test wants to see the first answer, not the fifteenth.
        config.default_retry = false;
        config
    }

    /// A client of the administrator, for the runtime of the caller.
    pub async fn client(&self) -> Client {
        Client::try_from(self.config().await).expect("a client from the testbed's kubeconfig")
    }

    /// A `kubectl` of the cluster's version, as the administrator.
    pub fn kubectl(&self) -> Command {
        let mut kubectl = Command::new(self.tools.join("kubectl"));
        kubectl.arg("--kubeconfig").arg(&self.kubeconfig);
        kubectl
    }
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
