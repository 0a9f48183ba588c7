//! Ensures that no process and no file outlives the test binary.
//!
//! Destructors do not suffice: statics have none, and a binary that is killed runs
//! none. The guardian is a small shell script at the end of a pipe; the kernel
//! closes the pipe in every case, and then the script cleans up.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{LazyLock, Mutex},
};

#[expect(clippy::zombie_processes, reason = "it outlives this process by design")]
static PIPE: LazyLock<Mutex<ChildStdin>> = LazyLock::new(|| {
    let mut guardian = Command::new("sh")
        .args(["-c", include_str!("guardian.sh")])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C at the terminal ends the tests, and must not end the guardian with them.
        .process_group(0)
        .spawn()
        .expect("sh starts");
    Mutex::new(guardian.stdin.take().expect("stdin is a pipe"))
});

fn tell(line: &str) {
    let mut pipe = PIPE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    writeln!(pipe, "{line}").expect("the guardian listens");
}

/// The directory is removed at the end. Its path must have no blanks.
pub fn remove_at_the_end(directory: &Path) {
    tell(&format!("directory {}", directory.display()));
}

/// The cgroup is removed at the end, after its processes.
#[allow(dead_code, reason = "shared with the demo, which has none")]
pub fn remove_cgroup_at_the_end(directory: &Path) {
    tell(&format!("cgroup {}", directory.display()));
}

/// The process, and the group that it leads if any, is killed at the end, unless it was reported as ended before.
pub fn kill_at_the_end(process: &Child) {
    tell(&format!("started {}", process.id()));
}

/// The process has been waited for, so that its id may belong to another one.
pub fn ended(process: &Child) {
    tell(&format!("ended {}", process.id()));
}
