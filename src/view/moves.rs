//! The commands that continue or end an Incident.

use firebreak_engine::incident::{ApprovalState, Held, IncidentState, StepState, StepStatus};
use firebreak_engine::reason::{MovesOn, Reason};
use kube::ResourceExt;

use super::Tone;
use crate::api::{Incident, Response};

/// What continues or ends an Incident, in words that name the command.
pub fn next(incident: &Incident) -> String {
    let command = |verb: &str| incident.identity().command(verb);
    let nothing = IncidentState::default();
    let state = incident.status.as_ref().map_or(&nothing, |status| &status.state);
    let waiting: Vec<String> =
        waiting(state).map(|step| format!("`{}`", approve(incident, &step.name))).collect();
    let response = incident.spec.response.unwrap_or_default();
    let held = state.held.as_ref().map(|held| &held.reason);
    let (watch, withdraw) = (command("watch"), command("withdraw"));
    match () {
        () if incident.is_closed() => closed(incident),
        () if incident.metadata.deletion_timestamp.is_some() => {
            format!("it is being deleted, which first reverts all changes; `{watch}` follows it")
        }
        () if matches!(response, Response::Withdrawn | Response::Kept) => {
            format!("`{watch}` follows it until it closes")
        }
        () if response == Response::Paused => {
            format!("`{}` continues, `{withdraw}` reverts all changes", command("resume"))
        }
        () if held == Some(&Reason::Braked) => {
            format!("`firebreak brake off` continues, `{withdraw}` reverts all changes")
        }
        () if !waiting.is_empty() => format!("{} lets it continue", waiting.join(" or ")),
        () => format!("`{watch}` follows it, `{withdraw}` reverts all changes and closes it"),
    }
}

/// Whether a person must act, and why; otherwise why it waits. The message beside it names the commands.
pub fn held(held: &Held) -> (Tone, String) {
    match held.reason.moves_on() {
        MovesOn::Itself => (Tone::Busy, format!("waits: {}", held.reason)),
        MovesOn::Person | MovesOn::Nothing => (Tone::Bad, format!("a person must act: {}", held.reason)),
    }
}

/// How a closed Incident ended, and that it stays so.
pub fn closed(incident: &Incident) -> String {
    let closing = incident.status.as_ref().and_then(|status| status.state.closing);
    let how = closing.map(|closing| format!(" ({})", closing.name())).unwrap_or_default();
    format!("it is closed{how}; applying it again has no effect; {} opens a new one", open(incident))
}

/// The steps that wait for an approval.
pub fn waiting(state: &IncidentState) -> impl Iterator<Item = &StepStatus> {
    state.steps.iter().filter(|step| is_waiting(step))
}

/// Whether a step waits for approval and has none that is about to be used.
pub fn is_waiting(step: &StepStatus) -> bool {
    let is_given = step.approval.as_ref().is_some_and(|given| given.state == ApprovalState::Valid);
    step.state == StepState::AwaitingApproval && !is_given
}

/// The command that approves the plan of a step.
pub fn approve(incident: &Incident, step: &str) -> String {
    incident.identity().command_for_step("approve", step)
}

/// The command that opens another Incident of the same policy.
pub fn open(incident: &Incident) -> String {
    let policy = incident.policy_name().unwrap_or("POLICY");
    format!("`firebreak open {policy} -n {}`", incident.namespace().unwrap_or_default())
}
