//! What becomes due when something has changed, and how urgently.
//!
//! # Guarantees
//! Every change makes due what depends on it and nothing else, so that the work for one event does not grow
//! with the number of Incidents. A policy is as urgent as the worst of its rules that is true, and so is its
//! Incident, from its first pass on.

use firebreak_engine::incident::IncidentState;
use firebreak_engine::policy::Severity;
use kube::ResourceExt;

use super::memory::PolicyMemory;
use super::queue::{Key, Name};
use super::seen::{Kept, Seen};
use super::{Operator, incident, retention, urgency};
use crate::api::{Incident, RemediationPolicy, names};

impl Operator {
    /// Makes a policy due.
    pub fn nudge_policy(&self, name: &Name) {
        let key = Key::Policy(name.clone());
        let urgency = self.urgency(&key);
        self.queue.nudge(key, urgency);
    }

    /// Makes an Incident due. A closed one without a finalizer gets no further pass, unless someone has edited
    /// it: it can no longer change, and a policy accumulates many of them.
    pub fn nudge_incident(&self, incident: &Incident) {
        if incident::is_of_interest(incident) {
            let name = Name::new(incident.namespace().unwrap_or_default(), incident.name_any());
            self.queue.nudge(Key::Incident(name), self.urgency_of(incident));
        }
    }

    /// Makes a key due.
    pub(super) fn nudge(&self, key: &Key) {
        match key {
            Key::Policy(name) => self.nudge_policy(name),
            Key::Incident(name) => match self.incidents.object(name) {
                Some(incident) => self.nudge_incident(&incident),
                // Only a live read can tell.
                None => self.queue.nudge(key.clone(), self.urgency(key)),
            },
        }
    }

    /// Makes an object due that has changed, unless its pass is running: the end of that pass decides whether the change
    /// is newer than its decision.
    fn moved(&self, key: Key, version: Option<u64>) {
        if !self.passes.take_in(&key, version) {
            self.nudge(&key);
        }
    }

    /// Makes the Incidents of this policy due.
    pub fn nudge_incidents_of(&self, policy: &Name) {
        self.incidents.of_policy(policy).iter().for_each(|incident| self.nudge_incident(incident));
    }

    /// A request of a policy's ServiceAccount was rejected: its permissions must be checked again.
    pub fn doubt_rights(&self, policy: &Name) {
        let is_news = |memory: &mut PolicyMemory| !std::mem::replace(&mut memory.rights_doubted, true);
        if self.memories.edit_policy(policy, is_news) {
            self.nudge_policy(policy);
        }
    }

    /// A policy changed from one state to the other; none where it does not exist.
    pub fn policy_moved(
        &self,
        name: &Name,
        before: Option<&Seen<RemediationPolicy>>,
        now: Option<&Seen<RemediationPolicy>>,
    ) {
        if !is_news(before, now) {
            return;
        }
        self.moved(Key::Policy(name.clone()), now.and_then(Seen::version));
        let object = |seen: Option<&Seen<RemediationPolicy>>| seen.and_then(Seen::object).cloned();
        let (before, now) = (object(before), object(now));
        let concern = of_concern_to_its_incidents;
        if before.as_deref().map(concern) != now.as_deref().map(concern) {
            self.nudge_incidents_of(name);
        }
        // The others of its namespace wait for the first rule that holds.
        let holds = |policy: &RemediationPolicy| {
            policy.status.iter().flat_map(|status| &status.state.rules).any(|rule| rule.holds)
        };
        if now.as_deref().is_some_and(holds) {
            let without = self.incidents.without_policy(&name.namespace);
            without.iter().for_each(|incident| self.nudge_incident(incident));
        }
    }

