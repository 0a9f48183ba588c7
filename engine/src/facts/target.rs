//! One live object as it was read: what an action may change in it, and what speaks against it.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::id::{ResourceVersion, TargetId};
use crate::path::FieldPath;
use crate::pods::Pods;
use crate::verdict::Verdict;

/// One live object, with what its kind's profile finds in it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Which object.
    pub id: TargetId,
    /// The version that was read.
    pub version: ResourceVersion,
    /// The whole object as the API server sent it.
    pub object: Arc<Value>,
    /// Whether the step's `where` wants it.
    pub matched: Verdict,
    /// Why `where` is Unknown.
    pub match_problem: Option<String>,
    /// The object or its namespace is annotated as exempt.
    pub exempt: bool,
    /// Another object controls it and cannot be changed in its place.
    pub owned_by: Option<OwnedBy>,
    /// The objects that the step describes and that this one owns: it is changed in their place.
    pub resolved_from: Vec<TargetId>,
    /// When the step changes it.
    pub stage: Stage,
    /// The fields that an action may change.
    pub slots: Slots,
    /// Whether the object has finished rolling out, and why not.
    pub rollout: (Verdict, String),
    /// Whether the object is healthy.
    pub healthy: Verdict,
    /// How many replicas its autoscaler wants; asked only for steps that raise its limit.
    pub demand: Demand,
    /// Who else sets its number of replicas; asked only for steps that set it.
    pub scaled_by: ScaledBy,
    /// How its pods get a change; asked which are stuck only while a change of this Incident reaches them.
    pub pods: Pods,
}

/// What controls an object, and would undo every change of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedBy {
    /// As `Kind/name`.
    pub owner: String,
    /// For people, after the name of the owner and a colon: why it is not changed in the object's place.
    pub why: String,
}

impl fmt::Display for OwnedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} controls it: {}", self.owner, self.why)
    }
}

/// When a step changes one of its objects: its action goes through the stages in this order, and no object is
/// changed while one of an earlier stage is still to be. On the way back it goes through them in the same order:
/// what the targets are moved back to has to be there first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Before the targets: the object with this number of those that the action names.
    Before(usize),
    /// The objects that the step is for.
    #[default]
    Targets,
}

/// How many replicas an autoscaler wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Demand {
    /// Nobody asked, or it has no autoscaler.
    #[default]
    None,
    /// This many.
    Wants(i64),
    /// It cannot be read; for people.
    Unknown(String),
}

/// Who sets the number of replicas of an object besides people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ScaledBy {
    /// Nobody.
    #[default]
    Nobody,
    /// This autoscaler, as `Kind/name`.
    Autoscaler(String),
    /// It cannot be read; for people.
    Unknown(String),
}

/// The fields that an action may change in one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slots {
    /// The fields.
    pub fields: Vec<Slot>,
    /// What pins the pods to accelerators and cannot be released.
    pub pins: Vec<String>,
    /// Roles for which the kind has no field, or for which this object has it in a form that must not be changed.
    pub obstacles: Vec<Obstacle>,
    /// Labels and annotations of the object propagate to its pods, so every write of ours restarts them.
    pub metadata_propagates: bool,
}

impl Slots {
    /// The fields with this role.
    pub fn of<'a, 'r>(&'a self, role: &'r Role) -> impl Iterator<Item = &'a Slot> + use<'a, 'r> {
        self.fields.iter().filter(move |slot| slot.role == *role)
    }
}

/// Why a field of a role cannot be changed in an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Obstacle {
    /// What the field means.
    pub role: Role,
    /// For people: the kind has none, or where it is and what is wrong.
    pub why: String,
}

/// One field that an action may change.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// What the field means.
    pub role: Role,
    /// Where it is.
    pub path: FieldPath,
    /// Why the present value must not be lent: it is out of the profile's bounds.
    pub out_of_bounds: Option<String>,
}

/// What a field means to an action.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// Request or limit of an accelerator.
    Accelerator,
    /// Whether quantization is on.
    QuantizationEnabled,
    /// The quantization.
    QuantizationPrecision,
    /// Placement on accelerator nodes, and what remains of the field without it.
    Placement {
        /// The value without the accelerator part; none if the field goes.
        released: Option<Value>,
    },
    /// The most replicas that an autoscaler may set.
    AutoscalerLimit,
    /// The name of the scheduler.
    Scheduler,
    /// Requests in one batch.
    BatchSize,
    /// Requests at once.
    MaxConcurrency,
    /// The number of replicas.
    Replicas,
}

impl Role {
    /// What it is called for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accelerator => "accelerator",
            Self::QuantizationEnabled | Self::QuantizationPrecision => "quantization",
            Self::Placement { .. } => "placement",
            Self::AutoscalerLimit => "autoscaler limit",
            Self::Scheduler => "scheduler name",
            Self::BatchSize => "batch size",
            Self::MaxConcurrency => "concurrency",
            Self::Replicas => "replicas",
        }
    }
}
