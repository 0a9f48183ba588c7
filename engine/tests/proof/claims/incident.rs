//! A pass over an Incident.

use firebreak_engine::decide_policy::{IncidentFact, Tenure};
use firebreak_engine::id::IncidentId;
use firebreak_engine::incident::Closing;
use firebreak_engine::response::counted_before;

use super::world::{Policy, Stage};
use super::{Driver, MOST, Run};

fn tenure(fact: &IncidentFact, policy: &Policy) -> Tenure {
    Tenure::of(fact, policy.state.as_ref())
}

impl Run {
    /// A pass over an Incident, as the driver runs it.
    pub(super) fn incident_round(&mut self, which: usize, at: usize) {
        let Some(Some(seen)) = self.controllers[which].seen.get(&at).copied() else { return };
        let incident = &self.world.incidents[at];
        // An Incident without a status is used as the watch has shown it, any other is read live.
        let has_status = incident.versions[seen].has_status;
        let version = if has_status { incident.versions.len() - 1 } else { seen };
        if incident.gone && has_status {
            return;
        }
        let stage = incident.versions[version];
        let fact = incident.fact(version);
        if stage.resolved_at.is_some() {
            self.world.incidents[at].gone = stage.deleting || self.dice.one_in(8);
            return;
        }
        let policy = self.policy_of(which, &fact);
        let has = policy.as_ref().map(|policy| tenure(&fact, policy));
        match (&policy, &has) {
            (_, Some(Tenure::Revoked)) => return,
            (Some(policy), Some(Tenure::Pending))
                if fact.is_unaware_of(&policy.uid()) && self.driver != Driver::NeverAware =>
            {
                self.meanwhile(which);
                let aware = Stage { has_status: true, knows: Some(policy.number), ..stage };
                self.world.step(at, version, aware);
                return;
            }
            (_, Some(Tenure::Pending | Tenure::Vacant)) if stage.ends().is_none() => return,
            _ => {}
        }
        if has == Some(Tenure::Announced) && !self.confirms(which, &fact, policy.as_ref()) {
            return;
        }
        let next = self.next_stage(at, stage, policy.as_ref().zip(has.as_ref()));
        let may_close = has.is_none_or(|has| has.may_close()) || self.driver == Driver::ClosesUnbound;
        if next.resolved_at.is_some() && !may_close {
            return;
        }
        self.meanwhile(which);
        if self.happens(20) {
            return self.die(which);
        }
        self.world.step(at, version, next);
    }

    /// The policy as the watch has shown it, if that counts, else as it is now.
    fn policy_of(&self, which: usize, fact: &IncidentFact) -> Option<Policy> {
        let seen = self.world.policies[self.controllers[which].policy].as_ref();
        let counts = |policy: &&Policy| tenure(fact, policy).counts_as_seen();
        let is_known =
            |policy: &&Policy| self.driver == Driver::TrustsAnyPolicy || !fact.knows_another(&policy.uid());
        seen.filter(is_known).filter(counts).or(self.world.policy()).cloned()
    }

    /// Whether a live read has shown that this policy announces the Incident.
    fn confirms(&mut self, which: usize, fact: &IncidentFact, policy: Option<&Policy>) -> bool {
        let uid = policy.map(Policy::uid);
        let known = self.controllers[which].confirmed.get(&fact.uid);
        if known == uid.as_ref() || self.driver == Driver::TrustsTheWatch {
            return true;
        }
        self.meanwhile(which);
        let live = self.world.policy().filter(|live| Some(live.uid()) == uid);
        let is_confirmed =
            live.is_some_and(|live| matches!(tenure(fact, live), Tenure::Announced | Tenure::Bound));
        if is_confirmed {
            self.controllers[which].confirmed.insert(fact.uid.clone(), uid.unwrap_or_default());
        }
        is_confirmed
    }

    /// The next event of the Incident.
    fn next_stage(&self, at: usize, stage: Stage, policy: Option<(&Policy, &Tenure)>) -> Stage {
        let incident = &self.world.incidents[at];
        let stage = Stage { has_status: true, ..stage };
        let closed = |closing| Stage { closing: Some(closing), resolved_at: Some(self.world.now), ..stage };
        if let Some(closing) = stage.ends().or(stage.closing) {
            return closed(closing);
        }
        let Some((policy, tenure)) = policy else { return stage };
        match tenure {
            Tenure::Lost { superseded: true, .. } => closed(Closing::Superseded),
            Tenure::Lost { .. } | Tenure::Vacant | Tenure::Pending | Tenure::Revoked => stage,
            Tenure::Bound | Tenure::Announced => {
                if self.world.ready == 8 && stage.had_claim {
                    return closed(Closing::Recovered);
                }
                let (namespace, name) = ("ns".to_owned(), incident.name.clone());
                let id = IncidentId { namespace, name, uid: incident.uid.clone() };
                let responses = policy.state.iter().flat_map(|state| &state.recent_responses);
                let responses: Vec<_> = responses.cloned().collect();
                let before = counted_before(&responses, &id, &self.rules.limits).unwrap_or_default();
                let acted = stage.acted || before.len() < MOST;
                Stage { had_claim: true, knows: Some(policy.number), acted, ..stage }
            }
        }
    }
}
