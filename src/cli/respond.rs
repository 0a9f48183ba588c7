//! `firebreak pause`, `resume`, `withdraw` and `keep`: what a person decides.
//!
//! The command only writes the decision to the Incident. The controller carries it out, with or
//! without this command, so the command may be interrupted and repeated.

use kube::ResourceExt;
use serde_json::json;

use super::connection::Connection;
use super::decision::{Decision, Written, is_observed};
use super::follow::{End, until_closed};
use super::screen::{Line, Screen, note};
use super::{Answer, Error};
use crate::api::{Incident, Response};
use crate::settings::IncidentArgs;
use crate::view::{Tone, moves};

/// Sets the response of an Incident under the user's own name. Waits until the controller has picked it up,
/// and, when it ends the Incident, until the Incident is closed.
pub async fn run(
    screen: &Screen,
    connection: &Connection,
    args: &IncidentArgs,
    wanted: Response,
) -> Result<Answer, Error> {
    let verb = match wanted {
        Response::Active => "resume",
        Response::Paused => "pause",
        Response::Withdrawn => "withdraw",
        Response::Kept => "keep",
    };
    let namespace = connection.namespace(&args.namespace);
    let decision = Decision { connection, namespace, name: &args.incident, verb };
    let (incident, written) = write(&decision, wanted).await?;
    if written == Written::No {
        note(&already(&incident, wanted));
    }
    match wanted {
        Response::Active | Response::Paused => settled(screen, &decision, incident).await,
        Response::Withdrawn | Response::Kept => ended(screen, connection, incident).await,
    }
}

/// Sets the response, if it is not set already.
pub async fn write(decision: &Decision<'_>, wanted: Response) -> Result<(Incident, Written), Error> {
    let me = decision.who_am_i().await?;
    let change = json!({"response": wanted, "responseBy": me});
    decision
        .write(|incident| {
            let is_so = incident.spec.response.unwrap_or_default() == wanted;
            Ok((!is_so).then(|| change.clone()))
        })
        .await
}

fn already(incident: &Incident, response: Response) -> String {
    let called = format!("{}/{}", incident.namespace().unwrap_or_default(), incident.name_any());
    let by = incident.spec.response_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    match response {
        Response::Active => {
            format!("Incident {called} is not paused; to retry failed steps, use `pause` and then `resume`")
        }
        Response::Paused => format!("Incident {called} was already paused{by}"),
        Response::Withdrawn => {
            format!("Incident {called} is already being withdrawn{by}; waiting until it closes")
        }
        Response::Kept => format!("Incident {called} is already being kept{by}; waiting until it closes"),
    }
}

/// Waits until the controller has picked it up, and shows the state of the Incident then.
async fn settled(screen: &Screen, decision: &Decision<'_>, incident: Incident) -> Result<Answer, Error> {
    let incident =
        decision.wait_until(incident, "the status reflects it", |incident| Ok(is_observed(incident))).await?;
    let phase = incident.phase();
    let in_force = incident.status.as_ref().map_or(0, |status| status.changes_in_force);
    let response = incident.spec.response.unwrap_or_default();
    screen.lines(&[
        Line::of(format!("Incident {}/{} is {response:?}  ", decision.namespace, decision.name))
            .add(Tone::of_phase(phase).into(), phase.name())
            .and(format!("  {in_force} change(s) in force")),
        Line::of(format!("  {}", moves::next(&incident))),
    ])?;
    Ok(Answer::Yes)
}

/// Shows how the Incident ends.
async fn ended(screen: &Screen, connection: &Connection, incident: Incident) -> Result<Answer, Error> {
    let (namespace, name) = (incident.namespace().unwrap_or_default(), incident.name_any());
    let quiet = format!(
        "no progress for 30s; `firebreak describe {name} -n {namespace}` shows what each object waits for. If nothing \
         moves on, check that the operator is running. Without it, `firebreak undo KIND/NAME` reverts single objects"
    );
    match until_closed(screen, connection, incident, &quiet).await? {
        End::Resolved => Ok(Answer::Yes),
        End::Gone => {
            note(&format!(
                "Incident {namespace}/{name} has been deleted in the meantime, which also reverts all \
                 changes, unless they were abandoned with firebreak.dev/abandon"
            ));
            Ok(Answer::No)
        }
        End::Interrupted => {
            note(&format!(
                "the operator continues without this command; `firebreak watch {name} -n {namespace}` \
                 follows the Incident"
            ));
            Ok(Answer::No)
        }
    }
}
