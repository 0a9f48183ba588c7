//! The client verbs against a real cluster; `undo` has its own file, S13.

use std::process::Output;

use serde_json::{Value, json};

use crate::drill::{Drill, policy_manifest};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a verb in the namespace of the drill, which must succeed, and returns what it printed.
async fn run(drill: &Drill, arguments: &[&str]) -> String {
    let done = drill.world.firebreak(&[arguments, &["-n", &drill.world.a]].concat()).await;
    assert!(done.status.success(), "{arguments:?}: {}{}", stdout(&done), stderr(&done));
    stdout(&done)
}

async fn plan(drill: &Drill) -> Value {
    serde_json::from_str(&run(drill, &["plan", "drill", "-o", "json"]).await).expect("JSON")
}

#[tokio::test]
async fn a_plan_names_every_field_and_changes_nothing() {
    let drill = Drill::new("cli-plan").await;
    let models = drill.models(2).await;
    let policy = drill.apply_policy(|_| {}).await;
    let version = policy.snapshot().await.version;

    // No rule holds: the output says so, and the steps are planned as if one did.
    let quiet = plan(&drill).await;
    assert_eq!(quiet["severity"], Value::Null, "{quiet:#}");
    assert!(quiet["assumption"].as_str().expect("it is said").contains("no rule holds"), "{quiet:#}");
    assert_eq!(quiet["steps"][0]["changes"].as_array().map(Vec::len), Some(2), "{quiet:#}");

    drill.ring().await;
    let planned = plan(&drill).await;
    assert_eq!((&planned["severity"], &planned["severityReason"]), (&json!("P0"), &json!("AlarmRings")));
    assert_eq!(planned.get("assumption"), None, "{planned:#}");
    let account = format!("ServiceAccount {}/firebreak-responder", drill.world.a);
    assert_eq!(planned["policy"]["readAs"], json!(account));
    let changes = planned["steps"][0]["changes"].as_array().expect("changes");
    assert_eq!(changes.len(), 2, "{planned:#}");
    let field = |path: &str| {
        let fields = changes[0]["fields"].as_array().expect("fields");
        fields.iter().find(|field| field["path"] == path).unwrap_or_else(|| panic!("{path}: {planned:#}"))
    };
    let gpu = field("/spec/resources/limits/nvidia.com~1gpu");
    assert_eq!((&gpu["before"], &gpu["after"]), (&json!("1"), &json!("0")));
    let text = run(&drill, &["plan", "drill"]).await;
    assert!(text.contains("/spec/resources/limits/nvidia.com~1gpu  \"1\" → \"0\""), "{text}");

    // The same from a file. What the ServiceAccount may not see is Unknown with the reason.
    let file = drill.world.files().join("policy.yaml");
    let manifest = policy_manifest(|spec| spec["signals"][0]["objects"]["namespaces"] = json!({"all": true}));
    let manifest = manifest.to_string().replace("${a}", &drill.world.a).replace("${b}", &drill.world.b);
    std::fs::write(&file, manifest).expect("a file");
    let blind = run(&drill, &["plan", "-f", file.to_str().expect("text")]).await;
    assert!(blind.contains("Unknown  Forbidden: "), "{blind}");

    for number in 0..2 {
        models.assert_untouched(number).await;
    }
    assert_eq!(policy.snapshot().await.version, version, "{policy} was written");
    assert!(drill.incidents().await.is_empty());
}

#[tokio::test]
async fn signals_say_what_is_read_now_and_why_a_rule_is_true() {
    let drill = Drill::new("cli-signals").await;
    let policy = drill
        .apply_policy(|spec| {
            spec["severity"][0]["for"] = json!("10m");
            let everywhere = json!({"apiVersion": "v1", "kind": "ConfigMap", "namespaces": {"all": true}, "healthy": "true"});
            let signals = spec["signals"].as_array_mut().expect("signals");
            signals.push(json!({"name": "everywhere", "objects": everywhere}));
        })
        .await;
    let version = policy.snapshot().await.version;
    let json = run(&drill, &["signals", "drill", "-o", "json"]).await;
    let seen: Value = serde_json::from_str(&json).expect("JSON");
    let (alarm, rule) = (&seen["signals"][0], &seen["rules"][0]);
    assert_eq!((&alarm["kind"], &alarm["state"]), (&json!("objects"), &json!("Known")), "{seen:#}");
    assert_eq!(
        (&alarm["fields"]["unhealthy"], &alarm["read"]),
        (&json!(0), &json!(["unhealthy"])),
        "{seen:#}"
    );
    let unknown = &seen["signals"][1]["unknown"];
    assert_eq!(unknown["reason"], "Forbidden", "{seen:#}");
    assert!(unknown["next"].as_str().is_some_and(|next| next.contains("firebreak check")), "{seen:#}");
    // No operator has recorded anything, so nobody knows how long the rule has been False.
    assert_eq!((&rule["truth"], rule.get("since")), (&json!("False"), None), "{seen:#}");
    assert!(rule["atLeastSince"].is_string(), "{seen:#}");
    assert_eq!(policy.snapshot().await.version, version, "{policy} was written");

    let _operator = drill.world.operator().start().await;
    drill.ring().await;
    let is_true = |policy: &kube::core::DynamicObject| policy.data["status"]["rules"][0]["truth"] == "True";
    policy.wait_until("the alarm counted", is_true).await;
    let text = run(&drill, &["signals", "drill"]).await;
    for words in [
        "  alarm  objects  Known\n    unhealthy  1\n",
        "  everywhere  objects  Unknown\n    Forbidden: ",
        "  P0 AlarmRings  True since ",
        "    when signals.alarm.unhealthy > 0\n    alarm.unhealthy 1\n    it holds in ",
    ] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}

