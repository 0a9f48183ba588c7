//! Follows an Incident until it is closed, and shows what happens.
//!
//! On a terminal the tree is redrawn with every change; elsewhere every
//! change is a separate line.

use std::fmt::Debug;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::connection::Connection;
use super::error::Error;
use super::screen::{Line, Screen, Style, note};
use super::tree::{self, Detail};
use crate::api::Incident;
use crate::kubernetes::retry;
use crate::view::{IncidentView, StepView, Tone};

/// If nothing has changed for this long, the user is told.
const QUIET: Duration = Duration::from_secs(30);

/// How following an Incident ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is closed.
    Resolved,
    /// It was deleted.
    Gone,
    /// The user has pressed Ctrl-C.
    Interrupted,
}

/// The states of one object, in order.
pub struct Following<K> {
    states: Pin<Box<dyn Stream<Item = watcher::Result<Option<K>>> + Send>>,
    uid: Option<String>,
    called: String,
    interrupted: bool,
    /// Whether a line was printed below what was drawn.
    has_spoken: bool,
}

impl Following<Incident> {
    /// The states of this Incident, and of no other of its name.
    pub fn of(connection: &Connection, incident: &Incident) -> Self {
        Self::in_api(connection.incidents(&incident.namespace().unwrap_or_default()), incident)
    }
}

impl<K> Following<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// The states of this object, which the API has, and of no other of its name.
    pub fn in_api(api: Api<K>, object: &K) -> Self {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        Self {
            states: watch_object(api, &name).default_backoff().boxed(),
            uid: object.uid(),
            called: format!("{} {namespace}/{name}", K::kind(&())),
            interrupted: false,
            has_spoken: false,
        }
    }

    /// The next state; none when the object is deleted.
    pub async fn next(&mut self) -> Result<Option<K>, Error> {
        loop {
            match self.states.next().await {
                Some(Ok(Some(object))) if object.uid() == self.uid => {
                    self.interrupted = false;
                    return Ok(Some(object));
                }
                // Another object of the same name is not the one that we follow.
                Some(Ok(Some(_) | None)) | None => return Ok(None),
                Some(Err(error)) => match refusal(&error) {
                    Some(refusal) => {
                        return Err(Error::request(format!("cannot watch {}", self.called), refusal));
                    }
                    None if !self.interrupted => {
                        (self.interrupted, self.has_spoken) = (true, true);
                        note(&interruption(&error));
                    }
                    None => {}
                },
            }
        }
    }

    /// Whether a line was printed below what was drawn, since this was last asked.
    pub fn takes_spoken(&mut self) -> bool {
        std::mem::take(&mut self.has_spoken)
    }
}

/// Shows the progress of the Incident until it is closed. `quiet` is printed once if nothing changes.
pub async fn until_closed(
    screen: &Screen,
    connection: &Connection,
    first: Incident,
    quiet: &str,
) -> Result<End, Error> {
    let mut shown = Shown { screen, drawn: 0, last: None };
    if shown.show(&first)? {
        return Ok(End::Resolved);
    }
    let mut following = Following::of(connection, &first);
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let mut quiet = Some(quiet);
    loop {
        let state = tokio::select! {
            state = following.next() => state?,
            _ = &mut interrupt => return Ok(End::Interrupted),
            () = tokio::time::sleep(QUIET), if quiet.is_some() => {
                quiet.take().into_iter().for_each(note);
                let absence = connection.operator.absence().await;
                absence.iter().for_each(|why| note(why));
                following.has_spoken = true;
                continue;
            }
        };
        if following.takes_spoken() {
            shown.drawn = 0;
        }
        match state {
            Some(incident) => {
                if shown.show(&incident)? {
                    return Ok(End::Resolved);
                }
            }
            None => return Ok(End::Gone),
        }
    }
}

/// A watch that reconnects, for people.
pub fn interruption(error: &watcher::Error) -> String {
    let why = match error {
        watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source) => retry::explain(source),
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::NoResourceVersion => error.to_string(),
    };
    format!("the connection was interrupted ({why}); reconnecting")
}

