//! Pods that keep a change from taking effect.
//!
//! Where the pods of an object get a new template one after the other, each only once the one before is
//! ready, a pod that never becomes ready never gets the template that would help it. Someone must delete it.

/// How the pods of an object get a change, and which of them are in its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pods {
    /// In whatever state they are: none is ever in the way.
    #[default]
    Free,
    /// One after the other; nobody asked which of them are stuck.
    InOrder,
    /// One after the other, and their controller has not seen the last change yet.
    NotYet,
    /// One after the other, and these are stuck.
    Stuck(Vec<StuckPod>),
    /// One after the other, and which of them are stuck cannot be seen; for people.
    Unknown(String),
}

impl Pods {
    /// Whether one waits for the other.
    pub fn are_in_order(&self) -> bool {
        *self != Self::Free
    }
}

/// A pod that is not ready and does not have the change, or that does not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckPod {
    /// Its name.
    pub name: String,
    /// Its uid: the next pod of that name has another one.
    pub uid: String,
    /// Whether it is being deleted.
    pub end: End,
}

/// How far the deletion of a pod has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nobody asked for it.
    NotAsked,
    /// It was asked for and still has time.
    UnderWay,
    /// It should be gone: why it is not, for people.
    Overdue(String),
}
