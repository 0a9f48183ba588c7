//! Everything that runs for the demo, and its shutdown: a control plane with nodes,
//! Firebreak as a process with the token of its ServiceAccount, and the stand-in.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::standin::StandIn;
use crate::{NAMESPACE, Result, guardian};

/// The GPU nodes, which die together.
const GROUP: &str = "gpu";

/// How much of the operator's log is shown after a failure.
const LINES: usize = 30;

pub struct Cluster {
    tools: PathBuf,
    dir: PathBuf,
    /// In the order in which they were started.
    processes: Vec<Child>,
    stand_in: Option<StandIn>,
}

impl Cluster {
    /// Creates a directory and starts nothing. `tools` is what `testbed/build.sh` printed.
    pub fn new(tools: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("firebreak-demo-").tempdir()?.keep();
        guardian::remove_at_the_end(&dir);
        Ok(Self { tools: tools.to_owned(), dir, processes: Vec::new(), stand_in: None })
    }

    /// A control plane, nodes without GPUs, and nodes with GPUs that can die.
    pub async fn start(&mut self) -> Result<()> {
        let hasty = "--kcm-arg=--node-monitor-grace-period=8s";
        self.run_testbed(&["up", "--nodes=3", hasty]).await?;
        self.run_testbed(&["nodes", "--group", GROUP, "--gpu-nodes=4"]).await
    }

    /// Starts a part of the testbed that runs until its standard input is closed.
    async fn run_testbed(&mut self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(self.tools.join("testbed"));
        command.args(arguments).arg("--until-stdin-closes").arg("--dir").arg(&self.dir);
        let mut process = spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let stdout = process.stdout.take();
        self.processes.push(process);
        let first_line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            let stdout = stdout.map(BufReader::new);
            stdout.map_or(Ok(0), |mut stdout| stdout.read_line(&mut line)).map(|_| line)
        });
        match first_line.await?? {
            line if line.is_empty() => Err(format!("testbed {} ended too early", arguments[0]).into()),
            _ => Ok(()),
        }
    }

    /// Kills (`nodes-down`) or revives (`nodes-up`) the GPU nodes.
    pub async fn testbed(&self, verb: &str) -> Result<()> {
        let mut command = Command::new(self.tools.join("testbed"));
        command.args([verb, "--group", GROUP, "--dir"]).arg(&self.dir);
        output(command).await.map(drop)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// The administrator's client, for everything except Firebreak.
    pub async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// Runs kubectl as the administrator, in the root of the repository.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(self.tools.join("kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        output(command).await
    }

    /// Server-side apply of a file (`-f`) or of a kustomization (`-k`).
    pub async fn apply(&self, flag: &str, path: &str) -> Result<()> {
        self.kubectl(&["apply", "--server-side", flag, path]).await.map(drop)
    }

    pub fn start_stand_in(&mut self, client: &Client) {
        self.stand_in = Some(StandIn::start(client, &[]));
    }

    /// Starts `firebreak controller` as the ServiceAccount that `deploy/` gives it.
    pub async fn start_operator(&mut self) -> Result<()> {
        let token = ["create", "token", "firebreak", "--namespace=firebreak-system", "--duration=24h"];
        let token = self.kubectl(&token).await?.trim().to_owned();
        let mut kubeconfig = Kubeconfig::read_from(self.kubeconfig())?;
        for user in &mut kubeconfig.auth_infos {
            user.auth_info = Some(AuthInfo { token: Some(token.clone().into()), ..AuthInfo::default() });
        }
        let own = self.dir.join("firebreak.kubeconfig");
        fs::write(&own, serde_json::to_string(&kubeconfig)?)?;

        let binary = built().join("firebreak");
        let log = File::create(self.log())?;
        let mut command = Command::new(&binary);
        command
            .args(["controller", "--namespace=firebreak-system", "--listen=127.0.0.1:0"])
            .args(["--log-format=text", "--kubeconfig"])
            .arg(own)
            .env("POD_NAME", "firebreak-demo")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = spawn(&mut command).map_err(|error| format!("{}: {error}", binary.display()))?;
        self.processes.push(process);
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.dir.join("firebreak.log")
    }

    /// The end of Firebreak's log.
    pub fn operator_log(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Whether the control plane runs.
    pub fn is_up(&mut self) -> bool {
        self.processes.first_mut().is_some_and(|testbed| matches!(testbed.try_wait(), Ok(None)))
    }

    /// For a person who keeps the cluster.
    pub fn how_to_look_around(&self) -> String {
        let Self { tools, dir, .. } = self;
        let (tools, dir, kubeconfig, log) = (tools.display(), dir.display(), self.kubeconfig(), self.log());
        let (kubeconfig, log, built) = (kubeconfig.display(), log.display(), built());
        let built = built.display();
        format!(
            "\
It stays up until Ctrl-C. In another terminal:

  export KUBECONFIG={kubeconfig} PATH={tools}:{built}:$PATH
  kubectl get rpol,inc,llmd -A             # policies, Incidents, models
  kubectl describe inc -n {NAMESPACE}      # steps, every change, timeline
  kubectl get cm -n {NAMESPACE} -l firebreak.dev/incident -o jsonpath='{{.items[*].data.report\\.md}}'

  testbed nodes-down --dir {dir} --group {GROUP}          # the GPU nodes die again
  kubectl get llmd -n {NAMESPACE} chat -o yaml            # soon with the undo record
  firebreak plan gpu-cluster-failure -n {NAMESPACE}       # what it would do now, and why not
  testbed nodes-up --dir {dir} --group {GROUP}

  tail -f {log}

Step 3 of docs/quickstart.md goes on from here, to a policy of your own."
        )
    }

    /// Stops everything, the youngest first, and removes its files.
    pub fn remove(&mut self) {
        self.stand_in = None;
        for mut process in self.processes.drain(..).rev() {
            // The testbed exits when its input is closed; Firebreak has no input.
            if process.stdin.take().is_none() {
                let _ = process.kill();
            }
            let _ = process.wait();
            guardian::ended(&process);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The binary that cargo built: examples are in a directory below it.
fn built() -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    this.ancestors().nth(2).unwrap_or(&this).to_owned()
}

/// In its own process group, so that Ctrl-C at the terminal stops the demo first,
/// and not everything that it depends on at once.
fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let process = command.process_group(0).spawn()?;
    guardian::kill_at_the_end(&process);
    Ok(process)
}

/// The output of the command; its error output if it fails.
async fn output(mut command: Command) -> Result<String> {
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output().await?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{:?}: {}", command.as_std(), complaint.trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
