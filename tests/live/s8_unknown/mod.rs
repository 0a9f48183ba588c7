//! Signals that cannot be read are Unknown: nothing opens and nothing closes, the status says
//! why, and they recover without a restart.

mod frozen;
mod interrupted;
mod vanished;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, closed, has_fallen, heartbeats, message_of},
    support::{
        object::{Object, condition},
        operator::Operator,
        rights::Rule,
    },
};

const SENSORS: &str = include_str!("sensors.yaml");

/// The signal cannot be read, and the status has this word in the reason.
fn is_unknown(policy: &DynamicObject, signal: &str, why: &str) -> bool {
    let signals = policy.data["status"]["signals"].as_array().map_or(&[][..], Vec::as_slice);
    signals.iter().any(|each| {
        each["name"] == signal
            && each["state"] == "Unknown"
            && each["summary"].as_str().unwrap_or_default().contains(why)
    })
}

fn is_known(policy: &DynamicObject, signal: &str) -> bool {
    let signals = policy.data["status"]["signals"].as_array().map_or(&[][..], Vec::as_slice);
    signals.iter().any(|each| each["name"] == signal && each["state"] == "Known")
}

/// Waits until the policy says that it cannot read the signal, and why, for programs and for
/// people: the message names the signal or the resource.
async fn wait_until_blind(policy: &Object, signal: &str, why: &str, resource: &str) {
    let blind = policy
        .wait_until(&format!("{signal} is Unknown: {why}"), |policy| is_unknown(policy, signal, why))
        .await;
    assert_eq!(condition(&blind, "Ready"), Some("False"), "{policy}");
    let message = message_of(&blind, "Ready");
    let says_why = [signal, resource].iter().any(|word| message.contains(word));
    assert!(says_why, "{policy}: Ready does not say why: {message:?}");
}

async fn start(drill: &Drill) -> Operator {
    let plan = drill.world.operator();
    drill::QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag)).start().await
}

/// Nothing was opened, although there was time for it.
async fn assert_nothing_opens(drill: &Drill, operator: &Operator, policy: &Object) {
    heartbeats(operator, 8).await;
    assert!(
        drill.incidents().await.is_empty(),
        "{policy}: an Incident was opened on a signal that is Unknown"
    );
}

fn rights_but(group: &str, resource: &str) -> Vec<Rule<'static>> {
    let is_it = |rule: &Rule| rule.group == group && rule.resources == [resource];
    drill::rights().into_iter().filter(|rule| !is_it(rule)).collect()
}

#[tokio::test]
async fn without_rights_to_read_a_signal_nothing_opens_until_they_are_granted() {
    let drill = Drill::new("s8-denied").await;
    let models = drill.models(1).await;
    drill.world.grant(&drill.world.a, &rights_but("", "configmaps")).await;
    drill.ring().await;
    let operator = start(&drill).await;
    let policy = drill.apply_policy(|_| {}).await;
    wait_until_blind(&policy, "alarm", "Forbidden", "configmaps").await;
    let refused = policy.wait_for_condition("Authorized", "False").await;
    let lacks = message_of(&refused, "Authorized");
    assert!(lacks.contains("configmaps"), "{policy}: what is missing is not named: {lacks:?}");
    assert_nothing_opens(&drill, &operator, &policy).await;
    models.assert_untouched(0).await;

    drill.world.grant(&drill.world.a, &drill::rights()).await;
    let incident = drill.world.incident_of(&policy).await;
    incident.wait_for_condition("Mitigated", "True").await;
    drill.recover(&incident).await;
    models.assert_reverted().await;
}

#[tokio::test]
async fn an_object_that_cannot_be_judged_opens_nothing_and_is_named() {
    let drill = Drill::new("s8-judged").await;
    let models = drill.models(1).await;
    drill.ring().await;
    let operator = start(&drill).await;
    let policy = drill
        .apply_policy(|spec| {
            spec["signals"][0]["objects"]["healthy"] = json!("object.data.mood == 'good'");
        })
        .await;
    let blind = policy
        .wait_until("Ready names the object", |policy| {
            message_of(policy, "Ready").contains("whether it is healthy")
        })
        .await;
    assert_eq!(condition(&blind, "Ready"), Some("False"), "{policy}");
    assert!(message_of(&blind, "Ready").contains("mood"), "{policy}: what is missing is not named");
    assert_nothing_opens(&drill, &operator, &policy).await;
    models.assert_untouched(0).await;
}

