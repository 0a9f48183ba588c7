//! A shell as a person has it, with `kubectl` on its path, for tests of the commands in the documentation.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{guardian, testbed::Testbed};

/// Types the script in the folder, and stops at the first command that fails. Returns whether none did, and the
/// whole output. Processes that it has started in the background are stopped with it.
pub async fn run(script: &str, folder: &Path, cluster: &Testbed, patience: Duration) -> (bool, String) {
    let tools = folder.join("tools");
    fs::create_dir_all(&tools).expect("a folder");
    // Cargo has already built it with the test's own binary.
    let cargo = tools.join("cargo");
    fs::write(&cargo, "#!/bin/sh\n").expect("a file");
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("a program");
    let path = std::env::var("PATH").unwrap_or_default();
    let output = folder.join("output");
    let file = fs::File::create(&output).expect("a file");
    let mut child = Command::new("bash")
        .args(["-eu", "-o", "pipefail", "-c", script])
        .current_dir(folder)
        .env("PATH", format!("{}:{}:{path}", tools.display(), cluster.tools.display()))
        .env("KUBECONFIG", &cluster.kubeconfig)
        .env("HOME", folder)
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a second handle"))
        .stderr(file)
        .process_group(0)
        .spawn()
        .expect("bash starts");
    guardian::kill_at_the_end(&child);
    let shell = Pid::from_child(&child);
    let mut ending = tokio::task::spawn_blocking(move || {
        let status = child.wait();
        (child, status)
    });
    let in_time = tokio::time::timeout(patience, &mut ending).await.ok();
    // The group has the shell's id as long as any process of it is left.
    let _ = kill_process_group(shell, Signal::KILL);
    let was_in_time = in_time.is_some();
    let ended = match in_time {
        Some(ended) => ended,
        None => ending.await,
    };
    let (child, status) = ended.expect("the wait for the shell does not panic");
    guardian::ended(&child);
    let worked = was_in_time && status.expect("a child can be waited for").success();
    (worked, fs::read_to_string(output).unwrap_or_default())
}
