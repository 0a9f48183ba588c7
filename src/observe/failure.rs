//! What a failed request means for the state of a watch.

use kube::Error;
use kube::core::Status;

/// Why a watch could not continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The API server rejects the request: nothing is known from now on.
    Blind {
        /// In one word.
        reason: &'static str,
        /// For people.
        detail: String,
    },
    /// The version from which to continue is too old: list again.
    Expired,
    /// No conclusive answer. What was seen last counts until it is too old.
    Trouble(String),
}

impl Failure {
    /// The meaning of an error of a list, or of opening a watch.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::Api(status) => Self::of_status(status),
            other => Self::Trouble(explain(other)),
        }
    }

    /// The meaning of an error in the middle of a watch, or in an answer.
    pub(super) fn of_status(status: &Status) -> Self {
        let blind = |reason| Self::Blind { reason, detail: say(status) };
        match status.code {
            401 => blind("Unauthorized"),
            403 => blind("Forbidden"),
            // What the server says about a path that it does not have adds nothing.
            404 => {
                let detail = "the cluster does not serve this kind any more".to_owned();
                Self::Blind { reason: "KindNotFound", detail }
            }
            410 => Self::Expired,
            408 | 409 | 429 => Self::Trouble(say(status)),
            400..=499 => blind("Refused"),
            _ => Self::Trouble(say(status)),
        }
    }

    /// For people.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Blind { detail, .. } | Self::Trouble(detail) => detail,
            Self::Expired => "the API server no longer has the version from which to continue (410 Expired)",
        }
    }

    /// In one word, for the metric.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Blind { reason, .. } => reason,
            Self::Expired => "Expired",
            Self::Trouble(_) => "Unreachable",
        }
    }
}

fn say(status: &Status) -> String {
    if status.message.is_empty() {
        format!("the API server answered {}", status.code)
    } else {
        status.message.clone()
    }
}

/// The innermost cause: kube's own text repeats the causes and prints debug output.
fn explain(error: &Error) -> String {
    let mut last: &(dyn std::error::Error + 'static) = match error {
        Error::Service(source) => source.as_ref(),
        other => other,
    };
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
