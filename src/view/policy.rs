//! What keeps a policy from responding, as people see it.

use firebreak_engine::verdict::Verdict;
use kube::ResourceExt;

use crate::api::RemediationPolicy;
use crate::api::condition::ConditionType;

/// What people must know before they rely on a policy, as a sentence without its full stop: that it is suspended, or is
/// not Ready, and why; none if it is Ready.
///
/// A policy that is Accepted responds with what it can read and may write, so that it is not Ready says no more than why.
pub fn problem(policy: &RemediationPolicy) -> Option<String> {
    let (name, namespace) = (policy.name_any(), policy.namespace().unwrap_or_default());
    let conditions = policy.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let find = |type_: ConditionType| conditions.iter().find(|condition| condition.type_ == type_.name());
    let Some(ready) = find(ConditionType::Ready) else {
        return Some(format!(
            "no operator has picked up policy {name} yet, so it changes nothing; check that an operator runs, and that it \
             watches namespace {namespace}"
        ));
    };
    let is_refused = find(ConditionType::Accepted).is_some_and(|accepted| accepted.status == Verdict::False);
    if is_refused {
        let why = format!("{}: {}", ready.reason, ready.message);
        return Some(format!("policy {name} is not Accepted, so it changes nothing: {why}"));
    }
    if policy.spec.policy.suspend {
        return Some(format!(
            "policy {name} is suspended, so it changes nothing until spec.suspend is removed"
        ));
    }
    (ready.status != Verdict::True)
        .then(|| format!("policy {name} is not Ready: {}: {}", ready.reason, ready.message))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(spec: &Value, conditions: &[[&str; 4]]) -> RemediationPolicy {
        let condition = |[type_, status, reason, message]: &[&str; 4]| {
            json!({"type": type_, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": "2026-03-01T10:00:00Z"})
        };
        let conditions: Vec<Value> = conditions.iter().map(condition).collect();
        serde_json::from_value(json!({
            "apiVersion": "firebreak.dev/v1alpha1", "kind": "RemediationPolicy", "spec": spec,
            "metadata": {"name": "gpu", "namespace": "llm-serving"}, "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    const ACCEPTED: [&str; 4] = ["Accepted", "True", "Valid", ""];

    #[test]
    fn a_policy_that_is_not_ready_says_why_and_no_more() {
        let active = json!({});
        let said = |ready: [&str; 4]| problem(&policy(&active, &[ready, ACCEPTED]));
        assert_eq!(said(["Ready", "True", "Watching", "no rule holds"]), None);
        // Of all of these, steps start and objects are changed.
        for reason in ["Forbidden", "SignalUnknown", "RuleError", "CannotOpen"] {
            let expected = format!("policy gpu is not Ready: {reason}: why");
            assert_eq!(said(["Ready", "False", reason, "why"]), Some(expected));
        }
    }

    #[test]
    fn only_a_policy_that_no_incident_can_use_is_said_to_change_nothing() {
        let (active, suspended) = (json!({}), json!({"suspend": true}));
        let unseen = problem(&policy(&active, &[])).unwrap();
        assert!(
            unseen.contains("no operator has picked up policy gpu") && unseen.contains("llm-serving"),
            "{unseen}"
        );
        let invalid = ["Ready", "False", "Invalid", "spec.steps: is empty"];
        let refused = policy(&active, &[invalid, ["Accepted", "False", "Invalid", "spec.steps: is empty"]]);
        assert_eq!(
            problem(&refused).unwrap(),
            "policy gpu is not Accepted, so it changes nothing: Invalid: spec.steps: is empty"
        );
        // It is Ready as long as it watches.
        let rests = policy(&suspended, &[["Ready", "True", "Suspended", "suspended"], ACCEPTED]);
        assert_eq!(
            problem(&rests).unwrap(),
            "policy gpu is suspended, so it changes nothing until spec.suspend is removed"
        );
    }
}
