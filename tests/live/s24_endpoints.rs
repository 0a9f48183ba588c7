//! Signals that ask an endpoint: what is no plain answer is Unknown, with the reason; nothing opens and nothing closes because
//! of it, it recovers alone, and the other policies notice nothing.

use std::{fs, path::PathBuf};

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, closed, heartbeats, message_of},
    support::{
        endpoint::{Answer, Endpoint},
        manifest,
        object::Object,
        operator::Operator,
        rights::Rule,
    },
};

const HEALTHY: Answer = Answer::Value("0.01");
const FAILING: Answer = Answer::Value("0.2");

/// A drill whose emergency is an error rate that an endpoint reports.
struct Case {
    drill: Drill,
    endpoint: Endpoint,
    configuration: PathBuf,
    token: PathBuf,
    operator: Operator,
}

impl Case {
    async fn begin(name: &str) -> Self {
        let drill = Drill::new(name).await;
        let endpoint = Endpoint::start(HEALTHY).await;
        let (configuration, token) =
            (drill.world.files().join("configuration.yaml"), drill.world.files().join("token"));
        fs::write(&token, "t0ken").expect("a file");
        fs::write(&configuration, text(&named("main", &endpoint, &token))).expect("a file");
        let plan =
            drill.world.operator().flag("--config").flag(configuration.to_str().expect("a path of text"));
        let plan = drill::QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag));
        let operator = plan.start().await;
        let case = Self { drill, endpoint, configuration, token, operator };
        case.grant_use().await;
        case
    }

    async fn grant_use(&self) {
        let mut rights = drill::rights();
        rights.push(Rule { group: "firebreak.dev", resources: &["endpoints"], verbs: &["use"] });
        self.drill.world.grant(&self.drill.world.a, &rights).await;
    }

    /// A policy that responds to the error rate, with something changed in its spec.
    async fn policy(&self, name: &str, edit: impl FnOnce(&mut Value)) -> Object {
        let mut policy = drill::policy_manifest(|spec| {
            spec["signals"] = json!([signal()]);
            spec["severity"] =
                json!([{"level": "P0", "reason": "HighErrorRate", "when": "signals.errors.value > 0.05"}]);
            spec["steps"][0]["verify"]["checks"] = json!([{"rollout": {}}]);
            edit(spec);
        });
        policy["metadata"]["name"] = json!(name);
        self.drill.world.apply("flux", &policy.to_string()).await.remove(0)
    }
}

/// Asked as often as possible.
fn signal() -> Value {
    json!({
        "name": "errors", "every": "1s", "timeout": "1s", "maxAge": "3s",
        "prometheus": {"endpoint": "main", "query": "sum(rate(errors[1m])) / sum(rate(requests[1m]))"},
    })
}

/// A policy that opens an Incident when this is true of its signal `s`.
async fn watcher(case: &Case, name: &str, signal: Value, when: &str) -> Object {
    let policy = case.policy(name, |spec| {
        let mut whole = json!({"name": "s", "every": "1s", "timeout": "1s", "maxAge": "3s"});
        whole.as_object_mut().expect("a map").extend(signal.as_object().expect("a map").clone());
        spec["steps"] = json!([]);
        spec["signals"] = json!([whole]);
        spec["severity"][0]["when"] = json!(when);
    });
    policy.await
}

fn named(name: &str, endpoint: &Endpoint, token: &std::path::Path) -> Value {
    let url = format!("http://{}/?key=s3cret", endpoint.address());
    json!({"name": name, "type": "Prometheus", "url": url, "bearerTokenFile": token})
}

fn text(endpoint: &Value) -> String {
    let configuration = json!({"apiVersion": "config.firebreak.dev/v1alpha1", "kind": "OperatorConfiguration", "endpoints": [endpoint]});
    configuration.to_string()
}

