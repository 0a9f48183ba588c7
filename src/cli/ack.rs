//! `firebreak ack`: a person acknowledges an Incident.

use serde_json::json;

use super::connection::Connection;
use super::decision::{Decision, is_observed};
use super::screen::{Line, Screen, Style};
use super::{Answer, Error};
use crate::settings::IncidentArgs;

/// Acknowledges an Incident under the user's own name, and waits until its status shows it.
pub async fn run(screen: &Screen, connection: &Connection, args: &IncidentArgs) -> Result<Answer, Error> {
    let namespace = connection.namespace(&args.namespace);
    let decision = Decision { connection, namespace, name: &args.incident, verb: "acknowledge" };
    let me = decision.who_am_i().await?;
    let (incident, _) = decision
        .write(|incident| {
            let is_mine = incident.spec.acknowledged_by.as_ref() == Some(&me);
            Ok((!is_mine).then(|| json!({"acknowledgedBy": me})))
        })
        .await?;
    let incident = decision
        .wait_until(incident, "the status shows the acknowledgement", |incident| {
            let shown = incident.status.as_ref().and_then(|status| status.state.acknowledged_by.as_ref());
            Ok(is_observed(incident) && shown.is_some())
        })
        .await?;
    let shown = incident.status.and_then(|status| status.state.acknowledged_by).unwrap_or_default();
    screen.lines(&[Line::of(format!(
        "Incident {}/{} is acknowledged by ",
        decision.namespace, args.incident
    ))
    .add(Style::Good, shown)])?;
    Ok(Answer::Yes)
}
