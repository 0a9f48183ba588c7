//! Why a verb could not do its work, in one line that says what to do next.

use crate::kubernetes::client::ConnectError;
use crate::kubernetes::retry;

/// Why a verb could not do its work; exit 1, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No cluster can be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Something did not work.
    #[error("{what}: {why}; {next}")]
    Failed {
        /// The purpose.
        what: String,
        /// Why it did not work.
        why: String,
        /// What to do next.
        next: String,
    },
    /// A message that already says what to do next.
    #[error("{0}")]
    Said(String),
    /// The command line makes no sense; exit 2.
    #[error("{0}")]
    Usage(String),
    /// The output could not be written.
    #[error("cannot write to standard output: {0}; free some space or write elsewhere")]
    Output(#[from] std::io::Error),
}

impl Error {
    /// Something did not work, and this is the remedy.
    pub fn failed(what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), why: why.into(), next: next.into() }
    }

    /// A request was rejected or not answered.
    pub fn request(what: impl Into<String>, error: &kube::Error) -> Self {
        Self::failed(what, retry::explain(error), what_next(error))
    }

    /// There is no such Incident.
    pub fn no_incident(namespace: &str, name: &str) -> Self {
        Self::failed(
            format!("there is no Incident {name} in namespace {namespace}"),
            "it was never opened, or has been deleted",
            "`firebreak get -A` lists all Incidents",
        )
    }

    /// A bug in Firebreak.
    pub fn bug(what: &str, why: impl ToString) -> Self {
        Self::failed(what, why.to_string(), "this is a bug, please report it")
    }
}

fn what_next(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) => match status.code {
            401 => "log in to the cluster again, or choose another --context",
            403 => "ask the cluster administrator for this permission, or choose another --context",
            // The object itself is read with `get_opt`, so its kind is missing.
            404 => {
                "install the CRDs with `firebreak crds | kubectl apply --server-side -f -`, or choose \
                    another --context"
            }
            409 => "someone else keeps writing it; try again",
            400..=499 => "correct that and try again",
            _ => "the API server has a problem; try again later",
        },
        kube::Error::SerdeError(_) => {
            "another version of Firebreak wrote it; use that version, or inspect it with `-o yaml`"
        }
        kube::Error::Auth(_) => "check the credentials in the kubeconfig",
        _ => "check --kubeconfig and --context, and that the cluster is running",
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn an_error_is_one_line_that_says_what_to_do_next() {
        let refused = kube::Error::Api(Box::new(Status {
            code: 403,
            ..Status::failure("incidents.firebreak.dev is forbidden", "Forbidden")
        }));
        assert_eq!(
            Error::request("cannot list Incidents", &refused).to_string(),
            "cannot list Incidents: incidents.firebreak.dev is forbidden; ask the cluster administrator for \
                this permission, or choose another --context"
        );
        let missing = Error::no_incident("a", "x").to_string();
        assert!(missing.contains("no Incident x in namespace a"), "{missing}");
    }
}
