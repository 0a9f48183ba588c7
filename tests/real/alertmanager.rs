//! A rule of Prometheus fires, Alertmanager sends and shows its alert, and Firebreak responds until it is resolved. While
//! Alertmanager restarts, nothing is lost and nothing is taken for resolved.

use std::{fs, path::PathBuf, time::Duration};

use kube::api::DynamicObject;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::{
    drill::{self, Drill, closed, heartbeats},
    prometheus::{address, ask, fetch},
    server::Server,
    support::{
        alertmanager::Alertmanager as Sender,
        object::{Object, PATIENCE},
        operator::Operator,
        rights::Rule,
        world::World,
    },
};

/// An Alertmanager that sends to the policy `drill`.
struct Alertmanager {
    server: Server,
    address: String,
}

impl Alertmanager {
    /// One that listens here, as `HOST:PORT`.
    async fn start(world: &World, at: &str) -> Self {
        let (file, data) = (world.files().join("alertmanager.yml"), world.files().join("alertmanager"));
        let server = Server::start(world, "alertmanager", |command| {
            command
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.path={}", data.display()))
                .arg(format!("--web.listen-address={at}"))
                .arg("--cluster.listen-address=");
        });
        let address = listens(&server).await;
        Self { server, address }
    }

    /// It is killed, and starts again with what it has stored.
    async fn restart(self, world: &World) -> Self {
        let Self { server, address } = self;
        drop(server);
        Self::start(world, &address).await
    }