/// Waits until the policy says that it cannot read its signal, and why, for programs and for people.
async fn until_blind(policy: &Object, why: &str) {
    let is_blind = |policy: &DynamicObject| {
        let signal = &policy.data["status"]["signals"][0];
        signal["state"] == "Unknown"
            && signal["summary"].as_str().unwrap_or_default().contains(why)
            && message_of(policy, "Ready").contains(why)
    };
    let blind = policy.wait_until(&format!("errors is Unknown: {why}"), is_blind).await;
    let shown = manifest::readable(&blind);
    assert!(!shown.contains("s3cret") && !shown.contains("t0ken"), "{policy}: {shown}");
}

/// Waits until people are told why the signal cannot be read. The short form in the status keeps the first reason.
async fn until_told(policy: &Object, why: &str) {
    let is_told = |policy: &DynamicObject| message_of(policy, "Ready").contains(why);
    policy.wait_until(&format!("Ready says {why}"), is_told).await;
}

async fn until_known(policy: &Object) {
    let is_known = |policy: &DynamicObject| policy.data["status"]["signals"][0]["state"] == "Known";
    policy.wait_until("errors is Known", is_known).await;
}

#[tokio::test]
async fn an_error_rate_opens_an_incident_and_its_fall_ends_the_response() {
    let case = Case::begin("s24-rate").await;
    let models = case.drill.models(1).await;
    let policy = case.policy("drill", |_| {}).await;
    policy.wait_for_condition("Ready", "True").await;
    case.endpoint.answer(FAILING);
    let incident = case.drill.world.incident_of(&policy).await;
    let told =
        incident.wait_until("the evidence", |incident| !incident.data["status"]["rules"].is_null()).await;
    assert!(told.data["status"]["rules"][0]["evidence"].to_string().contains("value 0.2"), "{incident}");
    case.endpoint.answer(HEALTHY);
    incident.wait_for_condition("Resolved", "True").await;
    models.assert_reverted().await;

    assert_eq!(case.endpoint.credentials().last().map(String::as_str), Some("Bearer t0ken"));
    fs::write(&case.token, "t0ken-2").expect("a file");
    let so_far = case.endpoint.credentials().len();
    while case.endpoint.credentials().len() < so_far + 2 {
        heartbeats(&case.operator, 1).await;
    }
    assert_eq!(case.endpoint.credentials().last().map(String::as_str), Some("Bearer t0ken-2"));
    let log = case.operator.log();
    assert!(!log.contains("s3cret") && !log.contains("t0ken"), "a credential is in the log");
}

