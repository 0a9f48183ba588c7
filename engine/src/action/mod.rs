//! The actions of steps: the only list of them, and a file for each with how a policy writes it, how it is
//! parsed, what it changes in an object, and what the protocol must know about it.
//!
//! Everything else asks an action and matches on none. ARCHITECTURE.md says how one is added.

mod containers;
mod cordon_nodes;
mod cpu_fallback;
mod edit;
mod nodes;
mod raise_autoscaler_limit;
mod reduce_batch;
mod rollout_restart;
mod scale;
mod scheduler_fallback;
mod targets;
#[cfg(test)]
mod tests;
mod turns;

pub use self::containers::{
    AmountsSpec, ArgsSpec, ContainerEdit, ContainerSpec, ResourcesSpec, VariableSpec,
};
pub use self::cordon_nodes::{CordonNodes, CordonNodesSpec};
pub use self::cpu_fallback::{CpuFallback, CpuFallbackSpec, Placement, VISIBLE_DEVICES, shows_no_device};
pub use self::raise_autoscaler_limit::{RaiseAutoscalerLimit, RaiseAutoscalerLimitSpec};
pub use self::reduce_batch::{ReduceBatch, ReduceBatchSpec};
pub use self::rollout_restart::{RolloutRestart, RolloutRestartSpec};
pub use self::scale::{Scale, ScaleSpec};
pub use self::scheduler_fallback::{SchedulerFallback, SchedulerFallbackSpec};
pub use self::targets::Targets;
pub use self::turns::{LevelSpec, Turns};
use crate::change::{Change, FieldChange, Operation, OperationType};
use crate::facts::{About, Doubt, Stage, Target};
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
        /// Restarts workloads.
        "rolloutRestart" rollout_restart: RolloutRestart(RolloutRestartSpec),
        /// Cordon nodes.
        "cordonNodes" cordon_nodes: CordonNodes(CordonNodesSpec),
    }
}

/// What an action declares.
pub trait Kind {
    /// The objects that it is for.
    fn targets(&self) -> &Targets;

    /// The same, to be changed.
    fn targets_mut(&mut self) -> &mut Targets;

    /// What the protocol must know about it.
    fn descriptor(&self) -> Descriptor;

    /// The plan for this object. `known` is the entry of the object in the journal, if it has one. The values that
    /// its first intent allowed bind all later intents, so that a relative change never compounds.
    fn plan(&self, target: &Target, known: Option<&Change>) -> Plan;

    /// The objects that are changed before its targets, one stage each.
    fn before(&self) -> &[Named] {
        &[]
    }

    /// Whether it reads the nodes of the cluster before it changes some objects.
    fn reads_nodes(&self) -> bool {
        false
    }

    /// Whether the nodes of the cluster matter to the plan for this object.
    fn asks_for_nodes(&self, target: &Target) -> bool {
        let _ = target;
        false
    }

    /// What people must know about this object, because it may keep the change from having the effect that it is for.
    fn doubts(&self, target: &Target) -> Vec<Doubt> {
        let _ = target;
        Vec::new()
    }

    /// What its targets are moved away from. While a stage before the targets is in force for it, in whichever step,
    /// no target is moved back.
    fn moves_from(&self) -> Option<&str> {
        None
    }

    /// In which order it takes its targets; none: all at once.
    fn turns(&self) -> Option<&Turns> {
        None
    }

    /// How many of its targets it may change at once; none: no limit.
    fn limit(&self) -> Option<usize> {
        None
    }
}

/// An object that an action names and changes before its targets.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// The field that names it.
    pub field: &'static str,
    /// The object.
    pub object: ObjectRef,
}

/// What the protocol must know about an action, whatever it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What a step does to an object, and whether it can be undone.
    pub yields: Yields,
    /// What it does to the pods of its targets.
    pub pods: Pods,
    /// How its new values depend on the current ones.
    pub values: Values,
    /// What it must know about autoscalers.
    pub autoscalers: Autoscalers,
    /// The scope of its targets.
    pub reach: Reach,
    /// Where the paths of its fields come from.
    pub fields: Fields,
    /// What it does about the room that a rollout needs.
    pub room: Room,
    /// When its changes are reverted, unless the step sets it.
    pub revert: Revert,
}

/// Whether an action avoids the need for room for one more pod, when the new template rolls out and when the old one
/// returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Each new pod takes the place of an old one, because there may be no room for one more beside them. It may cost
    /// old pods that serve, so it is only for an action whose targets are not healthy.
    InPlace,
    /// The object says it.
    AsItIs,
}

