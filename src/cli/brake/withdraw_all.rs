//! `firebreak brake on --withdraw-all`: withdraws every open Incident in all namespaces, and follows them
//! until all changes are reverted.
//!
//! The brake is engaged first, so that an Incident which opens in the meantime has nothing to revert; it is
//! withdrawn, too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use firebreak_engine::incident::Closing;
use firebreak_engine::verdict::Verdict;
use futures::StreamExt;
use futures::stream::select_all;
use kube::ResourceExt;
use kube::core::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};

use crate::api::{Incident, Response};
use crate::cli::connection::Connection;
use crate::cli::decision::Decision;
use crate::cli::respond;
use crate::cli::screen::{Line, Screen, Style, note};
use crate::cli::{Answer, Error, follow, tree};
use crate::settings::BrakeOnArgs;
use crate::view::{IncidentView, Tone};

/// An Incident that is not closed yet.
struct Open {
    incident: Option<Incident>,
    /// Why it could not be withdrawn.
    problem: Option<String>,
}

/// Withdraws all open Incidents of the operator in this namespace. Yes if all of them are closed in time.
pub async fn run(screen: &Screen, connection: &Connection, args: &BrakeOnArgs) -> Result<Answer, Error> {
    let mut all = All { screen, connection, open: BTreeMap::new(), closed: 0, drawn: 0 };
    let done = tokio::time::timeout(args.timeout, all.follow(&args.watch_namespaces)).await;
    if let Ok(done) = done {
        done?;
    }
    let absence = match all.open.is_empty() {
        true => None,
        false => connection.operator.absence().await,
    };
    all.say_end(args.timeout, absence)
}

struct All<'a> {
    screen: &'a Screen,
    connection: &'a Connection,
    /// By namespace and name.
    open: BTreeMap<(String, String), Open>,
    closed: usize,
    drawn: usize,
}

impl All<'_> {
    /// Until none is open any more, or none of the open ones can still be closed.
    async fn follow(&mut self, namespaces: &[String]) -> Result<(), Error> {
        let places: Vec<Option<&str>> = if namespaces.is_empty() {
            vec![None]
        } else {
            namespaces.iter().map(|name| Some(name.as_str())).collect()
        };
        let mut unlisted: BTreeSet<Option<&str>> = places.iter().copied().collect();
        let mut events = select_all(places.into_iter().map(|place| {
            let api = self.connection.raw_incidents(place);
            let events = watcher::watcher(api, watcher::Config::default()).default_backoff();
            events.map(move |event| (place, event)).boxed()
        }));
        let mut said = false;
        while !(unlisted.is_empty() && self.open.values().all(|open| open.problem.is_some())) {
            let Some((place, event)) = events.next().await else { break };
            match event {
                Ok(Event::InitApply(object) | Event::Apply(object)) => self.seen(object).await?,
                Ok(Event::Delete(object)) => self.gone(&object)?,
                Ok(Event::Init) => {}
                Ok(Event::InitDone) => {
                    unlisted.remove(&place);
                }
                Err(error) => match follow::refusal(&error) {
                    Some(refusal) => {
                        return Err(Error::request(what(place), refusal));
                    }
                    None if !said => {
                        said = true;
                        // The drawn lines are above that line now.
                        self.drawn = 0;
                        note(&follow::interruption(&error));
                    }
                    None => {}
                },
            }
            self.draw()?;
        }
        Ok(())
    }

    async fn seen(&mut self, object: DynamicObject) -> Result<(), Error> {
        let key = (object.namespace().unwrap_or_default(), object.name_any());
        let incident: Incident = match object.try_parse() {
            Ok(incident) => incident,
            Err(error) => {
                let why =
                    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                self.open
                    .insert(key, Open { incident: None, problem: Some(format!("cannot be read: {why}")) });
                return Ok(());
            }
        };
        if incident.is_closed() {
            return self.ended(&key, ending(&incident));
        }
        let is_ending = matches!(incident.spec.response, Some(Response::Withdrawn | Response::Kept))
            || incident.metadata.deletion_timestamp.is_some();
        let known = self.open.get(&key).and_then(|open| open.problem.clone());
        let problem = if is_ending || known.is_some() { known } else { self.withdraw(&key).await? };
        self.say_stuck(&key, &incident)?;
        self.open.insert(key, Open { incident: Some(incident), problem });
        Ok(())
    }

    /// Why it could not be withdrawn; none if it was.
    async fn withdraw(&mut self, (namespace, name): &(String, String)) -> Result<Option<String>, Error> {
        let decision =
            Decision { connection: self.connection, namespace: namespace.clone(), name, verb: "withdraw" };
        match respond::write(&decision, Response::Withdrawn).await {
            Ok(_) => Ok(None),
            // Closed or deleted at this moment: the next event says so. Anything else prevents the withdrawal.
            Err(error) => match self.connection.find_incident(namespace, name).await? {
                Some(live) if !live.is_closed() => Ok(Some(error.to_string())),
                Some(_) | None => Ok(None),
            },
        }
    }

    fn gone(&mut self, object: &DynamicObject) -> Result<(), Error> {
        self.ended(&(object.namespace().unwrap_or_default(), object.name_any()), "deleted")
    }

    fn ended(&mut self, key: &(String, String), how: &str) -> Result<(), Error> {
        if self.open.remove(key).is_none() {
            return Ok(());
        }
        self.closed += 1;
        if self.screen.is_terminal {
            return Ok(());
        }
        self.screen.lines(&[Line::of(format!("{}/{}  ", key.0, key.1)).add(Style::Good, how)])
    }

    /// Where nothing is redrawn, a person must still see what is stuck before the time is over.
    fn say_stuck(&self, key: &(String, String), incident: &Incident) -> Result<(), Error> {
        let before = self.open.get(key).and_then(|open| stuck(open.incident.as_ref()?));
        match stuck(incident) {
            Some(why) if !self.screen.is_terminal && before.as_ref() != Some(&why) => {
                self.screen.lines(&[Line::of(format!("{}/{}  ", key.0, key.1)).add(Style::Bad, why)])
            }
            Some(_) | None => Ok(()),
        }
    }

    fn draw(&mut self) -> Result<(), Error> {
        if self.screen.is_terminal {
            let mut lines = vec![Line::of(format!("{} closed, {} still open", self.closed, self.open.len()))];
            lines.extend(self.open.iter().map(|(key, open)| line(key, open)));
            self.drawn = self.screen.redraw(&lines, self.drawn)?;
        }
        Ok(())
    }

    /// Says what is left, and whether an operator continues with it.
    fn say_end(&self, timeout: Duration, absence: Option<String>) -> Result<Answer, Error> {
        if self.open.is_empty() {
            let text = match self.closed {
                0 => "no Incident is open: there is nothing to revert".to_owned(),
                number => format!("{number} Incident(s) closed: nothing is left to revert"),
            };
            self.screen.lines(&[Line::styled(Style::Good, text)])?;
            return Ok(Answer::Yes);
        }
        let left = self
            .open
            .iter()
            .flat_map(|(key, open)| std::iter::once(line(key, open)).chain(outstanding(open)));
        // The drawn lines were cut to the window; this is all of it.
        self.screen.lines(&left.collect::<Vec<_>>())?;
        let next = match absence {
            Some(why) => format!("{why}; when one does, it continues, and the same command waits again"),
            None => "the operator continues, and the same command waits again".to_owned(),
        };
        let (open, waited) = (self.open.len(), timeout.as_secs());
        note(&format!("{open} Incident(s) still open after {waited} s, see above; {next}"));
        Ok(Answer::No)
    }
}

