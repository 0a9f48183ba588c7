//! What to do about a signal that is Unknown.

use firebreak_engine::signal::SignalKind;

use crate::cli::readings::NOT_ASKED;

/// What to do next, by the kind of signal and the reason.
pub fn advice(kind: &SignalKind, reason: &str) -> &'static str {
    let own = if let SignalKind::Metrics(_) = kind { of_metrics(reason) } else { None };
    own.unwrap_or_else(|| of_any(reason))
}

/// What is particular to the metrics API.
fn of_metrics(reason: &str) -> Option<&'static str> {
    match reason {
        "NoMetrics" => Some("check that metrics-server runs and measures these objects: `kubectl top`"),
        "KindNotFound" => Some("install metrics-server, or another server of metrics.k8s.io"),
        "EmptyScope" => Some("correct the selector or the namespaces, or start what the signal is about"),
        "TooLarge" => Some("use a selector, or fewer namespaces"),
        "Unreachable" => {
            Some("check that metrics-server runs: `kubectl get apiservice v1beta1.metrics.k8s.io`")
        }
        _ => None,
    }
}

fn of_any(reason: &str) -> &'static str {
    match reason {
        NOT_ASKED => "run this command with --config FILE on a machine that reaches the endpoint",
        "NotSynced" => "wait some seconds; if it stays so, check that the API server answers",
        "Stale" => {
            "check that the API server, the endpoint or Alertmanager answers, and that its data is not old"
        }
        "NotHeard" => "let Alertmanager send its alerts to this policy, see docs/alerts.md",
        "TooManyAlerts" | "TruncatedAlerts" | "OversizedMessage" => {
            "let Alertmanager send fewer alerts in one message, see docs/alerts.md"
        }
        "SignalEdited" | "HeardSinceShortly" => "wait: it is known again after maxAge",
        "Unreachable" => "check that the endpoint or the Service runs, and that the operator reaches it",
        "Busy" => "raise `every` of the signals that ask the endpoint, or make their queries faster",
        "Forbidden" | "Unauthorized" | "BadCredentials" => {
            "grant what is missing: `firebreak check -f FILE | kubectl apply -f -`; for an endpoint see docs/endpoints.md"
        }
        "KindNotFound" | "NotNamespaced" => {
            "install the CRD, or correct apiVersion, kind and namespaces of the signal"
        }
        "EmptyScope" => "correct the selector, or set `expect`",
        "NoProfile" | "BadSelector" => "correct the signal as the message says",
        "NoSuchEndpoint" | "WrongEndpoint" => {
            "correct `endpoint`, or add it to the configuration of the operator"
        }
        "AddressRefused" | "Redirect" | "NotFound" | "Unreadable" => {
            "correct the URL of the endpoint, or the path"
        }
        "QueryRejected" | "WrongType" | "Partial" | "TooLarge" => "correct the query, see docs/endpoints.md",
        "Refused" => "read the message: it is the server's own",
        _ => "this is a fault in Firebreak: see the log of the operator, and report it",
    }
}

#[cfg(test)]
mod tests {
    use firebreak_engine::rules::Rules;
    use serde_json::json;

    use super::*;

    /// The reasons that the tables of a section name.
    fn documented(page: &'static str, section: &str) -> Vec<&'static str> {
        let start = page.find(section).unwrap();
        let body = &page[start + section.len()..];
        let end = body.find("\n#").unwrap_or(body.len());
        let rows = body[..end].lines().filter(|line| line.starts_with("| `"));
        let firsts = rows.filter_map(|row| row.split('|').nth(1));
        firsts.flat_map(|cell| cell.split(',')).map(|name| name.trim().trim_matches('`')).collect()
    }

    fn kind(signal: serde_json::Value) -> SignalKind {
        let spec = serde_json::from_value(json!({"signals": [signal]})).unwrap();
        Rules::parse(&spec).unwrap().signals.remove(0).kind
    }

    #[test]
    fn every_documented_reason_says_what_to_do() {
        let conditions = documented(include_str!("../../../docs/conditions.md"), "### SignalUnknown\n");
        let endpoints = documented(include_str!("../../../docs/endpoints.md"), "## The signal is Unknown\n");
        assert!(conditions.len() > 12 && endpoints.len() > 12, "{conditions:?} {endpoints:?}");
        let (nodes, metrics) = (kind(json!({"name": "s", "nodes": {}})), kind(metrics()));
        let fault = advice(&nodes, "InternalError");
        for reason in conditions.into_iter().chain(endpoints).filter(|reason| *reason != "InternalError") {
            // Only a signal of this kind has it.
            let of_nodes = if reason == "NoMetrics" { &metrics } else { &nodes };
            for kind in [of_nodes, &metrics] {
                assert_ne!(advice(kind, reason), fault, "{reason}");
            }
        }
    }

    fn metrics() -> serde_json::Value {
        json!({"name": "s", "metrics": {"of": "nodes"}})
    }

    #[test]
    fn what_to_do_about_metrics_is_not_what_to_do_about_what_is_watched_or_queried() {
        let metrics = kind(metrics());
        let nodes = kind(json!({"name": "s", "nodes": {}}));
        assert!(advice(&nodes, "EmptyScope").contains("`expect`"));
        for (reason, says) in [
            ("EmptyScope", "selector"),
            ("TooLarge", "fewer namespaces"),
            ("KindNotFound", "metrics-server"),
            ("NoMetrics", "metrics-server"),
            ("Unreachable", "metrics-server"),
        ] {
            let next = advice(&metrics, reason);
            assert!(next.contains(says) && !next.contains("expect"), "{reason}: {next}");
            assert_ne!(next, advice(&nodes, reason), "{reason}");
        }
        assert_eq!(advice(&metrics, "Forbidden"), advice(&nodes, "Forbidden"));
    }
}