/// What a step of this action does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yields {
    /// It lends the object other values.
    Loans,
    /// It does this, which cannot be undone.
    Operations(OperationType),
}

/// What an action does to the pods of its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pods {
    /// It changes their template: they restart, and a pod that never gets the change may have to be deleted.
    Replaces,
    /// It does not change them, but our metadata may restart them.
    MayRestart,
    /// It does not change them.
    Leaves,
}

impl Pods {
    /// For an action that does not restart pods unless the policy sets `allowRestart`.
    fn left_unless(allow_restart: bool) -> Self {
        if allow_restart { Self::MayRestart } else { Self::Leaves }
    }
}

/// How the new values of an action depend on the current ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Not at all: setting them twice is harmless.
    Absolute,
    /// They are multiples of the values before the first loan of the Incident, and never lower a value. The first intent
    /// fixes the highest value for all later ones.
    Multiples,
    /// They are percentages of the values before the first loan of the Incident, and never raise a value.
    Shares,
}

/// What an action must know about autoscalers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autoscalers {
    /// Nothing.
    Ignored,
    /// How many replicas the autoscalers of its targets want. A change is reverted when that is no more than before.
    Demand,
    /// Which of them scale its targets.
    Owners,
}

/// The scope of the targets of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The namespaces that the policy names, if the kind is namespaced.
    Namespaces,
    /// The cluster: the kind is cluster-scoped.
    Cluster,
}

/// Where the paths of the fields of an action come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    /// The profile of the kind.
    Profile,
    /// The profile of the kind. Without one, the scale subresource in its definition.
    ProfileOrScale,
}

/// The plan of an action for one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// These fields change.
    Change(Vec<FieldChange>),
    /// This is done to the object.
    Operate(Box<Operation>),
    /// The object already is as the action wants it.
    NothingToDo(String),
    /// The object must not be changed.
    Refused {
        /// The reason in one word.
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

    /// The same action for every object in its scope, whatever `where` says.
    #[must_use]
    pub fn for_all(mut self) -> Self {
        self.kind_mut().targets_mut().select_all();
        self
    }

    /// What the protocol must know about it.
    pub fn descriptor(&self) -> Descriptor {
        self.kind().descriptor()
    }

    /// The plan for this object, see [`Kind::plan`].
    pub fn plan(&self, target: &Target, known: Option<&Change>) -> Plan {
        let plan = self.kind().plan(target, known);
        if let Some(why) = self.keeps_its_pods(target).filter(|_| matches!(plan, Plan::Change(_))) {
            return edit::refused(Reason::NotApplicable, why.to_owned());
        }
        let plan = self.with_room(target, plan);
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

    /// What people must know about this object before it is changed, see [`Kind::doubts`]; for a change of its template
    /// also how its operator gives it new pods.
    pub fn doubts(&self, target: &Target) -> Vec<Doubt> {
        let is_template = self.descriptor().pods == Pods::Replaces && target.stage == Stage::Targets;
        let about_pods = |doubt: &&Doubt| is_template && doubt.about == About::NewPods;
        let doubts = target.slots.doubts.iter().filter(about_pods).cloned();
        doubts.chain(self.kind().doubts(target)).collect()
    }

    /// The plan, with the pace at which the new template rolls out.
    fn with_room(&self, target: &Target, plan: Plan) -> Plan {
        match (plan, self.descriptor().room, target.stage) {
            (Plan::Change(mut fields), Room::InPlace, Stage::Targets) => {
                fields.extend(edit::in_place(target));
                Plan::Change(fields)
            }
            (plan, Room::InPlace | Room::AsItIs, Stage::Targets | Stage::Before(_)) => plan,
        }
    }

    /// Why the pods of the object would not get a change of their template; none if they would, or if the action does
    /// not change it.
    fn keeps_its_pods<'t>(&self, target: &'t Target) -> Option<&'t str> {
        let is_template = self.descriptor().pods == Pods::Replaces && target.stage == Stage::Targets;
        target.rollout_paused.as_deref().filter(|_| is_template)
    }

    /// When it changes this object, for a policy in the namespace `own`.
    pub fn stage_of(&self, target: &TargetId, own: &str) -> Stage {
        let before = self.kind().before().iter().position(|named| named.object.names(target, own));
        before.map_or(Stage::Targets, Stage::Before)
    }
}
