//! No cluster, no permissions, wrong names, a closed Incident, a narrow window, and output to a pipe.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{Said, firebreak, run};
use crate::{
    drill::Drill,
    support::{manifest, testbed::testbed, world::World},
};

/// Every verb that needs a cluster, for something called `x`.
const VERBS: &[&[&str]] = &[
    &["plan", "x"],
    &["signals", "x"],
    &["signals", "x", "--watch"],
    &["open", "x"],
    &["get"],
    &["get", "x"],
    &["describe", "x"],
    &["watch", "x"],
    &["approve", "x", "cpu-fallback"],
    &["settle", "x", "5f2c0d6a1b3e4f70", "--happened"],
    &["ack", "x"],
    &["pause", "x"],
    &["resume", "x"],
    &["withdraw", "x"],
    &["keep", "x"],
    &["undo", "configmap/x"],
    &["report", "x"],
    &["support"],
    &["brake", "on"],
    &["brake", "off"],
    &["brake", "status"],
];

/// A copy of the administrator's kubeconfig with something changed in it.
fn kubeconfig(world: &World, name: &str, edit: impl FnOnce(&mut Value)) -> String {
    let text = std::fs::read_to_string(&testbed().kubeconfig).expect("the testbed's kubeconfig");
    let mut config = manifest::documents(&text).remove(0);
    edit(&mut config);
    let file = world.files().join(name);
    std::fs::write(&file, config.to_string()).expect("the testbed's directory is writable");
    file.display().to_string()
}

/// The text for a terminal without colours and cursor movements.
fn plain(shown: &str) -> String {
    let mut parts = shown.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    let behind = |part: &str| {
        part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest).to_owned()
    };
    parts.fold(first, |text, part| text + &behind(part)).replace('\r', "")
}

/// All verbs side by side, each rejected in one line with these words.
async fn assert_all_refused(world: &World, config: &str, words: &[&str]) {
    join_all(VERBS.iter().map(|verb| async move {
        let arguments = [verb, &["--kubeconfig", config, "-n", world.a.as_str()][..]].concat();
        firebreak(world, &arguments).await.assert_refused(verb, words);
    }))
    .await;
}

#[tokio::test]
async fn every_verb_says_in_one_line_what_is_wrong_and_what_to_do_next() {
    let world = World::new("s22-errors").await;
    let nowhere = kubeconfig(&world, "nowhere", |config| {
        config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1");
    });
    assert_all_refused(
        &world,
        &nowhere,
        &["check --kubeconfig and --context, and that the cluster is running"],
    )
    .await;

    let account = r#"{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody", "namespace": "${a}"}}"#;
    world.apply("harness", account).await;
    let token = world.token(&world.a, "nobody").await;
    let nobody = kubeconfig(&world, "nobody", |config| config["users"][0]["user"] = json!({"token": token}));
    assert_all_refused(&world, &nobody, &["forbidden", "ask the cluster administrator"]).await;

    for verb in VERBS {
        let words: &[&str] = match verb {
            ["plan" | "open" | "signals", _] | ["signals", _, _] => {
                &["there is no RemediationPolicy x", "kubectl get rpol -A"]
            }
            ["undo", _] => &["there is no such object", "set the namespace with -n"],
            ["get" | "support"] | ["brake", _] => continue,
            _ => &["there is no Incident x", "`firebreak get -A` lists all Incidents"],
        };
        firebreak(&world, &[verb, &["-n", world.a.as_str()][..]].concat()).await.assert_refused(verb, words);
    }
    let usage = firebreak(&world, &["approve", "x"]).await;
    assert_eq!((usage.code, usage.err.lines().count()), (2, 1), "{}", usage.err);
    for verb in ["on", "off", "status"] {
        let elsewhere = firebreak(&world, &["brake", verb, "-n", "s22-not-there"]).await;
        elsewhere.assert_refused(&["brake", verb], &["set the namespace of the operator with -n"]);
    }
}

