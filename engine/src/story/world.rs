//! A small version of the production driver: observe, decide, look, record, act.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::check::{check_effects_are_recorded, check_person_is_told, difference};
use super::fault::Fault;
use super::pods;
use super::server::{Answer, Server, merge};
use crate::change::{Delivery, OperationType, Request};
use crate::common::Census;
use crate::decide::{Decision, decide};
use crate::decide_policy::PolicyState;
use crate::effect::{Effect, EffectId, Write};
use crate::expression::ObjectCondition;
use crate::facts::{Brake, Facts, Holder, Look, Looked, Outcome, PolicyFact, Reading, Target};
use crate::id::{ChangeId, IncidentId};
use crate::incident::{IncidentState, ReportStatus};
use crate::intent::PersonIntent;
use crate::rules::{Rules, Step};
use crate::undo;

/// The field manager of our writes.
pub const OURS: &str = "firebreak/Update";
/// How often a decision may request live reads.
pub const LOOKS: usize = 4;

/// The decision function; a mutant wraps the real one.
pub type Decide = fn(&Facts, Option<&Rules>, Timestamp) -> Decision;
/// What the profile of its kind finds in an object.
pub type Translate = Rc<dyn Fn(&Arc<Value>, Option<&ObjectCondition>) -> Target>;
/// Lets other objects of the world speak for the target of a step whose pods they run.
pub type Runs = Rc<dyn Fn(&mut Target, &Step, &[Arc<Value>])>;
/// Hears of each state of an Incident that is recorded: the one before, the next one, and when it was decided.
pub type Hears = Rc<dyn Fn(&IncidentId, &IncidentState, &IncidentState, Timestamp)>;

/// Everything outside of the controllers.
pub struct World {
    /// The API server.
    pub server: Server,
    /// The policy, if it can be used.
    pub rules: Option<Rules>,
    /// The policy as a fact.
    pub policy: PolicyFact,
    /// The decisions of a person.
    pub intent: PersonIntent,
    /// The readings of the signals.
    pub signals: BTreeMap<String, Reading>,
    /// The objects of the signals by their labels.
    pub censuses: BTreeMap<String, Census>,
    /// The recorded state of the policy.
    pub policy_state: PolicyState,
    /// The policy's own namespace; without it, targets may be in any namespace.
    pub namespace: Option<String>,
    /// Namespaces that are annotated as exempt.
    pub exempt: BTreeSet<String>,
    /// The moment.
    pub now: Timestamp,
    /// The Incident.
    pub incident: IncidentId,
    /// Every state that was ever recorded; the index is its version.
    pub recorded: Vec<IncidentState>,
    /// The decision.
    pub decide: Decide,
    /// What a profile finds.
    pub translate: Translate,
    /// Who runs the pods of others.
    pub runs: Runs,
    /// Who hears of what is recorded.
    pub hears: Hears,
    /// The states of other Incidents, by `namespace/name/uid`; Incidents that are not here are open.
    pub holders: BTreeMap<String, Holder>,
    /// Why the targets of steps cannot be listed or read; none if they can.
    pub unreadable: Option<String>,
    /// Whether responses may write.
    pub brake: Brake,
    /// Whether the Incident's namespace is being deleted.
    pub terminating: bool,
    /// The faults of the next writes.
    pub faults: Vec<Fault>,
    /// How often each rehearsal took effect.
    pub carried_out: BTreeMap<ChangeId, u32>,
    /// The objects that keyed rehearsals have created, by key.
    pub made: BTreeMap<String, Arc<Value>>,
    /// Writes that were sent.
    pub sent: usize,
    /// The status that the operator of an object sets as soon as Firebreak has changed its spec;
    /// observedGeneration follows. None: objects keep the status that they have.
    pub settle: Option<Value>,
    /// When the operator started after nobody had watched; none if it has run since before the story.
    pub began: Option<Timestamp>,
    /// How long nobody had watched then, until the Incident was decided again.
    pub away: SignedDuration,
}

/// One process; it forgets everything when it crashes.
#[derive(Debug, Default)]
pub struct Controller {
    /// Its cached view of the Incident is not older than this.
    pub view: usize,
    /// The outcomes of the effects of its last decision.
    pub outcomes: BTreeMap<EffectId, Outcome>,
    /// The outcome of writing the report.
    pub report: Option<ReportStatus>,
    /// When it listed the targets of each step.
    pub listed_at: BTreeMap<String, Timestamp>,
}

