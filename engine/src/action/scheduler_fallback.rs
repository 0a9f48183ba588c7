//! schedulerFallback: other scheduler for workloads, once the broken one is scaled to 0.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::edit::{changes, obstacle, replicas};
use super::targets::UNHEALTHY;
use super::{Autoscalers, Descriptor, Fields, Kind, Named, Plan, Pods, Reach, Room, Targets, Values, Yields};
use crate::change::Change;
use crate::facts::{About, Doubt, Role, Slot, Stage, Target};
use crate::policy::Revert;
use crate::rules::Faults;
use crate::selector::{ObjectRef, TargetsSpec};

/// The scheduler of every pod that does not name one.
const DEFAULT_SCHEDULER: &str = "default-scheduler";

/// Moves workloads from a broken scheduler to another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SchedulerFallbackSpec {
    /// The objects to change. `where` defaults to `!healthy`.
    pub targets: TargetsSpec,
    /// The broken scheduler. Only workloads that name it are changed.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub from: String,
    /// The scheduler to use instead. Defaults to `default-scheduler`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub scheduler_name: Option<String>,
    /// The workload that runs the broken scheduler. It is scaled to 0 first. On withdrawal it is restored
    /// first, and the other workloads wait until it is available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire: Option<ObjectRef>,
}

/// Moves workloads to another scheduler.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SchedulerFallback {
    /// Which objects.
    pub targets: Targets,
    /// Those that use this scheduler.
    pub from: String,
    /// Use this one instead.
    pub to: String,
    /// The broken scheduler, scaled to 0 first.
    pub retire: Option<Named>,
}

impl SchedulerFallback {
    pub(super) fn parse(spec: &SchedulerFallbackSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        let to = spec.scheduler_name.clone().unwrap_or_else(|| DEFAULT_SCHEDULER.to_owned());
        if to == spec.from {
            faults.add(format!("{field}.from"), "schedulerName must differ from the broken scheduler");
            return None;
        }
        Some(Self {
            targets: Targets::parse(&spec.targets, UNHEALTHY, field, faults)?,
            from: spec.from.clone(),
            to,
            retire: spec.retire.clone().map(|object| Named { field: "retire", object }),
        })
    }
}

impl Kind for SchedulerFallback {
    fn targets(&self) -> &Targets {
        &self.targets
    }

    fn targets_mut(&mut self) -> &mut Targets {
        &mut self.targets
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            yields: Yields::Loans,
            pods: Pods::Replaces,
            values: Values::Absolute,
            autoscalers: Autoscalers::Ignored,
            reach: Reach::Namespaces,
            fields: Fields::Profile,
            room: Room::AsItIs,
            // The scheduler counts as broken until a person says otherwise.
            revert: Revert::OnRequest,
        }
    }

    fn plan(&self, target: &Target, _: Option<&Change>) -> Plan {
        match target.stage {
            Stage::Before(_) => replicas(target, 0),
            Stage::Targets => scheduler_fallback(target, &self.from, &self.to),
        }
    }

    fn doubts(&self, target: &Target) -> Vec<Doubt> {
        let is_queue = |doubt: &&Doubt| doubt.about == About::Queue && target.stage == Stage::Targets;
        target.slots.doubts.iter().filter(is_queue).cloned().collect()
    }

    fn before(&self) -> &[Named] {
        self.retire.as_slice()
    }

    fn moves_from(&self) -> Option<&str> {
        Some(&self.from)
    }
}

/// Workloads that use the broken scheduler use the other one.
fn scheduler_fallback(target: &Target, from: &str, to: &str) -> Plan {
    if let Some(refused) = obstacle(target, &Role::Scheduler) {
        return refused;
    }
    // A field that is absent, and listed all the same, means the default. So does an empty name.
    let uses_it = |slot: &&Slot| match slot.path.read(&target.object).as_deref() {
        None | Some(Value::Null) => from == DEFAULT_SCHEDULER,
        Some(Value::String(name)) => name == from || name.is_empty() && from == DEFAULT_SCHEDULER,
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => false,
    };
    let wanted: Vec<_> =
        target.slots.of(&Role::Scheduler).filter(uses_it).map(|slot| (slot, Some(json!(to)))).collect();
    if wanted.is_empty() {
        return Plan::NothingToDo(format!("none of its fields names the scheduler {from}"));
    }
    changes(&target.object, wanted.into_iter())
}
