//! What was observed, and nothing that was derived from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::effect::EffectId;
use crate::expression::FieldValue;
use crate::id::{ChangeId, IncidentId, ResourceVersion, TargetId};
use crate::incident::{IncidentState, RuleStatus};
use crate::intent::PersonIntent;
use crate::path::FieldPath;
use crate::pods::Pods;
use crate::response::RecentResponse;
use crate::verdict::Verdict;

/// What one signal says.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// It has values.
    Known {
        /// The fields of the signal's kind, but `expected` and `missing`, which the engine adds.
        values: BTreeMap<String, FieldValue>,
    },
    /// It has none.
    Unknown {
        /// In one word, such as `Forbidden`.
        reason: String,
        /// For people: what is missing and what to do.
        detail: String,
    },
}

/// Everything that a decision about an Incident starts from.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Which Incident.
    pub incident: IncidentId,
    /// Its state as recorded.
    pub state: IncidentState,
    /// What a person wants.
    pub intent: PersonIntent,
    /// The policy, as far as it can be used.
    pub policy: PolicyFact,
    /// What the signals say.
    pub signals: BTreeMap<String, Reading>,
    /// The value of `expected` before the trouble, per signal.
    pub baselines: BTreeMap<String, i64>,
    /// The rules as the policy's status has them: the clocks of a new Incident go on from there.
    pub policy_rules: Vec<RuleStatus>,
    /// The clocks of the rules cannot be trusted: too long nobody watched.
    pub clocks_broken: bool,
    /// How long ago the targets of each step were last listed.
    pub listing_age: BTreeMap<String, SignedDuration>,
    /// How long the live reads of the last decision took: a server that is slow is asked less often.
    pub reads_took: SignedDuration,
    /// The live reads that were asked for so far.
    pub looked: BTreeMap<Look, LookResult>,
    /// What became of the effects of the last decision.
    pub outcomes: BTreeMap<EffectId, Outcome>,
    /// What became of the report.
    pub report: Option<Result<String, String>>,
}

impl Facts {
    /// What is known of an Incident of which nothing has been read yet.
    pub fn new(incident: IncidentId, policy: PolicyFact) -> Self {
        Self {
            incident,
            policy,
            state: IncidentState::default(),
            intent: PersonIntent::default(),
            signals: BTreeMap::new(),
            baselines: BTreeMap::new(),
            policy_rules: Vec::new(),
            clocks_broken: false,
            listing_age: BTreeMap::new(),
            reads_took: SignedDuration::ZERO,
            looked: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            report: None,
        }
    }
}

/// The policy of an Incident, as far as it can be used now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyFact {
    /// It is there, Accepted, and its claim names this Incident.
    Usable {
        /// Uid.
        uid: String,
        /// Name.
        name: String,
        /// Generation.
        generation: i64,
        /// The ServiceAccount that it names.
        service_account: String,
        /// The responses that it has had lately, this one among them.
        responses: Vec<RecentResponse>,
    },
    /// It is gone, suspended, not Accepted, or in Observe with changes in force.
    Unavailable {
        /// For people.
        why: String,
    },
    /// The Incident names none, and no rule of any policy beside it holds.
    NotChosen {
        /// For people.
        why: String,
    },
    /// Its claim names another Incident.
    Claimed {
        /// The Incident that has the claim, empty if there is none.
        by: String,
        /// Whether this Incident was made by the controller for a claim that is lost.
        superseded: bool,
    },
}

/// A live read that a decision needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Look {
    /// List what the targets of this step describe now.
    Step(String),
    /// Read this object.
    Object(TargetId),
    /// Read, with the operator's own rights, the Incident of another loan: `namespace/name/uid`.
    Holder(String),
    /// Read whether the brake is engaged.
    Brake,
    /// Read whether the Incident's own namespace is being deleted.
    Namespace,
}

