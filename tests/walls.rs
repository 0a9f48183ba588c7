//! The walls of ARCHITECTURE.md that the compiler does not check.

#[path = "support/sources.rs"]
mod sources;

use sources::sources;

/// The files below `folder` that contain one of `words`, except those in `allowed`.
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
    let words = [".replace_status(", "::replace_status(", ".patch_status("];
    let allowed = [
        "src/controller/incident/record.rs",
        "src/controller/policy/record.rs",
        // What both of them call.
        "src/controller/stored.rs",
        // With `dryRun`.
        "src/controller/definitions.rs",
    ];
    assert_eq!(offenders("src", &words, &allowed), Vec::<String>::new());
}

#[test]
fn only_the_actuator_writes_to_targets() {
    let found = offenders(
        "src",
        &["Patch::Merge", "Patch::Json", "Patch::Strategic", "Patch::Apply"],
        &[
            "src/actuator",
            // Finalizers and decisions of our own kinds, Events, and the brake.
            "src/controller/incident/record.rs",
            "src/kubernetes/events",
            "src/cli/decision.rs",
            "src/cli/expect.rs",
            "src/cli/brake/mod.rs",
        ],
    );
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn the_command_line_takes_nothing_from_the_controller() {
    for place in ["src/cli", "src/view", "src/report", "src/look", "src/acceptance"] {
        assert_eq!(offenders(place, &["crate::controller"], &[]), Vec::<String>::new());
    }
}

#[test]
fn what_people_see_of_an_incident_is_derived_in_the_view_alone() {
    // Whatever renders an Incident imports the view, and the view imports no renderer.
    let renders = ["src/cli/tree.rs", "src/cli/follow.rs"];
    let found = offenders("src/cli", &["IncidentState", "StepStatus", "FieldChange", "incident.status"], &[]);
    assert!(renders.iter().all(|file| !found.contains(&(*file).to_owned())), "{found:?}");
    let of_the_state = ["IncidentState", "StepStatus", "FieldChange"];
    assert_eq!(offenders("src/report", &of_the_state, &["src/report/tests.rs"]), Vec::<String>::new());
    let words = ["crate::cli", "crate::report", "crate::controller", "Timestamp::now"];
    assert_eq!(offenders("src/view", &words, &[]), Vec::<String>::new());
}

#[test]
fn what_translates_takes_no_client() {
    let words = ["kube::Client", "Client,", "Api<", "async fn"];
    for place in ["src/workloads", "src/report", "src/api", "src/acceptance", "src/view"] {
        assert_eq!(offenders(place, &words, &[]), Vec::<String>::new());
    }
    let translators = ["src/controller/incident/translate.rs", "src/controller/policy/translate.rs"];
    let found = offenders("src/controller", &words, &[]);
    assert!(translators.iter().all(|file| !found.contains(&(*file).to_owned())), "{found:?}");
}

#[test]
fn the_engine_knows_no_cluster_and_no_clock() {
    // clippy checks the clock and the unordered collections, see engine/clippy.toml.
    let words = ["kube::", "k8s_openapi", "tokio"];
    assert_eq!(offenders("engine/src", &words, &[]), Vec::<String>::new());
}

#[test]
fn the_api_knows_nothing_of_ours_but_the_engine() {
    let words =
        ["crate::controller", "crate::kubernetes", "crate::observe", "crate::workloads", "crate::actuator"];
    assert_eq!(offenders("src/api", &words, &[]), Vec::<String>::new());
}
