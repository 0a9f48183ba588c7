//! What only the command line checks of signals that ask an endpoint.

use firebreak_engine::rules::{Rules, Signal};
use firebreak_engine::signal::{Polled, SignalKind, Source};

use crate::endpoints::{Endpoints, Unanswered};

/// The endpoints that the operator's configuration does not have, each with its field.
pub fn missing_endpoints(rules: &Rules, endpoints: &Endpoints) -> Vec<String> {
    let missing = |(at, signal): (usize, &Signal)| {
        let Source::Poll(Polled::Endpoint { name, type_ }) = signal.kind.kind().source() else { return None };
        let why = match endpoints.find(name, type_) {
            Ok(_) => return None,
            Err(
                Unanswered::Unusable { detail, .. } | Unanswered::NoAnswer(detail) | Unanswered::Busy(detail),
            ) => detail,
        };
        Some(format!("spec.signals[{at}].{}.endpoint: {why}", signal.kind.name()))
    };
    rules.signals.iter().enumerate().filter_map(missing).collect()
}

/// The functions in queries that Prometheus does not have. An endpoint that only speaks its API may have them, so they are no
/// fault of the policy.
pub fn unknown_functions(rules: &Rules) -> Vec<String> {
    let of = |(at, signal): (usize, &Signal)| {
        let unknown = match &signal.kind {
            SignalKind::Prometheus(prometheus) => prometheus.unknown_functions(),
            SignalKind::Alertmanager(_)
            | SignalKind::Events(_)
            | SignalKind::Http(_)
            | SignalKind::Metrics(_)
            | SignalKind::Nodes(_)
            | SignalKind::Objects(_)
            | SignalKind::Pods(_)
            | SignalKind::Workloads(_) => Vec::new(),
        };
        unknown.into_iter().map(move |(field, name, meant)| {
            let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
            format!("spec.signals[{at}].prometheus.{field}: Prometheus has no function {name}{meant}")
        })
    };
    rules.signals.iter().enumerate().flat_map(of).collect()
}
