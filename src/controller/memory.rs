//! What this process remembers between passes. Losing it costs a little work
//! and never correctness.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firebreak_engine::decide_policy::{IncidentFact, Refusal};
use firebreak_engine::facts::Reading;
use firebreak_engine::rules::Rules;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio::time::Instant;

use super::queue::{Key, Name};
use super::seen::Seen;
use super::{Operator, incident, policy};
use crate::acceptance;
use crate::api::{Incident, RemediationPolicy};
use crate::kubernetes::lease::{ElectionState, Term};

/// A longer gap in the lease means that nobody watched, so clocks start anew.
const LONGEST_GAP: SignedDuration = SignedDuration::from_secs(60);

/// How long the first readings may take before their absence is worth a word.
const FIRST_READINGS: Duration = Duration::from_secs(10);

/// The parsed rules of a policy, or its faults.
pub type Parsed = Arc<Result<Arc<Rules>, Vec<String>>>;

/// What is remembered of a policy.
#[derive(Clone, Debug, Default)]
pub struct PolicyMemory {
    /// Whether its clocks were assessed in this term.
    pub assessed: bool,
    /// What its ServiceAccount may do.
    pub access: Option<policy::watch::Checked>,
    /// Whether it was refused something since that was found out.
    pub rights_doubted: bool,
    /// The Incident that a rule asks for was refused.
    pub refused: Option<Refusal>,
    /// The Incident that was created last, which the watch may not have shown yet.
    pub created: Option<IncidentFact>,
    /// When its signals were first asked for.
    subscribed: Option<Instant>,
    /// Its rules, by uid and generation.
    rules: Option<(Option<String>, Option<i64>, Parsed)>,
}

/// Everything that is remembered.
#[derive(Debug, Default)]
pub struct Memories {
    incidents: Mutex<BTreeMap<String, incident::Memory>>,
    policies: Mutex<BTreeMap<Name, PolicyMemory>>,
    failures: Mutex<BTreeMap<Key, u32>>,
    /// The number of the term, and when clocks were first assessed in it.
    term: Mutex<(u64, Option<Timestamp>)>,
}

impl Memories {
    /// A term of leadership begins, or goes on. Of the time before it nobody knows
    /// what the clocks missed, so they are assessed anew.
    pub fn begin(&self, term: &Term) {
        let mut current = self.term.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 == term.number {
            return;
        }
        *current = (term.number, None);
        self.incidents.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        policies.values_mut().for_each(|memory| memory.assessed = false);
    }

    /// A pass was completed.
    pub fn succeeded(&self, key: &Key) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// A pass was not completed. How often in a row.
    pub fn failed(&self, key: &Key) -> u32 {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key.clone()).or_default();
        *count = count.saturating_add(1);
        *count
    }
}

impl Operator {
    /// The parsed rules of a policy, parsed once per generation.
    pub fn rules(&self, policy: &RemediationPolicy) -> Parsed {
        let name = Name::new(policy.namespace().unwrap_or_default(), policy.name_any());
        let (uid, generation) = (policy.uid(), policy.metadata.generation);
        let mut policies = self.memories.policies.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = policies.entry(name).or_default();
        if let Some((known_uid, known, rules)) = &memory.rules
            && *known_uid == uid
            && *known == generation
        {
            return Arc::clone(rules);
        }
        let parsed = acceptance::rules(&policy.spec.policy, &self.profiles());
        let parsed: Parsed = Arc::new(parsed.map(Arc::new));
        memory.rules = Some((uid, generation, Arc::clone(&parsed)));
        parsed
    }

    /// Parses the rules of all policies again when they are asked for.
    pub fn forget_rules(&self) {
        let mut policies = self.memories.policies.lock().unwrap_or_else(PoisonError::into_inner);
        policies.values_mut().for_each(|memory| memory.rules = None);
    }

    /// The policy of this name as last seen, if it decodes.
    pub fn policy(&self, name: &Name) -> Option<RemediationPolicy> {
        match self.policies.get(name)? {
            Seen::Object(policy) => Some(policy.as_ref().clone()),
            Seen::Undecodable { .. } => None,
        }
    }

    /// The Incident of this name as last seen, if it decodes.
    pub fn incident(&self, name: &Name) -> Option<Arc<Incident>> {
        match self.incidents.get(name)? {
            Seen::Object(incident) => Some(incident),
            Seen::Undecodable { .. } => None,
        }
    }

    /// The Incidents that name this policy, closed ones included.
    pub fn incidents_of(&self, policy: &Name) -> Vec<Arc<Incident>> {
        let mut all = self.incidents.of_namespace(&policy.namespace);
        all.retain(|incident| incident.policy_name() == Some(&policy.name));
        all
    }

