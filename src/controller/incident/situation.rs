//! The policy of an Incident, and whose its claim is.

use std::sync::Arc;

use firebreak_engine::facts::PolicyFact;
use firebreak_engine::intent::Response;
use firebreak_engine::rules::Rules;
use kube::{Api, ResourceExt};

use super::translate::{self, Claim};
use super::{choose, policy_of};
use crate::api::{Incident, RemediationPolicy};
use crate::controller::Operator;
use crate::controller::error::Error;
use crate::controller::policy::claim;
use crate::controller::queue::Key;
use crate::controller::seen::Seen;
use crate::kubernetes::retry;

/// The policy as it stands for this Incident.
pub(super) struct Situation {
    /// The policy, if it can be read.
    pub policy: Option<RemediationPolicy>,
    /// Its rules, if it is Accepted.
    pub rules: Option<Arc<Rules>>,
    /// What the engine is told.
    pub fact: PolicyFact,
}

/// None while the claim is about to be filled in.
///
/// # Errors
/// The API server gives no answer, so it is not known.
pub(super) async fn observe_policy(
    operator: &Operator,
    incident: &Incident,
) -> Result<Option<Situation>, Error> {
    let Some(name) = policy_of(incident) else {
        let why = choose::waits_for_a_rule(&incident.namespace().unwrap_or_default());
        return Ok(Some(Situation { policy: None, rules: None, fact: PolicyFact::NotChosen { why } }));
    };
    if let Some(Seen::Undecodable { why, .. }) = operator.policies.get(&name) {
        let fact = PolicyFact::Unavailable { why: format!("policy {} cannot be read ({why})", name.name) };
        return Ok(Some(Situation { policy: None, rules: None, fact }));
    }
    let mut policy = operator.policy(&name);
    let claimed = |policy: Option<&RemediationPolicy>| {
        policy.map_or(Claim::NotOurs, |policy| translate::claim(policy, incident))
    };
    if claimed(policy.as_ref()) == Claim::NotOurs {
        // What the watch showed may be old, and whether the claim is lost must not be a guess.
        let api: Api<RemediationPolicy> = Api::namespaced(operator.context.client.clone(), &name.namespace);
        policy = retry::find(&name.name, || api.get(&name.name)).await?;
    }
    if claimed(policy.as_ref()) == Claim::Soon {
        // The write that fills it in makes this Incident due again.
        return Ok(None);
    }
    if !matches!(incident.spec.response, Some(Response::Withdrawn | Response::Kept))
        && policy.as_ref().is_some_and(claim::is_free)
        && claim::may_claim(incident)
    {
        // So does the write by which this one gets the claim, or another one that comes first.
        operator.queue.nudge(Key::Policy(name), 1);
        return Ok(None);
    }
    let rules = policy.as_ref().map(|policy| operator.rules(policy));
    let why = rules.as_ref().and_then(|rules| rules.as_ref().as_ref().err()).map(|faults| faults.join("; "));
    let why = why.unwrap_or_default();
    let usable = rules.and_then(|rules| rules.as_ref().as_ref().ok().cloned());
    let fact = translate::policy(policy.as_ref(), usable.as_deref().ok_or(why.as_str()), incident);
    Ok(Some(Situation { rules: usable, policy, fact }))
}
