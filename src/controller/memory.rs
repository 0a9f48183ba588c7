//! What this process remembers between passes. Losing it costs a little work
//! and never correctness.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firebreak_engine::decide_policy::{IncidentFact, Refusal};
use firebreak_engine::policy::Severity;
use firebreak_engine::rules::Rules;
use kube::ResourceExt;
use tokio::time::Instant;

use super::incident::learned::Learned;
use super::queue::{Key, Name};
use super::{incident, policy};
use crate::acceptance;
use crate::api::RemediationPolicy;
use crate::workloads::Profiles;

/// How long the first readings may take before their absence is reported.
const FIRST_READINGS: Duration = Duration::from_secs(10);

/// The parsed rules of a policy, or its faults.
pub type Parsed = Arc<Result<Arc<Rules>, Vec<String>>>;

/// What is remembered of a policy.
#[derive(Clone, Debug, Default)]
pub struct PolicyMemory {
    /// Whether its clocks were assessed in this term.
    pub assessed: bool,
    /// How severe it looked when its rules were last assessed.
    pub worst: Worst,
    /// What its ServiceAccount may do.
    pub access: Option<policy::watch::Checked>,
    /// Which of the objects that it may change Argo CD applies.
    pub surveyed: Option<policy::survey::Surveyed>,
    /// Whether a request of it was rejected since that check.
    pub rights_doubted: bool,
    /// The API server rejected the Incident that a rule wants to open.
    pub refused: Option<Refusal>,
    /// The Incident that was created last, which the watch may not have shown yet.
    pub created: Option<IncidentFact>,
    /// When its signals were first read.
    subscribed: Option<Instant>,
    /// Its rules, by uid and generation.
    rules: Option<(Option<String>, Option<i64>, Parsed)>,
}

/// The severity of a policy according to its rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Worst {
    /// Nobody has assessed them.
    #[default]
    NotAssessed,
    /// None is true.
    Quiet,
    /// The worst of the rules that are true.
    True(Severity),
}

impl From<Option<Severity>> for Worst {
    fn from(worst: Option<Severity>) -> Self {
        worst.map_or(Self::Quiet, Self::True)
    }
}

impl PolicyMemory {
    /// Whether its signals were first read so recently that their absence means nothing.
    pub fn awaits_first_readings(&mut self) -> bool {
        self.subscribed.get_or_insert_with(Instant::now).elapsed() < FIRST_READINGS
    }
}

/// Everything that is remembered.
#[derive(Debug, Default)]
pub struct Memories {
    incidents: Mutex<BTreeMap<String, incident::Memory>>,
    learned: Mutex<BTreeMap<String, Learned>>,
    policies: Mutex<BTreeMap<Name, PolicyMemory>>,
    failures: Mutex<BTreeMap<Key, u32>>,
}

impl Memories {
    /// What is remembered of an Incident.
    pub fn incident(&self, uid: &str) -> incident::Memory {
        lock(&self.incidents).get(uid).cloned().unwrap_or_default()
    }

    /// Remembers something of an Incident.
    pub fn edit_incident(&self, uid: &str, edit: impl FnOnce(&mut incident::Memory)) {
        edit(lock(&self.incidents).entry(uid.to_owned()).or_default());
    }

    /// What was learned about an Incident in the pass before and could not be recorded.
    pub fn take_learned(&self, uid: &str) -> Learned {
        lock(&self.learned).remove(uid).unwrap_or_default()
    }

    /// Keeps what this pass could not record.
    pub fn keep_learned(&self, uid: &str, learned: Learned) {
        if !learned.is_empty() {
            lock(&self.learned).insert(uid.to_owned(), learned);
        }
    }

    /// An Incident was deleted.
    pub fn forget_incident(&self, uid: &str) {
        lock(&self.incidents).remove(uid);
        lock(&self.learned).remove(uid);
    }

    /// What is remembered of a policy.
    pub fn policy(&self, name: &Name) -> PolicyMemory {
        lock(&self.policies).get(name).cloned().unwrap_or_default()
    }

    /// Remembers something of a policy, and returns the result of the edit.
    pub fn edit_policy<T>(&self, name: &Name, edit: impl FnOnce(&mut PolicyMemory) -> T) -> T {
        edit(lock(&self.policies).entry(name.clone()).or_default())
    }

    /// Remembers something of a policy that was not forgotten in the meantime.
    pub fn edit_known_policy(&self, name: &Name, edit: impl FnOnce(&mut PolicyMemory)) {
        if let Some(memory) = lock(&self.policies).get_mut(name) {
            edit(memory);
        }
    }

    /// The severity of a policy when its rules were last assessed.
    pub fn worst(&self, name: &Name) -> Worst {
        lock(&self.policies).get(name).map(|memory| memory.worst).unwrap_or_default()
    }

    /// A policy was deleted.
    pub fn forget_policy(&self, name: &Name) {
        lock(&self.policies).remove(name);
    }

    /// The parsed rules of a policy, parsed once per generation.
    pub fn rules(&self, policy: &RemediationPolicy, profiles: &Profiles) -> Parsed {
        let name = Name::new(policy.namespace().unwrap_or_default(), policy.name_any());
        let (uid, generation) = (policy.uid(), policy.metadata.generation);
        self.edit_policy(&name, |memory| {
            if let Some((known_uid, known, rules)) = &memory.rules
                && *known_uid == uid
                && *known == generation
            {
                return Arc::clone(rules);
            }
            let parsed: Parsed = Arc::new(acceptance::rules(&policy.spec.policy, profiles).map(Arc::new));
            memory.rules = Some((uid, generation, Arc::clone(&parsed)));
            parsed
        })
    }

    /// Parses the rules of all policies again when they are next needed.
    pub fn forget_rules(&self) {
        lock(&self.policies).values_mut().for_each(|memory| memory.rules = None);
    }

    /// It is not known what the clocks missed before this term, so they are assessed again.
    pub fn forget_clocks(&self) {
        lock(&self.incidents).clear();
        lock(&self.policies).values_mut().for_each(|memory| memory.assessed = false);
    }

    /// A pass was completed.
    pub fn succeeded(&self, key: &Key) {
        lock(&self.failures).remove(key);
    }

    /// A pass was not completed. Returns how often in a row.
    pub fn failed(&self, key: &Key) -> u32 {
        let mut failures = lock(&self.failures);
        let count = failures.entry(key.clone()).or_default();
        *count = count.saturating_add(1);
        *count
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
