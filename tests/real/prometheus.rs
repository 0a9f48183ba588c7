//! Prometheus scrapes two operators through a response. It answers every query of the dashboard and evaluates every
//! alert, and what they show is what has happened.

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    drill::{Drill, is_stalled, policy_manifest},
    server::Server,
    support::{object::PATIENCE, operator::Operator, testbed::repository, tools, world::World},
};

const ALERTS: &str = "charts/firebreak/files/alerts/firebreak.yaml";
const DASHBOARD: &str = "charts/firebreak/files/dashboards/firebreak.json";

/// Parts of queries that have no data in this run, because nothing of the kind happens in it.
const DOES_NOT_HAPPEN: [&str; 2] = [
    // The API server throttles nobody.
    "code=\"429\"",
    // Nothing holds an Incident but the missing approval, for which a person is needed.
    "condition=\"Reconciling\"",
];

/// A Prometheus that scrapes these operators every second.
struct Prometheus {
    server: Server,
    started: Timestamp,
}

impl Prometheus {
    async fn start(world: &World, operators: &[&Operator]) -> Self {
        let mut targets = Vec::new();
        for operator in operators {
            targets.push(operator.url().await.trim_start_matches("http://").to_owned());
        }
        let configuration = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [repository().join(ALERTS)],
            "scrape_configs": [{"job_name": "firebreak-metrics", "static_configs": [{"targets": targets}]}],
        });
        let file = world.files().join("prometheus.yml");
        fs::write(&file, configuration.to_string()).expect("the testbed's directory is writable");
        let server = Server::start(world, "prometheus", |command| {
            command
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", world.files().join("prometheus").display()))
                .arg("--web.listen-address=127.0.0.1:0");
        });
        Self { server, started: Timestamp::now() }
    }

    /// The `data` of the answer to a request of the HTTP API; its error if it is refused.
    async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let parameters = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
        let path = format!("/api/v1/{path}?{}", parameters.collect::<Vec<_>>().join("&"));
        let address = address(&self.server.log()).ok_or("Prometheus does not listen yet")?;
        let text = fetch(&address, &path).await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].clone()),
            _ => Err(answer["error"].to_string()),
        }
    }

    /// The series of an expression over the whole run.
    async fn over_the_run(&self, expression: &str) -> Result<Vec<Value>, String> {
        let (start, end) = (self.started.to_string(), Timestamp::now().to_string());
        let parameters =
            [("query", expression), ("start", start.as_str()), ("end", end.as_str()), ("step", "1s")];
        let data = self.get("query_range", &parameters).await?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until an expression has a value.
    async fn wait_for(&self, expression: &str) {
        let seen = async {
            loop {
                let data = self.get("query", &[("query", expression)]).await;
                if data.is_ok_and(|data| data["result"].as_array().is_some_and(|found| !found.is_empty())) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, seen).await.is_err() {
            panic!("no value of {expression} within {PATIENCE:?}; {:?}", self.get("alerts", &[]).await);
        }
    }
}

/// Where Prometheus or Alertmanager listens, according to its log.
pub fn address(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains("msg=\"Listening on\""))?;
    Some(line.split("address=").nth(1)?.trim().to_owned())
}

/// The body of the answer to a request.
pub async fn fetch(address: &str, path: &str) -> std::io::Result<String> {
    ask(address, "GET", path).await
}

/// The same with another method.
pub async fn ask(address: &str, method: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("{method} {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.split_once("\r\n\r\n").map_or(String::new(), |(_, text)| text.to_owned()))
}

/// A text as a value in a URL.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// The queries of the dashboard and of its annotations, with the variables as they are when everything is selected.
fn queries() -> Vec<String> {
    let text = fs::read_to_string(repository().join(DASHBOARD)).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let targets = list(&dashboard["panels"]).into_iter().flat_map(|panel| list(&panel["targets"]));
    let found = targets.chain(list(&dashboard["annotations"]["list"]));
    let found: Vec<String> =
        found.map(|query| query["expr"].as_str().expect("an expression").to_owned()).collect();
    assert!(found.len() > 35, "{}", found.len());
    let variables =
        [("$cluster", ".*"), ("$job", "firebreak-metrics"), ("$__rate_interval", "10s"), ("$__range", "10m")];
    let fill =
        |query: String| variables.iter().fold(query, |query, (name, value)| query.replace(name, value));
    found.into_iter().map(fill).collect()
}

/// The names of metrics in an expression.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    let words = expression.split(|c: char| !is_part(c)).filter(|word| {
        ["firebreak_", "controller_runtime_", "leader_election_", "process_", "workqueue_"]
            .iter()
            .any(|family| word.starts_with(family))
    });
    words.map(str::to_owned).collect()
}

