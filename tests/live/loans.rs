//! Emergency changes are loans: who holds one, who adopts it, and how each of them ends.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{
        self, Drill, Models, change_in, change_of, has_fallen, heartbeats, is_apply, models::serve, times,
        touches,
    },
    support::{
        object::Object,
        proxy::{Fault, Rule},
    },
};

/// The label of the objects that a controller of Flux applies, and the annotation that pauses it.
const KUSTOMIZATION: (&str, &str) =
    ("kustomize.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/reconcile");
const HELM_RELEASE: (&str, &str) = ("helm.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/driftDetection");

/// A model with a field of its own, that serves.
async fn model(drill: &Drill, name: &str, edit: impl FnOnce(&mut Value)) -> Models {
    let mut document = drill::models::document(&drill.world, name);
    edit(&mut document);
    let made = drill.world.apply("flux", &document.to_string()).await;
    serve(&made[0]).await;
    Models::of(made).await
}

/// A step for these models that reduces the batch, and that helps at once or not at all.
fn reduce(name: &str, models: &[&str], batch_size: i64, helps: bool) -> Value {
    let mut step = json!({"name": name, "settle": "100ms", "retries": 0, "action": {"reduceBatch": {
        "targets": {"apiVersion": "inference.llm-d.io/v1alpha1", "kind": "LLMDeployment", "names": models},
        "batchSize": batch_size,
    }}});
    if helps {
        let expression = "signals.alarm.total == 1";
        step["verify"] = json!({"within": "30s", "checks": [{"cel": {"expression": expression}}]});
    }
    step
}

fn batch(model: &mut Value) {
    model["spec"]["serving"] = json!({"batchSize": 32, "maxConcurrency": 8});
}

async fn wait_for_state(incident: &Object, name: &str, state: &str) -> DynamicObject {
    incident.wait_until(&format!("{name}: {state}"), |seen| change_of(seen, name)["state"] == state).await
}

async fn assert_as_before(models: &Models, number: usize, writes: i64) {
    let (model, before) = (&models.objects[number], &models.before[number]);
    let after = model.snapshot().await;
    assert_eq!(after.spec, before.spec, "{model}: spec");
    assert_eq!(after.generation, before.generation + writes, "{model}: generation");
    drill::models::assert_no_trace(model, before, &after);
}

#[tokio::test]
async fn what_one_incident_holds_another_leaves_alone_until_it_ends_and_then_changes() {
    let drill = Drill::new("loans-held").await;
    let models = drill.models(1).await;
    let operator = drill.quick_operator().await;
    let policy = drill.policy().await;
    let first = drill.respond(&policy).await;
    models.wait_until_fallen().await;

    let siren = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"rings": "yes"},
                       "metadata": {"name": "siren", "namespace": drill.world.a}});
    let siren = drill.world.create("harness", &siren.to_string()).await.remove(0);
    let mut other = drill::policy_manifest(|spec| {
        spec["signals"][0]["objects"]["names"] = json!(["siren"]);
        spec["severity"][0]["reason"] = json!("SirenRings");
    });
    other["metadata"]["name"] = json!("other");
    let other = drill.world.apply("flux", &other.to_string()).await.remove(0);
    let second = drill.world.incident_of(&other).await;
    let held = wait_for_state(&second, "model-0", "Skipped").await;
    let change = change_of(&held, "model-0");
    assert_eq!(change["reason"], "HeldBy", "{second}: {change}");
    let message = change["message"].as_str().unwrap_or_default();
    assert!(message.contains(first.name()), "{second}: {message:?} names nobody");
    heartbeats(&operator, 2).await;
    assert_eq!(change_of(&second.get().await, "model-0")["state"], "Skipped", "{second}");

    drill.recover(&first).await;
    second.wait_for_condition("Mitigated", "True").await;
    models.wait_until_fallen().await;
    siren.merge("harness", json!({"data": {"rings": "no"}})).await;
    second.wait_for_condition("Resolved", "True").await;
    assert_as_before(&models, 0, 4).await;
}

#[tokio::test]
async fn changes_of_deleted_incidents_are_adopted_and_reverted_to_the_oldest_value() {
    let drill = Drill::new("loans-orphan").await;
    let models = drill.models(1).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let mut gone: Option<Object> = None;
    for _ in 0..2 {
        let incident = drill.respond(&policy).await;
        models.wait_until_fallen().await;
        if let Some(gone) = gone {
            let timeline = incident.get().await.data["status"]["timeline"].to_string();
            assert!(timeline.contains("Adopted") && timeline.contains(gone.name()), "{incident}: {timeline}");
        }
        drill.abandon(&incident).await;
        drill.hush().await;
        policy.wait_until("waits no more", |policy| policy.data["status"].get("waitingFor").is_none()).await;
        assert!(has_fallen(&models.objects[0].get().await.data), "model-0: it was let go");
        gone = Some(incident);
    }
    let last = drill.respond(&policy).await;
    let adopted = last.get().await;
    assert_eq!(times(&adopted, "Adopted"), 1, "{last}");
    drill.recover(&last).await;
    // Down and up: what was adopted was already changed.
    assert_as_before(&models, 0, 2).await;
}