    /// Waits until it shows so many alerts that fire.
    async fn wait_for(&self, alerts: usize) {
        let shown = async {
            loop {
                let text = fetch(&self.address, "/api/v2/alerts?active=true").await.unwrap_or_default();
                if text.matches("\"fingerprint\"").count() == alerts {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, shown).await.unwrap_or_else(|_| panic!("Alertmanager has not {alerts} alert(s)"));
    }
}

/// Where a server listens, once it does.
async fn listens(server: &Server) -> String {
    let found = async {
        loop {
            if let Some(address) = address(&server.log())
                && fetch(&address, "/-/ready").await.is_ok()
            {
                return address;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, found).await.expect("it listens")
}

/// A Prometheus with one rule, which is true or not.
struct Prometheus {
    server: Server,
    rules: PathBuf,
}

impl Prometheus {
    async fn start(world: &World, alertmanager: &str) -> Self {
        let rules = world.files().join("rules.yml");
        let configuration = json!({
            "global": {"evaluation_interval": "1s"},
            "rule_files": [rules],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        });
        write_rule(&rules, "vector(0) > 1");
        let file = world.files().join("prometheus.yml");
        fs::write(&file, configuration.to_string()).expect("a file");
        let server = Server::start(world, "prometheus", |command| {
            command
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", world.files().join("prometheus").display()))
                .arg("--web.listen-address=127.0.0.1:0")
                .arg("--web.enable-lifecycle")
                .arg("--rules.alert.resend-delay=1s");
        });
        listens(&server).await;
        Self { server, rules }
    }

    /// The rule has this expression from now on.
    async fn rule(&self, expression: &str) {
        write_rule(&self.rules, expression);
        let said = ask(&listens(&self.server).await, "POST", "/-/reload").await.expect("an answer");
        assert_eq!(said, "");
    }
}

fn write_rule(file: &std::path::Path, expression: &str) {
    let rule = json!({"alert": "GpuLost", "expr": expression, "labels": {"severity": "critical"}});
    let rules = json!({"groups": [{"name": "gpu", "rules": [rule]}]});
    fs::write(file, rules.to_string()).expect("a file");
}

/// A policy that hears of the alert and asks for it, too.
async fn policy(drill: &Drill) -> Object {
    let policy = drill.apply_policy(|spec| {
        spec["signals"] = json!([
            {
                "name": "sent",
                "alertmanager": {"receive": {"matchers": ["alertname=\"GpuLost\""]}, "severities": {"critical": "P0"}},
            },
            {
                "name": "asked", "every": "1s", "timeout": "1s", "maxAge": "1m",
                "alertmanager": {
                    "endpoint": "alerts", "matchers": ["alertname=\"GpuLost\""], "severities": {"critical": "P0"},
                },
            },
        ]);
        spec["severity"] = json!([
            {"level": "P0", "reason": "GpuLost", "when": "signals.sent.p0 > 0"},
            {"level": "P1", "reason": "GpuLostAsAsked", "when": "signals.asked.p0 > 0"},
        ]);
        spec["steps"][0]["verify"]["checks"] = json!([{"rollout": {}}]);
    });
    policy.await
}

/// The truths of both rules.
fn truths(policy: &DynamicObject) -> Vec<&str> {
    let rules = policy.data["status"]["rules"].as_array().map_or(&[][..], Vec::as_slice);
    rules.iter().filter_map(|rule| rule["truth"].as_str()).collect()
}

async fn operator(drill: &Drill, alertmanager: &Alertmanager) -> Operator {
    let endpoint =
        json!({"name": "alerts", "type": "Alertmanager", "url": format!("http://{}", alertmanager.address)});
    let configuration = json!({
        "apiVersion": "config.firebreak.dev/v1alpha1", "kind": "OperatorConfiguration", "endpoints": [endpoint],
    });
    let file = drill.world.files().join("configuration.yaml");
    fs::write(&file, configuration.to_string()).expect("a file");
    let plan = drill.world.operator().receiving_alerts().flag("--config").flag(file.to_str().expect("text"));
    drill::QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag)).start().await
}

/// The configuration of Alertmanager, which sends to this operator.
async fn configure(drill: &Drill, to: &str) {
    let sender = Sender::new(&drill.world, &["drill"]).await;
    let webhook = json!({
        "url": format!("http://{to}{}", sender.path("drill")),
        "http_config": {"authorization": {"credentials": sender.token()}},
    });
    let configuration = json!({
        "route": {
            "receiver": "firebreak", "group_by": ["alertname"],
            "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h",
        },
        "receivers": [{"name": "firebreak", "webhook_configs": [webhook]}],
    });
    fs::write(drill.world.files().join("alertmanager.yml"), configuration.to_string()).expect("a file");
}

#[tokio::test]
async fn an_alert_of_prometheus_opens_its_incident_by_way_of_alertmanager_and_a_restart_of_that_resolves_nothing()
 {
    let drill = Drill::new("alertmanager").await;
    let world = &drill.world;
    let mut rights = drill::rights();
    rights.push(Rule { group: "firebreak.dev", resources: &["endpoints"], verbs: &["use"] });
    world.grant(&world.a, &rights).await;
    let models = drill.models(1).await;
    // The operator learns where to ask, and Alertmanager where to send.
    configure(&drill, "127.0.0.1:1").await;
    let alertmanager = Alertmanager::start(world, "127.0.0.1:0").await;
    let operator = operator(&drill, &alertmanager).await;
    configure(&drill, &operator.alerts_address().await).await;
    let alertmanager = alertmanager.restart(world).await;
    let policy = policy(&drill).await;
    policy.wait_until("nobody fires as asked", |policy| truths(policy) == ["Unknown", "False"]).await;
    operator.wait_for_metric("leader_election_master_status{name=\"firebreak\"}", 1.0).await;
    let prometheus = Prometheus::start(world, &alertmanager.address).await;

    prometheus.rule("vector(2) > 1").await;
    let incident = world.incident_of(&policy).await;
    policy.wait_until("it fires, as sent and as asked", |policy| truths(policy) == ["True", "True"]).await;
    incident.wait_for_condition("Mitigated", "True").await;

    let recorded = policy.get().await.data["status"]["alerts"].clone();
    let alertmanager = alertmanager.restart(world).await;
    alertmanager.wait_for(1).await;
    heartbeats(&operator, 3).await;
    assert!(!closed(&incident.get().await), "{incident}: closed by the restart of Alertmanager");
    let known = policy.get().await;
    assert_eq!(known.data["status"]["alerts"], recorded, "nothing else is known after it");
    assert_eq!(truths(&known)[0], "True");

    prometheus.rule("vector(0) > 1").await;
    incident.wait_for_condition("Resolved", "True").await;
    policy.wait_until("nothing fires", |policy| truths(policy) == ["False", "False"]).await;
    models.assert_reverted().await;
    drill.assert_one_resolved_incident().await;
}
