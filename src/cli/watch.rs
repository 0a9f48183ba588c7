//! `firebreak watch`: follows an Incident until it is closed.

use kube::ResourceExt;

use super::connection::Connection;
use super::follow::{End, until_closed};
use super::screen::{Screen, note};
use super::{Answer, Error};
use crate::api::Incident;
use crate::settings::IncidentArgs;

/// Shows the progress of an Incident. Yes if it is Resolved in the end.
pub async fn run(screen: &Screen, connection: &Connection, args: &IncidentArgs) -> Result<Answer, Error> {
    let namespace = connection.namespace(&args.namespace);
    let incident = connection.incident(&namespace, &args.incident).await?;
    follow(screen, connection, incident).await
}

/// The same for an Incident that was already read.
pub async fn follow(screen: &Screen, connection: &Connection, incident: Incident) -> Result<Answer, Error> {
    let (namespace, name) = (incident.namespace().unwrap_or_default(), incident.name_any());
    let quiet = "nothing has changed for 30s; still watching, press Ctrl-C to stop";
    match until_closed(screen, connection, incident, quiet).await? {
        End::Resolved => Ok(Answer::Yes),
        End::Gone => {
            note(&format!(
                "Incident {namespace}/{name} was deleted; its changes were reverted first, unless they were \
                    abandoned with firebreak.dev/abandon"
            ));
            Ok(Answer::No)
        }
        End::Interrupted => {
            note(&format!(
                "the response continues without this command; `firebreak withdraw {name} -n {namespace}` \
                    ends it"
            ));
            Ok(Answer::No)
        }
    }
}
