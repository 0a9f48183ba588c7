//! What a newcomer is told when something is missing or misspelled: by its name, and with what to do.

use std::collections::{BTreeMap, BTreeSet};

use firebreak::kubernetes::built_in;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{
    drill::{Drill, message_of, policy_manifest},
    support::{testbed::testbed, world::World},
};

/// Runs a verb in the first namespace. Returns its output and its errors.
async fn firebreak(world: &World, arguments: &[&str]) -> (String, String) {
    let done = world.firebreak(&[arguments, &["-n", &world.a]].concat()).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&done.stdout), text(&done.stderr))
}

/// The drill's policy with another name and an edited spec, in a file.
fn file(world: &World, name: &str, edit: impl FnOnce(&mut Value)) -> String {
    let mut policy = policy_manifest(edit);
    policy["metadata"]["name"] = json!(name);
    let policy = world.documents(&policy.to_string()).remove(0);
    let file = world.files().join(format!("{name}.json"));
    std::fs::write(&file, policy.to_string()).expect("the testbed's directory is writable");
    file.display().to_string()
}

/// Applies what `check` prints for a policy in a file.
async fn grant_what_is_printed(world: &World, policy: &str) {
    let checked = world.firebreak(&["check", "-f", policy]).await;
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let rights = format!("{policy}.yaml");
    std::fs::write(&rights, checked.stdout).expect("the testbed's directory is writable");
    world.kubectl(&["apply", "-f", &rights]).await;
}

#[tokio::test]
async fn a_missing_service_account_is_named_wherever_people_look_and_one_command_creates_it() {
    let drill = Drill::new("hints-account").await;
    let world = &drill.world;
    for namespace in [&world.a, &world.b] {
        world.grant(namespace, &[]).await;
    }
    let account = world.object("v1", "ServiceAccount", &world.a, "firebreak-responder");
    account.delete().await;
    account.wait_until_gone().await;
    let _operator = world.operator().start().await;
    let policy = drill.apply_policy(|_| {}).await;
    let refused = policy.wait_for_condition("Authorized", "False").await;
    // The operator may not look at ServiceAccounts. The user of the command line may.
    let why = message_of(&refused, "Authorized");
    assert!(why.ends_with("and create the ServiceAccount if it does not exist"), "{policy}");
    let not_ready = format!("policy drill is not Ready: Forbidden: {why}");
    let missing = format!(
        "ServiceAccount {}/firebreak-responder does not exist; `firebreak check -f FILE | kubectl apply -f -` creates \
         it with the permissions that the policy needs",
        world.a
    );
    let (_, opened) = firebreak(world, &["open", "drill", "--severity", "P0"]).await;
    assert!(opened.contains(&not_ready) && opened.contains(&missing), "{opened}");
    let incident = drill.incidents().await.remove(0).name_any();
    let policy_file = file(world, "drill", |_| {});
    let described = async || firebreak(world, &["describe", &incident]).await;
    let planned = firebreak(world, &["plan", "drill"]).await;
    let planned_file = firebreak(world, &["plan", "-f", &policy_file]).await;
    let of_cluster = "the policy in the cluster, not that of the file: policy drill is not Ready";
    assert!(planned_file.0.contains(of_cluster) && !planned.0.contains(of_cluster), "{}", planned_file.0);
    for (text, notes) in [described().await, planned, planned_file] {
        assert!(text.contains(&not_ready), "no {not_ready:?} in {text}");
        assert!(notes.contains(&missing), "no {missing:?} in {notes}");
    }

    grant_what_is_printed(world, &policy_file).await;
    policy.wait_for_condition("Ready", "True").await;
    let (text, notes) = described().await;
    assert!(!text.contains("is not Ready") && !notes.contains("does not exist"), "{text}{notes}");

    // Its condition Ready is True, as it watches. It changes nothing all the same.
    let suspend = json!({"spec": {"suspend": true}}).to_string();
    world.kubectl(&["patch", "rpol", "drill", "-n", &world.a, "--type=merge", "-p", &suspend]).await;
    let (text, _) = described().await;
    assert!(text.contains("policy drill is suspended, so it changes nothing"), "{text}");
}

