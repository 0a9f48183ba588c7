//! What is asked, and whom.

use std::sync::Arc;
use std::time::Duration;

use firebreak_engine::rules::Signal;
use firebreak_engine::signal::{EndpointType, Pace, SignalKind};
use jiff::SignedDuration;

use super::prometheus;
use crate::endpoints::{Endpoint, Unanswered};
use crate::observe::kind::Values;

/// Signals with the same key share a poller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PollKey {
    /// The name of the endpoint.
    pub endpoint: String,
    /// What is asked.
    pub question: Question,
    /// How often.
    pub pace: Pace,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// A query of Prometheus.
    Prometheus {
        /// What yields the values.
        query: String,
        /// What yields the time of the data.
        freshness: Option<String>,
    },
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// The fields of the signal.
    pub values: Values,
    /// How old they were when they were asked for.
    pub age: Duration,
}

impl PollKey {
    /// The key of a signal; none if it is watched.
    pub fn of(signal: &Signal) -> Option<Self> {
        let pace = signal.pace?;
        let (endpoint, question) = match &signal.kind {
            SignalKind::Prometheus(prometheus) => {
                let (query, freshness) = (prometheus.query.clone(), prometheus.freshness.clone());
                (prometheus.endpoint.clone(), Question::Prometheus { query, freshness })
            }
            SignalKind::Nodes(_) | SignalKind::Objects(_) | SignalKind::Workloads(_) => return None,
        };
        Some(Self { endpoint, question, pace })
    }

    /// How long one request may take.
    pub fn timeout(&self) -> Duration {
        plain(self.pace.timeout)
    }

    /// The time from one request to the next.
    pub fn every(&self) -> Duration {
        plain(self.pace.every)
    }

    /// How old a value may be.
    pub fn max_age(&self) -> Duration {
        plain(self.pace.max_age)
    }
}

impl Question {
    /// The kind of signal, as the API names it.
    pub fn signal(&self) -> &'static str {
        match self {
            Self::Prometheus { .. } => "prometheus",
        }
    }

    /// The type of endpoint that can answer.
    pub fn type_(&self) -> EndpointType {
        match self {
            Self::Prometheus { .. } => EndpointType::Prometheus,
        }
    }

    /// Asks.
    ///
    /// # Errors
    /// There is no answer, or none that can be used.
    pub async fn ask(&self, endpoint: &Arc<Endpoint>, within: Duration) -> Result<Read, Unanswered> {
        let read = match self {
            Self::Prometheus { query, freshness } => {
                prometheus::ask(endpoint, query, freshness.as_deref(), within).await
            }
        };
        read.map_err(|error| endpoint.named(error))
    }
}

/// A length that is never negative.
fn plain(length: SignedDuration) -> Duration {
    Duration::try_from(length).unwrap_or_default()
}
