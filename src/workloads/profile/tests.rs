use super::registry::{BUILT_IN, parse};
use super::*;

fn file(name: &str) -> &'static str {
    BUILT_IN.iter().find(|(file, _)| *file == name).unwrap().1
}

/// Why the text is no profile.
fn error(text: &str) -> String {
    parse::<Profile>("kind.yaml", text).unwrap_err().to_string()
}

#[test]
fn every_file_in_the_folder_is_compiled_in_and_loads() {
    let profiles = Profiles::built_in().unwrap();
    assert_eq!(profiles.iter().count(), BUILT_IN.len());
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/workloads/profiles");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, BUILT_IN.iter().map(|(file, _)| (*file).to_owned()).collect::<Vec<_>>());
    assert!(profiles.find("apps/v1", "Deployment").is_some());
    assert!(profiles.find("apps/v1beta1", "Deployment").is_none());
}

#[test]
fn an_unknown_field_is_an_error_that_names_file_and_field() {
    let error = error(&format!("{}\nreplica: /spec/replicas\n", file("llmdeployment.yaml")));
    assert!(error.contains("kind.yaml") && error.contains("replica"), "{error}");
}

#[test]
fn what_cannot_be_meant_is_an_error_with_its_line() {
    let text = file("llmdeployment.yaml");
    let at = |part: &str| text.lines().position(|line| line.contains(part)).unwrap() + 1;
    let table = [
        ("[/spec/resources]", "[spec.resources]", "not a field path", at("/spec/resources")),
        ("[/spec/resources]", "[/status/resources]", "not a field that", at("/spec/resources")),
        ("kind: LLMDeployment", "kind: ''", "must not be empty", at("kind: LLMDeployment")),
        ("'Ready'", "'Ready", "", at("'Ready'")),
    ];
    for (old, new, expected, line) in table {
        assert!(text.contains(old), "{old}");
        let error = error(&text.replacen(old, new, 1));
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(&format!("line {line}")), "line {line}: {error}");
    }
}

#[test]
fn a_setting_is_in_a_field_or_in_a_flag_and_its_bounds_are_a_range() {
    let start = "apiVersion: v1\nkind: K\nhealthy: 'true'\nrollout: []\nbatchSize: ";
    let flag = "{names: [--x], containers: [/spec/containers]}";
    let table = [
        ("{atMost: 5}".to_owned(), "exactly one"),
        (format!("{{path: /spec/x, flag: {flag}, atMost: 5}}"), "exactly one"),
        ("{path: /spec/x, atLeast: 6, atMost: 5}".to_owned(), "above atMost"),
        ("{path: /metadata/x, atMost: 5}".to_owned(), "not a field that"),
        ("{path: '/spec/args/[flag=--x]', atMost: 5}".to_owned(), "not a field that"),
        (format!("{{flag: {flag}, onlyWith: {{path: /spec/y, otherwise: no}}, atMost: 5}}"), "onlyWith"),
        ("{flag: {names: [], containers: []}, atMost: 5}".to_owned(), "needs a name"),
        ("{flag: {names: [x], containers: []}, atMost: 5}".to_owned(), "not a flag"),
        ("{flag: {names: ['--x=1'], containers: []}, atMost: 5}".to_owned(), "not a flag"),
        ("{path: /spec/x, absent: {means: Exactly}, atMost: 5}".to_owned(), "needs a number"),
        ("{path: /spec/x, absent: {means: AtLeast, number: 0}, atMost: 5}".to_owned(), "needs a number"),
        ("{path: /spec/x, absent: {means: Unlimited, number: 4}, atMost: 5}".to_owned(), "has no number"),
        (
            "{path: /spec/x, absent: {means: AtLeast, number: 4, notAbove: [--y]}, atMost: 5}".to_owned(),
            "notAbove needs a flag",
        ),
        (
            format!("{{flag: {flag}, absent: {{means: AtLeast, number: 4, notAbove: [y]}}, atMost: 5}}"),
            "not a flag",
        ),
    ];
    for (setting, expected) in table {
        let error = error(&format!("{start}{setting}"));
        assert!(error.contains(expected), "{setting}: {error}");
    }
    for setting in
        ["{path: /spec/x, atMost: 5}".to_owned(), format!("{{flag: {flag}, atLeast: 1, atMost: 5}}")]
    {
        parse::<Profile>("kind.yaml", &format!("{start}{setting}")).unwrap();
    }
}

#[test]
fn a_restart_is_written_in_the_spec_and_its_further_fields_are_annotations() {
    let start = "apiVersion: v1\nkind: K\nhealthy: 'true'\nrollout: []\nrestart: ";
    let table = [
        ("{at: /metadata/annotations/example.com~1restart}", "not a field that"),
        ("{at: /restart}", "is not below /spec"),
        (
            "{at: /spec/restart, also: [/template/metadata/annotations/example.com~1restart]}",
            "is not below /spec",
        ),
        ("{at: /spec/restart, also: [/spec/again]}", "is not an annotation"),
        ("{at: /spec/restart, form: Time}", "unknown field"),
    ];
    for (restart, expected) in table {
        let error = error(&format!("{start}{restart}\n"));
        assert!(error.contains(expected), "{restart}: {error}");
    }
}

#[test]
fn the_pace_of_a_rolling_update_is_a_pair_and_its_defaults_are_numbers_or_percentages() {
    let text = |surge: &str, absent: &str| {
        let pace = format!(
            "{{maxSurge: {surge}, maxUnavailable: /spec/maxUnavailable, absent: {absent}, when: 'true'}}"
        );
        format!("apiVersion: v1\nkind: K\nhealthy: 'true'\nrollout: []\nrollingUpdates: [{pace}]\n")
    };
    let both = "{maxSurge: 25%, maxUnavailable: 1}";
    let table = [
        ("/spec/other/maxSurge", both, "of one map"),
        ("/spec/surge", both, "with these names"),
        ("/spec/maxSurge", "{maxSurge: many, maxUnavailable: 1}", "neither a number"),
        ("/spec/maxSurge", "{maxSurge: -1, maxUnavailable: 1}", "neither a number"),
        ("/spec/maxSurge", "{maxSurge: 1}", "maxUnavailable"),
    ];
    for (surge, absent, expected) in table {
        let error = error(&text(surge, absent));
        assert!(error.contains(expected), "{surge} {absent}: {error}");
    }
    parse::<Profile>("kind.yaml", &text("/spec/maxSurge", both)).unwrap();
}
