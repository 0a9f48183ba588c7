//! One live object as it was read: what an action may change in it, and what prevents a change.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::id::{ChangeId, ResourceVersion, TargetId};
use crate::path::{FieldPath, Segment};
use crate::placement::{Node, Nodes, Place};
use crate::pods::Pods;
use crate::undo;
use crate::value::is_zero;
use crate::verdict::Verdict;

/// One live object, with what the profile of its kind finds in it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The object.
    pub id: TargetId,
    /// The version that was read.
    pub version: ResourceVersion,
    /// The whole object as the API server sent it.
    pub object: Arc<Value>,
    /// Whether the `where` of the step selects it.
    pub matched: Verdict,
    /// Why `where` is Unknown.
    pub match_problem: Option<String>,
    /// What the object was read for.
    pub purpose: Purpose,
    /// The object or its namespace is annotated as exempt. Not known of the namespace if it was only read to be watched.
    pub exempt: bool,
    /// Another object controls it and cannot be changed instead.
    pub owned_by: Option<OwnedBy>,
    /// The objects that the step selects and that this one owns. It is changed instead of them.
    pub resolved_from: Vec<TargetId>,
    /// In which stage the step changes it.
    pub stage: Stage,
    /// Why the object is stopped, parked or being deleted on purpose, for people; none if it is not. It is neither
    /// healthy nor unhealthy then.
    pub idle: Option<String>,
    /// Why its pods keep the template that they have, whatever is changed in it, for people, with what to do; none if
    /// they get a new one.
    pub rollout_paused: Option<String>,
    /// The fields that an action may change.
    pub slots: Slots,
    /// Whether the object has finished rolling out, and why not.
    pub rollout: (Verdict, String),
    /// Whether the object is healthy.
    pub healthy: Verdict,
    /// Since when the object says that it is not healthy; none if it is, or does not say.
    pub unhealthy_since: Option<Timestamp>,
    /// How many replicas its autoscaler wants. Read only for steps that raise its limit.
    pub demand: Demand,
    /// What else sets its number of replicas. Read only for steps that set it, and not of an object that was only
    /// read to be watched.
    pub scaled_by: ScaledBy,
    /// The nodes of the cluster. Read only where they matter to the plan.
    pub nodes: Nodes,
    /// Which restarts have their value in a revision of the object, although the object does not have it any more. Read only
    /// where the outcome of a restart depends on it.
    pub revision: Revision,
    /// How its pods get a change. Stuck pods are read only while a change of this Incident affects them.
    pub pods: Pods,
}

impl Target {
    /// Whether the object is healthy and has rolled out.
    pub fn is_well(&self) -> Verdict {
        self.healthy.and(self.rollout.0)
    }

    /// Why nobody can tell whether the `where` of the step selects it, for people.
    pub fn why_no_match(&self) -> String {
        self.match_problem.clone().unwrap_or_else(|| "where is Unknown".to_owned())
    }

    /// Why the object is off on purpose; none if it is not, or if a loan has scaled it to 0. Of an object that another
    /// one controls, only its owner shows that. A scheduler that a step retires before its targets is meant to be off.
    pub fn off_on_purpose(&self) -> Option<&str> {
        let is_own = self.owned_by.is_none() && self.stage == Stage::Targets;
        self.idle.as_deref().filter(|_| is_own && !self.is_scaled_to_0_by_a_loan())
    }

    /// Whether it is one of the objects of which a step may change a share: one that is not off on purpose, or that the
    /// step has changed.
    pub fn is_in_scope(&self) -> bool {
        let is_changed = self.purpose == Purpose::Watch;
        self.stage == Stage::Targets && (is_changed || self.off_on_purpose().is_none())
    }

    /// Whether its number of replicas is at this path.
    pub fn is_replicas(&self, path: &FieldPath) -> bool {
        self.slots.of(&Role::Replicas).any(|slot| slot.path == *path)
    }

    fn is_scaled_to_0_by_a_loan(&self) -> bool {
        let record = undo::record(&self.object).ok().flatten();
        let loans = record.iter().flat_map(|record| &record.loans);
        // Without the label, the record is a leftover and says nothing about the value.
        let mut fields =
            loans.filter(|loan| undo::is_labelled(&self.object, loan)).flat_map(|loan| &loan.fields);
        fields.any(|field| self.is_replicas(&field.path) && is_zero(field.after.as_ref()))
    }
}