/// The first Incident.
pub fn incident() -> IncidentId {
    IncidentId { namespace: "ops".to_owned(), name: "outage".to_owned(), uid: "incident-uid".to_owned() }
}

/// A policy that can be used.
pub fn usable(generation: i64) -> PolicyFact {
    PolicyFact::Usable {
        uid: "policy-uid".to_owned(),
        name: "policy".to_owned(),
        generation,
        service_account: "firebreak-responder".to_owned(),
        responses: Vec::new(),
    }
}

impl World {
    /// A world in which nothing has happened.
    pub fn new(rules: Option<Rules>, translate: Translate) -> Self {
        Self {
            server: Server::default(),
            rules,
            policy: usable(1),
            intent: PersonIntent::default(),
            signals: BTreeMap::new(),
            censuses: BTreeMap::new(),
            policy_state: PolicyState::default(),
            namespace: None,
            exempt: BTreeSet::new(),
            now: Timestamp::from_second(1_767_225_600).unwrap_or_default(),
            incident: incident(),
            recorded: vec![IncidentState::default()],
            decide,
            translate,
            runs: Rc::new(|_, _, _| {}),
            hears: Rc::new(|_, _, _, _| {}),
            holders: BTreeMap::new(),
            unreadable: None,
            brake: Brake::Off,
            terminating: false,
            faults: Vec::new(),
            carried_out: BTreeMap::new(),
            made: BTreeMap::new(),
            sent: 0,
            settle: None,
            began: None,
            away: SignedDuration::ZERO,
        }
    }

    /// The Incident's state.
    pub fn state(&self) -> &IncidentState {
        &self.recorded[self.recorded.len() - 1]
    }

    /// Time passes.
    pub fn pass(&mut self, millis: i64) {
        self.now += SignedDuration::from_millis(millis);
    }

    /// The facts for a controller with this view of the Incident.
    pub fn observe(&self, controller: &Controller) -> Facts {
        let age = |at: &Timestamp| self.now.duration_since(*at);
        let mut policy = self.policy.clone();
        if let PolicyFact::Usable { responses, .. } = &mut policy {
            responses.clone_from(&self.policy_state.recent_responses);
        }
        Facts {
            incident: self.incident.clone(),
            state: self.recorded[controller.view].clone(),
            intent: self.intent.clone(),
            policy,
            signals: self.signals.clone(),
            censuses: self.censuses.clone(),
            expected: self.policy_state.expected.clone(),
            began: self.began,
            policy_rules: self.policy_state.rules.clone(),
            clocks_broken: self.away > SignedDuration::from_mins(1),
            reads_took: SignedDuration::ZERO,
            listing_age: controller.listed_at.iter().map(|(step, at)| (step.clone(), age(at))).collect(),
            looked: Looked::default(),
            outcomes: controller.outcomes.clone(),
            report: controller.report.clone(),
        }
    }

    /// Decides until no live read is requested; `meanwhile` happens between reads.
    ///
    /// # Errors
    /// It requests the same read twice, or without end.
    pub fn decide(
        &mut self,
        controller: &mut Controller,
        mut meanwhile: impl FnMut(&mut Self),
    ) -> Result<(Facts, Decision), String> {
        let mut facts = self.observe(controller);
        let usable = matches!(self.policy, PolicyFact::Usable { .. });
        for _ in 0..=LOOKS {
            let decision = (self.decide)(&facts, self.rules.as_ref().filter(|_| usable), self.now);
            if decision.look.is_empty() {
                return Ok((facts, decision));
            }
            for look in decision.look {
                meanwhile(self);
                if let Look::Step(step) = &look {
                    controller.listed_at.insert(step.clone(), self.now);
                }
                if facts.looked.has(&look) {
                    return Err(format!("{look:?} was asked for twice"));
                }
                self.look(look, &facts.state, &mut facts.looked);
            }
        }
        Err(format!("the decision still asks for live reads after {LOOKS} times"))
    }

    /// Records a decision. Returns false if someone else recorded something in between.
    pub fn record(&mut self, controller: &mut Controller, decision: &Decision) -> bool {
        if decision.next == self.recorded[controller.view] {
            return true; // equal: skipped
        }
        if controller.view + 1 != self.recorded.len() {
            return false;
        }
        (self.hears)(&self.incident, self.state(), &decision.next, self.now);
        self.recorded.push(decision.next.clone());
        controller.view += 1;
        true
    }

