//! What the operator has learned and not yet recorded is not forgotten when its next record fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Method;
use serde_json::json;

use crate::{
    drill::{Drill, change_of, heartbeats, is_apply},
    support::{
        object::Object,
        operator::Operator,
        proxy::{Call, Fault, Record, Rule},
        world::World,
    },
};

/// Writes an annotation on the Incident that the call is about, so that the version in the call is dead.
fn somebody_writes_it_first(world: &World) -> Fault {
    let (client, namespace) = (world.client.clone(), world.a.clone());
    Fault::first(move |call: Arc<Call>| {
        let name = &call.target.name;
        let incident = Object::new(&client, "firebreak.dev/v1alpha1", "Incident", Some(&namespace), name);
        let note = json!({"metadata": {"annotations": {"note": call.number.to_string()}}});
        async move { drop(incident.merge("alice", note).await) }
    })
}

fn records_an_incident(call: &Call) -> bool {
    call.writes("incidents") && call.target.subresource == "status"
}

fn writes_a_report(call: &Call) -> bool {
    call.writes("configmaps")
}

fn was_there(record: &Record, is: impl Fn(&Call) -> bool) -> bool {
    record.all().iter().any(|exchange| is(&exchange.call))
}

fn count(operator: &Operator, is: impl Fn(&Call) -> bool) -> usize {
    operator.proxy.calls().iter().filter(|exchange| is(&exchange.call)).count()
}

#[tokio::test]
async fn an_answer_and_a_report_outlive_that_somebody_writes_the_incident_first() {
    let drill = Drill::new("s6-conflicting-record").await;
    let models = drill.models_named(&["throttled"]).await;
    let operator = drill.world.operator().start().await;
    let is_sent = |call: &Call| is_apply(call, "throttled");
    operator.proxy.on(Rule::nth(1, is_sent, Fault::too_many(3)));
    let mut hits = Vec::new();
    for (subject, is) in [("answer", is_sent as fn(&Call) -> bool), ("report", writes_a_report)] {
        let record = operator.proxy.record();
        let comes_next = move |call: &Call| records_an_incident(call) && was_there(&record, is);
        let hit = operator.proxy.on(Rule::nth(1, comes_next, somebody_writes_it_first(&drill.world)));
        hits.push((subject, hit));
    }
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    let calls = operator.proxy.calls();
    let sent: Vec<_> = calls.iter().filter(|exchange| is_sent(&exchange.call)).collect();
    assert_eq!(sent.len(), 2, "{}: one was throttled, one was done", models.objects[0]);
    let waited = sent[1].call.at.saturating_sub(sent[0].call.at);
    assert!(waited >= Duration::from_secs(3), "{}: sent again after {waited:?}", models.objects[0]);

    drill.recover(&incident).await;
    assert_eq!(count(&operator, writes_a_report), 1, "{incident}: writes of its report");
    for (subject, hit) in hits {
        assert!(hit.count() >= 1, "{incident}: nobody wrote it first after the {subject}");
    }
    models.assert_reverted().await;
}

#[tokio::test]
async fn the_report_is_written_once_while_the_end_waits_for_the_policy() {
    let drill = Drill::new("s6-unbound").await;
    let models = drill.models(1).await;
    let operator = drill.quick_operator().await;
    // The policy cannot record the uid of the Incident that it has created.
    let (record, is_held) = (operator.proxy.record(), Arc::new(AtomicBool::new(true)));
    let creates = |call: &Call| call.method == Method::POST && call.writes("incidents");
    let held = Arc::clone(&is_held);
    let binds = move |call: &Call| {
        held.load(Ordering::SeqCst) && call.writes("remediationpolicies") && was_there(&record, creates)
    };
    operator.proxy.on(Rule::each(binds, Fault::answer(500)));
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    drill.hush().await;
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    let is_back = |incident: &_| change_of(incident, "model-0")["state"] == "Reverted";
    incident.wait_until("Reverted", is_back).await;
    heartbeats(&operator, 3).await;
    assert_eq!(count(&operator, writes_a_report), 0, "{incident}: it is not about to be closed");
    is_held.store(false, Ordering::SeqCst);
    incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(count(&operator, writes_a_report), 1, "{incident}: writes of its report");
    models.assert_reverted().await;
}
