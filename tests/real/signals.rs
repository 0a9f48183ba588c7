//! Signals that ask the real Prometheus: it speaks what the stand-in of the live tests speaks, and it accepts and refuses the
//! queries that a policy may and may not have.

use std::fs;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, message_of, policy_manifest},
    prometheus::Prometheus,
    support::{object::Object, rights::Rule},
};

const GOOD: &str = include_str!("../support/promql/good.txt");
const BAD: &str = include_str!("../support/promql/bad.txt");

#[tokio::test]
async fn prometheus_accepts_and_refuses_the_queries_that_a_policy_may_and_may_not_have() {
    let drill = Drill::new("real-promql").await;
    let prometheus = Prometheus::start(&drill.world, &[]).await;
    prometheus.url().await;
    for query in GOOD.lines().filter(|line| !line.is_empty()) {
        let answer = prometheus.get("query", &[("query", query)]).await;
        assert!(answer.is_ok(), "{query}: {answer:?}");
    }
    for (query, why) in BAD.lines().filter_map(|line| line.split_once(" ## ")) {
        let answer = prometheus.get("query", &[("query", query)]).await;
        match answer {
            Err(_) => {}
            Ok(data) => {
                let is_no_number = ["matrix", "string"].iter().any(|what| data["resultType"] == *what);
                assert!(is_no_number && why.contains("it yields"), "{query}: {data}");
            }
        }
    }
}

/// A policy with this query, read as often as possible.
async fn policy(drill: &Drill, name: &str, query: &str) -> Object {
    let mut policy = policy_manifest(|spec| {
        let asked = json!({"endpoint": "main", "query": query, "freshness": "max(timestamp(up))"});
        let signal =
            json!({"name": "s", "every": "1s", "timeout": "2s", "maxAge": "5s", "prometheus": asked});
        spec["signals"] = json!([signal]);
        spec["severity"] = json!([{"level": "P0", "reason": "Found", "when": "signals.s.value >= 1.0"}]);
        spec["steps"] = json!([]);
    });
    policy["metadata"]["name"] = json!(name);
    drill.world.apply("flux", &policy.to_string()).await.remove(0)
}

async fn until(policy: &Object, state: &str, summary: &str) {
    let is_it = |policy: &DynamicObject| {
        let signal = &policy.data["status"]["signals"][0];
        signal["state"] == state && signal["summary"].as_str().unwrap_or_default().contains(summary)
    };
    policy.wait_until(&format!("{state}: {summary}"), is_it).await;
}

#[tokio::test]
async fn what_the_real_prometheus_answers_is_read_and_what_it_refuses_is_unknown() {
    let drill = Drill::new("real-signals").await;
    let mut rights = drill::rights();
    rights.push(Rule { group: "firebreak.dev", resources: &["endpoints"], verbs: &["use"] });
    drill.world.grant(&drill.world.a, &rights).await;
    let scraped = drill.world.operator().named("scraped").flag("--no-leader-election").start().await;
    let prometheus = Prometheus::start(&drill.world, &[&scraped]).await;
    let url = prometheus.url().await;
    prometheus.wait_for("up == 1").await;
    scraped.kill();
    let endpoint: Value = json!({"name": "main", "type": "Prometheus", "url": url});
    let configuration = drill.world.files().join("configuration.yaml");
    let text = json!({"apiVersion": "config.firebreak.dev/v1alpha1", "kind": "OperatorConfiguration", "endpoints": [endpoint]});
    fs::write(&configuration, text.to_string()).expect("a file");
    let path = configuration.to_str().expect("a path of text").to_owned();
    let _operator = drill.world.operator().flag("--config").flag(&path).start().await;

    let found = policy(&drill, "found", "count(up)").await;
    drill.world.incident_of(&found).await;
    let gone = policy(&drill, "gone", "count(up{job=\"nothing\"})").await;
    until(&gone, "Known", "count 0").await;
    let refused = policy(&drill, "refused", "no_such_function(up)").await;
    until(&refused, "Unknown", "QueryRejected").await;
    let failed = policy(
        &drill,
        "failed",
        "up * on () group_left () (vector(1) or label_replace(vector(2), \"a\", \"b\", \"\", \"\"))",
    );
    until(&failed.await, "Unknown", "QueryRejected").await;
    let nothing = policy(&drill, "nan", "0 / 0").await;
    until(&nothing, "Known", "").await;

    drop(prometheus);
    until(&found, "Unknown", "Unreachable").await;
    let blind =
        found.wait_until("Ready says so", |policy| message_of(policy, "Ready").contains("Unreachable")).await;
    assert!(!message_of(&blind, "Ready").contains("http://"), "the URL is not told");
}
