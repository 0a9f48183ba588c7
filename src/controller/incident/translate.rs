//! From API objects to the engine's facts, and from its state to the status.
//! Takes no client.

use firebreak_engine::decide_policy::Tenure;
use firebreak_engine::facts::PolicyFact;
use firebreak_engine::incident::IncidentState;
use firebreak_engine::intent::PersonIntent;
use firebreak_engine::phase::{self, Phase};
use firebreak_engine::rules::Rules;
use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::condition;
use crate::api::format::FORMAT;
use crate::api::{Incident, IncidentStatus, RemediationPolicy, names};
use crate::controller::policy::translate as policy_side;

/// The decisions of a person.
pub fn intent(incident: &Incident) -> PersonIntent {
    PersonIntent {
        pinned: incident.spec.severity,
        response: incident.spec.response.unwrap_or_default(),
        response_by: incident.spec.response_by.clone(),
        acknowledged_by: incident.spec.acknowledged_by.clone(),
        approvals: incident.spec.approvals.clone(),
        settlements: incident.spec.settlements.clone(),
        deleting: incident.metadata.deletion_timestamp.is_some(),
        abandon: incident.annotations().get(names::ABANDON).is_some_and(|value| value == "true"),
    }
}

/// The relation of the Incident to the claim of its policy.
pub fn tenure(policy: &RemediationPolicy, incident: &Incident) -> Tenure {
    Tenure::of(&policy_side::incident(incident), policy_side::state(policy))
}

/// The policy as a fact, given its parsed rules or why there are none.
pub fn policy(
    policy: Option<&RemediationPolicy>,
    rules: Result<&Rules, &str>,
    incident: &Incident,
) -> PolicyFact {
    let unavailable = |why: String| PolicyFact::Unavailable { why };
    let Some(policy) = policy else {
        let (name, namespace) =
            (incident.policy_name().unwrap_or_default(), incident.namespace().unwrap_or_default());
        return unavailable(format!(
            "policy {name} does not exist (`kubectl get rpol -n {namespace}` lists the existing ones)"
        ));
    };
    match tenure(policy, incident) {
        Tenure::Bound | Tenure::Announced => {}
        Tenure::Revoked | Tenure::Pending | Tenure::Vacant => {
            return PolicyFact::Claimed { by: String::new(), superseded: false };
        }
        Tenure::Lost { by, superseded } => {
            return PolicyFact::Claimed { by: by.unwrap_or_default(), superseded };
        }
    }
    match rules {
        Err(why) => unavailable(format!("policy {} is not Accepted ({why})", policy.name_any())),
        Ok(rules) if rules.suspend => unavailable(format!("policy {} is suspended", policy.name_any())),
        Ok(_) if policy.metadata.deletion_timestamp.is_some() => {
            unavailable(format!("policy {} is being deleted", policy.name_any()))
        }
        Ok(rules) => PolicyFact::Usable {
            uid: policy.uid().unwrap_or_default(),
            name: policy.name_any(),
            generation: policy.metadata.generation.unwrap_or_default(),
            service_account: rules.service_account.clone(),
            responses: policy_side::state(policy)
                .map(|state| state.recent_responses.clone())
                .unwrap_or_default(),
        },
    }
}

/// The whole status for a state.
pub fn status(incident: &Incident, state: &IncidentState, now: Timestamp) -> IncidentStatus {
    let old = incident.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let generation = incident.metadata.generation.unwrap_or_default();
    IncidentStatus {
        format: Some(FORMAT),
        observed_generation: Some(generation),
        phase: Some(Phase::of(state)),
        shown_severity: state.shown_severity(),
        progress: Some(phase::progress(state)),
        changes_in_force: u32::try_from(state.in_force()).unwrap_or(u32::MAX),
        conditions: condition::merge(old, phase::conditions(state), generation, now),
        state: state.clone(),
    }
}
