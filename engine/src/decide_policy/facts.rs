//! What was observed about one policy. Nothing in it is derived.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::state::PolicyState;
use crate::alerts::ReceivedAlerts;
use crate::expected::ExpectRequest;
use crate::facts::Reading;
use crate::incident::Closing;
use crate::period::after;
use crate::rules::Limits;

/// How long Firebreak does not try again to create a rejected Incident.
const REFUSED_FOR: SignedDuration = SignedDuration::from_secs(30);

/// Everything that a decision about a policy is based on.
#[derive(Clone, Debug)]
pub struct PolicyFacts {
    /// The name of the policy.
    pub name: String,
    /// Its uid: a policy that is deleted and created again has the same name and another uid.
    pub uid: String,
    /// Its guardrails, whatever else is wrong with it.
    pub limits: Limits,
    /// When it was created; none if that does not matter.
    pub created_at: Option<Timestamp>,
    /// Its recorded state; none if no controller has picked it up since it was created.
    pub state: Option<PolicyState>,
    /// What is wrong with it; empty if it is Accepted.
    pub faults: Vec<String>,
    /// What its ServiceAccount may do.
    pub access: Access,
    /// What people must know although the policy is Accepted; empty if there is nothing.
    pub warning: String,
    /// Objects that signals cannot read, so that no field counts them, as `signal: what`.
    pub uncounted: Vec<String>,
    /// Objects that signals count as `unknown`, because their health cannot be told, by signal.
    pub unjudged: BTreeMap<String, String>,
    /// The readings of the signals.
    pub signals: BTreeMap<String, Reading>,
    /// The alerts that Alertmanager has sent, which the readings of their signals count: what is recorded, and what is new.
    pub alerts: Vec<ReceivedAlerts>,
    /// The clocks of the rules cannot be trusted, because nobody watched for too long.
    pub clocks_broken: bool,
    /// When this process began to watch; none if that does not matter.
    pub began: Option<Timestamp>,
    /// How long nobody had watched when this process began; zero once that is recorded.
    pub unwatched: SignedDuration,
    /// What people expect of signals, by the name of the signal.
    pub asked: BTreeMap<String, ExpectRequest>,
    /// Its Incidents that are not closed, as last seen.
    pub open: Vec<IncidentFact>,
    /// The results of the live reads so far.
    pub reads: PolicyReads,
    /// The outcome of creating the last Incident.
    pub creation: Option<Creation>,
    /// The last Incident that the API server rejected.
    pub refusal: Option<Refusal>,
    /// A text that was never used before.
    pub nonce: String,
}

impl PolicyFacts {
    /// The facts about a policy before anything is observed.
    pub fn new(name: impl Into<String>, limits: Limits) -> Self {
        Self {
            name: name.into(),
            uid: String::new(),
            created_at: None,
            limits,
            state: None,
            faults: Vec::new(),
            access: Access::default(),
            warning: String::new(),
            uncounted: Vec::new(),
            unjudged: BTreeMap::new(),
            signals: BTreeMap::new(),
            alerts: Vec::new(),
            clocks_broken: false,
            began: None,
            unwatched: SignedDuration::ZERO,
            asked: BTreeMap::new(),
            open: Vec::new(),
            reads: PolicyReads::default(),
            creation: None,
            refusal: None,
            nonce: String::new(),
        }
    }
}

/// What is known about the permissions of a ServiceAccount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// The API server was not asked, or gave no answer.
    #[default]
    NotAsked,
    /// It gave no answer, for this reason.
    Unknown(String),
    /// Nothing is missing.
    Complete,
    /// These are missing.
    Lacking(String),
}

/// One Incident, as far as its policy asks about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentFact {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The nonce under which it was announced; a person's has none.
    pub nonce: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Whether it has ever had the claim of its policy: only then is the policy recorded in its state.
    pub had_claim: bool,
    /// The uid of the policy that it knows: the one under which it last had the claim, or the one that it waits for.
    pub knows: Option<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Why it is or was closed.
    pub closing: Option<Closing>,
    /// When it was closed.
    pub resolved_at: Option<Timestamp>,
    /// Whether a change of it is in force.
    pub in_force: bool,
}

impl IncidentFact {
    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.resolved_at.is_some()
    }

    /// Whether it is one of those of which one gets a claim that nobody has. One that had the claim gets it though it
    /// is being deleted, because its changes are in force until it is closed.
    pub fn may_claim(&self) -> bool {
        !self.is_closed() && (self.had_claim || self.nonce.is_none() && !self.deleting)
    }

    /// Whether it knows another policy than the one with this uid. What a watch has shown of the latter may be from
    /// before the former was created, so that only a live read counts.
    pub fn knows_another(&self, policy: &str) -> bool {
        self.knows.as_ref().is_some_and(|known| known != policy)
    }

    /// Whether it may be about to act for the first time, by a view of a policy that was deleted before the one with
    /// this uid was created. To delete the Incident moves its version, and after that it starts nothing.
    pub fn is_unaware_of(&self, policy: &str) -> bool {
        !self.is_closed() && !self.deleting && !self.had_claim && self.knows.as_deref() != Some(policy)
    }

    /// Whether it is the Incident that was announced with this name and nonce.
    pub fn is_announced_as(&self, name: &str, nonce: &str) -> bool {
        self.name == name && self.nonce.as_deref() == Some(nonce)
    }
}

/// A live read that a decision about a policy needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyLook {
    /// The Incident of this name.
    Incident(String),
    /// All Incidents of the policy.
    Incidents,
}

/// The results of live reads. They count for one decision and its repetitions, up to the next record.
#[derive(Clone, Debug, Default)]
pub struct PolicyReads {
    /// Incidents by name; none if there is no Incident of this name.
    pub incidents: BTreeMap<String, Option<IncidentFact>>,
    /// All Incidents of the policy, including closed ones.
    pub all: Option<Vec<IncidentFact>>,
}

/// The outcome of creating an Incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It was created.
    Created(IncidentFact),
    /// An Incident of this name exists.
    AlreadyExists,
    /// The API server rejected it, and did nothing.
    Refused,
}

/// A rejection of an Incident by the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When.
    pub at: Timestamp,
    /// For people.
    pub why: String,
}

impl Refusal {
    /// Until when Firebreak does not try again.
    pub fn until(&self) -> Timestamp {
        after(self.at, REFUSED_FOR)
    }

    /// Whether it is too early to try again.
    pub fn stands_at(&self, now: Timestamp) -> bool {
        self.until() > now
    }
}
