//! The driver of production in miniature: observe, decide, look, record, act.

use std::collections::BTreeMap;

use firebreak_engine::decide::{Decision, decide};
use firebreak_engine::effect::{Act, Effect, EffectId};
use firebreak_engine::expression::FieldValue;
use firebreak_engine::facts::{Facts, Look, LookResult, Outcome, PersonIntent, PolicyFact, Reading};
use firebreak_engine::id::{IncidentId, TargetId};
use firebreak_engine::incident::{IncidentState, RuleStatus};
use firebreak_engine::policy::PolicySpec;
use firebreak_engine::rules::{Rules, Step};
use firebreak_engine::undo;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::server::{Answer, Server};
use crate::workload;

pub const OURS: &str = "firebreak/Update";
/// How often a decision may ask for live reads; the law says four.
pub const LOOKS: usize = 4;

/// The decision function; a mutant wraps the real one.
pub type Decide = fn(&Facts, Option<&Rules>, Timestamp) -> Decision;

/// Everything outside of the controllers.
pub struct World {
    pub server: Server,
    pub rules: Option<Rules>,
    pub policy: PolicyFact,
    pub intent: PersonIntent,
    pub signals: BTreeMap<String, Reading>,
    pub baselines: BTreeMap<String, i64>,
    pub policy_rules: Vec<RuleStatus>,
    pub now: Timestamp,
    /// Every state that was ever recorded; the index is its version.
    pub recorded: Vec<IncidentState>,
    pub decide: Decide,
    /// Why the targets of steps cannot be listed or read, if so.
    pub unreadable: Option<String>,
}

/// One process; it forgets everything when it crashes.
#[derive(Default)]
pub struct Controller {
    /// Its cached view of the Incident is not older than this.
    pub view: usize,
    pub outcomes: BTreeMap<EffectId, Outcome>,
    pub report: Option<Result<String, String>>,
    pub listed_at: BTreeMap<String, Timestamp>,
}

pub fn incident() -> IncidentId {
    IncidentId { namespace: "ops".to_owned(), name: "outage".to_owned(), uid: "incident-uid".to_owned() }
}

pub fn usable(generation: i64) -> PolicyFact {
    PolicyFact::Usable {
        uid: "policy-uid".to_owned(),
        name: "gpu".to_owned(),
        generation,
        service_account: "firebreak-responder".to_owned(),
    }
}

pub fn rules(yaml: &str) -> Rules {
    let spec: PolicySpec = serde_saphyr::from_str(yaml).unwrap();
    Rules::parse(&spec).unwrap()
}

pub fn reading(values: &[(&str, i64)]) -> Reading {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), FieldValue::Int(*value)));
    Reading::Known { values: values.collect() }
}

pub fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

impl World {
    pub fn new(rules: Rules) -> Self {
        Self {
            server: Server::default(),
            rules: Some(rules),
            policy: usable(1),
            intent: PersonIntent::default(),
            signals: BTreeMap::new(),
            baselines: BTreeMap::new(),
            policy_rules: Vec::new(),
            now: start(),
            recorded: vec![IncidentState::default()],
            decide,
            unreadable: None,
        }
    }

    pub fn state(&self) -> &IncidentState {
        self.recorded.last().unwrap()
    }

    pub fn pass(&mut self, millis: i64) {
        self.now += SignedDuration::from_millis(millis);
    }

    /// What a controller with this view of the Incident sees.
    pub fn observe(&self, controller: &Controller) -> Facts {
        Facts {
            incident: incident(),
            state: self.recorded[controller.view].clone(),
            intent: self.intent,
            policy: self.policy.clone(),
            signals: self.signals.clone(),
            baselines: self.baselines.clone(),
            policy_rules: self.policy_rules.clone(),
            clocks_broken: false,
            listing_age: controller
                .listed_at
                .iter()
                .map(|(step, at)| (step.clone(), self.now.duration_since(*at)))
                .collect(),
            looked: BTreeMap::new(),
            outcomes: controller.outcomes.clone(),
            report: controller.report.clone(),
        }
    }

    /// Decides until no live read is asked for; `meanwhile` happens between reads.
    pub fn decide(
        &mut self,
        controller: &mut Controller,
        mut meanwhile: impl FnMut(&mut Self),
    ) -> (Facts, Decision) {
        let mut facts = self.observe(controller);
        for _ in 0..=LOOKS {
            let decision = (self.decide)(&facts, self.rules.as_ref(), self.now);
            if decision.look.is_empty() {
                return (facts, decision);
            }
            for look in decision.look {
                meanwhile(self);
                if let Look::Step(step) = &look {
                    controller.listed_at.insert(step.clone(), self.now);
                }
                let found = self.look(&look, &facts.state);
                let again = facts.looked.insert(look.clone(), found);
                assert!(again.is_none(), "{look:?} was asked for twice");
            }
        }
        panic!("the decision still asks for live reads after {LOOKS} times: {:?}", facts.looked.keys());
    }

