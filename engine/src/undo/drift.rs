//! The state of changed fields: still ours, someone else's, or impossible to revert.

use std::borrow::Cow;

use serde_json::Value;

use crate::change::{FieldChange, cut};
use crate::ownership;
use crate::value::same;

/// Adopts what the server really stored where it differs from what was sent. A value that another manager
/// wrote in the meantime is not adopted.
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

/// Marks the fields whose value is now someone else's, whole groups at a time, and names their owners.
/// Returns whether any field was newly marked.
pub fn cede_changed(object: &Value, fields: &mut [FieldChange]) -> bool {
    let lost: Vec<(String, String)> = fields
        .iter()
        .filter(|field| !same(&field.path, field.path.read(object).as_deref(), field.after.as_ref()))
        .map(|field| (field.path.group(), ownership::writer(object, &field.path)))
        .collect();
    cede_groups(fields, &lost)
}

/// The record is gone: fields that are not at `before` are someone else's.
pub fn cede_unreturned(object: &Value, fields: &mut [FieldChange]) -> bool {
    let taker = |path| match ownership::is_from_us(object, path) {
        true => "the person or tool that removed the record".to_owned(),
        false => ownership::writer(object, path),
    };
    let lost: Vec<(String, String)> = fields
        .iter()
        .filter(|field| !same(&field.path, field.path.read(object).as_deref(), field.before.as_ref()))
        .map(|field| (field.path.group(), taker(&field.path)))
        .collect();
    cede_groups(fields, &lost)
}

/// Marks the fields that cannot be reverted because their parent is gone, such as a container.
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
