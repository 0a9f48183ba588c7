//! cpuFallback: workloads run without accelerators.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::edit::{changes, obstacle, refused};
use super::targets::UNHEALTHY;
use super::{Autoscalers, Descriptor, Fields, Kind, Plan, Pods, Reach, Room, Targets, Values};
use crate::change::Change;
use crate::facts::{Role, Target};
use crate::policy::Revert;
use crate::reason::Reason;
use crate::rules::Faults;
use crate::selector::TargetsSpec;
use crate::value::is_zero;

/// Sets requests and limits of accelerators to "0", so that the pods can start on any node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CpuFallbackSpec {
    /// The objects to change. `where` defaults to `!healthy`.
    pub targets: TargetsSpec,
    /// The quantization of the model during the fallback, for example `int8`. Ignored by kinds without such a
    /// field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub quantization: Option<String>,
    /// Whether the placement on accelerator nodes is released as well.
    #[serde(default)]
    pub placement: Placement,
}

/// What happens to nodeSelector entries, affinity terms and the runtime class that bind pods to accelerator
/// nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Placement {
    /// They are removed; otherwise the pods could not start anywhere.
    #[default]
    Release,
    /// They stay.
    Keep,
}

/// Runs workloads without accelerators.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CpuFallback {
    /// The objects.
    pub targets: Targets,
    /// The quantization during the fallback.
    pub quantization: Option<String>,
    /// Whether placement is released.
    pub placement: Placement,
}

impl CpuFallback {
    pub(super) fn parse(spec: &CpuFallbackSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        Some(Self {
            targets: Targets::parse(&spec.targets, UNHEALTHY, field, faults)?,
            quantization: spec.quantization.clone(),
            placement: spec.placement,
        })
    }
}

impl Kind for CpuFallback {
    fn targets(&self) -> &Targets {
        &self.targets
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            pods: Pods::Replaces,
            values: Values::Absolute,
            autoscalers: Autoscalers::Ignored,
            reach: Reach::Namespaces,
            fields: Fields::Profile,
            room: Room::InPlace,
            revert: Revert::OnRecovery,
        }
    }

    fn plan(&self, target: &Target, _: Option<&Change>) -> Plan {
        cpu_fallback(target, self.quantization.as_deref(), self.placement)
    }
}

/// Accelerator requests and limits to "0", quantization if the kind has it,
/// and no placement that only accelerator nodes satisfy.
fn cpu_fallback(target: &Target, quantization: Option<&str>, placement: Placement) -> Plan {
    let object = &target.object;
    let slots = &target.slots;
    if let Some(refused) = obstacle(target, &Role::Accelerator) {
        return refused;
    }
    if let Some(why) = slots.fixed.first() {
        return refused(
            Reason::NotApplicable,
            format!("{why}: its pods would still wait for an accelerator"),
        );
    }
    let uses_accelerator = slots
        .fields
        .iter()
        .any(|slot| slot.role == Role::Accelerator && !is_zero(slot.path.read(object).as_deref()));
    if !uses_accelerator {
        return Plan::NothingToDo("it requests no accelerator".to_owned());
    }
    if placement == Placement::Release
        && let Some(pin) = slots.pins.first()
    {
        return refused(
            Reason::PinnedToAccelerator,
            format!("{pin}: it could not start anywhere without its accelerator"),
        );
    }
    let wanted = slots.fields.iter().filter_map(|slot| {
        let after = match &slot.role {
            Role::Accelerator => Some(json!("0")),
            Role::QuantizationEnabled => Some(Value::Bool(true)).filter(|_| quantization.is_some())?.into(),
            Role::QuantizationPrecision => Some(json!(quantization?)),
            Role::Placement { released } => {
                Some(released.clone()).filter(|_| placement == Placement::Release)?
            }
            Role::AutoscalerLimit
            | Role::Scheduler
            | Role::BatchSize
            | Role::MaxConcurrency
            | Role::Replicas
            | Role::Pace { .. } => return None,
        };
        Some((slot, after))
    });
    changes(object, wanted)
}
