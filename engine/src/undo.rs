//! The undo record on the changed object, and the patches that go with it.
//!
//! # Guarantees
//! Every patch carries the resourceVersion of the object that it was built
//! from, and its bytes depend on nothing but that object and the change, so a
//! patch that is sent twice is the same patch.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::change::{Change, FieldChange, cut};
use crate::id::{ChangeId, IncidentId, ResourceVersion};
use crate::ownership;
use crate::value::same;

/// Annotation with the undo record.
pub const UNDO: &str = "firebreak.dev/undo";
/// Label with the uid of the Incident whose change is in force.
pub const INCIDENT: &str = "firebreak.dev/incident";
/// Annotation that moves the resourceVersion, so that no late request lands.
pub const FENCE: &str = "firebreak.dev/fence";
/// Objects and namespaces annotated `"true"` are never a target.
pub const EXEMPT: &str = "firebreak.dev/exempt";
/// The field manager of every write.
pub const MANAGER: &str = "firebreak";

/// The largest record, in bytes.
const MAX_RECORD: usize = 32 * 1024;
/// The largest sum of all annotations, in bytes; the server's limit is 256 KiB.
const MAX_ANNOTATIONS: usize = 200 * 1024;

/// What the annotation says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UndoRecord {
    /// The version of the format; 1.
    pub v: u8,
    /// One loan per step that changed the object.
    pub loans: Vec<Loan>,
}

/// What one change lent, and to whom it goes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loan {
    /// The id of the change.
    pub id: ChangeId,
    /// `namespace/name/uid` of the Incident.
    pub incident: String,
    /// The step.
    pub step: String,
    /// The uid of the object: a record copied to another object counts for nothing.
    pub uid: String,
    /// The apiVersion in which the paths are meant.
    pub api_version: String,
    /// When the object joined the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_at: Option<Timestamp>,
    /// What changed.
    pub fields: Vec<FieldChange>,
}

/// Why a record cannot be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// It is not what we write.
    #[error("the annotation {UNDO} does not parse ({0})")]
    Unreadable(String),
    /// Somebody copied it here.
    #[error("the annotation {UNDO} belongs to another object (uid {0})")]
    OfAnotherObject(String),
}

impl BadRecord {
    /// The same without the parser's words: a status must not change with them.
    pub fn stable(&self) -> String {
        match self {
            Self::Unreadable(_) => format!("the annotation {UNDO} does not parse"),
            Self::OfAnotherObject(_) => self.to_string(),
        }
    }
}

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

/// The resourceVersion of an object.
pub fn version(object: &Value) -> Option<ResourceVersion> {
    let text = object.pointer("/metadata/resourceVersion")?.as_str()?;
    ResourceVersion::try_from(text.to_owned()).ok()
}

/// The record of an object, if it has one.
///
/// # Errors
/// One that does not parse, or that was copied from another object.
pub fn record(object: &Value) -> Result<Option<UndoRecord>, BadRecord> {
    let Some(text) = annotation(object, UNDO) else { return Ok(None) };
    let record: UndoRecord =
        serde_json::from_str(text).map_err(|error| BadRecord::Unreadable(error.to_string()))?;
    if record.v != 1 {
        return Err(BadRecord::Unreadable(format!("version {} is not known to this release", record.v)));
    }
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    match record.loans.iter().find(|loan| loan.uid != uid) {
        Some(stranger) => Err(BadRecord::OfAnotherObject(stranger.uid.clone())),
        None => Ok(Some(record)),
    }
}

/// Our loan on this object. A record that cannot be trusted shows none.
pub fn loan(object: &Value, change: &ChangeId, incident: &IncidentId) -> Option<Loan> {
    let record = record(object).ok()??;
    let incident = incident.to_string();
    record.loans.into_iter().find(|loan| loan.id == *change && loan.incident == incident)
}

/// The patch that performs a change and records how to undo it.
///
/// # Errors
/// The paths do not fit, or the record would be too large.
pub fn apply_patch(
    object: &Value,
    change: &Change,
    incident: &IncidentId,
) -> Result<GuardedPatch, Unwritable> {
    let mut new = object.clone();
    for field in &change.fields {
        field.path.write(&mut new, field.after.clone())?;
    }
    let mut loans = record(object).ok().flatten().map(|record| record.loans).unwrap_or_default();
    loans.retain(|loan| loan.id != change.id);
    loans.push(Loan {
        id: change.id.clone(),
        incident: incident.to_string(),
        step: change.step.clone(),
        uid: change.target.uid.clone(),
        api_version: change.target.api_version.clone(),
        applied_at: change.joined_at,
        fields: change.fields.clone(),
    });
    write_record(&mut new, loans)?;
    label(&mut new, Some(&incident.uid));
    GuardedPatch::between(object, &new)
}

/// The patch that makes the record say what the server really stored.
///
/// # Errors
/// The record would be too large.
pub fn amend_patch(object: &Value, change: &Change) -> Result<GuardedPatch, Unwritable> {
    let mut new = object.clone();
    let mut loans = record(object).ok().flatten().map(|record| record.loans).unwrap_or_default();
    for loan in loans.iter_mut().filter(|loan| loan.id == change.id) {
        loan.fields = change.fields.clone();
    }
    write_record(&mut new, loans)?;
    GuardedPatch::between(object, &new)
}

