//! How urgent an Incident and its policy are.

use firebreak_engine::policy::Severity;
use firebreak_engine::rules::Rules;
use firebreak_engine::severity::{Observed, assess, worst};
use jiff::Timestamp;

use super::memory::Worst;
use super::queue::{Key, Name};
use super::{Operator, incident};
use crate::api::{Incident, RemediationPolicy};

/// How urgent something is of which nobody knows how bad it is.
pub(super) const NOT_KNOWN: Severity = Severity::P1;
/// How urgent a policy is of which no rule is true.
const QUIET: Severity = Severity::P3;

impl Operator {
    /// How urgent a key is.
    pub fn urgency(&self, key: &Key) -> Severity {
        match key {
            Key::Policy(name) => match self.memories.worst(name) {
                Worst::NotAssessed => NOT_KNOWN,
                Worst::Quiet => QUIET,
                Worst::True(level) => level,
            },
            Key::Incident(name) => {
                self.incidents.object(name).map_or(NOT_KNOWN, |incident| self.urgency_of(&incident))
            }
        }
    }

    /// As severe as a person says that it is; else as it was classified or as its policy's rules are, the worse of both.
    pub(super) fn urgency_of(&self, incident: &Incident) -> Severity {
        let classified = || incident.status.as_ref().and_then(|status| status.state.severity);
        let true_rule = || match self.memories.worst(&incident::policy_of(incident)?) {
            Worst::True(level) => Some(level),
            Worst::NotAssessed | Worst::Quiet => None,
        };
        let of_rules = || classified().into_iter().chain(true_rule()).min();
        incident.spec.severity.or_else(of_rules).unwrap_or(NOT_KNOWN)
    }

    /// The level of the most severe of a policy's rules.
    pub(super) fn worst_possible(&self, name: &Name) -> Option<Severity> {
        let policy = self.policies.object(name)?;
        let rules = self.rules(&policy);
        let rules = rules.as_ref().as_ref().ok()?;
        rules.severity.iter().map(|rule| rule.level).min()
    }

    /// Notes how bad a policy's rules say that it is now. Its pass will say it again, and record it.
    pub(super) fn assess(&self, name: &Name) {
        let Some(policy) = self.policies.object(name) else { return };
        let rules = self.rules(&policy);
        let Ok(rules) = rules.as_ref() else { return };
        let worst = self.worst_now(name, &policy, rules);
        self.memories.edit_policy(name, |memory| memory.worst = worst.into());
    }

    fn worst_now(&self, name: &Name, policy: &RemediationPolicy, rules: &Rules) -> Option<Severity> {
        let state = policy.status.as_ref().map(|status| status.state.clone()).unwrap_or_default();
        let now = Timestamp::now();
        let assessment = assess(&Observed {
            rules,
            previous: &state.rules,
            signals: &self.hub.readings(&name.into(), rules),
            expected: &self.windows(name, &state.expected, now),
            began: Some(self.began(now)),
            clocks_broken: false,
            now,
        });
        worst(&assessment.rules)
    }
}