#[tokio::test]
async fn what_is_no_plain_answer_opens_nothing_and_closes_nothing_and_recovers_alone() {
    let case = Case::begin("s24-faults").await;
    let models = case.drill.models(1).await;
    // It has the alarm of the drill, and notices nothing.
    let mut other = drill::policy_manifest(|spec| spec["steps"] = json!([]));
    other["metadata"]["name"] = json!("other");
    let other = case.drill.world.apply("flux", &other.to_string()).await.remove(0);
    let quiet = case.policy("quiet", |spec| {
        spec["steps"] = json!([]);
        spec["severity"][0]["when"] = json!("signals.errors.value > 0.5");
        spec["signals"][0]["prometheus"]["freshness"] = json!("max(timestamp(errors))");
    });
    let quiet = quiet.await;
    let policy = case.policy("drill", |_| {}).await;
    for policy in [&other, &quiet, &policy] {
        policy.wait_for_condition("Ready", "True").await;
    }
    case.endpoint.answer(FAILING);
    let incident = case.drill.world.incident_of(&policy).await;
    incident.wait_for_condition("Mitigated", "True").await;

    let before = case.operator.metric("process_resident_memory_bytes").await.expect("memory");
    for (answer, why) in [
        (Answer::Silence, "Unreachable: endpoint main: it did not answer within 1000 ms"),
        (Answer::Error(500, "internal"), "Unreachable: endpoint main: it answers 500"),
        (Answer::Error(422, "execution"), "QueryRejected"),
        (Answer::Error(401, ""), "Unauthorized"),
        (Answer::Matrix, "WrongType"),
        (Answer::Partial("0.01"), "Partial"),
        (Answer::Page, "Unreadable"),
        (Answer::Metadata, "Redirect"),
        (Answer::Many(1_000_000), "TooLarge"),
    ] {
        case.endpoint.answer(answer);
        until_blind(&policy, why).await;
        heartbeats(&case.operator, 3).await;
        assert!(!closed(&incident.get().await), "{incident}: closed on {why}");
        other.wait_for_condition("Ready", "True").await;
        case.endpoint.answer(FAILING);
        until_known(&policy).await;
    }
    let grown = case.operator.metric("process_resident_memory_bytes").await.expect("memory") - before;
    assert!(grown < 24e6, "the memory has grown by {grown} bytes");

    // A value that is not there leaves the rule Unknown, and not the signal.
    for answer in [Answer::Empty, Answer::Value("NaN")] {
        case.endpoint.answer(answer);
        heartbeats(&case.operator, 4).await;
        assert!(!closed(&incident.get().await), "{incident}: closed without a value");
    }
    case.endpoint.answer(Answer::Old("0.9", 3600));
    until_blind(&quiet, "Stale").await;
    heartbeats(&case.operator, 3).await;
    case.endpoint.answer(HEALTHY);
    until_known(&quiet).await;
    incident.wait_for_condition("Resolved", "True").await;
    models.assert_reverted().await;
    let opened = case.drill.incidents().await.len();
    assert_eq!(opened, 1, "an Incident was opened on a signal that is Unknown");
    let errors = case.operator.metric("firebreak_signal_errors_total{kind=\"prometheus\"}").await;
    assert!(errors > Some(9.0), "{errors:?}");
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_unreachable_and_found_again() {
    let case = Case::begin("s24-gone").await;
    let policy = case.policy("drill", |spec| spec["steps"] = json!([])).await;
    policy.wait_for_condition("Ready", "True").await;
    let Case { drill, endpoint, operator, .. } = case;
    let address = endpoint.address();
    drop(endpoint);
    until_blind(&policy, "Unreachable: endpoint main: ").await;
    heartbeats(&operator, 3).await;
    assert!(drill.incidents().await.is_empty());
    let _again = Endpoint::listen(address, FAILING).await;
    drill.world.incident_of(&policy).await;
}

#[tokio::test]
async fn without_the_right_to_use_it_an_endpoint_is_not_asked() {
    let case = Case::begin("s24-rights").await;
    case.drill.world.grant(&case.drill.world.a, &drill::rights()).await;
    let policy = case.policy("drill", |spec| spec["steps"] = json!([])).await;
    let lacks = policy.wait_for_condition("Authorized", "False").await;
    let lacks = message_of(&lacks, "Authorized");
    assert!(lacks.contains("may not use endpoints.firebreak.dev main"), "{lacks}");
    let is_told = |policy: &DynamicObject| {
        let summary = policy.data["status"]["signals"][0]["summary"].to_string();
        summary.contains("resourceNames: [main], verbs: [use]")
    };
    policy.wait_until("the rule is named", is_told).await;
    assert!(case.endpoint.credentials().is_empty(), "it was asked");
    case.grant_use().await;
    policy.wait_for_condition("Ready", "True").await;
    policy.wait_for_condition("Authorized", "True").await;
    case.drill.world.grant(&case.drill.world.a, &drill::rights()).await;
    policy.wait_for_condition("Authorized", "False").await;
}

#[tokio::test]
async fn an_endpoint_that_the_configuration_lacks_is_named_with_those_that_it_has() {
    let case = Case::begin("s24-config").await;
    let policy = case.policy("drill", |spec| {
        spec["steps"] = json!([]);
        spec["signals"][0]["prometheus"]["endpoint"] = json!("other");
    });
    let policy = policy.await;
    until_blind(&policy, "has no endpoint other; of type Prometheus it has main").await;
    let wrong = text(&json!({"name": "other", "type": "Prometheus", "url": "http://169.254.169.254/"}));
    fs::write(&case.configuration, wrong).expect("a file");
    case.operator.wait_for_metric("firebreak_configuration_valid", 0.0).await;
    assert!(case.operator.log().contains("a link-local address"), "the refusal says why");
    fs::write(&case.configuration, text(&named("other", &case.endpoint, &case.token))).expect("a file");
    policy.wait_for_condition("Ready", "True").await;
}

#[tokio::test]
async fn alerts_that_fire_are_counted_by_their_severity() {
    let case = Case::begin("s24-alerts").await;
    let mut alertmanager = named("alerts", &case.endpoint, &case.token);
    alertmanager["type"] = json!("Alertmanager");
    fs::write(&case.configuration, text(&alertmanager)).expect("a file");
    case.endpoint.answer(Answer::Alerts(&["warning"]));
    let alerts =
        json!({"endpoint": "alerts", "matchers": ["job=\"vllm\""], "severities": {"critical": "P0"}});
    let signal = json!({"alertmanager": alerts});
    let policy = watcher(&case, "drill", signal, "signals.s.p0 > 0 && signals.s.firing > 1").await;
    policy.wait_for_condition("Ready", "True").await;
    case.endpoint.answer(Answer::Page);
    until_blind(&policy, "Unreadable").await;
    case.endpoint.answer(Answer::Alerts(&["warning", "critical"]));
    case.drill.world.incident_of(&policy).await;
}

#[tokio::test]
async fn a_request_over_http_is_judged_by_its_status_alone() {
    let case = Case::begin("s24-http").await;
    let mut http = named("gateway", &case.endpoint, &case.token);
    http["type"] = json!("HTTP");
    fs::write(&case.configuration, text(&http)).expect("a file");
    case.endpoint.answer(Answer::Page);
    let signal = json!({"http": {"endpoint": "gateway", "path": "/health"}});
    let policy = watcher(&case, "drill", signal, "!signals.s.ok && signals.s.status == 500").await;
    policy.wait_for_condition("Ready", "True").await;
    case.endpoint.answer(Answer::Many(1_000_000));
    heartbeats(&case.operator, 3).await;
    assert!(case.drill.incidents().await.is_empty(), "a long body is no failure");
    case.endpoint.answer(Answer::Metadata);
    until_blind(&policy, "Redirect").await;
    case.endpoint.answer(Answer::Error(500, "internal"));
    case.drill.world.incident_of(&policy).await;
}

#[tokio::test]
async fn a_service_is_asked_through_the_api_server_as_the_service_account() {
    let case = Case::begin("s24-service").await;
    let world = &case.drill.world;
    let port = case.endpoint.address().port();
    let service = json!({"service": {"name": "chat", "port": port}, "path": "/health"});
    let policy = watcher(&case, "drill", json!({"http": service}), "!signals.s.ok").await;
    let is_forbidden = |policy: &DynamicObject| {
        policy.data["status"]["signals"][0]["summary"].as_str().unwrap_or_default().starts_with("Forbidden")
    };
    policy.wait_until("the signal is Forbidden", is_forbidden).await;
    let lacks = policy.wait_for_condition("Authorized", "False").await;
    let right = format!("get services/proxy chat:{port} in namespace");
    assert!(message_of(&lacks, "Authorized").contains(&right), "{}", message_of(&lacks, "Authorized"));
    let mut rights = drill::rights();
    rights.push(Rule { group: "", resources: &["services/proxy"], verbs: &["get"] });
    world.grant(&world.a, &rights).await;
    until_told(&policy, "NotFound").await;
    let chat = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat", "namespace": world.a},
        "spec": {"selector": {"app": "chat"}, "ports": [{"port": port, "protocol": "TCP"}]},
    });
    world.apply("harness", &chat.to_string()).await;
    until_told(&policy, "Unreachable").await;
    assert!(case.drill.incidents().await.is_empty());
}
