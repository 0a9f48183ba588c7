//! Whether a policy is Ready, as people see it.

use firebreak_engine::verdict::Verdict;
use kube::ResourceExt;

use crate::api::RemediationPolicy;
use crate::api::condition::ConditionType;

/// That a policy is not Ready, and why, as a sentence without its full stop; none if it is.
pub fn not_ready(policy: &RemediationPolicy) -> Option<String> {
    let (name, namespace) = (policy.name_any(), policy.namespace().unwrap_or_default());
    let conditions = policy.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions.into_iter().find(|condition| condition.type_ == ConditionType::Ready.name());
    match ready {
        Some(ready) if ready.status == Verdict::True => None,
        Some(ready) => Some(format!(
            "policy {name} is not Ready, and may change nothing: {}: {}",
            ready.reason, ready.message
        )),
        None => Some(format!(
            "no operator has picked up policy {name} yet, so it changes nothing; check that an operator runs, and that it \
             watches namespace {namespace}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(conditions: &Value) -> RemediationPolicy {
        serde_json::from_value(json!({
            "apiVersion": "firebreak.dev/v1alpha1", "kind": "RemediationPolicy", "spec": {},
            "metadata": {"name": "gpu", "namespace": "llm-serving"}, "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn a_policy_that_is_not_ready_says_why() {
        let ready = |status: &str, reason: &str, message: &str| {
            policy(&json!([{"type": "Ready", "status": status, "reason": reason, "message": message,
                "lastTransitionTime": "2026-03-01T10:00:00Z"}]))
        };
        assert_eq!(not_ready(&ready("True", "Watching", "no rule holds")), None);
        assert_eq!(
            not_ready(&ready("False", "Forbidden", "ServiceAccount a/b does not exist")).unwrap(),
            "policy gpu is not Ready, and may change nothing: Forbidden: ServiceAccount a/b does not exist"
        );
        let unseen = not_ready(&policy(&json!([]))).unwrap();
        assert!(
            unseen.contains("no operator has picked up policy gpu") && unseen.contains("llm-serving"),
            "{unseen}"
        );
    }
}
