//! The state of each step of a response.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::change::{Change, ChangeState, cut};
use crate::id::TargetId;
use crate::policy::StepSpec;
use crate::reason::Reason;
use crate::verdict::Verdict;

/// The state of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum StepState {
    /// It has not started; the reason says why.
    #[default]
    Pending,
    /// It has not started, and waits for a person to approve its plan.
    AwaitingApproval,
    /// Changes are being made.
    Applying,
    /// All changes are applied, but the step is not verified, or not any more.
    Applied,
    /// It helped.
    Verified,
    /// A target failed.
    Failed,
    /// It does not list the current severity.
    Skipped,
    /// A person is needed.
    Held,
    /// It is being reverted.
    Reverting,
    /// All its changes have ended.
    Returned,
}

/// One step of the response.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// The name of the step.
    #[cfg_attr(feature = "schema", schemars(length(max = 40)))]
    pub name: String,
    /// Where it stands.
    pub state: StepState,
    /// The reason, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub reason: Option<Reason>,
    /// The reason in plain words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub message: Option<String>,
    /// The hash of its plan, which `spec.approvals` approves. It covers the Incident, the step, its action,
    /// and the fields of every object with their values before and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 71)))]
    pub plan_hash: Option<String>,
    /// The approval in `spec.approvals`, as the controller first saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalStatus>,
    /// What a person was asked to approve and has not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<AskedApproval>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the step was first verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// What its verification has found, until it is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// When all its changes had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Since when the step does not list the current severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlisted_since: Option<Timestamp>,
    /// What became of its targets.
    #[serde(default)]
    pub targets: TargetCounts,
    /// The first objects that need no change, and why. `targets.nothingToDo` counts all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 10)))]
    pub nothing_to_do: Vec<Spared>,
    /// The step as it was when it started. It is finished, verified and reverted by this definition, whatever
    /// happens to the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<StepSpec>,
}

/// An object that a step matches and that needs no change.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Spared {
    /// The kind, namespace and name of the object.
    #[cfg_attr(feature = "schema", schemars(length(max = 512)))]
    pub object: String,
    /// Why it needs no change.
    #[cfg_attr(feature = "schema", schemars(length(max = 256)))]
    pub message: String,
}

impl Spared {
    /// How many are named in the status of a step.
    const NAMED: usize = 10;

    /// An object, and why it needs no change.
    pub fn new(object: &TargetId, why: &str) -> Self {
        Self { object: cut(&object.to_string(), 512), message: cut(why, 256) }
    }

    /// The first of them, in the order of their names, so that another order of a listing is no news.
    pub fn first(all: &[Self]) -> Vec<Self> {
        let mut all = all.to_vec();
        all.sort();
        all.truncate(Self::NAMED);
        all
    }
}

/// Leaves the objects with nothing to do unnamed in each step of which as many are stored without names. Definitions of a
/// release that knows no names drop them, so they alone are no reason to write a status again.
pub fn keep_unnamed(old: &[StepStatus], new: &mut [StepStatus]) {
    for step in new {
        let is_unnamed = |old: &&StepStatus| {
            old.name == step.name
                && old.targets.nothing_to_do == step.targets.nothing_to_do
                && old.nothing_to_do.is_empty()
        };
        if old.iter().any(|old| is_unnamed(&old)) {
            step.nothing_to_do.clear();
        }
    }
}

/// What the verification of a step has found. The reason of the step is for people and says other things, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The last answer: `False` if a check is False, `Unknown` if none is and one is Unknown. Absent if the checks were
    /// never answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// What is missing for an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 512)))]
    pub message: Option<String>,
    /// Since when the checks cannot be asked: the targets cannot be listed at the moment, or a signal was not read yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unanswered_since: Option<Timestamp>,
}

impl StepStatus {
    /// What the verification has found. An older release stored it only as the reason.
    pub fn verification(&self) -> Verification {
        let told = |verdict| Verification { verdict: Some(verdict), ..Verification::default() };
        match (&self.verification, &self.reason) {
            (Some(found), _) => found.clone(),
            (None, Some(Reason::VerifyFailed | Reason::CannotDeletePods)) => told(Verdict::False),
            (None, Some(Reason::VerifyUnknown | Reason::CannotListTargets)) => {
                Verification { message: self.message.clone(), ..told(Verdict::Unknown) }
            }
            (None, _) => Verification::default(),
        }
    }
}

