//! The operator's decision on an Incident that exists only in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use firebreak_engine::decide::Decision;
use firebreak_engine::decide_policy::NO_SEVERITY_RULES;
use firebreak_engine::facts::{Facts, ListingRead, Looked, PolicyFact, Reading};
use firebreak_engine::id::IncidentId;
use firebreak_engine::incident::RuleStatus;
use firebreak_engine::policy::{Mode, PolicySpec, Severity, SeverityRuleSpec};
use firebreak_engine::rules::Rules;
use firebreak_engine::verdict::Verdict;
use kube::ResourceExt;

use super::answer::{About, Listed, Plan};
use super::hints::hints;
use crate::api::RemediationPolicy;
use crate::cli::Error;
use crate::cli::connection::Connection;
use crate::cli::readings::{Reader, Readings};
use crate::endpoints::Endpoints;
use crate::look::holder::Holders;
use crate::look::own::OwnReads;
use crate::look::{self, Account, Kinds};
use crate::observe::PolicyKey;
use crate::workloads::Profiles;

/// The input of a plan.
pub struct Subject<'a> {
    /// The cluster.
    pub connection: &'a Connection,
    /// The profiles of the kinds.
    pub profiles: Profiles,
    /// The endpoints that signals may ask; none if the operator's configuration was not given.
    pub endpoints: Option<Arc<Endpoints>>,
    /// The policy, with the status of the one in the cluster.
    pub policy: RemediationPolicy,
    /// The namespace where it is, or would be.
    pub namespace: String,
    /// The account that reads.
    pub account: Account,
    /// The reason in plain words.
    pub read_as: String,
    /// What keeps the policy in the cluster from responding.
    pub problem: Option<String>,
    /// That the brake is engaged, or that it is not known.
    pub brake: Option<String>,
}

/// Plans for the level that holds now, or as if a rule held if none does.
pub async fn plan(subject: &Subject<'_>) -> Result<Plan, Error> {
    let spec = in_observe(&subject.policy.spec.policy);
    let rules = parse(&spec)?;
    let reader = Reader {
        connection: subject.connection,
        profiles: &subject.profiles,
        endpoints: subject.endpoints.as_ref(),
        client: subject.account.as_ref().map_err(|why| Error::bug("cannot read signals", why))?,
        read_as: &subject.read_as,
    };
    let key = PolicyKey { namespace: subject.namespace.clone(), name: subject.policy.name_any() };
    let signals = Readings::of(&reader, key, &rules, &subject.policy).first(&rules, &subject.policy).await;
    let expected = subject.policy.status.iter().flat_map(|status| &status.state.expected);
    let baselines = expected.map(|entry| (entry.signal.clone(), entry.value)).collect();
    let hints = hints(subject, &rules, &signals, &baselines).await;
    let (now, listed) = decide(subject, &rules, signals.clone()).await;
    let mut about = About::new(&subject.namespace, &subject.policy, &subject.read_as);
    about.problem.clone_from(&subject.problem);
    about.brake.clone_from(&subject.brake);
    if now.next.severity.is_some() {
        return Ok(Plan::new(about, &rules, &now, &now, &listed, &hints, None));
    }
    let (as_if, assumption) = as_if_held(&spec, &now.next.rules);
    let rules = parse(&as_if)?;
    let (then, listed) = decide(subject, &rules, signals).await;
    Ok(Plan::new(about, &rules, &now, &then, &listed, &hints, Some(assumption)))
}

fn parse(spec: &PolicySpec) -> Result<Rules, Error> {
    Rules::parse(spec).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Error::failed("the policy cannot be used", faults.join("; "), "correct that")
    })
}

fn in_observe(spec: &PolicySpec) -> PolicySpec {
    PolicySpec { mode: Mode::Observe, suspend: false, ..spec.clone() }
}

/// The policy as if a rule held now, and what is assumed: that the first rule that is true has been
/// true for long enough; if none is true, an emergency for which all steps are.
fn as_if_held(spec: &PolicySpec, rules: &[RuleStatus]) -> (PolicySpec, String) {
    let mut spec = spec.clone();
    if let Some(rule) = rules.iter().find(|rule| rule.truth == Verdict::True) {
        let mut wait = String::new();
        for waiting in spec.severity.iter_mut().filter(|other| other.reason == rule.reason) {
            wait = waiting.for_.take().map(|for_| format!(" for {for_}")).unwrap_or_default();
        }
        let text = format!(
            "no rule holds yet: {} {} is True, and holds once it has been True{wait}. This is the plan for \
                that case",
            rule.level, rule.reason
        );
        return (spec, text);
    }
    spec.severity = vec![SeverityRuleSpec {
        level: Severity::P0,
        reason: "Assumed".to_owned(),
        when: "true".to_owned(),
        for_: None,
        until: None,
    }];
    for step in &mut spec.steps {
        step.severities.clear();
    }
    let unknown: Vec<&str> =
        rules.iter().filter(|rule| rule.truth == Verdict::Unknown).map(|rule| rule.reason.as_str()).collect();
    let if_used = match rules {
        [] => "if a person opened an Incident with a severity for it",
        _ => "if a rule for it held",
    };
    let doubt = match unknown.as_slice() {
        [] => String::new(),
        [one] => format!(" (and {one} is Unknown)"),
        several => format!(" (and {} are Unknown)", several.join(", ")),
    };
    let why = match rules {
        [] => NO_SEVERITY_RULES.to_owned(),
        _ => format!("no rule holds{doubt}, so nothing would be done now"),
    };
    (spec, format!("{why}. This is what each step would do {if_used}"))
}

