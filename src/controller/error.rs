//! The only place that decides what happens after an error.
//!
//! "Not yet" is never an error. An error means that something could not be completed and is
//! repeated; what a user must know is already in a condition.

use std::time::Duration;

use super::refusal::Refusal;
use crate::kubernetes::impersonate::ImpersonateError;
use crate::kubernetes::retry;

/// Why a pass over one object ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Someone else wrote the object first: start over from its current state.
    #[error("someone else wrote it first")]
    Conflict,
    /// The API server rejected the request, or did not answer.
    #[error("{}", retry::explain(.0))]
    Api(Box<kube::Error>),
    /// The ServiceAccount cannot be used.
    #[error(transparent)]
    Identity(#[from] ImpersonateError),
    /// This process must not lead.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A bug: an object that we created does not encode.
    #[error("cannot encode: {0}; this is a bug, please report it")]
    Encode(#[from] serde_json::Error),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 409 => Self::Conflict,
            _ => Self::Api(Box::new(error)),
        }
    }
}

impl Error {
    /// Whether the object does not exist, so that there is nothing to repeat.
    pub fn is_gone(&self) -> bool {
        // A 404 that names nothing may mean that the kind is not served right now, which passes.
        matches!(self, Self::Api(error) if matches!(error.as_ref(), kube::Error::Api(status)
            if status.code == 404 && status.details.as_ref().is_some_and(|details| !details.name.is_empty())))
    }

    /// Whether the API server has clearly rejected the request, and did nothing.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Api(error) if matches!(error.as_ref(), kube::Error::Api(status) if matches!(status.code, 400 | 403 | 404 | 405 | 422)))
    }

    /// When to repeat, after this many failures in a row.
    pub fn retry_after(&self, failures: u32) -> Duration {
        match self {
            Self::Conflict => Duration::from_millis(20) * failures.min(10),
            Self::Api(_) | Self::Identity(_) | Self::Refused(_) | Self::Encode(_) => {
                Duration::from_millis(500) * 2_u32.pow(failures.min(6))
            }
        }
    }
}
