//! `firebreak settle`: a person records the outcome of an operation that Firebreak cannot find out.

use firebreak_engine::change::{Change, SettlementStatus};
use firebreak_engine::intent::{Settlement, SettlementOutcome};
use serde_json::json;

use super::connection::Connection;
use super::decision::{Decision, Written};
use super::screen::{Line, Screen, Style};
use super::{Answer, Error};
use crate::api::Incident;
use crate::settings::SettleArgs;
use crate::view::moves;

/// Settles an operation under the user's own name, and waits until the status shows it.
pub async fn run(screen: &Screen, connection: &Connection, args: &SettleArgs) -> Result<Answer, Error> {
    let namespace = connection.namespace(&args.namespace);
    let decision = Decision { connection, namespace, name: &args.incident, verb: "settle an operation of" };
    let settling = Settle { decision, change: &args.change };
    let outcome = if args.happened { SettlementOutcome::Happened } else { SettlementOutcome::DidNotHappen };
    let me = settling.decision.who_am_i().await?;
    let wanted = Settlement { change: args.change.clone(), outcome, settled_by: me };
    let (incident, written) = settling.give(&wanted).await?;
    let incident = settling
        .decision
        .wait_until(incident, "the status shows what became of the operation", |incident| {
            Ok(settling.known(incident).is_some())
        })
        .await?;
    let known = settling.known(&incident);
    let by = match (written, known) {
        (Written::No, Some(known)) => format!(" (by {} already)", known.settled_by),
        (Written::Yes | Written::No, _) => String::new(),
    };
    let subject = settling.find(&incident).map(Change::subject).unwrap_or_default();
    let said = match outcome {
        SettlementOutcome::Happened => "happened",
        SettlementOutcome::DidNotHappen => "did not happen",
    };
    screen.lines(&[Line::of(format!("{subject}: "))
        .add(Style::Good, said)
        .and(format!("{by}; {}", moves::next(&incident)))])?;
    Ok(Answer::Yes)
}

/// The operation to settle.
struct Settle<'a> {
    decision: Decision<'a>,
    change: &'a str,
}

impl Settle<'_> {
    /// Writes the settlement, unless the status has the same one already.
    async fn give(&self, wanted: &Settlement) -> Result<(Incident, Written), Error> {
        self.decision
            .write(|incident| {
                let change = self.find(incident).ok_or_else(|| {
                    self.failed("it has no change of that id", "`firebreak describe` names the changes")
                })?;
                match self.known(incident) {
                    Some(known) if known.outcome == wanted.outcome => return Ok(None),
                    Some(known) => {
                        let why = format!("{} has settled it as {:?}", known.settled_by, known.outcome);
                        return Err(self.failed(why, moves::next(incident)));
                    }
                    None => {}
                }
                if !change.needs_settlement() {
                    let why = format!("the outcome of the {} is known: {:?}", change.subject(), change.state);
                    return Err(self.failed(why, moves::next(incident)));
                }
                let others = incident.spec.settlements.iter().filter(|given| given.change != self.change);
                Ok(Some(json!({"settlements": others.chain([wanted]).collect::<Vec<_>>()})))
            })
            .await
    }

    fn find<'i>(&self, incident: &'i Incident) -> Option<&'i Change> {
        let state = &incident.status.as_ref()?.state;
        state.changes.iter().find(|change| change.id.as_str() == self.change)
    }

    /// The settlement that the status shows.
    fn known<'i>(&self, incident: &'i Incident) -> Option<&'i SettlementStatus> {
        self.find(incident)?.as_operation()?.settlement.as_ref()
    }

    fn failed(&self, why: impl Into<String>, next: impl Into<String>) -> Error {
        let Decision { namespace, name, .. } = &self.decision;
        Error::failed(format!("cannot settle {} of Incident {namespace}/{name}", self.change), why, next)
    }
}
