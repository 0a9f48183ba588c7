//! A person's decisions from the command line, with a real operator and exactly the permissions that
//! `firebreak check` prints.

use serde_json::{Value, json};

use super::{firebreak, run};
use crate::{
    drill::{self, Drill, Models, policy_manifest},
    support::{
        object::{Object, condition},
        proxy::{Fault, Rule},
    },
};

/// The responder gets the permissions that `check` prints for the policy, and nothing else.
async fn grant_what_is_printed(drill: &Drill) {
    let world = &drill.world;
    for namespace in [&world.a, &world.b] {
        world.grant(namespace, &[]).await;
    }
    let policy = world.documents(&policy_manifest(|_| {}).to_string()).remove(0);
    let file = world.files().join("policy.json");
    std::fs::write(&file, policy.to_string()).expect("the testbed's directory is writable");
    let rights = firebreak(world, &["check", "-f", &file.display().to_string()]).await;
    assert_eq!(rights.code, 0, "{}", rights.out);
    let file = world.files().join("rights.yaml");
    std::fs::write(&file, rights.out).expect("the testbed's directory is writable");
    world.kubectl(&["apply", "-f", &file.display().to_string()]).await;
}

/// Two people follow the whole response that a third one withdraws: one from the time it is opened.
async fn watch_until_withdrawn(drill: &Drill, policy: &Object, models: &Models) {
    let world = &drill.world;
    let opens = ["open", "drill", "--severity", "P0", "--watch"];
    let ends = async {
        let incident = world.incident_of(policy).await;
        incident.wait_for_condition("Mitigated", "True").await;
        let (watches, withdraws) = (["watch", incident.name()], ["withdraw", incident.name()]);
        tokio::join!(run(world, &watches), run(world, &withdraws))
    };
    let (from_the_beginning, (watched, _)) = tokio::join!(run(world, &opens), ends);
    let phases = [" → Remediating", " → Monitoring", "Monitoring → Reverting", "Reverting → Resolved"];
    for words in phases.iter().chain(&["step cpu-fallback", "Applied", "Verified", "Reverted"]) {
        assert!(from_the_beginning.contains(words), "no {words} in {from_the_beginning}");
    }
    for words in ["WithdrawalStarted", "Resolved", "Reverted"] {
        assert!(watched.contains(words), "no {words} in {watched}");
    }
    models.assert_reverted().await;
}

/// A decision about an Incident that waits for another one affects only that Incident.
async fn decide_of_the_second(drill: &Drill, first: &Object, models: &Models) {
    let world = &drill.world;
    let said = async || {
        let seen = first.get().await;
        let status = &seen.data["status"];
        let parts = ["phase", "acknowledgedBy", "closing", "steps", "changes", "timeline"];
        (seen.data["spec"].clone(), parts.map(|part| status[part].clone()))
    };
    let (before, model) = (said().await, models.objects[0].snapshot().await);
    let second = drill.open("second", json!({})).await;
    second.wait_until("waits", |seen| drill::is_waiting(seen, "AnotherIncident")).await;
    assert!(run(world, &["describe", "second"]).await.contains(first.name()));
    assert!(run(world, &["ack", "second"]).await.contains("is acknowledged by"));
    let paused = run(world, &["pause", "second"]).await;
    assert!(paused.contains("is Paused  Held  0 change(s) in force"), "{paused}");
    assert!(run(world, &["withdraw", "second"]).await.contains("→ Resolved"));
    assert_eq!(second.get().await.data["status"]["closing"], "Withdrawn", "{second}");
    assert_eq!(said().await, before, "{first}");
    assert_eq!(models.objects[0].snapshot().await, model, "{first}: its model");
}

/// Opens an Incident by hand.
async fn open(drill: &Drill) -> Object {
    let opened = run(&drill.world, &["open", "drill", "--severity", "P0", "-o", "json"]).await;
    let opened: Value = serde_json::from_str(&opened).expect("JSON");
    assert!(opened["status"]["observedGeneration"].is_i64(), "{opened:#}");
    drill.world.incident(opened["metadata"]["name"].as_str().expect("a name"))
}