fn has_numbers(series: &Value) -> bool {
    let values = series["values"].as_array().map_or(&[][..], Vec::as_slice);
    values.iter().any(|value| value[1].as_str().is_some_and(|number| number != "NaN"))
}

#[test]
fn the_alerts_pass_their_tests_of_promtool() {
    let folder = repository().join("monitoring/alerts");
    let files = fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let files: Vec<_> = files.collect();
    assert!(files.len() >= 2, "{files:?}");
    let output = Command::new(tools::built("promtool")).args(["test", "rules"]).args(files).output();
    let output = output.expect("promtool runs");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_show_what_has_happened_in_a_response() {
    let drill = Drill::new("prometheus").await;
    let world = &drill.world;
    drill.models(3).await;
    let leader = world.operator().start().await;
    leader.wait_for_metric("leader_election_master_status{name=\"firebreak\"}", 1.0).await;
    let standby = world.operator().named("firebreak-1").start().await;
    let prometheus = Prometheus::start(world, &[&leader, &standby]).await;
    let mut blind = policy_manifest(|spec| spec["signals"][0]["objects"]["kind"] = json!("Unicorn"));
    blind["metadata"]["name"] = json!("blind");
    world.apply("flux", &blind.to_string()).await;
    let policy = drill.policy_with(|spec| spec["steps"][0]["approval"] = json!("Required")).await;
    prometheus.wait_for("sum(firebreak_policies) == 4").await;

    drill.ring().await;
    let incident = world.incident_of(&policy).await;
    incident.wait_until("it waits for approval", |incident| is_stalled(incident, "ApprovalRequired")).await;
    // Two replicas count the Incident, and there is one alert.
    prometheus
        .wait_for("count(ALERTS{alertname=\"FirebreakIncidentOpen\",alertstate=\"firing\"}) == 1")
        .await;
    let approval = "ALERTS{alertname=\"FirebreakIncidentAwaitsApproval\",reason=\"ApprovalRequired\",\
                    incident_severity=\"P0\",severity=\"critical\"}";
    prometheus.wait_for(&format!("count({approval}) == 1")).await;
    prometheus.wait_for("ALERTS{alertname=\"FirebreakPolicyNotReady\"}").await;

    let approved = world.firebreak(&["approve", incident.name(), "cpu-fallback", "-n", &world.a]).await;
    assert!(approved.status.success(), "{}", String::from_utf8_lossy(&approved.stderr));
    incident.wait_for_condition("Mitigated", "True").await;
    prometheus.wait_for("min(firebreak_changes_outstanding) == 3").await;
    let verified = "firebreak_steps_total{action=\"cpuFallback\",outcome=\"verified\"}";
    // Two samples, because a single one shows no increase.
    prometheus.wait_for(&format!("sum(count_over_time({verified}[1m])) >= 2")).await;
    drill.recover(&incident).await;
    prometheus.wait_for("sum(firebreak_changes_total{work=\"loan\",outcome=\"reverted\"}) == 3").await;
    // The alert itself stays for 10 minutes.
    prometheus.wait_for("sum(firebreak_incidents or vector(0)) == 0").await;
    leader.stop().await;
    // Some seconds ago, because a query over the run ends up to a second before now.
    prometheus.wait_for("changes(leader_election_master_status{name=\"firebreak\"}[1m] offset 2s) > 0").await;

    let mut wrong = Vec::new();
    for query in queries() {
        let must_have_data = !DOES_NOT_HAPPEN.iter().any(|part| query.contains(part));
        match prometheus.over_the_run(&query).await {
            Err(error) => wrong.push(format!("{query}: {error}")),
            Ok(series) if must_have_data && !series.iter().any(has_numbers) => {
                wrong.push(format!("{query}: no data"));
            }
            Ok(_) => {}
        }
    }
    let groups = prometheus.get("rules", &[]).await.expect("the rules")["groups"].clone();
    let groups = groups.as_array().expect("groups");
    let rules: Vec<&Value> =
        groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")).collect();
    assert!(rules.len() > 20, "{}", rules.len());
    for rule in rules {
        let name = rule["name"].as_str().expect("a name");
        if rule["health"] != "ok" {
            wrong.push(format!("{name}: {} {}", rule["health"], rule["lastError"]));
        }
        for metric in metrics_in(rule["query"].as_str().expect("a query")) {
            match prometheus.over_the_run(&metric).await {
                Ok(series) if !series.is_empty() => {}
                answer => wrong.push(format!("{name}: {metric} is not there: {answer:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
