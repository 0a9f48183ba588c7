//! One Incident is one trace, whoever leads meanwhile.

use std::{collections::BTreeSet, net::TcpListener};

use opentelemetry_proto::tonic::trace::v1::Span;
use sha2::{Digest, Sha256};

use crate::{
    drill::Drill,
    support::{
        collector::{Collector, attribute},
        object::Object,
        operator::Plan,
    },
};

/// An operator that sends its traces there.
fn traced<'w>(drill: &'w Drill, collector: &Collector) -> Plan<'w> {
    drill.world.operator().variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
}

fn is_root(span: &Span) -> bool {
    span.parent_span_id.is_empty()
}

/// The spans of this Incident. What another process sends to a port that was its own before is not ours.
async fn trace_of(collector: &Collector, incident: &Object) -> Vec<Span> {
    let uid = incident.get().await.metadata.uid.expect("a uid");
    let id = &Sha256::digest(uid.as_bytes())[..16];
    collector.spans().into_iter().filter(|span| span.trace_id == id).collect()
}

/// The spans with this name, in the order of their targets.
fn named(spans: &[Span], name: &str) -> Vec<Span> {
    let mut named: Vec<Span> = spans.iter().filter(|span| span.name == name).cloned().collect();
    named.sort_by_key(|span| attribute(span, "firebreak.target.name"));
    named
}

/// The trace of this Incident is whole: what happened to two models is in it, once, under the step and the root.
async fn assert_whole(collector: &Collector, incident: &Object) {
    let is_own = |span: &Span| is_root(span) && attribute(span, "firebreak.incident") == incident.name();
    let root = collector.wait_for("of the whole Incident", is_own).await;
    let spans = trace_of(collector, incident).await;
    assert_eq!(root.name, "Incident drill");
    assert_eq!(attribute(&root, "firebreak.outcome"), "Recovered");
    assert!(root.events.iter().any(|event| event.name == "StepVerified"), "{root:#?}");

    let steps = named(&spans, "step cpu-fallback");
    let [step] = steps.as_slice() else { panic!("not one step: {spans:#?}") };
    assert_eq!(
        (&step.parent_span_id, attribute(step, "firebreak.outcome").as_str()),
        (&root.span_id, "verified")
    );
    for (name, outcome) in [("apply LLMDeployment", "applied"), ("revert LLMDeployment", "reverted")] {
        let changes = named(&spans, name);
        let targets: Vec<String> =
            changes.iter().map(|change| attribute(change, "firebreak.target.name")).collect();
        assert_eq!(targets, ["model-0", "model-1"], "{name}: {spans:#?}");
        for change in &changes {
            assert_eq!(change.parent_span_id, step.span_id, "{change:#?}");
            assert_eq!(attribute(change, "firebreak.outcome"), outcome);
        }
    }
    let withdrawal = named(&spans, "withdrawal");
    assert_eq!(withdrawal.len(), 1, "{spans:#?}");
    assert_eq!(withdrawal[0].parent_span_id, root.span_id);

    let ids: BTreeSet<&[u8]> = spans.iter().map(|span| span.span_id.as_slice()).collect();
    assert_eq!(ids.len(), spans.len(), "a span came twice: {spans:#?}");
    assert!(spans.contains(&root), "another trace: {root:#?}");
    for span in &spans {
        assert!(is_root(span) || ids.contains(span.parent_span_id.as_slice()), "no parent: {span:#?}");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:#?}");
        assert!(span.end_time_unix_nano <= root.end_time_unix_nano, "{span:#?}");
    }
}

#[tokio::test]
async fn one_incident_is_one_trace_with_its_steps_and_changes() {
    let drill = Drill::new("traces").await;
    let models = drill.models(2).await;
    let collector = Collector::start().await;
    let operator = traced(&drill, &collector).start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    models.wait_until_fallen().await;
    drill.recover(&incident).await;
    assert_whole(&collector, &incident).await;
    let sent = trace_of(&collector, &incident).await.len();
    #[expect(clippy::cast_precision_loss, reason = "a few spans")]
    operator.wait_for_metric("firebreak_trace_spans_total{result=\"sent\"}", sent as f64).await;
    operator.wait_for_metric("firebreak_traces_enabled", 1.0).await;
    models.assert_reverted().await;
}

