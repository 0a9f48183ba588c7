//! `firebreak test` as people and CI run it: the real binary, without a cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Exit status, standard output and standard error of `firebreak test` in the repository.
fn firebreak_test(paths: &[&Path]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_firebreak"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("test")
        .args(paths)
        .output()
        .expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_stories_of_the_shipped_policies_pass() {
    let (code, out, err) = firebreak_test(&[Path::new("examples")]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("PASS  examples/llm-d/stories/gpu-nodes-lost.yaml: Half of the GPU nodes"), "{out}");
    assert!(out.contains("PASS  examples/llm-d/stories/left-alone.yaml: "), "{out}");
    assert!(out.contains("PASS  examples/hydatis/stories/scheduler-down.yaml: "), "{out}");
    assert!(out.trim_end().ends_with("stories passed"), "{out}");
}

#[test]
fn the_stories_of_the_built_in_profiles_pass() {
    let (code, out, err) = firebreak_test(&[Path::new("tests/stories")]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("PASS  tests/stories/off-on-purpose.yaml: "), "{out}");
}

#[test]
fn every_shipped_policy_has_stories() {
    for folder in entries(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")) {
        let (code, out, err) = firebreak_test(&[&folder]);
        assert_eq!(code, Some(0), "{}: {out}{err}", folder.display());
        let read = |path: &PathBuf| fs::read_to_string(path).unwrap_or_default();
        let stories: String = entries(&folder.join("stories")).iter().map(read).collect();
        for file in entries(&folder).iter().filter(|file| read(file).contains("kind: RemediationPolicy")) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let used = stories.contains(&format!("policyFrom: ../{name}\n"));
            assert!(used, "{} has no story", file.display());
        }
    }
}

/// The files of a folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn a_wrong_expectation_fails_and_names_moment_and_field() {
    let folder = tempfile::tempdir().expect("a folder");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/llm-d");
    let read = |name: &str| fs::read_to_string(shipped.join(name)).expect("a shipped file");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("writable");
    write("policy.yaml", &read("gpu-cluster-failure.yaml"));
    write("model.yaml", &read("stories/model.yaml").replace("../gpu-cluster-failure.yaml", "policy.yaml"));
    let story = read("stories/gpu-nodes-lost.yaml");
    write("right.yaml", &story);
    write("wrong.yaml", &story.replace("fp16 → int8", "fp16 → int4"));
    let (code, out, _) = firebreak_test(&[folder.path()]);
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains(
            "at 1m30s: /spec/model/quantization/precision of chat is fp16 → int8, not fp16 → int4\n"
        ),
        "{out}"
    );
    assert!(out.contains("PASS") && out.ends_with("1 of 2 stories failed\n"), "{out}");
}

#[test]
fn a_path_that_is_not_there_is_a_usage_error_and_a_folder_without_story_fails() {
    let (code, out, err) = firebreak_test(&[Path::new("no/such/folder")]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.starts_with("firebreak: cannot open no/such/folder: ") && err.lines().count() == 1, "{err}");
    let (code, out, err) = firebreak_test(&[Path::new("deploy")]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.starts_with("firebreak: there is nothing to test in deploy: "), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
}
