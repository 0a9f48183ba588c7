//! A restart whose answer is lost, while others restart the same object.

use kube::api::DynamicObject;
use serde_json::json;

use super::{RESTARTED, drill, restarted_at, revisions, running, runs, step, wait_until_done};
use crate::support::proxy::{Call, Fault, Moment, Rule};

fn is_restart(call: &Call) -> bool {
    drill::touches(call, "web")
}

/// The read that follows up a lost answer.
fn is_follow_up(call: &Call) -> bool {
    call.method == http::Method::GET && call.target.resource == "deployments" && call.target.name == "web"
}

#[tokio::test]
async fn a_lost_answer_is_settled_by_the_revision_also_if_somebody_restarts_it_meanwhile() {
    let drill = drill("restarts-lost").await;
    let _nodes = drill.world.gpu_nodes(1).await;
    let web = running(&drill, "Deployment", "web", json!({"replicas": 1})).await;
    let operator = drill.world.operator().start().await;
    let sent = operator.proxy.on(Rule::nth(1, is_restart, Fault::LoseReply));
    // Before the operator looks at it, its controller has seen the restart, and somebody restarts it again.
    let somebody = web.clone();
    let restarts = move |_| {
        let web = somebody.clone();
        async move {
            let seen = |web: &DynamicObject| restarted_at(web).is_string() && runs(web);
            web.wait_until("it has rolled", seen).await;
            let annotations = json!({RESTARTED: "2026-01-01T00:00:00Z"});
            web.merge(
                "kubectl-rollout",
                json!({"spec": {"template": {"metadata": {"annotations": annotations}}}}),
            )
            .await;
        }
    };
    operator.proxy.on(Rule::nth(1, is_follow_up, Fault::first(restarts)));
    let policy = drill
        .policy_with(|spec| spec["steps"] = json!([step("web", "apps/v1", "Deployment", &["web"])]))
        .await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    wait_until_done(&incident, &["web"]).await;
    drill.recover(&incident).await;
    assert_eq!(restarted_at(&web.get().await), "2026-01-01T00:00:00Z", "{web}: somebody's restart stays");
    assert_eq!(revisions(&drill, "ReplicaSet", &web).await.len(), 3, "{web}: one is ours");
    assert_eq!(sent.count(), 1, "{web}: one request");
}

#[tokio::test]
async fn an_operator_that_is_killed_around_its_request_restarts_once() {
    for (name, moment) in
        [("before", Moment::BeforeSend), ("lost", Moment::ReplyLost), ("seen", Moment::ReplySeen)]
    {
        let drill = drill(&format!("restarts-{name}")).await;
        let _nodes = drill.world.gpu_nodes(1).await;
        let web = running(&drill, "Deployment", "web", json!({"replicas": 1})).await;
        let before = web.snapshot().await;
        let operator = drill.world.operator().start().await;
        operator.proxy.on(Rule::nth(1, is_restart, Fault::Kill(moment)));
        let policy = drill
            .policy_with(|spec| spec["steps"] = json!([step("web", "apps/v1", "Deployment", &["web"])]))
            .await;
        drill.ring().await;
        operator.until_dead().await;
        operator.restart();
        let incident = drill.world.incident_of(&policy).await;
        wait_until_done(&incident, &["web"]).await;
        web.wait_until("it has rolled", |web| restarted_at(web).is_string() && runs(web)).await;
        drill.recover(&incident).await;
        assert_eq!(web.snapshot().await.generation, before.generation + 1, "{web}: {name}: one restart");
        assert_eq!(revisions(&drill, "ReplicaSet", &web).await.len(), 2, "{web}: {name}");
    }
}
