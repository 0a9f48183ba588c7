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
use crate::controller::queue::Name;
use crate::controller::seen::Seen;
use crate::kubernetes::retry;

/// The policy as it stands for this Incident.
pub(super) struct Situation {
    /// The policy, if it can be read.
    pub policy: Option<Arc<RemediationPolicy>>,
    /// Its rules, if it is Accepted.
    pub rules: Option<Arc<Rules>>,
    /// The facts for the engine.
    pub fact: PolicyFact,
    /// How the Incident stands to the claim, if there is a policy that has one.
    pub tenure: Option<Tenure>,
}

impl Situation {
    fn without_policy(fact: PolicyFact) -> Self {
        Self { policy: None, rules: None, fact, tenure: None }
    }

    /// Whether the Incident may be closed now.
    pub fn may_close(&self) -> bool {
        self.tenure.as_ref().is_none_or(Tenure::may_close)
    }
}

/// Where the policy is looked up first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// As the watch has last shown it.
    Seen,
    /// As the server says now.
    Live,
}

/// None while it is not decided whether the Incident has the claim.
///
/// # Errors
/// The API server gives no answer, so it is not known.
pub(super) async fn observe_policy(
    operator: &Operator,
    incident: &Incident,
    view: View,
) -> Result<Option<Situation>, Error> {
    let Some(name) = policy_of(incident) else {
        let why = choose::waits_for_a_rule(&incident.namespace().unwrap_or_default());
        return Ok(Some(Situation::without_policy(PolicyFact::NotChosen { why })));
    };
    if let Some(Seen::Undecodable { why, .. }) = operator.policies.get(&name) {
        let why = format!("policy {} cannot be read ({why})", name.name);
        return Ok(Some(Situation::without_policy(PolicyFact::Unavailable { why })));
    }
    let of = |policy: &RemediationPolicy| translate::tenure(policy, incident);
    let seen = operator.policies.object(&name).filter(|_| view == View::Seen);
    let (policy, tenure) = match seen.map(|policy| (of(&policy), policy)) {
        Some((tenure @ (Tenure::Bound | Tenure::Announced | Tenure::Pending), policy)) => {
            (Some(policy), Some(tenure))
        }
        // What the watch showed may be old, and whether the claim is lost must not be a guess.
        Some((Tenure::Vacant | Tenure::Lost { .. }, _)) | None => {
            let live = live(operator, &name).await?;
            let tenure = live.as_deref().map(of);
            (live, tenure)
        }
    };
    if tenure == Some(Tenure::Pending) {
        // The write that decides it makes this Incident due again.
        return Ok(None);
    }
    let ends = matches!(incident.spec.response, Some(Response::Withdrawn | Response::Kept));
    if tenure == Some(Tenure::Vacant) && !ends {
        // So does the write by which this one gets the claim, or another one that comes first.
        operator.nudge_policy(&name);
        return Ok(None);
    }
    let rules = policy.as_deref().map(|policy| operator.rules(policy));
    let why = rules.as_ref().and_then(|rules| rules.as_ref().as_ref().err()).map(|faults| faults.join("; "));
    let why = why.unwrap_or_default();
    let usable = rules.and_then(|rules| rules.as_ref().as_ref().ok().cloned());
    let fact = translate::policy(policy.as_deref(), usable.as_deref().ok_or(why.as_str()), incident);
    Ok(Some(Situation { rules: usable, policy, fact, tenure }))
}

/// Whether the Incident has the claim for certain. One that is only announced has it once a live read has shown
/// that, which is made beside the others that a decision needs.
///
/// # Errors
/// The API server gives no answer, so it is not known.
pub(super) async fn confirm(
    operator: &Operator,
    incident: &Incident,
    situation: &Situation,
) -> Result<bool, Error> {
    let uid = incident.uid().unwrap_or_default();
    let is_announced = situation.tenure == Some(Tenure::Announced);
    let Some(name) =
        policy_of(incident).filter(|_| is_announced && !operator.memories.incident(&uid).is_confirmed)
    else {
        return Ok(true);
    };
    let Some(live) = live(operator, &name).await? else { return Ok(false) };
    let is_confirmed = matches!(translate::tenure(&live, incident), Tenure::Announced | Tenure::Bound);
    operator.memories.edit_incident(&uid, |memory| memory.is_confirmed = is_confirmed);
    Ok(is_confirmed)
}

async fn live(operator: &Operator, name: &Name) -> Result<Option<Arc<RemediationPolicy>>, Error> {
    let api: Api<RemediationPolicy> = Api::namespaced(operator.context.client.clone(), &name.namespace);
    Ok(retry::find(&name.name, || api.get(&name.name)).await?.map(Arc::new))
}
