//! The plan of a step: what it would change, what it leaves alone, and why.

use crate::change::{Again, Change};
use crate::facts::{Stage, Target};
use crate::incident::Spared;

/// The plan that follows from a listing of a step's targets.
#[derive(Default)]
pub(super) struct Plans {
    /// The number of objects that the targets select.
    pub matched: u32,
    /// Selected objects that need no change, and why.
    pub nothing_to_do: Vec<Spared>,
    /// Objects in the step's scope, whatever `where` says.
    pub scope: usize,
    /// Names of the targets that no object has.
    pub absent: Vec<String>,
    /// What people must know about a tool that applies one of the objects.
    pub warning: Option<String>,
    /// What may keep the change of one of the objects from having the effect that it is for.
    pub doubt: Option<String>,
    /// Changes to make, each with the object that it was planned on.
    pub changes: Vec<(Change, Target)>,
    /// Changes that a relapse makes again, and that need no other approval.
    pub again: Vec<(Change, Target)>,
    /// The object of the first stage that cannot be changed, and why. Then nothing of a later stage is changed either.
    pub stage_refused: Option<(Stage, Change)>,
    /// Changes that must not be made; their entry says why.
    pub refused: Vec<Change>,
}

impl Plans {
    /// The number of objects that would be changed, without those that are changed before the targets.
    pub(super) fn new_targets(&self) -> usize {
        number_of_targets(&self.changes)
    }

    /// The number of objects that are changed once more beside them. What a relapse applies again in any case has its
    /// place already.
    pub(super) fn targets_again(&self) -> usize {
        number_of_targets(self.again.iter().filter(|(change, _)| change.again() != Again::Always))
    }

    /// Notes that an object needs no change. What is changed before the targets is none of them.
    pub(super) fn spare(&mut self, target: &Target, why: &str) {
        if target.stage == Stage::Targets {
            self.nothing_to_do.push(Spared::new(&target.id, why));
        }
    }

    /// The number of objects in a plan that a person approves: the targets, or what is changed before them.
    pub(super) fn to_be_approved(&self) -> usize {
        match self.new_targets() {
            0 => self.changes.len(),
            targets => targets,
        }
    }

    /// Reports how many of them are changed instead of the targets that they own.
    pub(super) fn in_place_of_others(&self) -> String {
        match self.changes.iter().filter(|(_, target)| !target.resolved_from.is_empty()).count() {
            0 => String::new(),
            number => format!(", {number} of them as owners of the targets"),
        }
    }
}

fn number_of_targets<'a>(changes: impl IntoIterator<Item = &'a (Change, Target)>) -> usize {
    changes.into_iter().filter(|(_, target)| target.stage == Stage::Targets).count()
}
