//! The process of an operator, and how to start it again.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{guardian, install};

/// What is needed to run it again, and what runs.
pub(super) struct Process {
    pub(super) binary: OsString,
    pub(super) name: String,
    pub(super) flags: Vec<String>,
    pub(super) variables: Vec<(String, String)>,
    pub(super) kubeconfig: PathBuf,
    pub(super) filter: &'static str,
    pub(super) log: PathBuf,
    pub(super) cgroup: Option<PathBuf>,
    pub(super) running: Mutex<Option<Child>>,
}

impl Process {
    pub(super) fn running(&self) -> MutexGuard<'_, Option<Child>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn start(&self) {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        let child = self
            .program()
            .args(&self.flags)
            .envs(install::environment())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("POD_NAME", &self.name)
            .env("RUST_LOG", self.filter)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("the operator's binary");
        guardian::kill_at_the_end(&child);
        *self.running() = Some(child);
    }

    /// The binary, in its cgroup from its first byte on.
    fn program(&self) -> Command {
        let Some(cgroup) = &self.cgroup else { return Command::new(&self.binary) };
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo $$ >\"$0\" && exec \"$@\""]).arg(cgroup).arg(&self.binary);
        shell
    }

    pub(super) fn kill(&self) {
        if let Some(mut child) = self.running().take() {
            // It may have exited.
            let _ = child.kill();
            let _ = child.wait();
            guardian::ended(&child);
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Some(child) = &*self.running() {
            // The child has not been waited for, so the id is still its own.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }

    pub(super) fn try_wait(&self) -> Option<ExitStatus> {
        self.running().as_mut()?.try_wait().expect("a child can be waited for")
    }

    /// Its state, for a person.
    pub(super) fn state(&self) -> String {
        match &mut *self.running() {
            None => "killed".to_owned(),
            Some(child) => match child.try_wait() {
                Ok(Some(status)) => format!("exited, {status}"),
                Ok(None) => "running".to_owned(),
                Err(error) => error.to_string(),
            },
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn log(&self) -> String {
        fs::read(&self.log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }
}
