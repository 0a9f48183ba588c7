//! A memory limit that a test sets is enforced.

use std::process::Command;

use crate::support::cgroup::Cgroup;

#[test]
fn a_process_that_needs_more_than_its_limit_is_killed_and_counted() {
    // A machine that lets nobody create a cgroup enforces nothing, and no test relies on it.
    let Some(cgroup) = Cgroup::limited_to(32 << 20) else { return };
    let script = "echo $$ >\"$0\" && head --bytes=200M /dev/zero | tail";
    let ended = Command::new("sh").args(["-c", script]).arg(cgroup.processes()).output().expect("sh starts");
    assert!(!ended.status.success(), "{ended:?}");
    assert_eq!(cgroup.kills(), 1);
    assert!(cgroup.peak() <= 32 << 20);
}
