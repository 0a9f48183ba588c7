//! What to do about a signal that is Unknown.

use crate::cli::readings::NOT_ASKED;

/// What to do next, by the reason.
pub fn advice(reason: &str) -> &'static str {
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

    #[test]
    fn every_documented_reason_says_what_to_do() {
        let conditions = documented(include_str!("../../../docs/conditions.md"), "### SignalUnknown\n");
        let endpoints = documented(include_str!("../../../docs/endpoints.md"), "## The signal is Unknown\n");
        assert!(conditions.len() > 12 && endpoints.len() > 12, "{conditions:?} {endpoints:?}");
        let fault = advice("InternalError");
        for reason in conditions.into_iter().chain(endpoints).filter(|reason| *reason != "InternalError") {
            assert_ne!(advice(reason), fault, "{reason}");
        }
    }
}
