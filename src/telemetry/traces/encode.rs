//! Spans as OTLP has them. The messages are those of the protocol's own crate.

use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message;

use super::span::{Span, Value};

/// The trace is sampled. It is the only flag that OTLP takes over from W3C Trace Context.
const SAMPLED: u32 = 1;

/// The body of a request with these spans.
pub fn request(spans: Vec<Span>, resource: &[(String, String)]) -> Vec<u8> {
    let attributes = resource.iter().map(|(key, value)| pair(key, Value::Text(value.clone()))).collect();
    let scope = InstrumentationScope {
        name: "firebreak".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = proto::ScopeSpans {
        scope: Some(scope),
        spans: spans.into_iter().map(span).collect(),
        schema_url: String::new(),
    };
    let resource = Resource { attributes, ..Resource::default() };
    let spans = proto::ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![spans],
        schema_url: String::new(),
    };
    ExportTraceServiceRequest { resource_spans: vec![spans] }.encode_to_vec()
}

fn span(span: Span) -> proto::Span {
    let status = match span.error {
        Some(message) => proto::Status { message, code: proto::status::StatusCode::Error.into() },
        None => proto::Status::default(),
    };
    proto::Span {
        trace_id: span.trace.0.to_vec(),
        span_id: span.id.0.to_vec(),
        parent_span_id: span.parent.map(|parent| parent.0.to_vec()).unwrap_or_default(),
        flags: SAMPLED,
        name: span.name,
        kind: proto::span::SpanKind::Internal.into(),
        start_time_unix_nano: nanoseconds(span.start),
        end_time_unix_nano: nanoseconds(span.end),
        attributes: span.attributes.into_iter().map(|(key, value)| pair(key, value)).collect(),
        events: span.events.into_iter().map(|event| self::event(event.at, event.name)).collect(),
        status: Some(status),
        ..proto::Span::default()
    }
}

fn event(at: Timestamp, name: String) -> proto::span::Event {
    proto::span::Event { time_unix_nano: nanoseconds(at), name, ..proto::span::Event::default() }
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

fn any(value: Value) -> AnyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Number(number) => any_value::Value::IntValue(number),
        Value::Texts(texts) => {
            let values = texts.into_iter().map(|text| any(Value::Text(text))).collect();
            any_value::Value::ArrayValue(ArrayValue { values })
        }
    };
    AnyValue { value: Some(value) }
}

/// Zero before 1970, where no status is.
fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or_default()
}
