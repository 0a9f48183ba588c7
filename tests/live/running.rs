//! The process: health, metrics, logs, Events, its graceful shutdown, and the namespaces that it watches.

use serde_json::{Value, json};

use crate::{
    drill::{
        self, Drill, Models, SpecWrites, change_of, heartbeats, is_apply, is_stalled, policy_manifest,
        spec_writes,
    },
    support::{
        operator::Operator,
        proxy::{Call, Fault, Rule},
        rights,
    },
};

#[tokio::test]
async fn a_write_in_flight_is_finished_and_journalled_before_the_lease_is_released() {
    let drill = Drill::new("sigterm").await;
    let models = drill.models(2).await;
    let operator = drill.world.operator().start().await;
    operator.proxy.on(Rule::nth(
        1,
        |call| is_apply(call, "model-0"),
        Fault::Delay(std::time::Duration::from_secs(2)),
    ));
    let policy = drill.policy().await;
    drill.ring().await;
    let sent =
        operator.proxy.wait_for("the loan is taken", |exchange| is_apply(&exchange.call, "model-0")).await;
    assert_eq!(sent.server, None, "the server has it already");

    let status = operator.stop().await;
    assert!(status.success(), "{status}");
    let calls = operator.proxy.calls();
    let apply = calls.iter().find(|exchange| is_apply(&exchange.call, "model-0")).expect("it was sent");
    assert_eq!((apply.server, apply.client), (Some(200), Some(200)), "{apply}: it was cut off");
    let incident = drill.world.incident_of(&policy).await;
    for model in &models.objects {
        let state = change_of(&incident.get().await, model.name())["state"].clone();
        assert!(state == "Applied" || state == "Verified", "{incident}: {model}: {state}");
    }
    let lease =
        drill.world.object("coordination.k8s.io/v1", "Lease", &drill.world.operator_namespace, "firebreak");
    let holder = lease.get().await.data["spec"]["holderIdentity"].clone();
    assert!(holder.is_null() || holder == "", "{lease}: held by {holder}");

    operator.restart();
    drill.recover(&incident).await;
    models.assert_reverted().await;
    for model in &models.objects {
        let once = SpecWrites { applied: 1, returned: 1 };
        assert_eq!(spec_writes(&[operator.proxy.record()], model.name()), once, "{model}");
    }
}

fn reads_policies(call: &Call) -> bool {
    call.method == http::Method::GET && call.target.resource == "remediationpolicies"
}

#[tokio::test]
async fn it_is_ready_when_it_has_seen_the_cluster_and_knows_who_leads() {
    let drill = Drill::new("ready").await;
    let leader = drill.world.operator().start().await;
    drill.policy().await;
    let (code, text) = leader.fetch("/readyz").await;
    assert_eq!(code, 200, "{text}");
    assert!(text.contains("leading"), "{text}");
    assert_eq!(leader.fetch("/healthz").await.0, 200);
    leader.wait_for_metric("leader_election_master_status{name=\"firebreak\"}", 1.0).await;

    let standby = drill.world.operator().named("firebreak-1").start().await;
    let ready = async {
        while standby.fetch("/readyz").await.0 != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), ready).await.expect("a standby is ready");
    assert!(standby.fetch("/readyz").await.1.contains("standby for \"firebreak-0\""));
    assert_eq!(standby.metric("leader_election_master_status{name=\"firebreak\"}").await, Some(0.0));

    leader.proxy.on(Rule::each(reads_policies, Fault::answer(500)));
    leader.restart();
    leader
        .proxy
        .wait_for_nth(2, "asks for policies", |exchange| {
            reads_policies(&exchange.call) && exchange.client == Some(500)
        })
        .await;
    let (code, text) = leader.fetch("/readyz").await;
    assert_eq!(code, 503, "{text}");
    assert!(text.contains("cache policies: not primed yet"), "{text}");
    assert_eq!(leader.fetch("/healthz").await.0, 200, "it lives all the same");
}

