//! What was observed. Nothing in it is derived.

mod look;
mod target;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

pub use self::look::{
    Brake, Holder, Listing, ListingRead, Look, Looked, Looks, NamespaceRead, ObjectRead, OwnLook,
};
pub use self::target::{
    About, Absent, Container, Demand, Doubt, Obstacle, OwnedBy, Part, Purpose, Revision, Role, Runs,
    ScaleDown, ScaledBy, Slot, Slots, Stage, Target, Wanted,
};
use crate::common::Census;
use crate::effect::EffectId;
use crate::expected::Expected;
use crate::expression::FieldValue;
use crate::id::IncidentId;
use crate::incident::{IncidentState, ReportStatus, RuleStatus};
use crate::intent::PersonIntent;
use crate::response::RecentResponse;

/// The reading of one signal.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// It has values.
    Known {
        /// The fields of the signal's kind, except those that the engine adds.
        values: BTreeMap<String, FieldValue>,
    },
    /// It has none.
    Unknown {
        /// The reason in one word, such as `Forbidden`.
        reason: String,
        /// For people: what is missing, and what to do.
        detail: String,
    },
}

impl Reading {
    /// The reason of a signal that was not read yet. It needs no action.
    pub const NOT_SYNCED: &'static str = "NotSynced";

    /// Whether nobody has read the signal yet.
    pub fn is_not_read_yet(&self) -> bool {
        matches!(self, Self::Unknown { reason, .. } if reason == Self::NOT_SYNCED)
    }
}

/// Everything that a decision about an Incident is based on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Which Incident.
    pub incident: IncidentId,
    /// Its state as recorded.
    pub state: IncidentState,
    /// What a person has decided.
    pub intent: PersonIntent,
    /// The policy, as far as it can be used.
    pub policy: PolicyFact,
    /// The readings of the signals.
    pub signals: BTreeMap<String, Reading>,
    /// The objects of the signals by their labels, of those signals of which labels are known.
    pub censuses: BTreeMap<String, Census>,
    /// The expected numbers of the signals, as the policy has recorded them.
    pub expected: Vec<Expected>,
    /// When this process began to watch; none if that does not matter.
    pub began: Option<Timestamp>,
    /// The rules as the policy's status has them: the clocks of a new Incident continue from there.
    pub policy_rules: Vec<RuleStatus>,
    /// The clocks of the rules cannot be trusted, because nobody watched for too long.
    pub clocks_broken: bool,
    /// How long ago the targets of each step were last listed.
    pub listing_age: BTreeMap<String, SignedDuration>,
    /// How long the live reads of the last decision took. A slow server is read less often.
    pub reads_took: SignedDuration,
    /// The results of the live reads so far.
    pub looked: Looked,
    /// The outcomes of the effects of the last decision.
    pub outcomes: BTreeMap<EffectId, Outcome>,
    /// The outcome of writing the report.
    pub report: Option<ReportStatus>,
}

impl Facts {
    /// The facts about an Incident before anything is read.
    pub fn new(incident: IncidentId, policy: PolicyFact) -> Self {
        Self {
            incident,
            policy,
            state: IncidentState::default(),
            intent: PersonIntent::default(),
            signals: BTreeMap::new(),
            censuses: BTreeMap::new(),
            expected: Vec::new(),
            began: None,
            policy_rules: Vec::new(),
            clocks_broken: false,
            listing_age: BTreeMap::new(),
            reads_took: SignedDuration::ZERO,
            looked: Looked::default(),
            outcomes: BTreeMap::new(),
            report: None,
        }
    }
}

/// The policy of an Incident, as far as it can be used now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyFact {
    /// It exists, is Accepted, and its claim names this Incident.
    Usable {
        /// Uid.
        uid: String,
        /// Name.
        name: String,
        /// Generation.
        generation: i64,
        /// The ServiceAccount that the policy names.
        service_account: String,
        /// The recent responses of the policy, including this one.
        responses: Vec<RecentResponse>,
    },
    /// It is deleted, suspended, not Accepted, or in Observe with changes in force.
    Unavailable {
        /// For people.
        why: String,
    },
    /// The Incident names no policy, and no rule of any policy in its namespace holds.
    NotChosen {
        /// For people.
        why: String,
    },
    /// Its claim names another Incident.
    Claimed {
        /// The Incident that has the claim, empty if there is none.
        by: String,
        /// Whether the controller created this Incident for a claim that is lost.
        superseded: bool,
    },
}

/// The outcome of one effect.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// 200, with the object as it is now.
    Done(Arc<Value>),
    /// 400, 403, 404, 422: the server rejects it.
    Refused {
        /// The status code.
        code: u16,
        /// The message of the server.
        why: String,
        /// The fields that the server named.
        fields: Vec<String>,
    },
    /// 409: another write came first. Try again.
    Conflict,
    /// 429: try again later.
    Throttled {
        /// Retry-After.
        after: Option<SignedDuration>,
    },
    /// 409 AlreadyExists, with the object that has the name.
    Exists(Arc<Value>),
    /// The request was never sent: the brake was engaged, or a person has decided otherwise.
    NotSent,
    /// Anything else: the write may or may not have been applied.
    Unclear {
        /// For people.
        why: String,
    },
}

impl Outcome {
    /// The name, for logs. The objects themselves are never logged.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done(_) => "Done",
            Self::Refused { .. } => "Refused",
            Self::Conflict => "Conflict",
            Self::Throttled { .. } => "Throttled",
            Self::Exists(_) => "Exists",
            Self::NotSent => "NotSent",
            Self::Unclear { .. } => "Unclear",
        }
    }
}

/// The known readings, in the shape of an expression's variables.
pub fn known(signals: &BTreeMap<String, Reading>) -> BTreeMap<String, BTreeMap<String, FieldValue>> {
    signals
        .iter()
        .filter_map(|(name, reading)| match reading {
            Reading::Known { values } => Some((name.clone(), values.clone())),
            Reading::Unknown { .. } => None,
        })
        .collect()
}

/// When something is due, with the moment of the decision to compare it to.
pub fn is_due(at: Option<Timestamp>, now: Timestamp) -> bool {
    at.is_none_or(|at| at <= now)
}
