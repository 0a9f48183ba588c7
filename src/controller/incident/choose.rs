//! Which policy an Incident is for that names none.

use firebreak_engine::intent::Response;
use firebreak_engine::policy::Severity;
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

/// The policy that an Incident without one gets now, if it still needs one and there is one.
///
/// The choice stands, so it is made from what the server says at this moment. What the watch has shown
/// only saves the question.
///
/// # Errors
/// The API server gives no answer, so it is not known.
pub async fn choose(operator: &Operator, incident: &Incident) -> Result<Option<String>, Error> {
    let is_wanted = policy_of(incident).is_none()
        && !incident.is_closed()
        && incident.metadata.deletion_timestamp.is_none()
        && !matches!(incident.spec.response, Some(Response::Withdrawn | Response::Kept));
    let namespace = incident.namespace().unwrap_or_default();
    let seen = operator.policies.of_namespace(&namespace);
    if !is_wanted || most_severe(seen.iter().map(AsRef::as_ref)).is_none() {
        return Ok(None);
    }
    let resource = ApiResource::erase::<RemediationPolicy>(&());
    let client = operator.context.client.clone();
    let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource);
    let all = ListParams::default();
    let listed = retry::read(|| api.list(&all)).await?;
    // One that does not decode is said elsewhere, and hides no other.
    let live: Vec<RemediationPolicy> =
        listed.items.into_iter().filter_map(|raw| raw.try_parse().ok()).collect();
    Ok(most_severe(&live))
}

/// Of the policies whose rules hold the one with the most severe of these, then by name.
fn most_severe<'a>(policies: impl IntoIterator<Item = &'a RemediationPolicy>) -> Option<String> {
    policies
        .into_iter()
        .filter(|policy| can_respond(policy))
        .filter_map(|policy| Some((level(policy)?, policy.name_any())))
        .min()
        .map(|(_, name)| name)
}

/// Whether it is accepted as it stands now, and responds at all.
fn can_respond(policy: &RemediationPolicy) -> bool {
    let generation = policy.metadata.generation;
    let Some(status) = &policy.status else { return false };
    let is_accepted = status.conditions.iter().any(|condition| {
        condition.type_ == ConditionType::Accepted.name()
            && condition.status == Verdict::True
            && condition.observed_generation == generation
    });
    is_accepted
        && status.observed_generation == generation
        && !policy.spec.policy.suspend
        && policy.metadata.deletion_timestamp.is_none()
}

/// The most severe level of which a rule holds.
fn level(policy: &RemediationPolicy) -> Option<Severity> {
    let rules = policy.status.iter().flat_map(|status| &status.rules);
    rules.filter(|rule| rule.holds).map(|rule| rule.level).min()
}

/// What an Incident waits for that has found no policy.
pub fn waits_for_a_rule(namespace: &str) -> String {
    format!(
        "it names no policy, and no rule of a policy of this namespace holds, so nothing is applied. As soon as one \
         holds it goes on by itself. Not to wait, delete it and open one that names its policy: \
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

    #[test]
    fn the_most_severe_is_chosen_and_then_the_first_by_name() {
        let of = |name: &str, holding: &[&str]| policy(name, holding, |_| {});
        assert_eq!(chosen(&[of("a", &["P2"]), of("z", &["P3", "P1"])]).as_deref(), Some("z"));
        assert_eq!(chosen(&[of("b", &["P1"]), of("a", &["P1"]), of("c", &["P2"])]).as_deref(), Some("a"));
        assert_eq!(chosen(&[of("a", &[]), of("b", &["P3"])]).as_deref(), Some("b"));
        assert_eq!(chosen(&[of("a", &[])]), None);
    }

    /// What makes a policy one that cannot respond.
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
        for (why, edit) in edits {
            assert_eq!(chosen(&[policy("a", &["P0"], edit)]), None, "{why}");
        }
    }
}
