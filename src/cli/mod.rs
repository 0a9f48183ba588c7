//! PLACEHOLDER: the client verbs go here, one file per verb.

use crate::settings::Settings;

/// What a verb found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Exit 0.
    Yes,
    /// The answer is no, and was printed; exit 1.
    No,
}

/// Why a verb could not do its work; exit 1. One line that says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The verb is not written yet.
    #[error("this verb is not built yet; use `kubectl get incidents` meanwhile")]
    NotBuilt,
}

/// Does what a verb other than `controller` asks for.
///
/// # Errors
/// When the work failed.
#[allow(clippy::unused_async)]
pub async fn run(_settings: Settings) -> Result<Answer, Error> {
    Err(Error::NotBuilt)
}
