//! The body of Alertmanager's webhook.

use std::collections::BTreeMap;

use firebreak_engine::alerts::{AlertState, Extent, Fingerprint, Message, SentAlert};
use firebreak_engine::change::cut;
use serde::Deserialize;

/// The longest reason that is told, in characters.
const LONGEST: usize = 200;
/// The longest value of a label, in bytes. Patterns are compared with it, so it bounds how long that takes.
const LONGEST_VALUE: usize = 4096;

/// As far as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    /// How many alerts were left out; absent before Alertmanager 0.22.
    #[serde(default)]
    truncated_alerts: u64,
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    status: Status,
    labels: BTreeMap<String, String>,
    fingerprint: Fingerprint,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Firing,
    Resolved,
}

/// The message in a body.
///
/// # Errors
/// What is wrong with it, for people.
pub fn parse(body: &[u8]) -> Result<Message, String> {
    let body: Body = serde_json::from_slice(body).map_err(|error| cut(&error.to_string(), LONGEST))?;
    let mut labels = body.alerts.iter().flat_map(|alert| &alert.labels);
    if let Some((label, _)) = labels.find(|(_, value)| value.len() > LONGEST_VALUE) {
        let label = cut(label, LONGEST);
        return Err(format!("the label {label} of an alert has more than {LONGEST_VALUE} bytes; shorten it"));
    }
    let alerts = body.alerts.into_iter().map(|alert| SentAlert {
        fingerprint: alert.fingerprint,
        state: match alert.status {
            Status::Firing => AlertState::Firing,
            Status::Resolved => AlertState::Resolved,
        },
        labels: alert.labels,
    });
    let extent = if body.truncated_alerts == 0 { Extent::Whole } else { Extent::Truncated };
    Ok(Message { alerts: alerts.collect(), extent })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// As Alertmanager 0.28 sends it.
    fn body() -> Value {
        json!({
            "receiver": "firebreak", "status": "firing", "version": "4", "truncatedAlerts": 0,
            "groupKey": "{}:{alertname=\"GpuLost\"}", "groupLabels": {"alertname": "GpuLost"},
            "commonLabels": {"alertname": "GpuLost"}, "commonAnnotations": {}, "externalURL": "http://alertmanager:9093",
            "alerts": [
                {
                    "status": "firing", "labels": {"alertname": "GpuLost", "node": "a"}, "annotations": {},
                    "startsAt": "2026-11-30T23:00:00Z", "endsAt": "0001-01-01T00:00:00Z",
                    "generatorURL": "http://prometheus/graph", "fingerprint": "00c8a5b5c4f6d1e2",
                },
                {
                    "status": "resolved", "labels": {"alertname": "GpuLost", "node": "b"}, "annotations": {},
                    "startsAt": "2026-11-30T23:00:00Z", "endsAt": "2026-11-30T23:05:00Z",
                    "generatorURL": "http://prometheus/graph", "fingerprint": "10c8a5b5c4f6d1e2",
                },
            ],
        })
    }

    fn edited(edit: impl FnOnce(&mut Value)) -> Result<Message, String> {
        let mut body = body();
        edit(&mut body);
        parse(body.to_string().as_bytes())
    }

    #[test]
    fn each_alert_has_a_state_of_its_own() {
        let message = edited(|_| {}).unwrap();
        assert_eq!(message.extent, Extent::Whole);
        let seen: Vec<_> = message
            .alerts
            .iter()
            .map(|alert| (alert.fingerprint.to_string(), alert.state, alert.labels["node"].clone()))
            .collect();
        let expected =
            [("00c8a5b5c4f6d1e2", AlertState::Firing, "a"), ("10c8a5b5c4f6d1e2", AlertState::Resolved, "b")];
        assert_eq!(seen, expected.map(|(f, state, node)| (f.to_owned(), state, node.to_owned())));
        assert_eq!(edited(|body| body["truncatedAlerts"] = json!(3)).unwrap().extent, Extent::Truncated);
        assert_eq!(edited(|body| body["alerts"] = json!([])).unwrap().alerts, []);
    }

    #[test]
    fn what_is_no_message_is_refused_with_the_reason() {
        type Edit = fn(&mut Value);
        let table: [(Edit, &str); 7] = [
            (|body| *body = json!([]), "invalid"),
            (|body| body["alerts"] = json!(null), "invalid type: null"),
            (|body| *body = json!({"a": 1}), "missing field `alerts`"),
            (|body| body["alerts"][0]["status"] = json!("pending"), "unknown variant `pending`"),
            (|body| body["alerts"][0]["labels"]["node"] = json!(3), "invalid type: integer"),
            (|body| body["alerts"][0]["fingerprint"] = json!("x"), "a fingerprint has 16 hexadecimal digits"),
            (|body| body["truncatedAlerts"] = json!(-1), "invalid value"),
        ];
        for (edit, expected) in table {
            let why = edited(edit).unwrap_err();
            assert!(why.starts_with(expected), "{why}");
        }
        assert!(parse(b"").unwrap_err().starts_with("EOF"));
        assert!(
            parse(format!("{{\"alerts\": \"{}\"}}", "x".repeat(9000)).as_bytes()).unwrap_err().len() < 250
        );
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn a_label_that_is_too_long_is_named() {
        let with =
            |length: usize| edited(|body| body["alerts"][1]["labels"]["node"] = json!("x".repeat(length)));
        assert!(with(LONGEST_VALUE).is_ok());
        let why = with(LONGEST_VALUE + 1).unwrap_err();
        assert_eq!(why, "the label node of an alert has more than 4096 bytes; shorten it");
    }
}