/// An error that a retry cannot resolve.
pub fn refusal(error: &watcher::Error) -> Option<&kube::Error> {
    let (watcher::Error::InitialListFailed(source) | watcher::Error::WatchStartFailed(source)) = error else {
        return None;
    };
    matches!(source, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404)).then_some(source)
}

struct Shown<'a> {
    screen: &'a Screen,
    drawn: usize,
    last: Option<IncidentView>,
}

impl Shown<'_> {
    /// Shows a new state. Whether the Incident is closed in it.
    fn show(&mut self, incident: &Incident) -> Result<bool, Error> {
        let (view, now) = (IncidentView::of(incident), Timestamp::now());
        if self.screen.is_terminal {
            let tree = tree::tree(&view, Detail { fields: false, timeline: 8 }, now);
            self.drawn = self.screen.redraw(&tree, self.drawn)?;
        } else {
            self.screen.lines(&news(self.last.as_ref(), &view, now))?;
        }
        let is_closed = view.is_closed();
        self.last = Some(view);
        Ok(is_closed)
    }
}

/// What is new in an Incident, as lines. The whole Incident if nothing was shown before.
pub fn news(before: Option<&IncidentView>, incident: &IncidentView, now: Timestamp) -> Vec<Line> {
    let mut lines = Vec::new();
    if before.is_none() {
        lines.push(tree::title(incident));
    }
    let known = |entry| before.is_some_and(|before| before.timeline.contains(entry));
    let entries = incident.timeline.iter().filter(|entry| !known(entry));
    lines.extend(entries.map(|entry| tree::happened(entry, now)));
    moved(&mut lines, before, incident);
    decided(&mut lines, before, incident, now);
    if let Some(before) = before.filter(|before| before.phase != incident.phase) {
        let was = Line::of("phase  ").and(before.phase.name());
        lines.push(was.and(" → ").add(incident.tone().into(), incident.phase.name()));
    }
    let known = before.and_then(|before| before.needs.as_ref());
    if let Some(need) = incident.needs.as_ref().filter(|need| known != Some(need)) {
        lines.push(Line::styled(need.tone.into(), &need.headline).and(format!(": {}", need.message)));
    }
    lines
}

/// The decisions of people since then, and what waits for them.
fn decided(lines: &mut Vec<Line>, before: Option<&IncidentView>, incident: &IncidentView, now: Timestamp) {
    let response = |view: &IncidentView| (view.response, view.response_by.clone());
    if before.map(response).unwrap_or_default() != response(incident) {
        lines.push(tree::response(incident, ""));
    }
    let known = before.and_then(|before| before.acknowledged_by.as_ref());
    let who = incident.acknowledged_by.as_ref().filter(|who| known != Some(who));
    lines.extend(who.map(|who| Line::of(format!("acknowledged by {who}"))));
    let waits = |step: &&StepView| step.approve.is_some();
    let is_known = |step: &StepView| {
        let mut known = before.into_iter().flat_map(|before| &before.steps).filter(waits);
        known.any(|known| known.name == step.name && known.plan_hash == step.plan_hash)
    };
    for step in incident.steps.iter().filter(waits).filter(|step| !is_known(step)) {
        lines.extend(tree::step(incident, &step.name, now));
    }
}

/// The steps and changes whose state has changed.
fn moved(lines: &mut Vec<Line>, before: Option<&IncidentView>, incident: &IncidentView) {
    for step in &incident.steps {
        let mut known = before.into_iter().flat_map(|before| &before.steps);
        let was = known.find(|known| known.name == step.name).map(|known| known.state).unwrap_or_default();
        if was != step.state {
            lines.push(Line::of(format!("step {}  {was:?} → {:?}", step.name, step.state)));
        }
        for change in incident.changes.iter().filter(|change| change.step == step.name) {
            let mut known = before.into_iter().flat_map(|before| &before.changes);
            let was = known.find(|known| known.id == change.id).map(|known| known.state);
            if was != Some(change.state) {
                let from = was.map(|was| format!("{was:?} → ")).unwrap_or_default();
                let why = change.message.as_ref().map(|why| format!("  {why}")).unwrap_or_default();
                lines.push(
                    Line::of(format!("  {}  {from}", change.object))
                        .add(Tone::of_change(change.state).into(), format!("{:?}", change.state))
                        .add(Style::Faint, why),
                );
            }
        }
    }
}