#[tokio::test]
async fn signals_are_watched_line_by_line_where_there_is_no_terminal() {
    let drill = Drill::new("cli-signals-watch").await;
    let policy = drill.apply_policy(|_| {}).await;
    let mut watch = drill.world.firebreak_lines(&["signals", "drill", "--watch", "-n", &drill.world.a]);
    watch.wait_for("  P0 AlarmRings  False").await;
    drill.ring().await;
    watch.wait_for("Z  alarm.unhealthy  0 → 1").await;
    watch.wait_for("Z  P0 AlarmRings  False → True, holds  alarm.unhealthy 1").await;
    drill.hush().await;
    watch.wait_for("Z  alarm.unhealthy  1 → 0").await;
    // An edit counts at once.
    policy
        .merge(
            "harness",
            json!({"spec": {"severity": [
                {"level": "P2", "reason": "AlarmExists", "when": "signals.alarm.total > 0"},
            ]}}),
        )
        .await;
    watch.wait_for("Z  P2 AlarmExists  True, holds  alarm.total 1").await;
    policy.delete().await;
    assert_eq!(watch.ended().await, Some(1));
}

#[tokio::test]
async fn withdraw_waits_until_everything_is_back() {
    let drill = Drill::new("cli-withdraw").await;
    let models = drill.models(2).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    let name = incident.name();

    let raw: Value = serde_json::from_str(&run(&drill, &["get", name, "-o", "json"]).await).expect("JSON");
    assert_eq!((&raw["kind"], &raw["status"]["changesInForce"]), (&json!("Incident"), &json!(2)));
    let table = run(&drill, &["get"]).await;
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let heading = lines.next().expect("a heading");
    assert_eq!(heading, ["NAME", "SEVERITY", "PHASE", "STEPS", "CHANGES", "POLICY", "AGE"]);
    assert_eq!(lines.next().expect("a row")[..6], [name, "P0", "Monitoring", "1/1", "2", "drill"], "{table}");
    let tree = run(&drill, &["describe", name]).await;
    assert!(tree.contains("LLMDeployment") && tree.contains("model-1  Verified"), "{tree}");
    let early = run(&drill, &["report", name]).await;
    assert!(early.starts_with("# Incident Report") && early.contains("still open"), "{early}");

    let said = run(&drill, &["withdraw", name]).await;
    assert!(said.contains("WithdrawalStarted") && said.contains("→ Resolved"), "{said}");
    models.assert_reverted().await;
    incident.wait_until("reported", |incident| incident.data["status"]["report"]["name"].is_string()).await;
    let report = run(&drill, &["report", name]).await;
    assert!(report.contains("a person withdrew the response"), "{report}");
    // A list shows the worst severity of a closed Incident, whoever prints it.
    let with_kubectl = drill.world.kubectl(&["get", "incident", name, "-n", &drill.world.a]).await;
    for table in [run(&drill, &["get"]).await, with_kubectl] {
        let row = table.lines().nth(1).unwrap_or_default();
        let row: Vec<&str> = row.split_whitespace().take(3).collect();
        assert_eq!(row, [name, "P0", "Resolved"], "{table}");
    }

    // It is over, and the report exists even after the Incident is deleted.
    run(&drill, &["watch", name]).await;
    incident.delete().await;
    incident.wait_until_gone().await;
    assert_eq!(run(&drill, &["report", name]).await, report);
}

#[tokio::test]
async fn what_cannot_be_done_is_said_in_one_line() {
    let drill = Drill::new("cli-errors").await;
    let namespace = drill.world.a.as_str();
    let table: &[(&[&str], &str)] = &[
        (&["get", "none", "-n", namespace], "there is no Incident none"),
        (&["watch", "none", "-n", namespace], "there is no Incident none"),
        (&["withdraw", "none", "-n", namespace], "there is no Incident none"),
        (&["report", "none", "-n", namespace], "there is no Incident none"),
        (&["signals", "none", "-n", namespace], "there is no RemediationPolicy none"),
        (&["plan", "none", "-n", namespace], "there is no RemediationPolicy none"),
        (&["undo", "rocket/none", "-n", namespace], "no kind rocket"),
        (&["undo", "cm/alarm", "-n", namespace], "has no undo record"),
        (&["undo", "cm/alarm", "--forget", "-n", namespace], "no record to drop"),
        (&["get", "--kubeconfig", "/does/not/exist"], "/does/not/exist"),
        (&["get", "--context", "nowhere"], "nowhere"),
        (&["check", "-f", "/does/not/exist"], "/does/not/exist"),
        (&["plan", "-f", "/does/not/exist"], "/does/not/exist"),
    ];
    for (arguments, expected) in table {
        let failed = drill.world.firebreak(arguments).await;
        let said = stderr(&failed);
        assert_eq!(failed.status.code(), Some(1), "{arguments:?}: {said}");
        assert_eq!((said.lines().count(), stdout(&failed).as_str()), (1, ""), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}
