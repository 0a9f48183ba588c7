//! `firebreak withdraw`: has everything put back that an Incident changed.
//!
//! The command only says so in the Incident; the controller does it, with or
//! without this command. So it may be interrupted, and repeated.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::connection::Connection;
use super::follow::{End, until_closed};
use super::screen::{Screen, note};
use super::{Answer, Error};
use crate::api::{Incident, Response, names};
use crate::controller::policy::claim::is_closed;
use crate::kubernetes::retry;
use crate::settings::IncidentArgs;

/// The controller may write the status between our read and our write, several times a second.
const TRIES: u32 = 20;

/// Withdraws an Incident and waits until it is closed.
pub async fn run(screen: &Screen, connection: &Connection, args: &IncidentArgs) -> Result<Answer, Error> {
    let namespace = connection.namespace(&args.namespace);
    let name = &args.incident;
    let Some(incident) = withdraw(connection, &namespace, name).await? else { return Ok(Answer::Yes) };
    let quiet = format!(
        "nothing has moved for 30s: is the operator running? Without it `firebreak undo KIND/NAME` puts single objects \
         back; `firebreak get {name} -n {namespace}` lists them"
    );
    match until_closed(screen, connection, incident, &quiet).await? {
        End::Resolved => Ok(Answer::Yes),
        End::Gone => {
            note(&format!(
                "Incident {namespace}/{name} was deleted meanwhile; that puts everything back too, unless it was let \
                 go with firebreak.dev/abandon"
            ));
            Ok(Answer::No)
        }
        End::Interrupted => {
            note(&format!(
                "the withdrawal goes on without this command; `firebreak watch {name} -n {namespace}` shows it"
            ));
            Ok(Answer::No)
        }
    }
}

/// Sets `spec.response` to Withdrawn, guarded by the version that was read. None if the Incident is closed.
async fn withdraw(connection: &Connection, namespace: &str, name: &str) -> Result<Option<Incident>, Error> {
    let api = connection.incidents(namespace);
    let what = || format!("cannot withdraw Incident {namespace}/{name}");
    let mut tried = 0;
    loop {
        let incident = connection.incident(namespace, name).await?;
        if is_closed(&incident) {
            let why = incident.status.and_then(|status| status.state.closing);
            let why = why.map(|closing| format!(" ({})", closing.name())).unwrap_or_default();
            note(&format!("Incident {namespace}/{name} is closed already{why}: nothing of it is in force"));
            return Ok(None);
        }
        if incident.spec.response == Some(Response::Withdrawn) {
            note(&format!("Incident {namespace}/{name} is being withdrawn already; waiting for its end"));
            return Ok(Some(incident));
        }
        let patch = json!({
            "metadata": {"resourceVersion": incident.resource_version()},
            "spec": {"response": Response::Withdrawn},
        });
        let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch(name, &params, &Patch::Merge(&patch)).await {
            Ok(incident) => return Ok(Some(incident)),
            Err(error) => {
                tried += 1;
                let is_conflict = matches!(&error, kube::Error::Api(status) if status.code == 409);
                // Saying the same twice is harmless, so a lost answer is no obstacle either.
                if tried >= TRIES || !(is_conflict || retry::is_transient(&error)) {
                    return Err(Error::request(what(), &error));
                }
                let wait = Duration::from_millis(20 * u64::from(tried)).max(retry::asked_to_wait(&error));
                tokio::time::sleep(wait).await;
            }
        }
    }
}
