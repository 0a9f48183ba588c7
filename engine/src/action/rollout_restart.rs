//! rolloutRestart: the controllers of workloads replace their pods, at the pace that each workload sets.

use serde::{Deserialize, Serialize};

use super::edit::{obstacle, refused};
use super::targets::UNHEALTHY;
use super::{
    Autoscalers, Descriptor, Fields, Kind, LevelSpec, Plan, Pods, Reach, Room, Targets, Turns, Values, Yields,
};
use crate::change::{Change, Operation, OperationType, OperationWrite};
use crate::facts::{Role, Target};
use crate::policy::Revert;
use crate::reason::Reason;
use crate::rules::Faults;
use crate::selector::TargetsSpec;

/// Restarts workloads. A restart cannot be undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RolloutRestartSpec {
    /// The objects to restart. `where` defaults to `!healthy`.
    pub targets: TargetsSpec,
    /// One level of targets after the other: the next one restarts when all objects of this one are healthy and have
    /// rolled out. Targets in no level come last. Defaults to one level with all targets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub order: Vec<LevelSpec>,
    /// How many objects of a level may be restarting at once. Defaults to all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 300)))]
    pub max_unavailable: Option<u32>,
}

/// Restarts workloads.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RolloutRestart {
    /// The objects.
    pub targets: Targets,
    /// In which order, and how many at once.
    pub turns: Turns,
}

impl RolloutRestart {
    pub(super) fn parse(spec: &RolloutRestartSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        let turns = Turns::parse(&spec.order, spec.max_unavailable, field, faults);
        Some(Self { targets: Targets::parse(&spec.targets, UNHEALTHY, field, faults)?, turns: turns? })
    }
}

impl Kind for RolloutRestart {
    fn targets(&self) -> &Targets {
        &self.targets
    }

    fn targets_mut(&mut self) -> &mut Targets {
        &mut self.targets
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            yields: Yields::Operations(OperationType::Restart),
            pods: Pods::Replaces,
            values: Values::Absolute,
            autoscalers: Autoscalers::Ignored,
            reach: Reach::Namespaces,
            fields: Fields::Profile,
            room: Room::AsItIs,
            revert: Revert::Never,
        }
    }

    fn turns(&self) -> Option<&Turns> {
        Some(&self.turns)
    }

    fn plan(&self, target: &Target, _: Option<&Change>) -> Plan {
        if let Some(refused) = obstacle(target, &Role::Restart) {
            return refused;
        }
        if let Some(why) = &target.rollout_paused {
            return refused(Reason::NotApplicable, why.clone());
        }
        let slots: Vec<_> = target.slots.of(&Role::Restart).collect();
        if let Some((slot, problem)) =
            slots.iter().find_map(|slot| Some((slot, slot.out_of_bounds.as_ref()?)))
        {
            return refused(Reason::OutOfBounds, format!("{} {problem}", slot.path));
        }
        let paths = slots.into_iter().map(|slot| slot.path.clone()).collect();
        Plan::Operate(Box::new(Operation::restart(OperationWrite::new(paths))))
    }
}