impl Look {
    /// Whether it is the operator's own to read, and not the ServiceAccount's.
    pub fn is_own(&self) -> bool {
        match self {
            Self::Holder(_) | Self::Brake | Self::Namespace => true,
            Self::Step(_) | Self::Object(_) => false,
        }
    }
}

/// Whether responses may write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Brake {
    /// They may.
    #[default]
    Off,
    /// None may start another write; only what a person asks to be put back goes back.
    Engaged {
        /// For people: that it is, or why it counts as engaged.
        why: String,
    },
}

/// What the targets of a step describe now.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The objects that `where` wants or that cannot be told, and those the step has changed already.
    pub targets: Vec<Target>,
    /// How many objects names, selector and namespaces describe, whatever `where` says.
    pub scope: usize,
}

/// What became of an Incident that has a loan on an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// It is open, so the object is its own.
    Open,
    /// It is closed, and lists these loans as ended.
    Over {
        /// They are dead.
        ended: BTreeSet<ChangeId>,
    },
    /// There is no such Incident, or another one has its name.
    Gone,
    /// It cannot be read, so it counts as open; for people.
    Unknown(String),
}

/// What was read with the operator's own rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Own {
    /// What became of the Incident of another loan.
    Holder(Holder),
    /// Whether responses may write.
    Brake(Brake),
    /// The Incident's own namespace.
    Namespace {
        /// Whether it is being deleted.
        terminating: bool,
    },
}

/// What a live read showed.
#[derive(Clone, Debug)]
pub enum LookResult {
    /// The objects of a step.
    Listed(Listing),
    /// The object.
    Found(Box<Target>),
    /// What only the operator itself can tell.
    Own(Own),
    /// There is no such object any more.
    Gone,
    /// The answer was no (401, 403, unknown kind): rights or a CRD are missing.
    Refused {
        /// For people.
        why: String,
    },
    /// There was no answer that says anything.
    Failed {
        /// For people.
        why: String,
    },
}

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
    /// What the step does with it.
    pub part: Part,
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

/// What a step does with one of the objects that were listed for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// Its action.
    #[default]
    Target,
    /// It is the broken scheduler: scaled to 0 before the others are changed.
    Retired,
}

/// How many replicas an autoscaler wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Demand {
    /// Nobody asked, or it has no autoscaler.
    #[default]
    None,
    /// So many.
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
    /// Labels and annotations of the object reach its pods, so every write of ours starts them anew.
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

/// What became of one effect.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// 200, with the object as it is now.
    Done(Arc<Value>),
    /// 400, 403, 404, 422: the server says no.
    Refused {
        /// The code.
        code: u16,
        /// What it said.
        why: String,
        /// The fields it named.
        fields: Vec<String>,
    },
    /// 409 or 429: try again.
    Later {
        /// Whether another write came first (409).
        conflict: bool,
        /// Retry-After.
        after: Option<SignedDuration>,
    },
    /// Anything else: it may have been applied or not.
    Unclear {
        /// For people.
        why: String,
    },
}

impl Outcome {
    /// The name, for logs: the objects themselves never go there.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done(_) => "Done",
            Self::Refused { .. } => "Refused",
            Self::Later { .. } => "Later",
            Self::Unclear { .. } => "Unclear",
        }
    }
}

/// The readings that are known, in the shape of an expression's variables.
pub fn known(signals: &BTreeMap<String, Reading>) -> BTreeMap<String, BTreeMap<String, FieldValue>> {
    signals
        .iter()
        .filter_map(|(name, reading)| match reading {
            Reading::Known { values } => Some((name.clone(), values.clone())),
            Reading::Unknown { .. } => None,
        })
        .collect()
}

/// A set of live reads.
pub type Looks = BTreeSet<Look>;

/// When something is due, with the moment of the decision to compare it to.
pub fn is_due(at: Option<Timestamp>, now: Timestamp) -> bool {
    at.is_none_or(|at| at <= now)
}
