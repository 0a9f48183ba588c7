//! Chooses the policy of an Incident that names none.

use crate::incident::RuleStatus;
use crate::policy::Severity;

/// A policy in the namespace of the Incident.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether its present spec is Accepted.
    pub accepted: bool,
    /// Whether it is suspended or being deleted, so that it opens nothing.
    pub rests: bool,
    /// Its rules, from its status.
    pub rules: &'a [RuleStatus],
}

/// Of the policies with a rule that holds, the one with the most severe such rule, then the first by name.
pub fn choose_policy<'a>(candidates: impl IntoIterator<Item = Candidate<'a>>) -> Option<&'a str> {
    candidates
        .into_iter()
        .filter(|policy| policy.accepted && !policy.rests)
        .filter_map(|policy| Some((worst_that_holds(policy.rules)?, policy.name)))
        .min()
        .map(|(_, name)| name)
}

fn worst_that_holds(rules: &[RuleStatus]) -> Option<Severity> {
    rules.iter().filter(|rule| rule.holds).map(|rule| rule.level).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Severity::{P0, P1, P2, P3};
    use crate::verdict::Verdict;

    fn rule(level: Severity, holds: bool) -> RuleStatus {
        RuleStatus {
            reason: "Rule".to_owned(),
            level,
            truth: Verdict::True,
            known: Verdict::True,
            since: None,
            unknown_since: None,
            holds,
            evidence: String::new(),
        }
    }

    fn candidate<'a>(name: &'a str, rules: &'a [RuleStatus]) -> Candidate<'a> {
        Candidate { name, accepted: true, rests: false, rules }
    }

    #[test]
    fn the_most_severe_is_chosen_and_then_the_first_by_name() {
        let holding = |levels: &[Severity]| -> Vec<RuleStatus> {
            // A rule that is true and does not hold yet does not count.
            levels.iter().map(|level| rule(*level, true)).chain([rule(P0, false)]).collect()
        };
        type Policies<'a> = &'a [(&'a str, &'a [Severity])];
        let cases: [(Policies<'_>, Option<&str>); 4] = [
            (&[("a", &[P2]), ("z", &[P3, P1])], Some("z")),
            (&[("b", &[P1]), ("a", &[P1]), ("c", &[P2])], Some("a")),
            (&[("a", &[]), ("b", &[P3])], Some("b")),
            (&[("a", &[])], None),
        ];
        for (policies, wanted) in cases {
            let policies: Vec<_> = policies.iter().map(|(name, levels)| (*name, holding(levels))).collect();
            let found = choose_policy(policies.iter().map(|(name, rules)| candidate(name, rules)));
            assert_eq!(found, wanted, "{policies:?}");
        }
    }

    #[test]
    fn a_policy_that_cannot_respond_is_not_chosen() {
        let rules = [rule(P0, true)];
        let able = candidate("a", &rules);
        assert_eq!(choose_policy([able]), Some("a"));
        assert_eq!(choose_policy([Candidate { accepted: false, ..able }]), None);
        assert_eq!(choose_policy([Candidate { rests: true, ..able }]), None);
    }
}