#[tokio::test]
async fn every_number_is_that_of_what_happened_and_survives_a_restart() {
    let drill = Drill::new("metrics").await;
    let models = drill.models(2).await;
    let operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let mut blind = policy_manifest(|spec| spec["signals"][0]["objects"]["kind"] = json!("Unicorn"));
    blind["metadata"]["name"] = json!("blind");
    drill.world.apply("flux", &blind.to_string()).await;
    let signal = format!(
        "firebreak_signal{{field=\"unhealthy\",policy=\"{}/drill\",signal=\"alarm\"}}",
        drill.world.a
    );
    operator.wait_for_metric(&signal, 0.0).await;
    operator.wait_for_metric("firebreak_changes_outstanding", 0.0).await;

    let incident = drill.respond(&policy).await;
    models.wait_until_fallen().await;
    operator.wait_for_metric(&signal, 1.0).await;
    let monitoring = "firebreak_incidents{phase=\"Monitoring\",severity=\"P0\"}";
    operator.wait_for_metric(monitoring, 1.0).await;
    operator.wait_for_metric("firebreak_changes_outstanding", 2.0).await;
    operator.wait_for_metric("firebreak_steps_total{action=\"cpuFallback\",outcome=\"verified\"}", 1.0).await;
    operator.wait_for_metric("firebreak_changes_total{outcome=\"applied\",work=\"loan\"}", 2.0).await;
    operator.wait_for_metric("firebreak_ready", 1.0).await;
    operator.wait_for_metric("workqueue_depth{name=\"incident\",priority=\"P0\"}", 0.0).await;
    let responding = "firebreak_policies{mode=\"Enforce\",ready=\"True\",reason=\"Responding\"}";
    operator.wait_for_metric(responding, 1.0).await;
    for time in ["open", "first_action", "mitigate"] {
        operator.wait_for_metric(&format!("firebreak_time_to_{time}_seconds_count"), 1.0).await;
        let sum = operator.metric(&format!("firebreak_time_to_{time}_seconds_sum")).await.expect("a sum");
        assert!((0.0..60.0).contains(&sum), "firebreak_time_to_{time}_seconds: {sum}");
    }
    let at_least_once = async |name: &str| {
        let (_, text) = operator.fetch("/metrics").await;
        let value =
            text.lines().find_map(|line| line.strip_prefix(name)?.rsplit(' ').next()?.parse::<f64>().ok());
        assert!(value.is_some_and(|value| value > 0.0), "{name}: {value:?} in\n{text}");
    };
    at_least_once("firebreak_api_requests_total{code=\"200\",resource=\"llmdeployments\",verb=\"patch\"}")
        .await;
    at_least_once("firebreak_signal_errors_total{kind=\"objects\"}").await;
    at_least_once("controller_runtime_reconcile_total{controller=\"incident\"").await;
    at_least_once("controller_runtime_reconcile_total{controller=\"policy\"").await;
    at_least_once("controller_runtime_reconcile_time_seconds_count{controller=\"incident\"}").await;

    operator.restart();
    operator.wait_for_metric("firebreak_changes_outstanding", 2.0).await;
    operator.wait_for_metric(monitoring, 1.0).await;

    drill.recover(&incident).await;
    operator.wait_for_metric("firebreak_changes_outstanding", 0.0).await;
    operator.wait_for_metric("firebreak_steps_total{action=\"cpuFallback\",outcome=\"returned\"}", 1.0).await;
    operator.wait_for_metric("firebreak_changes_total{outcome=\"reverted\",work=\"loan\"}", 2.0).await;
    assert_eq!(operator.metric(monitoring).await, None, "it is closed");
    assert_eq!(
        operator.metric("firebreak_time_to_open_seconds_count").await,
        Some(0.0),
        "counted again after a restart"
    );
    models.assert_reverted().await;
}

/// How often an object has an Event with this reason.
async fn count(object: &crate::support::object::Object, reason: &str) -> usize {
    object.events().await.iter().filter(|event| event.starts_with(&format!("{reason}: "))).count()
}

#[tokio::test]
async fn events_are_on_the_incident_and_on_each_touched_object_once() {
    let drill = Drill::new("events-told").await;
    let models = drill.models(3).await;
    let operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    models.wait_until_fallen().await;
    incident.wait_for_event("StepVerified").await;
    operator.restart();
    drill.recover(&incident).await;
    incident.wait_for_event("Resolved").await;
    let table = drill.world.kubectl(&["get", "inc", "--namespace", &drill.world.a]).await;
    assert!(table.lines().any(|line| line.contains(" P0 ") && line.contains("Resolved")), "{table}");
    for reason in ["Opened", "Classified", "StepStarted", "StepVerified", "WithdrawalStarted", "Resolved"] {
        assert_eq!(count(&incident, reason).await, 1, "{incident}: {reason}: {:#?}", incident.events().await);
    }
    for model in &models.objects {
        for reason in ["FirebreakApplied", "FirebreakReverted"] {
            let note = model.wait_for_event(reason).await;
            assert!(note.contains(incident.name()), "{model}: {reason}: {note}");
            assert!(note.contains("/spec/resources/limits/nvidia.com~1gpu"), "{model}: {reason}: {note}");
            assert_eq!(count(model, reason).await, 1, "{model}: {:#?}", model.events().await);
        }
    }
}

#[tokio::test]
async fn an_event_says_that_a_person_is_needed() {
    let drill = Drill::new("events-held").await;
    let _models = drill.models(2).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill.policy_with(|spec| spec["guardrails"] = json!({"maxTargets": 1})).await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    incident.wait_until("Held", |incident| is_stalled(incident, "TooManyTargets")).await;
    let note = incident.wait_for_event("TooManyTargets").await;
    assert!(note.contains("maxTargets"), "{note}");
}

fn is_json(line: &str) -> bool {
    serde_json::from_str::<Value>(line)
        .is_ok_and(|line| line["level"].is_string() && line["message"].is_string())
}

#[tokio::test]
async fn logs_are_json_for_collectors_and_text_for_people() {
    let drill = Drill::new("logs").await;
    let json = drill.world.operator().start().await;
    drill.policy().await;
    let log = json.log();
    assert!(!log.is_empty() && log.lines().all(is_json), "{log}");
    json.kill();
    let text = drill.world.operator().named("firebreak-1").flag("--log-format").flag("text").start().await;
    text.fetch("/healthz").await;
    let log = text.log();
    assert!(!log.is_empty() && !log.lines().any(is_json), "{log}");
}

