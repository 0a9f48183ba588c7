//! In which order a step takes its targets, and how many at once.

use serde::{Deserialize, Serialize};

use crate::facts::Target;
use crate::rules::Faults;
use crate::selector::LabelSelector;

/// Some of the targets of a step, which have their turn together. At least one of `names` and `selector` must be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LevelSpec {
    /// The names of the objects, or of objects that they own and that the targets select.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100), inner(length(min = 1, max = 253))))]
    pub names: Vec<String>,
    /// The labels of the objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

impl LevelSpec {
    fn has(&self, target: &Target) -> bool {
        let selected = std::iter::once(&target.id).chain(&target.resolved_from);
        let has_name = || selected.map(|id| &id.name).any(|name| self.names.contains(name));
        (self.names.is_empty() || has_name())
            && self.selector.as_ref().is_none_or(|selector| selector.selects(&target.object))
    }
}

/// When each target of a step has its turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Turns {
    /// One level after the other. Targets in none of them come last.
    levels: Vec<LevelSpec>,
    /// How many of a level are taken at once; none: all.
    most: Option<usize>,
}

impl Turns {
    pub(super) fn parse(
        levels: &[LevelSpec],
        most: Option<u32>,
        field: &str,
        faults: &mut Faults,
    ) -> Option<Self> {
        let is_empty = |level: &LevelSpec| level.names.is_empty() && level.selector.is_none();
        if let Some(at) = levels.iter().position(is_empty) {
            faults.add(format!("{field}.order[{at}]"), "names or selector must be set");
            return None;
        }
        let most = most.map(|most| most.max(1) as usize);
        Some(Self { levels: levels.to_vec(), most })
    }

    /// The level of a target, from 0.
    pub fn level_of(&self, target: &Target) -> usize {
        self.levels.iter().position(|level| level.has(target)).unwrap_or(self.levels.len())
    }

    /// How many objects of a level are taken at once; none: all.
    pub fn at_once(&self) -> Option<usize> {
        self.most
    }
}
