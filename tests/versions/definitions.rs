//! This release on the definitions of an earlier one, which would drop a part of what it stores: it does not lead.

use crate::{
    drill::Drill,
    release::{Cluster, new_operator},
    support::{object::Object, operator::Operator},
};

async fn assert_refuses(operator: &Operator, object: &Object) {
    assert_eq!(operator.exit_status().await.code(), Some(3), "{}", operator.log());
    let log = operator.log();
    for said in
        ["CustomResourceDefinitions in the cluster are older", "firebreak crds | kubectl apply --server-side"]
    {
        assert!(log.contains(said), "{said}: not in\n{log}");
    }
    object.wait_for_event("OldDefinitions").await;
}

#[tokio::test]
async fn an_operator_on_older_definitions_writes_nothing_until_they_are_upgraded() {
    let cluster = Cluster::of_the_old_release().await;
    let drill = Drill::new("old-crds").await;
    let policy = drill.apply_policy(|_| {}).await;
    cluster.is_served(&policy).await;
    let stored = policy.get().await;
    let operator = new_operator(drill.world.operator(), "new").start().await;
    assert_refuses(&operator, &policy).await;
    assert!(operator.proxy.writes().is_empty(), "it wrote {}", operator.proxy.writes()[0].call.object());
    assert_eq!(policy.get().await.metadata.resource_version, stored.metadata.resource_version);

    cluster.upgrade(&policy).await;
    operator.restart();
    policy.wait_for_condition("Ready", "True").await;
}

#[tokio::test]
async fn an_operator_does_not_lead_on_definitions_that_store_its_format_and_not_what_came_with_it() {
    let cluster = Cluster::of_the_format_before().await;
    let drill = Drill::new("old-format").await;
    let policy = drill.apply_policy(|_| {}).await;
    cluster.stores_the_format_alone(&policy).await;
    let stored = policy.get().await;
    let operator = new_operator(drill.world.operator(), "new").start().await;
    assert_refuses(&operator, &policy).await;
    assert!(operator.proxy.writes().is_empty(), "it wrote {}", operator.proxy.writes()[0].call.object());
    assert_eq!(policy.get().await.metadata.resource_version, stored.metadata.resource_version);

    cluster.upgrade(&policy).await;
    operator.restart();
    policy.wait_for_condition("Ready", "True").await;
}

/// There was nothing to examine when it began to lead.
#[tokio::test]
async fn an_operator_finds_older_definitions_out_with_the_first_policy() {
    let cluster = Cluster::of_the_old_release().await;
    let drill = Drill::new("old-crds-empty").await;
    let probe = drill.apply_policy(|_| {}).await;
    cluster.is_served(&probe).await;
    probe.delete().await;
    probe.wait_until_gone().await;
    let operator = new_operator(drill.world.operator(), "new").start().await;
    operator.wait_for_metric("leader_election_master_status{name=\"firebreak\"}", 1.0).await;
    let policy = drill.apply_policy(|_| {}).await;
    assert_refuses(&operator, &policy).await;
}
