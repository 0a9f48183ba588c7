//! Instant queries of Prometheus, and of what speaks its API (Thanos, Mimir, VictoriaMetrics).

use std::borrow::Cow;
use std::time::Duration;

use firebreak_engine::expression::FieldValue;
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::question::Read;
use crate::endpoints::{Answer, Endpoint, Take, Unanswered};
use crate::observe::kind::Values;

/// The longest answer that is read: some thousand series. A query that needs more should aggregate.
const LONGEST: usize = 1024 * 1024;
/// How far the time of data may lie in the future, because clocks differ.
const SKEW: Duration = Duration::from_secs(60);

/// Asks the query, and before it how old the data is.
pub(super) async fn ask(
    endpoint: &Endpoint,
    query: &str,
    freshness: Option<&str>,
) -> Result<Read, Unanswered> {
    let send = |query: &str| {
        let query = query.to_owned();
        async move {
            let take = Take::Body(LONGEST);
            let answer = endpoint.get("/api/v1/query", &[("query", query.as_str())], take).await?;
            samples(&answer)
        }
    };
    let age = match freshness {
        None => Duration::ZERO,
        Some(freshness) => age(&send(freshness).await?, Timestamp::now())?,
    };
    Ok(Read { age, ..Read::of(values(&send(query).await?)) })
}

/// The numbers of an answer.
#[derive(Clone, Debug, PartialEq)]
enum Samples {
    Scalar(f64),
    Vector(Vec<f64>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    status: Cow<'a, str>,
    #[serde(default, borrow)]
    error_type: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    data: Option<Data<'a>>,
    #[serde(default)]
    warnings: Option<Vec<IgnoredAny>>,
    /// What VictoriaMetrics says of an answer without some of its stores.
    #[serde(default)]
    is_partial: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    result_type: Cow<'a, str>,
    #[serde(borrow)]
    result: &'a RawValue,
}

/// One series of a vector. Its labels are not read.
#[derive(Deserialize)]
struct Series<'a> {
    #[serde(default, borrow)]
    value: Option<Sample<'a>>,
}

/// The time of the evaluation, and the value as text.
#[derive(Deserialize)]
struct Sample<'a>(IgnoredAny, #[serde(borrow)] Cow<'a, str>);

impl Sample<'_> {
    fn number(&self) -> Result<f64, Unanswered> {
        self.1.parse().map_err(|_| strange())
    }
}

fn samples(answer: &Answer) -> Result<Samples, Unanswered> {
    let response: Result<Response<'_>, _> = serde_json::from_slice(&answer.body);
    if !answer.status.is_success() {
        let error_type = response.ok().and_then(|response| response.error_type);
        return Err(refused(answer.status, error_type.as_deref()));
    }
    let response = response.map_err(|_| strange())?;
    if response.status != "success" {
        return Err(refused(answer.status, response.error_type.as_deref()));
    }
    let warnings = response.warnings.unwrap_or_default().len();
    if warnings > 0 || response.is_partial == Some(true) {
        let detail = "its answer may be partial: it has warnings; ask the endpoint itself what they say";
        return Err(Unanswered::unusable("Partial", detail));
    }
    let data = response.data.ok_or_else(strange)?;
    match &*data.result_type {
        "scalar" => {
            let sample: Sample<'_> = serde_json::from_str(data.result.get()).map_err(|_| strange())?;
            Ok(Samples::Scalar(sample.number()?))
        }
        "vector" => {
            let series: Vec<Series<'_>> = serde_json::from_str(data.result.get()).map_err(|_| strange())?;
            let number = |series: Series<'_>| match series.value {
                Some(sample) => sample.number(),
                None => Err(wrong_type("native histograms; use histogram_quantile or histogram_count")),
            };
            Ok(Samples::Vector(series.into_iter().map(number).collect::<Result<_, _>>()?))
        }
        "matrix" => Err(wrong_type("a range of values; use a function such as avg_over_time")),
        "string" => Err(wrong_type("a text")),
        _ => Err(strange()),
    }
}

