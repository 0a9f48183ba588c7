//! The real operator as a separate process, with the permissions of `deploy/` and
//! behind a recording proxy.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    sync::{Arc, Mutex},
    time::Duration,
};

use kube::config::Kubeconfig;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{cgroup::Cgroup, object::PATIENCE, process::Process, proxy::Proxy, world::World};

/// How to run an operator.
#[must_use]
pub struct Plan<'w> {
    world: &'w World,
    binary: OsString,
    name: String,
    flags: Vec<String>,
    variables: Vec<(String, String)>,
    log: &'static str,
    directly: bool,
    cgroup: Option<PathBuf>,
    /// Whether it may ask the API server whose a token is.
    reviews: bool,
}

/// An operator that runs or has run. Dropping it kills it.
pub struct Operator {
    /// Between it and the API server.
    pub proxy: Proxy,
    process: Arc<Process>,
}

impl<'w> Plan<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        Self {
            world,
            binary: binary(),
            name: "firebreak-0".to_owned(),
            flags: Vec::new(),
            variables: Vec::new(),
            log: "info,firebreak=debug",
            directly: false,
            cgroup: None,
            reviews: false,
        }
    }

    /// Another program than the one that was built with these tests.
    pub fn binary(mut self, binary: &Path) -> Self {
        self.binary = binary.into();
        self
    }

    /// What it logs, in the syntax of `RUST_LOG`, if the usual detail would be in the way.
    pub fn log(mut self, filter: &'static str) -> Self {
        self.log = filter;
        self
    }

    /// Without its proxy, which then records nothing: for measurements of time and memory.
    pub fn directly(mut self) -> Self {
        self.directly = true;
        self
    }

    /// With the limit of this cgroup, which the caller keeps for as long.
    pub fn within(mut self, cgroup: &Cgroup) -> Self {
        self.cgroup = Some(cgroup.processes());
        self
    }

    /// Another name of the pod, which is the identity in the lease.
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// A further flag of `firebreak controller`.
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// With a receiver of alerts on a free port, and the permission that it needs, as the chart gives it.
    pub fn receiving_alerts(mut self) -> Self {
        self.reviews = true;
        self.flag("--alerts-listen").flag("127.0.0.1:0")
    }

    /// A further environment variable.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it. Does not wait until it is ready.
    pub async fn start(self) -> Operator {
        let world = self.world;
        world.install().await;
        if self.reviews {
            world.let_review().await;
        }
        let proxy = Proxy::start(&world.testbed.config().await).await;
        let files = world.files().join(&self.name);
        fs::create_dir_all(&files).expect("the testbed's directory is writable");
        let kubeconfig = files.join("kubeconfig");
        let token = world.token(&world.operator_namespace, "firebreak").await;
        let text = if self.directly {
            direct_kubeconfig(&world.testbed.kubeconfig, &token)
        } else {
            kubeconfig_text(&json!({"server": proxy.url()}), &token)
        };
        fs::write(&kubeconfig, text).expect("a kubeconfig");

        let mut flags: Vec<String> = [
            "controller",
            "--namespace",
            &world.operator_namespace,
            "--watch-namespaces",
            &format!("{},{}", world.a, world.b),
            "--listen",
            "127.0.0.1:0",
        ]
        .map(str::to_owned)
        .into();
        flags.extend(self.flags);
        let process = Arc::new(Process {
            binary: self.binary,
            name: self.name,
            flags,
            variables: self.variables,
            kubeconfig,
            filter: self.log,
            log: files.join("log"),
            cgroup: self.cgroup,
            running: Mutex::default(),
        });
        process.start();
        // A killed operator must not be kept alive by the proxy that kills it, hence weak.
        let victim = Arc::downgrade(&process);
        proxy.on_kill(move || {
            if let Some(process) = victim.upgrade() {
                process.kill();
            }
        });
        let operator = Operator { proxy, process };
        world.remember(&operator);
        operator
    }
}

impl Operator {
    /// Kills it at once (SIGKILL).
    pub fn kill(&self) {
        self.proxy.close();
        self.process.kill();
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    pub async fn stop(&self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.until(PATIENCE, "ended after SIGTERM", || self.process.try_wait()).await
    }

    /// Waits until it has ended by itself.
    pub async fn exit_status(&self) -> ExitStatus {
        self.until(PATIENCE, "ended", || self.process.try_wait()).await
    }

    /// Stops it where it is (SIGSTOP), as if its node were gone: it does nothing more, and its connections stay open.
    pub fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets it continue after [`Self::freeze`].
    pub fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    /// What [`Self::freeze`] does, for a fault of the proxy, which must not keep the operator alive.
    pub fn freezer(&self) -> impl Fn() + Send + Sync + 'static {
        let process = Arc::downgrade(&self.process);
        move || {
            if let Some(process) = process.upgrade() {
                process.signal(Signal::STOP);
            }
        }
    }

