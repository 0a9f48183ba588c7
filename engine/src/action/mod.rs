//! The actions of steps: the one list of them, and a file for each with what a policy says of it, how that
//! is parsed, what it changes in an object, and what the protocol has to know of it.
//!
//! Everything else asks an action and matches on none. ARCHITECTURE.md says how one is added.

mod cordon_nodes;
mod cpu_fallback;
mod edit;
mod raise_autoscaler_limit;
mod reduce_batch;
mod scale;
mod scheduler_fallback;
mod targets;
#[cfg(test)]
mod tests;

pub use self::cordon_nodes::{CordonNodes, CordonNodesSpec};
pub use self::cpu_fallback::{CpuFallback, CpuFallbackSpec, Placement};
pub use self::raise_autoscaler_limit::{RaiseAutoscalerLimit, RaiseAutoscalerLimitSpec};
pub use self::reduce_batch::{ReduceBatch, ReduceBatchSpec};
pub use self::scale::{Scale, ScaleSpec};
pub use self::scheduler_fallback::{SchedulerFallback, SchedulerFallbackSpec};
pub use self::targets::Targets;
use crate::change::{Change, FieldChange, Operation};
use crate::facts::{Stage, Target};
use crate::id::TargetId;
use crate::one_of::one_of;
use crate::policy::Revert;
use crate::reason::Reason;
use crate::selector::ObjectRef;

one_of! {
    /// The action of a step. Exactly one member must be set.
    written ActionSpec {}
    /// What a step does.
    parsed Action: dyn Kind
    "action" {
        /// Runs workloads without accelerators.
        "cpuFallback" cpu_fallback: CpuFallback(CpuFallbackSpec),
        /// Raises the limit of autoscalers.
        "raiseAutoscalerLimit" raise_autoscaler_limit: RaiseAutoscalerLimit(RaiseAutoscalerLimitSpec),
        /// Moves workloads to another scheduler.
        "schedulerFallback" scheduler_fallback: SchedulerFallback(SchedulerFallbackSpec),
        /// Reduces the batch size and the concurrency of models.
        "reduceBatch" reduce_batch: ReduceBatch(ReduceBatchSpec),
        /// Sets the number of replicas.
        "scale" scale: Scale(ScaleSpec),
        /// Cordon nodes.
        "cordonNodes" cordon_nodes: CordonNodes(CordonNodesSpec),
    }
}

/// What an action says of itself.
pub trait Kind {
    /// The objects that it is for.
    fn targets(&self) -> &Targets;

    /// What the protocol has to know of it.
    fn descriptor(&self) -> Descriptor;

    /// What it means for this object. `known` is the entry of the object in the journal, if it has one: what
    /// its first intent allowed binds all later ones, so that a relative change never compounds.
    fn plan(&self, target: &Target, known: Option<&Change>) -> Plan;

    /// The objects that are changed before its targets, one stage each.
    fn before(&self) -> &[Named] {
        &[]
    }

    /// What its targets are moved away from. While a stage before the targets is in force for it, of whatever step,
    /// no target goes back to it.
    fn moves_from(&self) -> Option<&str> {
        None
    }

    /// How many of its targets it changes at once; none is no limit.
    fn limit(&self) -> Option<usize> {
        None
    }
}

/// An object that an action names, and changes before its targets.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// The field that names it.
    pub field: &'static str,
    /// Which.
    pub object: ObjectRef,
}

/// What the protocol has to know of an action, whatever it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What it does to the pods of its targets.
    pub pods: Pods,
    /// How its new values depend on the old ones.
    pub values: Values,
    /// What it has to know of autoscalers.
    pub autoscalers: Autoscalers,
    /// Where its targets live.
    pub reach: Reach,
    /// What says where its fields are.
    pub fields: Fields,
    /// When its changes are reverted, unless the step sets it.
    pub revert: Revert,
}

/// What an action does to the pods of its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pods {
    /// It changes what they are made from: they start anew, and one that never gets the change may have to go.
    Replaces,
    /// It leaves them, but they may start anew because of our metadata.
    MayRestart,
    /// It leaves them.
    Leaves,
}

impl Pods {
    /// Of an action that leaves them unless the policy says `allowRestart`.
    fn left_unless(allow_restart: bool) -> Self {
        if allow_restart { Self::MayRestart } else { Self::Leaves }
    }
}

/// How the new values of an action depend on the old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Not at all: they can be set again.
    Absolute,
    /// They are multiples: the first intent fixes how far they may ever go.
    Multiples,
    /// They are shares: what another step has changed is not taken a share of again.
    Shares,
}

/// What an action has to know of autoscalers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autoscalers {
    /// Nothing.
    Ignored,
    /// How many replicas those of its targets want: a change goes back when that is no more than before.
    Demand,
    /// Which of them scale its targets.
    Owners,
}

/// Where the targets of an action live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// In the namespaces that the policy says, if their kind lives in namespaces.
    Namespaces,
    /// In the cluster, and in no namespace.
    Cluster,
}

/// What says where the fields of an action are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    /// The profile of the kind.
    Profile,
    /// The profile of the kind; without one the scale subresource in its definition.
    ProfileOrScale,
}

/// What an action means for one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// These fields change.
    Change(Vec<FieldChange>),
    /// This is done to the object.
    Operate(Operation),
    /// The object already is as the action wants it.
    NothingToDo(String),
    /// The object must not be changed.
    Refused {
        /// In one word.
        reason: Reason,
        /// For people: what is wrong and what to do.
        message: String,
    },
}

impl Action {
    /// The objects that it is for.
    pub fn targets(&self) -> &Targets {
        self.kind().targets()
    }

    /// What the protocol has to know of it.
    pub fn descriptor(&self) -> Descriptor {
        self.kind().descriptor()
    }

    /// What it means for this object, see [`Kind::plan`].
    pub fn plan(&self, target: &Target, known: Option<&Change>) -> Plan {
        let plan = self.kind().plan(target, known);
        let restarts = matches!(plan, Plan::Change(_)) && target.slots.metadata_propagates;
        match self.descriptor().pods {
            Pods::Leaves if restarts => edit::refused(
                Reason::RestartsPods,
                format!(
                    "labels and annotations of the {} propagate to its pods, so the undo record alone would \
                     restart them; set allowRestart: true to accept that",
                    target.id.kind
                ),
            ),
            Pods::Replaces | Pods::MayRestart | Pods::Leaves => plan,
        }
    }

    /// When it changes this object, for a policy in the namespace `own`.
    pub fn stage_of(&self, target: &TargetId, own: &str) -> Stage {
        let before = self.kind().before().iter().position(|named| named.object.names(target, own));
        before.map_or(Stage::Targets, Stage::Before)
    }
}
