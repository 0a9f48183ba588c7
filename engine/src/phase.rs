//! What people see of an Incident at a glance: phase and conditions. Derived
//! each time and never read back.

use serde::{Deserialize, Serialize};

use crate::change::cut;
use crate::incident::{Closing, Held, IncidentState, StepState};
use crate::verdict::Verdict;

/// The reason when only changes are left that go back on request.
pub const AWAITING_WITHDRAWAL: &str = "AwaitingWithdrawal";

/// Where the response is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Phase {
    /// Nothing has been done.
    Open,
    /// A person must approve the next step.
    AwaitingApproval,
    /// Changes are being made.
    Remediating,
    /// All changes of the step are made; whether they help is not known yet.
    Verifying,
    /// A step helped; the cause is still there.
    Monitoring,
    /// Everything is being put back.
    Reverting,
    /// A person is needed before anything new starts.
    Held,
    /// Closed.
    Resolved,
}

impl Phase {
    /// The phase of a state.
    pub fn of(state: &IncidentState) -> Self {
        let any = |wanted: StepState| state.steps.iter().any(|step| step.state == wanted);
        match () {
            () if state.resolved_at.is_some() => Self::Resolved,
            () if state.held.as_ref().is_some_and(Held::asks_for_approval) => Self::AwaitingApproval,
            () if state.held.as_ref().is_some_and(|held| held.stops) => Self::Held,
            () if state.is_withdrawing() => Self::Reverting,
            () if state.held.as_ref().is_some_and(|held| held.reason == AWAITING_WITHDRAWAL) => {
                Self::Monitoring
            }
            () if any(StepState::Applying) => Self::Remediating,
            () if any(StepState::Verified) => Self::Monitoring,
            () if any(StepState::Applied) => Self::Verifying,
            () => Self::Open,
        }
    }

    /// The name, for printing and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::AwaitingApproval => "AwaitingApproval",
            Self::Remediating => "Remediating",
            Self::Verifying => "Verifying",
            Self::Monitoring => "Monitoring",
            Self::Reverting => "Reverting",
            Self::Held => "Held",
            Self::Resolved => "Resolved",
        }
    }
}

/// One condition, but for its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionFact {
    /// Its type.
    pub type_: &'static str,
    /// Its status.
    pub status: Verdict,
    /// Its reason, in CamelCase.
    pub reason: String,
    /// Its message for people.
    pub message: String,
}

/// The conditions of an Incident.
pub fn conditions(state: &IncidentState) -> Vec<ConditionFact> {
    let resolved = state.resolved_at.is_some();
    let phase = Phase::of(state);
    let stalled = state.held.as_ref().filter(|_| !resolved);
    let working = !resolved && stalled.is_none();
    let helped = state.steps.iter().any(|step| step.state == StepState::Verified);
    let returned = state.changes.iter().all(|change| !change.is_outstanding());
    let anything = state.changes.iter().any(|change| change.round > 0 && change.loan().is_some());
    let closing = state.closing.map_or("Open", Closing::name);
    vec![
        fact("Ready", resolved, closing, phase_text(state, phase)),
        fact("Reconciling", working, phase.name(), phase_text(state, phase)),
        match stalled {
            Some(held) => fact("Stalled", true, &held.reason, held.message.clone()),
            None => fact("Stalled", false, "NoPersonNeeded", String::new()),
        },
        match (&state.severity, &state.severity_reason) {
            (Some(level), Some(reason)) => fact("Classified", true, reason, format!("severity {level}")),
            _ => fact("Classified", false, if resolved { "Closed" } else { "NoRuleHolds" }, String::new()),
        },
        match &state.acknowledged_by {
            Some(by) => fact("Acknowledged", true, "AcknowledgedByPerson", format!("{by} has taken it on")),
            None => fact("Acknowledged", false, "NotAcknowledged", String::new()),
        },
        fact("Mitigated", helped, if helped { "StepVerified" } else { "NotVerified" }, String::new()),
        fact("Verified", helped, if helped { "ChecksPassed" } else { "NotVerified" }, verify_text(state)),
        match (anything, returned) {
            (false, _) => fact("Returned", true, "NothingChanged", "nothing is changed".to_owned()),
            (true, true) => fact("Returned", true, "AllReturned", returned_text(state)),
            (true, false) => {
                fact("Returned", false, "ChangesInForce", format!("{} change(s) in force", state.in_force()))
            }
        },
        fact("Resolved", resolved, closing, phase_text(state, phase)),
    ]
}

/// How many steps have begun, of how many, such as `1/2`. One that has failed or was put back counts too.
pub fn progress(state: &IncidentState) -> String {
    let begun = state.steps.iter().filter(|step| step.definition.is_some()).count();
    format!("{begun}/{}", state.steps.len())
}

fn fact(type_: &'static str, status: bool, reason: &str, message: String) -> ConditionFact {
    let status = if status { Verdict::True } else { Verdict::False };
    ConditionFact { type_, status, reason: reason.to_owned(), message }
}

fn phase_text(state: &IncidentState, phase: Phase) -> String {
    match phase {
        Phase::Open => open_text(state),
        Phase::AwaitingApproval => state.held.as_ref().map(|held| held.message.clone()).unwrap_or_default(),
        Phase::Remediating => "changes are being made".to_owned(),
        Phase::Verifying => "waiting until the step is verified".to_owned(),
        Phase::Monitoring => {
            "a step helped; everything goes back when no rule has held for recovery.for".to_owned()
        }
        Phase::Reverting if state.closing == Some(Closing::Kept) => {
            "the changes are being made permanent".to_owned()
        }
        Phase::Reverting => "everything is being put back".to_owned(),
        Phase::Held => state.held.as_ref().map(|held| held.message.clone()).unwrap_or_default(),
        Phase::Resolved => {
            let why = state.closing.map_or("Resolved", Closing::name);
            format!("CLOSED ({why}): {}", returned_text(state))
        }
    }
}

/// Of a response that has changed nothing a person wants to know why.
fn open_text(state: &IncidentState) -> String {
    let why = state.steps.iter().find_map(|step| Some((step, step.message.as_ref()?)));
    match why {
        Some((step, why)) => cut(&format!("nothing has been changed; step {}: {why}", step.name), 1024),
        None => "nothing has been changed".to_owned(),
    }
}

fn returned_text(state: &IncidentState) -> String {
    use crate::change::ChangeState::{Ceded, Kept, Reverted};
    let number = |wanted| state.changes.iter().filter(|change| change.state == wanted).count();
    format!("{} change(s) put back, {} ceded, {} kept", number(Reverted), number(Ceded), number(Kept))
}

fn verify_text(state: &IncidentState) -> String {
    let open = state.steps.iter().find(|step| step.state == StepState::Applied);
    open.and_then(|step| step.message.clone()).unwrap_or_default()
}
