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

/// The part of a policy that its Incidents depend on: its spec and its claim. The uid of an announced Incident is left
/// out: such an Incident acts before its uid is recorded, and one that needs the uid to close checks at an interval.
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

/// What an Incident's policy has to know of it: whose it is, whether it has, waits for or may get the claim, and that it
/// ends.
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
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kube::Client;
    use kube::client::Body;
    use serde_json::{Value, json};
    use tokio::sync::Notify;
    use tokio::time::timeout;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::configuration::{ProfilesInForce, TemplateInForce};
    use crate::controller::Context;
    use crate::controller::clocks::Clocks;
    use crate::controller::memory::Memories;
    use crate::controller::passes::Passes;
    use crate::controller::policy::survey::Surveys;
    use crate::controller::seen::{OfIncidents, Shelf};
    use crate::controller::tally::{PolicyTally, Tally};
    use crate::kubernetes::discovery::Discovery;
    use crate::kubernetes::events::Events;
    use crate::kubernetes::impersonate::Impersonation;
    use crate::kubernetes::lease::Leadership;
    use crate::look::brake::BrakeReader;
    use crate::observe;
    use crate::report::ReportTemplate;
    use crate::telemetry::health::Health;
    use crate::telemetry::metrics::Metrics;
    use crate::workloads::Profiles;

    /// So many that work for each of them would be visible.
    const MANY: usize = 500;

    /// An operator whose API server does not answer, and which runs no pass.
    fn operator() -> Operator {
        let client = Client::new(
            tower::service_fn(|_: http::Request<Body>| {
                std::future::pending::<Result<http::Response<Body>, tower::BoxError>>()
            }),
            "default",
        );
        let metrics = Arc::new(Metrics::new().unwrap());
        let discovery = Discovery::new(client.clone());
        let profiles = ProfilesInForce::from(Arc::new(Profiles::built_in().unwrap()));
        let (hub, _) = observe::hub(discovery.clone(), profiles.clone(), Arc::new(|_, _| {}));
        let leadership = Leadership::without_election();
        Operator {
            hub,
            queue: Arc::default(),
            passes: Passes::default(),
            policies: Shelf::new(PolicyTally::new(Arc::clone(&metrics))),
            incidents: Shelf::new(OfIncidents::new(Tally::new(Arc::clone(&metrics)))),
            all_tried: Notify::default(),
            an_incident_closed: Notify::default(),
            brake: BrakeReader::new(client.clone(), "firebreak-system", metrics.brake_engaged.clone()),
            surveys: Surveys::default(),
            memories: Memories::default(),
            clocks: Clocks::default(),
            context: Context {
                impersonation: Impersonation::new(client.clone()),
                discovery,
                profiles,
                report: TemplateInForce::from(Arc::new(ReportTemplate::shipped().unwrap())),
                events: Events::new(client.clone(), "test".to_owned()).0,
                health: Health::new(leadership.clone()),
                leadership,
                metrics,
                traces: crate::telemetry::traces::Traces::default(),
                identity: "test".to_owned(),
                namespace: "firebreak-system".to_owned(),
                watch_namespaces: Vec::new(),
                stop: CancellationToken::new(),
                refusal: Arc::default(),
                surveyed: CancellationToken::new(),
                tasks: TaskTracker::new(),
                client,
            },
        }
    }

    fn name(kind: &str, number: usize) -> Name {
        Name::new("ns", format!("{kind}-{number:03}"))
    }

    /// A policy one of whose rules is true whatever its signals say.
    fn policy(number: usize, level: &str, status: Value) -> Seen<RemediationPolicy> {
        let policy: RemediationPolicy = serde_json::from_value(json!({
            "apiVersion": "firebreak.dev/v1alpha1", "kind": "RemediationPolicy",
            "metadata": {"namespace": "ns", "name": name("policy", number).name, "uid": number.to_string(), "generation": 1},
            "spec": {"mode": "Enforce", "severity": [{"level": level, "reason": "Always", "when": "true"}]},
            "status": status,
        }))
        .unwrap();
        Seen::Object(Arc::new(policy))
    }

    fn incident(number: usize, status: Value) -> Seen<Incident> {
        let incident: Incident = serde_json::from_value(json!({
            "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
            "metadata": {"namespace": "ns", "name": name("incident", number).name, "uid": number.to_string()},
            "spec": {"policyRef": {"name": name("policy", number).name}}, "status": status,
        }))
        .unwrap();
        Seen::Object(Arc::new(incident))
    }

    /// What is due, in the order in which it is taken.
    async fn due(operator: &Operator) -> Vec<Key> {
        let mut keys = Vec::new();
        while let Ok(key) = timeout(std::time::Duration::ZERO, operator.queue.next()).await {
            operator.queue.done(&key);
            keys.push(key);
        }
        keys
    }

    /// With many policies of a namespace, each with an open Incident.
    fn crowd(level: impl Fn(usize) -> &'static str) -> Operator {
        let operator = operator();
        for number in 0..MANY {
            operator.policies.put(&name("policy", number), policy(number, level(number), json!({})));
            operator.incidents.put(&name("incident", number), incident(number, json!(null)));
        }
        operator
    }

    #[tokio::test(start_paused = true)]
    async fn one_event_makes_due_what_has_to_know_of_it_however_many_there_are() {
        let operator = crowd(|_| "P3");
        let (of_policy, of_incident) = (name("policy", 7), name("incident", 7));
        let both = [Key::Incident(of_incident.clone()), Key::Policy(of_policy.clone())];

        let take = |now: Seen<Incident>| {
            let before = operator.incidents.put(&of_incident, now.clone());
            operator.incident_moved(&of_incident, before.as_ref(), Some(&now));
        };
        let had =
            json!({"policy": {"name": of_policy.name, "uid": "7", "generation": 1, "serviceAccount": "sa"}});
        take(incident(7, had.clone()));
        assert_eq!(due(&operator).await, both, "it has the claim");
        let versioned = || {
            let Seen::Object(incident) = incident(7, had.clone()) else { panic!("it decodes") };
            let mut incident = incident.as_ref().clone();
            incident.metadata.resource_version = Some("9".to_owned());
            incident
        };
        operator.note_incident(&versioned());
        assert_eq!(due(&operator).await, both[..1], "it was written");
        take(Seen::Object(Arc::new(versioned())));
        operator.note_incident(&versioned());
        assert!(due(&operator).await.is_empty(), "the watch shows what was written");
        let mut going_on = had.clone();
        going_on["phase"] = json!("Remediating");
        take(incident(7, going_on));
        assert_eq!(due(&operator).await, both[..1], "what it does is its own affair");
        let mut closed = had;
        closed["resolvedAt"] = json!("2026-03-01T10:00:00Z");
        closed["observedGeneration"] = json!(null);
        take(incident(7, closed));
        assert_eq!(due(&operator).await, both[1..], "it is closed");
        let before = operator.incidents.remove(&of_incident);
        operator.incident_moved(&of_incident, before.as_ref(), None);
        assert_eq!(due(&operator).await, both[1..], "it is gone");

        let of_policy = name("policy", 8);
        let both = [Key::Incident(name("incident", 8)), Key::Policy(of_policy.clone())];
        let take = |status: Value| {
            let now = policy(8, "P3", status);
            let before = operator.policies.put(&of_policy, now.clone());
            operator.policy_moved(&of_policy, before.as_ref(), Some(&now));
        };
        take(json!({"activeIncident": {"name": "incident-008", "uid": "8"}}));
        assert_eq!(due(&operator).await, both, "the claim has moved");
        take(json!({"activeIncident": {"name": "incident-008", "uid": "8"}, "waitingFor": ["Always"]}));
        assert_eq!(due(&operator).await, both[1..], "what its Incident does not read");
        operator.readings_moved([of_policy]);
        assert_eq!(due(&operator).await, both, "its signal has moved");
    }

    #[tokio::test(start_paused = true)]
    async fn a_p0_among_many_p3_and_its_new_incident_come_first() {
        let worst = MANY - 1;
        let operator = crowd(|number| if number == worst { "P0" } else { "P3" });
        operator.readings_moved((0..MANY).map(|number| name("policy", number)));
        let due = due(&operator).await;
        let first = [Key::Incident(name("incident", worst)), Key::Policy(name("policy", worst))];
        assert_eq!(due.len(), 2 * MANY);
        assert_eq!(due[..2], first);
    }

    #[tokio::test(start_paused = true)]
    async fn an_incident_that_waits_for_a_policy_is_due_when_a_rule_holds() {
        let operator = crowd(|_| "P2");
        let waiting = Name::new("ns", "by-hand");
        let without: Incident = serde_json::from_value(json!({
            "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
            "metadata": {"namespace": "ns", "name": waiting.name}, "spec": {},
        }))
        .unwrap();
        operator.incidents.put(&waiting, Seen::Object(Arc::new(without)));
        let rule = |holds: bool| json!({"rules": [{"reason": "Always", "level": "P2", "truth": "True", "known": "True", "holds": holds}]});
        let (of_policy, key) = (name("policy", 3), Key::Incident(waiting));
        for holds in [false, true] {
            operator.policy_moved(&of_policy, None, Some(&policy(3, "P2", rule(holds))));
            assert_eq!(due(&operator).await.contains(&key), holds);
        }
    }
}
