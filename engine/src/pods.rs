//! Pods that keep a change from taking effect.
//!
//! In some kinds, the pods of an object get a new template one after the other, each only when the previous one is
//! ready. A pod that never becomes ready then never gets the template that would repair it. Someone must delete it.

/// How the pods of an object get a change, and which of them block it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pods {
    /// In any order: no pod ever blocks another.
    #[default]
    Free,
    /// One after the other; nobody has asked which of them are stuck.
    InOrder,
    /// One after the other, and their controller has not observed the last change yet.
    NotYet,
    /// One after the other, and these are stuck.
    Stuck(Vec<StuckPod>),
    /// One after the other, and it cannot be read which of them are stuck. The text is for people.
    Unknown(String),
}

impl Pods {
    /// Whether each pod waits for the previous one.
    pub fn are_in_order(&self) -> bool {
        *self != Self::Free
    }
}

/// A pod that is not ready and does not have the change, or that does not terminate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckPod {
    /// Its name.
    pub name: String,
    /// Its uid. The next pod of the same name has another one.
    pub uid: String,
    /// Whether it is being deleted.
    pub end: End,
}

/// How far the deletion of a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nobody has requested it.
    NotAsked,
    /// It was requested and still has time.
    UnderWay,
    /// The pod should be gone. The text says for people why it is not.
    Overdue(String),
}
