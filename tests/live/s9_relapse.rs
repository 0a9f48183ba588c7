//! An emergency that returns while the response is being reverted: it is applied again, the quiet time grows,
//! and finally a person decides. No more than one wave is ever at risk.

use jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{
        self, Drill, History, Models, SpecWrites, change_in, has_fallen, heartbeats, is_stalled, message_of,
        models::serve, spec_writes, times,
    },
    support::{object::Object, operator::Operator},
};

/// The writes of the server to all of these together.
fn writes(operator: &Operator, models: &Models) -> SpecWrites {
    let mut sum = SpecWrites::default();
    for model in &models.objects {
        let of_model = spec_writes(&[operator.proxy.record()], model.name());
        sum = SpecWrites {
            applied: sum.applied + of_model.applied,
            returned: sum.returned + of_model.returned,
        };
    }
    sum
}

async fn assert_as_before(models: &Models) {
    for (model, before) in models.objects.iter().zip(&models.before) {
        let after = model.snapshot().await;
        assert_eq!(after.spec, before.spec, "{model}: spec");
        drill::models::assert_no_trace(model, before, &after);
    }
}

/// How many changes are in this state.
fn number(incident: &DynamicObject, state: &str) -> usize {
    let changes = incident.data["status"]["changes"].as_array().map_or(&[][..], Vec::as_slice);
    changes.iter().filter(|change| change["state"] == state).count()
}

/// How long the rule must be quiet, from when it was on.
fn quiet_time(incident: &DynamicObject) -> SignedDuration {
    let time = |value: &Value| value.as_str().expect("a time").parse::<Timestamp>().expect("a time");
    let status = &incident.data["status"];
    time(&status["quietUntil"]).duration_since(time(&status["rules"][0]["since"]))
}

async fn withdraw(incident: &Object) {
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    let resolved = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(resolved.data["status"]["closing"], "Withdrawn", "{incident}");
}

#[tokio::test]
async fn a_rule_that_holds_again_takes_the_withdrawal_back_and_after_the_last_time_a_person_decides() {
    let drill = Drill::new("s9-relapse").await;
    let models = drill.models(3).await;
    let operator = drill.quick_operator().await;
    let recovery = json!({"for": "1s", "between": "5m", "maxAtOnce": 100, "relapses": 2});
    let policy = drill.policy_with(|spec| spec["recovery"] = recovery).await;
    let incident = drill.respond(&policy).await;
    models.wait_until_fallen().await;
    for relapse in [1, 2] {
        drill.hush().await;
        let quiet =
            incident.wait_until("is quiet", |seen| seen.data["status"]["quietUntil"].is_string()).await;
        // Longer after each relapse.
        assert_eq!(quiet_time(&quiet), SignedDuration::from_secs(relapse), "{incident}");
        let is_back = |seen: &DynamicObject| number(seen, "Reverted") == 1 && number(seen, "Verified") == 2;
        incident.wait_until("one of three is back", is_back).await;
        drill.ring().await;
        let relapsed = |seen: &DynamicObject| {
            seen.data["status"]["relapses"] == relapse && number(seen, "Verified") == 3
        };
        let seen = incident.wait_until("everything is in force again", relapsed).await;
        assert_eq!(times(&seen, "Relapse"), usize::try_from(relapse).expect("small"), "{incident}");
        models.wait_until_fallen().await;
    }

    let held = incident.wait_until("Held", |incident| is_stalled(incident, "Relapsed")).await;
    assert_eq!(held.data["status"]["phase"], "Held", "{incident}");
    let message = message_of(&held, "Stalled");
    for words in ["withdrawn 2 time(s)", "the workload needs this change", "firebreak withdraw"] {
        assert!(message.contains(words), "{incident}: no {words} in {message:?}");
    }
    assert_eq!(writes(&operator, &models), SpecWrites { applied: 5, returned: 2 }, "{incident}");
    // Quiet no longer helps.
    drill.hush().await;
    heartbeats(&operator, 6).await;
    assert!(is_stalled(&incident.get().await, "Relapsed"), "{incident}");
    assert_eq!(writes(&operator, &models), SpecWrites { applied: 5, returned: 2 }, "{incident}");

    withdraw(&incident).await;
    assert_eq!(writes(&operator, &models), SpecWrites { applied: 5, returned: 5 }, "{incident}");
    assert_as_before(&models).await;
}

