//! `firebreak approve`: a person approves the plan of one step, as it is shown.

use firebreak_engine::incident::{ApprovalState, ApprovalStatus, StepState, StepStatus};
use firebreak_engine::intent::Approval;
use firebreak_engine::reason::Reason;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::connection::Connection;
use super::decision::{Decision, Written};
use super::screen::{Line, Screen, Style, note};
use super::{Answer, Error, tree};
use crate::api::Incident;
use crate::settings::ApproveArgs;
use crate::view::{IncidentView, moves};

/// Shows the plan of a step, approves it under the user's own name, and waits until the status has it.
pub async fn run(screen: &Screen, connection: &Connection, args: &ApproveArgs) -> Result<Answer, Error> {
    let namespace = connection.namespace(&args.namespace);
    let decision = Decision { connection, namespace, name: &args.incident, verb: "approve a step of" };
    let approval = Approve { decision, step: &args.step };
    let incident = connection.incident(&approval.decision.namespace, &args.incident).await?;
    let plan = approval.plan(&incident)?;
    if args.plan_hash.as_ref().is_some_and(|wanted| *wanted != plan) {
        return Err(approval.failed(format!("its plan is now {plan}"), approval.look()));
    }
    screen.lines(&tree::step(&IncidentView::of(&incident), &args.step, Timestamp::now()))?;
    let me = approval.decision.who_am_i().await?;
    if let Some(old) = approval.spent(&incident) {
        note(&format!("removing the approval by {}, which is {:?}", old.approved_by, old.state));
        approval.take_away(&old).await?;
    }
    let wanted = Approval { step: args.step.clone(), plan_hash: plan, approved_by: me };
    let (incident, written) = approval.give(&wanted).await?;
    let taken = approval.wait_until_taken(incident, &wanted).await?;
    let by = match written {
        Written::Yes => String::new(),
        Written::No => format!(" (already by {})", taken.approved_by),
    };
    screen.lines(&[Line::of(format!("step {}: ", args.step)).add(Style::Good, "approved").and(format!(
        "{by}; `firebreak watch {} -n {}` follows it",
        args.incident, approval.decision.namespace
    ))])?;
    Ok(Answer::Yes)
}

/// The step to approve.
struct Approve<'a> {
    decision: Decision<'a>,
    step: &'a str,
}

impl Approve<'_> {
    /// The plan that waits for approval; an error with the reason if none does.
    fn plan(&self, incident: &Incident) -> Result<String, Error> {
        let state = incident.status.as_ref().map(|status| &status.state);
        if state.is_some_and(|state| state.resolved_at.is_some()) {
            return Err(Error::Said(format!("{}: {}", self.decision.what(), moves::closed(incident))));
        }
        let Some(step) = self.status(incident) else {
            let names: Vec<&str> =
                state.into_iter().flat_map(|state| &state.steps).map(|step| step.name.as_str()).collect();
            let next = if names.is_empty() {
                "no operator has planned its steps yet; check that the operator is running".to_owned()
            } else {
                format!("its steps are {}", names.join(", "))
            };
            return Err(self.failed("there is no such step", next));
        };
        if step.state != StepState::AwaitingApproval {
            let why = [step.reason.as_ref().map(Reason::name), step.message.as_deref()];
            let why: Vec<&str> = why.into_iter().flatten().collect();
            let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join(": ")) };
            let approved = step.approval.as_ref().map(|given| format!(", approved by {}", given.approved_by));
            let said = format!(
                "it does not wait for approval: it is {:?}{}{why}",
                step.state,
                approved.unwrap_or_default()
            );
            return Err(self.failed(said, moves::next(incident)));
        }
        step.plan_hash.clone().ok_or_else(|| self.failed("it has no plan yet", self.look()))
    }

    /// The entry of the spec that no longer counts.
    fn spent(&self, incident: &Incident) -> Option<ApprovalStatus> {
        self.given(incident)?;
        let known = self.status(incident)?.approval.clone()?;
        matches!(known.state, ApprovalState::Expired | ApprovalState::Void).then_some(known)
    }

    /// Removes a spent approval, and waits until the status has dropped it. Otherwise the same approval
    /// would count as the old one.
    async fn take_away(&self, old: &ApprovalStatus) -> Result<(), Error> {
        let (incident, _) = self
            .decision
            .write(|incident| {
                let is_old = |given: &Approval| {
                    given.plan_hash == old.plan_hash && given.approved_by == old.approved_by
                };
                Ok(self.given(incident).filter(|given| is_old(given)).map(|_| self.approvals(incident, None)))
            })
            .await?;
        let is_dropped = |incident: &Incident| {
            Ok(self.status(incident).is_none_or(|step| step.approval.as_ref() != Some(old)))
        };
        self.decision.wait_until(incident, "the status has dropped the old approval", is_dropped).await?;
        Ok(())
    }

    /// Writes the approval, if it is not there yet and the plan still waits for one.
    async fn give(&self, wanted: &Approval) -> Result<(Incident, Written), Error> {
        self.decision
            .write(|incident| {
                if self.given(incident).is_some_and(|given| given.plan_hash == wanted.plan_hash) {
                    return Ok(None);
                }
                if self.plan(incident)? != wanted.plan_hash {
                    return Err(self.failed("its plan has changed in the meantime", self.look()));
                }
                Ok(Some(self.approvals(incident, Some(wanted))))
            })
            .await
    }

    /// Waits until the status has the approval.
    async fn wait_until_taken(&self, incident: Incident, wanted: &Approval) -> Result<ApprovalStatus, Error> {
        let known = |incident: &Incident| {
            let known = self.status(incident)?.approval.clone()?;
            (known.plan_hash == wanted.plan_hash).then_some(known)
        };
        let incident = self
            .decision
            .wait_until(incident, "the status has the approval", |incident| {
                let Some(known) = known(incident) else { return Ok(false) };
                match known.state {
                    ApprovalState::Valid | ApprovalState::Used => Ok(true),
                    ApprovalState::Expired => Err(self.failed("the approval has expired", self.look())),
                    ApprovalState::Void => {
                        Err(self.failed("the plan or the policy has changed in the meantime", self.look()))
                    }
                }
            })
            .await?;
        known(&incident).ok_or_else(|| Error::bug(&self.decision.what(), "the approval is not in the status"))
    }

    /// The spec's approvals with this one, or with none, for the step.
    fn approvals(&self, incident: &Incident, wanted: Option<&Approval>) -> Value {
        let others = incident.spec.approvals.iter().filter(|given| given.step != self.step);
        json!({"approvals": others.chain(wanted).collect::<Vec<_>>()})
    }

    fn given<'i>(&self, incident: &'i Incident) -> Option<&'i Approval> {
        incident.spec.approvals.iter().find(|given| given.step == self.step)
    }

    fn status<'i>(&self, incident: &'i Incident) -> Option<&'i StepStatus> {
        incident.status.as_ref()?.state.step(self.step)
    }

    fn failed(&self, why: impl Into<String>, next: impl Into<String>) -> Error {
        let Decision { namespace, name, .. } = &self.decision;
        Error::failed(format!("cannot approve step {} of Incident {namespace}/{name}", self.step), why, next)
    }

    fn look(&self) -> String {
        let Decision { namespace, name, .. } = &self.decision;
        format!("review the plan with `firebreak describe {name} -n {namespace}`, then approve it")
    }
}
