//! The object itself has the record that undoes the change: neither the operator nor
//! the Incident is needed.

use std::{fs, process::Output};

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{Drill, Models, has_rolled_out, models},
    room,
    support::{
        nodes::Nodes,
        object::{Object, Snapshot},
        operator::Operator,
    },
};

const DOCUMENT: &str = include_str!("../../docs/uninstall.md");

/// Models that have fallen back, without an operator that would revert them.
async fn abandoned(name: &str) -> (Drill, Models) {
    let drill = Drill::new(name).await;
    let models = drill.models(2).await;
    let operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    models.wait_until_fallen().await;
    forsake(operator, &incident, &policy).await;
    (drill, models)
}

/// The operator and the Incident are gone, without a revert.
async fn forsake(operator: Operator, incident: &Object, policy: &Object) {
    operator.stop().await;
    incident.merge("alice", json!({"metadata": {"finalizers": null}})).await;
    incident.delete().await;
    incident.wait_until_gone().await;
    policy.delete().await;
}

async fn undo(drill: &Drill, model: &Object, more: &[&str]) -> Output {
    let target = format!("llmdeployment/{}", model.name());
    drill.world.firebreak(&[&["undo", &target, "--namespace", &drill.world.a], more].concat()).await
}

fn text(output: &Output) -> String {
    let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{} {}", part(&output.stdout), part(&output.stderr))
}

#[tokio::test]
async fn undo_puts_an_object_back_without_operator_and_incident() {
    let (drill, models) = abandoned("s13-undo").await;
    for model in &models.objects {
        let done = undo(&drill, model, &[]).await;
        assert!(done.status.success(), "undo {model}: {}", text(&done));
    }
    models.assert_reverted().await;

    // A second time there is nothing to do, which is reported and does no harm.
    let model = &models.objects[0];
    let version = model.snapshot().await.version;
    let again = undo(&drill, model, &[]).await;
    assert_eq!(again.status.code(), Some(1), "undo {model} again: {}", text(&again));
    assert_eq!(model.snapshot().await.version, version, "{model} was written again");
}

/// A Deployment that fills the only node, and has fallen back without a surge.
struct Fallen {
    drill: Drill,
    node: Nodes,
    chat: Object,
    before: Snapshot,
    operator: Operator,
    incident: Object,
    policy: Object,
}

async fn fallen_in_place(name: &str) -> Fallen {
    let drill = room::drill(name).await;
    let node = drill.world.gpu_nodes(1).await;
    let manifest = room::server(&drill, "Deployment", "chat", "600Gi", "8", room::with_surge());
    let chat = room::running(&drill, manifest).await;
    chat.wait_until("rolled out", has_rolled_out).await;
    let before = chat.snapshot().await;
    let operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            let mut step = room::step("chat", "cpuFallback", "Deployment", json!({"placement": "Keep"}));
            step["verify"]["within"] = json!("1m");
            spec["steps"] = json!([step]);
        })
        .await;
    let incident = drill.respond(&policy).await;
    Fallen { drill, node, chat, before, operator, incident, policy }
}

/// The pace of a Deployment whose template is back.
fn pace_while_back(object: &DynamicObject) -> Option<Value> {
    let spec = &object.data["spec"];
    let limits = &spec["template"]["spec"]["containers"][0]["resources"]["limits"];
    (limits["nvidia.com/gpu"] == json!("8")).then(|| spec["strategy"]["rollingUpdate"].clone())
}

async fn undo_deployment(drill: &Drill) -> Output {
    drill.world.firebreak(&["undo", "deployment/chat", "--namespace", &drill.world.a]).await
}

/// It is as before, after this many changes of its spec.
async fn assert_as_before(chat: &Object, before: &Snapshot, changes: i64) {
    let after = chat.snapshot().await;
    assert_eq!((&after.spec, after.traces()), (&before.spec, Vec::new()), "{chat}");
    assert_eq!(after.generation, before.generation + changes, "{chat}: generation");
    assert_eq!(after.managers, before.managers, "{chat}: managers");
}

#[tokio::test]
async fn undo_reverts_the_pace_of_a_rollout_when_the_template_has_rolled_out() {
    let Fallen { drill, node: _node, chat, before, operator, incident, policy } =
        fallen_in_place("s13-pace").await;
    forsake(operator, &incident, &policy).await;
    let seen = tokio::spawn({
        let chat = chat.clone();
        async move { chat.wait_until("the template is back", |object| pace_while_back(object).is_some()).await }
    });
    let done = undo_deployment(&drill).await;
    assert!(done.status.success(), "undo {chat}: {}", text(&done));
    let seen = seen.await.expect("it was seen");
    let pace = json!({"maxSurge": 0, "maxUnavailable": 1});
    assert_eq!(pace_while_back(&seen), Some(pace), "{chat}: the pace goes back after the template");
    assert_as_before(&chat, &before, 3).await;
    for field in ["maxSurge", "maxUnavailable", "nvidia.com~1gpu"] {
        assert!(text(&done).contains(field), "undo {chat}: no {field} in {}", text(&done));
    }
}