    /// An Incident changed from one state to the other; none where it does not exist.
    pub fn incident_moved(&self, name: &Name, before: Option<&Seen<Incident>>, now: Option<&Seen<Incident>>) {
        if !is_news(before, now) {
            return;
        }
        match now {
            Some(Seen::Object(incident)) => {
                self.moved(Key::Incident(name.clone()), now.and_then(Seen::version));
                retention::consider(self, incident);
            }
            Some(Seen::Undecodable { why, .. }) => {
                tracing::error!(incident = %name, why, "an Incident cannot be read");
            }
            None if before.and_then(Seen::object).is_none() => self.unread_incident_gone(name),
            None => {}
        }
        let (before, now) = (before.and_then(Seen::object), now.and_then(Seen::object));
        if before.map(|incident| of_concern_to_its_policy(incident))
            == now.map(|incident| of_concern_to_its_policy(incident))
        {
            return;
        }
        let policies =
            [before, now].into_iter().flatten().filter_map(|incident| incident::policy_of(incident));
        policies.for_each(|policy| self.nudge_policy(&policy));
    }

    /// An Incident of which only the name is known was deleted: the policies whose claim names it become due.
    fn unread_incident_gone(&self, name: &Name) {
        for policy in self.policies.of_namespace(&name.namespace) {
            let claim = policy.status.as_ref().and_then(|status| status.state.active_incident.as_ref());
            if claim.is_some_and(|claim| claim.name == name.name) {
                self.nudge_policy(&Name::new(name.namespace.clone(), policy.name_any()));
            }
        }
    }

    /// Readings of these policies have changed, so they and their Incidents become due. Those that can be worse come
    /// first, so that no worker takes a milder one before them.
    pub fn readings_moved(&self, policies: impl IntoIterator<Item = Name>) {
        let mut moved: Vec<(Option<Severity>, Name)> =
            policies.into_iter().map(|name| (self.worst_possible(&name), name)).collect();
        // The severity of an unknown policy is not known.
        moved.sort_by(|one, other| {
            (one.0.unwrap_or(urgency::NOT_KNOWN), &one.1)
                .cmp(&(other.0.unwrap_or(urgency::NOT_KNOWN), &other.1))
        });
        for (_, name) in moved {
            self.assess(&name);
            self.nudge_policy(&name);
            self.nudge_incidents_of(&name);
        }
    }
}

/// The part of a policy that its Incidents depend on: its spec, its claim, and what it expects of its signals. The uid of
/// an announced Incident is left out: such an Incident acts before its uid is recorded, and one that needs the uid to close
/// checks at an interval.
fn of_concern_to_its_incidents(policy: &RemediationPolicy) -> impl PartialEq {
    let status = policy.status.clone().unwrap_or_default();
    let claim = status.state.active_incident.map(|mut claim| {
        claim.uid = claim.uid.filter(|_| claim.nonce.is_none());
        claim
    });
    let responses = status.state.recent_responses.into_iter().map(|one| (one.name, one.at, one.ended_at));
    (
        (policy.uid(), policy.metadata.generation, policy.metadata.deletion_timestamp.clone()),
        status.observed_generation,
        claim,
        responses.collect::<Vec<_>>(),
        status.state.expected,
    )
}

/// Whether something has changed: our own writes arrive twice, from the answer and from the watch.
fn is_news<K: Kept>(before: Option<&Seen<K>>, now: Option<&Seen<K>>) -> bool {
    let version = |seen: Option<&Seen<K>>| {
        let metadata = seen?.metadata();
        metadata.uid.clone().zip(metadata.resource_version.clone())
    };
    let before = version(before);
    before.is_none() || before != version(now)
}

/// What an Incident's policy has to know of it: whose it is, whether it has, waits for or may get the claim, that it ends,
/// and whether a change of it is in force.
fn of_concern_to_its_policy(incident: &Incident) -> impl PartialEq {
    let state = incident.status.as_ref().map(|status| &status.state);
    (
        incident.uid(),
        incident.policy_name().map(str::to_owned),
        state.is_some_and(IncidentState::had_claim),
        state.and_then(IncidentState::known_policy).map(str::to_owned),
        incident.closed_at(),
        incident.metadata.deletion_timestamp.clone(),
        incident.annotations().get(names::NONCE).cloned(),
        state.is_some_and(|state| state.in_force() > 0),
    )
}

#[cfg(test)]
mod tests;
