//! Why something was not done, in words for people.

use crate::id::TargetId;
use crate::reason::Reason;

/// One thing that was not done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhyNot {
    /// The step.
    pub step: String,
    /// The object; none if it is about the whole step.
    pub target: Option<TargetId>,
    /// The reason in one word.
    pub reason: Reason,
    /// For people: the cause, and what would change it.
    pub message: String,
}