#[tokio::test]
async fn another_leader_completes_the_trace() {
    let drill = Drill::new("traces-leaders").await;
    let models = drill.models(2).await;
    let collector = Collector::start().await;
    let first = traced(&drill, &collector).start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    models.wait_until_fallen().await;
    let second = traced(&drill, &collector).named("firebreak-1").start().await;
    // What has ended so far is sent before the process ends.
    assert!(first.stop().await.success());
    collector.wait_for("of the step", |span| span.name == "step cpu-fallback").await;
    assert!(!trace_of(&collector, &incident).await.iter().any(is_root), "the Incident is open");
    drill.recover(&incident).await;
    assert_whole(&collector, &incident).await;
    assert!(second.is_running());
    models.assert_reverted().await;
}

#[tokio::test]
async fn a_collector_that_does_not_answer_costs_the_response_nothing() {
    let drill = Drill::new("traces-gone").await;
    let models = drill.models(2).await;
    // Connections wait to be accepted. A port that is free again might be that of another test.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", silent.local_addr().expect("an address"));
    let plan = drill.world.operator().variable("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
    let operator = plan.variable("OTEL_EXPORTER_OTLP_TIMEOUT", "500").start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    models.wait_until_fallen().await;
    drill.recover(&incident).await;
    models.assert_reverted().await;
    assert!(operator.stop().await.success(), "the shutdown waited for the collector");
    assert!(operator.log().contains("traces cannot be sent"), "{}", operator.log());
}

#[tokio::test]
async fn without_certificate_authorities_an_endpoint_with_http_gets_the_trace() {
    let drill = Drill::new("traces-without-authorities").await;
    let models = drill.models(2).await;
    let collector = Collector::start().await;
    // As in the image. The API server has an authority of its own.
    let plan = traced(&drill, &collector).directly().variable("SSL_CERT_FILE", "/dev/null");
    let operator = plan.variable("OTEL_EXPORTER_OTLP_HEADERS", "authorization=s3cret").start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    models.wait_until_fallen().await;
    drill.recover(&incident).await;
    assert_whole(&collector, &incident).await;
    models.assert_reverted().await;
    let log = operator.log();
    assert!(log.contains("authorization of traces are sent without encryption"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}

#[tokio::test]
async fn a_mistake_is_one_warning_and_the_operator_responds_without_traces() {
    let drill = Drill::new("traces-wrong").await;
    let models = drill.models(2).await;
    let http = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let https = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:1");
    for (number, (endpoint, (name, value))) in [
        (http, ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret")),
        (http, ("OTEL_EXPORTER_OTLP_TIMEOUT", "s3cret")),
        (https, ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/s3cret")),
        (http, ("OTEL_EXPORTER_OTLP_ENDPOINT", "s3cret:4317")),
    ]
    .into_iter()
    .enumerate()
    {
        let plan = drill.world.operator().named(&format!("firebreak-{number}"));
        let operator = plan.variable(endpoint.0, endpoint.1).variable(name, value).start().await;
        operator.wait_for_metric("leader_election_master_status{name=\"firebreak\"}", 1.0).await;
        assert_eq!(operator.metric("firebreak_traces_enabled").await, Some(0.0));
        let log = operator.log();
        let warnings: Vec<&str> = log.lines().filter(|line| line.contains("no traces are sent")).collect();
        assert!(matches!(warnings.as_slice(), [one] if one.contains(name)), "{log}");
        assert!(!log.contains("s3cret"), "{log}");
        if number == 0 {
            let policy = drill.policy().await;
            let incident = drill.respond(&policy).await;
            models.wait_until_fallen().await;
            drill.recover(&incident).await;
            models.assert_reverted().await;
        }
        assert!(operator.stop().await.success());
    }
}
