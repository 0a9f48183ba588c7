//! Repeats reads, and says what a failed request means.
//!
//! Only reads may be repeated blindly. A write that failed without an answer may have taken effect:
//! [`leaves_outcome_open`] says so, and its outcome must be read.

use std::future::Future;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use kube::Error;
use kube::core::Status;

/// The longest wait that the server's Retry-After can impose on a read.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Sends an idempotent GET or LIST, and repeats it up to four times while the failure looks temporary:
/// 429, 5xx, no answer. All waits together take at most about 10 s, or 20 s if the server asks
/// for more.
///
/// # Errors
/// The last error.
pub async fn read<T, F, Fut>(request: F) -> Result<T, Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let waits = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(2))
        .with_max_times(4)
        .with_jitter();
    request
        .retry(waits)
        .when(is_transient)
        .adjust(|error, wait| wait.map(|wait| wait.max(asked_to_wait(error))))
        .await
}

/// [`read`] of one object by its name, which may not exist.
///
/// # Errors
/// The last error. Unlike with kube's `get_opt`, a 404 that does not name the object is an error.
pub async fn find<T, F, Fut>(name: &str, request: F) -> Result<Option<T>, Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    match read(request).await {
        Ok(object) => Ok(Some(object)),
        Err(Error::Api(status)) if says_gone(&status, name) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A 404 that names the object says that it does not exist. One that does not may only mean that its kind is
/// not served right now (no CRD, an API server that starts), or that something in between has answered.
#[must_use]
pub fn says_gone(status: &Status, name: &str) -> bool {
    status.code == 404 && names(status, name)
}

/// Whether the answer is about this object. Only then did the API server itself look for it.
#[must_use]
pub fn names(status: &Status, name: &str) -> bool {
    status.details.as_ref().is_some_and(|details| details.name == name)
}

/// Whether the same request might succeed a little later.
#[must_use]
pub fn is_transient(error: &Error) -> bool {
    match error {
        Error::Api(status) => status.code == 429 || status.code >= 500,
        other => is_unanswered(other),
    }
}

/// Whether a write that failed like this may have taken effect: no answer, an answer that
/// could not be read, or a 5xx (the API server answers 500 when etcd timed out, and etcd may have
/// committed).
#[must_use]
pub fn leaves_outcome_open(error: &Error) -> bool {
    match error {
        Error::Api(status) => status.code >= 500,
        Error::SerdeError(_) | Error::FromUtf8(_) => true,
        other => is_unanswered(other),
    }
}

fn is_unanswered(error: &Error) -> bool {
    matches!(error, Error::Service(_) | Error::HyperError(_) | Error::ReadEvents(_))
}

/// How long the server asks to wait, with a limit.
#[must_use]
pub fn asked_to_wait(error: &Error) -> Duration {
    match error {
        Error::Api(status) => {
            let seconds = status.details.as_ref().map_or(0, |d| d.retry_after_seconds);
            Duration::from_secs(u64::from(seconds)).min(LONGEST_WAIT)
        }
        _ => Duration::ZERO,
    }
}

/// The message of an error, in one line and once: kube's own text repeats itself and prints debug output,
/// which has no place in a status.
#[must_use]
pub fn explain(error: &Error) -> String {
    match error {
        Error::Api(status) if status.message.is_empty() => {
            format!("the API server answered {}", status.code)
        }
        Error::Api(status) => status.message.clone(),
        Error::Service(source) => innermost(source.as_ref()),
        other => innermost(other),
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn answered(code: u16) -> Error {
        Error::Api(Status::failure("no", "Because").with_code(code).boxed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_is_repeated_while_the_failure_looks_temporary() {
        for (code, calls) in [(500, 5), (503, 5), (429, 5), (403, 1), (404, 1), (409, 1), (410, 1)] {
            let made = Cell::new(0);
            let result: Result<(), Error> = read(|| async {
                made.set(made.get() + 1);
                Err(answered(code))
            })
            .await;
            assert!(result.is_err());
            assert_eq!(made.get(), calls, "code {code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_ends_with_the_first_success() {
        let made = Cell::new(0);
        let result = read(|| async {
            made.set(made.get() + 1);
            if made.get() < 3 { Err(answered(503)) } else { Ok(made.get()) }
        })
        .await;
        assert_eq!(result.unwrap(), 3);
    }

    #[tokio::test]
    async fn only_a_404_that_names_the_object_says_that_it_is_gone() {
        let named: Status = serde_json::from_value(serde_json::json!({
            "status": "Failure", "code": 404, "reason": "NotFound", "message": "no", "details": {"name": "x"},
        }))
        .unwrap();
        let gone = find("x", || async { Err::<(), _>(Error::Api(named.clone().boxed())) }).await;
        assert!(matches!(gone, Ok(None)));
        let other = find("y", || async { Err::<(), _>(Error::Api(named.clone().boxed())) }).await;
        assert!(other.is_err());
        let not_served = find("x", || async { Err::<(), _>(answered(404)) }).await;
        assert!(not_served.is_err());
    }

    #[test]
    fn a_write_counts_as_refused_only_when_the_server_said_so() {
        assert!(leaves_outcome_open(&Error::Service("reset".into())));
        let unreadable = serde_json::from_str::<u8>("{").unwrap_err();
        assert!(leaves_outcome_open(&Error::SerdeError(unreadable)));
        for (code, open) in [(500, true), (504, true), (409, false), (403, false), (429, false)] {
            assert_eq!(leaves_outcome_open(&answered(code)), open, "code {code}");
        }
    }

    #[test]
    fn an_error_is_explained_without_debug_output() {
        assert_eq!(explain(&answered(403)), "no");
        let nested = Error::Service(Box::new(std::io::Error::other("refused")));
        assert_eq!(explain(&nested), "refused");
    }
}
