//! From the slots of an object and their new values to field changes.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::Plan;
use crate::change::FieldChange;
use crate::facts::{Role, Slot, Target};
use crate::ownership;
use crate::path::FieldPath;
use crate::reason::Reason;
use crate::undo::note_beside;
use crate::value::{same, whole};

/// The number of replicas.
pub(super) fn replicas(target: &Target, number: i64) -> Plan {
    if let Some(refused) = obstacle(target, &Role::Replicas) {
        return refused;
    }
    let mut wanted = Vec::new();
    for slot in target.slots.of(&Role::Replicas) {
        match Number::at(slot, &target.object) {
            Number::Odd(why) => return refused(Reason::NotANumber, why),
            Number::Is(before) if before == number => {}
            Number::Is(_) | Number::Absent => wanted.push((slot, like(&slot.path, &target.object, number))),
        }
    }
    changes(&target.object, wanted.into_iter())
}

/// What makes each new pod of a rollout take the place of an old one; nothing where it does so anyway.
pub(super) fn in_place(target: &Target) -> Vec<FieldChange> {
    let pace = target.slots.fields.iter().filter_map(|slot| {
        let Role::Pace { in_place } = &slot.role else { return None };
        Some((slot, Some(in_place.clone())))
    });
    match changes(&target.object, pace) {
        Plan::Change(fields) => fields,
        Plan::Operate(_) | Plan::NothingToDo(_) | Plan::Refused { .. } => Vec::new(),
    }
}

/// Why the object has no field of this role that may be changed, or none whose change would have an effect; none if it
/// has one.
pub(super) fn obstacle(target: &Target, role: &Role) -> Option<Plan> {
    if let Some(unused) = target.slots.unused.iter().find(|unused| unused.role == *role) {
        return Some(Plan::NothingToDo(unused.why.clone()));
    }
    let obstacle = target.slots.obstacles.iter().find(|obstacle| obstacle.role == *role)?;
    Some(refused(Reason::NotApplicable, format!("{}: {}", role.name(), obstacle.why)))
}

pub(super) fn refused(reason: Reason, message: String) -> Plan {
    Plan::Refused { reason, message }
}

/// The number in a field.
pub(super) enum Number {
    /// The field is absent.
    Absent,
    /// This number.
    Is(i64),
    /// The field is something else; the text is for people.
    Odd(String),
}

impl Number {
    pub(super) fn at(slot: &Slot, object: &Value) -> Self {
        match slot.path.read(object).as_deref() {
            None | Some(Value::Null) => Self::Absent,
            Some(value) => match whole(value) {
                Some(number) => Self::Is(number),
                None => Self::Odd(format!("{} is not a whole number", slot.path)),
            },
        }
    }
}

/// A number in the notation of the field: as text where it is text, and in a new flag.
pub(super) fn like(path: &FieldPath, object: &Value, number: i64) -> Option<Value> {
    let is_text = path.read(object).map_or(path.is_flag(), |value| value.is_string());
    Some(if is_text { json!(number.to_string()) } else { json!(number) })
}

/// A new value for a field.
pub(super) struct Edit<'a> {
    /// The field.
    pub path: &'a FieldPath,
    /// The value; none if the field is removed.
    pub after: Option<Value>,
    /// Why the current value must not be changed.
    pub out_of_bounds: Option<&'a str>,
}

impl<'a> From<(&'a Slot, Option<Value>)> for Edit<'a> {
    fn from((slot, after): (&'a Slot, Option<Value>)) -> Self {
        Self { path: &slot.path, after, out_of_bounds: slot.out_of_bounds.as_deref() }
    }
}

/// The field changes that set these fields to these values.
pub(super) fn changes<'a>(object: &Value, wanted: impl Iterator<Item = impl Into<Edit<'a>>>) -> Plan {
    let mut fields = Vec::new();
    for Edit { path, after, out_of_bounds } in wanted.map(Into::into) {
        let before = path.read(object).filter(|value| !value.is_null()).map(Cow::into_owned);
        if same(path, before.as_ref(), after.as_ref()) {
            continue;
        }
        if let Some(problem) = out_of_bounds {
            return Plan::Refused {
                reason: Reason::OutOfBounds,
                message: format!(
                    "{path} {problem}; Firebreak could not tell whether it would restore the right value"
                ),
            };
        }
        fields.push(FieldChange {
            created: path.missing_ancestor(object),
            owner: ownership::owner(object, path),
            path: path.clone(),
            before,
            after,
            ceded_to: None,
            beside: None,
        });
    }
    note_beside(object, &mut fields);
    if fields.is_empty() {
        Plan::NothingToDo("it already has this value".to_owned())
    } else {
        Plan::Change(fields)
    }
}
