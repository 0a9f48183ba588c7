//! A write gets a bad, late or no answer: no second effect, and no undo is lost.

mod refused;
mod unknowable;
mod unrecorded;

use std::{sync::Arc, time::Duration};

use http::Method;
use serde_json::json;

use crate::{
    drill::{Drill, Models, SpecWrites, change_of, is_apply, is_return, spec_writes},
    support::{
        object::{Object, condition},
        proxy::{Call, Fault, Rule},
        world::World,
    },
};

/// A client gives up after 30 s, and this happens twice.
const SILENCE: Duration = Duration::from_secs(120);

/// Each model gets its fault once when it is changed and once when it is reverted.
async fn survive(name: &str, faults: &[(&str, Fault)]) {
    let drill = Drill::new(name).await;
    let names: Vec<&str> = faults.iter().map(|(name, _)| *name).collect();
    let models = drill.models_named(&names).await;
    let operator = drill.world.operator().start().await;
    let mut hits = Vec::new();
    for (model, fault) in faults {
        for is in [is_apply, is_return] {
            let model = (*model).to_owned();
            let rule = Rule::nth(1, move |call: &Call| is(call, &model), fault.clone());
            hits.push(operator.proxy.on(rule));
        }
    }
    let policy = drill.policy().await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    incident.wait_within(SILENCE, "Mitigated", |object| condition(object, "Mitigated") == Some("True")).await;
    models.wait_until_fallen().await;
    drill.hush().await;
    incident.wait_within(SILENCE, "Resolved", |object| condition(object, "Resolved") == Some("True")).await;

    models.assert_reverted().await;
    for (model, hits) in models.objects.iter().zip(hits.chunks(2)) {
        assert!(hits[0].count() >= 1, "{model}: the fault on the way there was never asked for");
        assert!(hits[1].count() >= 1, "{model}: the fault on the way back was never asked for");
        let once = SpecWrites { applied: 1, returned: 1 };
        assert_eq!(spec_writes(&[operator.proxy.record()], model.name()), once, "{model}");
        let resolved = incident.get().await;
        assert_eq!(change_of(&resolved, model.name())["state"], "Reverted", "{incident}: {model}");
    }
}

#[tokio::test]
async fn bad_answers_both_ways_have_no_second_effect_and_lose_no_undo() {
    let faults = [
        ("applied-and-reply-lost", Fault::LoseReply),
        ("applied-and-reply-cut", Fault::CutReply),
        ("applied-and-504", Fault::answer_after(504)),
        ("applied-and-500", Fault::answer_after(500)),
        ("not-applied-and-504", Fault::answer(504)),
        ("not-applied-and-500", Fault::answer(500)),
        ("not-applied-and-reset", Fault::DropRequest),
        ("not-applied-and-429", Fault::too_many(1)),
        ("not-applied-and-503", Fault::answer(503)),
        ("not-applied-and-409", Fault::answer(409)),
        // As when a proxy sends it twice and passes the second answer on.
        ("applied-and-409", Fault::answer_after(409)),
        ("applied-and-403", Fault::answer_after(403)),
    ];
    survive("s6-answers", &faults).await;
}

#[tokio::test]
async fn silence_both_ways_has_no_second_effect_and_loses_no_undo() {
    let faults = [("applied-and-silence", Fault::SilenceAfter), ("not-applied-and-silence", Fault::Silence)];
    survive("s6-silence", &faults).await;
}

fn hands_ownership_back(call: &Call) -> bool {
    let entries = call.body.as_ref().and_then(|body| body.pointer("/metadata/managedFields"));
    call.writes("llmdeployments") && entries.is_some()
}

/// The claim, the Incident, its journal and the write that hands ownership back: every second write of
/// each gets a bad answer.
#[tokio::test]
async fn bad_answers_to_what_is_written_besides_have_no_second_effect_and_lose_no_undo() {
    let faults = [
        // First one that took no effect. An Incident whose creation got a bad answer and yet took effect is seen,
        // and not created again.
        Fault::answer(500),
        Fault::LoseReply,
        Fault::answer(409),
        Fault::answer_after(504),
        Fault::too_many(1),
        Fault::DropRequest,
        Fault::answer_after(409),
        Fault::CutReply,
    ];
    let kinds: [fn(&Call) -> bool; 4] = [
        |call| call.writes("remediationpolicies"),
        |call| call.method == Method::POST && call.writes("incidents"),
        |call| call.method != Method::POST && call.writes("incidents"),
        hands_ownership_back,
    ];
    let drill = Drill::new("s6-besides").await;
    let models = drill.models(3).await;
    let operator = drill.world.operator().start().await;
    let mut matched = Vec::new();
    for is in kinds {
        for (number, fault) in faults.iter().enumerate() {
            matched.push(operator.proxy.on(Rule::nth(2 * number + 1, is, fault.clone())));
        }
    }
    let policy = drill.policy().await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    incident.wait_within(SILENCE, "Mitigated", |object| condition(object, "Mitigated") == Some("True")).await;
    drill.hush().await;
    incident.wait_within(SILENCE, "Resolved", |object| condition(object, "Resolved") == Some("True")).await;
    drill.assert_one_resolved_incident().await;
    models.assert_reverted().await;
    for model in &models.objects {
        let once = SpecWrites { applied: 1, returned: 1 };
        assert_eq!(spec_writes(&[operator.proxy.record()], model.name()), once, "{model}");
    }
    for (number, of_kind) in matched.chunks(faults.len()).enumerate() {
        assert!(of_kind[0].count() >= 2, "kind {number}: no write was answered badly and done again");
    }
}

