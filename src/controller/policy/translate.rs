//! From API objects to the facts of a policy, and from its state to the status. Takes no client.

use firebreak_engine::decide_policy::{IncidentFact, PolicyDecision, PolicyState};
use firebreak_engine::incident::IncidentState;
use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::format::FORMAT;
use crate::api::{Incident, RemediationPolicy, RemediationPolicyStatus, condition, names};

/// The recorded state; none if no controller has picked up the policy since it was created.
pub fn state(policy: &RemediationPolicy) -> Option<&PolicyState> {
    let status = policy.status.as_ref().filter(|status| status.observed_generation.is_some());
    status.map(|status| &status.state)
}

/// An Incident, as far as its policy needs it.
pub fn incident(incident: &Incident) -> IncidentFact {
    let state = incident.status.as_ref().map(|status| &status.state);
    IncidentFact {
        name: incident.name_any(),
        uid: incident.uid().unwrap_or_default(),
        nonce: incident.annotations().get(names::NONCE).cloned(),
        created_at: incident.creation_timestamp().map(|time| time.0).unwrap_or_default(),
        had_claim: state.is_some_and(IncidentState::had_claim),
        knows: state.and_then(IncidentState::known_policy).map(str::to_owned),
        deleting: incident.metadata.deletion_timestamp.is_some(),
        closing: state.and_then(|state| state.closing),
        resolved_at: incident.closed_at(),
        in_force: state.is_some_and(|state| state.in_force() > 0),
    }
}

/// The whole status for a decision.
pub fn status(
    policy: &RemediationPolicy,
    decision: &PolicyDecision,
    now: Timestamp,
) -> RemediationPolicyStatus {
    let old = policy.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let generation = policy.metadata.generation.unwrap_or_default();
    RemediationPolicyStatus {
        format: Some(FORMAT),
        observed_generation: Some(generation),
        conditions: condition::merge(old, decision.conditions.iter().cloned(), generation, now),
        state: decision.next.clone(),
    }
}