#[tokio::test]
async fn a_wave_that_does_not_get_healthy_is_applied_again_though_no_rule_holds() {
    let drill = Drill::new("s9-unhealthy").await;
    let models = drill.models(2).await;
    let operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            spec["steps"][0]["timeout"] = json!("3s");
            spec["steps"][0]["verify"]["within"] = json!("1s");
        })
        .await;
    let incident = drill.respond(&policy).await;
    models.wait_until_fallen().await;
    // They are healthy with the change, and nobody serves what comes after it.
    let serving = json!({"status": {"phase": "Ready", "observedGeneration": 2}});
    for model in &models.objects {
        model.merge_status("llm-d-operator", serving.clone()).await;
    }
    drill.hush().await;
    let relapsed = incident.wait_until("a relapse", |seen| times(seen, "Relapse") == 1).await;
    assert_eq!(relapsed.data["status"]["rules"][0]["truth"], "False", "{incident}");
    let timeline = relapsed.data["status"]["timeline"].to_string();
    assert!(timeline.contains("reverted, but not healthy"), "{incident}: {timeline}");
    models.wait_until_fallen().await;
    for model in &models.objects {
        serve(model).await;
    }

    let resolved = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(resolved.data["status"]["closing"], "Recovered", "{incident}");
    assert_eq!(writes(&operator, &models), SpecWrites { applied: 3, returned: 3 }, "one of two went twice");
    assert_as_before(&models).await;
}

/// The waves of 40 models, and how many are reverted after each.
const WAVES: [usize; 4] = [1, 13, 13, 13];

/// Whether the model runs with its GPUs, after it ran without.
fn is_back(model: &DynamicObject) -> bool {
    model.metadata.generation == Some(3) && !has_fallen(&model.data)
}

/// Whether it is reverted and its own operator has not observed it yet.
fn is_sick(model: &DynamicObject) -> bool {
    is_back(model) && model.data["status"]["observedGeneration"] != json!(model.metadata.generation)
}

/// The newest state of each model that satisfies the predicate.
fn newest(states: &[DynamicObject], is: impl Fn(&DynamicObject) -> bool) -> Vec<String> {
    let mut newest = std::collections::BTreeMap::new();
    for state in states {
        newest.insert(state.metadata.name.clone().unwrap_or_default(), state);
    }
    newest.into_iter().filter(|(_, state)| is(state)).map(|(name, _)| name).collect()
}

/// The operator of the models reports that it has observed the present model.
async fn heal(drill: &Drill, name: &str, generation: i64) {
    let status = json!({"status": {"phase": "Ready", "observedGeneration": generation}});
    drill.world.llm_deployment(&drill.world.a, name).merge_status("llm-d-operator", status).await;
}

