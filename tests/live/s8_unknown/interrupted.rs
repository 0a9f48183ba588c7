//! Watches that end with an error or repeat themselves hide nothing.

use super::start;
use crate::{
    drill::Drill,
    support::proxy::{Delivery, Fault, Rule},
};

#[tokio::test]
async fn a_watch_that_is_too_old_is_listed_again() {
    let drill = Drill::new("s8-gone").await;
    let models = drill.models(1).await;
    let operator = start(&drill).await;
    let policy = drill.policy().await;
    // The watches are opened again, and are told that their version is gone.
    let hits = operator.proxy.on(Rule::first(6, |call| call.is_watch(), Fault::Gone));
    operator.proxy.cut();
    let incident = drill.respond(&policy).await;
    drill.recover(&incident).await;
    models.assert_reverted().await;
    assert!(hits.count() >= 3, "{policy}: {} watches were opened", hits.count());
    drill.assert_one_resolved_incident().await;
}

#[tokio::test]
async fn events_that_come_twice_count_once() {
    let drill = Drill::new("s8-twice").await;
    let models = drill.models(2).await;
    let operator = start(&drill).await;
    let _twice = operator.proxy.on_event(|_, _| Delivery::Twice);
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    drill.recover(&incident).await;
    models.assert_reverted().await;
    drill.assert_one_resolved_incident().await;
}
