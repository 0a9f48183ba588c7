//! What a story is played with.

use std::rc::Rc;

use super::world::{Hears, Runs, Translate};
use crate::policy::PolicySpec;
use crate::rules::{Fault, Rules};

/// Parses the rules of a policy, or finds its faults.
pub type Accept = Rc<dyn Fn(&PolicySpec) -> Result<Rules, Vec<Fault>>>;

/// What is known of kinds and policies while a story is played.
pub struct Means {
    /// What a profile finds.
    pub translate: Translate,
    /// Who runs the pods of others.
    pub runs: Runs,
    /// The check of policies.
    pub accept: Accept,
    /// Who hears of what is recorded of the Incident.
    pub hears: Hears,
}
