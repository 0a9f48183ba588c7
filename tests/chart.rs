//! The chart: `deploy/` is what it renders, and its schema knows every value. What needs more tools than Helm is in
//! `tests/real/chart.rs`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Map, Value, json};

#[allow(dead_code, reason = "shared with tests that use all of it")]
#[path = "support/tools.rs"]
mod tools;

/// The maps that users replace as they like; every other map of the values has keys of its own.
const FREE: &[&str] = &["/affinity", "/nodeSelector", "/resources", "/metrics/dashboards/labels"];

/// The labels that say that Helm has installed an object, which is not so for `deploy/`.
const OF_HELM: &[&str] = &["helm.sh/chart:", "app.kubernetes.io/managed-by:", "app.kubernetes.io/instance:"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn chart() -> PathBuf {
    root().join("charts/firebreak")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What `helm template` says for the chart.
fn helm_template(flags: &[&str]) -> Output {
    let mut helm = Command::new(tools::built("helm"));
    helm.args(["template", "firebreak"])
        .arg(chart())
        .args(["--namespace", "firebreak-system", "--kube-version", "1.33"])
        .args(flags);
    helm.output().unwrap_or_else(|error| panic!("{helm:?}: {error}"))
}

/// Each file of `deploy/` that the chart renders, with its content.
fn rendered() -> BTreeMap<String, String> {
    let output = helm_template(&["--set", "crds.enabled=false", "--skip-tests"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for document in text.split("---\n# Source: firebreak/templates/").skip(1) {
        let (name, content) = document.split_once('\n').expect("a name and a content");
        let kept = content.lines().filter(|line| !OF_HELM.iter().any(|label| line.trim().starts_with(label)));
        let content: String = kept.map(|line| format!("{line}\n")).collect();
        let file = files.entry(name.to_owned()).or_insert_with(|| {
            "# Generated from charts/firebreak by `make generate`; do not edit.\n".to_owned()
        });
        if file.lines().count() > 1 {
            file.push_str("---\n");
        }
        file.push_str(content.trim_end());
        file.push('\n');
    }
    files
}

#[test]
fn committed_manifests_are_what_the_chart_renders() {
    let folder = root().join("deploy");
    let base = read(&folder.join("kustomization.yaml"));
    let rendered = rendered();
    assert!(rendered.len() > 9, "{:?}", rendered.keys());
    for (name, content) in &rendered {
        let path = folder.join(name);
        // `make generate` runs this test with the variable set.
        if std::env::var_os("FIREBREAK_GENERATE").is_some() {
            fs::write(&path, content).expect("a file of the repository");
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == *content, "{} is not up to date: run `make generate`", path.display());
        assert!(base.contains(&format!("\n- {name}\n")), "deploy/kustomization.yaml does not have {name}");
    }
    for entry in fs::read_dir(&folder).expect("a folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        let is_written = ["kustomization.yaml", "namespace.yaml", "crds"].contains(&name.as_str());
        assert!(is_written || rendered.contains_key(&name), "deploy/{name} is not in the chart");
    }
}

#[test]
fn the_chart_has_the_version_of_the_operator() {
    let chart: Value = serde_saphyr::from_str(&read(&chart().join("Chart.yaml"))).expect("YAML");
    for field in ["version", "appVersion"] {
        assert_eq!(chart[field], env!("CARGO_PKG_VERSION"), "{field} in Chart.yaml");
    }
    let example = chart["annotations"]["artifacthub.io/crdsExamples"].as_str().expect("an example");
    let policies: Vec<Value> = serde_saphyr::from_str(example).expect("YAML");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("policy.json");
    fs::write(&file, policies[0].to_string()).expect("a file");
    let check = Command::new(env!("CARGO_BIN_EXE_firebreak")).args(["check", "-f"]).arg(&file).output();
    let check = check.expect("the binary runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

/// The text as krew-release-bot renders it for a release.
fn released(template: &str) -> String {
    let tagged = template.replace("{{ .TagName }}", "v1.2.3").replace("{{ .Version }}", "1.2.3");
    let mut parts = tagged.split("{{ addURIAndSha \"");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (uri, rest) = part.split_once("\" .TagName }}").expect("the end of the call");
        text.push_str(&format!("uri: {uri}\n    sha256: {}{rest}", "a".repeat(64)));
    }
    text
}

#[test]
fn the_manifest_for_krew_has_an_archive_for_each_architecture() {
    let text = released(&read(&root().join(".krew.yaml")));
    let plugin: Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!((&plugin["kind"], &plugin["metadata"]["name"]), (&json!("Plugin"), &json!("firebreak")));
    assert_eq!(plugin["spec"]["version"], "v1.2.3");
    let short = plugin["spec"]["shortDescription"].as_str().expect("text");
    assert!(short.len() <= 50 && !short.ends_with('.'), "the index of krew wants it short: {short}");
    let platforms = plugin["spec"]["platforms"].as_array().expect("platforms");
    let uris: Vec<&str> = platforms.iter().filter_map(|platform| platform["uri"].as_str()).collect();
    let releases =
        "https://github.com/firebreak-dev/firebreak/releases/download/v1.2.3/firebreak-1.2.3-linux";
    assert_eq!(uris, [format!("{releases}-amd64.tar.gz"), format!("{releases}-arm64.tar.gz")]);
    for (platform, architecture) in platforms.iter().zip(["amd64", "arm64"]) {
        assert_eq!(platform["selector"]["matchLabels"], json!({"os": "linux", "arch": architecture}));
        assert_eq!(
            (&platform["bin"], platform["sha256"].as_str().map(str::len)),
            (&json!("firebreak"), Some(64))
        );
    }
}

/// The values of the chart.
fn values() -> Value {
    serde_saphyr::from_str(&read(&chart().join("values.yaml"))).expect("YAML")
}

/// Calls `leaf` with the path of every value, and `map` with the path of every map that has keys of its own.
fn walk(
    at: &str,
    value: &mut Value,
    leaf: &mut impl FnMut(&str, &mut Value),
    map: &mut impl FnMut(&str, &mut Map<String, Value>),
) {
    match value {
        Value::Object(members) if !members.is_empty() && !FREE.contains(&at) => {
            for (name, member) in members.iter_mut() {
                walk(&format!("{at}/{name}"), member, leaf, map);
            }
            map(at, members);
        }
        _ => leaf(at, value),
    }
}

/// What Helm says to these values.
fn refusal(values: &Value) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("values.json");
    fs::write(&file, values.to_string()).expect("a file");
    let output = helm_template(&["--values", &file.display().to_string()]);
    assert!(!output.status.success(), "Helm accepts {values}");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn a_value_of_another_type_is_refused_by_its_name() {
    let (mut wrong, mut paths) = (values(), Vec::new());
    let mut spoil = |at: &str, value: &mut Value| {
        *value = if value.is_object() { json!("wrong") } else { json!({"wrong": "type"}) };
        paths.push(at.to_owned());
    };
    walk("", &mut wrong, &mut spoil, &mut |_, _| {});
    assert!(paths.len() > 40, "{paths:?}");
    let said = refusal(&wrong);
    let silent: Vec<_> = paths.iter().filter(|path| !said.contains(&format!("at '{path}'"))).collect();
    assert!(silent.is_empty(), "nothing about {silent:?} in\n{said}");
}

#[test]
fn a_value_that_is_not_there_is_refused_by_its_name() {
    let (mut unknown, mut paths) = (values(), Vec::new());
    let mut add = |at: &str, members: &mut Map<String, Value>| {
        members.insert("mistyped".to_owned(), json!(1));
        paths.push(at.to_owned());
    };
    walk("", &mut unknown, &mut |_, _| {}, &mut add);
    assert!(paths.len() > 10, "{paths:?}");
    let said = refusal(&unknown);
    let named =
        |path: &String| said.contains(&format!("at '{path}': additional properties 'mistyped' not allowed"));
    let silent: Vec<_> = paths.iter().filter(|path| !named(path)).collect();
    assert!(silent.is_empty(), "nothing about {silent:?} in\n{said}");
}

#[test]
fn a_value_that_cannot_work_is_refused_by_its_name() {
    let wrong = json!({
        "replicas": -1,
        "image": {"repository": "https://x", "tag": "a b", "digest": "sha256:1", "pullPolicy": "Sometimes"},
        "imagePullSecrets": ["registry"],
        "watchNamespaces": ["All Of Them"],
        "responders": ["system:masters"],
        "config": {"endpoints": [{"name": "a", "type": "HTTP", "url": "ftp://a"}]},
        "secrets": ["a/b"],
        "leaseDuration": "15",
        "log": {"format": "xml"},
        "resources": {"cpu": 1},
        "tolerations": [{"key": "a", "effect": "Evict"}],
        "flowControl": {"shares": 0, "responderNamespaces": ["*"]},
        "networkPolicy": {"apiServer": {"ports": [0], "cidrs": ["10.0.0.1"]}, "metricsFrom": [{}]},
        "metrics": {"serviceMonitor": {"interval": "often"}, "dashboards": {"labels": {"a": 1}}},
    });
    let said = refusal(&wrong);
    for path in [
        "/replicas",
        "/image/repository",
        "/image/tag",
        "/image/digest",
        "/image/pullPolicy",
        "/imagePullSecrets/0",
        "/watchNamespaces/0",
        "/responders/0",
        "/config/endpoints/0/url",
        "/secrets/0",
        "/leaseDuration",
        "/log/format",
        "/resources",
        "/tolerations/0/effect",
        "/flowControl/shares",
        "/flowControl/responderNamespaces/0",
        "/networkPolicy/apiServer/ports/0",
        "/networkPolicy/apiServer/cidrs/0",
        "/networkPolicy/metricsFrom/0",
        "/metrics/serviceMonitor/interval",
        "/metrics/dashboards/labels/a",
    ] {
        assert!(said.contains(&format!("at '{path}'")), "nothing about {path} in\n{said}");
    }
}

/// The paths that the unit tests of the chart set.
fn tested() -> Vec<String> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(chart().join("tests")).expect("a folder") {
        let suite: Value = serde_saphyr::from_str(&read(&entry.expect("an entry").path())).expect("YAML");
        for test in suite["tests"].as_array().expect("tests") {
            for (name, value) in test["set"].as_object().into_iter().flatten() {
                let at = format!("/{}", name.replace('.', "/"));
                paths.extend(value.as_object().into_iter().flatten().map(|(name, _)| format!("{at}/{name}")));
                paths.push(at);
            }
        }
    }
    paths
}

#[test]
fn every_value_has_a_unit_test() {
    let (tested, mut missing) = (tested(), Vec::new());
    let mut look = |at: &str, _: &mut Value| {
        if !tested.iter().any(|path| path == at) {
            missing.push(at.to_owned());
        }
    };
    walk("", &mut values(), &mut look, &mut |_, _| {});
    assert!(missing.is_empty(), "no test in charts/firebreak/tests sets {missing:?}");
}
