//! Closed Incidents are not kept forever: 30 days, and the newest 50 of each policy.

use std::collections::BTreeSet;

use firebreak_engine::incident::IncidentState;
use jiff::{SignedDuration, Timestamp};
use kube::{Api, Client, ResourceExt, api::PostParams};
use serde_json::{Value, json};

use crate::{drill::Drill, support::testbed::testbed};
use firebreak::api::Incident;

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;

/// The user who may write the status of Incidents: the operator.
async fn as_the_operator(drill: &Drill) -> Api<Incident> {
    let mut config = testbed().config().await;
    let user = format!("system:serviceaccount:{}:firebreak", drill.world.operator_namespace);
    config.auth_info.impersonate = Some(user);
    Api::namespaced(Client::try_from(config).expect("a client"), &drill.world.a)
}

/// An Incident that closed this many seconds ago.
async fn closed(drill: &Drill, operator: &Api<Incident>, name: &str, policy: Option<&str>, ago: i64) {
    let api: Api<Incident> = Api::namespaced(drill.world.client.clone(), &drill.world.a);
    let spec: Value = policy.map_or(json!({}), |policy| json!({"policyRef": {"name": policy}}));
    let incident = json!({"apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": name}, "spec": spec});
    let incident: Incident = serde_json::from_value(incident).expect("an Incident");
    let mut incident = api.create(&PostParams::default(), &incident).await.expect("created");
    let at = Timestamp::now() - SignedDuration::from_secs(ago);
    let state = IncidentState { opened_at: Some(at), resolved_at: Some(at), ..IncidentState::default() };
    let status = incident.status.get_or_insert_default();
    (status.state, status.observed_generation) = (state, incident.metadata.generation);
    operator.replace_status(name, &PostParams::default(), &incident).await.expect("a status");
}

async fn names(drill: &Drill) -> BTreeSet<String> {
    drill.incidents().await.iter().map(ResourceExt::name_any).collect()
}

#[tokio::test]
async fn the_newest_fifty_of_a_policy_are_kept_and_none_for_longer_than_thirty_days() {
    let drill = Drill::new("retention").await;
    let models = drill.models(1).await;
    let operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    operator.kill();

    let writer = as_the_operator(&drill).await;
    // The first one is the oldest. An hour ago and longer, so that none counts for maxIncidents.
    for number in 0..53 {
        let ago = 120 * MINUTE - number * MINUTE;
        closed(&drill, &writer, &format!("i-{number:02}"), Some("drill"), ago).await;
    }
    closed(&drill, &writer, "a-month-old", None, 31 * DAY).await;
    closed(&drill, &writer, "almost-a-month-old", None, 29 * DAY).await;
    closed(&drill, &writer, "of-no-policy-any-more", Some("gone"), 31 * DAY).await;
    closed(&drill, &writer, "owes", Some("gone"), 31 * DAY).await;
    let owes = drill.world.incident("owes");
    owes.merge("harness", json!({"metadata": {"finalizers": ["example.com/somebody-else"]}})).await;
    closed(&drill, &writer, "declared", Some("gone"), 31 * DAY).await;
    let declared = json!({"apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": "declared", "namespace": drill.world.a}, "spec": {"policyRef": {"name": "gone"}}});
    drill.world.apply("flux", &declared.to_string()).await;

    operator.restart();
    for name in ["i-00", "i-01", "i-02", "a-month-old", "of-no-policy-any-more"] {
        drill.world.incident(name).wait_until_gone().await;
    }
    let mut kept: BTreeSet<String> = (3..53).map(|number| format!("i-{number:02}")).collect();
    kept.extend(["almost-a-month-old", "owes", "declared"].map(str::to_owned));
    assert_eq!(names(&drill).await, kept);

    // One more closes, and its report stays.
    let incident = drill.respond(&policy).await;
    drill.recover(&incident).await;
    drill.world.incident("i-03").wait_until_gone().await;
    kept.remove("i-03");
    kept.insert(incident.name().to_owned());
    assert_eq!(names(&drill).await, kept);
    models.assert_reverted().await;
    let report =
        drill.world.object("v1", "ConfigMap", &drill.world.a, &format!("{}-report", incident.name()));
    let report = report.get().await;
    assert!(report.owner_references().is_empty(), "the report goes with its Incident");
    let (_, metrics) = operator.fetch("/metrics").await;
    assert!(metrics.contains("firebreak_incidents_collected_total 6"), "{metrics}");
}