#[tokio::test]
async fn what_is_in_other_namespaces_than_those_to_be_watched_is_not_looked_at() {
    let here = Drill::new("watch-here").await;
    let there = Drill::new("watch-there").await;
    let models = there.models(1).await;
    let plan = here.world.operator();
    let operator = drill::QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag)).start().await;
    here.policy().await;
    let unseen = there.apply_policy(|_| {}).await;
    there.ring().await;
    heartbeats(&operator, 8).await;
    assert!(unseen.get().await.data.get("status").is_none(), "{unseen}: it was looked at");
    assert!(there.incidents().await.is_empty(), "{unseen}: an Incident was opened");
    models.assert_untouched(0).await;
    for exchange in operator.proxy.calls() {
        let namespace = &exchange.call.target.namespace;
        assert!(*namespace != there.world.a && *namespace != there.world.b, "{exchange}");
        let is_ours = exchange.call.target.group == "firebreak.dev";
        assert!(!is_ours || !namespace.is_empty(), "of the whole cluster: {exchange}");
    }
}

const SECRETS: [&str; 3] = ["hunter2-environment", "hunter2-argument", "aHVudGVyMi1zZWNyZXQ="];

async fn everything_said(drill: &Drill, operator: &Operator, models: &Models) -> String {
    let mut said = operator.log();
    said.push_str(&operator.fetch("/metrics").await.1);
    for kind in ["remediationpolicies", "incidents", "configmaps", "events"] {
        said.push_str(&drill.world.kubectl(&["get", kind, "-o", "json", "-n", &drill.world.a]).await);
    }
    for model in &models.objects {
        for (key, value) in model.snapshot().await.annotations {
            if key.starts_with("firebreak.dev/") {
                said.push_str(&value);
            }
        }
    }
    said.push_str(&String::from_utf8_lossy(
        &drill.world.firebreak(&["plan", "drill", "-n", &drill.world.a]).await.stdout,
    ));
    said
}

/// Objects of which Firebreak may mention only some fields.
#[tokio::test]
async fn values_of_secrets_environment_and_arguments_stay_on_their_objects() {
    let drill = Drill::new("secrecy").await;
    let secrets = rights::Rule { group: "", resources: &["secrets"], verbs: &["get", "list", "watch"] };
    drill.world.grant(&drill.world.a, &[drill::rights(), vec![secrets]].concat()).await;
    let [environment, argument, secret] = SECRETS;
    let token = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", "namespace": drill.world.a},
        "data": {"token": secret},
    });
    drill.world.create("alice", &token.to_string()).await;
    let gateway = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "gateway", "namespace": drill.world.a},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "gateway"}},
            "template": {"metadata": {"labels": {"app": "gateway"}}, "spec": {
                "nodeSelector": {"nvidia.com/gpu.pool": drill.world.id},
                "tolerations": [{"key": "nvidia.com/gpu.pool", "value": drill.world.id}],
                "containers": [{
                    "name": "main", "image": "example.com/vllm:1", "args": [format!("--api-key={argument}")],
                    "env": [{"name": "HF_TOKEN", "value": environment}],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                }],
            }},
        },
    });
    let _nodes = drill.world.gpu_nodes(1).await;
    let gateway = drill.world.create("flux", &gateway.to_string()).await;
    gateway[0].wait_until("it runs", drill::has_rolled_out).await;
    let gateway = Models::of(gateway).await;
    let operator = drill.world.operator().flag("--log-level").flag("debug").start().await;
    let policy = drill
        .apply_policy(|spec| {
            let targets = drill::targets(spec);
            targets["apiVersion"] = json!("apps/v1");
            targets["kind"] = json!("Deployment");
            // One expression that fails on the value, which could tempt Firebreak to print it.
            let tokens = json!({"name": "tokens", "objects": {
                "apiVersion": "v1", "kind": "Secret", "names": ["token"], "healthy": "int(object.data.token) > 5",
            }});
            spec["signals"].as_array_mut().expect("a list").push(tokens);
            spec["severity"].as_array_mut().expect("a list").push(json!({
                "level": "P1", "reason": "TokenBad", "when": "signals.tokens.unhealthy > 0",
            }));
        })
        .await;
    let incident = drill.respond(&policy).await;
    let during = everything_said(&drill, &operator, &gateway).await;
    drill.world.firebreak(&["withdraw", incident.name(), "-n", &drill.world.a]).await;
    let after = everything_said(&drill, &operator, &gateway).await;
    assert!(during.contains("nvidia.com~1gpu") && after.contains("# Incident Report"), "nothing was said");
    for secret in SECRETS {
        assert!(!during.contains(secret), "{secret} is told while the response is in force");
        assert!(!after.contains(secret), "{secret} is told in the end");
    }
    let stayed = gateway.objects[0].snapshot().await.spec.to_string();
    assert!(stayed.contains(environment) && stayed.contains(argument), "{stayed}");
}
