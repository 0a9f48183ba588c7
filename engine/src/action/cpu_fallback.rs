//! cpuFallback: workloads run without accelerators.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::containers::{self, ContainerEdit, ContainerSpec};
use super::edit::{Edit, changes, obstacle, refused};
use super::nodes;
use super::targets::UNHEALTHY;
use super::{Autoscalers, Descriptor, Fields, Kind, Plan, Pods, Reach, Room, Targets, Values, Yields};
use crate::change::Change;
use crate::facts::{About, Doubt, Role, Target};
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
    /// What containers need to run without an accelerator. An object that does not have them all is left alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 8)))]
    pub containers: Vec<ContainerSpec>,
    /// Whether the placement on accelerator nodes is released as well.
    #[serde(default)]
    pub placement: Placement,
}

/// What happens to nodeSelector entries, affinity terms and the runtime class that bind pods to accelerator
/// nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Placement {
    /// They are removed; otherwise no node without accelerators would take the pods.
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
    /// What containers need during the fallback.
    pub containers: Vec<ContainerEdit>,
    /// Whether placement is released.
    pub placement: Placement,
}

impl CpuFallback {
    pub(super) fn parse(spec: &CpuFallbackSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        // All faults are told, not only the first.
        let containers = containers::parse(&spec.containers, field, faults);
        Some(Self {
            targets: Targets::parse(&spec.targets, UNHEALTHY, field, faults)?,
            quantization: spec.quantization.clone(),
            containers: containers?,
            placement: spec.placement,
        })
    }
}

impl Kind for CpuFallback {
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
            room: Room::InPlace,
            revert: Revert::OnRecovery,
        }
    }

    fn plan(&self, target: &Target, _: Option<&Change>) -> Plan {
        cpu_fallback(target, self)
    }

    fn reads_nodes(&self) -> bool {
        true
    }

    fn asks_for_nodes(&self, target: &Target) -> bool {
        uses_accelerator(target) && nodes::matter(target, self.placement)
    }

    fn doubts(&self, target: &Target) -> Vec<Doubt> {
        let is_open = |doubt: &&Doubt| !self.settles(&doubt.about);
        let of_object = target.slots.doubts.iter().filter(is_open).cloned();
        let about_nodes = |why| Doubt { about: About::Placement, why };
        of_object.chain(nodes::doubts(target, self.placement).into_iter().map(about_nodes)).collect()
    }
}

impl CpuFallback {
    /// Whether the fallback itself removes what the doubt is about.
    fn settles(&self, about: &About) -> bool {
        let edit = |name: &String| self.containers.iter().find(|edit| edit.name() == name);
        match about {
            About::Image(container) => edit(container).is_some_and(ContainerEdit::has_image),
            About::Flag { container, flag } => edit(container).is_some_and(|edit| edit.has_flag(flag)),
            About::VisibleDevices(container) => {
                let value = edit(container).and_then(|edit| edit.variable(VISIBLE_DEVICES));
                value.is_some_and(shows_no_device)
            }
            About::RuntimeClass => self.placement == Placement::Release,
            About::Devices | About::Queue | About::Program | About::Room | About::Placement => false,
            // Every action that changes templates tells it.
            About::NewPods => true,
        }
    }
}

/// The variable with which the runtime of NVIDIA gives devices to a container that requests none.
pub const VISIBLE_DEVICES: &str = "NVIDIA_VISIBLE_DEVICES";

/// Whether the runtime gives no device to a container in which the variable has this value.
pub fn shows_no_device(value: &str) -> bool {
    matches!(value, "" | "void" | "none")
}

fn uses_accelerator(target: &Target) -> bool {
    let mut amounts = target.slots.of(&Role::Accelerator);
    amounts.any(|slot| !is_zero(slot.path.read(&target.object).as_deref()))
}

fn no_accelerator(other_devices: &[String]) -> String {
    if other_devices.is_empty() {
        return "it requests no accelerator".to_owned();
    }
    format!(
        "it requests no accelerator that Firebreak knows, but {}; if that is one, change it by hand",
        other_devices.join(", ")
    )
}

/// Accelerator requests and limits to "0", quantization if the kind has it, what the containers need,
/// and no placement that only accelerator nodes satisfy.
fn cpu_fallback(target: &Target, action: &CpuFallback) -> Plan {
    let (quantization, placement) = (action.quantization.as_deref(), action.placement);
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
    if !uses_accelerator(target) {
        return Plan::NothingToDo(no_accelerator(&slots.other_devices));
    }
    if placement == Placement::Release
        && let Some(pin) = slots.pins.first().cloned().or_else(|| nodes::pin(target))
    {
        return refused(
            Reason::PinnedToAccelerator,
            format!("{pin}: without its accelerator, it would have no node to start on"),
        );
    }
    let edits = match containers::edits(&action.containers, target) {
        Ok(edits) => edits,
        Err((reason, why)) => return refused(reason, why),
    };
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
            | Role::Restart
            | Role::Pace { .. } => return None,
        };
        Some(Edit::from((slot, after)))
    });
    let of_containers =
        edits.iter().map(|(path, after)| Edit { path, after: after.clone(), out_of_bounds: None });
    changes(object, wanted.chain(of_containers))
}