fn what(place: Option<&str>) -> String {
    let place =
        place.map_or_else(|| "all namespaces".to_owned(), |namespace| format!("namespace {namespace}"));
    format!("cannot watch the Incidents of {place}")
}

fn line((namespace, name): &(String, String), open: &Open) -> Line {
    let line = Line::of(format!("  {namespace}/{name}  "));
    let line = match &open.incident {
        Some(incident) => {
            let phase = incident.phase();
            let in_force = incident.status.as_ref().map_or(0, |status| status.changes_in_force);
            line.add(Tone::of_phase(phase).into(), phase.name())
                .and(format!("  {in_force} change(s) in force"))
        }
        None => line,
    };
    let problem = open.problem.clone().or_else(|| stuck(open.incident.as_ref()?));
    match problem {
        Some(problem) => line.add(Style::Bad, format!("  {problem}")),
        None => line,
    }
}

/// The objects that are not reverted, each with the command that reverts it without the operator.
fn outstanding(open: &Open) -> Vec<Line> {
    let changes = open.incident.iter().flat_map(|incident| IncidentView::of(incident).changes);
    changes
        .filter_map(|change| {
            let command = Line::of("      without the operator ")
                .add(Style::Strong, format!("`{}`", change.undo.as_ref()?));
            Some([Line::of("    ").join(tree::change_line(&change)), command])
        })
        .flatten()
        .collect()
}

/// How a closed one ended.
fn ending(incident: &Incident) -> &'static str {
    match incident.status.as_ref().and_then(|status| status.state.closing) {
        Some(Closing::Kept) => "kept",
        Some(_) | None => "reverted",
    }
}

/// Why it needs a person, after it was withdrawn.
fn stuck(incident: &Incident) -> Option<String> {
    let status = incident.status.as_ref()?;
    let is_going_back = status.state.closing.is_some();
    let stalled = status.conditions.iter().find(|condition| condition.type_ == "Stalled")?;
    (is_going_back && stalled.status == Verdict::True)
        .then(|| format!("{}: {}", stalled.reason, stalled.message))
}
