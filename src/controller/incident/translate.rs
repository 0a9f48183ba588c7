//! From API objects to the engine's facts, and from its state to the status.
//! Takes no client.

use firebreak_engine::facts::PolicyFact;
use firebreak_engine::incident::IncidentState;
use firebreak_engine::intent::PersonIntent;
use firebreak_engine::phase::{self, Phase};
use firebreak_engine::rules::Rules;
use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::condition;
use crate::api::{Incident, IncidentStatus, RemediationPolicy, names};
use crate::controller::policy::claim::had_claim;

/// What a person wants.
pub fn intent(incident: &Incident) -> PersonIntent {
    PersonIntent {
        pinned: incident.spec.severity,
        response: incident.spec.response.unwrap_or_default(),
        response_by: incident.spec.response_by.clone(),
        acknowledged_by: incident.spec.acknowledged_by.clone(),
        approvals: incident.spec.approvals.clone(),
        deleting: incident.metadata.deletion_timestamp.is_some(),
        abandon: incident.annotations().get(names::ABANDON).is_some_and(|value| value == "true"),
    }
}

/// Whether the claim of a policy is this Incident's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It names the uid.
    Ours,
    /// It names our nonce and the uid is about to be filled in, or nobody has looked at the
    /// policy since it was created.
    Soon,
    /// It names another Incident, or none.
    NotOurs,
}

/// Whether the claim of the policy is this Incident's.
pub fn claim(policy: &RemediationPolicy, incident: &Incident) -> Claim {
    let Some(status) = policy.status.as_ref().filter(|status| status.observed_generation.is_some()) else {
        return Claim::Soon;
    };
    let Some(active) = status.active_incident.as_ref() else { return Claim::NotOurs };
    if active.uid.is_some() && active.uid == incident.uid() {
        Claim::Ours
    } else if active.uid.is_none()
        && active.nonce.is_some()
        && active.nonce.as_ref() == incident.annotations().get(names::NONCE)
    {
        Claim::Soon
    } else {
        Claim::NotOurs
    }
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
            "policy {name} does not exist (`kubectl get rpol -n {namespace}` lists those that do)"
        ));
    };
    if claim(policy, incident) == Claim::NotOurs {
        let active = policy.status.as_ref().and_then(|status| status.active_incident.as_ref());
        return PolicyFact::Claimed {
            by: active.map(|active| active.name.clone()).unwrap_or_default(),
            // A policy that was made anew has no claim yet, and takes back the Incident that had its claim.
            superseded: incident.annotations().contains_key(names::NONCE)
                && (active.is_some() || !had_claim(incident)),
        };
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
            responses: policy
                .status
                .as_ref()
                .map(|status| status.recent_responses.clone())
                .unwrap_or_default(),
        },
    }
}

/// The whole status for a state.
pub fn status(incident: &Incident, state: &IncidentState, now: Timestamp) -> IncidentStatus {
    let old = incident.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let generation = incident.metadata.generation.unwrap_or_default();
    IncidentStatus {
        observed_generation: Some(generation),
        phase: Some(Phase::of(state)),
        progress: Some(phase::progress(state)),
        changes_in_force: u32::try_from(state.in_force()).unwrap_or(u32::MAX),
        conditions: condition::merge(old, phase::conditions(state), generation, now),
        state: state.clone(),
    }
}

/// How urgent an Incident is in the queue: its severity, and in between while
/// it has none.
pub fn urgency(incident: &Incident) -> u8 {
    use firebreak_engine::policy::Severity;
    match incident.status.as_ref().and_then(|status| status.state.severity) {
        Some(Severity::P0) => 0,
        None | Some(Severity::P1) => 1,
        Some(Severity::P2) => 2,
        Some(Severity::P3) => 3,
    }
}
