//! A watch that is silent and does not end. This takes more than the two minutes
//! after which a watch without an answer no longer counts.

use std::time::Duration;

use http::Method;
use serde_json::json;

use super::{is_unknown, start};
use crate::{
    drill::{self, Drill, closed, has_fallen, heartbeats},
    support::{
        manifest,
        object::{Object, condition},
        proxy::{Call, Fault, Rule},
    },
};

/// Two minutes until it is too old, and a margin.
const STALE: Duration = Duration::from_secs(160);
/// A request that hangs is given up, and repeated after a pause.
const THAW: Duration = Duration::from_secs(120);

/// The network drops everything that reads the alarms.
fn reads_alarms(call: &Call) -> bool {
    call.method == Method::GET && call.target.resource == "configmaps" && call.target.name.is_empty()
}

async fn ring(alarm: &Object, rings: bool) {
    alarm.merge("harness", json!({"data": {"rings": if rings { "yes" } else { "no" }}})).await;
}

#[tokio::test]
async fn while_its_watch_is_frozen_a_signal_opens_nothing_and_closes_nothing() {
    let drill = Drill::new("s8-frozen").await;
    let models = drill.models(1).await;
    // The siren has its own policy, which responds before the freeze.
    let siren = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "siren", "namespace": drill.world.a}, "data": {"rings": "no"},
    });
    let siren = drill.world.apply("harness", &siren.to_string()).await.remove(0);
    let operator = start(&drill).await;
    let quiet = drill.policy_with(|spec| spec["steps"] = json!([])).await;
    let mut other = drill::policy_manifest(|spec| spec["signals"][0]["objects"]["names"] = json!(["siren"]));
    other["metadata"]["name"] = json!("responding");
    let responding = drill.world.apply("flux", &other.to_string()).await.remove(0);
    responding.wait_for_condition("Ready", "True").await;
    ring(&siren, true).await;
    let incident = drill.world.incident_of(&responding).await;
    incident.wait_for_condition("Mitigated", "True").await;

    operator.proxy.on(Rule::each(reads_alarms, Fault::Silence));
    let freeze = operator.proxy.freeze(reads_alarms);
    drill.ring().await;
    ring(&siren, false).await;
    for policy in [&quiet, &responding] {
        let blind =
            policy.wait_within(STALE, "alarm is Unknown", |policy| is_unknown(policy, "alarm", "")).await;
        assert_eq!(condition(&blind, "Ready"), Some("False"), "{policy}: {}", manifest::readable(&blind));
    }
    heartbeats(&operator, 8).await;
    assert_eq!(drill.incidents().await.len(), 1, "{quiet}: an Incident was opened on a frozen watch");
    assert!(!closed(&incident.get().await), "{incident}: closed on a frozen watch");
    assert!(has_fallen(&models.objects[0].get().await.data), "{}: reverted", models.objects[0]);

    operator.proxy.forget_rules();
    drop(freeze);
    incident.wait_within(THAW, "Resolved", |object| condition(object, "Resolved") == Some("True")).await;
    models.assert_reverted().await;
    drill.world.incident_of(&quiet).await;
}
