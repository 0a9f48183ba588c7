//! A loan that goes back in two writes.
//!
//! A template that goes back needs a rollout, and that rollout needs the pace that was lent with it: with the old one,
//! it could wait forever for room beside the pods that run. So the first write reverts everything else, and its record
//! keeps the pace. The second one reverts the pace and drops the record, when the template has rolled out. The pause of
//! Flux stays as long, because Flux would restore the pace too early.

use serde_json::Value;

use super::{Loan, record};
use crate::change::{Change, FieldChange};
use crate::gitops::is_pause;
use crate::id::ChangeId;
use crate::path::FieldPath;

/// Whether the field goes back with the second of two writes.
fn is_late(path: &FieldPath) -> bool {
    path.is_pace() || is_pause(path)
}

/// Whether these fields go back in two writes, and this one goes back with the first.
pub(super) fn goes_first(field: &FieldChange, fields: &[FieldChange]) -> bool {
    goes_in_two(fields) && !is_late(&field.path)
}

/// Whether both a template and the pace of its rollout are still to be reverted.
pub fn goes_in_two(fields: &[FieldChange]) -> bool {
    let mut left = fields.iter().filter(|field| field.ceded_to.is_none());
    left.clone().any(|field| field.path.is_pace()) && left.any(|field| !is_late(&field.path))
}

/// Whether the record has nothing left but the pace of a rollout.
pub fn is_only_pace(loan: &Loan) -> bool {
    loan.fields.iter().all(|field| is_late(&field.path))
        && loan.fields.iter().any(|field| field.path.is_pace())
}

/// Whether the first of two writes has reverted its part of these fields.
pub fn is_half_returned(loan: &Loan, fields: &[FieldChange]) -> bool {
    is_only_pace(loan) && fields.iter().any(|field| field.ceded_to.is_none() && !is_late(&field.path))
}

/// Those of the fields that the record of the object still has: after the first of two writes its part, otherwise all.
pub(super) fn outstanding(object: &Value, id: &ChangeId, fields: &[FieldChange]) -> Vec<FieldChange> {
    let loans = record(object).ok().flatten().map(|record| record.loans).unwrap_or_default();
    let half = loans.iter().find(|loan| loan.id == *id).filter(|loan| is_half_returned(loan, fields));
    let is_left =
        |field: &&FieldChange| half.is_none_or(|loan| loan.fields.iter().any(|lent| lent.path == field.path));
    fields.iter().filter(is_left).cloned().collect()
}

/// What remains of a loan after the first write.
pub(super) fn keep_pace(loan: &mut Loan) {
    loan.fields.retain(|field| is_late(&field.path));
}

/// The fields of a change that its next write reverts.
pub(crate) fn next_to_go(change: &Change) -> Vec<&FieldChange> {
    match (goes_in_two(change.fields()), change.template_back_at()) {
        (true, None) => change.fields().iter().filter(|field| !is_late(&field.path)).collect(),
        (true, Some(_)) | (false, _) => not_returned(change),
    }
}

/// The fields of a change that no write has reverted yet.
pub(super) fn not_returned(change: &Change) -> Vec<&FieldChange> {
    let is_left = |field: &&FieldChange| change.template_back_at().is_none() || is_late(&field.path);
    change.fields().iter().filter(is_left).collect()
}
