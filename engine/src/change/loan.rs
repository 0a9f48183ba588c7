//! A loan: fields that are changed for the emergency, with everything that is needed to revert them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Approved, Change, ChangeState, FirstValue, PodDeletion, SitsOut, Work, is_zero};
use crate::id::{ChangeId, ResourceVersion, TargetId};
use crate::path::FieldPath;
use crate::reason::Reason;
use crate::value::whole;
use crate::verdict::Verdict;

/// Whether a change is applied again after it was reverted. A change that a person reverted is never applied
/// again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Again {
    /// It is not.
    #[default]
    Never,
    /// It was reverted in a wave, and may be applied again if the emergency returns.
    Possible,
    /// It was reverted because another target of its step failed. It may be applied again after a person
    /// pauses and resumes.
    AfterPause,
    /// The emergency returned. It is applied again if the step still selects the object.
    IfMatching,
    /// It belongs to the wave that relapsed. It is applied again.
    Always,
}

impl Again {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
    fn is_never(&self) -> bool {
        *self == Self::Never
    }
}

/// What a change lends an object: other values for some of its fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Loan {
    /// Intents that died because the object moved between read and write.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conflicts: u8,
    /// The highest value that the first intent allowed, for an action that multiplies. It binds all later
    /// intents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<i64>,
    /// Whether it is applied again after Firebreak has reverted it.
    #[serde(default, skip_serializing_if = "Again::is_never")]
    pub again: Again,
    /// When it was known to be applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_at: Option<Timestamp>,
    /// When its step was verified with it, for the first time since its object last sat out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// Whether the object was healthy and rolled out before the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_before: Option<Verdict>,
    /// Since when it had not been healthy before the change, if it was not and said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sick_since: Option<Timestamp>,
    /// When the object was first seen healthy and rolled out with the change, in any of its rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_at: Option<Timestamp>,
    /// Whether the object was healthy and rolled out when this was last known before the revert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_health: Option<Verdict>,
    /// Since when it has not been healthy with the change; none while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy_since: Option<Timestamp>,
    /// Why the object says nothing about the change; none if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sits_out: Option<SitsOut>,
    /// Since when the object says something again, after it had sat out, or its returned template had rolled out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_at: Option<Timestamp>,
    /// Since when the template is back, and only the pace of its rollout is still lent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_back_at: Option<Timestamp>,
    /// Since when only traces of it are left on the object: field ownership and the fence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned_at: Option<Timestamp>,
    /// The resourceVersion that the intended write carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<ResourceVersion>,
    /// An earlier revert with the same version may still take effect.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_late: bool,
    /// The fence that was set or is about to be set, so that no late request can take effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 128)))]
    pub fence: Option<String>,
    /// The object updates its pods one at a time, so stuck pods are deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_order: bool,
    /// Pods that the previous release deletes for this change. Only read: each is an operation of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 8)))]
    pub(super) pods: Vec<PodDeletion>,
    /// What changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub fields: Vec<FieldChange>,
    /// The values before the first loan of the Incident, of the fields that someone else has changed since. Factors and
    /// percentages are taken of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub first: Vec<FirstValue>,
    /// What a person has approved. Only this is applied again without asking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Approved>,
}

/// One field of a change. If `before` or `after` is absent, the field does not exist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// The path of the field in the object.
    pub path: FieldPath,
    /// The value before the change, which the revert restores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-preserve-unknown-fields" = true)))]
    pub before: Option<Value>,
    /// The value that the change sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-preserve-unknown-fields" = true)))]
    pub after: Option<Value>,
    /// The topmost map that the change creates. The revert removes it if nothing else is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<FieldPath>,
    /// The previous owner of the field, as `manager/operation`. Several owners are separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 512)))]
    pub owner: Option<String>,
    /// The owner of the current value, if it is someone else's. The field is then ceded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 512)))]
    pub ceded_to: Option<String>,
    /// A field that must fit this one, and that the change leaves alone, as it was then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
}

/// A field that a change leaves alone. If the value is absent, the field did not exist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Beside {
    /// The path of the field in the object.
    pub path: FieldPath,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-preserve-unknown-fields" = true)))]
    pub value: Option<Value>,
}