#[tokio::test]
async fn two_steps_on_one_field_keep_the_value_from_before_and_it_goes_back_once() {
    let drill = Drill::new("loans-twice").await;
    let models = model(&drill, "model-0", batch).await;
    let operator = drill.world.operator().start().await;
    let names = ["model-0"];
    let steps = json!([reduce("half", &names, 16, false), reduce("least", &names, 1, true)]);
    let policy = drill.policy_with(|spec| spec["steps"] = steps).await;
    let incident = drill.respond(&policy).await;
    let seen = incident.get().await;
    let (half, least) =
        (change_in(&seen, "half", "model-0").clone(), change_in(&seen, "least", "model-0").clone());
    let field = &least["fields"][0];
    assert_eq!((&field["before"], &field["after"]), (&json!(32), &json!(1)), "{incident}: {least}");
    assert!(!half.to_string().contains("batchSize"), "{incident}: {half}");

    let resolved = drill.recover(&incident).await;
    for step in ["half", "least"] {
        assert_eq!(change_in(&resolved, step, "model-0")["state"], "Reverted", "{incident}: {step}");
    }
    // 16, 1 and 32, and every other write was about metadata alone.
    assert_as_before(&models, 0, 3).await;
    let sizes: Vec<Value> = operator
        .proxy
        .writes()
        .iter()
        .filter(|exchange| touches(&exchange.call, "model-0"))
        .filter_map(|exchange| exchange.call.body.as_ref()?.pointer("/spec/serving/batchSize").cloned())
        .collect();
    assert_eq!(sizes, [json!(16), json!(1), json!(32)], "{incident}");
}

/// Two models and two steps; the first step is rejected for one of them.
async fn with_a_failure(name: &str, on_failure: &str) {
    let drill = Drill::new(name).await;
    let mut models = model(&drill, "allowed", batch).await;
    let refused = model(&drill, "refused", batch).await;
    models.objects.extend(refused.objects);
    models.before.extend(refused.before);
    let operator = drill.quick_operator().await;
    operator.proxy.on(Rule::each(|call| is_apply(call, "refused"), Fault::answer(403)));
    let policy = drill
        .policy_with(|spec| {
            let mut first = reduce("first", &["allowed", "refused"], 16, false);
            first["onFailure"] = json!(on_failure);
            spec["steps"] = json!([first, reduce("second", &["allowed"], 1, true)]);
        })
        .await;
    // The next step is tried and helps, whatever happened to this one.
    let incident = drill.respond(&policy).await;
    heartbeats(&operator, 2).await;
    let seen = incident.get().await;
    let of_first = |name: &str| change_in(&seen, "first", name)["state"].clone();
    assert_eq!(of_first("refused"), "Failed", "{incident}");
    let (state, before) = match on_failure {
        "Revert" => ("Reverted", 32),
        _ => ("Applied", 32),
    };
    assert_eq!(of_first("allowed"), state, "{incident}");
    let second = change_in(&seen, "second", "allowed");
    assert_eq!(second["fields"][0]["before"], before, "{incident}: {second}");

    drill.recover(&incident).await;
    // Apply and revert for each step, or one revert for both.
    assert_as_before(&models, 0, if on_failure == "Revert" { 4 } else { 3 }).await;
    assert_as_before(&models, 1, 0).await;
}

#[tokio::test]
async fn a_step_that_failed_and_says_continue_stays_and_the_next_one_follows() {
    with_a_failure("loans-continue", "Continue").await;
}

#[tokio::test]
async fn a_step_that_failed_and_says_revert_goes_back_and_the_next_one_follows() {
    with_a_failure("loans-revert", "Revert").await;
}

