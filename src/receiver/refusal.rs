//! The answers to requests, and their metric.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use prometheus::{IntCounterVec, Opts};

use crate::telemetry::metrics::Metrics;

/// What was recorded of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// All of it.
    Whole,
    /// Some of its alerts cannot be read, for people. To send them again would not change that.
    InPart(String),
}

/// Why a request is not answered with 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has another path.
    Path,
    /// It has another method.
    Method,
    /// It has no token.
    NoToken,
    /// The API server does not know the token.
    BadToken,
    /// The account may not send alerts to this policy.
    Forbidden {
        /// The user name of the account.
        user: String,
        /// The namespace of the policy.
        namespace: String,
        /// The name of the policy.
        policy: String,
    },
    /// There is no such policy, or the operator does not watch its namespace.
    NoPolicy,
    /// The policy has no signal that receives alerts.
    NoSignal,
    /// The body is longer than the bound, in bytes.
    TooLarge(usize),
    /// The body did not come in time.
    Slow,
    /// The body is no message of Alertmanager.
    Malformed(String),
    /// Another replica leads, or none does.
    NotLeading,
    /// The policy is not Accepted.
    NotAccepted,
    /// The policy does not decode.
    Undecodable,
    /// Too many requests are in hand.
    Busy,
    /// The API server did not say who the sender is and what it may do.
    NotReviewed,
    /// The status of the policy was not written in time.
    NotRecorded,
}

/// `Retry-After` in seconds: the next write is at most so far away.
const AGAIN: HeaderValue = HeaderValue::from_static("1");

impl Refusal {
    /// The label in the metric, for each kind of refusal.
    const LABELS: [&'static str; 16] = [
        "path",
        "method",
        "no_token",
        "bad_token",
        "forbidden",
        "no_policy",
        "no_signal",
        "too_large",
        "slow",
        "malformed",
        "not_leading",
        "not_accepted",
        "busy",
        "not_reviewed",
        "not_recorded",
        "undecodable",
    ];

    fn label(&self) -> &'static str {
        let at = match self {
            Self::Path => 0,
            Self::Method => 1,
            Self::NoToken => 2,
            Self::BadToken => 3,
            Self::Forbidden { .. } => 4,
            Self::NoPolicy => 5,
            Self::NoSignal => 6,
            Self::TooLarge(_) => 7,
            Self::Slow => 8,
            Self::Malformed(_) => 9,
            Self::NotLeading => 10,
            Self::NotAccepted => 11,
            Self::Busy => 12,
            Self::NotReviewed => 13,
            Self::NotRecorded => 14,
            Self::Undecodable => 15,
        };
        Self::LABELS[at]
    }

    /// The status of HTTP. Alertmanager sends a message again after 5xx, and gives it up after 4xx.
    fn status(&self) -> StatusCode {
        match self {
            Self::Path | Self::NoPolicy | Self::NoSignal => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoToken | Self::BadToken => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Slow
            | Self::NotLeading
            | Self::NotAccepted
            | Self::Undecodable
            | Self::Busy
            | Self::NotReviewed
            | Self::NotRecorded => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// For people: what is wrong, and what to do.
    fn text(&self) -> String {
        let text = match self {
            Self::Path => "the path must be /api/v1/namespaces/NAMESPACE/policies/NAME/alerts",
            Self::Method => "send a message with POST",
            Self::NoToken => "send the token of a ServiceAccount as Authorization: Bearer TOKEN",
            Self::BadToken => {
                "the API server does not accept the token; it may have expired, or be for another audience"
            }
            Self::Forbidden { user, namespace, policy } => {
                return format!(
                    "{user} may not create alerts.firebreak.dev {policy} in namespace {namespace}; grant it with a Role that has \
                     apiGroups: [firebreak.dev], resources: [alerts], resourceNames: [{policy}], verbs: [create]"
                );
            }
            Self::NoPolicy => {
                "there is no RemediationPolicy with this name, or the operator does not watch its namespace"
            }
            Self::NoSignal => "the policy has no signal with alertmanager.receive",
            Self::TooLarge(most) => {
                return format!(
                    "the message has more than {most} bytes; set max_alerts in Alertmanager, or group alerts by more labels"
                );
            }
            Self::Slow => "the message did not arrive in time; try again",
            Self::Malformed(why) => {
                return format!("the message cannot be read as one of Alertmanager's webhook: {why}");
            }
            Self::NotLeading => {
                "this replica of the operator does not lead, and only the leader records alerts; try again"
            }
            Self::NotAccepted => "the policy is not Accepted, see its conditions; try again when it is",
            Self::Undecodable => {
                "the policy cannot be read, see its conditions; correct it, and the alert counts when it is sent again"
            }
            Self::Busy => "too many requests are in hand; try again",
            Self::NotReviewed => {
                "the API server did not say who you are and what you may do, see the log of the operator; try again"
            }
            Self::NotRecorded => "the status of the policy could not be written in time; try again",
        };
        text.to_owned()
    }

    /// The answer.
    pub fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.text() + "\n"));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        // Who is refused holds no connection, and the next attempt takes a new one, which may lead to another replica.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        match self.status() {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, AGAIN);
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            _ => {}
        }
        response
    }
}

/// Counts requests by what became of them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RequestCounter(IntCounterVec);

const RECORDED: &str = "recorded";
const RECORDED_IN_PART: &str = "recorded_in_part";

impl RequestCounter {
    /// Shows the metric from now on, all of it zero.
    ///
    /// # Errors
    /// When a family has the name of another one.
    pub fn show(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let about = Opts::new(
            "firebreak_alert_requests_total",
            "Requests to the receiver of alerts, by what became of them.",
        );
        let counter = IntCounterVec::new(about, &["result"])?;
        let labels = Refusal::LABELS.into_iter().chain([RECORDED, RECORDED_IN_PART]);
        labels.for_each(|label| counter.with_label_values(&[label]).reset());
        metrics.add(counter.clone())?;
        Ok(Self(counter))
    }

    /// Counts one request.
    pub fn count(&self, result: Result<&Taken, &Refusal>) {
        let label = match result {
            Ok(Taken::Whole) => RECORDED,
            Ok(Taken::InPart(_)) => RECORDED_IN_PART,
            Err(refusal) => refusal.label(),
        };
        self.0.with_label_values(&[label]).inc();
    }

    /// How many requests have ended like this.
    #[cfg(test)]
    pub fn of(&self, label: &str) -> u64 {
        self.0.with_label_values(&[label]).get()
    }
}
