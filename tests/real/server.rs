//! The operator of someone else as a process, and the definitions of its kinds.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use crate::support::{guardian, testbed::testbed, tools, world::World};

/// How much of its log is shown when its test fails.
const LINES: usize = 80;

/// The tools whose kinds the cluster has.
static DEFINED: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// An operator that runs. It ends when this is dropped.
pub struct Server {
    tool: &'static str,
    log: PathBuf,
    process: Child,
}

impl Server {
    /// Starts a tool of the testbed with flags and environment of its own.
    pub fn start(world: &World, tool: &'static str, configure: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(tools::built(tool));
        configure(&mut command);
        Self::of(tool, &world.files(), command)
    }

    /// Starts a command, with its log in the folder.
    pub fn of(tool: &'static str, folder: &Path, mut command: Command) -> Self {
        let path = folder.join(format!("{tool}.log"));
        let log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .expect("the testbed's directory is writable");
        let process = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{tool}: {error}"));
        guardian::kill_at_the_end(&process);
        Self { tool, log: path, process }
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let exited = self.process.try_wait().ok().flatten();
        // It may have exited.
        let _ = self.process.kill();
        let _ = self.process.wait();
        guardian::ended(&self.process);
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(LINES)..].join("\n");
            let state = exited.map_or("is running".to_owned(), |status| format!("has exited, {status}"));
            eprintln!("\n--- Log of {}, which {state}\n{end}", self.tool);
        }
    }
}

/// Gives the cluster the kinds of a tool as they are released, in place of those that `tests/support/crds` has of
/// them. The first caller does it, before there is any object of them, and the others wait.
pub fn define(tool: &'static str) {
    let mut defined = DEFINED.lock().unwrap_or_else(PoisonError::into_inner);
    if defined.contains(tool) {
        return;
    }
    let file = tools::built(&format!("{tool}-crds.yaml")).display().to_string();
    kubectl(&["replace", "--force", "--filename", &file]);
    kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "--filename", &file]);
    // The first request for a kind opens its storage, and is told to retry until that is done. kubectl retries.
    let names = kubectl(&["get", "--filename", &file, "--output=jsonpath={.items[*].metadata.name}"]);
    kubectl(&["get", &names.replace(' ', ","), "--all-namespaces"]);
    defined.insert(tool);
}

/// What `kubectl` printed, as the administrator.
fn kubectl(arguments: &[&str]) -> String {
    let output = testbed().kubectl().args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("kubectl {}: {error}", arguments.join(" ")));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {}: {errors}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