/// The fields of a signal. NaN is no value, and nothing is known of a vector with one but its length.
fn values(samples: &Samples) -> Values {
    let mut values = Values::new();
    let mut set = |field: &str, value| values.insert(field.to_owned(), value);
    match samples {
        Samples::Scalar(value) if value.is_nan() => {}
        Samples::Scalar(value) => {
            set("value", FieldValue::Double(*value));
        }
        Samples::Vector(all) => {
            set("count", FieldValue::Int(i64::try_from(all.len()).unwrap_or(i64::MAX)));
            let sum: f64 = all.iter().sum();
            if all.is_empty() || all.iter().any(|value| value.is_nan()) {
                return values;
            }
            let most = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let least = all.iter().copied().fold(f64::INFINITY, f64::min);
            set("max", FieldValue::Double(most));
            set("min", FieldValue::Double(least));
            // Infinities of both signs have no sum.
            if !sum.is_nan() {
                set("sum", FieldValue::Double(sum));
            }
            if let [value] = all.as_slice() {
                set("value", FieldValue::Double(*value));
            }
        }
    }
    values
}

/// How old the data is, from the answer to the query of its time.
fn age(samples: &Samples, now: Timestamp) -> Result<Duration, Unanswered> {
    let ageless =
        |why: &str| Unanswered::unusable("Stale", format!("how old the data is is not known: {why}"));
    let at = match samples {
        Samples::Scalar(at) => *at,
        Samples::Vector(all) => match all.as_slice() {
            [at] => *at,
            [] => return Err(ageless("the query in freshness has no result")),
            [..] => return Err(ageless("the query in freshness has several results; use min() or max()")),
        },
    };
    if !at.is_finite() {
        return Err(ageless("the query in freshness yields no number"));
    }
    #[expect(clippy::cast_precision_loss, reason = "a time in milliseconds is far below 2^52")]
    let age = now.as_millisecond() as f64 / 1000.0 - at;
    if age < -SKEW.as_secs_f64() {
        return Err(ageless(
            "the query in freshness yields a time in the future; it must be in seconds since 1970",
        ));
    }
    Ok(Duration::try_from_secs_f64(age.max(0.0)).unwrap_or(Duration::MAX))
}

/// What a status of HTTP means. The kinds of errors are a list in the documentation of Prometheus; other texts are not shown.
fn refused(status: StatusCode, error_type: Option<&str>) -> Unanswered {
    match (status, error_type) {
        (_, Some("bad_data")) => Unanswered::unusable(
            "QueryRejected",
            "it rejects the query (bad_data); try it in the endpoint's own page",
        ),
        (_, Some("execution")) => Unanswered::unusable(
            "QueryRejected",
            "it cannot execute the query (execution); try it in the endpoint's own page",
        ),
        (_, Some("timeout" | "canceled" | "unavailable" | "internal")) => {
            Unanswered::NoAnswer(format!("it answers {status}"))
        }
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => Unanswered::unusable(
            "Unauthorized",
            format!(
                "it answers {status}; check the credentials of the endpoint in the operator's configuration"
            ),
        ),
        (StatusCode::NOT_FOUND, _) => Unanswered::unusable(
            "NotFound",
            "there is no query API below its URL; check the URL in the operator's configuration",
        ),
        (StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT, _) => {
            Unanswered::NoAnswer(format!("it answers {status}"))
        }
        (status, _) if status.is_server_error() => Unanswered::NoAnswer(format!("it answers {status}")),
        (status, _) => Unanswered::unusable("Refused", format!("it answers {status}")),
    }
}

fn strange() -> Unanswered {
    Unanswered::unusable("Unreadable", "its answer is not one of the query API of Prometheus; check its URL")
}

