//! S23: a newcomer types the commands of the quick start, and nothing else, in a clean clone and on their
//! own cluster.

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use crate::support::{
    operator, shell,
    testbed::{Testbed, repository},
};

const PAGE: &str = include_str!("../../docs/quickstart.md");

/// The whole page takes half a minute on an idle machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// The commands to type below each heading of the page.
fn chapters() -> Vec<(&'static str, Vec<&'static str>)> {
    let typed = |chapter: &'static str| {
        let blocks = chapter.split("```sh\n").skip(1);
        blocks.filter_map(|rest| rest.split("```").next()).collect()
    };
    let heading = |chapter: &'static str| chapter.lines().next().unwrap_or_default();
    PAGE.split("\n## ").skip(1).map(|chapter| (heading(chapter), typed(chapter))).collect()
}

/// A folder like a clone in which cargo has already built.
fn clone_into(folder: &Path) {
    let built = folder.join("target/debug");
    fs::create_dir_all(&built).expect("a folder");
    for part in ["deploy", "crds"] {
        symlink(repository().join(part), folder.join(part)).expect("a link");
    }
    symlink(operator::binary(), built.join("firebreak")).expect("a link");
}

#[tokio::test]
async fn the_quick_start_works_as_it_is_typed() {
    let cluster = Testbed::bare();
    let clone = cluster.dir.join("clone");
    clone_into(&clone);
    let typed: Vec<String> = chapters()
        .into_iter()
        .map(|(heading, blocks)| format!("echo '## {heading}'\n{}", blocks.concat()))
        .collect();
    assert!(typed.len() >= 8, "{typed:?}");
    // Another program on this machine may use the port.
    let script = typed.concat().replace("127.0.0.1:8080", "127.0.0.1:0");
    let (worked, said) = shell::run(&script, &clone, &cluster, PATIENCE).await;
    let log = || fs::read_to_string(clone.join("operator.log")).unwrap_or_default();
    assert!(worked, "{said}\n{}", log());

    let chapter = |number: u8| {
        let rest = said.split(&format!("## {number}. ")).nth(1).unwrap_or_else(|| panic!("{number}: {said}"));
        rest.split("\n## ").next().unwrap_or_default()
    };
    let ready = |number: u8| {
        let row = chapter(number).lines().rfind(|line| line.starts_with("chat-small "));
        row.and_then(|row| row.split_whitespace().nth(1)).unwrap_or_default()
    };
    // The newcomer's policy has opened an Incident in Observe, which says what it would do and does nothing.
    let observed = chapter(5);
    assert!(observed.contains("P1 ChatDown  Open"), "{observed}");
    assert!(observed.contains("Deployment quickstart/chat-small  Planned"), "{observed}");
    assert!(observed.contains("/spec/replicas  1 → 3"), "{observed}");
    assert_eq!(ready(5), "1/1", "{observed}");
    let enforced = chapter(6);
    assert!(enforced.contains(r#""fields":[{"after":3,"before":1,"#), "{enforced}");
    assert_eq!(ready(6), "3/3", "{enforced}");
    let withdrawn = chapter(7);
    assert!(withdrawn.contains("→ Resolved") && withdrawn.contains("# Incident Report"), "{withdrawn}");
    // Surplus pods may still exist.
    assert!(ready(7).ends_with("/1"), "{withdrawn}");
    assert!(!clone.join("operator.kubeconfig").exists(), "the token is forgotten");
}