#[tokio::test]
async fn undo_continues_between_the_two_writes_of_a_revert() {
    let fallen = fallen_in_place("s13-half").await;
    let Fallen { drill, node, chat, before, operator, incident, policy } = fallen;
    // Without its node, the template that is back does not roll out.
    node.delete().await;
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    let is_half = |object: &DynamicObject| pace_while_back(object).is_some();
    chat.wait_until("the template is back", is_half).await;
    forsake(operator, &incident, &policy).await;
    assert_eq!(
        pace_while_back(&chat.get().await),
        Some(json!({"maxSurge": 0, "maxUnavailable": 1})),
        "{chat}"
    );
    let has_surge =
        |object: &DynamicObject| object.data["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == json!(1);
    let returned = chat.wait_until("the pace is back", has_surge);
    // The node comes back while the command waits.
    let (done, returned, _node) = tokio::join!(undo_deployment(&drill), returned, drill.world.gpu_nodes(1));
    assert!(done.status.success(), "undo {chat}: {}", text(&done));
    assert_eq!(
        returned.data["status"]["availableReplicas"],
        json!(1),
        "{chat}: the template had not rolled out"
    );
    assert_as_before(&chat, &before, 3).await;
}

#[tokio::test]
async fn undo_leaves_alone_what_somebody_else_has_changed_and_says_so() {
    let (drill, models) = abandoned("s13-theirs").await;
    let (model, before) = (&models.objects[0], &models.before[0]);
    model.merge("kubectl-edit", json!({"spec": {"resources": {"limits": {"nvidia.com/gpu": "3"}}}})).await;
    let done = undo(&drill, model, &[]).await;
    assert!(text(&done).contains("kubectl-edit"), "undo {model}: nobody is named: {}", text(&done));
    let mut expected = before.spec.clone();
    expected["resources"]["limits"]["nvidia.com/gpu"] = json!("3");
    expected["resources"]["requests"]["nvidia.com/gpu"] = json!("0");
    let after = model.snapshot().await;
    assert_eq!(after.spec, expected, "{model}: spec");
    assert_eq!(after.traces(), Vec::<&str>::new(), "{model}: traces");
}

/// The object as docs/uninstall.md tells people to edit it.
fn edited(object: &str) -> String {
    let mut object: Value = serde_json::from_str(object).expect("an object");
    let record = object["metadata"]["annotations"]["firebreak.dev/undo"].as_str().expect("a record");
    let record: Value = serde_json::from_str(record).expect("JSON");
    let loans = record["loans"].as_array().expect("loans").iter();
    for field in loans.flat_map(|loan| loan["fields"].as_array().expect("fields")) {
        let (parent, name) = field["path"].as_str().and_then(|path| path.rsplit_once('/')).expect("a path");
        let name = name.replace("~1", "/");
        let parent = object.pointer_mut(parent).and_then(Value::as_object_mut).expect("a map");
        assert_eq!(parent.get(&name), field.get("after"), "{}: the record has another value", field["path"]);
        match field.get("before") {
            Some(before) => parent.insert(name, before.clone()),
            None => parent.remove(&name),
        };
    }
    for (map, key) in [("annotations", "undo"), ("labels", "incident"), ("annotations", "fence")] {
        let map = object["metadata"][map].as_object_mut().expect("a map");
        map.remove(&format!("firebreak.dev/{key}"));
    }
    object.to_string()
}

#[tokio::test]
async fn an_object_is_reverted_with_kubectl_alone_as_it_is_documented() {
    for command in ["kubectl get KIND NAME -n NS -o yaml > object.yaml", "kubectl replace -f object.yaml"] {
        assert!(DOCUMENT.contains(command), "{command} is not documented");
    }
    let (drill, models) = abandoned("s13-by-hand").await;
    let (model, before) = (&models.objects[0], &models.before[0]);
    let file = drill.world.files().join("object.json");
    let target = format!("llmdeployment/{}", model.name());
    let read = ["get", &target, "--namespace", &drill.world.a, "--output", "json"];
    let path = file.display().to_string();
    let replace = ["replace", "--filename", &path];

    // Someone else's edit in between is not overwritten: the API server rejects the file.
    fs::write(&file, edited(&drill.world.kubectl(&read).await)).expect("a file");
    model.merge("kubectl-edit", json!({"metadata": {"annotations": {"edited": "yes"}}})).await;
    let refused = drill.world.kubectl_answer(&replace).await;
    assert!(text(&refused).contains("the object has been modified"), "{model}: {}", text(&refused));
    fs::write(&file, edited(&drill.world.kubectl(&read).await)).expect("a file");
    drill.world.kubectl(&replace).await;
    let after = model.snapshot().await;
    assert_eq!(after.spec, before.spec, "{model}: spec");
    assert_eq!(after.traces(), Vec::<&str>::new(), "{model}: traces");
    assert_eq!(after.annotations.get("edited").map(String::as_str), Some("yes"), "{model}: the edit");
}

#[tokio::test]
async fn undo_applies_no_record_without_its_label() {
    let (drill, models) = abandoned("s13-leftover").await;
    let model = &models.objects[0];
    // As `kubectl rollout undo` restores it: annotations, and no labels.
    model.merge("kubectl-rollout", json!({"metadata": {"labels": {"firebreak.dev/incident": null}}})).await;
    let leftover = model.snapshot().await;
    let refused = undo(&drill, model, &[]).await;
    assert_eq!(refused.status.code(), Some(1), "undo {model}: {}", text(&refused));
    for word in ["without its label", "--forget"] {
        assert!(text(&refused).contains(word), "undo {model}: no {word} in {}", text(&refused));
    }
    assert_eq!(model.snapshot().await, leftover, "{model}: undo wrote to it");

    let done = undo(&drill, model, &["--forget"]).await;
    assert!(done.status.success(), "undo {model} --forget: {}", text(&done));
    let after = model.snapshot().await;
    assert_eq!(after.spec, leftover.spec, "{model}: spec");
    assert_eq!(after.traces(), Vec::<&str>::new(), "{model}: traces");
}

#[tokio::test]
async fn undo_leaves_alone_a_quantization_of_which_somebody_else_has_changed_a_part() {
    let (drill, models) = abandoned("s13-group").await;
    let (model, before) = (&models.objects[0], &models.before[0]);
    model.merge("kubectl-edit", json!({"spec": {"model": {"quantization": {"precision": "int4"}}}})).await;
    let done = undo(&drill, model, &[]).await;
    assert!(text(&done).contains("kubectl-edit"), "undo {model}: nobody is named: {}", text(&done));
    let mut expected = before.spec.clone();
    expected["model"]["quantization"] = json!({"enabled": true, "precision": "int4"});
    let after = model.snapshot().await;
    assert_eq!(after.spec, expected, "{model}: spec");
}

#[tokio::test]
async fn undo_forget_drops_the_record_and_changes_nothing_else() {
    let (drill, models) = abandoned("s13-forget").await;
    let (model, before) = (&models.objects[0], &models.before[0]);
    let done = undo(&drill, model, &["--forget"]).await;
    assert!(done.status.success(), "undo {model} --forget: {}", text(&done));
    let after = model.snapshot().await;
    assert_eq!(after.spec, models::fallen_spec(&before.spec), "{model}: spec");
    assert_eq!(after.generation, before.generation + 1, "{model}: generation");
    assert_eq!(after.traces(), Vec::<&str>::new(), "{model}: traces");
}

#[tokio::test]
async fn undo_forget_drops_a_record_that_does_not_parse() {
    let drill = Drill::new("s13-broken").await;
    let models = drill.models(1).await;
    let (model, before) = (&models.objects[0], &models.before[0]);
    model.merge("mallory", json!({"metadata": {"annotations": {"firebreak.dev/undo": "{"}}})).await;
    let refused = undo(&drill, model, &[]).await;
    assert_eq!(refused.status.code(), Some(1), "undo {model}: {}", text(&refused));
    assert!(text(&refused).contains("--forget"), "undo {model}: no way out in {}", text(&refused));
    let done = undo(&drill, model, &["--forget"]).await;
    assert!(done.status.success(), "undo {model} --forget: {}", text(&done));
    let after = model.snapshot().await;
    assert_eq!((&after.spec, after.generation), (&before.spec, before.generation), "{model}");
    assert_eq!(after.traces(), Vec::<&str>::new(), "{model}: traces");
}

#[tokio::test]
async fn undo_of_what_does_not_exist_fails_in_one_line() {
    let drill = Drill::new("s13-none").await;
    let arguments = ["undo", "llmdeployment/none", "--namespace", &drill.world.a];
    let failed = drill.world.firebreak(&arguments).await;
    assert_eq!(failed.status.code(), Some(1), "{}", text(&failed));
    let stderr = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(stderr.lines().count(), 1, "one line: {stderr}");
    assert!(stderr.contains("none"), "the object is not named: {stderr}");
}