    /// Handles a request that arrives at the server.
    pub fn arrive(&mut self, effect: &Effect) -> Outcome {
        self.sent += 1;
        let at = self.faults.iter().position(|fault| fault.is_for(effect));
        let Some(at) = at else { return self.perform(effect) };
        let fault = self.faults[at].clone();
        self.faults[at].times -= 1;
        self.faults.retain(|fault| fault.times > 0);
        fault.befall(self, effect)
    }

    pub(super) fn perform(&mut self, effect: &Effect) -> Outcome {
        match &effect.write {
            Write::Patch(patch) => self.patch(effect, patch.body()),
            Write::Operation(request) => match request.operation {
                OperationType::DeletePod => pods::delete(&mut self.server, &effect.target),
                OperationType::Rehearse => self.rehearse(effect, request),
                // It is a patch.
                OperationType::Restart => Outcome::NotSent,
            },
        }
    }

    /// Carries out a rehearsal, which is counted in the object's status. A keyed one with a known key
    /// does nothing.
    fn rehearse(&mut self, effect: &Effect, request: &Request) -> Outcome {
        if request.delivery == Delivery::Keyed
            && let Some(made) = self.made.get(&request.key)
        {
            return Outcome::Exists(made.clone());
        }
        *self.carried_out.entry(effect.change.clone()).or_default() += 1;
        let made = json!({"metadata": {"name": request.key, "labels": {undo::INCIDENT: self.incident.uid}}});
        let made = Arc::new(made);
        self.made.insert(request.key.clone(), made.clone());
        self.server.edit(&effect.target.name, "rehearsal/Update", |object| {
            let number = object["status"]["rehearsed"].as_i64().unwrap_or(0);
            object["status"]["rehearsed"] = json!(number + 1);
        });
        Outcome::Done(made)
    }

    pub(super) fn patch(&mut self, effect: &Effect, body: &Value) -> Outcome {
        match self.server.patch(&effect.target.name, body, OURS) {
            Answer::Ok(object) => {
                self.operator_notices(&effect.target.name, &object);
                Outcome::Done(object)
            }
            Answer::Conflict => Outcome::Conflict,
            Answer::NotFound => {
                Outcome::Refused { code: 404, why: "not found".to_owned(), fields: Vec::new() }
            }
        }
    }

    fn operator_notices(&mut self, name: &str, object: &Value) {
        let Some(status) = &self.settle else { return };
        let mut status = status.clone();
        status["observedGeneration"] = object["metadata"]["generation"].clone();
        if object["status"]["observedGeneration"] != status["observedGeneration"] {
            self.server.edit(name, "operator/Update", |object| merge(&mut object["status"], &status));
        }
    }

    /// One round of a controller without faults. Returns the decision, and whether it did
    /// something that requires another round at once.
    ///
    /// # Errors
    /// The decision breaks a rule that every decision keeps.
    pub fn round(&mut self, controller: &mut Controller) -> Result<(Decision, bool), String> {
        controller.view = self.recorded.len() - 1;
        let (facts, decision) = self.decide(controller, |_| {})?;
        self.away = SignedDuration::ZERO;
        check_effects_are_recorded(&facts, &decision)?;
        check_person_is_told(&decision)?;
        self.record(controller, &decision);
        controller.outcomes.clear();
        if decision.report {
            controller.report =
                Some(ReportStatus { name: format!("{}-report", self.incident.name), problem: None });
        }
        for effect in &decision.effects {
            let outcome = self.arrive(effect);
            controller.outcomes.insert(effect.id(), outcome);
        }
        let again = !decision.effects.is_empty() || decision.report;
        if !again {
            self.check_calm(controller, &decision)?;
        }
        Ok((decision, again))
    }

    /// The same facts a second time must not cause a write, and must not request an immediate wake-up
    /// forever.
    fn check_calm(&mut self, controller: &mut Controller, first: &Decision) -> Result<(), String> {
        let mut twin = Controller {
            view: self.recorded.len() - 1,
            outcomes: BTreeMap::new(),
            report: controller.report.clone(),
            listed_at: controller.listed_at.clone(),
        };
        let (facts, decision) = self.decide(&mut twin, |_| {})?;
        if !decision.effects.is_empty() || !decision.happened.is_empty() {
            return Err(format!("nothing moved, and yet: {:?} {:?}", decision.effects, decision.happened));
        }
        if decision.next != facts.state {
            return Err(format!("nothing moved, and yet {}", difference(&facts.state, &decision.next)));
        }
        match first.wake_at {
            Some(at) if at <= self.now => Err("it is woken again at once".to_owned()),
            Some(_) | None => Ok(()),
        }
    }
}
