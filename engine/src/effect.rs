//! What to do: a closed list of writes, each guarded by a version or by a uid.

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
    /// What guards it.
    pub guard: Guard,
}

/// What keeps a write from doing anything but what was meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guard {
    /// The object has this version still.
    Version(ResourceVersion),
    /// The pod has this uid.
    Pod(String),
}

/// One write for one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// The change it belongs to.
    pub change: ChangeId,
    /// The object.
    pub target: TargetId,
    /// What it is for.
    pub act: Act,
    /// What is sent.
    pub write: Write,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A patch of the target.
    Patch(GuardedPatch),
    /// The deletion of a pod of the target, which is not the target itself. To send it twice is harmless.
    DeletePod {
        /// Its name.
        name: String,
        /// Its uid, the precondition.
        uid: String,
    },
}

impl Effect {
    /// Under which its outcome is reported.
    pub fn id(&self) -> EffectId {
        EffectId { change: self.change.clone(), act: self.act, guard: self.write.guard() }
    }

    /// The uid of the object that is written.
    pub fn written(&self) -> &str {
        match &self.write {
            Write::Patch(_) => &self.target.uid,
            Write::DeletePod { uid, .. } => uid,
        }
    }
}

impl Write {
    /// What guards it.
    pub fn guard(&self) -> Guard {
        match self {
            Self::Patch(patch) => Guard::Version(patch.base().clone()),
            Self::DeletePod { uid, .. } => Guard::Pod(uid.clone()),
        }
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
    /// Delete a pod that keeps the change from the others, or keeps it from going back.
    DeletePod,
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
            Self::DeletePod => "delete-pod",
        }
    }
}
