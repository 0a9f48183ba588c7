//! `firebreak describe`: one Incident as a tree, with every field of every change, and whether its policy is Ready.

use jiff::Timestamp;

use super::connection::Connection;
use super::screen::{Screen, note};
use super::tree::{self, Detail};
use super::{Answer, Error};
use crate::settings::IncidentArgs;
use crate::view::IncidentView;

/// Prints an Incident as it is now.
pub async fn run(screen: &Screen, connection: &Connection, args: &IncidentArgs) -> Result<Answer, Error> {
    let namespace = connection.namespace(&args.namespace);
    let incident = connection.incident(&namespace, &args.incident).await?;
    let mut view = IncidentView::of(&incident);
    if let Some(name) = incident.policy_name().filter(|_| !incident.is_closed()) {
        match connection.find_policy(&namespace, name).await {
            // The Incident itself says that its policy does not exist.
            Ok(None) => {}
            Ok(Some(policy)) => {
                view = view.with_policy(&policy);
                connection.say_without_account(&namespace, &policy.spec.policy).await;
            }
            Err(error) => note(&format!("whether its policy is Ready is not known: {error}")),
        }
    }
    if !incident.is_closed() {
        connection.operator.absence().await.iter().for_each(|why| note(why));
    }
    screen.lines(&tree::tree(&view, Detail { fields: true, timeline: 20 }, Timestamp::now()))?;
    Ok(Answer::Yes)
}
