//! The policy of an Incident, and whether the Incident has its claim.

use std::sync::Arc;

use firebreak_engine::decide_policy::Tenure;
use firebreak_engine::facts::PolicyFact;
use firebreak_engine::intent::Response;
use firebreak_engine::rules::Rules;
use kube::{Api, ResourceExt};

use super::{choose, policy_of, translate};
use crate::api::{Incident, RemediationPolicy};
use crate::controller::Operator;
use crate::controller::error::Error;
use crate::controller::policy::translate as policy_side;
use crate::controller::queue::Name;
use crate::controller::seen::Seen;
use crate::controller::stored::find;

/// The policy, for this Incident.
pub(super) struct Situation {
    /// The policy, if it can be read.
    pub policy: Option<Arc<RemediationPolicy>>,
    /// Its rules, if it is Accepted.
    pub rules: Option<Arc<Rules>>,
    /// The facts for the engine.
    pub fact: PolicyFact,
    /// The relation of the Incident to the claim of its policy, if there is one.
    pub tenure: Option<Tenure>,
}

impl Situation {
    fn without_policy(fact: PolicyFact) -> Self {
        Self { policy: None, rules: None, fact, tenure: None }
    }

    /// Whether the Incident may be closed now. Without a policy that can be read no write would ever bind the claim to
    /// it, and a person must be able to end it. If the policy is gone, so is its claim. If the policy does not decode,
    /// its claim may still announce this Incident. When it decodes again, that claim is only cleared after a live read,
    /// which finds this Incident, closed: the policy then counts its response as ended. Only if the Incident does not
    /// exist any more by then is its response not counted.
    pub fn may_close(&self) -> bool {
        self.tenure.as_ref().is_none_or(Tenure::may_close)
    }
}

/// Where the policy is read first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// The last state from the watch.
    Seen,
    /// A live read.
    Live,
}

/// What an Incident finds when it looks for its policy.
pub(super) enum Found {
    /// What it starts from.
    Situation(Situation),
    /// First it has to record that it waits for the policy with this uid.
    ToAwait(String),
    /// Its announcement is revoked, and the policy is about to look for it.
    Revoked,
    /// It is not decided yet whether it has the claim. The write that decides makes it due again.
    Undecided,
}

/// Looks for the policy of an Incident.
///
/// # Errors
/// The API server gives no answer, so it is not known.
pub(super) async fn observe_policy(
    operator: &Operator,
    incident: &Incident,
    view: View,
) -> Result<Found, Error> {
    let Some(name) = policy_of(incident) else {
        let why = choose::waits_for_a_rule(&incident.namespace().unwrap_or_default());
        return Ok(Found::Situation(Situation::without_policy(PolicyFact::NotChosen { why })));
    };
    if let Some(Seen::Undecodable { why, .. }) = operator.policies.get(&name) {
        let why = format!("policy {} cannot be read ({why})", name.name);
        return Ok(Found::Situation(Situation::without_policy(PolicyFact::Unavailable { why })));
    }
    let of = |policy: &RemediationPolicy| translate::tenure(policy, incident);
    let fact = policy_side::incident(incident);
    let counts = |seen: &Arc<RemediationPolicy>| {
        view == View::Seen && !fact.knows_another(&uid_of(seen)) && of(seen).counts_as_seen()
    };
    let policy = match operator.policies.object(&name).filter(counts) {
        Some(seen) => Some(seen),
        None => live(operator, &name).await?,
    };
    let tenure = policy.as_deref().map(of);
    match (&tenure, policy.as_deref()) {
        (Some(Tenure::Revoked), _) => return Ok(Found::Revoked),
        (Some(Tenure::Pending), Some(policy)) if fact.is_unaware_of(&uid_of(policy)) => {
            return Ok(Found::ToAwait(uid_of(policy)));
        }
        // What a person ends need not wait for a claim, which a policy that is not looked at never decides on.
        (Some(Tenure::Pending), _) if !is_ending(incident) => return Ok(Found::Undecided),
        (Some(Tenure::Vacant), _) if !is_ending(incident) => {
            // The write by which it, or another one that comes first, gets the claim makes it due again.
            operator.nudge_policy(&name);
            return Ok(Found::Undecided);
        }
        _ => {}
    }
    let rules = policy.as_deref().map(|policy| operator.rules(policy));
    let why = rules.as_ref().and_then(|rules| rules.as_ref().as_ref().err()).map(|faults| faults.join("; "));
    let why = why.unwrap_or_default();
    let usable = rules.and_then(|rules| rules.as_ref().as_ref().ok().cloned());
    let fact = translate::policy(policy.as_deref(), usable.as_deref().ok_or(why.as_str()), incident);
    Ok(Found::Situation(Situation { rules: usable, policy, fact, tenure }))
}

/// Whether the Incident certainly has the claim. An announced Incident has it once a live read has shown
/// the announcement, which happens together with the other reads of a decision.
///
/// # Errors
/// The API server gives no answer, so it is not known.
pub(super) async fn confirm(
    operator: &Operator,
    incident: &Incident,
    situation: &Situation,
) -> Result<bool, Error> {
    let incident_uid = incident.uid().unwrap_or_default();
    let uid = situation.policy.as_deref().map(uid_of);
    let is_certain = situation.tenure != Some(Tenure::Announced)
        || operator.memories.incident(&incident_uid).confirmed_by == uid;
    let Some(name) = policy_of(incident).filter(|_| !is_certain) else { return Ok(true) };
    let Some(live) = live(operator, &name).await? else { return Ok(false) };
    let is_confirmed = Some(uid_of(&live)) == uid
        && matches!(translate::tenure(&live, incident), Tenure::Announced | Tenure::Bound);
    operator
        .memories
        .edit_incident(&incident_uid, |memory| memory.confirmed_by = uid.filter(|_| is_confirmed));
    Ok(is_confirmed)
}

/// Whether a person has ended the Incident, or it is being deleted.
fn is_ending(incident: &Incident) -> bool {
    matches!(incident.spec.response, Some(Response::Withdrawn | Response::Kept))
        || incident.metadata.deletion_timestamp.is_some()
}

fn uid_of(policy: &RemediationPolicy) -> String {
    policy.uid().unwrap_or_default()
}

async fn live(operator: &Operator, name: &Name) -> Result<Option<Arc<RemediationPolicy>>, Error> {
    let api: Api<RemediationPolicy> = Api::namespaced(operator.context.client.clone(), &name.namespace);
    Ok(find(&api, &name.name).await?.map(Arc::new))
}