impl Change {
    /// A loan for which nothing was done yet.
    pub fn planned(id: ChangeId, step: &str, target: TargetId, fields: Vec<FieldChange>) -> Self {
        Self::new(id, step, target, Work::Loan(Loan { fields, ..Loan::default() }))
    }

    /// The loan; none if it is an operation.
    pub fn loan(&self) -> Option<&Loan> {
        self.work.loan()
    }

    /// The fields that it changes.
    pub fn fields(&self) -> &[FieldChange] {
        self.loan().map(|loan| loan.fields.as_slice()).unwrap_or_default()
    }

    /// The same, to edit them.
    pub fn fields_mut(&mut self) -> &mut [FieldChange] {
        self.work.loan_mut().map(|loan| loan.fields.as_mut_slice()).unwrap_or_default()
    }

    /// Sets the fields that it changes.
    pub fn set_fields(&mut self, fields: Vec<FieldChange>) {
        if let Some(loan) = self.work.loan_mut() {
            loan.fields = fields;
        }
    }

    /// The same change of other fields.
    #[must_use]
    pub fn with_fields(mut self, fields: Vec<FieldChange>) -> Self {
        self.set_fields(fields);
        self
    }

    /// Drops the fields that are not to be kept.
    pub fn retain_fields(&mut self, is_kept: impl FnMut(&FieldChange) -> bool) {
        if let Some(loan) = self.work.loan_mut() {
            loan.fields.retain(is_kept);
        }
    }

    /// Adds a field.
    pub fn add_field(&mut self, field: FieldChange) {
        if let Some(loan) = self.work.loan_mut() {
            loan.fields.push(field);
        }
    }

    /// The same change, with whether its pods get it one after the other.
    #[must_use]
    pub fn with_pods_in_order(mut self, in_order: bool) -> Self {
        match &mut self.work {
            Work::Loan(loan) => loan.in_order = in_order,
            Work::Operation(operation) => {
                if let Some(write) = &mut operation.write {
                    write.in_order = in_order;
                }
            }
        }
        self
    }

    /// Whether it is applied again after Firebreak has reverted it.
    pub fn again(&self) -> Again {
        self.loan().map(|loan| loan.again).unwrap_or_default()
    }

    /// Sets whether it is applied again.
    pub fn set_again(&mut self, again: Again) {
        if let Some(loan) = self.work.loan_mut() {
            loan.again = again;
        }
    }

    /// The fence that was set, or is about to be set.
    pub fn fence(&self) -> Option<&str> {
        self.loan()?.fence.as_deref()
    }

    /// Sets the fence that is on the object.
    pub fn set_fence(&mut self, fence: Option<String>) {
        if let Some(loan) = self.work.loan_mut() {
            loan.fence = fence;
        }
    }

    /// Intents that failed because the object changed in between.
    pub fn conflicts(&self) -> u8 {
        self.loan().map(|loan| loan.conflicts).unwrap_or_default()
    }

    /// One more intent failed because the object changed in between.
    pub fn count_conflict(&mut self) {
        if let Some(loan) = self.work.loan_mut() {
            loan.conflicts = loan.conflicts.saturating_add(1);
        }
    }

    /// When it was known to be applied.
    pub fn applied_at(&self) -> Option<Timestamp> {
        self.loan()?.applied_at
    }

    /// Sets since when it is applied, however it ends.
    pub fn set_applied_at(&mut self, at: Timestamp) {
        if let Some(loan) = self.work.loan_mut() {
            loan.applied_at = Some(at);
        }
    }

    /// When its step was verified with it, for the first time since its object last sat out.
    pub fn verified_at(&self) -> Option<Timestamp> {
        self.loan()?.verified_at
    }

    /// Since when only traces of it are left on the object.
    pub fn returned_at(&self) -> Option<Timestamp> {
        self.loan()?.returned_at
    }

    /// Whether the pods of the object get the change one after the other.
    pub fn is_in_order(&self) -> bool {
        match &self.work {
            Work::Loan(loan) => loan.in_order,
            Work::Operation(operation) => operation.write.as_ref().is_some_and(|write| write.in_order),
        }
    }

