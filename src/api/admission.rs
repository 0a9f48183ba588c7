//! The ValidatingAdmissionPolicies: what the API server asks before it takes a
//! person's decision or a status. They need no webhook, and so nothing that runs.

/// For an operator in [`SHIPPED_NAMESPACE`].
const SHIPPED: &str = include_str!("admission.yaml");

/// The namespace that everything shipped is written for.
pub const SHIPPED_NAMESPACE: &str = "firebreak-system";

/// The policies and their bindings as a YAML stream. Only the operator in this
/// namespace may write a status.
pub fn admission(operator_namespace: &str) -> String {
    SHIPPED.replace(SHIPPED_NAMESPACE, operator_namespace)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::admissionregistration::v1::{
        ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    };
    use serde_json::Value;

    use super::*;

    /// The policies, each with the only binding of its name.
    fn shipped() -> Vec<(ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding)> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(SHIPPED).unwrap();
        let pairs = documents.chunks(2).map(|pair| {
            let policy = serde_json::from_value(pair[0].clone()).unwrap();
            (policy, serde_json::from_value(pair[1].clone()).unwrap())
        });
        pairs.collect()
    }

    #[test]
    fn every_policy_is_in_force_and_denies_when_it_cannot_tell() {
        for (policy, binding) in shipped() {
            let name = policy.metadata.name.unwrap();
            let (rules, bound) = (policy.spec.unwrap(), binding.spec.unwrap());
            assert_eq!(bound.policy_name.as_deref(), Some(name.as_str()));
            assert_eq!(bound.validation_actions.unwrap(), ["Deny"], "{name}");
            assert_eq!(rules.failure_policy.as_deref(), Some("Fail"), "{name}");
        }
    }

    #[test]
    fn every_refusal_is_one_line() {
        for (policy, _) in shipped() {
            for rule in policy.spec.unwrap().validations.unwrap() {
                let words = rule.message.unwrap_or_default();
                assert!(!words.is_empty() && !words.contains('\n'), "{}: {words:?}", rule.expression);
                assert_eq!(rule.reason.as_deref(), Some("Forbidden"), "{}", rule.expression);
            }
        }
    }

    #[test]
    fn an_operator_in_another_namespace_writes_the_status_there() {
        let moved = admission("ops");
        assert!(moved.contains("'system:serviceaccount:ops:firebreak'"));
        assert!(!moved.contains(SHIPPED_NAMESPACE));
    }
}
