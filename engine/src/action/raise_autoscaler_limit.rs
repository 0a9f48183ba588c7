//! raiseAutoscalerLimit: raises the limit of autoscalers.

use serde::{Deserialize, Serialize};

use super::edit::{Number, changes, like, obstacle, refused};
use super::targets::ALL;
use super::{Autoscalers, Descriptor, Fields, Kind, Plan, Pods, Reach, Room, Targets, Values, Yields};
use crate::change::Change;
use crate::facts::{Role, Target};
use crate::policy::Revert;
use crate::reason::Reason;
use crate::rules::Faults;
use crate::selector::TargetsSpec;

const DEFAULT_FACTOR: u32 = 2;

/// Multiplies the highest number of replicas that autoscalers may set. Never lowers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RaiseAutoscalerLimitSpec {
    /// The autoscalers, or the workloads with their own autoscaler, to change. `where` defaults to `true`.
    pub targets: TargetsSpec,
    /// The factor for the limit. Defaults to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 2, max = 10)))]
    pub factor: Option<u32>,
    /// The limit is never set above this.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100_000)))]
    pub ceiling: u32,
    /// Also changes objects whose labels and annotations propagate to their pods. The undo record restarts
    /// these pods.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_restart: bool,
}

/// Raises the limit of autoscalers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RaiseAutoscalerLimit {
    /// The objects.
    pub targets: Targets,
    /// The factor for the limit.
    pub factor: i64,
    /// The highest value of a new limit.
    pub ceiling: i64,
    /// Whether our metadata may restart pods.
    pub pods: Pods,
}

impl RaiseAutoscalerLimit {
    pub(super) fn parse(spec: &RaiseAutoscalerLimitSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        Some(Self {
            targets: Targets::parse(&spec.targets, ALL, field, faults)?,
            factor: i64::from(spec.factor.unwrap_or(DEFAULT_FACTOR)),
            ceiling: i64::from(spec.ceiling),
            pods: Pods::left_unless(spec.allow_restart),
        })
    }
}

impl Kind for RaiseAutoscalerLimit {
    fn targets(&self) -> &Targets {
        &self.targets
    }

    fn targets_mut(&mut self) -> &mut Targets {
        &mut self.targets
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            yields: Yields::Loans,
            pods: self.pods,
            values: Values::Multiples,
            autoscalers: Autoscalers::Demand,
            reach: Reach::Namespaces,
            fields: Fields::Profile,
            room: Room::AsItIs,
            revert: Revert::OnRecovery,
        }
    }

    fn plan(&self, target: &Target, known: Option<&Change>) -> Plan {
        let first = known.and_then(|known| known.loan()?.ceiling);
        raise_autoscaler_limit(target, self.factor, first.unwrap_or(self.ceiling))
    }
}

/// The highest number that the autoscaler may set, times `factor` and at most `ceiling`.
fn raise_autoscaler_limit(target: &Target, factor: i64, ceiling: i64) -> Plan {
    if let Some(refused) = obstacle(target, &Role::AutoscalerLimit) {
        return refused;
    }
    let mut wanted = Vec::new();
    let mut as_it_is = "it has no autoscaler limit".to_owned();
    for slot in target.slots.of(&Role::AutoscalerLimit) {
        let number = match (Number::at(slot, &target.object), slot.number_if_absent()) {
            (Number::Absent, Some(absent)) => Number::Is(absent),
            (Number::Is(before), Some(absent)) if before <= 0 => Number::Is(absent),
            (number, _) => number,
        };
        match number {
            Number::Absent => {}
            Number::Is(before) if before <= 0 => {}
            Number::Is(before) => {
                let after = before.saturating_mul(factor).min(ceiling);
                if after > before {
                    wanted.push((slot, like(&slot.path, &target.object, after)));
                } else {
                    as_it_is = format!("its limit of {before} is not below the ceiling of {ceiling}");
                }
            }
            Number::Odd(why) => return refused(Reason::NotANumber, why),
        }
    }
    if wanted.is_empty() {
        return Plan::NothingToDo(as_it_is);
    }
    changes(&target.object, wanted.into_iter())
}