    /// Makes the Incidents of this policy due that are not closed, and those that have none yet.
    pub fn nudge_incidents_of(&self, policy: &Name) {
        let mut theirs = self.incidents.of_namespace(&policy.namespace);
        theirs.retain(|incident| incident.policy_name().is_none_or(|name| name == policy.name));
        for incident in theirs {
            incident::nudge(self, &incident);
        }
    }

    /// What is remembered of an Incident.
    pub fn memory(&self, uid: &str) -> incident::Memory {
        let incidents = self.memories.incidents.lock().unwrap_or_else(PoisonError::into_inner);
        incidents.get(uid).cloned().unwrap_or_default()
    }

    /// Remembers something of an Incident.
    pub fn remember(&self, uid: &str, edit: impl FnOnce(&mut incident::Memory)) {
        let mut incidents = self.memories.incidents.lock().unwrap_or_else(PoisonError::into_inner);
        edit(incidents.entry(uid.to_owned()).or_default());
    }

    /// What is remembered of a policy.
    pub fn policy_memory(&self, name: &Name) -> PolicyMemory {
        let policies = self.memories.policies.lock().unwrap_or_else(PoisonError::into_inner);
        policies.get(name).cloned().unwrap_or_default()
    }

    /// Remembers something of a policy.
    pub fn remember_policy(&self, name: &Name, edit: impl FnOnce(&mut PolicyMemory)) {
        let mut policies = self.memories.policies.lock().unwrap_or_else(PoisonError::into_inner);
        edit(policies.entry(name.clone()).or_default());
    }

    /// The ServiceAccount of a policy was refused something: what it may do is to be asked again.
    pub fn doubt_rights(&self, name: &Name) {
        let mut is_news = false;
        self.remember_policy(name, |memory| is_news = !std::mem::replace(&mut memory.rights_doubted, true));
        if is_news {
            self.queue.nudge(Key::Policy(name.clone()), 1);
        }
    }

    /// Whether the first readings of a policy's signals are still on their way:
    /// for a short while that is no reason to call them Unknown.
    pub fn is_starting(&self, name: &Name, rules: &Rules) -> bool {
        let mut since = None;
        self.remember_policy(name, |memory| {
            since = Some(*memory.subscribed.get_or_insert_with(Instant::now))
        });
        let fresh = since.is_some_and(|since| since.elapsed() < FIRST_READINGS);
        fresh
            && self
                .hub
                .readings(&name.into(), rules)
                .values()
                .any(|reading| matches!(reading, Reading::Unknown { reason, .. } if reason == "NotSynced"))
    }

    /// A policy is gone: its watches end, its Incidents have to know.
    pub fn forget_policy(&self, name: &Name) {
        self.hub.unsubscribe(&name.into());
        self.context.metrics.signals(&name.to_string(), &[]);
        self.memories.policies.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// An Incident is gone.
    pub fn forget_incident(&self, name: &Name) {
        if let Some(uid) = self.incident(name).and_then(|incident| incident.uid()) {
            self.forget(&uid);
        }
        self.incidents.remove(name);
    }

    /// Whatever had this uid is gone.
    pub fn forget(&self, uid: &str) {
        self.memories.incidents.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// What we wrote may be newer than what the watch has shown so far.
    pub fn note_policy(&self, policy: &RemediationPolicy) {
        let name = Name::new(policy.namespace().unwrap_or_default(), policy.name_any());
        self.policies.note(name, policy.clone());
    }

    /// What we wrote may be newer than what the watch has shown so far.
    pub fn note_incident(&self, incident: &Incident) {
        let name = Name::new(incident.namespace().unwrap_or_default(), incident.name_any());
        self.incidents.note(name, incident.clone());
        self.count_incidents();
    }

    /// Shows how many Incidents are open.
    pub fn count_incidents(&self) {
        let mut counts: BTreeMap<(String, &'static str), usize> = BTreeMap::new();
        let mut in_force = 0;
        for (_, incident) in self.incidents.all() {
            let Some(status) = &incident.status else { continue };
            in_force += i64::from(status.changes_in_force);
            if status.state.resolved_at.is_none() {
                let severity =
                    status.state.severity.map_or_else(|| "none".to_owned(), |level| level.to_string());
                *counts.entry((severity, status.phase.map_or("Open", |phase| phase.name()))).or_default() +=
                    1;
            }
        }
        self.context
            .metrics
            .incidents(counts.iter().map(|((severity, phase), count)| (severity.as_str(), *phase, *count)));
        self.context.metrics.changes_outstanding.set(in_force);
    }

    /// Whether too long nobody watched before this process did.
    pub fn clocks_are_broken(&self, now: Timestamp) -> bool {
        let started = *self.memories.term.lock().unwrap_or_else(PoisonError::into_inner).1.get_or_insert(now);
        match self.context.leadership.state() {
            ElectionState::Leading { term, .. } => {
                term.previous_renewal.is_none_or(|renewed| started.duration_since(renewed) > LONGEST_GAP)
            }
            ElectionState::Unknown | ElectionState::Standby { .. } => true,
        }
    }
}