/// Writes the label `noise` on the object of the call, so that its version is dead.
fn somebody_comes_first(world: &World) -> Fault {
    let (client, namespace) = (world.client.clone(), world.a.clone());
    Fault::first(move |call: Arc<Call>| {
        let name = &call.target.name;
        let api_version = "inference.llm-d.io/v1alpha1";
        let model = Object::new(&client, api_version, "LLMDeployment", Some(&namespace), name);
        let noise = json!({"metadata": {"annotations": {"noise": call.number.to_string()}}});
        async move { drop(model.merge("alice", noise).await) }
    })
}

#[tokio::test]
async fn a_writer_in_every_gap_is_survived_both_ways() {
    let drill = Drill::new("s6-conflict").await;
    let models = drill.models_named(&["often-disturbed"]).await;
    let operator = drill.world.operator().start().await;
    let conflicts = 3;
    for is in [is_apply, is_return] {
        let is = move |call: &Call| is(call, &call.target.name);
        operator.proxy.on(Rule::first(conflicts, is, somebody_comes_first(&drill.world)));
    }
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    drill.recover(&incident).await;

    let model = &models.objects[0];
    for is in [is_apply, is_return] {
        let tried = |code: u16| {
            let calls = operator.proxy.calls();
            calls.iter().filter(|each| is(&each.call, model.name()) && each.server == Some(code)).count()
        };
        assert_eq!((tried(409), tried(200)), (conflicts, 1), "{model}: conflicts, and what was done");
    }
    // The noise belongs to someone else and stays; nothing else is different.
    model.merge("alice", json!({"metadata": {"annotations": {"noise": null}}})).await;
    let (before, mut after) = (&models.before[0], model.snapshot().await);
    after.managers.retain(|manager| !manager.starts_with("alice/"));
    assert_eq!(after.spec, before.spec, "{model}: spec");
    assert_eq!(after.generation, before.generation + 2, "{model}: generation");
    crate::drill::models::assert_no_trace(model, before, &after);
}

#[tokio::test]
async fn a_throttled_write_waits_as_long_as_it_is_told() {
    let drill = Drill::new("s6-throttle").await;
    let models = drill.models_named(&["throttled"]).await;
    let operator = drill.world.operator().start().await;
    operator.proxy.on(Rule::nth(1, |call| is_apply(call, "throttled"), Fault::too_many(3)));
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    drill.recover(&incident).await;

    let calls = operator.proxy.calls();
    let sent: Vec<_> = calls.iter().filter(|exchange| is_apply(&exchange.call, "throttled")).collect();
    assert_eq!(sent.len(), 2, "{}: one was refused, one was done", models.objects[0]);
    let waited = sent[1].call.at.saturating_sub(sent[0].call.at);
    assert!(waited >= Duration::from_secs(3), "{}: sent again after {waited:?}", models.objects[0]);
    models.assert_reverted().await;
}

#[tokio::test]
async fn noisy_owners_do_not_keep_their_objects_from_being_changed_in_time() {
    let drill = Drill::new("s6-noisy").await;
    let mut stand_in = drill.world.stand_in();
    let models = drill.models(10).await;
    let names: Vec<&str> = models.objects.iter().map(Object::name).collect();
    stand_in.be_noisy(&drill.world.a, &names);
    for model in &models.objects {
        model.wait_until("noisy", |object| object.data["status"]["tick"].as_u64() > Some(2)).await;
    }
    let operator = drill.world.operator().start().await;
    let policy = drill.policy_with(|spec| spec["steps"][0]["timeout"] = json!("50s")).await;
    let incident = drill.respond(&policy).await;
    let applied = incident.get().await;
    for model in &models.objects {
        let change = change_of(&applied, model.name());
        assert!(
            ["Applied", "Verified"].contains(&change["state"].as_str().unwrap_or("-")),
            "{model}: {change}"
        );
    }
    // There is no GPU in this world, so during a recovery in waves the models would never be ready.
    drill.hush().await;
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    incident.wait_for_condition("Resolved", "True").await;
    for (model, before) in models.objects.iter().zip(&models.before) {
        let after = model.snapshot().await;
        assert_eq!(after.spec, before.spec, "{model}: spec");
        assert_eq!(after.generation, before.generation + 2, "{model}: generation");
        assert_eq!(after.traces(), Vec::<&str>::new(), "{model}: traces");
        let once = SpecWrites { applied: 1, returned: 1 };
        assert_eq!(spec_writes(&[operator.proxy.record()], model.name()), once, "{model}");
    }
}

/// A read of this object alone, or of a list with it.
fn reads(call: &Call, name: &str) -> bool {
    call.method == Method::GET
        && call.target.resource == "llmdeployments"
        && (call.target.name == name || call.target.name.is_empty())
}

/// So that a test can look at the models of a drill that are not broken.
fn healthy_ones<'a>(models: &'a Models, broken: &'a str) -> impl Iterator<Item = &'a Object> {
    models.objects.iter().filter(move |model| model.name() != broken)
}
