//! An API server with one policy and its Incidents, and what must be true of them whatever the controllers do.
//!
//! The policy may be deleted and created again. What its new controller knows of the responses before is what the
//! Incidents tell that still exist, so that the guardrails count no others.

use std::collections::{BTreeMap, BTreeSet};

use firebreak_engine::decide_policy::{Claim, Creation, IncidentFact, NewIncident, PolicyState};
use firebreak_engine::incident::Closing;
use firebreak_engine::verdict::Verdict;
use jiff::Timestamp;

use super::{COOLDOWN, MOST, PER};

/// One Incident.
pub struct Incident {
    pub name: String,
    pub uid: String,
    pub nonce: Option<String>,
    pub created_at: Timestamp,
    /// Every version that was ever stored.
    pub versions: Vec<Stage>,
    pub gone: bool,
    /// No policy knows of its response: it was gone when a new one first looked.
    forgotten: bool,
    /// As the policy counts it: since its announcement, or its creation for a policy that was created later.
    begun: Option<Timestamp>,
}

/// How far an Incident has come, and what people want of it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Stage {
    pub has_status: bool,
    pub deleting: bool,
    /// The decisions of a person.
    pub asked: Option<Closing>,
    /// The policy that it knows.
    pub knows: Option<usize>,
    pub had_claim: bool,
    pub acted: bool,
    pub closing: Option<Closing>,
    pub resolved_at: Option<Timestamp>,
}

impl Stage {
    /// Whether a person has ended it, and how.
    pub fn ends(self) -> Option<Closing> {
        self.asked.or(self.deleting.then_some(Closing::Deleted))
    }
}

/// A policy as it is stored.
#[derive(Clone, PartialEq)]
pub struct Policy {
    pub number: usize,
    /// None: no controller has looked at it.
    pub state: Option<PolicyState>,
}

impl Policy {
    pub fn uid(&self) -> String {
        uid_of(self.number)
    }
}

fn uid_of(policy: usize) -> String {
    format!("policy-{policy}")
}

impl Incident {
    pub fn stage(&self) -> Stage {
        self.versions[self.versions.len() - 1]
    }

    /// The knowledge of a reader of this version.
    pub fn fact(&self, version: usize) -> IncidentFact {
        let stage = self.versions[version];
        IncidentFact {
            name: self.name.clone(),
            uid: self.uid.clone(),
            nonce: self.nonce.clone(),
            created_at: self.created_at,
            had_claim: stage.had_claim,
            knows: stage.knows.map(uid_of),
            deleting: stage.deleting,
            closing: stage.closing,
            resolved_at: stage.resolved_at,
            in_force: false,
        }
    }

    pub fn live(&self) -> IncidentFact {
        self.fact(self.versions.len() - 1)
    }

    fn acts(&self) -> bool {
        let stage = self.stage();
        !self.gone && stage.acted && stage.resolved_at.is_none()
    }
}

/// The API server.
pub struct World {
    pub now: Timestamp,
    /// Every version of the policy that was ever stored; none while there is no policy.
    pub policies: Vec<Option<Policy>>,
    pub incidents: Vec<Incident>,
    pub ready: i64,
    /// When which Incident was announced, by its nonce.
    announced: BTreeMap<String, Timestamp>,
    /// How many policies there have been.
    created: usize,
    /// Rules that were ended by a person and have not been False since.
    waiting: BTreeSet<String>,
    /// Incidents whose claim was cleared.
    cleared: BTreeSet<String>,
    pub log: Vec<String>,
}

impl World {
    pub fn new() -> Self {
        Self {
            now: Timestamp::from_second(1_767_225_600).unwrap(),
            policies: vec![Some(Policy { number: 0, state: None })],
            incidents: Vec::new(),
            ready: 8,
            announced: BTreeMap::new(),
            created: 1,
            waiting: BTreeSet::new(),
            cleared: BTreeSet::new(),
            log: Vec::new(),
        }
    }