/// What an object was read for. A step lists its targets again and again, and most of them are changed already, so
/// what only matters before a change is not read of those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To change it, if nothing prevents that.
    #[default]
    Change,
    /// To watch it: the change of the step is in force there.
    Watch,
}

/// What controls an object and would overwrite every change of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedBy {
    /// As `Kind/name`.
    pub owner: String,
    /// For people, after the name of the owner and a colon: why the owner is not changed instead.
    pub why: String,
}

impl fmt::Display for OwnedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} controls it: {}", self.owner, self.why)
    }
}

/// When a step changes one of its objects. An action goes through its stages in this order, and changes no object
/// before all objects of the earlier stages are changed. A revert uses the same order, because what the targets
/// return to has to be there first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Before the targets: the object with this number among those that the action names.
    Before(usize),
    /// The objects that the step is for.
    #[default]
    Targets,
}

/// How many replicas the autoscalers of an object want.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Demand {
    /// Nobody asked, or it has no autoscaler.
    #[default]
    None,
    /// What each of them wants. An object that serves in several roles has one for each.
    Wants(Vec<Wanted>),
    /// It cannot be read. The text is for people.
    Unknown(String),
}

/// What one autoscaler wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// This many replicas.
    pub replicas: i64,
    /// Its present limit, which shows the field that it was taken from; none if it does not show one.
    pub limit: Option<i64>,
    /// Whether it ever wants fewer.
    pub scale_down: ScaleDown,
}

/// Whether an autoscaler scales down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScaleDown {
    /// It does, when there is less to do.
    #[default]
    Enabled,
    /// It never does, until somebody edits it.
    Disabled,
}

impl ScaleDown {
    /// As a HorizontalPodAutoscaler says it in `spec.behavior`. KEDA writes that for a ScaledObject whose scale-in is paused.
    pub fn of(autoscaler: &Value) -> Self {
        let policy = autoscaler.pointer("/spec/behavior/scaleDown/selectPolicy");
        if policy.is_some_and(|policy| policy == "Disabled") { Self::Disabled } else { Self::Enabled }
    }
}

/// What the revisions of an object, which its controller creates from each template that it sees, say about values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Revision {
    /// Nobody asked, or its kind has no revisions that could be read.
    #[default]
    NotAsked,
    /// The changes whose value one of them has.
    Has(BTreeSet<ChangeId>),
    /// They cannot be read. The text is for people.
    Unknown(String),
}

/// What sets the number of replicas of an object, besides people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ScaledBy {
    /// Nobody.
    #[default]
    Nobody,
    /// This autoscaler, as `Kind/name`.
    Autoscaler(String),
    /// This object, as `Kind/name`, which runs the pods from the template of the object.
    Runner(String),
    /// It cannot be read. The text is for people.
    Unknown(String),
}

/// The fields that an action may change in one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slots {
    /// The fields.
    pub fields: Vec<Slot>,
    /// What pins the pods to accelerators and cannot be released.
    pub pins: Vec<String>,
    /// What requests accelerators for the pods and cannot be changed.
    pub fixed: Vec<String>,
    /// For people: what it requests of devices that Firebreak does not know, if it requests no accelerator.
    pub other_devices: Vec<String>,
    /// Roles for which the kind has no field, or whose field has a form in this object that must not be changed.
    pub obstacles: Vec<Obstacle>,
    /// Roles whose field nothing uses in this object, so that a change of it would have no effect.
    pub unused: Vec<Obstacle>,
    /// Labels and annotations of the object propagate to its pods, so every write of ours restarts them.
    pub metadata_propagates: bool,
    /// Where its pods may run.
    pub places: Vec<Place>,
    /// What a placement depends on, if it is a node.
    pub node: Option<Node>,
    /// Its containers.
    pub containers: Vec<Container>,
    /// What may keep a change from having the effect that it is for.
    pub doubts: Vec<Doubt>,
}