#[tokio::test]
async fn when_rights_are_taken_away_nothing_closes_until_they_are_granted_again() {
    let drill = Drill::new("s8-revoked").await;
    let models = drill.models(1).await;
    let operator = start(&drill).await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;

    drill.world.grant(&drill.world.a, &rights_but("", "configmaps")).await;
    // The server lets an open watch continue for minutes.
    operator.proxy.cut();
    wait_until_blind(&policy, "alarm", "Forbidden", "configmaps").await;
    let refused = policy.wait_for_condition("Authorized", "False").await;
    let lacks = message_of(&refused, "Authorized");
    assert!(lacks.contains("configmaps"), "{policy}: what is missing is not named: {lacks:?}");
    drill.hush().await;
    heartbeats(&operator, 8).await;
    let waiting = incident.get().await;
    assert!(!closed(&waiting), "{incident}: closed on a signal that is Unknown");
    assert_eq!(waiting.data["status"]["severity"], "P0", "{incident}");
    assert!(has_fallen(&models.objects[0].get().await.data), "{}: reverted", models.objects[0]);

    drill.world.grant(&drill.world.a, &drill::rights()).await;
    incident.wait_for_condition("Resolved", "True").await;
    models.assert_reverted().await;
    policy.wait_for_condition("Authorized", "True").await;
}

#[tokio::test]
async fn a_kind_that_does_not_exist_yet_is_unknown_until_it_does() {
    let drill = Drill::new("s8-absent").await;
    let models = drill.models(1).await;
    let group = format!("{}.example.com", drill.world.id);
    let sensors = Rule { group: &group, resources: &["sensors"], verbs: &["get", "list", "watch"] };
    drill.world.grant(&drill.world.a, &[drill::rights(), vec![sensors]].concat()).await;
    let operator = start(&drill).await;
    let policy = drill
        .apply_policy(|spec| {
            let sensors = json!({
                "name": "sensors",
                "objects": {"apiVersion": format!("{group}/v1"), "kind": "Sensor", "healthy": "object.spec.ok"},
            });
            spec["signals"].as_array_mut().expect("a list").push(sensors);
            // An Unknown signal does not affect the others: this rule holds if either does.
            spec["severity"].as_array_mut().expect("a list").push(json!({
                "level": "P1", "reason": "SensorFailed", "when": "signals.sensors.unhealthy > 0",
            }));
        })
        .await;
    wait_until_blind(&policy, "sensors", "Sensor", "Sensor").await;
    assert!(is_known(&policy.get().await, "alarm"), "{policy}: the alarm can be read");
    assert_nothing_opens(&drill, &operator, &policy).await;

    let definition = SENSORS.replace("${group}", &group);
    let definition = drill.world.create("harness", &definition).await.remove(0);
    definition.wait_for_condition("Established", "True").await;
    policy.wait_until("sensors is Known", |policy| is_known(policy, "sensors")).await;
    policy.wait_for_condition("Ready", "True").await;
    let sensor = |ok: bool| -> Value {
        json!({
            "apiVersion": format!("{group}/v1"), "kind": "Sensor",
            "metadata": {"name": "one", "namespace": drill.world.a}, "spec": {"ok": ok},
        })
    };
    drill.world.apply("alice", &sensor(false).to_string()).await;
    let incident = drill.world.incident_of(&policy).await;
    let mitigated = incident.wait_for_condition("Mitigated", "True").await;
    assert_eq!(mitigated.data["status"]["severityReason"], "SensorFailed", "{incident}");
    drill.world.apply("alice", &sensor(true).to_string()).await;
    incident.wait_for_condition("Resolved", "True").await;
    models.assert_reverted().await;
    definition.delete().await;
}