#[tokio::test]
async fn a_person_runs_a_whole_response_from_the_command_line() {
    let drill = Drill::new("s22-decide").await;
    let world = &drill.world;
    grant_what_is_printed(&drill).await;
    let models = drill.models(1).await;
    let _operator = world.operator().start().await;
    let policy = drill.policy().await;
    policy.wait_for_condition("Authorized", "True").await;
    let me: Value =
        serde_json::from_str(&world.kubectl(&["auth", "whoami", "-o", "json"]).await).expect("JSON");
    let me = me["status"]["userInfo"]["username"].as_str().expect("a name");

    watch_until_withdrawn(&drill, &policy, &models).await;
    let incident = open(&drill).await;
    let name = incident.name();
    incident.wait_for_condition("Mitigated", "True").await;
    models.wait_until_fallen().await;

    // The policy has this one, and a second waits for it.
    let again = ["open", "drill", "-n", world.a.as_str()];
    let said = firebreak(world, &again).await;
    assert_eq!((said.code, said.err.lines().count()), (1, 1), "{}{}", said.out, said.err);
    assert!(
        said.out.contains(name) && said.err.contains(&format!("`firebreak withdraw {name}")),
        "{}",
        said.err
    );
    decide_of_the_second(&drill, &incident, &models).await;

    // Two people at the same time.
    let (ack, pause) = (["ack", name], ["pause", name]);
    let (acknowledged, paused) = tokio::join!(run(world, &ack), run(world, &pause));
    assert!(acknowledged.contains(&format!("is acknowledged by {me}")), "{acknowledged}");
    assert!(paused.contains("is Paused  Held  1 change(s) in force"), "{paused}");
    let tree = run(world, &["describe", name]).await;
    for words in [format!("response Paused, set by {me}"), format!("acknowledged by {me}")] {
        assert!(tree.contains(&words), "no {words} in {tree}");
    }
    run(world, &["pause", name]).await;
    let said = firebreak(world, &again).await;
    assert!(said.err.contains(&format!("`firebreak resume {name}")), "{}", said.err);
    assert!(run(world, &["resume", name]).await.contains("is Active  Monitoring"));

    let said = run(world, &["keep", name]).await;
    assert!(said.contains("→ Resolved"), "{said}");
    let closed = incident.get().await;
    assert_eq!(closed.data["status"]["closing"], "Kept", "{incident}");
    assert_eq!(closed.data["spec"]["responseBy"], me, "{incident}");
    let kept = models.objects[0].snapshot().await;
    assert_eq!(kept.spec, drill::models::fallen_spec(&models.before[0].spec));
    assert_eq!(kept.traces(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_person_approves_and_the_brake_stops_and_puts_everything_back() {
    let drill = Drill::new("s22-approved").await;
    let world = &drill.world;
    let models = drill.models(2).await;
    let operator = world.operator().start().await;
    drill.policy_with(|spec| spec["steps"][0]["approval"] = json!("Required")).await;
    let brake = |arguments: &'static [&'static str]| async move { run_brake(world, arguments).await };

    // While the brake is engaged nothing is even planned.
    assert!(brake(&["on"]).await.starts_with("on: "));
    let incident = open(&drill).await;
    let name = incident.name();
    incident.wait_until("is braked", |seen| drill::is_stalled(seen, "Braked")).await;
    assert!(run(world, &["describe", name]).await.contains("`firebreak brake off`"));
    let engaged = format!(
        "the brake is engaged (ConfigMap {}/firebreak-brake), so no response writes",
        world.operator_namespace
    );
    let planned = run(world, &["plan", "drill"]).await;
    assert!(planned.contains(&engaged), "no {engaged} in {planned}");
    let opened = firebreak(world, &["open", "drill", "-n", &world.a]).await;
    assert!(opened.err.contains(&engaged), "no {engaged} in {}", opened.err);
    assert!(brake(&["status"]).await.contains(", set by firebreak "));
    assert!(brake(&["off"]).await.starts_with("the brake is off"));

    let waits = incident
        .wait_until("waits for an approval", |seen| seen.data["status"]["phase"] == "AwaitingApproval")
        .await;
    let plan = waits.data["status"]["steps"][0]["planHash"].as_str().expect("a hash").to_owned();
    let tree = run(world, &["describe", name]).await;
    let command = format!("approve it with `firebreak approve {name} cpu-fallback -n {}`", world.a);
    for words in [&plan, &command, "/spec/resources/limits/nvidia.com~1gpu  \"1\" → \"0\""] {
        assert!(tree.contains(words), "no {words} in {tree}");
    }
    for number in 0..2 {
        models.assert_untouched(number).await;
    }
    let said = run(world, &["approve", name, "cpu-fallback", "--plan-hash", &plan]).await;
    assert!(said.contains("/spec/resources/limits") && said.contains("approved"), "{said}");
    incident.wait_for_condition("Mitigated", "True").await;
    models.wait_until_fallen().await;
    let tree = run(world, &["describe", name]).await;
    assert!(tree.contains("approved by") && tree.contains("Used"), "{tree}");

    // An object that cannot be reverted is named, with the command; the others are reverted.
    let all = ["on", "--withdraw-all", "--watch-namespaces", world.a.as_str()];
    operator.proxy.on(Rule::each(|call| drill::is_return(call, "model-1"), Fault::answer(403)));
    let namespace = world.operator_namespace.as_str();
    let said =
        firebreak(world, &[&["brake"], &all[..], &["--timeout", "10s", "-n", namespace]].concat()).await;
    assert_eq!((said.code, said.err.lines().count()), (1, 1), "{}{}", said.out, said.err);
    for words in [name, "1 change(s) in force", "CannotPutBack", "model-1", "firebreak undo"] {
        assert!(said.out.contains(words), "no {words} in {}", said.out);
    }
    operator.proxy.forget_rules();
    let said = run_brake(world, &all).await;
    assert!(said.contains("1 Incident(s) closed: nothing is left to revert"), "{said}");
    models.assert_reverted().await;
    let resolved = incident.get().await;
    assert_eq!(condition(&resolved, "Resolved"), Some("True"), "{incident}");
    assert_eq!(resolved.data["status"]["closing"], "Withdrawn", "{incident}");
    let said = run_brake(world, &all).await;
    assert!(said.contains("no Incident is open"), "{said}");
}

async fn run_brake(world: &crate::support::world::World, arguments: &[&str]) -> String {
    let said = firebreak(world, &[&["brake"], arguments, &["-n", &world.operator_namespace]].concat()).await;
    assert_eq!(said.code, 0, "{arguments:?}: {}{}", said.out, said.err);
    said.out
}