#[tokio::test]
async fn forty_models_go_back_in_waves_and_never_more_than_one_is_not_healthy() {
    let drill = Drill::new("s9-waves").await;
    let models = drill.models(40).await;
    let operator = drill.quick_operator().await;
    let recovery = json!({"for": "1s", "between": "0s", "maxAtOnce": 13});
    let policy = drill.policy_with(|spec| spec["recovery"] = recovery).await;
    let history = History::of(&drill.world, "inference.llm-d.io/v1alpha1", "LLMDeployment");
    let incident = drill.respond(&policy).await;
    models.wait_until_fallen().await;
    for model in &models.objects {
        assert_eq!(model.get().await.metadata.generation, Some(2), "{model}");
        heal(&drill, model.name(), 2).await;
    }

    drill.hush().await;
    let mut back = 0;
    for wave in WAVES {
        back += wave;
        history.wait_until(&format!("{back} are back"), |seen| newest(seen, is_back).len() >= back).await;
        // Time for more, if there were any.
        heartbeats(&operator, 2).await;
        let so_far = writes(&operator, &models).returned;
        assert_eq!(so_far, back, "{incident}: reverted before the last wave was healthy");
        let mut of_wave = Vec::new();
        let is_whole = |seen: &[DynamicObject]| {
            of_wave = newest(seen, is_sick);
            of_wave.len() == wave
        };
        history.wait_until("the sick ones of the wave", is_whole).await;
        for name in of_wave {
            heal(&drill, &name, 3).await;
        }
    }
    incident.wait_for_condition("Resolved", "True").await;
    let states = history.up_to_now(&models.objects[39]).await;
    let most = (1..=states.len()).map(|moment| newest(&states[..moment], is_sick).len()).max();
    assert_eq!(most, Some(13), "{incident}: back and not healthy at one moment");
    assert_eq!(writes(&operator, &models), SpecWrites { applied: 40, returned: 40 }, "{incident}");
    models.assert_reverted().await;
}

/// A first step for every level, and one for P0 alone.
fn two_steps(spec: &mut Value) {
    drill::two_levels(spec);
    let mut harsh = spec["steps"][0].clone();
    harsh["name"] = json!("harsh");
    harsh["severities"] = json!(["P0"]);
    harsh["action"]["cpuFallback"]["targets"]["names"] = json!(["harsh"]);
    let mut gentle = spec["steps"][0].clone();
    gentle["name"] = json!("gentle");
    gentle["action"]["cpuFallback"]["targets"]["names"] = json!(["gentle"]);
    gentle.as_object_mut().expect("a step").remove("verify");
    gentle["settle"] = json!("100ms");
    spec["steps"] = json!([gentle, harsh]);
}

#[tokio::test]
async fn a_step_for_p0_alone_goes_back_when_the_severity_falls_and_is_applied_again_when_it_rises() {
    let drill = Drill::new("s9-falls").await;
    let models = drill.models_named(&["gentle", "harsh"]).await;
    let operator = drill.quick_operator().await;
    let policy = drill.policy_with(two_steps).await;
    drill.ring_like("loud").await;
    let incident = drill.world.incident_of(&policy).await;
    let state = |seen: &DynamicObject, step: &str| change_in(seen, step, step)["state"].clone();
    let is_in_force = |seen: &DynamicObject| state(seen, "harsh") == "Verified";
    let both = incident.wait_until("both steps", is_in_force).await;
    assert_eq!(both.data["status"]["severity"], "P0", "{incident}");

    drill.ring_like("yes").await;
    let fell = |seen: &DynamicObject| state(seen, "harsh") == "Reverted" && times(seen, "WaveReturned") == 1;
    let fallen = incident.wait_until("the step for P0 is back", fell).await;
    assert_eq!(fallen.data["status"]["severity"], "P2", "{incident}");
    heartbeats(&operator, 4).await;
    let fallen = incident.get().await;
    assert_eq!((state(&fallen, "harsh"), state(&fallen, "gentle")), (json!("Reverted"), json!("Applied")));
    assert_eq!(times(&fallen, "Relapse"), 0, "{incident}: a P2 that goes on is no relapse");

    drill.ring_like("loud").await;
    let risen = incident.wait_until("applied again", is_in_force).await;
    assert_eq!((times(&risen, "Relapse"), &risen.data["status"]["relapses"]), (1, &json!(1)), "{incident}");
    assert!(has_fallen(&models.objects[1].get().await.data), "harsh");

    let resolved = drill.recover(&incident).await;
    assert_eq!(resolved.data["status"]["worstSeverity"], "P0", "{incident}");
    for (model, rounds) in models.objects.iter().zip([1, 2]) {
        let done = SpecWrites { applied: rounds, returned: rounds };
        assert_eq!(spec_writes(&[operator.proxy.record()], model.name()), done, "{model}");
    }
    assert_as_before(&models).await;
}
