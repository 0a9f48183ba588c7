//! The only writer of a policy's status: whole, guarded by the version that the decision was based on, and skipped
//! if nothing has changed.

use firebreak_engine::decide_policy::{PolicyDecision, PolicyReason, says};
use firebreak_engine::verdict::Verdict;
use jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use kube::core::DynamicObject;
use serde_json::json;

use super::translate;
use crate::api::condition::{ConditionType, merge};
use crate::api::{RemediationPolicy, names};
use crate::controller::Operator;
use crate::controller::error::Error;
use crate::controller::queue::Name;
use crate::controller::stored;
use crate::kubernetes::retry;

/// A decision about a policy whose next state is recorded, which is the condition for creating an Incident.
#[derive(Debug)]
pub struct RecordedPolicy {
    decision: PolicyDecision,
    policy: RemediationPolicy,
}

impl RecordedPolicy {
    /// The decision.
    pub fn decision(&self) -> &PolicyDecision {
        &self.decision
    }

    /// The policy as it is now.
    pub fn policy(&self) -> &RemediationPolicy {
        &self.policy
    }

    /// The policy as it is now.
    pub fn into_policy(self) -> RemediationPolicy {
        self.policy
    }
}

/// Records a decision.
///
/// # Errors
/// Someone else wrote the policy, or the API server rejected it.
pub async fn record(
    operator: &Operator,
    mut policy: RemediationPolicy,
    decision: PolicyDecision,
    now: Timestamp,
) -> Result<RecordedPolicy, Error> {
    let status = translate::status(&policy, &decision, now);
    if policy.status.as_ref() != Some(&status) {
        policy.status = Some(status);
        stored::replace_status(&super::api(operator, &policy), &mut policy).await?;
        operator.note_policy(&policy);
    }
    Ok(RecordedPolicy { decision, policy })
}

/// Records in the status of a policy that does not decode what is wrong with it.
///
/// # Errors
/// Someone else wrote it, or the API server rejected it.
pub async fn undecodable(operator: &Operator, name: &Name, why: &str) -> Result<(), Error> {
    let resource = kube::core::ApiResource::erase::<RemediationPolicy>(&());
    let api: Api<DynamicObject> =
        Api::namespaced_with(operator.context.client.clone(), &name.namespace, &resource);
    let Some(mut raw) = retry::find(&name.name, || api.get(&name.name)).await? else { return Ok(()) };
    let generation = raw.metadata.generation.unwrap_or_default();
    let old = raw.data.pointer("/status/conditions").cloned().unwrap_or_default();
    let old = serde_json::from_value::<Vec<_>>(old).unwrap_or_default();
    let text = format!("the policy cannot be read: {why}; correct the field and apply it again");
    let told = |type_: ConditionType, status| says(type_.name(), status, PolicyReason::Invalid, text.clone());
    let facts = [
        told(ConditionType::Ready, Verdict::False),
        told(ConditionType::Stalled, Verdict::True),
        told(ConditionType::Accepted, Verdict::False),
    ];
    let conditions = merge(&old, facts, generation, Timestamp::now());
    if conditions == old {
        return Ok(());
    }
    raw.data["status"]["conditions"] = json!(conditions);
    let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
    api.replace_status(&name.name, &params, &raw).await?;
    Ok(())
}
