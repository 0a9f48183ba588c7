//! The body of Alertmanager's webhook.

use std::collections::BTreeMap;

use firebreak_engine::alerts::{AlertState, Extent, Fingerprint, Message, SentAlert};
use firebreak_engine::change::cut;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The longest reason that is told, in characters.
const LONGEST: usize = 200;
/// The longest value of a label, in bytes. Patterns are compared with it, so it bounds how long that takes.
const LONGEST_VALUE: usize = 4096;

/// A message, and what is wrong with those of its alerts that cannot be read; none if all of them can.
pub type Parsed = (Message, Option<String>);

/// As far as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    /// How many alerts were left out; absent before Alertmanager 0.22.
    #[serde(default)]
    truncated_alerts: u64,
    #[serde(borrow)]
    alerts: Vec<&'a RawValue>,
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

impl From<Status> for AlertState {
    fn from(status: Status) -> Self {
        match status {
            Status::Firing => Self::Firing,
            Status::Resolved => Self::Resolved,
        }
    }
}

/// The message in a body. An alert that cannot be read hides no other: its sender would only send it again as it is.
///
/// # Errors
/// What is wrong with the message as a whole, for people.
pub fn parse(body: &[u8]) -> Result<Parsed, String> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|error| cut(&error.to_string(), LONGEST))?;
    let (mut alerts, mut bad, mut first) = (Vec::new(), 0, None);
    for text in &body.alerts {
        alerts.push(read(text.get()).unwrap_or_else(|why| {
            bad += 1;
            first.get_or_insert(why);
            unreadable(text.get())
        }));
    }
    let told =
        first.map(|why| format!("{bad} of {} alerts cannot be read, for example: {why}", body.alerts.len()));
    let extent = if body.truncated_alerts == 0 { Extent::Whole } else { Extent::Truncated };
    Ok((Message { alerts, extent }, told))
}

fn read(alert: &str) -> Result<SentAlert, String> {
    let alert: Alert = serde_json::from_str(alert).map_err(|error| cut(&error.to_string(), LONGEST))?;
    if let Some((label, _)) = alert.labels.iter().find(|(_, value)| value.len() > LONGEST_VALUE) {
        let label = cut(label, LONGEST);
        return Err(format!("its label {label} has more than {LONGEST_VALUE} bytes; shorten it"));
    }
    Ok(SentAlert { fingerprint: alert.fingerprint, state: alert.status.into(), labels: Some(alert.labels) })
}

/// What is known of an alert that cannot be read. It fires unless it says that it does not.
fn unreadable(alert: &str) -> SentAlert {
    let parts: Value = serde_json::from_str(alert).unwrap_or_default();
    let fingerprint = parts["fingerprint"].as_str().and_then(|text| text.parse().ok());
    let status = Status::deserialize(&parts["status"]).unwrap_or(Status::Firing);
    SentAlert {
        fingerprint: fingerprint.unwrap_or_else(|| Fingerprint::of_text(alert)),
        state: status.into(),
        labels: None,
    }
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

    fn edited(edit: impl FnOnce(&mut Value)) -> Result<Parsed, String> {
        let mut body = body();
        edit(&mut body);
        parse(body.to_string().as_bytes())
    }

    #[test]
    fn each_alert_has_a_state_of_its_own() {
        let (message, told) = edited(|_| {}).unwrap();
        assert_eq!(told, None);
        assert_eq!(message.extent, Extent::Whole);
        let seen: Vec<_> = message
            .alerts
            .iter()
            .map(|alert| {
                (alert.fingerprint.to_string(), alert.state, alert.labels.as_ref().unwrap()["node"].clone())
            })
            .collect();
        let expected =
            [("00c8a5b5c4f6d1e2", AlertState::Firing, "a"), ("10c8a5b5c4f6d1e2", AlertState::Resolved, "b")];
        assert_eq!(seen, expected.map(|(f, state, node)| (f.to_owned(), state, node.to_owned())));
        assert_eq!(edited(|body| body["truncatedAlerts"] = json!(3)).unwrap().0.extent, Extent::Truncated);
        assert_eq!(edited(|body| body["alerts"] = json!([])).unwrap().0.alerts, []);
    }

    #[test]
    fn what_is_no_message_is_refused_with_the_reason() {
        type Edit = fn(&mut Value);
        let table: [(Edit, &str); 4] = [
            (|body| *body = json!([]), "invalid"),
            (|body| body["alerts"] = json!(null), "invalid type: null"),
            (|body| *body = json!({"a": 1}), "missing field `alerts`"),
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
    fn an_alert_that_cannot_be_read_hides_no_other() {
        type Edit = fn(&mut Value);
        let known = "10c8a5b5c4f6d1e2";
        let table: [(Edit, &str, Option<&str>, AlertState); 6] = [
            (
                |alert| alert["status"] = json!("pending"),
                "unknown variant `pending`",
                Some(known),
                AlertState::Firing,
            ),
            (
                |alert| alert["labels"]["node"] = json!(3),
                "invalid type: integer",
                Some(known),
                AlertState::Resolved,
            ),
            (|alert| alert["labels"] = json!(null), "invalid type: null", Some(known), AlertState::Resolved),
            (|alert| alert["fingerprint"] = json!("x"), "a fingerprint has 16", None, AlertState::Resolved),
            (|alert| *alert = json!("resolved"), "invalid type: string", None, AlertState::Firing),
            (
                |alert| alert["labels"]["node"] = json!("x".repeat(LONGEST_VALUE + 1)),
                "its label node has more than 4096 bytes; shorten it",
                Some(known),
                AlertState::Resolved,
            ),
        ];
        for (edit, why, fingerprint, state) in table {
            let (message, told) = edited(|body| edit(&mut body["alerts"][1])).unwrap();
            let told = told.unwrap();
            assert!(told.starts_with(&format!("1 of 2 alerts cannot be read, for example: {why}")), "{told}");
            let [good, bad] = &message.alerts[..] else { panic!("{message:?}") };
            assert!(good.labels.is_some() && bad.labels.is_none() && bad.state == state, "{message:?}");
            if let Some(fingerprint) = fingerprint {
                assert_eq!(bad.fingerprint.to_string(), fingerprint, "{why}");
            }
        }
        let with =
            |length: usize| edited(|body| body["alerts"][1]["labels"]["node"] = json!("x".repeat(length)));
        assert_eq!(with(LONGEST_VALUE).unwrap().1, None);
        let nested = format!(r#"{{"alerts": [{}{}]}}"#, "[".repeat(9000), "]".repeat(9000));
        let (twice, _) = parse(nested.as_bytes()).unwrap();
        assert_eq!(twice, parse(nested.as_bytes()).unwrap().0, "it is the same one when it is sent again");
    }
}
