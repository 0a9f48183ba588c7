//! A pass over the policy, and what becomes of the requests that it sends.

use firebreak_engine::decide_policy::{Access, Creation, NewIncident, PolicyFacts, PolicyLook, Refusal};
use jiff::{SignedDuration, Timestamp};

use super::world::{self, Policy};
use super::{Driver, Run};
use crate::workload::reading;

impl Run {
    fn policy_facts(&mut self, which: usize, policy: &Policy, creation: Option<Creation>) -> PolicyFacts {
        let controller = &self.controllers[which];
        let seen = controller.seen.iter().filter_map(|(at, version)| Some((*at, (*version)?)));
        let open = seen.map(|(at, version)| self.world.incidents[at].fact(version));
        self.nonces += 1;
        PolicyFacts {
            uid: policy.uid(),
            state: policy.state.clone(),
            access: Access::Complete,
            signals: [("nodes".to_owned(), reading(&[("total", 8), ("ready", self.world.ready)]))].into(),
            open: open.filter(|incident| !incident.is_closed()).collect(),
            creation: creation.or_else(|| controller.created.clone().map(Creation::Created)),
            refusal: controller.refusal.clone(),
            nonce: format!("nonce-{}", self.nonces),
            ..PolicyFacts::new("gpu", self.rules.limits.clone())
        }
    }

    /// A pass over the policy, as the driver runs it.
    pub(super) fn policy_round(&mut self, which: usize) {
        let mut creation = None;
        for _ in 0..6 {
            let view = self.controllers[which].policy;
            let Some(policy) = self.world.policies[view].clone() else {
                (self.controllers[which].refusal, self.controllers[which].created) = (None, None);
                return;
            };
            let mut facts = self.policy_facts(which, &policy, creation.take());
            let decision = loop {
                let decision = (self.decide)(&facts, Some(&self.rules), self.world.now);
                let Some(look) = decision.look else { break decision };
                match look {
                    PolicyLook::Incidents => facts.reads.all = Some(self.world.all()),
                    PolicyLook::Incident(name) => {
                        let live = self.world.find(&name).map(world::Incident::live);
                        facts.reads.incidents.insert(name, live);
                    }
                }
                self.meanwhile(which);
            };
            if let Some(wake) = decision.wake_at {
                assert!(wake > self.world.now, "it is woken again at once");
            }
            if !decision.unaware.is_empty() {
                return; // what they record makes it due again
            }
            self.meanwhile(which);
            if self.happens(20) {
                return self.die(which);
            }
            let create = decision.create.clone();
            if self.driver == Driver::CreatesUnrecorded
                && let Some(new) = &create
            {
                self.world.create(&new.name, Some(&new.nonce));
            }
            if !self.world.record(view, &decision.next) {
                return; // another controller recorded in between: start over
            }
            let before = policy.state.as_ref().and_then(|state| state.active_incident.as_ref());
            let has_moved = before != decision.next.active_incident.as_ref();
            if policy.state.as_ref() != Some(&decision.next) {
                self.controllers[which].policy = self.world.policies.len() - 1;
            }
            if let Some(new) = &create
                && view + 2 >= self.world.policies.len()
            {
                self.world.check_the_opening(new);
            }
            self.meanwhile(which);
            if self.happens(20) {
                return self.die(which);
            }
            if let Some(new) = create {
                let Some(heard) = self.post(new) else { return };
                self.controllers[which].refusal = None;
                if let Creation::Created(incident) = &heard {
                    self.controllers[which].created = Some(incident.clone());
                }
                if heard == Creation::Refused {
                    let (at, why) = (self.world.now, "refused".to_owned());
                    self.controllers[which].refusal = Some(Refusal { at, why });
                }
                creation = Some(heard);
            }
            match &creation {
                Some(Creation::Created(_)) => return,
                None if !has_moved => return,
                Some(Creation::AlreadyExists | Creation::Refused) | None => {}
            }
        }
    }

    /// Sends a create through the faulty network. None: no answer.
    fn post(&mut self, new: NewIncident) -> Option<Creation> {
        let fate = if self.calm { 11 } else { self.dice.roll(12) };
        match fate {
            0 => None,
            1 => {
                self.world.create(&new.name, Some(&new.nonce));
                None
            }
            2..=4 => {
                let most = [50, 2000, 60_000][self.dice.roll(3) as usize];
                let due = self.world.now + SignedDuration::from_millis(self.dice.roll(most) as i64);
                self.flights.push((due, new));
                None
            }
            5 | 6 => Some(Creation::Refused),
            _ => Some(self.world.create(&new.name, Some(&new.nonce))),
        }
    }

    /// Late requests arrive.
    pub(super) fn deliver(&mut self, early: bool) {
        let now = self.world.now;
        let (due, later) =
            std::mem::take(&mut self.flights).into_iter().partition(|(at, _)| early || *at <= now);
        self.flights = later;
        for (_, new) in Vec::<(Timestamp, NewIncident)>::into_iter(due) {
            self.world.create(&new.name, Some(&new.nonce));
        }
    }
}
