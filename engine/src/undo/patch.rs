//! The bytes of every write to a target.
//!
//! # Guarantees
//! Every patch carries the resourceVersion of the object that it was built
//! from, and its bytes depend on nothing but that object and the change, so a
//! patch that is sent twice is the same patch.

use serde_json::{Map, Value, json};

use super::beside::cede_beside;
use super::drift::{adopt_owners, cede_changed, cede_misfits};
use super::stages::{goes_first, goes_in_two, keep_pace, outstanding};
use super::{FENCE, INCIDENT, Loan, UNDO, UndoRecord, annotation, label_of, record, version};
use crate::change::{Change, FieldChange, OperationWrite};
use crate::gitops::is_pause;
use crate::id::{ChangeId, IncidentId, ResourceVersion};
use crate::ownership;
use crate::path::PathError;
use crate::seal;

/// The largest record, in bytes.
const MAX_RECORD: usize = 32 * 1024;
/// The largest sum of all annotations, in bytes; the server's limit is 256 KiB.
const MAX_ANNOTATIONS: usize = 200 * 1024;

/// Why a change cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// A path does not fit the object.
    #[error(transparent)]
    Path(#[from] crate::path::PathError),
    /// The record would be too large.
    #[error("the undo record would be {size} bytes; at most {MAX_RECORD} are allowed")]
    RecordTooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// The annotations would be too large.
    #[error("the annotations would be {size} bytes in all; at most {MAX_ANNOTATIONS} are allowed")]
    AnnotationsTooLarge {
        /// Their size in bytes.
        size: usize,
    },
    /// The object has no version to guard the write with.
    #[error("the object has no usable resourceVersion")]
    NoVersion,
}

/// A merge patch that applies to one version of one object only.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardedPatch {
    body: Value,
    base: ResourceVersion,
}

impl GuardedPatch {
    /// The patch that turns `old` into `new`, guarded by the version of `old`.
    fn between(old: &Value, new: &Value) -> Result<Self, Unwritable> {
        let version = version(old).ok_or(Unwritable::NoVersion)?;
        let mut patch = difference(old, new);
        patch["metadata"]["resourceVersion"] = json!(version.as_str());
        Ok(Self { body: patch, base: version })
    }

    /// The body to send.
    pub fn body(&self) -> &Value {
        &self.body
    }

    /// The version that guards it.
    pub fn base(&self) -> &ResourceVersion {
        &self.base
    }
}

/// The patch that performs a change and records how to undo it. `others` are the other changes of the Incident that are
/// or may be in force on the object: their loans stay in the record, but for the paths that move into this loan. Loans of
/// Incidents that no longer exist, and leftovers, are dropped.
///
/// # Errors
/// The paths do not fit, or the record would be too large.
pub fn apply_patch(
    object: &Value,
    change: &Change,
    incident: &IncidentId,
    others: &[ChangeId],
) -> Result<GuardedPatch, Unwritable> {
    let mut new = object.clone();
    let mut fields = Vec::with_capacity(change.fields().len());
    for field in change.fields() {
        fields.push(recorded(object, &new, field)?);
        field.path.write(&mut new, opened(object, field, field.after.as_ref())?)?;
    }
    let mut loans = record(object).ok().flatten().map(|record| record.loans).unwrap_or_default();
    let ours = incident.to_string();
    loans.retain(|loan| loan.id != change.id && loan.incident == ours && others.contains(&loan.id));
    for loan in &mut loans {
        loan.fields.retain(|field| !change.fields().iter().any(|taken| taken.path == field.path));
    }
    loans.push(Loan {
        id: change.id.clone(),
        incident: ours,
        step: change.step.clone(),
        uid: change.target.uid.clone(),
        api_version: change.target.api_version.clone(),
        applied_at: change.joined_at,
        fields,
    });
    write_record(&mut new, loans)?;
    label(&mut new, Some(&incident.uid));
    GuardedPatch::between(object, &new)
}