#[tokio::test]
async fn what_is_granted_to_two_policies_of_a_service_account_adds_up() {
    let world = World::new("hints-grants").await;
    let policy = file(&world, "drill", |_| {});
    let other = file(&world, "other", |spec| {
        spec["steps"][0]["action"] = json!({"scale": {"replicas": 1,
            "targets": {"apiVersion": "apps/v1", "kind": "StatefulSet", "where": "true"}}});
    });
    for policy in [&policy, &other] {
        grant_what_is_printed(&world, policy).await;
    }
    let _operator = world.operator().start().await;
    for policy in [&policy, &other] {
        world.kubectl(&["apply", "-f", policy]).await;
    }
    for name in ["drill", "other"] {
        world.policy(name).wait_for_condition("Authorized", "True").await;
    }
    // What the documentation says removes the grant of one of them, and nothing else.
    let name = format!("metadata.name=firebreak.other.{}", world.a);
    world.kubectl(&["delete", "role,rolebinding", "-A", "--field-selector", &name]).await;
    let user = format!("--as=system:serviceaccount:{}:firebreak-responder", world.a);
    let may = async |resource: &str| {
        let asked = world.kubectl_answer(&["auth", "can-i", "patch", resource, "-n", &world.a, &user]).await;
        String::from_utf8_lossy(&asked.stdout).trim() == "yes"
    };
    assert!(may("llmdeployments.inference.llm-d.io").await && !may("statefulsets.apps").await);
}

#[tokio::test]
async fn an_incident_that_waits_for_a_rule_says_how_to_open_one_that_does_not() {
    let drill = Drill::new("hints-open").await;
    let world = &drill.world;
    let _operator = world.operator().start().await;
    let without_rules = |spec: &mut Value| drop(spec.as_object_mut().expect("fields").remove("severity"));
    for file in
        [file(world, "drill", |_| {}), file(world, "pinned", |_| {}), file(world, "by-hand", without_rules)]
    {
        world.kubectl(&["apply", "-f", &file]).await;
    }
    for name in ["drill", "pinned", "by-hand"] {
        world.policy(name).wait_for_condition("Ready", "True").await;
    }
    let (_, said) = firebreak(world, &["open", "drill"]).await;
    let words = "no rule of policy drill holds, so nothing is applied until one does. To respond anyway, pin the severity: `";
    assert!(said.contains(words), "{said}");
    // The command does what it says, to the Incident that is open already.
    let command = said.split(words).nth(1).and_then(|rest| rest.split('`').next()).expect("a command");
    let command: Vec<&str> = command.split(' ').map(|word| word.trim_matches('\'')).collect();
    assert_eq!(command[0], "kubectl");
    world.kubectl(&command[1..]).await;
    let incident = drill.incidents().await.remove(0).name_any();
    let severity = |seen: &kube::api::DynamicObject| seen.data["status"]["severity"].clone();
    world.incident(&incident).wait_until("is classified", |seen| severity(seen) == "P0").await;
    let (_, said) = firebreak(world, &["open", "pinned", "--severity", "P0"]).await;
    assert!(said.contains("opened; ") && !said.contains("nothing is applied"), "{said}");

    let without = "it has no severity rules, so it opens nothing: only Incidents that people open with a severity use it";
    let by_hand = world.policy("by-hand");
    assert_eq!(message_of(&by_hand.get().await, "Ready"), without, "{by_hand}");
    let (planned, _) = firebreak(world, &["plan", "by-hand"]).await;
    assert!(planned.contains(without), "{planned}");
    let (_, said) = firebreak(world, &["open", "by-hand"]).await;
    assert!(
        said.contains("policy by-hand has no severity rules, so nothing is applied without a severity"),
        "{said}"
    );
}

