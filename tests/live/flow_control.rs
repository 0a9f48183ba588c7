//! The API server serves every request of a response from the share that the chart keeps for it.

use crate::{drill::Drill, support::proxy::Exchange};

/// What an emergency needs from its beginning to its end.
const NEEDED: [&str; 7] = [
    "configmaps",
    "events",
    "incidents",
    "leases",
    "llmdeployments",
    "remediationpolicies",
    "selfsubjectaccessreviews",
];

#[tokio::test]
async fn every_request_of_the_operator_and_its_responder_is_served_from_their_share() {
    let drill = Drill::new("share").await;
    let models = drill.models(2).await;
    let level = drill.world.flow_control().await;
    let operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    drill.recover(&incident).await;
    models.assert_reverted().await;
    operator
        .proxy
        .wait_for("an Event", |each| each.call.target.resource == "events" && each.server.is_some())
        .await;

    let calls: Vec<Exchange> =
        operator.proxy.calls().into_iter().filter(|each| each.server.is_some()).collect();
    let elsewhere: Vec<String> =
        calls.iter().filter(|each| each.level.as_ref() != Some(&level)).map(ToString::to_string).collect();
    assert!(elsewhere.is_empty(), "served from another share:\n{}", elsewhere.join("\n"));
    for resource in NEEDED {
        assert!(calls.iter().any(|each| each.call.target.resource == resource), "no request for {resource}");
    }
    let responder = format!("system:serviceaccount:{}:firebreak-responder", drill.world.a);
    let of_responder = |each: &&Exchange| each.call.user.as_ref() == Some(&responder);
    assert!(calls.iter().filter(of_responder).any(|each| each.call.is_write()), "no write as {responder}");
    assert!(calls.iter().filter(of_responder).any(|each| each.call.is_watch()), "no watch as {responder}");
}
