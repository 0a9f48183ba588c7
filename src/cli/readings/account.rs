//! As whom the signals of a policy are read from the command line.

use firebreak_engine::policy::PolicySpec;
use kube::Client;

use crate::cli::Error;
use crate::cli::connection::Connection;
use crate::cli::screen::note;
use crate::kubernetes::impersonate::{ImpersonateError, Impersonation, ServiceAccountRef};

/// Reads as the policy's ServiceAccount, or as the user if they may not impersonate it; and who that is, in plain words.
/// `purpose` is as in "cannot …".
pub async fn reader(
    connection: &Connection,
    namespace: &str,
    spec: &PolicySpec,
    purpose: &str,
) -> Result<(Client, String), Error> {
    let account = ServiceAccountRef::new(namespace, &spec.service_account_name).map_err(|error| {
        Error::failed(format!("cannot {purpose}"), error.to_string(), "correct spec.serviceAccountName")
    })?;
    match Impersonation::new(connection.client.clone()).client(&account).await {
        Ok(client) => {
            note(&format!("reads as ServiceAccount {account}"));
            Ok((client, format!("ServiceAccount {account}")))
        }
        Err(error @ (ImpersonateError::NotAllowed { .. } | ImpersonateError::SomebodyElse { .. })) => {
            let why = match error {
                ImpersonateError::NotAllowed { .. } => "you may not impersonate it".to_owned(),
                other => other.to_string(),
            };
            note(&format!(
                "reads as you, not as ServiceAccount {account} ({why}); the operator may see less or more"
            ));
            Ok((connection.client.clone(), "the user".to_owned()))
        }
        Err(ImpersonateError::Unproven { source, .. }) => {
            Err(Error::request(format!("cannot read as ServiceAccount {account}"), &source))
        }
        Err(error @ ImpersonateError::Header { .. }) => Err(Error::bug(&format!("cannot {purpose}"), error)),
    }
}
