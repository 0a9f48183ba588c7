//! The undo record on the changed object, the patches that write it, and what
//! others have done to changed fields.

mod beside;
mod drift;
mod patch;
mod stages;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::beside::note_beside;
pub use self::drift::{
    adopt_reply, adopt_stored, cede_changed, cede_groups, cede_misfits, cede_to_admission, cede_unreturned,
    is_in_force, was_applied,
};
pub use self::patch::{
    GuardedPatch, Unwritable, amend_patch, apply_patch, fence_patch, forget_patch, hand_back_patch,
    operation_patch, return_patch, three_way_patch,
};
pub(crate) use self::stages::next_to_go;
pub use self::stages::{is_half_returned, is_only_pace};
use crate::change::FieldChange;
use crate::flag;
use crate::id::{ChangeId, IncidentId, ResourceVersion};

/// Annotation with the undo record.
pub const UNDO: &str = "firebreak.dev/undo";
/// Label with the uid of the Incident whose change is in force.
pub const INCIDENT: &str = "firebreak.dev/incident";
/// Annotation that changes the resourceVersion, so that no late request succeeds.
pub const FENCE: &str = "firebreak.dev/fence";
/// Objects and namespaces annotated `"true"` are never a target.
pub const EXEMPT: &str = "firebreak.dev/exempt";
/// The field manager of every write.
pub const MANAGER: &str = "firebreak";

/// The content of the annotation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UndoRecord {
    /// The version of the format: 2 if an older release would revert a field wrongly, else 1.
    pub v: u8,
    /// One loan per step that changed the object.
    pub loans: Vec<Loan>,
}

impl UndoRecord {
    /// The version of a record with these loans. A flag that was removed goes back to its place since version 2.
    fn version_of(loans: &[Loan]) -> u8 {
        let mut fields = loans.iter().flat_map(|loan| &loan.fields);
        if fields.any(|field| field.before.as_ref().is_some_and(flag::is_removed)) { 2 } else { 1 }
    }
}

/// The fields of one change, and their previous owners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loan {
    /// The id of the change.
    pub id: ChangeId,
    /// `namespace/name/uid` of the Incident.
    pub incident: String,
    /// The step.
    pub step: String,
    /// The uid of the object. A record that was copied to another object is ignored.
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
    /// Firebreak did not write it.
    #[error("the annotation {UNDO} does not parse ({0})")]
    Unreadable(String),
    /// Someone copied it here.
    #[error("the annotation {UNDO} belongs to another object (uid {0})")]
    OfAnotherObject(String),
}

impl BadRecord {
    /// The same without the parser's words, because a status must not change with them.
    pub fn stable(&self) -> String {
        match self {
            Self::Unreadable(_) => format!("the annotation {UNDO} does not parse"),
            Self::OfAnotherObject(_) => self.to_string(),
        }
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
    if !(1..=2).contains(&record.v) {
        return Err(BadRecord::Unreadable(format!("version {} is not known to this release", record.v)));
    }
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    match record.loans.iter().find(|loan| loan.uid != uid) {
        Some(stranger) => Err(BadRecord::OfAnotherObject(stranger.uid.clone())),
        None => Ok(Some(record)),
    }
}

/// Our loan on this object. A record that cannot be trusted has none.
pub fn loan(object: &Value, change: &ChangeId, incident: &IncidentId) -> Option<Loan> {
    let record = record(object).ok()??;
    let incident = incident.to_string();
    record.loans.into_iter().find(|loan| loan.id == *change && loan.incident == incident)
}

/// Whether the label of the object names the Incident of the loan, as it does since the write that made the loan. Without
/// it the record is a leftover: a rollback restores old annotations and no labels, and says nothing about the values.
pub fn is_labelled(object: &Value, loan: &Loan) -> bool {
    let uid = loan.incident.rsplit('/').next();
    label_of(object).is_some_and(|label| Some(label) == uid)
}

/// The uid of the Incident in the label of an object.
fn label_of(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("labels")?.get(INCIDENT)?.as_str()
}

/// An annotation of an object.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

#[cfg(test)]
mod tests;
