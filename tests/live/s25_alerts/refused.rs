//! What is refused, by whom it comes and what it is.

use kube::api::DynamicObject;
use serde_json::json;

use super::{Case, firing, resolved};
use crate::{
    drill::{self, closed, heartbeats, message_of},
    support::alertmanager::{Alertmanager, alert, message, say},
};

#[tokio::test]
async fn who_may_not_send_alerts_is_refused() {
    let case = Case::begin("s25-refused").await;
    case.policy(|spec| spec["steps"] = json!([])).await;
    case.alertmanager.deliver(&case.operator, &message([])).await;
    let body = firing(1).to_string();
    let path = case.alertmanager.path("drill");

    let without = say(&case.operator, &format!("POST {path} HTTP/1.1\r\n"), &body).await;
    assert_eq!(without.status, 401, "{}", without.text);
    let unknown = format!("POST {path} HTTP/1.1\r\nAuthorization: Bearer s3cret\r\n");
    let unknown = say(&case.operator, &unknown, &body).await;
    assert_eq!(unknown.status, 401, "{}", unknown.text);
    let world = &case.drill.world;
    let elsewhere = path.replace(&world.a, &world.b);
    for (path, what) in [
        (case.alertmanager.path("other"), "another policy"),
        (elsewhere, "another namespace"),
        (case.alertmanager.path("there-is-none"), "who may not see it is not told that there is none"),
    ] {
        let answer = case.alertmanager.post(&case.operator, &path, body.clone()).await;
        assert_eq!(answer.status, 403, "{what}: {}", answer.text);
        assert!(answer.text.contains("may not create alerts.firebreak.dev"), "{what}: {}", answer.text);
    }
    assert!(case.drill.incidents().await.is_empty());
    assert!(!case.operator.log().contains("s3cret"), "a token is in the log");
    let refused = async |why: &str| {
        let metric = format!("firebreak_alert_requests_total{{result=\"{why}\"}}");
        case.operator.metric(&metric).await
    };
    assert_eq!(
        (refused("no_token").await, refused("bad_token").await, refused("forbidden").await),
        (Some(1.0), Some(1.0), Some(3.0))
    );
}

#[tokio::test]
async fn what_is_no_message_for_a_policy_is_refused() {
    let case = Case::begin("s25-malformed").await;
    let policy = case.policy(|spec| spec["steps"] = json!([])).await;
    // It may send alerts to every policy of the namespace.
    let alertmanager = Alertmanager::new(&case.drill.world, &[]).await;
    alertmanager.deliver(&case.operator, &message([])).await;
    let mut deaf = drill::policy_manifest(|spec| spec["steps"] = json!([]));
    deaf["metadata"]["name"] = json!("deaf");
    let deaf = case.drill.world.apply("flux", &deaf.to_string()).await.remove(0);
    deaf.wait_for_condition("Accepted", "True").await;

    let long = "x".repeat(2 * 1024 * 1024);
    let drill = alertmanager.path("drill");
    for (path, body, status) in [
        (drill.clone(), "{}".to_owned(), 400),
        (drill.clone(), "not JSON".to_owned(), 400),
        (drill.clone(), long, 413),
        (drill.replace("/alerts", ""), firing(1).to_string(), 404),
        (alertmanager.path("there-is-none"), firing(1).to_string(), 404),
        (alertmanager.path("deaf"), firing(1).to_string(), 404),
    ] {
        let answer = alertmanager.post(&case.operator, &path, body).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
    }
    let get = say(&case.operator, &format!("GET {drill} HTTP/1.1\r\n"), "").await;
    assert_eq!(get.status, 405, "{}", get.text);
    assert!(case.drill.incidents().await.is_empty());
    // What could not be read may have been alerts that fire.
    let is_told = |policy: &DynamicObject| message_of(policy, "Ready").contains("OversizedMessage");
    policy.wait_until("a message was not read", is_told).await;
}

#[tokio::test]
async fn an_alert_that_cannot_be_read_hides_no_other_and_keeps_the_incident_open() {
    let case = Case::begin("s25-unreadable").await;
    let policy = case.policy(|spec| spec["steps"] = json!([])).await;
    case.alertmanager.deliver(&case.operator, &message([])).await;
    let odd = |status: &str| {
        let mut odd = alert(2, status, "critical");
        odd["labels"]["node"] = json!(7);
        odd
    };
    let both = message([odd("firing"), alert(1, "firing", "critical")]);
    let answer = case.alertmanager.send(&case.operator, &both).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.text.contains("1 of 2 alerts cannot be read"), "{}", answer.text);
    let incident = case.drill.world.incident_of(&policy).await;
    let in_part = case.operator.metric("firebreak_alert_requests_total{result=\"recorded_in_part\"}").await;
    assert_eq!(in_part, Some(1.0));
    let unreadable = &policy.get().await.data["status"]["alerts"][0]["unreadable"];
    assert_eq!(unreadable[0]["fingerprint"], "0000000000000002");
    assert!(case.operator.log().contains("an alert cannot be read"), "the log says nothing");

    case.alertmanager.deliver(&case.operator, &resolved(1)).await;
    policy
        .wait_until("the rule is Unknown", |policy| policy.data["status"]["rules"][0]["truth"] == "Unknown")
        .await;
    heartbeats(&case.operator, 3).await;
    assert!(!closed(&incident.get().await), "{incident}: closed although an alert may fire");
    assert_eq!(case.alertmanager.send(&case.operator, &message([odd("resolved")])).await.status, 200);
    incident.wait_for_condition("Resolved", "True").await;
}

#[tokio::test]
async fn alerts_for_a_policy_that_does_not_decode_are_to_be_sent_again() {
    let case = Case::begin("s25-undecodable").await;
    let policy = case.policy(|spec| spec["steps"] = json!([])).await;
    case.alertmanager.deliver(&case.operator, &message([])).await;
    let rules = |rules: serde_json::Value| json!({"status": {"rules": rules}});
    // The API server accepts every time of RFC 3339, and programs do not.
    let end = json!({
        "reason": "GpuLost", "level": "P0", "truth": "False", "known": "False", "since": "9999-12-31T23:59:59Z",
    });
    policy.merge_status("mallory", rules(json!([end]))).await;
    let cannot_be_read = |policy: &DynamicObject| message_of(policy, "Ready").contains("cannot be read");
    policy.wait_until("it does not decode", cannot_be_read).await;
    let answer = case.alertmanager.send(&case.operator, &firing(1)).await;
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(answer.text.contains("the policy cannot be read"), "{}", answer.text);
    let refused = case.operator.metric("firebreak_alert_requests_total{result=\"undecodable\"}").await;
    assert_eq!(refused, Some(1.0));
    assert!(case.operator.log().contains("a policy that cannot be read"), "the log says nothing");
    policy.merge_status("mallory", rules(json!([]))).await;
    case.alertmanager.deliver(&case.operator, &firing(1)).await;
    case.drill.world.incident_of(&policy).await;
}
