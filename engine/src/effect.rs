//! What to do: a closed list of writes. Each is guarded by a version, or is a request of a recorded operation.

use crate::change::{OperationType, Request};
use crate::id::{ChangeId, ResourceVersion, TargetId};
use crate::undo::GuardedPatch;

/// The identity of one write. An answer belongs to one write and to no other write
/// of the same change, so a slow answer cannot be taken for the answer to a newer one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId {
    /// The change to which it belongs.
    pub change: ChangeId,
    /// Its purpose.
    pub act: Act,
    /// What distinguishes this write from others of the change.
    pub guard: Guard,
}

/// What distinguishes one write of a change from the others, and keeps it from doing anything but what was meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guard {
    /// The object still has this version.
    Version(ResourceVersion),
    /// It is this request of the operation.
    Request(Request),
}

/// One write for one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// The change to which it belongs.
    pub change: ChangeId,
    /// The object.
    pub target: TargetId,
    /// Its purpose.
    pub act: Act,
    /// The content.
    pub write: Write,
}

/// The content of a write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A patch of the target.
    Patch(GuardedPatch),
    /// What an operation does to the target.
    Operation(Request),
}

impl Effect {
    /// The identity under which its outcome is reported.
    pub fn id(&self) -> EffectId {
        EffectId { change: self.change.clone(), act: self.act, guard: self.write.guard() }
    }
}

impl Write {
    /// What guards it.
    pub fn guard(&self) -> Guard {
        match self {
            Self::Patch(patch) => Guard::Version(patch.base().clone()),
            Self::Operation(request) => Guard::Request(request.clone()),
        }
    }
}

/// The purpose of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// Perform the change and record how to undo it.
    Apply,
    /// Correct the record, because the server stored another value than was sent.
    Amend,
    /// Revert the change and drop its record.
    Return,
    /// Make sure that no late request takes effect.
    Fence,
    /// Hand field ownership back and remove the fence.
    HandBack,
    /// Carry out an operation.
    Operate(OperationType),
}

impl Act {
    /// The name, for metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Amend => "amend",
            Self::Return => "return",
            Self::Fence => "fence",
            Self::HandBack => "hand-back",
            Self::Operate(OperationType::DeletePod) => "delete-pod",
            Self::Operate(OperationType::Restart) => "restart",
            Self::Operate(OperationType::Rehearse) => "rehearse",
        }
    }
}
