//! Signals that ask an endpoint, without the configuration of the operator: only that says where endpoints are.

use std::collections::BTreeMap;

use firebreak_engine::facts::Reading;
use firebreak_engine::incident::SignalStatus;
use jiff::Timestamp;

use crate::cli::time::age;
use crate::endpoints::NO_SUCH_ENDPOINT;

/// Why a signal has no value here, though it may have one for the operator.
pub const NOT_ASKED: &str = "NotAskedHere";

/// What the operator has written about the signals.
#[derive(Clone, Copy)]
pub struct Written<'a> {
    /// The signals in the status.
    pub signals: &'a [SignalStatus],
    /// When the status was last written; none if nobody knows. A signal in it may be older: Firebreak writes no status
    /// where only numbers have changed.
    pub at: Option<Timestamp>,
}

/// Says of each signal that would ask an endpoint that it is not asked from here, and what the operator has written about it.
pub fn say_unasked(readings: &mut BTreeMap<String, Reading>, written: Written<'_>, now: Timestamp) {
    for (name, reading) in readings {
        let Reading::Unknown { reason, detail } = reading else { continue };
        if *reason != NO_SUCH_ENDPOINT {
            continue;
        }
        NOT_ASKED.clone_into(reason);
        let when = written.at.map(|at| format!(", at least {} ago", age(at, now))).unwrap_or_default();
        let known = match written.signals.iter().find(|signal| signal.name == *name) {
            Some(signal) => {
                format!(
                    "for the operator it was {:?} at its last write{when}: {}",
                    signal.state, signal.summary
                )
            }
            None => "the operator has written nothing about it yet".to_owned(),
        };
        *detail =
            format!("endpoints are asked only with --config FILE, the operator's configuration; {known}");
    }
}

#[cfg(test)]
mod tests {
    use firebreak_engine::incident::SignalState;

    use super::*;

    #[test]
    fn an_endpoint_that_is_not_asked_here_is_no_missing_endpoint() {
        let unknown = |reason: &str| Reading::Unknown { reason: reason.to_owned(), detail: "d".to_owned() };
        let mut readings = BTreeMap::from([
            ("errors".to_owned(), unknown(NO_SUCH_ENDPOINT)),
            ("latency".to_owned(), unknown(NO_SUCH_ENDPOINT)),
            ("denied".to_owned(), unknown("Forbidden")),
        ]);
        let written = [SignalStatus {
            name: "errors".to_owned(),
            state: SignalState::Known,
            summary: "count 1, value 0.02".to_owned(),
        }];
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let written = Written { signals: &written, at: Some(at("2026-03-01T10:00:00Z")) };
        say_unasked(&mut readings, written, at("2026-03-01T10:04:00Z"));
        let said = |detail: &str| Reading::Unknown {
            reason: "NotAskedHere".to_owned(),
            detail: format!(
                "endpoints are asked only with --config FILE, the operator's configuration; {detail}"
            ),
        };
        let as_written =
            "for the operator it was Known at its last write, at least 4m ago: count 1, value 0.02";
        assert_eq!(readings["errors"], said(as_written));
        assert_eq!(readings["latency"], said("the operator has written nothing about it yet"));
        assert_eq!(readings["denied"], unknown("Forbidden"));
    }
}
