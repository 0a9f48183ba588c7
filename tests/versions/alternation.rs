//! The earlier release and this one lead in turn in the middle of a response: nothing is lost, and nothing is done twice.
//!
//! The earlier release drops what it does not know when it writes a status. So the API server lets it write no status that
//! this release has written.

use http::{Method, StatusCode};
use kube::api::DynamicObject;
use serde_json::json;

use crate::{
    drill::{Drill, SpecWrites, change_in, heartbeats, is_apply, spec_writes},
    release::{Cluster, new_operator, old_operator},
    support::{
        object::Object,
        proxy::{Call, Exchange, Fault, Rule},
    },
};

fn writes_status(call: &Call) -> bool {
    call.method == Method::PUT && call.target.group == "firebreak.dev" && call.is_write()
}

/// Waits until the operator has tried to write a status that it may not write, and has changed nothing meanwhile.
async fn assert_is_shut_out(old: &crate::support::operator::Operator, since: usize, incident: &Object) {
    let unprocessable = Some(StatusCode::UNPROCESSABLE_ENTITY.as_u16());
    let is_refused = |done: &Exchange| writes_status(&done.call) && done.server == unprocessable;
    old.proxy.wait_for("a status that is refused", is_refused).await;
    heartbeats(old, 3).await;
    let writes: Vec<Exchange> = old.proxy.writes().into_iter().skip(since).collect();
    let done: Vec<&Exchange> = writes.iter().filter(|write| write.was_applied()).collect();
    assert!(done.is_empty(), "{incident}: the earlier release wrote {}", done[0].call.object());
}

#[tokio::test]
async fn nothing_is_lost_when_an_earlier_release_and_this_one_lead_in_turn() {
    let cluster = Cluster::of_the_old_release().await;
    let drill = Drill::new("alternate").await;
    let models = drill.models(3).await;
    let old = old_operator(drill.world.operator(), "old").start().await;
    let policy = drill.policy().await;

    // The earlier release leads: one model is changed, the write to the next one is on its way.
    let write_to = |name: &'static str| move |exchange: &Exchange| is_apply(&exchange.call, name);
    old.proxy.on(Rule::each(|call| is_apply(call, "model-1"), Fault::Silence));
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    old.proxy.wait_for("the write to model-1", write_to("model-1")).await;
    cluster.upgrade(&policy).await;
    old.kill();

    // This one changes the others.
    let new = new_operator(drill.world.operator(), "new").start().await;
    incident.wait_for_condition("Mitigated", "True").await;
    models.wait_until_fallen().await;
    let is_verified = |incident: &DynamicObject| {
        let verified = |name| change_in(incident, "cpu-fallback", name)["state"] == "Verified";
        ["model-0", "model-1", "model-2"].into_iter().all(verified)
    };
    incident.wait_until("all changes are verified", is_verified).await;
    assert_eq!(incident.get().await.data["status"]["format"], json!(3), "{incident}");
    let status = new.stop().await;
    assert!(status.success(), "{status}");

    // The earlier one again, while the emergency ends: it wants to revert and may not record it.
    old.proxy.forget_rules();
    let so_far = old.proxy.writes().len();
    let stored = incident.get().await;
    old.restart();
    heartbeats(&old, 1).await;
    drill.hush().await;
    assert_is_shut_out(&old, so_far, &incident).await;
    assert_eq!(incident.get().await.data["status"], stored.data["status"], "{incident}");
    old.kill();

    // And this one ends it.
    new.restart();
    let closed = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(closed.data["status"]["closing"], "Recovered", "{incident}");
    models.assert_reverted().await;
    let records = [old.proxy.record(), new.proxy.record()];
    for model in &models.objects {
        let once = SpecWrites { applied: 1, returned: 1 };
        assert_eq!(spec_writes(&records, model.name()), once, "{model}");
    }
    drill.assert_one_resolved_incident().await;
}