    /// The write that carries `base` is about to be sent. From Planned, Skipped
    /// or another open intent.
    pub fn intend(&mut self, base: ResourceVersion, now: Timestamp) {
        let is_new = !self.is_open_intent();
        let Some(loan) = self.work.loan_mut() else { return };
        if is_new {
            self.round = self.round.saturating_add(1);
            self.tries = 0;
            loan.conflicts = 0;
            self.joined_at = Some(now);
            loan.applied_at = None;
            loan.verified_at = None;
            loan.template_back_at = None;
            loan.returned_at = None;
            loan.unhealthy_since = None;
            loan.sits_out = None;
            loan.resumed_at = None;
            loan.fence = None;
            if loan.again != Again::Always {
                loan.again = Again::Never;
            }
        }
        loan.base = Some(base);
        self.state = ChangeState::Intended;
        self.sent_at = Some(now);
        self.retry_at = None;
        self.explain(None);
    }

    /// The first intent fixes the ceiling for all later ones.
    pub fn fix_ceiling(&mut self) {
        let Some(loan) = self.work.loan_mut() else { return };
        if loan.ceiling.is_none() {
            loan.ceiling = loan.fields.iter().filter_map(|field| whole(field.after.as_ref()?)).max();
        }
    }

    /// The object carries our record.
    pub fn applied(&mut self, now: Timestamp) {
        let Some(loan) = self.work.loan_mut() else { return };
        self.state = ChangeState::Applied;
        loan.again = Again::Never;
        loan.applied_at = Some(now);
        self.tries = 0;
        self.retry_at = None;
        self.explain(None);
    }

    /// The write that reverts it and carries `base` is about to be sent.
    pub fn begin_return(&mut self, base: ResourceVersion, now: Timestamp) {
        self.note_what_may_be_late(&base);
        let Some(loan) = self.work.loan_mut() else { return };
        if self.state != ChangeState::Reverting {
            self.tries = 0;
            loan.conflicts = 0;
        }
        self.state = ChangeState::Reverting;
        self.sending(base, now);
    }

    /// The record is removed from the object. Only field ownership and the fence are left.
    pub fn record_is_gone(&mut self, now: Timestamp) {
        let Some(loan) = self.work.loan_mut() else { return };
        if loan.returned_at.is_none() {
            loan.returned_at = Some(now);
            self.tries = 0;
            loan.conflicts = 0;
            self.retry_at = None;
        }
    }

    /// A write that carries `base` and changes no state is about to be sent.
    pub fn sending(&mut self, base: ResourceVersion, now: Timestamp) {
        let Some(loan) = self.work.loan_mut() else { return };
        loan.base = Some(base);
        self.sent_at = Some(now);
        self.retry_at = None;
        if self.is_outstanding() {
            self.explain(None); // otherwise the reason says why it ended
        }
    }

    /// The loan has ended: Ceded if any field is someone else's, otherwise Reverted.
    pub fn returned(&mut self) {
        let Some(loan) = self.work.loan_mut() else { return };
        let ceded: Vec<String> = loan
            .fields
            .iter()
            .filter_map(|field| {
                field.ceded_to.as_ref().map(|owner| format!("{} now belongs to {owner}", field.path))
            })
            .collect();
        self.retry_at = None;
        loan.fence = None;
        if ceded.is_empty() {
            self.state = ChangeState::Reverted;
            self.explain(None);
        } else {
            self.state = ChangeState::Ceded;
            self.explain(Some((Reason::ValueOfAnother, ceded.join("; "))));
        }
    }

    /// The loan has become permanent, and its record is removed from the object.
    pub fn kept(&mut self, reason: Reason, why: &str) {
        let Some(loan) = self.work.loan_mut() else { return };
        loan.fence = None;
        self.stand(ChangeState::Kept, reason, why);
    }

    /// The object is gone, and its loan with it.
    pub fn object_gone(&mut self) {
        let Some(loan) = self.work.loan_mut() else { return };
        loan.fence = None;
        self.stand(ChangeState::Ceded, Reason::ObjectGone, "the object was deleted");
    }
}
