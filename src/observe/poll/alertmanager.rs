//! Alerts that fire in Alertmanager, by its API of version 2.

use std::borrow::Cow;
use std::collections::BTreeMap;

use firebreak_engine::expression::FieldValue;
use firebreak_engine::policy::Severity;
use http::StatusCode;
use serde::Deserialize;

use super::question::Read;
use crate::endpoints::{Answer, Endpoint, Take, Unanswered};
use crate::observe::kind::Values;

/// The longest answer that is read: some thousand alerts.
const LONGEST: usize = 4 * 1024 * 1024;

/// How alerts are classified: the label with the severity, and the level of each of its values.
pub(super) struct Levels<'a> {
    pub label: &'a str,
    pub of: &'a BTreeMap<String, Severity>,
}

/// Asks for the alerts that fire.
pub(super) async fn ask(
    endpoint: &Endpoint,
    matchers: &[String],
    levels: &Levels<'_>,
) -> Result<Read, Unanswered> {
    let states =
        [("active", "true"), ("silenced", "false"), ("inhibited", "false"), ("unprocessed", "false")];
    let filters = matchers.iter().map(|matcher| ("filter", matcher.as_str()));
    let parameters: Vec<(&str, &str)> = states.into_iter().chain(filters).collect();
    let answer = endpoint.get("/api/v2/alerts", &parameters, Take::Body(LONGEST)).await?;
    Ok(Read::of(values(&answer, levels)?))
}

/// One alert, as far as it is read.
#[derive(Deserialize)]
struct Alert<'a> {
    #[serde(borrow)]
    labels: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    status: State<'a>,
}

#[derive(Deserialize)]
struct State<'a> {
    #[serde(borrow)]
    state: Cow<'a, str>,
}

fn values(answer: &Answer, levels: &Levels<'_>) -> Result<Values, Unanswered> {
    if !answer.status.is_success() {
        return Err(refused(answer.status));
    }
    let strange = |_| {
        let detail = "its answer is not one of the API of Alertmanager (v2); check its URL";
        Unanswered::unusable("Unreadable", detail)
    };
    let alerts: Vec<Alert<'_>> = serde_json::from_slice(&answer.body).map_err(strange)?;
    let mut counts = BTreeMap::from(["firing", "p0", "p1", "p2", "p3"].map(|field| (field, 0)));
    // An older one ignores what it does not know, so the state is checked here too.
    for alert in alerts.iter().filter(|alert| alert.status.state == "active") {
        let level = alert.labels.get(levels.label).and_then(|value| levels.of.get(&**value));
        let field = level.map(|level| match level {
            Severity::P0 => "p0",
            Severity::P1 => "p1",
            Severity::P2 => "p2",
            Severity::P3 => "p3",
        });
        for field in ["firing"].into_iter().chain(field) {
            *counts.entry(field).or_default() += 1;
        }
    }
    Ok(counts.into_iter().map(|(field, count)| (field.to_owned(), FieldValue::Int(count))).collect())
}

fn refused(status: StatusCode) -> Unanswered {
    match status {
        StatusCode::BAD_REQUEST => Unanswered::unusable(
            "QueryRejected",
            "it rejects the matchers; try them with `amtool alert query`",
        ),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Unanswered::unusable(
            "Unauthorized",
            format!(
                "it answers {status}; check the credentials of the endpoint in the operator's configuration"
            ),
        ),
        StatusCode::NOT_FOUND => Unanswered::unusable(
            "NotFound",
            "there is no API of Alertmanager (v2) below its URL; check the URL in the operator's configuration",
        ),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Unanswered::NoAnswer(format!("it answers {status}"))
        }
        status if status.is_server_error() => Unanswered::NoAnswer(format!("it answers {status}")),
        status => Unanswered::unusable("Refused", format!("it answers {status}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn read(code: u16, body: &str) -> Result<Values, Unanswered> {
        let body = body.to_owned().into();
        let answer = Answer { status: StatusCode::from_u16(code).unwrap(), body, took: Duration::ZERO };
        let of = BTreeMap::from([
            ("critical".to_owned(), Severity::P0),
            ("page \"now\"".to_owned(), Severity::P1),
        ]);
        values(&answer, &Levels { label: "severity", of: &of })
    }

    #[test]
    fn what_fires_is_counted_in_all_and_by_level() {
        let alert = |state: &str, labels: Value| json!({"labels": labels, "status": {"state": state, "silencedBy": []}});
        let alerts = json!([
            alert("active", json!({"alertname": "A", "severity": "critical"})),
            alert("active", json!({"alertname": "B", "severity": "critical"})),
            alert("active", json!({"alertname": "C", "severity": "page \"now\""})),
            alert("active", json!({"alertname": "D", "severity": "none"})),
            alert("active", json!({"alertname": "E"})),
            alert("suppressed", json!({"alertname": "F", "severity": "critical"})),
        ]);
        let counts = |values: &Values| serde_json::to_string(values).unwrap();
        let some = read(200, &alerts.to_string()).unwrap();
        assert_eq!(counts(&some), r#"{"firing":5,"p0":2,"p1":1,"p2":0,"p3":0}"#);
        assert_eq!(counts(&read(200, "[]").unwrap()), r#"{"firing":0,"p0":0,"p1":0,"p2":0,"p3":0}"#);
    }

    #[test]
    fn what_is_no_list_of_alerts_is_unknown_and_its_text_is_not_told() {
        let table = [
            (200, r#"{"s3cret": 1}"#, "Unreadable"),
            (200, "<html>s3cret", "Unreadable"),
            (200, r#"[{"labels": {}}]"#, "Unreadable"),
            (400, "s3cret", "QueryRejected"),
            (401, "s3cret", "Unauthorized"),
            (404, "s3cret", "NotFound"),
            (429, "s3cret", "Unreachable"),
            (503, "s3cret", "Unreachable"),
            (418, "s3cret", "Refused"),
        ];
        for (code, body, expected) in table {
            let why = read(code, body).unwrap_err();
            assert_eq!(why.kind(), expected, "{body}");
            assert!(!format!("{why:?}").contains("s3cret"), "{why:?}");
        }
    }
}
