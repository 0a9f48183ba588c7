//! The state of changed fields: still ours, someone else's, or impossible to revert.

use serde_json::Value;

use super::record;
use crate::change::{FieldChange, cut};
use crate::ownership;
use crate::path::{FieldPath, PathError};
use crate::seal;
use crate::value::same;

/// Whom a field is ceded to if the API server stored another value than the old one.
const ADMISSION: &str = "admission, which stored another value than was sent";

/// Adopts what the API server stored where it differs from what was sent: admission or the schema has set another value,
/// put one back, or left one out. `object` is the reply to our own write, so nobody else can have been in between.
/// Returns the fields.
pub fn adopt_reply(object: &Value, fields: &mut [FieldChange]) -> Vec<FieldPath> {
    adopt(object, fields, |_, _| true)
}

/// The same from a later read: only what came with our write. A value that another manager wrote in the meantime is
/// not adopted.
pub fn adopt_stored(object: &Value, fields: &mut [FieldChange]) -> Vec<FieldPath> {
    adopt(object, fields, |field, stored| {
        let is_set_with_ours = stored.is_some() && ownership::is_from_us(object, &field.path);
        is_set_with_ours
            || (is_as_before(object, field) && !ownership::is_written_since_ours(object, &field.path))
    })
}

fn adopt(
    object: &Value,
    fields: &mut [FieldChange],
    came_with_ours: impl Fn(&FieldChange, Option<&Value>) -> bool,
) -> Vec<FieldPath> {
    let mut adopted = Vec::new();
    for field in fields {
        let stored = field.path.read(object).filter(|value| !value.is_null());
        let differs = !same(&field.path, stored.as_deref(), field.after.as_ref());
        if differs && came_with_ours(field, stored.as_deref()) {
            field.after = stored.map(|stored| seal::stored(field, stored.into_owned()));
            adopted.push(field.path.clone());
        }
    }
    adopted
}

/// Cedes the fields in which the reply to our own write, which reverted them, has another value than the old one.
/// A field that another loan still has was not reverted. Returns the ceded fields.
pub fn cede_to_admission(object: &Value, fields: &mut [FieldChange]) -> Vec<FieldPath> {
    let mut ceded = Vec::new();
    let loans = record(object).ok().flatten().map(|record| record.loans).unwrap_or_default();
    let is_lent =
        |path: &FieldPath| loans.iter().flat_map(|loan| &loan.fields).any(|lent| lent.path == *path);
    let reverted = fields.iter_mut().filter(|field| field.ceded_to.is_none() && !is_lent(&field.path));
    for field in reverted.filter(|field| !is_as_before(object, field)) {
        field.ceded_to = Some(ADMISSION.to_owned());
        ceded.push(field.path.clone());
    }
    ceded
}

/// Whether the change took effect although its record is not there any more:
/// its values are in the object, and our entry owns them.
pub fn was_applied(object: &Value, fields: &[FieldChange]) -> bool {
    fields.iter().any(|field| {
        field.after.is_some()
            && same(&field.path, field.path.read(object).as_deref(), field.after.as_ref())
            && ownership::is_from_us(object, &field.path)
    })
}

/// Whether at least one field is still ours, and every such field has the emergency value.
pub fn is_in_force(object: &Value, fields: &[FieldChange]) -> bool {
    let mut ours = fields.iter().filter(|field| field.ceded_to.is_none()).peekable();
    ours.peek().is_some()
        && ours.all(|field| same(&field.path, field.path.read(object).as_deref(), field.after.as_ref()))
}

/// Marks the fields whose value is now someone else's, and names their owners. What existed before goes with its
/// group: beside the value of another, neither ours nor the old one need be valid. A field that the change has created
/// goes whenever it still has our value, because without us it would not be there. Returns whether any field was newly
/// marked.
pub fn cede_changed(object: &Value, fields: &mut [FieldChange]) -> bool {
    let is_ours =
        |field: &FieldChange| same(&field.path, field.path.read(object).as_deref(), field.after.as_ref());
    cede_taken(object, fields, is_ours, |path| ownership::writer(object, path))
}

/// The record is gone: fields that are not at `before` are someone else's.
pub fn cede_unreturned(object: &Value, fields: &mut [FieldChange]) -> bool {
    let taker = |path: &FieldPath| match ownership::is_from_us(object, path) {
        true => "the person or tool that removed the record".to_owned(),
        false => ownership::writer(object, path),
    };
    cede_taken(object, fields, |field| is_as_before(object, field), taker)
}

fn is_as_before(object: &Value, field: &FieldChange) -> bool {
    same(&field.path, field.path.read(object).as_deref(), field.before.as_ref())
}

/// Cedes what is not `left`, and the rest of each group that someone has given another value than it had before. A
/// group of which others have only restored a part is reverted as a whole.
fn cede_taken(
    object: &Value,
    fields: &mut [FieldChange],
    left: impl Fn(&FieldChange) -> bool,
    taker: impl Fn(&FieldPath) -> String,
) -> bool {
    let owner_of = |field: &FieldChange| field.ceded_to.clone().unwrap_or_else(|| taker(&field.path));
    let taken: Vec<&FieldChange> =
        fields.iter().filter(|field| field.ceded_to.is_some() || !left(field)).collect();
    let groups: Vec<(String, String)> = taken
        .iter()
        .filter(|field| !is_as_before(object, field))
        .map(|field| (field.path.group(), owner_of(field)))
        .collect();
    let paths: Vec<(FieldPath, String)> =
        taken.into_iter().map(|field| (field.path.clone(), owner_of(field))).collect();
    let mut newly = false;
    for field in fields.iter_mut().filter(|field| field.ceded_to.is_none()) {
        let own = paths.iter().find(|(path, _)| *path == field.path).map(|(_, owner)| owner);
        let with_group = groups
            .iter()
            .filter(|_| field.before.is_some())
            .find(|(group, _)| *group == field.path.group())
            .map(|(_, owner)| owner);
        if let Some(owner) = own.or(with_group) {
            field.ceded_to = Some(cut(owner, 512));
            newly = true;
        }
    }
    newly
}

/// Marks the fields that cannot be reverted because their parent is gone, such as a container.
pub fn cede_misfits(object: &Value, fields: &mut [FieldChange]) -> bool {
    let mut scratch = object.clone();
    let mut lost = Vec::new();
    for field in fields.iter().rev().filter(|field| field.ceded_to.is_none()) {
        let before = field.before.as_ref();
        let opened = before.map(|before| {
            seal::opened(object, &field.path, before).ok_or_else(|| PathError::Sealed(field.path.clone()))
        });
        let written = opened.transpose().and_then(|before| field.path.write(&mut scratch, before));
        if let Err(misfit) = written {
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
