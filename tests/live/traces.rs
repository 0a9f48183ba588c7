//! One Incident is one trace, whoever leads meanwhile.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::trace::v1::Span;

use crate::{
    drill::{self, Drill},
    support::{
        collector::{Collector, attribute},
        object::Object,
        operator::Plan,
    },
};

/// An operator that sends its traces there.
fn traced<'w>(drill: &'w Drill, collector: &Collector) -> Plan<'w> {
    let plan = drill.world.operator().variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint());
    drill::QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag))
}

fn is_root(span: &Span) -> bool {
    span.parent_span_id.is_empty()
}

/// The spans with this name, in the order of their targets.
fn named(spans: &[Span], name: &str) -> Vec<Span> {
    let mut named: Vec<Span> = spans.iter().filter(|span| span.name == name).cloned().collect();
    named.sort_by_key(|span| attribute(span, "firebreak.target.name"));
    named
}

/// The trace of this Incident is whole: what happened to two models is in it, once, under the step and the root.
async fn assert_whole(collector: &Collector, incident: &Object) {
    let root = collector.wait_for("of the whole Incident", is_root).await;
    let spans = collector.spans();
    assert_eq!(root.name, "Incident drill");
    assert_eq!(attribute(&root, "firebreak.incident"), incident.name());
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
    for span in &spans {
        assert_eq!(span.trace_id, root.trace_id, "{span:#?}");
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
    let sent = collector.spans().len();
    #[expect(clippy::cast_precision_loss, reason = "a few spans")]
    operator.wait_for_metric("firebreak_trace_spans_total{result=\"sent\"}", sent as f64).await;
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
    assert!(!collector.spans().iter().any(is_root), "the Incident is open");
    drill.recover(&incident).await;
    assert_whole(&collector, &incident).await;
    assert!(second.is_running());
    models.assert_reverted().await;
}

#[tokio::test]
async fn a_collector_that_is_gone_costs_the_response_nothing() {
    let drill = Drill::new("traces-gone").await;
    let models = drill.models(2).await;
    let collector = Collector::start().await;
    let plan = traced(&drill, &collector);
    drop(collector);
    let operator = plan.start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    models.wait_until_fallen().await;
    drill.recover(&incident).await;
    models.assert_reverted().await;
    assert!(operator.stop().await.success(), "the shutdown waited for the collector");
    assert!(operator.log().contains("traces cannot be sent"), "{}", operator.log());
}

#[tokio::test]
async fn a_wrong_variable_is_a_usage_error_in_one_line() {
    let drill = Drill::new("traces-wrong").await;
    let operator =
        drill.world.operator().variable("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317").start().await;
    assert_eq!(operator.exit_status().await.code(), Some(2));
    let log = operator.log();
    assert!(log.starts_with("firebreak: OTEL_EXPORTER_OTLP_ENDPOINT") && log.lines().count() == 1, "{log}");
}
