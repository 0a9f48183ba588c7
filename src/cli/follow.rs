//! Follows an Incident until it is closed, and shows what happens meanwhile.
//!
//! On a terminal the tree is drawn again with every change; elsewhere every
//! change is a line of its own.

use std::pin::pin;
use std::time::Duration;

use firebreak_engine::incident::IncidentState;
use futures::StreamExt;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};

use super::connection::Connection;
use super::error::Error;
use super::screen::{Line, Screen, Style, note};
use super::tree::{self, Detail, change_style};
use crate::api::Incident;

/// When nothing has moved for so long, a word about it is in place.
const QUIET: Duration = Duration::from_secs(30);

/// How following an Incident ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is closed.
    Resolved,
    /// It is gone.
    Gone,
    /// The user has pressed Ctrl-C.
    Interrupted,
}

/// Shows how the Incident goes on until it is closed. `quiet` is said once when nothing moves.
pub async fn until_closed(
    screen: &Screen,
    connection: &Connection,
    first: Incident,
    quiet: &str,
) -> Result<End, Error> {
    let (namespace, name) = (first.namespace().unwrap_or_default(), first.name_any());
    let uid = first.uid();
    let mut shown = Shown { screen, drawn: 0, last: None };
    if shown.show(&first)? {
        return Ok(End::Resolved);
    }
    let mut states = pin!(watch_object(connection.incidents(&namespace), &name).default_backoff());
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let mut quiet = Some(quiet);
    let mut interrupted = false;
    loop {
        let state = tokio::select! {
            state = states.next() => state,
            _ = &mut interrupt => return Ok(End::Interrupted),
            () = tokio::time::sleep(QUIET), if quiet.is_some() => {
                quiet.take().into_iter().for_each(note);
                continue;
            }
        };
        match state {
            Some(Ok(Some(incident))) if incident.uid() == uid => {
                interrupted = false;
                if shown.show(&incident)? {
                    return Ok(End::Resolved);
                }
            }
            // Another Incident of that name is none of ours.
            Some(Ok(Some(_) | None)) | None => return Ok(End::Gone),
            Some(Err(error)) => match refusal(&error) {
                Some(refusal) => {
                    return Err(Error::request(format!("cannot watch Incident {namespace}/{name}"), refusal));
                }
                None if !interrupted => {
                    interrupted = true;
                    note(&format!("the connection was interrupted ({error}); it is tried again"));
                }
                None => {}
            },
        }
    }
}

/// What will not become better by trying again.
fn refusal(error: &watcher::Error) -> Option<&kube::Error> {
    let (watcher::Error::InitialListFailed(source) | watcher::Error::WatchStartFailed(source)) = error else {
        return None;
    };
    matches!(source, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404)).then_some(source)
}

struct Shown<'a> {
    screen: &'a Screen,
    drawn: usize,
    last: Option<Incident>,
}

impl Shown<'_> {
    /// Shows a new state. Whether the Incident is closed in it.
    fn show(&mut self, incident: &Incident) -> Result<bool, Error> {
        let now = Timestamp::now();
        if self.screen.is_terminal {
            let tree = tree::tree(incident, Detail { fields: false, timeline: 8 }, now);
            self.drawn = self.screen.redraw(&tree, self.drawn)?;
        } else {
            self.screen.lines(&news(self.last.as_ref(), incident, now))?;
        }
        self.last = Some(incident.clone());
        Ok(incident.status.as_ref().is_some_and(|status| status.state.resolved_at.is_some()))
    }
}

/// What is new in an Incident, as lines. All of it when nothing was shown before.
pub fn news(before: Option<&Incident>, incident: &Incident, now: Timestamp) -> Vec<Line> {
    let state_of =
        |incident: &Incident| incident.status.as_ref().map(|status| status.state.clone()).unwrap_or_default();
    let (old, new) = (before.map(state_of).unwrap_or_default(), state_of(incident));
    let mut lines = Vec::new();
    if before.is_none() {
        let (style, phase) = tree::phase(incident);
        let name = format!("{}/{}", incident.namespace().unwrap_or_default(), incident.name_any());
        lines.push(Line::of("Incident ").add(Style::Strong, name).and("  ").add(style, phase));
    }
    let entries = new.timeline.iter().filter(|entry| !old.timeline.contains(entry));
    lines.extend(entries.map(|entry| tree::happened(entry, now)));
    moves(&mut lines, &old, &new);
    if let Some(before) = before {
        let ((_, was), (style, is)) = (tree::phase(before), tree::phase(incident));
        if was != is {
            lines.push(Line::of("phase  ").and(was).and(" → ").add(style, is));
        }
    }
    if let Some(held) = new.held.as_ref().filter(|held| old.held.as_ref() != Some(held)) {
        lines.push(
            Line::styled(Style::Bad, format!("needs a person: {}", held.reason))
                .and(format!(": {}", held.message)),
        );
    }
    lines
}

/// The steps and changes that stand otherwise than before.
fn moves(lines: &mut Vec<Line>, old: &IncidentState, new: &IncidentState) {
    for step in &new.steps {
        let was = old.step(&step.name).map(|step| step.state).unwrap_or_default();
        if was != step.state {
            lines.push(Line::of(format!("step {}  {was:?} → {:?}", step.name, step.state)));
        }
        for change in new.changes_of(&step.name) {
            let was = old.changes.iter().find(|known| known.id == change.id).map(|known| known.state);
            if was != Some(change.state) {
                let from = was.map(|was| format!("{was:?} → ")).unwrap_or_default();
                let why = change.message.as_ref().map(|why| format!("  {why}")).unwrap_or_default();
                lines.push(
                    Line::of(format!("  {}  {from}", change.target))
                        .add(change_style(change.state), format!("{:?}", change.state))
                        .add(Style::Faint, why),
                );
            }
        }
    }
}
