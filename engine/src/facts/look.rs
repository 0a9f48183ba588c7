//! The live reads that a decision requests, and their results.

use std::collections::{BTreeMap, BTreeSet};

use super::Target;
use crate::id::{ChangeId, TargetId};

/// A live read that a decision needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Look {
    /// List the objects that the targets of this step select now, as the ServiceAccount.
    Step(String),
    /// Read this object, as the ServiceAccount.
    Object(TargetId),
    /// Read something with the operator's own permissions.
    Own(OwnLook),
}

/// A live read with the operator's own permissions.
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
    /// No response may start another write, except a revert that a person has requested.
    Engaged {
        /// For people: that the brake is engaged, or why it counts as engaged.
        why: String,
    },
}

/// The objects that the targets of a step select now.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The objects for which `where` is True or Unknown, and those that the step has already changed.
    pub targets: Vec<Target>,
    /// The number of objects that names, selector and namespaces select, whatever `where` says.
    pub scope: usize,
    /// The names among the targets of the step that no object in these namespaces has, in order.
    pub absent: Vec<String>,
}

/// The state of an Incident that has a loan on an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// It is open, so the object belongs to it.
    Open,
    /// It is closed, and lists these loans as ended.
    Over {
        /// These loans are dead.
        ended: BTreeSet<ChangeId>,
    },
    /// There is no such Incident, or another one has its name.
    Gone,
    /// It cannot be read, so it counts as open. The text is for people.
    Unknown(String),
}

/// The result of listing the targets of a step.
#[derive(Clone, Debug)]
pub enum ListingRead {
    /// The objects.
    Listed(Listing),
    /// The request was rejected (401, 403, unknown kind): permissions or a CRD are missing.
    Refused {
        /// For people.
        why: String,
    },
    /// No conclusive answer.
    Failed {
        /// For people.
        why: String,
    },
}

/// The result of reading one object.
#[derive(Clone, Debug)]
pub enum ObjectRead {
    /// The object.
    Found(Box<Target>),
    /// There is no such object.
    Gone,
    /// The request was rejected (401, 403, unknown kind): permissions or a CRD are missing.
    Refused {
        /// For people.
        why: String,
    },
    /// No conclusive answer.
    Failed {
        /// For people.
        why: String,
    },
}

/// The result of reading the Incident's own namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespaceRead {
    /// It is not being deleted.
    Stays,
    /// It is being deleted, or gone.
    Terminating,
    /// No conclusive answer. The text is for people.
    Unknown(String),
}

/// The results of the live reads of a decision so far. A read that was not requested is absent.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// The targets of steps, by name.
    pub listings: BTreeMap<String, ListingRead>,
    /// Single objects.
    pub objects: BTreeMap<TargetId, ObjectRead>,
    /// The states of the Incidents of other loans, by `namespace/name/uid`.
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

    /// Adds the results of further reads.
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
