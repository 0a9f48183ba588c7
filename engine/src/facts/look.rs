//! The live reads that a decision asks for, and what they showed.

use std::collections::{BTreeMap, BTreeSet};

use super::Target;
use crate::id::{ChangeId, TargetId};

/// A live read that a decision needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Look {
    /// List what the targets of this step describe now, as the ServiceAccount.
    Step(String),
    /// Read this object, as the ServiceAccount.
    Object(TargetId),
    /// Read something with the operator's own rights.
    Own(OwnLook),
}

/// A live read with the operator's own rights.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnLook {
    /// The Incident of another loan: `namespace/name/uid`.
    Holder(String),
    /// Whether the brake is engaged.
    Brake,
    /// Whether the Incident's own namespace is being deleted.
    Namespace,
}

/// Whether responses may write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Brake {
    /// They may.
    #[default]
    Off,
    /// No response may start another write, except a revert that a person asks for.
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

/// What the listing of a step's targets showed.
#[derive(Clone, Debug)]
pub enum ListingRead {
    /// The objects.
    Listed(Listing),
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

/// What the read of one object showed.
#[derive(Clone, Debug)]
pub enum ObjectRead {
    /// The object.
    Found(Box<Target>),
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

/// What the read of the Incident's own namespace showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespaceRead {
    /// It is not being deleted.
    Stays,
    /// It is being deleted, or gone.
    Terminating,
    /// There was no answer that says anything; for people.
    Unknown(String),
}

/// What the live reads of a decision showed so far. A read that was not asked for is absent.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// The targets of steps, by name.
    pub listings: BTreeMap<String, ListingRead>,
    /// Single objects.
    pub objects: BTreeMap<TargetId, ObjectRead>,
    /// What became of the Incidents of other loans, by `namespace/name/uid`.
    pub holders: BTreeMap<String, Holder>,
    /// Whether responses may write.
    pub brake: Option<Brake>,
    /// The Incident's own namespace.
    pub namespace: Option<NamespaceRead>,
}

impl Looked {
    /// Whether this was read.
    pub fn has(&self, look: &Look) -> bool {
        match look {
            Look::Step(step) => self.listings.contains_key(step),
            Look::Object(target) => self.objects.contains_key(target),
            Look::Own(OwnLook::Holder(incident)) => self.holders.contains_key(incident),
            Look::Own(OwnLook::Brake) => self.brake.is_some(),
            Look::Own(OwnLook::Namespace) => self.namespace.is_some(),
        }
    }

    /// Takes in what more was read.
    pub fn extend(&mut self, more: Self) {
        self.listings.extend(more.listings);
        self.objects.extend(more.objects);
        self.holders.extend(more.holders);
        self.brake = more.brake.or_else(|| self.brake.take());
        self.namespace = more.namespace.or_else(|| self.namespace.take());
    }
}

/// A set of live reads.
pub type Looks = BTreeSet<Look>;
