//! What fires is known whoever leads, and whatever becomes of the operator.

use serde_json::json;

use super::{Case, fingerprints, firing, operator, resolved};
use crate::{
    drill::{closed, heartbeats},
    support::{
        alertmanager::{alert, message},
        proxy::{Call, Fault, Rule},
    },
};

#[tokio::test]
async fn an_operator_that_starts_again_knows_what_fires() {
    let case = Case::begin("s25-restart").await;
    let models = case.drill.models(1).await;
    let policy = case.policy(|_| {}).await;
    case.alertmanager.deliver(&case.operator, &firing(1)).await;
    let incident = case.drill.world.incident_of(&policy).await;
    incident.wait_for_condition("Mitigated", "True").await;
    for _ in 0..2 {
        case.operator.restart();
        heartbeats(&case.operator, 3).await;
        assert!(!closed(&incident.get().await), "{incident}: closed by a restart");
        assert_eq!(fingerprints(&policy.get().await).len(), 1);
    }
    case.alertmanager.deliver(&case.operator, &resolved(1)).await;
    incident.wait_for_condition("Resolved", "True").await;
    models.assert_reverted().await;
}

#[tokio::test]
async fn a_replica_that_does_not_lead_refuses_and_the_next_leader_knows_what_fires() {
    let case = Case::begin("s25-leader").await;
    let policy = case.policy(|spec| spec["steps"] = json!([])).await;
    case.alertmanager.deliver(&case.operator, &firing(1)).await;
    let incident = case.drill.world.incident_of(&policy).await;
    let standby = operator(&case.drill, "firebreak-1").await;
    let answer = case.alertmanager.send(&standby, &resolved(1)).await;
    assert_eq!(answer.status, 503, "{}", answer.text);
    let head = answer.text.to_lowercase();
    assert!(head.contains("retry-after: 1") && head.contains("connection: close"), "{head}");
    assert_eq!(fingerprints(&policy.get().await).len(), 1, "the standby has recorded it");

    case.operator.kill();
    heartbeats(&standby, 3).await;
    assert!(!closed(&incident.get().await), "{incident}: closed by the change of the leader");
    case.alertmanager.deliver(&standby, &message([alert(2, "firing", "critical")])).await;
    case.alertmanager.deliver(&standby, &resolved(1)).await;
    heartbeats(&standby, 2).await;
    assert!(!closed(&incident.get().await), "{incident}: closed while an alert fires");
    case.alertmanager.deliver(&standby, &resolved(2)).await;
    incident.wait_for_condition("Resolved", "True").await;
    case.drill.assert_one_resolved_incident().await;
}

#[tokio::test]
async fn a_leader_whose_watch_is_late_answers_by_what_the_one_before_has_recorded() {
    let case = Case::begin("s25-late").await;
    let policy = case.policy(|spec| spec["steps"] = json!([])).await;
    let one = |status| message([alert(1, status, "warning")]);
    case.alertmanager.deliver(&case.operator, &one("firing")).await;
    let standby = operator(&case.drill, "firebreak-1").await;
    let watches = |call: &Call| call.watches("remediationpolicies");
    standby.proxy.wait_for("it watches policies", |exchange| watches(&exchange.call)).await;
    let _late = standby.proxy.freeze(watches);
    case.alertmanager.deliver(&case.operator, &one("resolved")).await;
    assert!(fingerprints(&policy.get().await).is_empty());
    case.operator.kill();
    // The watch of the standby still shows that it fires.
    case.alertmanager.deliver(&standby, &one("firing")).await;
    assert_eq!(fingerprints(&policy.get().await).len(), 1, "200, and nothing is recorded");
}

#[tokio::test]
async fn without_a_record_there_is_no_200() {
    let case = Case::begin("s25-unrecorded").await;
    let policy = case.policy(|spec| spec["steps"] = json!([])).await;
    case.alertmanager.deliver(&case.operator, &message([])).await;
    let is_status = |call: &Call| call.writes("remediationpolicies");
    let refused = case.operator.proxy.on(Rule::each(is_status, Fault::answer(500)));
    let answer = case.alertmanager.send(&case.operator, &firing(1)).await;
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(refused.count() > 0, "nothing was written");
    assert!(fingerprints(&policy.get().await).is_empty());
    case.operator.proxy.forget_rules();
    case.alertmanager.deliver(&case.operator, &firing(1)).await;
    assert_eq!(fingerprints(&policy.get().await).len(), 1);
    case.drill.world.incident_of(&policy).await;
}