/// The patch that writes the value of an operation. There is no record, because the value stays.
///
/// # Errors
/// The paths do not fit.
pub fn operation_patch(object: &Value, write: &OperationWrite) -> Result<GuardedPatch, Unwritable> {
    let mut new = object.clone();
    for path in &write.paths {
        path.write(&mut new, write.value.as_ref().map(|value| json!(value)))?;
    }
    GuardedPatch::between(object, &new)
}

/// The patch that makes the record match what the server really stored.
///
/// # Errors
/// The record would be too large.
pub fn amend_patch(object: &Value, change: &Change) -> Result<GuardedPatch, Unwritable> {
    let mut new = object.clone();
    let mut loans = record(object).ok().flatten().map(|record| record.loans).unwrap_or_default();
    for loan in loans.iter_mut().filter(|loan| loan.id == change.id) {
        let fields = change.fields().iter().map(|field| {
            let before = opened(object, field, field.before.as_ref())?;
            let after = opened(object, field, field.after.as_ref())?;
            Ok(FieldChange { before, after, ..field.clone() })
        });
        loan.fields = fields.collect::<Result<_, PathError>>()?;
    }
    write_record(&mut new, loans)?;
    GuardedPatch::between(object, &new)
}

/// A value of the field, which the object has if it is sealed.
fn opened(object: &Value, field: &FieldChange, value: Option<&Value>) -> Result<Option<Value>, PathError> {
    let open =
        |value| seal::opened(object, &field.path, value).ok_or_else(|| PathError::Sealed(field.path.clone()));
    value.map(open).transpose()
}

/// The field as the record has it: with the value that only the object has, and for a flag that is removed with its place
/// in the list, which is read from the object as the fields before this one have left it.
fn recorded(object: &Value, now: &Value, field: &FieldChange) -> Result<FieldChange, PathError> {
    let before = opened(object, field, field.before.as_ref())?;
    let place = before.as_ref().filter(|_| field.after.is_none());
    let place = place.and_then(|before| field.path.removed_flag(now, before));
    Ok(FieldChange { before: place.or(before), ..field.clone() })
}

/// The patch that ends a loan, or the first of two that do, three-way: fields whose value is someone else's, or that no
/// longer fit, are ceded and left alone; the others are reverted.
///
/// # Errors
/// The object has no version.
pub fn three_way_patch(
    object: &Value,
    id: &ChangeId,
    fields: &mut [FieldChange],
) -> Result<GuardedPatch, Unwritable> {
    let mut left = outstanding(object, id, fields);
    cede_changed(object, &mut left);
    cede_misfits(object, &mut left);
    cede_beside(object, &mut left);
    adopt_owners(fields, &left);
    if goes_in_two(&left) { first_patch(object, id, &left) } else { return_patch(object, id, &left) }
}

/// The first of two patches that end a loan: the record keeps what the second one reverts.
fn first_patch(object: &Value, id: &ChangeId, fields: &[FieldChange]) -> Result<GuardedPatch, Unwritable> {
    let mut new = object.clone();
    let mut loans = record(object).ok().flatten().map(|record| record.loans).unwrap_or_default();
    for loan in loans.iter_mut().filter(|loan| loan.id == *id) {
        keep_pace(loan);
    }
    let first = |field: &&FieldChange| field.ceded_to.is_none() && goes_first(field, fields);
    // Last in, first out: each flag finds the list as it was when it was removed.
    for field in fields.iter().rev().filter(first) {
        revert(object, &mut new, field)?;
    }
    write_record(&mut new, loans)?;
    GuardedPatch::between(object, &new)
}

/// The patch that reverts the fields that are still ours and drops the loan.
/// Fields that are ceded are left alone.
///
/// # Errors
/// The object has no version.
pub fn return_patch(
    object: &Value,
    id: &ChangeId,
    fields: &[FieldChange],
) -> Result<GuardedPatch, Unwritable> {
    let mut new = object.clone();
    let mut loans = record(object).ok().flatten().map(|record| record.loans).unwrap_or_default();
    loans.retain(|loan| loan.id != *id);
    // Last in, first out: each flag finds the list as it was when it was removed.
    for field in fields.iter().rev().filter(|field| field.ceded_to.is_none()) {
        // Flux stays paused as long as the object has any loan.
        match loans.first_mut().filter(|_| is_pause(&field.path)) {
            Some(heir) => heir.fields.push(field.clone()),
            None => revert(object, &mut new, field)?,
        }
    }
    if loans.is_empty() {
        label(&mut new, None);
    }
    write_record(&mut new, loans)?;
    GuardedPatch::between(object, &new)
}