/// What a person was asked to approve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AskedApproval {
    /// Why the plan must be approved, in one word.
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub reason: Reason,
    /// How many objects it would change.
    pub objects: u32,
}

/// The state of an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ApprovalStatus {
    /// The plan that was approved.
    #[cfg_attr(feature = "schema", schemars(length(max = 71)))]
    pub plan_hash: String,
    /// Who approved it.
    #[cfg_attr(feature = "schema", schemars(length(max = 512)))]
    pub approved_by: String,
    /// When the approval was first seen. It expires some time after that.
    pub at: Timestamp,
    /// Where it stands.
    pub state: ApprovalState,
}

/// The state of an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ApprovalState {
    /// The step may start.
    Valid,
    /// The step has started with this approval.
    Used,
    /// It was not used in time.
    Expired,
    /// The plan or the policy has changed since.
    Void,
}

/// The number of targets of a step, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TargetCounts {
    /// Objects that match the targets, including objects that are left alone.
    #[serde(default)]
    pub matched: u32,
    /// Objects that need no change.
    #[serde(default)]
    pub nothing_to_do: u32,
    /// Changes that are or were in force.
    #[serde(default)]
    pub applied: u32,
    /// Changes that were verified, and whose checks have not turned False since.
    #[serde(default)]
    pub verified: u32,
    /// Changes that were given up.
    #[serde(default)]
    pub failed: u32,
    /// Operations that were carried out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub done: u32,
    /// Changes that were reverted.
    #[serde(default)]
    pub reverted: u32,
    /// Changes that were ceded to someone else.
    #[serde(default)]
    pub ceded: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Counts the changes of a step by outcome.
pub fn count<'a>(
    changes: impl Iterator<Item = &'a Change>,
    matched: u32,
    nothing_to_do: u32,
) -> TargetCounts {
    let mut counts = TargetCounts { matched, nothing_to_do, ..TargetCounts::default() };
    for change in changes {
        // A change that is being reverted, or has been, still reports whether it had helped.
        let helped = match change.state {
            ChangeState::Reverting | ChangeState::Reverted => change.verified_at().is_some(),
            ChangeState::Planned
            | ChangeState::Intended
            | ChangeState::Unclear
            | ChangeState::Applied
            | ChangeState::Verified
            | ChangeState::Ceded
            | ChangeState::Kept
            | ChangeState::Done
            | ChangeState::Skipped
            | ChangeState::Failed
            | ChangeState::Held => change.is_verified(),
        };
        counts.verified += u32::from(helped);
        match change.state {
            ChangeState::Applied | ChangeState::Verified | ChangeState::Reverting => counts.applied += 1,
            ChangeState::Done => counts.done += 1,
            ChangeState::Failed => counts.failed += 1,
            ChangeState::Reverted => {
                counts.applied += 1;
                counts.reverted += 1;
            }
            ChangeState::Ceded => counts.ceded += 1,
            ChangeState::Planned
            | ChangeState::Intended
            | ChangeState::Unclear
            | ChangeState::Kept
            | ChangeState::Skipped
            | ChangeState::Held => {}
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_objects_with_nothing_to_do_are_named_whatever_the_order_of_the_listing() {
        let spared =
            |number: usize| Spared { object: format!("Deployment a/m{number:02}"), message: String::new() };
        let all: Vec<Spared> = (0..12).map(spared).collect();
        let first = Spared::first(&all);
        assert_eq!(first, all[..10]);
        assert_eq!(Spared::first(&all.into_iter().rev().collect::<Vec<_>>()), first);
    }

    #[test]
    fn names_alone_are_not_written_again_where_they_are_dropped() {
        let spared = Spared { object: "Deployment a/web".to_owned(), message: String::new() };
        let step = |number: u32, named: &[Spared]| StepStatus {
            name: "cpu".to_owned(),
            targets: TargetCounts { nothing_to_do: number, ..TargetCounts::default() },
            nothing_to_do: named.to_vec(),
            ..StepStatus::default()
        };
        let named = std::slice::from_ref(&spared);
        let kept = |old: StepStatus| {
            let mut new = [step(1, named)];
            keep_unnamed(&[old], &mut new);
            new[0].nothing_to_do.len()
        };
        assert_eq!(kept(step(1, &[])), 0, "it was dropped");
        assert_eq!(kept(step(0, &[])), 1, "the status is written anyway");
        assert_eq!(kept(step(1, named)), 1);
    }
}
