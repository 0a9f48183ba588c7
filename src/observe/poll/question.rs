//! What is asked, and whom.

use std::collections::BTreeMap;
use std::time::Duration;

use firebreak_engine::facts::Reading;
use firebreak_engine::policy::Severity;
use firebreak_engine::rules::Signal;
use firebreak_engine::signal::{AlertsFrom, EndpointType, HttpTarget, Pace, SignalKind};
use jiff::SignedDuration;

use super::alertmanager::{self, Levels};
use super::metrics::MetricsQuestion;
use super::{http, prometheus};
use crate::endpoints::{Endpoint, Unanswered};
use crate::observe::doubt::Doubts;
use crate::observe::kind::Values;
use crate::observe::selector::selector_text;
use crate::observe::source::{places, unknown};

/// Signals with the same key share a poller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PollKey {
    /// What is asked, and whom.
    pub question: Question,
    /// How often.
    pub pace: Pace,
}

/// What is asked, and whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// An endpoint, with the operator's credentials.
    Endpoint {
        /// Its name.
        name: String,
        /// What is asked.
        asks: Asks,
    },
    /// A Service, through the proxy of the API server, as this account.
    Service {
        /// The ServiceAccount: what one may read, another may not.
        account: String,
        /// The path of the request to the API server.
        path: String,
        /// The only status that is ok.
        expect_status: Option<u16>,
    },
    /// The metrics API.
    Metrics(MetricsQuestion),
}

/// What an endpoint is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asks {
    /// A query of Prometheus.
    Prometheus {
        /// What yields the values.
        query: String,
        /// What yields the time of the data.
        freshness: Option<String>,
    },
    /// A GET request.
    Http {
        /// Below the URL of the endpoint.
        path: String,
        /// The only status that is ok.
        expect_status: Option<u16>,
    },
    /// The alerts that fire.
    Alertmanager {
        /// What they must match.
        matchers: Vec<String>,
        /// The label with the severity.
        label: String,
        /// The level of each value of that label.
        levels: BTreeMap<String, Severity>,
    },
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// The fields of the signal.
    pub values: Values,
    /// How old they were when they were asked for.
    pub age: Duration,
    /// The objects of which something is not known.
    pub doubts: Doubts,
}

impl Read {
    /// Values of now, of which nothing is in doubt.
    pub fn of(values: Values) -> Self {
        Self { values, age: Duration::ZERO, doubts: Doubts::default() }
    }
}

impl PollKey {
    /// The key of a signal of a policy in this namespace, read as `account`; or why there is none.
    pub fn of(signal: &Signal, namespace: &str, account: &str) -> Result<Self, Reading> {
        // A signal that is asked always has a pace.
        let unasked = || unknown("InternalError", "nobody is asked for it; this is a bug, please report it");
        let pace = signal.pace.ok_or_else(unasked)?;
        let endpoint = |name: &String, asks| Question::Endpoint { name: name.clone(), asks };
        let question = match &signal.kind {
            SignalKind::Prometheus(prometheus) => {
                let (query, freshness) = (prometheus.query.clone(), prometheus.freshness.clone());
                endpoint(&prometheus.endpoint, Asks::Prometheus { query, freshness })
            }
            SignalKind::Alertmanager(alerts) => {
                let AlertsFrom::Endpoint { name, matchers } = &alerts.from else { return Err(unasked()) };
                let (matchers, label) = (matchers.clone(), alerts.severity_label.clone());
                endpoint(name, Asks::Alertmanager { matchers, label, levels: alerts.severities.clone() })
            }
            SignalKind::Http(http) => {
                let (path, expect_status) = (http.path.clone(), http.expect_status);
                match &http.to {
                    HttpTarget::Endpoint(name) => endpoint(name, Asks::Http { path, expect_status }),
                    HttpTarget::Service(service) => Question::Service {
                        account: account.to_owned(),
                        path: http::proxy(service, namespace, &path),
                        expect_status,
                    },
                }
            }
            SignalKind::Metrics(metrics) => {
                let watched = metrics.watched();
                let selector = selector_text(watched.selector).map_err(|why| unknown("BadSelector", &why))?;
                let places = places(watched.namespaces, namespace).into_iter().collect();
                Question::Metrics(MetricsQuestion {
                    account: account.to_owned(),
                    of: metrics.of,
                    selector,
                    places,
                })
            }
            SignalKind::Nodes(_)
            | SignalKind::Objects(_)
            | SignalKind::Events(_)
            | SignalKind::Pods(_)
            | SignalKind::Workloads(_) => return Err(unasked()),
        };
        Ok(Self { question, pace })
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
            Self::Endpoint { asks: Asks::Prometheus { .. }, .. } => "prometheus",
            Self::Endpoint { asks: Asks::Alertmanager { .. }, .. } => "alertmanager",
            Self::Endpoint { asks: Asks::Http { .. }, .. } | Self::Service { .. } => "http",
            Self::Metrics(_) => "metrics",
        }
    }
}

impl Asks {
    /// The type of endpoint that can answer.
    pub fn type_(&self) -> EndpointType {
        match self {
            Self::Prometheus { .. } => EndpointType::Prometheus,
            Self::Alertmanager { .. } => EndpointType::Alertmanager,
            Self::Http { .. } => EndpointType::Http,
        }
    }

    /// Asks an endpoint. Whoever calls it has a turn there.
    ///
    /// # Errors
    /// There is no answer, or none that can be used.
    pub async fn ask(&self, endpoint: &Endpoint) -> Result<Read, Unanswered> {
        match self {
            Self::Prometheus { query, freshness } => {
                prometheus::ask(endpoint, query, freshness.as_deref()).await
            }
            Self::Http { path, expect_status } => http::ask(endpoint, path, *expect_status).await,
            Self::Alertmanager { matchers, label, levels } => {
                alertmanager::ask(endpoint, matchers, &Levels { label, of: levels }).await
            }
        }
    }
}

/// A length that is never negative.
fn plain(length: SignedDuration) -> Duration {
    Duration::try_from(length).unwrap_or_default()
}