    pub fn look(&self, look: &Look, state: &IncidentState) -> LookResult {
        if let Some(why) = &self.unreadable {
            return LookResult::Refused { why: why.clone() };
        }
        match look {
            Look::Step(name) => {
                let ladder = firebreak_engine::decide::ladder(state, self.rules.as_ref());
                let step = ladder.iter().find(|step| step.name == *name).unwrap();
                LookResult::Listed(self.list(step, state))
            }
            Look::Object(target) => match self.live(target) {
                Some(object) => LookResult::Found(Box::new(workload::target(object, None))),
                None => LookResult::Gone,
            },
        }
    }

    fn list(&self, step: &Step, state: &IncidentState) -> Vec<firebreak_engine::facts::Target> {
        let targets = step.targets();
        let selected = |object: &&std::sync::Arc<Value>| {
            let text = |pointer: &str| {
                object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let name = text("/metadata/name");
            let uid = text("/metadata/uid");
            let names = &targets.scope.names;
            names.is_empty()
                || names.contains(&name)
                || state.changes_of(&step.name).any(|c| c.target.uid == uid)
        };
        let objects = self.server.objects.values().filter(selected);
        objects.map(|object| workload::target(object, Some(&targets.where_))).collect()
    }

    pub fn live(&self, target: &TargetId) -> Option<&std::sync::Arc<Value>> {
        self.server
            .objects
            .get(&target.name)
            .filter(|object| object["metadata"]["uid"] == target.uid.as_str())
    }

    /// Records a decision. False: somebody else recorded something in between.
    pub fn record(&mut self, controller: &mut Controller, decision: &Decision) -> bool {
        if decision.next == self.recorded[controller.view] {
            return true; // equal: skipped
        }
        if controller.view + 1 != self.recorded.len() {
            return false;
        }
        self.recorded.push(decision.next.clone());
        controller.view += 1;
        true
    }

    /// What the server does with a request that arrives.
    pub fn arrive(&mut self, effect: &Effect) -> Outcome {
        match self.server.patch(&effect.target.name, effect.patch.body(), OURS) {
            Answer::Ok(object) => Outcome::Done(object),
            Answer::Conflict => Outcome::Later { conflict: true, after: None },
            Answer::NotFound => {
                Outcome::Refused { code: 404, why: "not found".to_owned(), fields: Vec::new() }
            }
        }
    }

    /// One round of a controller without any fault. True if it did something
    /// that calls for another round at once.
    pub fn round(&mut self, controller: &mut Controller) -> (Decision, bool) {
        controller.view = self.recorded.len() - 1;
        let (facts, decision) = self.decide(controller, |_| {});
        assert_effects_are_recorded(&facts, &decision);
        assert!(self.record(controller, &decision), "alone, nobody comes first");
        controller.outcomes.clear();
        if decision.report {
            controller.report = Some(Ok("outage-report".to_owned()));
        }
        for effect in &decision.effects {
            let outcome = self.arrive(effect);
            controller.outcomes.insert(effect.id(), outcome);
        }
        let again = !decision.effects.is_empty() || decision.report;
        self.assert_calm(controller, &decision, again);
        (decision, again)
    }

    /// The same facts a second time must not lead to a write, and must not ask
    /// to be woken at once for ever.
    fn assert_calm(&mut self, controller: &mut Controller, first: &Decision, again: bool) {
        if again {
            return;
        }
        let mut twin = Controller {
            view: self.recorded.len() - 1,
            outcomes: BTreeMap::new(),
            report: controller.report.clone(),
            listed_at: controller.listed_at.clone(),
        };
        let (facts, decision) = self.decide(&mut twin, |_| {});
        assert!(decision.effects.is_empty(), "nothing moved, and yet: {:?}", decision.effects);
        assert_eq!(decision.next, facts.state, "written again although nothing moved");
        assert!(decision.happened.is_empty());
        if let Some(at) = first.wake_at {
            assert!(at > self.now, "woken again at once");
        }
    }
}

/// A decision that writes anything must change the state: only a recorded
/// state keeps a controller with an old view from acting.
pub fn assert_effects_are_recorded(facts: &Facts, decision: &Decision) {
    assert!(
        decision.effects.is_empty() || decision.next != facts.state,
        "effects without a record: {:?}",
        decision.effects
    );
    let mut objects: Vec<&str> = decision.effects.iter().map(|effect| effect.target.uid.as_str()).collect();
    objects.sort_unstable();
    let number = objects.len();
    objects.dedup();
    assert_eq!(number, objects.len(), "two writes of one object in one decision");
    for effect in &decision.effects {
        let change = decision.next.changes.iter().find(|change| change.id == effect.change).unwrap();
        assert_eq!(change.base.as_ref(), Some(effect.patch.base()), "{:?}: its base is recorded", effect.act);
        if effect.act == Act::Apply {
            assert!(change.state.is_open_intent());
        }
    }
}

/// Everything of ours that an object still carries.
pub fn traces(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for key in [undo::UNDO, undo::FENCE] {
        if undo::annotation(object, key).is_some() {
            found.push(key.to_owned());
        }
    }
    if object["metadata"]["labels"].get(undo::INCIDENT).is_some() {
        found.push(undo::INCIDENT.to_owned());
    }
    for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
        if entry["manager"] == undo::MANAGER {
            found.push(format!("managedFields {}", entry["fieldsV1"]));
        }
    }
    found
}