/// What the operator would decide about a new Incident of the policy, and which objects it would change
/// instead of objects that they own.
async fn decide(
    subject: &Subject<'_>,
    rules: &Rules,
    signals: BTreeMap<String, Reading>,
) -> (Decision, Listed) {
    let policy = &subject.policy;
    let status = policy.status.as_ref();
    let incident = IncidentId {
        namespace: subject.namespace.clone(),
        name: "plan".to_owned(),
        uid: "00000000-0000-0000-0000-000000000000".to_owned(),
    };
    let usable = PolicyFact::Usable {
        uid: policy.uid().unwrap_or_default(),
        name: policy.name_any(),
        generation: policy.metadata.generation.unwrap_or_default(),
        service_account: rules.service_account.clone(),
        responses: Vec::new(),
    };
    let mut facts = Facts {
        signals,
        expected: status.map(|status| status.state.expected.clone()).unwrap_or_default(),
        policy_rules: status.map(|status| status.state.rules.clone()).unwrap_or_default(),
        ..Facts::new(incident, usable)
    };
    let kinds = Kinds { discovery: &subject.connection.discovery, profiles: &subject.profiles };
    let namespace = facts.incident.namespace.clone();
    let own = OwnReads {
        holders: Holders { client: &subject.connection.client, namespaces: &[] },
        brake: None, // a plan writes nothing
        namespace: &namespace,
    };
    let decision = look::decide(kinds, &subject.account, own, Some(rules), &mut facts).await.decision;
    (decision, listed(&facts.looked))
}

/// The owners among the targets that were listed, and the names that no object has.
fn listed(looked: &Looked) -> Listed {
    let mut listed = Listed::default();
    for (step, read) in &looked.listings {
        let ListingRead::Listed(listing) = read else { continue };
        listed.absent.insert(step.clone(), listing.absent.clone());
        let owners = listing.targets.iter().filter(|target| !target.resolved_from.is_empty());
        listed.resolved.extend(
            owners.map(|target| ((step.clone(), target.id.uid.clone()), target.resolved_from.clone())),
        );
    }
    listed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec() -> PolicySpec {
        serde_json::from_value(json!({
            "mode": "Enforce", "suspend": true,
            "signals": [{"name": "nodes", "nodes": {}}],
            "severity": [
                {"level": "P0", "reason": "Lost", "when": "signals.nodes.ready == 0", "for": "30s"},
                {"level": "P2", "reason": "Degraded", "when": "signals.nodes.ready < 3", "for": "2m"},
            ],
            "steps": [{
                "name": "fallback", "severities": ["P1"],
                "action": {"cpuFallback": {"targets": {"apiVersion": "apps/v1", "kind": "Deployment"}}},
            }],
        }))
        .unwrap()
    }

    fn rule(level: Severity, reason: &str, truth: Verdict) -> RuleStatus {
        RuleStatus {
            reason: reason.to_owned(),
            level,
            truth,
            known: truth,
            since: None,
            unknown_since: None,
            holds: false,
            evidence: String::new(),
        }
    }

    #[test]
    fn a_rule_that_is_true_is_assumed_to_hold() {
        let rules =
            [rule(Severity::P0, "Lost", Verdict::Unknown), rule(Severity::P2, "Degraded", Verdict::True)];
        let (as_if, text) = as_if_held(&in_observe(&spec()), &rules);
        assert_eq!(as_if.severity[1].for_, None);
        assert!(as_if.severity[0].for_.is_some());
        assert_eq!(as_if.steps, spec().steps, "only the steps for that level");
        assert!(text.contains("P2 Degraded is True, and holds once it has been True for 2m"), "{text}");
    }

    #[test]
    fn when_no_rule_is_true_every_step_is_planned_and_nothing_is_enforced() {
        let (as_if, text) = as_if_held(&in_observe(&spec()), &[rule(Severity::P0, "Lost", Verdict::False)]);
        assert_eq!((as_if.mode, as_if.suspend), (Mode::Observe, false));
        let rules = Rules::parse(&as_if).unwrap();
        assert!(rules.steps.iter().all(|step| step.is_for(Severity::P0)));
        assert!(text.starts_with("no rule holds, "), "{text}");
        let (_, text) = as_if_held(&in_observe(&spec()), &[rule(Severity::P0, "Lost", Verdict::Unknown)]);
        assert!(text.contains("and Lost is Unknown"), "{text}");
        let (as_if, text) = as_if_held(&in_observe(&PolicySpec { severity: Vec::new(), ..spec() }), &[]);
        assert!(as_if.steps[0].severities.is_empty());
        assert_eq!(
            text,
            "it has no severity rules, so it opens nothing: only Incidents that people open with a severity use it. \
             This is what each step would do if a person opened an Incident with a severity for it"
        );
    }
}
