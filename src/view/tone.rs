//! Whether a state is good, bad or busy, for the colours.

use firebreak_engine::change::ChangeState;
use firebreak_engine::incident::StepState;
use firebreak_engine::phase::Phase;

/// The tone of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// It is as it should be.
    Good,
    /// Work is in progress.
    Busy,
    /// A person should look at it.
    Bad,
}

impl Tone {
    /// The tone of a phase.
    pub fn of_phase(phase: Phase) -> Self {
        match phase {
            Phase::Open => Self::Plain,
            Phase::Remediating | Phase::Verifying | Phase::Reverting => Self::Busy,
            Phase::Monitoring | Phase::Resolved => Self::Good,
            Phase::Held | Phase::AwaitingApproval => Self::Bad,
        }
    }

    /// The tone of the state of a step.
    pub fn of_step(state: StepState) -> Self {
        match state {
            StepState::Pending | StepState::Skipped => Self::Plain,
            StepState::Applying | StepState::Applied | StepState::Reverting => Self::Busy,
            StepState::Verified | StepState::Returned => Self::Good,
            StepState::Failed | StepState::Held | StepState::AwaitingApproval => Self::Bad,
        }
    }

    /// The tone of the state of a change.
    pub fn of_change(state: ChangeState) -> Self {
        match state {
            ChangeState::Planned | ChangeState::Skipped | ChangeState::Kept => Self::Plain,
            ChangeState::Intended | ChangeState::Unclear | ChangeState::Reverting | ChangeState::Ceded => {
                Self::Busy
            }
            ChangeState::Applied | ChangeState::Verified | ChangeState::Reverted | ChangeState::Done => {
                Self::Good
            }
            ChangeState::Failed | ChangeState::Held => Self::Bad,
        }
    }

    /// The tone of an entry of the timeline, by its type.
    pub fn of_event(type_: &str) -> Self {
        match type_ {
            "ChangeFailed"
            | "VerifyLost"
            | "VerifyUnknown"
            | "LadderUsedUp"
            | "OwnershipNotHandedBack"
            | "FenceLeft" => Self::Bad,
            "StepVerified" | "Resolved" | "Closed" => Self::Good,
            _ => Self::Plain,
        }
    }
}