#[tokio::test]
async fn what_is_closed_stays_so_and_what_is_printed_can_be_piped_on() {
    let drill = Drill::new("s22-closed").await;
    let world = &drill.world;
    drill.apply_policy(|_| {}).await;
    drill.open("young", json!({})).await;
    let over = drill.open("over", json!({"response": "Withdrawn"})).await;
    over.merge_status(
        "harness",
        json!({"status": {
            "phase": "Resolved", "closing": "Recovered", "resolvedAt": "2026-03-01T10:00:00Z",
            "steps": [{"name": "cpu-fallback", "state": "Returned"}],
        }}),
    )
    .await;

    let described = firebreak(world, &["describe", "young", "-n", &world.a]).await;
    let absence = format!("namespace {} has no Lease firebreak", world.operator_namespace);
    assert!(described.err.contains(&absence), "no {absence} in {}", described.err);
    let tree = run(world, &["describe", "over"]).await;
    let again = format!("`firebreak open drill -n {}` opens a new one", world.a);
    assert!(tree.contains("Resolved  CLOSED") && tree.contains(&again), "{tree}");
    for verb in ["ack", "pause", "resume", "withdraw", "keep", "approve"] {
        let step = (verb == "approve").then_some("cpu-fallback");
        let arguments: Vec<&str> = [verb, "over"].into_iter().chain(step).chain(["-n", &world.a]).collect();
        let said = firebreak(world, &arguments).await;
        said.assert_refused(&arguments, &["it is closed (Recovered)", &again]);
    }
    assert!(run(world, &["watch", "over"]).await.contains("Resolved"));
    assert!(run(world, &["report", "over"]).await.starts_with("# Incident Report"));

    // Lists and objects as kubectl prints them.
    let list: Value = serde_json::from_str(&run(world, &["get", "-o", "json"]).await).expect("JSON");
    assert_eq!((&list["apiVersion"], &list["kind"]), (&json!("v1"), &json!("List")));
    let names: Vec<&Value> =
        list["items"].as_array().expect("a list").iter().map(|item| &item["metadata"]["name"]).collect();
    assert_eq!(names, ["over", "young"]);
    let one: Value = serde_json::from_str(&run(world, &["get", "over", "-o", "json"]).await).expect("JSON");
    assert_eq!((&one["kind"], &one["status"]["closing"]), (&json!("Incident"), &json!("Recovered")));
    assert_eq!(manifest::documents(&run(world, &["get", "over", "-o", "yaml"]).await)[0], one);
    let plan: Value =
        serde_json::from_str(&run(world, &["plan", "drill", "-o", "json"]).await).expect("JSON");
    assert_eq!(plan["policy"]["name"], "drill");
    let everywhere = firebreak(world, &["get", "-A", "-o", "wide"]).await.out;
    assert!(everywhere.starts_with("NAMESPACE") && everywhere.contains("MESSAGE"), "{everywhere}");
    assert!(everywhere.contains(&world.a), "{everywhere}");
    let row = run(world, &["get", "over"]).await;
    assert_eq!(row.lines().count(), 2, "{row}");

    // The brake, without an operator that would revert anything.
    let brake = |arguments: &'static [&'static str]| async move {
        firebreak(world, &[&["brake"], arguments, &["-n", &world.operator_namespace]].concat()).await
    };
    assert!(brake(&["status"]).await.out.starts_with("the brake is off"));
    let on = brake(&["on"]).await;
    assert!(on.out.starts_with("on: the brake is engaged"), "{}", on.out);
    assert!(on.err.contains("so it is not known whether an operator leads"), "{}", on.err);
    let all = ["brake", "on", "--withdraw-all", "--timeout", "2s", "--watch-namespaces", world.a.as_str()];
    let said = firebreak(world, &[&all[..], &["-n", &world.operator_namespace]].concat()).await;
    assert_eq!((said.code, said.err.lines().count()), (1, 2), "{}{}", said.out, said.err);
    assert!(said.out.contains("/young  Open") && !said.out.contains("/over"), "{}", said.out);
    assert!(said.err.contains("1 Incident(s) still open after 2 s"), "{}", said.err);
    let map = world.object("v1", "ConfigMap", &world.operator_namespace, "firebreak-brake");
    map.merge("harness", json!({"data": {"engaged": "maybe"}})).await;
    assert!(brake(&["status"]).await.out.starts_with("on: the brake counts as engaged"));
    assert!(brake(&["off"]).await.out.starts_with("the brake is off"));

    // A withdrawn Incident can only be kept, and the API server says so.
    let pause = ["pause", "young", "-n", world.a.as_str()];
    let words = ["after response: Withdrawn only Kept can follow", "`firebreak watch young"];
    firebreak(world, &pause).await.assert_refused(&pause, &words);

    // A window that is too narrow cuts nothing, and the help is folded.
    let narrow = |arguments: Vec<&'static str>| async move {
        let arguments = [&arguments[..], &["-n", &world.a]].concat();
        Said::of(&world.firebreak_in(&[("COLUMNS", "20"), ("LINES", "5")], &arguments).await).out
    };
    assert_eq!(narrow(vec!["describe", "over"]).await.lines().count(), tree.lines().count());
    // On a real terminal there is colour, and a redrawn line is cut with a mark.
    let window = async |verb: &str| {
        let shown = world.firebreak_in_a_window(40, 12, &[verb, "over", "-n", &world.a]).await;
        assert!(shown.contains("\u{1b}[1m"), "no colour: {shown:?}");
        plain(&shown)
    };
    let told: Vec<String> = window("describe").await.split_whitespace().map(str::to_owned).collect();
    assert!(tree.split_whitespace().all(|word| told.iter().any(|shown| shown == word)), "{told:?}\n{tree}");
    let drawn = window("watch").await;
    assert!(drawn.lines().any(|line| line.ends_with('…')), "{drawn}");
    assert!(drawn.lines().all(|line| line.chars().count() <= 40), "{drawn}");
    let without_age = |table: &str| {
        let last = table.lines().last().unwrap_or_default();
        last.rsplit_once(' ').map(|(columns, _)| columns.trim_end().to_owned())
    };
    assert_eq!(without_age(&narrow(vec!["get", "over"]).await), without_age(&row));
    let help = narrow(vec!["approve", "--help"]).await;
    let words: Vec<&str> = help.split_whitespace().collect();
    assert!(words.join(" ").contains("firebreak approve gpu-outage cpu-fallback"), "{help}");

    // As a plugin of kubectl it goes by that name.
    let said = Said::of(&world.kubectl_firebreak(&["get", "over", "-n", &world.a]).await);
    assert_eq!((said.code, said.out.lines().count()), (0, 2), "{}{}", said.out, said.err);
    let help = Said::of(&world.kubectl_firebreak(&["open", "--help"]).await).out;
    assert!(
        help.contains("Usage: kubectl firebreak open") && help.contains("  kubectl firebreak open gpu"),
        "{help}"
    );

    // The permissions for the policy can be applied as they are printed.
    let file = world.files().join("policy.json");
    let policy = world.documents(&crate::drill::policy_manifest(|_| {}).to_string()).remove(0);
    std::fs::write(&file, policy.to_string()).expect("a file");
    let rights = firebreak(world, &["check", "-f", file.to_str().expect("text")]).await.out;
    std::fs::write(world.files().join("rights.yaml"), &rights).expect("a file");
    let rights = world.files().join("rights.yaml").display().to_string();
    let applied = world.kubectl(&["apply", "--dry-run=server", "-f", &rights]).await;
    let binding = format!("rolebinding.rbac.authorization.k8s.io/firebreak.drill.{}", world.a);
    assert!(applied.contains(&binding), "{applied}");
}
