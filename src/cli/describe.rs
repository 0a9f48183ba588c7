//! `firebreak describe`: one Incident as a tree, with every field of every change.

use jiff::Timestamp;

use super::connection::Connection;
use super::screen::Screen;
use super::tree::{self, Detail};
use super::{Answer, Error};
use crate::settings::IncidentArgs;
use crate::view::IncidentView;

/// Prints an Incident as it is now.
pub async fn run(screen: &Screen, connection: &Connection, args: &IncidentArgs) -> Result<Answer, Error> {
    let namespace = connection.namespace(&args.namespace);
    let incident = connection.incident(&namespace, &args.incident).await?;
    screen.lines(&tree::tree(
        &IncidentView::of(&incident),
        Detail { fields: true, timeline: 20 },
        Timestamp::now(),
    ))?;
    Ok(Answer::Yes)
}
