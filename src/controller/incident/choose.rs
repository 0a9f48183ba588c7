//! Finds a policy for an Incident that names none.

use firebreak_engine::decide_policy::{Candidate, choose_policy};
use firebreak_engine::intent::Response;
use firebreak_engine::verdict::Verdict;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Api, ResourceExt};

use super::policy_of;
use crate::api::condition::ConditionType;
use crate::api::{Incident, RemediationPolicy};
use crate::controller::Operator;
use crate::controller::error::Error;
use crate::kubernetes::retry;

/// The policy for an Incident without one, if it still needs one and there is one.
///
/// The choice is final, so it is based on live reads. The cache of the watch
/// only avoids unnecessary reads.
///
/// # Errors
/// The API server gives no answer, so it is not known.
pub async fn choose(operator: &Operator, incident: &Incident) -> Result<Option<String>, Error> {
    let is_wanted = policy_of(incident).is_none()
        && !incident.is_closed()
        && incident.metadata.deletion_timestamp.is_none()
        && !matches!(incident.spec.response, Some(Response::Withdrawn | Response::Kept));
    if !is_wanted {
        return Ok(None);
    }
    let namespace = incident.namespace().unwrap_or_default();
    let seen = operator.policies.of_namespace(&namespace);
    if most_severe(seen.iter().map(AsRef::as_ref)).is_none() {
        return Ok(None);
    }
    let resource = ApiResource::erase::<RemediationPolicy>(&());
    let client = operator.context.client.clone();
    let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource);
    let all = ListParams::default();
    let listed = retry::read(|| api.list(&all)).await?;
    // A policy that does not decode is reported elsewhere, and hides no other.
    let live: Vec<RemediationPolicy> =
        listed.items.into_iter().filter_map(|raw| raw.try_parse().ok()).collect();
    Ok(most_severe(&live))
}

/// The one that the engine chooses.
fn most_severe<'a>(policies: impl IntoIterator<Item = &'a RemediationPolicy>) -> Option<String> {
    choose_policy(policies.into_iter().filter_map(candidate)).map(str::to_owned)
}

/// A policy that a controller has picked up.
fn candidate(policy: &RemediationPolicy) -> Option<Candidate<'_>> {
    let generation = policy.metadata.generation;
    let status = policy.status.as_ref()?;
    let is_accepted = status.conditions.iter().any(|condition| {
        condition.type_ == ConditionType::Accepted.name()
            && condition.status == Verdict::True
            && condition.observed_generation == generation
    });
    Some(Candidate {
        name: policy.metadata.name.as_deref()?,
        accepted: is_accepted && status.observed_generation == generation,
        rests: policy.spec.policy.suspend || policy.metadata.deletion_timestamp.is_some(),
        rules: &status.state.rules,
    })
}

/// What an Incident without a policy waits for.
pub fn waits_for_a_rule(namespace: &str) -> String {
    format!(
        "it names no policy, and no rule of any policy in this namespace holds, so nothing is applied. It \
            continues as soon as a rule holds. If you do not want to wait, delete it and open one that names its policy: \
         `firebreak open POLICY -n {namespace}`, or kubectl with spec.policyRef.name; \
         `kubectl get rpol -n {namespace}` lists them"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A policy of which these rules hold.
    fn policy(name: &str, holding: &[&str], edit: impl FnOnce(&mut Value)) -> RemediationPolicy {
        let rule = |level: &&str| json!({"reason": format!("Rule{level}"), "level": level, "truth": "True", "known": "True", "holds": true});
        let quiet =
            json!({"reason": "Quiet", "level": "P0", "truth": "True", "known": "True", "holds": false});
        let rules: Vec<Value> = holding.iter().map(rule).chain([quiet]).collect();
        let accepted = json!({"type": "Accepted", "status": "True", "reason": "Valid", "message": "",
            "observedGeneration": 3, "lastTransitionTime": "2026-03-01T10:00:00Z"});
        let mut policy = json!({
            "apiVersion": "firebreak.dev/v1alpha1", "kind": "RemediationPolicy",
            "metadata": {"name": name, "namespace": "ns", "generation": 3},
            "spec": {},
            "status": {"observedGeneration": 3, "conditions": [accepted], "rules": rules},
        });
        edit(&mut policy);
        serde_json::from_value(policy).unwrap()
    }

    fn chosen(policies: &[RemediationPolicy]) -> Option<String> {
        most_severe(policies)
    }

    /// What keeps a policy from responding.
    type Edit = fn(&mut Value);

    #[test]
    fn a_policy_that_cannot_respond_is_not_chosen() {
        let edits: [(&str, Edit); 5] = [
            ("suspended", |policy| policy["spec"]["suspend"] = json!(true)),
            ("not accepted", |policy| policy["status"]["conditions"][0]["status"] = json!("False")),
            ("accepted as it was before", |policy| {
                policy["status"]["conditions"][0]["observedGeneration"] = json!(2);
            }),
            ("not looked at since it changed", |policy| policy["metadata"]["generation"] = json!(4)),
            ("on its way out", |policy| {
                policy["metadata"]["deletionTimestamp"] = json!("2026-03-01T10:00:00Z");
            }),
        ];
        assert_eq!(chosen(&[policy("a", &["P0"], |_| {})]).as_deref(), Some("a"));
        for (why, edit) in edits {
            assert_eq!(chosen(&[policy("a", &["P0"], edit)]), None, "{why}");
        }
    }
}
