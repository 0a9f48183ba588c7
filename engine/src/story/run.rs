//! Plays a story: both controllers in miniature, moment after moment.

mod deeds;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::means::{Accept, Means};
use super::sense;
use super::server::merge;
use super::world::{Controller, Translate, World, incident, usable};
use super::{Deed, Fate, Moment, Story};
use crate::decide_policy::{
    Access, Creation, IncidentFact, NewIncident, PolicyDecision, PolicyFacts, PolicyLook, decide_policy,
};
use crate::expected::ExpectRequest;
use crate::facts::{Brake, Holder, PolicyFact};
use crate::id::IncidentId;
use crate::incident::IncidentState;
use crate::intent::{PersonIntent, Response};
use crate::period::after;
use crate::policy::PolicySpec;
use crate::rules::{Limits, Rules};
use crate::severity::earliest;

/// If the controllers do not settle within this many rounds of one moment, something is wrong.
const ROUNDS: usize = 2000;
/// If there are more decisions than this about the policy in one turn, something is wrong.
const POLICY_ROUNDS: usize = 10;
/// The user who changes and creates objects.
const SOMEBODY: &str = "somebody/Update";
const CREATOR: &str = "gitops/Apply";

/// The state of a story while it is played.
pub(super) struct Stage {
    pub world: World,
    /// There is an Incident, open or closed.
    pub is_there: bool,
    /// Why the policy opens nothing although a rule is True.
    pub why_not: Option<String>,
    /// The fields because of which the policy is rejected.
    pub refused: Vec<String>,
    /// The entries of the timeline since the last moment.
    pub happened: Vec<String>,
    /// Writes that were sent since the last moment.
    pub writes: usize,
    controller: Controller,
    accept: Accept,
    /// The story expects a policy to be rejected.
    may_be_refused: bool,
    policy: Value,
    generation: i64,
    incidents: usize,
    object: Value,
    /// How the Incident was opened.
    beginning: Beginning,
    /// How long nobody watched, until the policy has recorded it.
    unwatched: SignedDuration,
    /// What a person expects of signals.
    asked: BTreeMap<String, ExpectRequest>,
}

/// How an Incident was opened.
#[derive(Default)]
struct Beginning {
    nonce: Option<String>,
    at: Timestamp,
}

/// Plays a story to its end.
///
/// # Errors
/// The expectations that are not met, with the moment.
pub fn play(story: &Story, translate: Translate) -> Result<(), String> {
    let (runs, hears) = (Rc::new(|_: &mut _, _: &_, _: &_| {}), Rc::new(|_: &_, _: &_, _: &_, _| {}));
    play_with(story, Means { translate, runs, accept: Rc::new(Rules::parse), hears })
}

/// Plays a story with other means than the engine's own.
///
/// # Errors
/// The expectations that are not met, with the moment.
pub fn play_with(story: &Story, means: Means) -> Result<(), String> {
    sense::check(story)?;
    let mut stage = Stage::new(story, means)?;
    let start = stage.world.now;
    for moment in &story.then {
        let told = |why: String| format!("{}, at {}: {why}", story.story, moment.at);
        stage.world.sent = 0;
        stage.happened.clear();
        stage.run_until(after(start, moment.at.length())).map_err(told)?;
        stage.happens(moment).map_err(told)?;
        stage.come_to_rest().map_err(told)?;
        stage.writes = stage.world.sent;
        let wrong = moment.expect.compare(&stage);
        if !wrong.is_empty() {
            return Err(told(wrong.join("; ")));
        }
    }
    Ok(())
}

impl Stage {
    fn new(story: &Story, Means { translate, runs, accept, hears }: Means) -> Result<Self, String> {
        let policy = serde_json::to_value(&story.policy).map_err(|error| error.to_string())?;
        let mut stage = Self {
            world: World::new(None, translate),
            is_there: false,
            why_not: None,
            refused: Vec::new(),
            happened: Vec::new(),
            writes: 0,
            controller: Controller::default(),
            accept,
            may_be_refused: story.then.iter().any(|moment| moment.expect.refused.is_some()),
            policy,
            generation: 0,
            incidents: 0,
            object: story.object.clone(),
            beginning: Beginning::default(),
            unwatched: SignedDuration::ZERO,
            asked: BTreeMap::new(),
        };
        stage.world.runs = runs;
        stage.world.hears = hears;
        stage.world.namespace.clone_from(&story.namespace);
        stage.accept()?;
        Ok(stage)
    }

