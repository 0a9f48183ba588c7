//! Traces of Incidents by OTLP: one Incident is one trace. Off unless an endpoint is set.
//!
//! # Flow
//! After a status is recorded, [`Traces::recorded`] works out which spans have ended by it ([`ended`]), and puts them into a
//! bounded queue. The [`exporter`] sends them in batches over HTTP ([`endpoint`]).
//!
//! # Guarantees
//! Nothing waits for it and nothing depends on it: a span that finds the queue full, or an endpoint that stays away for too
//! long, is lost and counted. The ids follow from the Incident, so another leader continues the same trace.

pub mod counter;
pub mod encode;
pub mod ended;
pub mod endpoint;
pub mod exporter;
pub mod span;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use jiff::Timestamp;

use self::exporter::Queue;
use crate::api::{Incident, IncidentStatus};
use crate::outbound::origin;

/// Where and how traces are sent.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceSettings {
    /// The URL to post to.
    pub url: Uri,
    /// Further headers of each request, for example with credentials.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long one request may take.
    pub timeout: Duration,
    /// The certificate authorities of the endpoint, as PEM. If there is none, those of the machine.
    pub certificate: Option<PathBuf>,
    /// Whether the body of a request is compressed.
    pub compression: Compression,
    /// What the spans say of this process.
    pub resource: Vec<(String, String)>,
    /// What is allowed, and hardly meant: for the log.
    pub doubts: Vec<String>,
}

/// Whether traces are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TraceChoice {
    /// No endpoint is set, or they are switched off.
    #[default]
    Off,
    /// They are sent there.
    To(Box<TraceSettings>),
    /// They are meant to be sent, and cannot be: why.
    Wrong(String),
}

/// The compression of the body of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// None.
    #[default]
    None,
    /// Gzip.
    Gzip,
}

impl fmt::Debug for TraceSettings {
    /// Without the values of headers and the query of the URL, which may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("TraceSettings")
            .field("url", &origin(&self.url))
            .field("headers", &headers)
            .field("timeout", &self.timeout)
            .field("certificate", &self.certificate)
            .field("compression", &self.compression)
            .field("resource", &self.resource)
            .finish()
    }
}

/// Takes note of recorded statuses. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    queue: Option<Queue>,
}

impl Traces {
    /// Traces that go to the exporter of this queue.
    #[must_use]
    pub fn to(queue: Queue) -> Self {
        Self { queue: Some(queue) }
    }

    /// Whether traces are sent at all.
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.queue.is_some()
    }

    /// The present status of the Incident was recorded; it was decided at `at`, when the status was `before`. Never waits.
    pub fn recorded(&self, incident: &Incident, before: &IncidentStatus, at: Timestamp) {
        let Some((queue, after)) = self.queue.as_ref().zip(incident.status.as_ref()) else { return };
        for span in ended::ended(&incident.identity(), before, after, at) {
            queue.add(span);
        }
    }
}
