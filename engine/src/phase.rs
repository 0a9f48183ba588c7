//! The phase and conditions of an Incident, for people. They are derived each time, and never read
//! by a decision.

use serde::{Deserialize, Serialize};

use crate::change::{Change, cut};
use crate::incident::{Closing, Held, IncidentState, PINNED, StepState};
use crate::reason::{MovesOn, Reason};
use crate::verdict::Verdict;

/// The phase of an Incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Phase {
    /// Nothing has been done.
    Open,
    /// The next step waits for approval.
    AwaitingApproval,
    /// Changes are being made.
    Remediating,
    /// The changes of the step are applied; whether they help is not known yet.
    Verifying,
    /// A step helped; the cause is still there.
    Monitoring,
    /// The changes are being reverted.
    Reverting,
    /// Nothing new is applied; the conditions Stalled and Reconciling say for what it waits.
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
            () if state.held.as_ref().is_some_and(|held| held.reason == Reason::AwaitingWithdrawal) => {
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

/// One condition, without its times.
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
    let closing = state.closing.map_or("Open", Closing::name);
    let closed = || match resolved {
        true => holds("Ready", closing, phase_text(state, phase)),
        false => fails("Ready", closing, phase_text(state, phase)),
    };
    let helped = state.steps.iter().any(|step| step.state == StepState::Verified);
    let returned = state.changes.iter().all(|change| !change.is_outstanding());
    let anything = state.changes.iter().any(|change| change.round > 0 && change.loan().is_some());
    let [reconciling, stalled] = progress_conditions(state, phase);
    vec![
        closed(),
        reconciling,
        stalled,
        match (&state.severity, &state.severity_reason) {
            (Some(level), Some(reason)) => holds("Classified", reason, format!("severity {level}")),
            _ if resolved => fails("Classified", "Closed", String::new()),
            _ => fails("Classified", "NoRuleHolds", String::new()),
        },
        match &state.acknowledged_by {
            Some(by) => holds("Acknowledged", "AcknowledgedByPerson", format!("acknowledged by {by}")),
            None => fails("Acknowledged", "NotAcknowledged", String::new()),
        },
        match helped {
            true => holds("Mitigated", "StepVerified", String::new()),
            false => fails("Mitigated", "NotVerified", String::new()),
        },
        match helped {
            true => holds("Verified", "ChecksPassed", verify_text(state)),
            false => fails("Verified", "NotVerified", verify_text(state)),
        },
        match (anything, returned) {
            (false, _) => holds("Returned", "NothingChanged", "nothing is changed".to_owned()),
            (true, true) => holds("Returned", "AllReturned", returned_text(state)),
            (true, false) => {
                fails("Returned", "ChangesInForce", format!("{} change(s) in force", state.in_force()))
            }
        },
        ConditionFact { type_: "Resolved", ..closed() },
    ]
}

/// Reconciling and Stalled: whether the response continues without a person. What holds it determines which.
fn progress_conditions(state: &IncidentState, phase: Phase) -> [ConditionFact; 2] {
    let nobody = fails("Stalled", "NoPersonNeeded", String::new());
    let text = phase_text(state, phase);
    let held = match &state.held {
        _ if state.resolved_at.is_some() => return [fails("Reconciling", phase.name(), text), nobody],
        None => return [holds("Reconciling", phase.name(), text), nobody],
        Some(held) => held,
    };
    match held.reason.moves_on() {
        MovesOn::Itself => [holds("Reconciling", held.reason.name(), held.message.clone()), nobody],
        MovesOn::Person | MovesOn::Nothing => [
            fails("Reconciling", phase.name(), text),
            holds("Stalled", held.reason.name(), held.message.clone()),
        ],
    }
}

/// The number of started steps and of all steps, for example `1/2`.
pub fn progress(state: &IncidentState) -> String {
    let begun = state.steps.iter().filter(|step| step.definition.is_some()).count();
    format!("{begun}/{}", state.steps.len())
}

fn holds(type_: &'static str, reason: &str, message: String) -> ConditionFact {
    ConditionFact { type_, status: Verdict::True, reason: reason.to_owned(), message }
}

fn fails(type_: &'static str, reason: &str, message: String) -> ConditionFact {
    ConditionFact { type_, status: Verdict::False, reason: reason.to_owned(), message }
}

