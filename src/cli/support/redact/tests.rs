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
        (r#"Authorization: Token token="s3cr3t""#, "Authorization: (redacted)"),
        (r#"Cookie: a="b"; session=s3cr3t"#, "Cookie: (redacted)"),
        (r#"{"password":"ab\"cdef","x":1}"#, r#"{"password":(redacted),"x":1}"#),
        (r#""password": ["hunter2", ["]"]] x"#, r#""password": (redacted) x"#),
        ("password=hun,ter2 x", "password=(redacted) x"),
        (r#"serve --api-key "two words" --port 80"#, r#"serve --api-key (redacted) --port 80"#),
        ("https://u:p@ss@host", "https://(redacted)host"),
        ("https://u:pa/ss@host", "https://(redacted)host"),
        (
            r#""{\"a\":\"{\\\"token\\\":\\\"a\\\\\\\"b\\\"}\"}""#,
            r#""{\"a\":\"{\\\"token\\\":(redacted)}\"}""#,
        ),
        ("password: |\n  hunter2\n\n  hunter3\nuser: x", "password: (redacted)\nuser: x"),
        ("tokens:\n  token:\n  - hunter2\n  user: x", "tokens:\n  token:(redacted)\n  user: x"),
        (r#"["TOKEN=two words", "x"]"#, r#"["TOKEN=(redacted)", "x"]"#),
    ] {
        assert_eq!(redacted(input), expected);
    }
}

#[test]
fn variables_and_flags_in_texts_are_redacted() {
    for (input, expected) in [
        (r#"env: [{"name":"A","value":"hunter2"}] x"#, "env: (redacted) x"),
        (
            r#"[{"name":"A","value":"hunter2"},{"name":"B"}]"#,
            r#"[{"name":"A","value":(redacted)},{"name":"B"}]"#,
        ),
        (r#"{"value":"hunter2","name":"A"}"#, r#"{"value":(redacted),"name":"A"}"#),
        (r#"{\"name\":\"A\",\"value\":\"hun\\\"ter2\"}"#, r#"{\"name\":\"A\",\"value\":(redacted)}"#),
        (
            r#"core.EnvVar{Name:"A", Value:"hunter2", ValueFrom:nil}"#,
            r#"core.EnvVar{Name:"A", Value:(redacted), ValueFrom:nil}"#,
        ),
        ("{Name:A Value:hun ter2 ValueFrom:nil}", "{Name:A Value:(redacted)"),
        ("- name: A\n  value: hun ter2\n- name: B", "- name: A\n  value: (redacted)\n- name: B"),
        ("spec:\n  env:\n    A: hunter2\n  x: 1", "spec:\n  env:(redacted)\n  x: 1"),
        (
            r#"env[0].value: Invalid value: "hunter2": too long"#,
            "env[0].value: Invalid value: (redacted): too long",
        ),
        (r#"Unsupported value: "hunter2""#, "Unsupported value: (redacted)"),
        (
            r#""command":["vllm","--api-key","k1","k2","--port"]"#,
            r#""command":["vllm","--api-key",(redacted),"--port"]"#,
        ),
        (r#"["--api-key" "hunter2"]"#, r#"["--api-key" (redacted)]"#),
        ("x --hf_token hunter2", "x --hf_token (redacted)"),
        ("-token hunter2", "-token (redacted)"),
        ("serve --api-key k1 k2 --port 80", "serve --api-key (redacted) --port 80"),
        ("--API_KEY=hunter2", "--API_KEY=(redacted)"),
        (r"--password=two\ words --x", "--password=(redacted) --x"),
        ("args: [--api-key, hunter2, --port]", "args: [--api-key, (redacted) --port]"),
        ("- --api-key\n- k1\n- k2\n- --port", "- --api-key\n- (redacted)\n- --port"),
        (
            r#"{"name":"a b","valueFrom":null,"value":"hunter2"}"#,
            r#"{"name":"a b","valueFrom":null,"value":(redacted)}"#,
        ),
        (
            r#"Name: (string) (len=1) "A", Value: (string) (len=7) "hunter2","#,
            r#"Name: (string) (len=1) "A", Value: (string) (len=7) (redacted),"#,
        ),
        ("<password>hunter2</password> x", "<password>(redacted) x"),
    ] {
        assert_eq!(redacted(input), expected);
        assert_eq!(redacted(expected), expected);
    }
}

#[test]
fn secrets_are_redacted_whatever_a_component_writes_before_them() {
    for (input, expected) in [
        // Escapes in JSON and in URLs.
        (
            r"GET /\r\nAuthorization: Token hunter2\r\nCookie: a=hunter2",
            r"GET /\r\nAuthorization: (redacted)",
        ),
        (r"uses\nhf_abcdefghijklmnop", r"uses\n(redacted)"),
        (r"\teyJhbGciOiJI.eyJzdWIiOiIx.c2ln", r"\t(redacted)"),
        (r"serve \\\n--api-key hunter2 --port 80", r"serve \\\n--api-key (redacted) --port 80"),
        (r"--api-key\u003dhunter2", r"--api-key\u003d(redacted)"),
        ("?to=x%3Ftoken%3Dhunter2", "?to=x%3Ftoken%3D(redacted)"),
        ("%22hf_abcdefghijklmnop%22", "%22(redacted)%22"),
        (r"https:\/\/u:hunter2@h", r"https:\/\/(redacted)h"),
        ("\u{1b}[3mtoken\u{1b}[0m\u{1b}[2m=\u{1b}[0mhunter2 x", "token=(redacted) x"),
        // Python, Rust and Go.
        (
            "[(b'Set-Cookie', b'a=hunter2; path=/'), (b'x', b'y')]",
            "[(b'Set-Cookie', (redacted)), (b'x', b'y')]",
        ),
        (r#"C { password: Some("hunter2 a"), b: 2 }"#, "C { password: (redacted)), b: 2 }"),
        ("password=b'hunter2 a' x", "password=(redacted) x"),
        ("password=$'hunter2 a' x", "password=(redacted) x"),
        ("env:map[A:hunter2 B:x] x", "env:(redacted) x"),
        (r#"Env:[]string{"A=hunter2"} x"#, "Env:(redacted) x"),
        (r#"map[firebreak.dev/undo:{"before":"hunter2"} a:b]"#, "map[firebreak.dev/undo:(redacted) a:b]"),
        (
            r#"{"kubectl.kubernetes.io/last-applied-configuration":"{\"a\":\"hunter2\"}"}"#,
            r#"{"kubectl.kubernetes.io/last-applied-configuration":(redacted)}"#,
        ),
        // Other names.
        ("API key: hunter2", "API key: (redacted)"),
        ("fs.s3a.secret.key=hunter2", "fs.s3a.secret.key=(redacted)"),
        (r#""environment":{"A":"hunter2"}"#, r#""environment":(redacted)"#),
        (r#"{"key":"api_key","value":"hunter2"}"#, r#"{"key":"api_key","value":(redacted)}"#),
        // Values that begin like something else.
        ("password=1,hunter2 x", "password=(redacted) x"),
        ("password: 1, hunter2", "password: (redacted)"),
        ("credentials=AKIAABCDEFGHIJKLMNOP:hunter2 x", "credentials=(redacted) x"),
        (r#"["--api-key","-hunter2","--port"]"#, r#"["--api-key",(redacted),"--port"]"#),
        // Other forms of keys.
        ("key: LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t x", "key: (redacted) x"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nMII\n-----END PGP PRIVATE KEY BLOCK----- b", "(redacted) b"),
    ] {
        assert_eq!(redacted(input), expected);
        assert_eq!(redacted(expected), expected);
    }
}

/// With a search of the rest of the line for every name, this would take minutes.
#[test]
fn a_long_line_is_redacted_like_a_short_one() {
    for part in ["token=a ", r#""token":"a","#, r#"token:\"a\" "#] {
        let times = (256 << 10) / part.len();
        // Without the texts, which are long.
        assert!(redacted(&part.repeat(times)) == redacted(part).repeat(times), "{part}");
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
        "docker-pullable://registry.example.com:5000/vllm@sha256:0123456789abcdef",
        "docker-pullable://vllm@sha256:0123456789abcdef",
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        "hf_transfer_enabled_backend",
        "references non-existent secret key: hf-token",
        "environment: production",
        r#"{"name":"A","value":"(redacted)"}"#,
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
    assert_eq!(lines.left_out, 2);
}

#[test]
fn a_line_that_only_mentions_a_private_key_hides_no_others() {
    let mut lines = Lines::default();
    let log = "no -----BEGIN PRIVATE KEY----- here\nthe next line\ntwo";
    let kept: Vec<String> = log.lines().filter_map(|line| lines.redact(line)).collect();
    assert_eq!(kept, ["no (redacted)", "the next line", "two"]);
    assert_eq!(lines.left_out, 0);

    let mut lines = Lines::default();
    let body = format!("2026-03-01T10:00:00Z {}", "A".repeat(64));
    assert!(lines.redact("-----BEGIN RSA PRIVATE KEY-----").is_some());
    assert!(lines.redact("Proc-Type: 4,ENCRYPTED").is_none() && lines.redact("").is_none());
    assert!((0..198).all(|_| lines.redact(&body).is_none()));
    assert_eq!(lines.redact("word").as_deref(), Some("word"), "no key is as long");
    assert_eq!(lines.left_out, 200);
}

#[test]
fn the_short_last_line_of_a_private_key_is_left_out_after_the_time_of_a_log() {
    let mut lines = Lines::default();
    let log = "t stdout F -----BEGIN PRIVATE KEY-----\nt stdout F MII=\nt stdout F -----END PRIVATE KEY-----\nt stdout F two";
    let kept: Vec<String> = log.lines().filter_map(|line| lines.redact(line)).collect();
    assert_eq!(kept, ["t stdout F (redacted)", "t stdout F two"]);
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
fn variables_below_other_keys_are_redacted() {
    let (shown, counted) = of(json!({
        "extraEnv": [{"name": "a", "value": "hunter2"}, "B=hunter2"],
        "set": [{"name": "HF_KEY", "value": "hunter2"}, {"name": "db.password", "value": "hunter2"}],
        "signals": [{"name": "gpuNodes", "value": 4}],
    }));
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    assert_eq!(shown["extraEnv"][1], "B=(redacted)");
    assert_eq!(shown["signals"][0]["value"], 4);
    assert_eq!(counted, [("Variable", 4)].into());
}

#[test]
fn all_values_of_a_flag_are_redacted() {
    let (shown, _) = of(
        json!({"args": ["--api-key", "k1", "k2", "--port", "80", "--hf_token=a b", "-token", 7, "X_TOKEN=a b"]}),
    );
    let args = json!([
        "--api-key",
        MARK,
        MARK,
        "--port",
        "80",
        "--hf_token=(redacted)",
        "-token",
        MARK,
        "X_TOKEN=(redacted)"
    ]);
    assert_eq!(shown["args"], args);
}

#[test]
fn annotations_of_other_tools_that_hold_objects_are_redacted() {
    let copy = json!({"spec": {"env": [{"name": "A", "value": "hunter2"}], "replicas": 3}});
    let secret = json!([{"kind": "Secret", "data": {"a": "hunter2"}}]);
    let (shown, counted) = of(json!({"spec": {"template": {"metadata": {"annotations": {
        "kapp.k14s.io/original": copy.to_string(),
        "copies": secret.to_string(),
        "broken": "{\"a\": hunter2",
        "lines": "hunter2\nhunter2",
        "team": "serving",
    }}}}}));
    let annotations = &shown["spec"]["template"]["metadata"]["annotations"];
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    assert!(annotations["kapp.k14s.io/original"].as_str().unwrap().contains("replicas: 3"), "{shown}");
    assert_eq!((&annotations["broken"], &annotations["team"]), (&json!(MARK), &json!("serving")));
    assert_eq!(annotations["lines"], "(redacted), 2 lines");
    assert_eq!(counted["Unreadable"], 2);
}

#[test]
fn a_file_that_is_not_one_document_is_replaced_by_its_number_of_lines() {
    for file in ["a: hunter2\n---\nb: hunter2\n", "# x\na = hunter2", "\ta: [\nhunter2\n"] {
        let (shown, counted) = of(json!({"kind": "ConfigMap", "data": {"x": file}}));
        let lines = file.trim().lines().count();
        assert_eq!(shown["data"]["x"], format!("(redacted), {lines} lines"));
        assert_eq!(counted, [("Unreadable", 1)].into());
    }
    let (shown, _) = of(json!({"kind": "ConfigMap", "binaryData": {"x": "aHVudGVyMg=="}}));
    assert_eq!(shown["binaryData"]["x"], MARK);
}

#[test]
fn headers_and_variables_are_redacted_by_their_keys() {
    let (shown, counted) = of(json!({"kind": "ConfigMap", "spec": {
        "httpHeaders": [{"name": "Authorization", "value": "Basic hunter2"}, {"name": "Cookie", "value": "hunter2"}],
        "headers": {"Authorization": "Token hunter2"},
        "authorization": {"type": "Bearer"},
        "environmentVariables": {"A": "hunter2"},
        "args": ["--api-key", "-hunter2", "--port"],
    }, "data": {"app.env": "A=hunter2", "broken.json": "{\"a\": hunter2"}}));
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    assert_eq!(shown["spec"]["authorization"]["type"], "Bearer");
    assert_eq!(
        (&shown["data"]["app.env"], &shown["spec"]["args"][2]),
        (&json!("A=(redacted)"), &json!("--port"))
    );
    assert_eq!(counted, [("Header", 3), ("NamedSecret", 1), ("Unreadable", 1), ("Variable", 2)].into());
}

#[test]
fn a_value_in_an_annotation_is_counted_once() {
    let copy = json!({"env": [{"name": "A", "value": "hunter2"}]}).to_string();
    let (shown, counted) = of(
        json!({"metadata": {"annotations": {"copy": copy, "kubectl.kubernetes.io/last-applied-configuration": copy}}}),
    );
    assert_eq!(shown["metadata"]["annotations"]["copy"], "env:\n- name: A\n  value: (redacted)\n");
    assert_eq!(counted, [("LastApplied", 1), ("Variable", 1)].into());
}

#[test]
fn everything_below_the_name_of_a_secret_is_redacted() {
    let mount = json!({"secret": {"secretName": "s", "defaultMode": 420}});
    let (shown, _) = of(json!({"password": ["hunter2", {"a": "hunter2", "b": [7]}], "volumes": [mount]}));
    assert_eq!(shown["password"], json!([MARK, {"a": MARK, "b": [MARK]}]));
    assert_eq!(shown["volumes"][0], mount);
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

#[test]
fn any_text_is_redacted_without_a_panic_and_in_the_end() {
    let pieces = [
        "token",
        "--api-key",
        "\"",
        "\\\"",
        "\\",
        "'",
        "`",
        ":",
        "=",
        " ",
        "\n",
        "\r\n",
        "[",
        "]",
        "{",
        "}",
        ",",
        "name",
        "value",
        "env",
        "ä",
        "…",
        "cookie",
        "Invalid value: ",
        "https://",
        "@",
        "- ",
        "(redacted)",
        "x",
        "5",
    ];
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let mut input = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            input.push_str(pieces[usize::try_from((state >> 33) % pieces.len() as u64).unwrap()]);
        }
        redacted(&input);
    }
}