    /// The current policy, checked as on admission.
    fn accept(&mut self) -> Result<(), String> {
        self.generation += 1;
        let spec: PolicySpec =
            serde_json::from_value(self.policy.clone()).map_err(|error| format!("policy: {error}"))?;
        let unavailable = |why: &str| PolicyFact::Unavailable { why: why.to_owned() };
        match (self.accept)(&spec) {
            Ok(rules) => {
                self.world.policy =
                    if rules.suspend { unavailable("it is suspended") } else { usable(self.generation) };
                self.world.rules = Some(rules);
                self.refused.clear();
            }
            Err(faults) if !self.may_be_refused => {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                return Err(format!("the policy is rejected: {}", faults.join("; ")));
            }
            Err(faults) => {
                self.refused = faults.into_iter().map(|fault| fault.field).collect();
                self.world.rules = None;
                self.world.policy = unavailable("it is not Accepted");
            }
        }
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.is_there && self.world.state().resolved_at.is_none()
    }

    /// Runs both controllers once. Returns when to run them again; none: at once.
    fn turn(&mut self) -> Result<Option<Timestamp>, String> {
        let never = Timestamp::MAX;
        if !self.is_open() {
            self.world.away = SignedDuration::ZERO;
        }
        let mut wake = self.policy_turn()?;
        if !self.is_open() {
            return Ok(Some(wake.unwrap_or(never)));
        }
        let (decision, again) = self.world.round(&mut self.controller)?;
        self.happened.extend(decision.happened.iter().map(|entry| entry.type_.clone()));
        if self.world.state().resolved_at.is_some() {
            if self.world.intent.deleting {
                self.is_there = false;
            }
            return Ok(None);
        }
        wake = earliest(wake, decision.wake_at);
        Ok(if again { None } else { Some(wake.unwrap_or(never)) })
    }

    /// Runs the controller of the policy until it settles. Returns when to run it again.
    fn policy_turn(&mut self) -> Result<Option<Timestamp>, String> {
        if matches!(self.world.policy, PolicyFact::Unavailable { .. }) {
            self.why_not = None;
            return Ok(None);
        }
        let mut creation = None;
        for _ in 0..POLICY_ROUNDS {
            let decision = self.decide_policy(creation.take());
            self.unwatched = SignedDuration::ZERO;
            self.why_not = decision.why;
            let is_calm = decision.create.is_none() && decision.next == self.world.policy_state;
            self.world.policy_state = decision.next;
            match decision.create {
                Some(new) => creation = Some(Creation::Created(self.create(&new))),
                None if is_calm => return Ok(decision.wake_at),
                None => {}
            }
        }
        Err("the policy never comes to rest".to_owned())
    }

    fn decide_policy(&self, creation: Option<Creation>) -> PolicyDecision {
        let rules = self.world.rules.as_ref();
        let limits = rules.map_or_else(|| Limits::of(&PolicySpec::default()), |rules| rules.limits.clone());
        let mut facts = PolicyFacts {
            state: Some(self.world.policy_state.clone()),
            access: Access::Complete,
            signals: self.world.signals.clone(),
            clocks_broken: self.unwatched > SignedDuration::ZERO,
            began: self.world.began,
            unwatched: self.unwatched,
            asked: self.asked.clone(),
            open: self.incident_fact().filter(|incident| !incident.is_closed()).into_iter().collect(),
            creation,
            nonce: format!("nonce-{}", self.incidents + 1),
            ..PolicyFacts::new("outage", limits)
        };
        loop {
            let decision = decide_policy(&facts, rules, self.world.now);
            match decision.look {
                None => return decision,
                Some(PolicyLook::Incidents) => {
                    facts.reads.all = Some(self.incident_fact().into_iter().collect())
                }
                Some(PolicyLook::Incident(name)) => {
                    let found = self.incident_fact().filter(|incident| incident.name == name);
                    facts.reads.incidents.insert(name, found);
                }
            }
        }
    }

    /// The Incident as the policy sees it.
    fn incident_fact(&self) -> Option<IncidentFact> {
        let state = self.world.state();
        self.is_there.then(|| IncidentFact {
            name: self.world.incident.name.clone(),
            uid: self.world.incident.uid.clone(),
            nonce: self.beginning.nonce.clone(),
            created_at: self.beginning.at,
            had_claim: state.had_claim(),
            knows: state.known_policy().map(str::to_owned),
            deleting: self.world.intent.deleting,
            closing: state.closing,
            resolved_at: state.resolved_at,
            in_force: state.in_force() > 0,
        })
    }