#[tokio::test]
async fn a_plan_names_what_matches_nothing_and_describe_what_needs_no_change() {
    let drill = Drill::new("hints-plan").await;
    let world = &drill.world;
    let _models = drill.models(1).await;
    let pod =
        json!({"containers": [{"name": "main", "image": "example.com/server:1"}], "schedulerName": "nobody"});
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": pod});
    let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": world.a},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}});
    world.apply("owner", &web.to_string()).await;
    let _operator = world.operator().start().await;
    let scale = |name: &str, target: &str| {
        let targets =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "names": [target], "where": "true"});
        json!({"name": name, "action": {"scale": {"replicas": 1, "targets": targets}}})
    };
    let grants = file(world, "drill", |spec| {
        crate::drill::targets(spec)["names"] = json!(["model-0", "model-9"]);
        let deployments = json!({"apiVersion": "apps/v1", "kind": "Deployment", "names": ["web", "wbe"]});
        let sets = json!({"apiVersion": "apps/v1", "kind": "StatefulSet"});
        let signals = spec["signals"].as_array_mut().expect("a list");
        signals.extend([
            json!({"name": "servers", "workloads": deployments}),
            json!({"name": "sets", "workloads": sets}),
        ]);
        let steps = spec["steps"].as_array_mut().expect("a list");
        steps.extend([scale("nobody", "nobody"), scale("as-it-is", "web")]);
        spec["mode"] = json!("Observe");
    });
    grant_what_is_printed(world, &grants).await;
    world.kubectl(&["apply", "-f", &grants]).await;
    world.policy("drill").wait_for_condition("Ready", "True").await;
    let (planned, _) = firebreak(world, &["plan", "drill"]).await;
    for words in [
        format!("no Deployment in namespace {} is named wbe", world.a),
        format!("there is no StatefulSet in namespace {}; if there should be, check the signal", world.a),
        "no object in scope is named model-9".to_owned(),
        "not now: NoTargets: no object matches its targets; no object in scope is named nobody".to_owned(),
        "not now: NothingToDo: ".to_owned(),
    ] {
        assert!(planned.contains(&words), "no {words:?} in {planned}");
    }

    let incident = drill.open("observed", json!({"severity": "P0"})).await;
    let reason = |seen: &kube::api::DynamicObject| seen.data["status"]["steps"][2]["reason"].clone();
    incident.wait_until("is planned", |seen| reason(seen) == "NothingToDo").await;
    let (described, _) = firebreak(world, &["describe", "observed"]).await;
    for words in [
        format!("Deployment {}/web  NothingToDo  it already has this value", world.a),
        "nobody  Pending  NoTargets".to_owned(),
        "\n  nothing has been changed; step ".to_owned(),
    ] {
        assert!(described.contains(&words), "no {words:?} in {described}");
    }
    let (report, _) = firebreak(world, &["report", "observed"]).await;
    let opened = report.lines().find(|line| line.contains("**Opened**")).unwrap_or_default();
    assert!(opened.ends_with("| a person |"), "{report}");
}

/// What the server serves in the groups of Kubernetes is in the list, so `check` calls no kind of it unknown.
#[tokio::test]
async fn every_kind_that_kubernetes_serves_is_known_offline() {
    let client = testbed().client().await;
    let groups = client.list_api_groups().await.expect("groups");
    let definitions = client.clone();
    let definitions = kube::Api::<
        k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    >::all(definitions);
    let defined = definitions.list(&kube::api::ListParams::default()).await.expect("definitions");
    let defined: BTreeSet<String> = defined.items.into_iter().map(|each| each.spec.group).collect();
    let mut served: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let versions = groups.groups.iter().filter(|group| !defined.contains(&group.name));
    let versions = versions.flat_map(|group| &group.versions).map(|version| version.group_version.clone());
    for version in versions {
        let list = client.list_api_group_resources(&version).await.expect("resources");
        served.entry(version).or_default().extend(watched(list.resources));
    }
    let core = client.list_core_api_resources("v1").await.expect("resources");
    served.entry("v1".to_owned()).or_default().extend(watched(core.resources));
    served.retain(|_, kinds| !kinds.is_empty());
    // Served by other programs through the aggregation layer.
    served.retain(|version, _| !version.starts_with("metrics.k8s.io/"));
    assert!(served.len() > 15, "{served:#?}");
    for (version, kinds) in served {
        for kind in kinds {
            assert_eq!(built_in::fault(&version, &kind), None);
            assert!(built_in::is_served(&version, &kind), "{version} {kind} is not in the list");
        }
    }
}

fn watched(
    resources: Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource>,
) -> impl Iterator<Item = String> {
    let can = |verbs: &[String], verb: &str| verbs.iter().any(|each| each == verb);
    let is_watched = move |verbs: &[String]| can(verbs, "list") && can(verbs, "watch");
    resources
        .into_iter()
        .filter(move |resource| !resource.name.contains('/') && is_watched(&resource.verbs))
        .map(|resource| resource.kind)
}
