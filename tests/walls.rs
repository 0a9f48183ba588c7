//! The walls of ARCHITECTURE.md that the compiler does not keep.

use std::fs;
use std::path::{Path, PathBuf};

/// Source files below `folder`, without their tests, as `(path, text)`.
fn sources(folder: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    walk(&root.join(folder), &mut files);
    let is_test =
        |path: &Path| path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"));
    files.retain(|path| !is_test(path));
    assert!(!files.is_empty(), "{folder} has no sources");
    let text = |path: &PathBuf| fs::read_to_string(path).expect("a source file");
    let code = |text: String| text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
    let name = |path: &PathBuf| path.strip_prefix(root).expect("below the root").display().to_string();
    files.iter().map(|path| (name(path), code(text(path)))).collect()
}

/// The files below `folder` that contain one of `words`, but for those in `allowed`.
fn offenders(folder: &str, words: &[&str], allowed: &[&str]) -> Vec<String> {
    let guilty = |(path, text): &(String, String)| {
        !allowed.iter().any(|allowed| path.starts_with(allowed))
            && words.iter().any(|word| text.contains(word))
    };
    sources(folder).into_iter().filter(guilty).map(|(path, _)| path).collect()
}

#[test]
fn only_settings_reads_flags_and_environment() {
    let words = ["env::var", "env::args", "clap::Parser", "clap::Args"];
    let found = offenders("src", &words, &["src/settings"]);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn only_record_writes_a_status() {
    let words = [".replace_status(", ".patch_status("];
    let allowed = ["src/controller/incident/record.rs", "src/controller/policy/record.rs"];
    assert_eq!(offenders("src", &words, &allowed), Vec::<String>::new());
}

#[test]
fn only_the_actuator_writes_to_targets() {
    let found = offenders(
        "src",
        &["Patch::Merge", "Patch::Json", "Patch::Strategic", "Patch::Apply"],
        &[
            "src/actuator",
            // Finalizers and decisions of our own kind, Events, and the brake.
            "src/controller/incident/record.rs",
            "src/kubernetes/events",
            "src/cli/decision.rs",
            "src/cli/brake/mod.rs",
        ],
    );
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn what_translates_takes_no_client() {
    let words = ["kube::Client", "Client,", "Api<", "async fn"];
    for place in ["src/workloads", "src/report", "src/api"] {
        assert_eq!(offenders(place, &words, &[]), Vec::<String>::new());
    }
    let translators = ["src/controller/incident/translate.rs", "src/controller/policy/translate.rs"];
    let found = offenders("src/controller", &words, &[]);
    assert!(translators.iter().all(|file| !found.contains(&(*file).to_owned())), "{found:?}");
}

#[test]
fn the_engine_knows_no_cluster_and_no_clock() {
    // The clock and the unordered collections are clippy's, see engine/clippy.toml.
    let words = ["kube::", "k8s_openapi", "tokio"];
    assert_eq!(offenders("engine/src", &words, &[]), Vec::<String>::new());
}

#[test]
fn the_api_knows_nothing_of_ours_but_the_engine() {
    let words =
        ["crate::controller", "crate::kubernetes", "crate::observe", "crate::workloads", "crate::actuator"];
    assert_eq!(offenders("src/api", &words, &[]), Vec::<String>::new());
}
