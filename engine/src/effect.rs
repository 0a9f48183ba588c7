//! What to do: a closed list of writes, each guarded by a version.

use crate::id::{ChangeId, ResourceVersion, TargetId};
use crate::undo::GuardedPatch;

/// The identity of one write. Its answer speaks for it and for no other write
/// of the same change, so a slow answer cannot be taken for that of a newer one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId {
    /// The change it belongs to.
    pub change: ChangeId,
    /// What it is for.
    pub act: Act,
    /// The version that guards it.
    pub base: ResourceVersion,
}

/// One write to one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// The change it belongs to.
    pub change: ChangeId,
    /// The object.
    pub target: TargetId,
    /// What it is for.
    pub act: Act,
    /// The bytes.
    pub patch: GuardedPatch,
}

impl Effect {
    /// Under which its outcome is reported.
    pub fn id(&self) -> EffectId {
        EffectId { change: self.change.clone(), act: self.act, base: self.patch.base().clone() }
    }
}

/// What a write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// Perform the change and record how to undo it.
    Apply,
    /// Correct the record: the server stored another value than was sent.
    Amend,
    /// Put the change back and drop its record.
    Return,
    /// Make sure that no late request lands.
    Fence,
    /// Give field ownership back and remove the fence.
    HandBack,
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
        }
    }
}
