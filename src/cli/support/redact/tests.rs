use serde_json::{Value, json};

use super::*;

fn redacted(input: &str) -> String {
    text(input, &mut Redactions::default())
}

#[test]
fn secrets_in_texts_are_redacted_and_what_is_around_them_stays() {
    for (input, expected) in [
        ("GET /x Authorization: Bearer abc.def-123 and more", "GET /x Authorization: (redacted)"),
        (r#"{"authorization":"Basic QWxhZGRpbg==","x":1}"#, r#"{"authorization":(redacted),"x":1}"#),
        ("sent bearer abcdefgh12345 to x", "sent bearer (redacted) to x"),
        ("password=hunter2 user=x", "password=(redacted) user=x"),
        ("DB_PASSWORD=hunter2", "DB_PASSWORD=(redacted)"),
        ("dbPassword: my long pass phrase\nuser: x", "dbPassword: (redacted)\nuser: x"),
        (r#"{"apiKey":"a b","user":"x"}"#, r#"{"apiKey":(redacted),"user":"x"}"#),
        (r#"{"note":"{\"token\":\"a b\"}"}"#, r#"{"note":"{\"token\":(redacted)}"}"#),
        ("--hf-token=abc --port 80", "--hf-token=(redacted) --port 80"),
        ("serve --api-key abc --port 80", "serve --api-key (redacted) --port 80"),
        ("at eyJhbGciOiJI.eyJzdWIiOiIx.c2ln now", "at (redacted) now"),
        ("uses hf_abcdefghijklmnop", "uses (redacted)"),
        ("https://alice:secret@example.com/x", "https://(redacted)example.com/x"),
        ("a -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- b", "a (redacted) b"),
        ("-----BEGIN PRIVATE KEY-----\nMII", "(redacted)"),
    ] {
        assert_eq!(redacted(input), expected);
    }
}

#[test]
fn what_only_looks_like_a_secret_stays() {
    for harmless in [
        "secret \"model-key\" not found",
        "secretName: model-key",
        "--max-num-batched-tokens=8192",
        "automountServiceAccountToken",
        "basic configuration is used",
        "risk-assessment-of-the-model-server",
        "signals.gpuNodes.ready * 2 <= signals.gpuNodes.expected",
        "plan sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "https://example.com/a?mail=x@example.com",
    ] {
        assert_eq!(redacted(harmless), harmless);
    }
}

#[test]
fn a_text_that_is_redacted_twice_stays_the_same_and_is_counted_once() {
    let mut counted = Redactions::default();
    let once = text("Authorization: Bearer abcdefgh12\ntoken=x", &mut counted);
    assert_eq!(counted.by_name(), [("Header", 1), ("NamedSecret", 1)].into());
    assert_eq!(text(&once, &mut counted), once);
    assert_eq!(counted.by_name(), [("Header", 1), ("NamedSecret", 1)].into());
}

#[test]
fn a_private_key_over_several_lines_is_left_out() {
    let mut lines = Lines::default();
    let log = "one\n-----BEGIN PRIVATE KEY-----\nMIIabc\n-----END PRIVATE KEY-----\ntwo";
    let kept: Vec<String> = log.lines().filter_map(|line| lines.redact(line)).collect();
    assert_eq!(kept, ["one", MARK, "two"]);
    assert_eq!(lines.redactions.by_name(), [("PrivateKey", 1)].into());
}

fn of(mut value: Value) -> (Value, BTreeMap<&'static str, usize>) {
    let mut counted = Redactions::default();
    object(&mut value, &mut counted);
    (value, counted.by_name())
}

#[test]
fn values_of_variables_are_redacted_and_references_stay() {
    let reference = json!({"secretKeyRef": {"name": "model-key", "key": "token"}});
    let (shown, counted) = of(json!({"spec": {"containers": [{
        "env": [{"name": "PLAIN", "value": "hunter2"}, {"name": "REF", "valueFrom": reference}],
        "args": ["--token", "hunter2", "--port", "80", "--api-key=hunter2"],
    }], "variant": {"env": {"A": "hunter2"}}}}));
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    let container = &shown["spec"]["containers"][0];
    assert_eq!(container["env"][0], json!({"name": "PLAIN", "value": MARK}));
    assert_eq!(container["env"][1]["valueFrom"]["secretKeyRef"]["name"], "model-key");
    assert_eq!(container["args"], json!(["--token", MARK, "--port", "80", "--api-key=(redacted)"]));
    assert_eq!(counted, [("NamedSecret", 2), ("Variable", 2)].into());
}

#[test]
fn annotations_that_hold_whole_objects_are_redacted() {
    let (shown, counted) = of(json!({"metadata": {
        "managedFields": [{"manager": "kubectl"}],
        "annotations": {
            "firebreak.dev/undo": "{\"v\":1,\"loans\":[{\"before\":\"hunter2\"}]}",
            "kubectl.kubernetes.io/last-applied-configuration": "{\"x\":\"hunter2\"}",
            "team": "serving",
        },
    }}));
    let annotations = &shown["metadata"]["annotations"];
    assert_eq!(annotations["team"], "serving");
    assert!(!shown.to_string().contains("hunter2") && shown["metadata"].get("managedFields").is_none());
    assert_eq!(counted, [("LastApplied", 1), ("UndoRecord", 1)].into());
}

#[test]
fn changed_values_are_redacted_if_they_may_be_secrets() {
    let seal = json!({"sha256": "a".repeat(64)});
    let variable = "/spec/template/spec/containers/[name=main]/env/[name=KEY]/value";
    let flag = "/spec/template/spec/containers/[name=main]/args/[flag=--device]";
    let (shown, counted) = of(json!({"status": {"changes": [{"fields": [
        {"path": "/spec/replicas", "before": 1, "after": 2},
        {"path": "/spec/x", "before": seal},
        {"path": variable, "before": "hunter2", "after": "hunter3"},
        {"path": flag, "after": "hunter2"},
        {"path": "/spec//broken", "before": "hunter2"},
    ], "first": [{"path": variable, "value": "hunter2"}]}]}}));
    let fields = &shown["status"]["changes"][0]["fields"];
    assert_eq!(fields[0], json!({"path": "/spec/replicas", "before": 1, "after": 2}));
    assert!(!shown.to_string().contains("hunter") && !shown.to_string().contains("aaaa"), "{shown}");
    assert_eq!(counted, [("ChangedValue", 6)].into());
}

#[test]
fn a_file_in_a_config_map_is_redacted_like_an_object() {
    let (shown, _) = of(json!({"kind": "ConfigMap", "data": {
        "config.yaml": "# hunter2\nendpoint:\n  token: hunter2\n  url: https://example.com\n",
        "engaged": "true",
        "note": "password: hunter2",
    }}));
    assert_eq!(shown["data"]["engaged"], "true");
    let file = shown["data"]["config.yaml"].as_str().unwrap();
    assert!(file.contains("url: https://example.com") && file.contains(MARK), "{file}");
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
}

#[test]
fn every_rule_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
    assert_eq!(names.len(), Rule::ALL.len());
}

#[test]
fn every_rule_is_documented() {
    let page = include_str!("../../../../docs/reporting-a-problem.md");
    for rule in Rule::ALL {
        let row = format!(
            "| `{}` | {} |",
            rule.name(),
            rule.says().replace("firebreak.dev/undo", "`firebreak.dev/undo`")
        );
        let row = row.replace(
            "kubectl.kubernetes.io/last-applied-configuration",
            "`kubectl.kubernetes.io/last-applied-configuration`",
        );
        assert!(page.contains(&row), "docs/reporting-a-problem.md has no row {row}");
    }
}