/// The patch that ends a loan three-way: fields whose value is somebody else's now,
/// or that do not fit any more, are ceded and left alone, the others go back.
///
/// # Errors
/// The object has no version.
pub fn three_way_patch(
    object: &Value,
    id: &ChangeId,
    fields: &mut [FieldChange],
) -> Result<GuardedPatch, Unwritable> {
    cede_changed(object, fields);
    cede_misfits(object, fields);
    return_patch(object, id, fields)
}

/// The patch that puts back the fields that are still ours and drops the loan.
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
    for field in fields.iter().filter(|field| field.ceded_to.is_none()) {
        field.path.write(&mut new, field.before.clone())?;
        if let Some(created) = &field.created
            && field.before.is_none()
        {
            field.path.prune_empty(&mut new, created);
        }
    }
    let mut loans = record(object).ok().flatten().map(|record| record.loans).unwrap_or_default();
    loans.retain(|loan| loan.id != *id);
    if loans.is_empty() {
        label(&mut new, None);
    }
    write_record(&mut new, loans)?;
    GuardedPatch::between(object, &new)
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

/// The patch that sets the fence, so that every request that carries an older
/// version is dead. The nonce must be fresh: the same text moves nothing.
///
/// # Errors
/// The object has no version.
pub fn fence_patch(object: &Value, nonce: &str) -> Result<GuardedPatch, Unwritable> {
    let mut new = object.clone();
    set(&mut new, "annotations", FENCE, Some(nonce));
    GuardedPatch::between(object, &new)
}

/// The patch that removes the fence and hands our field ownership back; none
/// if there is neither.
///
/// # Errors
/// The object has no version.
pub fn hand_back_patch(object: &Value, fields: &[FieldChange]) -> Result<Option<GuardedPatch>, Unwritable> {
    let mut new = object.clone();
    set(&mut new, "annotations", FENCE, None);
    let fenced = annotation(object, FENCE).is_some();
    match ownership::handed_back(object, fields) {
        Some(entries) => new["metadata"]["managedFields"] = entries,
        None if !fenced => return Ok(None),
        None => {}
    }
    GuardedPatch::between(object, &new).map(Some)
}

/// Takes over what the server really stored where it stored something else than
/// was sent. What another manager wrote there meanwhile is not that.
pub fn adopt_stored(object: &Value, fields: &mut [FieldChange]) {
    for field in fields {
        let stored = field.path.read(object).filter(|value| !value.is_null());
        let differs = !same(&field.path, stored.as_deref(), field.after.as_ref());
        if differs && stored.is_some() && ownership::is_from_us(object, &field.path) {
            field.after = stored.map(Cow::into_owned);
        }
    }
}

/// Whether the change took effect although its record is not there any more:
/// its values stand, and our entry owns them.
pub fn was_applied(object: &Value, fields: &[FieldChange]) -> bool {
    fields.iter().any(|field| {
        field.after.is_some()
            && same(&field.path, field.path.read(object).as_deref(), field.after.as_ref())
            && ownership::is_from_us(object, &field.path)
    })
}

/// Marks the fields whose value is somebody else's now, whole groups at a
/// time, and names who owns them. Returns whether any was marked newly.
pub fn cede_changed(object: &Value, fields: &mut [FieldChange]) -> bool {
    let lost: Vec<(String, String)> = fields
        .iter()
        .filter(|field| !same(&field.path, field.path.read(object).as_deref(), field.after.as_ref()))
        .map(|field| (field.path.group(), ownership::writer(object, &field.path)))
        .collect();
    cede_groups(fields, &lost)
}

/// With the record gone: fields that are not back at `before` are somebody else's.
pub fn cede_unreturned(object: &Value, fields: &mut [FieldChange]) -> bool {
    let taker = |path| match ownership::is_from_us(object, path) {
        true => "whoever took the record off".to_owned(),
        false => ownership::writer(object, path),
    };
    let lost: Vec<(String, String)> = fields
        .iter()
        .filter(|field| !same(&field.path, field.path.read(object).as_deref(), field.before.as_ref()))
        .map(|field| (field.path.group(), taker(&field.path)))
        .collect();
    cede_groups(fields, &lost)
}

/// Marks the fields that cannot go back because what they were in is gone, such
/// as a container.
pub fn cede_misfits(object: &Value, fields: &mut [FieldChange]) -> bool {
    let mut scratch = object.clone();
    let mut lost = Vec::new();
    for field in fields.iter().filter(|field| field.ceded_to.is_none()) {
        if let Err(misfit) = field.path.write(&mut scratch, field.before.clone()) {
            lost.push((field.path.group(), format!("nobody, because {misfit}")));
        }
    }
    cede_groups(fields, &lost)
}

/// Cedes every field of these groups.
pub fn cede_groups(fields: &mut [FieldChange], lost: &[(String, String)]) -> bool {
    let mut newly = false;
    for field in fields.iter_mut().filter(|field| field.ceded_to.is_none()) {
        if let Some((_, owner)) = lost.iter().find(|(group, _)| *group == field.path.group()) {
            field.ceded_to = Some(cut(owner, 512));
            newly = true;
        }
    }
    newly
}

/// An annotation of an object.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

fn write_record(object: &mut Value, loans: Vec<Loan>) -> Result<(), Unwritable> {
    if loans.is_empty() {
        set(object, "annotations", UNDO, None);
        return Ok(());
    }
    let text = json!(UndoRecord { v: 1, loans }).to_string();
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

/// The JSON merge patch from `old` to `new`: lists go whole, what is gone is null.
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

#[cfg(test)]
#[path = "undo_tests.rs"]
mod tests;
