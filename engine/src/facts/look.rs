//! The live reads that a decision asks for, and what they showed.

use std::collections::BTreeSet;

use super::Target;
use crate::id::{ChangeId, TargetId};

/// A live read that a decision needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Look {
    /// List what the targets of this step describe now.
    Step(String),
    /// Read this object.
    Object(TargetId),
    /// Read, with the operator's own rights, the Incident of another loan: `namespace/name/uid`.
    Holder(String),
    /// Read whether the brake is engaged.
    Brake,
    /// Read whether the Incident's own namespace is being deleted.
    Namespace,
}

impl Look {
    /// Whether it is the operator's own to read, and not the ServiceAccount's.
    pub fn is_own(&self) -> bool {
        match self {
            Self::Holder(_) | Self::Brake | Self::Namespace => true,
            Self::Step(_) | Self::Object(_) => false,
        }
    }
}

/// Whether responses may write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Brake {
    /// They may.
    #[default]
    Off,
    /// None may start another write; only what a person asks to be put back goes back.
    Engaged {
        /// For people: that it is, or why it counts as engaged.
        why: String,
    },
}

/// What the targets of a step describe now.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The objects that `where` wants or that cannot be told, and those the step has changed already.
    pub targets: Vec<Target>,
    /// How many objects names, selector and namespaces describe, whatever `where` says.
    pub scope: usize,
}

/// What became of an Incident that has a loan on an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// It is open, so the object is its own.
    Open,
    /// It is closed, and lists these loans as ended.
    Over {
        /// They are dead.
        ended: BTreeSet<ChangeId>,
    },
    /// There is no such Incident, or another one has its name.
    Gone,
    /// It cannot be read, so it counts as open; for people.
    Unknown(String),
}

/// What was read with the operator's own rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Own {
    /// What became of the Incident of another loan.
    Holder(Holder),
    /// Whether responses may write.
    Brake(Brake),
    /// The Incident's own namespace.
    Namespace {
        /// Whether it is being deleted.
        terminating: bool,
    },
}

/// What a live read showed.
#[derive(Clone, Debug)]
pub enum LookResult {
    /// The objects of a step.
    Listed(Listing),
    /// The object.
    Found(Box<Target>),
    /// What only the operator itself can tell.
    Own(Own),
    /// There is no such object any more.
    Gone,
    /// The answer was no (401, 403, unknown kind): rights or a CRD are missing.
    Refused {
        /// For people.
        why: String,
    },
    /// There was no answer that says anything.
    Failed {
        /// For people.
        why: String,
    },
}

/// A set of live reads.
pub type Looks = BTreeSet<Look>;
