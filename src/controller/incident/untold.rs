//! What traces have not been told yet.
//!
//! # Guarantees
//! A write that had no answer may have taken effect. What it ended is told once a later one is recorded, whatever was refused
//! in between, unless this process ends first.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::{Incident, IncidentStatus};
use crate::controller::Operator;
use crate::controller::error::Error;

/// The last status that was told to traces: the present one, unless a write has had no answer since. None while traces are
/// off.
pub(super) fn last_told(operator: &Operator, incident: &Incident) -> Option<Arc<IncidentStatus>> {
    let untold = || operator.memories.incident(&incident.uid().unwrap_or_default()).untold;
    let present = || Arc::new(incident.status.clone().unwrap_or_default());
    operator.context.traces.are_on().then(|| untold().unwrap_or_else(present))
}

/// The Incident was recorded, so what has ended since the status that was told last is told.
pub(super) fn tell_traces(
    operator: &Operator,
    incident: &Incident,
    told: Option<Arc<IncidentStatus>>,
    now: Timestamp,
) {
    let Some(told) = told else { return };
    operator.context.traces.recorded(incident, &told, now);
    operator.memories.edit_incident(&incident.uid().unwrap_or_default(), |memory| memory.untold = None);
}

/// A write that had no answer may have taken effect. What it ended is told with the next one that is recorded, also if
/// another one is refused before.
pub(super) fn keep_untold(operator: &Operator, uid: &str, told: Option<Arc<IncidentStatus>>, error: &Error) {
    if let Some(told) = told.filter(|_| !error.is_refusal()) {
        operator.memories.edit_incident(uid, |memory| memory.untold = Some(told));
    }
}

#[cfg(test)]
mod tests {
    use firebreak_engine::incident::ReportStatus;
    use kube::client::Body;
    use kube::core::Status;
    use kube::{Api, Client};
    use serde_json::json;

    use super::super::learned::{Learned, record_last_words};
    use super::*;
    use crate::controller::fixture;
    use crate::telemetry::metrics::Metrics;
    use crate::telemetry::traces::counter::{Fate, SpanCounter};
    use crate::telemetry::traces::endpoint::Endpoint;
    use crate::telemetry::traces::exporter::exporter;
    use crate::telemetry::traces::{Compression, TraceSettings, Traces};

    /// Without a connection to its API server, and with traces whose spans are dropped and counted.
    async fn operator() -> (Operator, SpanCounter) {
        let settings = TraceSettings {
            url: "http://127.0.0.1:1".parse().unwrap(),
            headers: Vec::new(),
            timeout: std::time::Duration::from_secs(1),
            certificate: None,
            compression: Compression::None,
            resource: Vec::new(),
            doubts: Vec::new(),
        };
        let counter = SpanCounter::show(&Metrics::new().unwrap()).unwrap();
        let endpoint = Endpoint::new(settings).await.unwrap();
        let (queue, _) = exporter(endpoint, Vec::new(), counter.clone());
        let away = tower::service_fn(|_: http::Request<Body>| {
            std::future::ready(Err::<http::Response<Body>, tower::BoxError>("no connection".into()))
        });
        (fixture::operator(Client::new(away, "default"), Traces::to(queue)), counter)
    }

    fn incident(resolved: Option<&str>) -> Incident {
        serde_json::from_value(json!({
            "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
            "metadata": {"namespace": "ns", "name": "outage", "uid": "7", "resourceVersion": "1"}, "spec": {},
            "status": {"openedAt": "2026-03-01T10:00:00Z", "resolvedAt": resolved},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn what_a_write_without_an_answer_ended_is_told_although_the_next_one_is_refused() {
        let (operator, counter) = operator().await;
        let (open, closed) = (incident(None), incident(Some("2026-03-01T11:00:00Z")));
        let now = Timestamp::now();
        let told = last_told(&operator, &open);
        assert_eq!(told.as_deref(), open.status.as_ref());
        keep_untold(&operator, "7", told, &Error::Conflict);

        let refused =
            Error::from(kube::Error::Api(Box::new(Status::failure("no", "Forbidden").with_code(403))));
        let told = last_told(&operator, &closed);
        assert_eq!(told.as_deref(), open.status.as_ref());
        keep_untold(&operator, "7", told, &refused);

        let told = last_told(&operator, &closed);
        tell_traces(&operator, &closed, told, now);
        assert_eq!(counter.of(Fate::Dropped), 1, "the root");
        assert_eq!(last_told(&operator, &closed).as_deref(), closed.status.as_ref(), "it is told");
    }

    #[tokio::test]
    async fn last_words_without_an_answer_are_kept_for_the_next_ones() {
        let (operator, _) = operator().await;
        let api: Api<Incident> = Api::namespaced(operator.context.client.clone(), "ns");
        let open = incident(None);
        let report = Some(ReportStatus { name: "report".to_owned(), problem: None });
        let mut learned = Learned { report, ..Learned::default() };
        assert!(record_last_words(&operator, &api, open.clone(), &mut learned).await.is_err());
        let told = last_told(&operator, &incident(Some("2026-03-01T11:00:00Z")));
        assert_eq!(told.as_deref(), open.status.as_ref());
    }
}
