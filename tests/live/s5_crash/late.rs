//! A request that was in flight for so long that someone else has done the work.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{assert_once, returns_a_loan, takes_a_loan};
use crate::{
    drill::{Drill, SpecWrites, has_fallen, spec_writes},
    support::{
        operator::Operator,
        proxy::{Call, Fault, Rule},
    },
};

/// Keeps the first such request of the operator in flight until the result is notified.
fn delay(operator: &Operator, which: fn(&Call) -> bool) -> Arc<Notify> {
    let arrival = Arc::new(Notify::new());
    let arrives = Arc::clone(&arrival);
    let until_then = Fault::first(move |_| {
        let arrives = Arc::clone(&arrives);
        async move { arrives.notified().await }
    });
    operator.proxy.on(Rule::nth(1, which, until_then));
    arrival
}

async fn is_on_its_way(operator: &Operator, which: fn(&Call) -> bool) {
    operator.proxy.wait_for("the late request", |each| which(&each.call) && each.fault.is_some()).await;
}

/// The late request arrives, and the server has nothing to do for it.
async fn arrives_in_vain(operator: &Operator, arrival: &Notify, which: fn(&Call) -> bool) {
    arrival.notify_one();
    let late = operator
        .proxy
        .wait_for("the late request arrived", |each| {
            which(&each.call) && each.fault.is_some() && each.server.is_some()
        })
        .await;
    assert_eq!(late.server, Some(409), "what came late was done: {late}");
}

/// An operator that leads whether or not there is another one.
async fn leader(drill: &Drill, name: &str) -> Operator {
    drill.world.operator().named(name).flag("--no-leader-election").start().await
}

#[tokio::test]
async fn a_change_that_arrives_when_everything_is_reverted_does_nothing() {
    let drill = Drill::new("s5-late-apply").await;
    let models = drill.models(1).await;
    let slow = leader(&drill, "firebreak-0").await;
    let arrival = delay(&slow, takes_a_loan);
    let policy = drill.policy().await;
    drill.ring().await;
    is_on_its_way(&slow, takes_a_loan).await;

    let quick = leader(&drill, "firebreak-1").await;
    let incident = drill.world.incident_of(&policy).await;
    incident.wait_for_condition("Mitigated", "True").await;
    drill.recover(&incident).await;
    arrives_in_vain(&slow, &arrival, takes_a_loan).await;
    assert_once(&drill, &models, &[&slow, &quick]).await;
}

#[tokio::test]
async fn a_return_that_arrives_in_the_next_emergency_does_nothing() {
    let drill = Drill::new("s5-late-return").await;
    let models = drill.models(1).await;
    let (model, before) = (&models.objects[0], &models.before[0]);
    let slow = leader(&drill, "firebreak-0").await;
    let arrival = delay(&slow, returns_a_loan);
    let policy = drill.policy().await;
    let first = drill.respond(&policy).await;
    drill.hush().await;
    is_on_its_way(&slow, returns_a_loan).await;

    let quick = leader(&drill, "firebreak-1").await;
    first.wait_for_condition("Resolved", "True").await;
    models.assert_reverted().await;
    let second = drill.respond(&policy).await;
    arrives_in_vain(&slow, &arrival, returns_a_loan).await;
    assert!(has_fallen(&model.get().await.data), "{model}: reverted by a request of the last emergency");

    drill.recover(&second).await;
    let after = model.snapshot().await;
    assert_eq!(after.spec, before.spec, "{model}: spec");
    assert_eq!(after.generation, before.generation + 4, "{model}: there and back, twice");
    let records = [slow.proxy.record(), quick.proxy.record()];
    assert_eq!(spec_writes(&records, model.name()), SpecWrites { applied: 2, returned: 2 }, "{model}");
}
