//! The state of an approval when the policy is another one.

use firebreak_engine::decide::decide;
use firebreak_engine::facts::Facts;
use firebreak_engine::incident::{ApprovalState, ApprovalStatus, PolicySnapshot, StepStatus};
use firebreak_engine::intent::Approval;
use firebreak_engine::story::world::{incident, usable};
use jiff::Timestamp;

use crate::workload::rules;

const POLICY: &str = r"
mode: Enforce
steps:
- name: fallback
  approval: Required
  action: {cpuFallback: {targets: {apiVersion: apps/v1, kind: Deployment}}}
";

#[test]
fn an_approval_is_void_when_the_policy_was_created_again_with_the_same_generation() {
    let now = Timestamp::from_second(1_767_225_600).unwrap();
    let (plan_hash, approved_by) = (format!("sha256:{}", "0".repeat(64)), "alice".to_owned());
    let given = Approval {
        step: "fallback".to_owned(),
        plan_hash: plan_hash.clone(),
        approved_by: approved_by.clone(),
    };
    let approval =
        ApprovalStatus { plan_hash: plan_hash.clone(), approved_by, at: now, state: ApprovalState::Valid };
    let step = StepStatus {
        name: "fallback".to_owned(),
        plan_hash: Some(plan_hash),
        approval: Some(approval),
        ..StepStatus::default()
    };
    for (uid, expected) in [("policy-uid", ApprovalState::Valid), ("older", ApprovalState::Void)] {
        let mut facts = Facts::new(incident(), usable(1));
        facts.intent.approvals = vec![given.clone()];
        facts.state.steps = vec![step.clone()];
        facts.state.policy = Some(PolicySnapshot {
            name: "policy".to_owned(),
            uid: uid.to_owned(),
            generation: 1,
            service_account: "firebreak-responder".to_owned(),
        });
        let decision = decide(&facts, Some(&rules(POLICY)), now);
        assert_eq!(decision.next.steps[0].approval.as_ref().unwrap().state, expected, "{uid}");
    }
}
