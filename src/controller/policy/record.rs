//! The only writer of a policy's status: whole, and guarded by the version that
//! was read.

use firebreak_engine::detect::Detection;
use firebreak_engine::incident::RuleStatus;
use firebreak_engine::rules::Limits;
use firebreak_engine::severity::keep_texts;
use firebreak_engine::verdict::Verdict;
use jiff::Timestamp;
use kube::api::PostParams;
use kube::core::DynamicObject;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::claim::{Claim, announce};
use super::responses::{Turn, follow};
use super::translate::{self, Standing};
use crate::api::condition::{ConditionType, Reason, merge, says};
use crate::api::{ActiveIncident, Expected, RemediationPolicy, RemediationPolicyStatus, names};
use crate::controller::Operator;
use crate::controller::error::Error;
use crate::controller::queue::Name;

/// A policy whose status is recorded: only then may an Incident be opened.
#[derive(Debug)]
pub struct Recorded(RemediationPolicy);

impl Recorded {
    /// The policy as it is now.
    pub fn into_policy(self) -> RemediationPolicy {
        self.0
    }
}

/// Records what is known of a policy; nothing is written when nothing changed.
///
/// # Errors
/// Somebody else wrote it, or the API server did not take it.
pub async fn record(
    operator: &Operator,
    policy: &RemediationPolicy,
    standing: &Standing,
    detection: Option<&Detection>,
    claim: &Claim,
    now: Timestamp,
) -> Result<Recorded, Error> {
    let old = policy.status.clone().unwrap_or_default();
    let generation = policy.metadata.generation.unwrap_or_default();
    let rules = operator.rules(policy);
    let active = active(policy, claim, detection);
    let claim = &match &active {
        Some(ActiveIncident { name, nonce: Some(nonce), uid: None }) => {
            Claim::Announced { name: name.clone(), nonce: nonce.clone() }
        }
        Some(_) | None => claim.clone(),
    };
    let rules = rules.as_ref().as_ref().ok().map(AsRef::as_ref);
    let facts = translate::conditions(rules, standing, detection, claim);
    let turn = Turn { old: &old, active: active.as_ref(), ended_at: claim.ended_at(), now };
    let mut next = RemediationPolicyStatus {
        observed_generation: Some(generation),
        conditions: merge(&old.conditions, facts, generation, now),
        recent_responses: follow(&turn, &Limits::of(&policy.spec.policy)),
        active_incident: active,
        ..old.clone()
    };
    if let Some(detection) = detection {
        take_in(&mut next, &old, detection, claim);
    }
    if next == old {
        return Ok(Recorded(policy.clone()));
    }
    write(operator, policy, next).await.map(Recorded)
}

fn take_in(
    next: &mut RemediationPolicyStatus,
    old: &RemediationPolicyStatus,
    detection: &Detection,
    claim: &Claim,
) {
    let found = &detection.assessment;
    next.rules.clone_from(&found.rules);
    next.signals.clone_from(&found.signals);
    next.waiting_for.clone_from(&detection.waiting_for);
    if matches!(claim, Claim::Over { recovered: false, .. }) {
        // Else a response that a person has ended would come straight back: by the rules that hold, or
        // by a milder one that is true and will hold soon. A more severe one, or one of which nothing
        // is known yet, is another emergency.
        let worst = found.rules.iter().filter(|rule| rule.holds).map(|rule| rule.level).min();
        let returns = |rule: &&RuleStatus| {
            rule.holds || rule.truth == Verdict::True && worst.is_some_and(|worst| rule.level >= worst)
        };
        next.waiting_for.extend(found.rules.iter().filter(returns).map(|rule| rule.reason.clone()));
        next.waiting_for.sort();
        next.waiting_for.dedup();
    }
    next.expected = found
        .baselines
        .iter()
        .map(|(signal, value)| Expected { signal: signal.clone(), value: *value })
        .collect();
    let (mut rules, mut signals) = (next.rules.clone(), next.signals.clone());
    keep_texts(&old.rules, &mut rules, &old.signals, &mut signals);
    if rules == old.rules && signals == old.signals {
        (next.rules, next.signals) = (rules, signals);
    }
}

/// The claim to record: with a rule that asks for an Incident it announces one.
fn active(
    policy: &RemediationPolicy,
    claim: &Claim,
    detection: Option<&Detection>,
) -> Option<ActiveIncident> {
    let old = policy.status.as_ref().and_then(|status| status.active_incident.clone());
    match claim {
        Claim::None => {
            detection.and_then(|detection| detection.open.as_ref()).map(|opening| announce(policy, opening))
        }
        // Without a detection it is not known which rules hold, and they belong into the same write.
        Claim::Over { .. } if detection.is_none() => old,
        Claim::Over { .. } => None,
        Claim::Announced { .. } => old,
        Claim::Held { name, uid } => {
            let known = old.filter(|active| active.uid.as_ref() == Some(uid));
            Some(known.unwrap_or_else(|| ActiveIncident {
                name: name.clone(),
                nonce: None,
                uid: Some(uid.clone()),
            }))
        }
    }
}

/// Writes the claim with its uid, or clears one that nobody came to.
///
/// # Errors
/// Somebody else wrote the policy, or the API server did not take it.
pub async fn claim(
    operator: &Operator,
    policy: RemediationPolicy,
    active: Option<ActiveIncident>,
) -> Result<(), Error> {
    let old = policy.status.clone().unwrap_or_default();
    let turn = Turn { old: &old, active: active.as_ref(), ended_at: None, now: Timestamp::now() };
    let status = RemediationPolicyStatus {
        recent_responses: follow(&turn, &Limits::of(&policy.spec.policy)),
        active_incident: active,
        ..old
    };
    write(operator, &policy, status).await.map(drop)
}

async fn write(
    operator: &Operator,
    policy: &RemediationPolicy,
    status: RemediationPolicyStatus,
) -> Result<RemediationPolicy, Error> {
    let mut next = policy.clone();
    next.status = Some(status);
    let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
    let written = super::api(operator, policy).replace_status(&policy.name_any(), &params, &next).await?;
    operator.note_policy(&written);
    Ok(written)
}

/// Tells a policy that does not decode what is wrong with it.
///
/// # Errors
/// Somebody else wrote it, or the API server did not take it.
pub async fn undecodable(
    operator: &Operator,
    name: &Name,
    raw: &DynamicObject,
    why: &str,
) -> Result<(), Error> {
    let generation = raw.metadata.generation.unwrap_or_default();
    let old = raw.data.pointer("/status/conditions").cloned().unwrap_or_default();
    let old = serde_json::from_value::<Vec<_>>(old).unwrap_or_default();
    let text = format!("the policy cannot be read: {why}; correct the field and apply it again");
    let facts = [
        says(ConditionType::Ready, Verdict::False, Reason::Invalid, text.clone()),
        says(ConditionType::Stalled, Verdict::True, Reason::Invalid, text.clone()),
        says(ConditionType::Accepted, Verdict::False, Reason::Invalid, text),
    ];
    let conditions = merge(&old, facts, generation, Timestamp::now());
    if conditions == old {
        return Ok(());
    }
    let mut next = raw.clone();
    next.data["status"]["conditions"] = json!(conditions);
    let resource = kube::core::ApiResource::erase::<RemediationPolicy>(&());
    let api: Api<DynamicObject> =
        Api::namespaced_with(operator.context.client.clone(), &name.namespace, &resource);
    let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
    api.replace_status(&name.name, &params, &next).await?;
    Ok(())
}