fn wrong_type(what: &str) -> Unanswered {
    Unanswered::unusable("WrongType", format!("the query yields {what}; a scalar or a vector is needed"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(code: u16, body: &str) -> Result<Values, Unanswered> {
        let body = body.to_owned().into();
        let answer = Answer { status: StatusCode::from_u16(code).unwrap(), body, took: Duration::ZERO };
        samples(&answer).map(|samples| values(&samples))
    }

    fn good(result: Value) -> Result<Values, Unanswered> {
        read(
            200,
            &json!({"status": "success", "data": result, "infos": ["metric might not be a counter"]})
                .to_string(),
        )
    }

    fn vector(values: &[&str]) -> Value {
        let series = |value: &&str| json!({"metric": {"pod": "a\"b"}, "value": [1_770_000_000.123, value]});
        json!({"resultType": "vector", "result": values.iter().map(series).collect::<Vec<_>>()})
    }

    fn shown(values: &Values) -> String {
        serde_json::to_string(values).unwrap()
    }

    #[test]
    fn a_scalar_is_a_value_and_a_vector_has_bounds() {
        let scalar = |value| json!({"resultType": "scalar", "result": [1_770_000_000, value]});
        let table = [
            (scalar("0.07"), r#"{"value":0.07}"#),
            (scalar("NaN"), "{}"),
            (vector(&[]), r#"{"count":0}"#),
            (vector(&["2"]), r#"{"count":1,"max":2.0,"min":2.0,"sum":2.0,"value":2.0}"#),
            (vector(&["NaN"]), r#"{"count":1}"#),
            (vector(&["1", "1e+06", "-3"]), r#"{"count":3,"max":1000000.0,"min":-3.0,"sum":999998.0}"#),
            (vector(&["1", "NaN"]), r#"{"count":2}"#),
        ];
        for (result, expected) in table {
            assert_eq!(shown(&good(result.clone()).unwrap()), expected, "{result}");
        }
        let endless = good(vector(&["+Inf", "-Inf"])).unwrap();
        assert_eq!(endless.keys().collect::<Vec<_>>(), ["count", "max", "min"]);
        assert_eq!(endless["max"], FieldValue::Double(f64::INFINITY));
    }

    #[test]
    fn what_is_no_plain_answer_is_none_and_its_text_is_not_told() {
        let histogram = json!({"resultType": "vector", "result": [{"metric": {}, "histogram": [1, {}]}]});
        let warned = json!({"status": "success", "warnings": ["s3cret"], "data": vector(&["1"])}).to_string();
        let partial = json!({"status": "success", "isPartial": true, "data": vector(&["1"])}).to_string();
        let error = |kind: &str| json!({"status": "error", "errorType": kind, "error": "s3cret"}).to_string();
        let data = |result: Value| json!({"status": "success", "data": result}).to_string();
        let table = [
            (200, data(histogram), "WrongType"),
            (200, data(json!({"resultType": "matrix", "result": []})), "WrongType"),
            (200, data(json!({"resultType": "string", "result": [1, "s3cret"]})), "WrongType"),
            (200, data(json!({"resultType": "s3cret", "result": []})), "Unreadable"),
            (200, data(json!({"resultType": "scalar", "result": [1, "s3cret"]})), "Unreadable"),
            (200, data(json!({"resultType": "vector", "result": {"s3cret": 1}})), "Unreadable"),
            (200, warned, "Partial"),
            (200, partial, "Partial"),
            (200, "<html>s3cret</html>".to_owned(), "Unreadable"),
            (200, String::new(), "Unreadable"),
            (200, error("bad_data"), "QueryRejected"),
            (400, error("bad_data"), "QueryRejected"),
            (422, error("execution"), "QueryRejected"),
            (503, error("timeout"), "Unreachable"),
            (500, "s3cret".to_owned(), "Unreachable"),
            (429, "s3cret".to_owned(), "Unreachable"),
            (401, "s3cret".to_owned(), "Unauthorized"),
            (403, "s3cret".to_owned(), "Unauthorized"),
            (404, "s3cret".to_owned(), "NotFound"),
            (418, error("s3cret"), "Refused"),
        ];
        for (code, body, expected) in table {
            let why = read(code, &body).unwrap_err();
            assert_eq!(why.kind(), expected, "{body}");
            assert!(!format!("{why:?}").contains("s3cret"), "{why:?}");
        }
    }

    #[test]
    fn how_old_the_data_is_follows_from_its_time() {
        let now = Timestamp::from_second(10_000).unwrap();
        let age = |samples| super::age(&samples, now).map(|age| age.as_secs());
        assert_eq!(age(Samples::Scalar(9_990.0)), Ok(10));
        assert_eq!(age(Samples::Vector(vec![6_400.0])), Ok(3_600));
        assert_eq!(age(Samples::Scalar(10_030.0)), Ok(0), "clocks differ");
        assert_eq!(age(Samples::Scalar(-1e300)).unwrap(), Duration::MAX.as_secs());
        for strange in [
            Samples::Vector(vec![]),
            Samples::Vector(vec![1.0, 2.0]),
            Samples::Scalar(f64::NAN),
            Samples::Scalar(f64::INFINITY),
            // In milliseconds, which would never be too old.
            Samples::Scalar(10_000_000.0),
        ] {
            assert_eq!(age(strange.clone()).unwrap_err().kind(), "Stale", "{strange:?}");
        }
    }
}