    /// What the API server does when the Incident of the policy is created.
    fn create(&mut self, new: &NewIncident) -> IncidentFact {
        self.open(Some(new.nonce.clone()), new.name.clone());
        IncidentFact {
            name: new.name.clone(),
            uid: self.world.incident.uid.clone(),
            nonce: Some(new.nonce.clone()),
            created_at: self.world.now,
            had_claim: false,
            knows: None,
            deleting: false,
            closing: None,
            resolved_at: None,
            in_force: false,
        }
    }

    /// An Incident: of the policy if it has a nonce, otherwise of a person.
    fn open(&mut self, nonce: Option<String>, name: String) {
        self.incidents += 1;
        self.is_there = true;
        let first = incident();
        // In the namespace of the policy, which a story need not name.
        let namespace = self.world.namespace.clone().unwrap_or(first.namespace);
        let uid = format!("incident-{}", self.incidents);
        self.world.incident = IncidentId { namespace, name, uid };
        self.beginning = Beginning { nonce, at: self.world.now };
        self.world.recorded = vec![IncidentState::default()];
        self.world.intent = PersonIntent { pinned: self.world.intent.pinned, ..PersonIntent::default() };
        self.controller = Controller::default();
    }

    fn run_until(&mut self, moment: Timestamp) -> Result<(), String> {
        while self.world.now < moment {
            let wake = self.come_to_rest()?;
            self.world.now = wake.min(moment);
        }
        Ok(())
    }

    fn come_to_rest(&mut self) -> Result<Timestamp, String> {
        for _ in 0..ROUNDS {
            if let Some(wake) = self.turn()? {
                if wake <= self.world.now {
                    return Err("it is woken again at once".to_owned());
                }
                return Ok(wake);
            }
        }
        Err("it never settles".to_owned())
    }

    fn happens(&mut self, moment: &Moment) -> Result<(), String> {
        for (name, value) in &moment.objects {
            self.object(name, value)?;
        }
        if let Some(namespaces) = &moment.exempt_namespaces {
            self.world.exempt = namespaces.iter().cloned().collect();
        }
        match &moment.policy {
            None => {}
            Some(Value::Null) => {
                self.world.policy = PolicyFact::Unavailable { why: "policy does not exist".to_owned() };
            }
            Some(patch) => {
                merge(&mut self.policy, patch);
                self.accept()?;
            }
        }
        self.read(moment)?;
        match moment.claimed_by.as_deref() {
            None => {}
            Some("") => self.world.policy = usable(self.generation),
            Some(by) => self.world.policy = PolicyFact::Claimed { by: by.to_owned(), superseded: false },
        }
        if let Some(faults) = &moment.faults {
            self.world.faults.clone_from(faults);
        }
        for (incident, fate) in &moment.incidents {
            let holder = match fate {
                Fate::Open => Holder::Open,
                Fate::Gone => Holder::Gone,
                Fate::Closed => Holder::Over { ended: BTreeSet::new() },
            };
            self.world.holders.insert(incident.clone(), holder);
        }
        if let Some(status) = &moment.settle {
            self.world.settle = Some(status.clone()).filter(|status| !status.is_null());
        }
        if let Some(why) = &moment.unreadable {
            self.world.unreadable = Some(why.clone()).filter(|why| !why.is_empty());
        }
        if let Some(why) = &moment.brake {
            let engaged = Brake::Engaged { why: why.clone() };
            self.world.brake = if why.is_empty() { Brake::Off } else { engaged };
        }
        self.world.terminating |= moment.terminating == Some(true);
        self.expect(moment);
        self.approve(moment)?;
        self.settle(moment)?;
        self.world.intent.pinned = moment.pinned.or(self.world.intent.pinned);
        for deed in &moment.person {
            match deed {
                Deed::Open => self.open(None, format!("by-hand-{}", self.incidents + 1)),
                Deed::Pause => self.world.intent.response = Response::Paused,
                Deed::Resume => self.world.intent.response = Response::Active,
                Deed::Withdraw => self.world.intent.response = Response::Withdrawn,
                Deed::Keep => self.world.intent.response = Response::Kept,
                Deed::Acknowledge => self.world.intent.acknowledged_by = Some("alice".to_owned()),
                Deed::Delete => self.world.intent.deleting = true,
                Deed::Abandon => self.world.intent.abandon = true,
                Deed::Restart => self.controller = Controller::default(),
            }
        }
        self.go_away(moment);
        Ok(())
    }
}