fn phase_text(state: &IncidentState, phase: Phase) -> String {
    match phase {
        Phase::Open => open_text(state),
        Phase::AwaitingApproval => state.held.as_ref().map(|held| held.message.clone()).unwrap_or_default(),
        Phase::Remediating => applying_text(state),
        Phase::Verifying => "waiting until the step is verified".to_owned(),
        Phase::Monitoring if state.severity_reason.as_deref() == Some(PINNED) && !state.rule_has_held => {
            "a step helped; the severity is pinned and no rule has held, so nothing is reverted until someone withdraws the response".to_owned()
        }
        Phase::Monitoring => {
            "a step helped; the changes are reverted when no rule has held for recovery.for".to_owned()
        }
        Phase::Reverting if state.closing == Some(Closing::Kept) => {
            "the changes are being made permanent".to_owned()
        }
        Phase::Reverting => "everything is being reverted".to_owned(),
        Phase::Held => state.held.as_ref().map(|held| held.message.clone()).unwrap_or_default(),
        Phase::Resolved => {
            let why = state.closing.map_or("Resolved", Closing::name);
            format!("CLOSED ({why}): {}", returned_text(state))
        }
    }
}

/// What is being applied, and which of it the API server refuses.
fn applying_text(state: &IncidentState) -> String {
    let is_refused = |change: &&Change| {
        change.is_under_way() && matches!(change.reason, Some(Reason::Refused | Reason::FenceRefused))
    };
    let refused: Vec<&Change> = state.changes.iter().filter(is_refused).collect();
    match refused.first() {
        None => "changes are being applied".to_owned(),
        Some(first) => {
            let why = first.message.as_deref().unwrap_or_default();
            let text = format!(
                "{} write(s) are refused, and sent again; the first is to {}: {why}",
                refused.len(),
                first.subject()
            );
            cut(&text, 1024)
        }
    }
}

/// If a response has changed nothing, a person wants to know why.
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
    let unknown = state.changes.iter().filter(|change| change.is_open_operation()).count();
    let operations = match unknown {
        0 => String::new(),
        unknown => format!("; the outcome of {unknown} operation(s) is not known"),
    };
    format!(
        "{} change(s) reverted, {} ceded, {} kept{operations}",
        number(Reverted),
        number(Ceded),
        number(Kept)
    )
}

fn verify_text(state: &IncidentState) -> String {
    let open = state.steps.iter().find(|step| step.state == StepState::Applied);
    open.and_then(|step| step.message.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::StepStatus;

    fn condition(state: &IncidentState, type_: &str) -> ConditionFact {
        conditions(state).into_iter().find(|condition| condition.type_ == type_).unwrap()
    }

    #[test]
    fn writes_that_are_refused_are_no_progress() {
        use crate::change::ChangeState;
        use crate::id::{ChangeId, TargetId};
        let change = |name: &str| {
            let target = TargetId {
                api_version: "apps/v1".to_owned(),
                kind: "Deployment".to_owned(),
                namespace: "a".to_owned(),
                name: name.to_owned(),
                uid: name.to_owned(),
            };
            let mut change = Change::planned(ChangeId::of("i", "one", name), "one", target, Vec::new());
            change.state = ChangeState::Intended;
            change
        };
        let step = StepStatus { name: "one".to_owned(), state: StepState::Applying, ..StepStatus::default() };
        let mut state = IncidentState {
            changes: vec![change("chat"), change("search")],
            steps: vec![step],
            ..IncidentState::default()
        };
        assert_eq!(condition(&state, "Ready").message, "changes are being applied");
        state.changes[1].explain(Some((Reason::Refused, "the API server answered 403: no".to_owned())));
        assert_eq!(
            condition(&state, "Ready").message,
            "1 write(s) are refused, and sent again; the first is to Deployment a/search: the API server answered 403: no"
        );
        assert!(!state.has_taken_effect());
        state.changes[0].state = ChangeState::Applied;
        assert!(state.has_taken_effect());
    }

    #[test]
    fn every_reason_that_holds_a_response_is_said_by_exactly_one_of_stalled_and_reconciling() {
        for reason in Reason::ALL.iter().cloned().chain([Reason::Other("FromAnotherRelease".to_owned())]) {
            let held = Held::new(reason.clone(), "why, and what moves it on");
            let mut state = IncidentState { held: Some(held), ..IncidentState::default() };
            let (says, silent) = match reason.moves_on() {
                MovesOn::Itself => ("Reconciling", "Stalled"),
                MovesOn::Person | MovesOn::Nothing => ("Stalled", "Reconciling"),
            };
            let said = condition(&state, says);
            assert_eq!((said.status, said.reason.as_str()), (Verdict::True, reason.name()));
            assert_eq!(said.message, "why, and what moves it on");
            assert_eq!(condition(&state, silent).status, Verdict::False, "{reason}");
            state.resolved_at = Some(jiff::Timestamp::UNIX_EPOCH);
            assert_eq!(condition(&state, says).status, Verdict::False, "{reason} of a closed Incident");
        }
    }

    #[test]
    fn a_response_that_nothing_holds_is_reconciling() {
        let state = IncidentState::default();
        assert_eq!(condition(&state, "Reconciling").reason, "Open");
        assert_eq!(condition(&state, "Stalled").reason, "NoPersonNeeded");
    }
}