    pub fn note(&mut self, text: impl std::fmt::Display) {
        self.log.push(format!("{} {text}", self.now));
    }

    /// The policy as it is now.
    pub fn policy(&self) -> Option<&Policy> {
        self.policies[self.policies.len() - 1].as_ref()
    }

    fn state(&self) -> Option<&PolicyState> {
        self.policy()?.state.as_ref()
    }

    pub fn claim(&self) -> Claim<'_> {
        self.state().map_or(Claim::Vacant, PolicyState::claim)
    }

    pub fn delete_policy(&mut self) {
        self.note("the policy is deleted");
        self.policies.push(None);
    }

    pub fn create_policy(&mut self) {
        let number = self.created;
        self.created += 1;
        self.note(format!("{} is created", uid_of(number)));
        self.policies.push(Some(Policy { number, state: None }));
    }

    /// A person edits an Incident, or deletes it.
    pub fn edit(&mut self, at: usize, edit: impl FnOnce(&mut Stage)) {
        let incident = &mut self.incidents[at];
        let mut stage = incident.stage();
        edit(&mut stage);
        // One without a finalizer is gone at once.
        incident.gone |= stage.deleting && incident.nonce.is_none() && !stage.acted;
        incident.versions.push(stage);
        let told = format!("a person wants of {}: {:?}", self.incidents[at].uid, stage.ends());
        self.note(told);
    }

    /// The Incident that has this name now.
    pub fn find(&self, name: &str) -> Option<&Incident> {
        self.incidents.iter().find(|incident| !incident.gone && incident.name == name)
    }

    pub fn all(&self) -> Vec<IncidentFact> {
        self.incidents.iter().filter(|incident| !incident.gone).map(Incident::live).collect()
    }

    /// A POST of an Incident.
    pub fn create(&mut self, name: &str, nonce: Option<&str>) -> Creation {
        if self.find(name).is_some() {
            return Creation::AlreadyExists;
        }
        let is_announced = nonce.is_none_or(|nonce| self.announced.contains_key(nonce));
        assert!(is_announced, "an Incident is created before its announcement is recorded");
        let incident = Incident {
            name: name.to_owned(),
            uid: format!("uid-{}", self.incidents.len()),
            nonce: nonce.map(str::to_owned),
            created_at: self.now,
            versions: vec![Stage::default()],
            gone: false,
            forgotten: false,
            begun: nonce.and_then(|nonce| self.announced.get(nonce)).copied(),
        };
        self.note(format!("{} {name} is created, nonce {nonce:?}", incident.uid));
        let fact = incident.live();
        self.incidents.push(incident);
        Creation::Created(fact)
    }

    /// A PUT of the policy's status, guarded by the version that the decision was based on.
    pub fn record(&mut self, view: usize, next: &PolicyState) -> bool {
        let Some(policy) = self.policies[view].clone() else { return false };
        if policy.state.as_ref() == Some(next) {
            return true; // equal: skipped
        }
        if view + 1 != self.policies.len() {
            return false;
        }
        self.note(format!("{}: {:?} waits for {:?}", policy.uid(), next.claim(), next.waiting_for));
        self.policies.push(Some(Policy { state: Some(next.clone()), ..policy }));
        if policy.state.is_none() {
            self.recall();
        }
        self.check_the_claim(&policy.state.unwrap_or_default(), next);
        self.check_the_holder();
        true
    }

    /// A new policy knows what the Incidents tell that still exist.
    fn recall(&mut self) {
        self.waiting.clear();
        for incident in &mut self.incidents {
            incident.forgotten |= incident.gone;
            incident.begun = incident.begun.map(|_| incident.created_at);
        }
    }

    /// What a recorded change of the claim must never do.
    fn check_the_claim(&mut self, before: &PolicyState, next: &PolicyState) {
        for rule in next.rules.iter().filter(|rule| rule.truth == Verdict::False && !rule.holds) {
            self.waiting.remove(&rule.reason);
        }
        if let (Claim::Bound { uid, .. }, Claim::Vacant) = (before.claim(), next.claim()) {
            let incident = self.incidents.iter().find(|incident| incident.uid == uid).unwrap();
            let stage = incident.stage();
            assert!(incident.gone || stage.resolved_at.is_some(), "the claim of an open Incident is cleared");
            let is_seen = !incident.gone;
            let is_first = self.cleared.insert(uid.to_owned());
            if is_first && is_seen && stage.closing != Some(Closing::Recovered) {
                let held = next.rules.iter().filter(|rule| rule.holds);
                self.waiting.extend(held.map(|rule| rule.reason.clone()));
            }
        }
        if let Claim::Bound { uid, .. } = next.claim() {
            let named = next.active_incident.as_ref().and_then(|active| active.nonce.as_ref());
            let incident = self.incidents.iter().find(|incident| incident.uid == uid);
            let is_it = named.is_none() || incident.is_some_and(|incident| incident.nonce.as_ref() == named);
            assert!(is_it, "the claim is bound to {uid}, which was not announced with {named:?}");
        }
        if let (Claim::Vacant, Claim::Announced { nonce, .. }) = (before.claim(), next.claim()) {
            self.announced.insert(nonce.to_owned(), self.now);
            for ended in self.incidents.iter().filter(|one| one.stage().had_claim && !one.forgotten) {
                let end = ended.stage().resolved_at;
                let is_early = end.is_some_and(|end| self.now.duration_since(end) < COOLDOWN);
                assert!(!is_early, "an Incident is announced within the cooldown of {}", ended.uid);
            }
        }
    }

    /// A rule asks for an Incident.
    pub fn check_the_opening(&self, new: &NewIncident) {
        let rule = new.summary.split(':').next().unwrap_or_default();
        assert!(!self.waiting.contains(rule), "an Incident is opened for {rule}, which waits for False");
    }

    /// A PUT of an Incident's status, guarded likewise.
    pub fn step(&mut self, at: usize, version: usize, next: Stage) -> bool {
        let incident = &mut self.incidents[at];
        if incident.gone || incident.versions.len() != version + 1 {
            return false;
        }
        if incident.stage() == next {
            return true; // equal: skipped
        }
        incident.versions.push(next);
        let told = format!("{}: acted {}, closing {:?}, ", incident.uid, next.acted, next.closing);
        self.note(format!("{told}closed {}, knows {:?}", next.resolved_at.is_some(), next.knows));
        self.check_the_acts(at);
        self.check_the_holder();
        true
    }

    /// An Incident that acts has the claim, once a controller has looked at the policy.
    fn check_the_holder(&self) {
        let Some(claim) = self.state().map(PolicyState::claim) else { return };
        for one in self.incidents.iter().filter(|one| one.acts()) {
            let has_claim = match claim {
                Claim::Vacant => false,
                Claim::Bound { uid, .. } => one.uid == uid,
                Claim::Announced { nonce, .. } | Claim::Revoked { nonce, .. } => {
                    one.nonce.as_deref() == Some(nonce)
                }
            };
            assert!(has_claim, "{} acts without the claim, which is {claim:?}", one.uid);
        }
    }

    /// At most one Incident acts, and no more than the guardrail allows.
    fn check_the_acts(&self, at: usize) {
        let acting: Vec<&str> =
            self.incidents.iter().filter(|one| one.acts()).map(|one| one.uid.as_str()).collect();
        assert!(acting.len() <= 1, "two open Incidents act: {acting:?}");
        let Some(own) = self.incidents[at].begun else { return };
        let acted = self.incidents.iter().filter(|one| one.stage().acted && !one.forgotten);
        let recent = acted.filter_map(|one| one.begun);
        let recent = recent.filter(|other| *other <= own && own.duration_since(*other) < PER).count();
        assert!(recent <= MOST, "{recent} automatic responses act within maxIncidents.per");
    }
}