/// Gives the field of `new` the value from before, which `object` may have, and removes what the change has created for it.
fn revert(object: &Value, new: &mut Value, field: &FieldChange) -> Result<(), Unwritable> {
    field.path.write(new, opened(object, field, field.before.as_ref())?)?;
    if let Some(created) = field.created.as_ref().filter(|_| field.before.is_none()) {
        field.path.prune_empty(new, created);
    }
    Ok(())
}

/// The patch that drops the whole record and changes nothing else.
///
/// # Errors
/// The object has no version.
pub fn forget_patch(object: &Value) -> Result<GuardedPatch, Unwritable> {
    let mut new = object.clone();
    set(&mut new, "annotations", UNDO, None);
    label(&mut new, None);
    GuardedPatch::between(object, &new)
}

/// The patch that sets the fence, so that no request with an older version can
/// succeed. The nonce must be new: the same text would not change the version.
///
/// # Errors
/// The object has no version.
pub fn fence_patch(object: &Value, nonce: &str) -> Result<GuardedPatch, Unwritable> {
    let mut new = object.clone();
    set(&mut new, "annotations", FENCE, Some(nonce));
    GuardedPatch::between(object, &new)
}

/// The patch that removes what is left after the record is gone: the fence, our field ownership, and the label
/// of the Incident with the uid `labelled`, which may remain when something else removed the record (`kubectl
/// rollout undo` replaces only annotations). None if nothing is left.
///
/// # Errors
/// The object has no version.
pub fn hand_back_patch(
    object: &Value,
    fields: &[FieldChange],
    labelled: Option<&str>,
) -> Result<Option<GuardedPatch>, Unwritable> {
    let mut new = object.clone();
    set(&mut new, "annotations", FENCE, None);
    let has_label = labelled.is_some() && annotation(object, UNDO).is_none() && label_of(object) == labelled;
    if has_label {
        label(&mut new, None);
    }
    match ownership::handed_back(object, fields) {
        Some(entries) => new["metadata"]["managedFields"] = entries,
        None if !has_label && annotation(object, FENCE).is_none() => return Ok(None),
        None => {}
    }
    GuardedPatch::between(object, &new).map(Some)
}

fn write_record(object: &mut Value, loans: Vec<Loan>) -> Result<(), Unwritable> {
    if loans.is_empty() {
        set(object, "annotations", UNDO, None);
        return Ok(());
    }
    let text = json!(UndoRecord { v: UndoRecord::version_of(&loans), loans }).to_string();
    if text.len() > MAX_RECORD {
        return Err(Unwritable::RecordTooLarge { size: text.len() });
    }
    set(object, "annotations", UNDO, Some(&text));
    let size = object["metadata"]["annotations"].to_string().len();
    if size > MAX_ANNOTATIONS {
        return Err(Unwritable::AnnotationsTooLarge { size });
    }
    Ok(())
}

fn label(object: &mut Value, value: Option<&str>) {
    set(object, "labels", INCIDENT, value);
}

fn set(object: &mut Value, kind: &str, key: &str, value: Option<&str>) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    match value {
        Some(value) => {
            let map = metadata.entry(kind).or_insert_with(|| json!({}));
            if map.is_null() {
                *map = json!({});
            }
            map[key] = json!(value);
        }
        None => {
            if let Some(map) = metadata.get_mut(kind).and_then(Value::as_object_mut) {
                map.remove(key);
            }
        }
    }
}

/// The JSON merge patch from `old` to `new`: lists are sent whole, and null removes a member.
fn difference(old: &Value, new: &Value) -> Value {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return new.clone() };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            Some(before) if before == value => {}
            Some(before) if before.is_object() && value.is_object() => {
                patch.insert(key.clone(), difference(before, value));
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(patch)
}