#[tokio::test]
async fn a_step_that_never_goes_back_is_kept_and_leaves_its_value_and_no_record() {
    let drill = Drill::new("loans-kept").await;
    let models = drill.models(2).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            let mut kept = spec["steps"][0].clone();
            kept["name"] = json!("kept");
            kept["revert"] = json!("Never");
            kept["settle"] = json!("100ms");
            kept.as_object_mut().expect("a step").remove("verify");
            kept["action"]["cpuFallback"]["targets"]["names"] = json!(["model-0"]);
            spec["steps"][0]["action"]["cpuFallback"]["targets"]["names"] = json!(["model-1"]);
            spec["steps"].as_array_mut().expect("a list").insert(0, kept);
        })
        .await;
    let incident = drill.respond(&policy).await;
    let resolved = drill.recover(&incident).await;
    assert_eq!(change_of(&resolved, "model-0")["state"], "Kept", "{incident}");
    assert_eq!(change_of(&resolved, "model-1")["state"], "Reverted", "{incident}");
    let (model, before) = (&models.objects[0], &models.before[0]);
    let after = model.snapshot().await;
    assert_eq!(after.spec, drill::models::fallen_spec(&before.spec), "{model}: spec");
    assert_eq!(after.generation, before.generation + 1, "{model}: generation");
    assert_eq!((after.traces(), &after.labels), (Vec::new(), &before.labels), "{model}");
    assert_as_before(&models, 1, 2).await;
}

/// The annotations that pause a controller of Flux.
fn pauses(model: &DynamicObject) -> Vec<(&'static str, &str)> {
    let value = |key: &'static str| Some((key, model.metadata.annotations.as_ref()?.get(key)?.as_str()));
    [KUSTOMIZATION.1, HELM_RELEASE.1].into_iter().filter_map(value).collect()
}

#[tokio::test]
async fn flux_is_paused_for_as_long_as_the_loan_lasts_and_stays_paused_where_it_was() {
    let drill = Drill::new("loans-flux").await;
    let cases = [
        ("flows", KUSTOMIZATION, None),
        ("says-so", KUSTOMIZATION, Some("enabled")),
        ("paused", KUSTOMIZATION, Some("disabled")),
        ("released", HELM_RELEASE, None),
        ("paused-release", HELM_RELEASE, Some("disabled")),
    ];
    let mut all = Vec::new();
    for (name, (label, annotation), before) in cases {
        let edit = |document: &mut Value| {
            document["metadata"]["labels"][label] = json!("apps");
            if let Some(before) = before {
                document["metadata"]["annotations"][annotation] = json!(before);
            }
        };
        all.push(model(&drill, name, edit).await);
    }
    let not_of_flux = drill.models_named(&["by-hand"]).await;
    let operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    for ((_, controller, _), models) in cases.iter().zip(&all) {
        let model = &models.objects[0];
        assert_eq!(pauses(&model.get().await), [(controller.1, "disabled")], "{model}");
    }
    assert_eq!(pauses(&not_of_flux.objects[0].get().await), [], "Flux has nothing to do with it");
    // In the write that takes the loan, so that Flux never sees one without the other.
    let calls = operator.proxy.calls();
    for (name, (_, annotation)) in [("flows", KUSTOMIZATION), ("released", HELM_RELEASE)] {
        let apply = calls.iter().find(|exchange| is_apply(&exchange.call, name)).expect("a loan");
        let body = apply.call.body.as_ref().expect("a patch");
        assert_eq!(body["metadata"]["annotations"][annotation], "disabled", "{body}");
    }

    drill.recover(&incident).await;
    for models in all.iter().chain([&not_of_flux]) {
        models.assert_reverted().await;
    }
    for ((_, (_, annotation), before), models) in cases.iter().zip(&all) {
        let before: Vec<_> = before.iter().map(|before| (*annotation, *before)).collect();
        assert_eq!(pauses(&models.objects[0].get().await), before, "{}", models.objects[0]);
    }
}

#[tokio::test]
async fn who_reads_the_plan_or_the_timeline_is_warned_of_argo_cd() {
    let drill = Drill::new("loans-argo").await;
    let of_argo = |document: &mut Value| {
        document["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] = json!("serving:model");
    };
    let models = model(&drill, "model-0", of_argo).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let words = ["Argo CD", "ignoreDifferences", "RespectIgnoreDifferences", "nvidia.com/gpu"];
    let plan = drill.world.firebreak(&["plan", policy.name(), "-n", &drill.world.a]).await;
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    for word in words {
        assert!(plan.contains(word), "no {word} in the plan:\n{plan}");
    }
    let incident = drill.respond(&policy).await;
    let seen = incident.get().await;
    assert_eq!(times(&seen, "GitOpsWarning"), 1, "{incident}");
    let timeline = seen.data["status"]["timeline"].to_string();
    for word in words {
        assert!(timeline.contains(word), "{incident}: no {word} in {timeline}");
    }
    drill.recover(&incident).await;
    models.assert_reverted().await;
}
