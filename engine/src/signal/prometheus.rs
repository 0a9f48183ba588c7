//! A query of Prometheus: one value, or the bounds of a vector.

use serde::{Deserialize, Serialize};

use super::{EndpointType, Kind, Polled, Source, promql};
use crate::expression::{FieldKind, SignalShape};
use crate::rules::Faults;

/// A query of Prometheus, or of anything that speaks its API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PrometheusSpec {
    /// The name of an endpoint of type Prometheus in the operator's configuration. The ServiceAccount of the policy needs
    /// the verb `use` on `endpoints.firebreak.dev` with this name.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    pub endpoint: String,
    /// PromQL that yields a scalar or a vector now.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub query: String,
    /// PromQL that yields the time of the data in seconds since 1970, for example `max(timestamp(METRIC))`. Data older than
    /// `maxAge` is Unknown. Without it, the age of the answer counts: Prometheus itself returns data that is 5m old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub freshness: Option<String>,
}

/// A query of Prometheus.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Prometheus {
    /// The name of the endpoint.
    pub endpoint: String,
    /// What yields the values.
    pub query: String,
    /// What yields the time of the data.
    pub freshness: Option<String>,
}

impl Prometheus {
    pub(super) fn parse(spec: &PrometheusSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        let PrometheusSpec { endpoint, query, freshness } = spec.clone();
        let queries = [("query", Some(&query)), ("freshness", freshness.as_ref())];
        for (name, query) in queries.into_iter().filter_map(|(name, query)| Some((name, query?))) {
            if let Err(wrong) = promql::check(query) {
                faults.add(format!("{field}.{name}"), wrong.to_string());
            }
        }
        Some(Self { endpoint, query, freshness })
    }
}

impl Prometheus {
    /// The functions that Prometheus does not have, each with the field of its query and the function that was probably meant.
    pub fn unknown_functions(&self) -> Vec<(&'static str, String, Option<&'static str>)> {
        let queries = [("query", Some(&self.query)), ("freshness", self.freshness.as_ref())];
        let queries = queries.into_iter().filter_map(|(field, query)| Some((field, query?)));
        let of = |(field, query): (&'static str, &String)| {
            promql::unknown_functions(query).into_iter().map(move |(name, meant)| (field, name, meant))
        };
        queries.flat_map(of).collect()
    }
}

impl Kind for Prometheus {
    fn source(&self) -> Source<'_> {
        Source::Poll(Polled::Endpoint { name: &self.endpoint, type_: EndpointType::Prometheus })
    }

    fn shape(&self) -> SignalShape {
        let values = ["value", "max", "min", "sum"].map(|name| (name, FieldKind::Double));
        SignalShape { fields: values.into_iter().chain([("count", FieldKind::Int)]).collect() }
    }
}