/// A container of an object, and where it may get flags that it does not have.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// What it belongs to.
    pub part: Part,
    /// Where it is.
    pub path: FieldPath,
    /// The list to which a new flag is appended, or why there is none, for people.
    pub new_flags: Result<&'static str, String>,
    /// Its variables that may hold further flags and are not read, for people.
    pub unread_variables: Vec<String>,
    /// The files that may hold further flags and are not read, for people.
    pub unread_files: Vec<String>,
    /// What it runs. Only of a model server is it known what a flag of one letter means.
    pub runs: Runs,
}

/// What a container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// A model server.
    ModelServer,
    /// A program that is not known.
    Unknown,
}

/// The part of an object that a container belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The model server.
    Server,
    /// A program beside it, such as one that transforms its requests.
    Beside,
}

impl Container {
    /// The path of a flag in one of its lists. The name of the flag was checked.
    pub fn flag(&self, list: &str, flag: &str) -> FieldPath {
        self.path.child(list).with(Segment::Flag(flag.to_owned()))
    }
}

/// What may keep a change from having the effect that it is for. It is no reason to leave the object alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Doubt {
    /// What it is about.
    pub about: About,
    /// For people: what it is, and what to do.
    pub why: String,
}

/// What a doubt is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// The image of this container.
    Image(String),
    /// A flag of a container.
    Flag {
        /// The container.
        container: String,
        /// The flag.
        flag: String,
    },
    /// The variable with which a container gets devices without requesting them.
    VisibleDevices(String),
    /// The runtime class with which containers get devices without requesting them, while it stays.
    RuntimeClass,
    /// What it requests beside accelerators, and only some nodes have.
    Devices,
    /// The queue that admits its pods.
    Queue,
    /// How its operator gives it new pods.
    NewPods,
    /// What its programs may ask for, which the object does not show.
    Program,
    /// The room for new pods, where another object sets their pace.
    Room,
    /// The nodes that match what stays of its placement.
    Placement,
}

impl Doubt {
    /// Whether only a name suggests it.
    pub fn is_a_guess(&self) -> bool {
        matches!(self.about, About::Image(_) | About::Flag { .. })
    }
}

impl Slots {
    /// The fields with this role.
    pub fn of<'a, 'r>(&'a self, role: &'r Role) -> impl Iterator<Item = &'a Slot> + use<'a, 'r> {
        self.fields.iter().filter(move |slot| slot.role == *role)
    }

    /// Whether the object does nothing but limit the replicas of others: it runs no pods of its own.
    pub fn is_only_a_limit(&self) -> bool {
        !self.fields.is_empty() && self.fields.iter().all(|slot| slot.role == Role::AutoscalerLimit)
    }
}

/// Why the field of a role cannot be changed in an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Obstacle {
    /// What the field means.
    pub role: Role,
    /// For people: the kind has none, or where the field is and what is wrong with it.
    pub why: String,
}

/// One field that an action may change.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// What the field means.
    pub role: Role,
    /// Where it is.
    pub path: FieldPath,
    /// Why the current value must not be changed: it is outside the bounds of the profile.
    pub out_of_bounds: Option<String>,
    /// What counts while the field is absent or 0; none if that is not known.
    pub absent: Option<Absent>,
}

/// What counts while a field is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// This number.
    Is(i64),
    /// A number that is not known, but is not lower than this.
    AtLeast(i64),
    /// No limit.
    Unlimited,
}

impl Slot {
    /// The number that counts while the field is absent; none if there is none, or if it is not known.
    pub fn number_if_absent(&self) -> Option<i64> {
        match self.absent? {
            Absent::Is(number) => Some(number),
            Absent::AtLeast(_) | Absent::Unlimited => None,
        }
    }
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
        /// The value without the accelerator part; none if the field is removed.
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
    /// What is written to restart its pods.
    Restart,
    /// How many pods a rolling update has at once, and the value with which each new pod takes the place of an old one.
    /// Only where the present value needs room beside the old ones.
    Pace {
        /// The value.
        in_place: Value,
    },
}

impl Role {
    /// Its name for people.
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
            Self::Restart => "restart",
            Self::Pace { .. } => "rolling update",
        }
    }
}