    /// Starts it again under its name, with its proxy and its log. Kills it first if it runs.
    pub fn restart(&self) {
        self.kill();
        self.proxy.open();
        self.process.start();
    }

    /// Whether the process runs.
    pub fn is_running(&self) -> bool {
        let mut running = self.process.running();
        let ended = |child: &mut Child| child.try_wait().expect("a child can be waited for").is_some();
        running.as_mut().is_some_and(|child| !ended(child))
    }

    /// Waits until a fault has killed it or it has exited.
    pub async fn until_dead(&self) {
        self.until(PATIENCE, "dead", || (!self.is_running()).then_some(())).await;
    }

    /// Its whole log, over all its lives.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The id of the process, if it was started and not killed.
    pub fn id(&self) -> Option<u32> {
        self.process.running().as_ref().map(Child::id)
    }

    /// Where it serves metrics and health, from the address in its log.
    pub async fn url(&self) -> String {
        let address = self.until(PATIENCE, "listening", || listening(&self.log())).await;
        format!("http://{address}")
    }

    /// Where it receives alerts, from the newest address in its log.
    pub async fn alerts_address(&self) -> String {
        let is_said = |line: &&str| line.contains("receiving alerts");
        self.until(PATIENCE, "receiving alerts", || {
            let log = self.log();
            let line = log.lines().rfind(is_said)?;
            let address = &line[line.find("127.0.0.1:")?..];
            let end = address.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
            Some(address[..end.unwrap_or(address.len())].to_owned())
        })
        .await
    }

    /// The response at a path: the status code and the text. Waits until it listens.
    pub async fn fetch(&self, path: &str) -> (u16, String) {
        let get = format!("GET {path} HTTP/1.0\r\n\r\n");
        let ask = async |address: &str| -> std::io::Result<String> {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(get.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        };
        let answered = async {
            loop {
                // After a restart the log has the old address for a while.
                let url = self.url().await;
                if let Ok(answer) = ask(url.trim_start_matches("http://")).await {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let answer = tokio::time::timeout(PATIENCE, answered).await;
        let answer = answer.unwrap_or_else(|_| panic!("{path}: no answer within {PATIENCE:?}"));
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let text = answer.split_once("\r\n\r\n").map_or("", |(_, text)| text);
        (code.unwrap_or_else(|| panic!("{path}: {answer}")), text.to_owned())
    }

    /// The value of a metric, written as `/metrics` has it; none if it is not there.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.fetch("/metrics").await;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Waits until a metric has this value.
    pub async fn wait_for_metric(&self, name: &str, value: f64) {
        let seen = async {
            while self.metric(name).await != Some(value) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(20), seen).await.is_err() {
            panic!("{name} is not {value}:\n{}", self.fetch("/metrics").await.1);
        }
    }

    /// Polls every few milliseconds, because a process and its log offer nothing to wait for.
    async fn until<T>(&self, patience: Duration, wish: &str, mut answer: impl FnMut() -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = answer() {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(patience, found)
            .await
            .unwrap_or_else(|_| panic!("operator {}: not {wish} within {patience:?}", self.process.name))
    }

    pub(super) fn process(&self) -> Arc<Process> {
        Arc::clone(&self.process)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // After a failure the world prints its state, and then kills it.
        if !std::thread::panicking() {
            self.kill();
        }
    }
}

/// The binary: the one that Cargo built with these tests, or for a program that is no test the one
/// that `FIREBREAK_BINARY` names.
pub fn binary() -> OsString {
    let built = option_env!("CARGO_BIN_EXE_firebreak").map(OsString::from);
    built.or_else(|| std::env::var_os("FIREBREAK_BINARY")).expect("FIREBREAK_BINARY names the binary")
}

/// The last address after a word that begins with "listen", on any line.
fn listening(log: &str) -> Option<String> {
    let line = log.lines().rfind(|line| line.contains("listen") && line.contains("127.0.0.1:"))?;
    let address = &line[line.find("127.0.0.1:")?..];
    let end = address.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
    Some(address[..end.unwrap_or(address.len())].to_owned())
}

/// The server as the administrator's kubeconfig has it, but not the administrator.
pub fn direct_kubeconfig(administrator: &Path, token: &str) -> String {
    let kubeconfig = Kubeconfig::read_from(administrator).expect("the testbed's kubeconfig");
    let cluster = kubeconfig.clusters.into_iter().next().and_then(|named| named.cluster);
    kubeconfig_text(&json!(cluster.expect("the testbed's kubeconfig has a cluster")), token)
}

fn kubeconfig_text(cluster: &Value, token: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "testbed",
        "clusters": [{"name": "testbed", "cluster": cluster}],
        "users": [{"name": "firebreak", "user": {"token": token}}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "firebreak"}}],
    })
    .to_string()
}
