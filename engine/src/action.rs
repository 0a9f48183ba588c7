//! What an action would change in one object: slots in, field changes out.

use serde_json::{Value, json};

use crate::change::FieldChange;
use crate::facts::{Role, Slot, Target};
use crate::ownership;
use crate::policy::Placement;
use crate::value::{is_zero, same};

/// What an action means for one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// These fields change.
    Change(Vec<FieldChange>),
    /// The object already is as the action wants it.
    NothingToDo(String),
    /// The object must not be changed.
    Refused {
        /// In one word.
        reason: &'static str,
        /// For people: what is wrong and what to do.
        message: String,
    },
}

/// Accelerator requests and limits to "0", quantization where the kind has it,
/// and no placement that only accelerator nodes satisfy.
pub fn cpu_fallback(target: &Target, quantization: Option<&str>, placement: Placement) -> Plan {
    let object = &target.object;
    let slots = &target.slots;
    let uses_accelerator =
        slots.fields.iter().any(|slot| slot.role == Role::Accelerator && !is_zero(slot.path.read(object)));
    if !uses_accelerator {
        return Plan::NothingToDo("it asks for no accelerator".to_owned());
    }
    if placement == Placement::Release
        && let Some(pin) = slots.pins.first()
    {
        return Plan::Refused {
            reason: "PinnedToAccelerator",
            message: format!("{pin}: without its accelerator it could not start anywhere"),
        };
    }
    let wanted = slots.fields.iter().filter_map(|slot| {
        let after = match &slot.role {
            Role::Accelerator => Some(json!("0")),
            Role::QuantizationEnabled => Some(Value::Bool(true)).filter(|_| quantization.is_some())?.into(),
            Role::QuantizationPrecision => Some(json!(quantization?)),
            Role::Placement { released } => {
                Some(released.clone()).filter(|_| placement == Placement::Release)?
            }
        };
        Some((slot, after))
    });
    changes(object, wanted)
}

/// The field changes that give these slots these values.
fn changes<'a>(object: &Value, wanted: impl Iterator<Item = (&'a Slot, Option<Value>)>) -> Plan {
    let mut fields = Vec::new();
    for (slot, after) in wanted {
        let before = slot.path.read(object).filter(|value| !value.is_null()).cloned();
        if same(&slot.path, before.as_ref(), after.as_ref()) {
            continue;
        }
        if let Some(problem) = &slot.out_of_bounds {
            return Plan::Refused {
                reason: "OutOfBounds",
                message: format!(
                    "{} {problem}; Firebreak would not know that it puts the right value back",
                    slot.path
                ),
            };
        }
        fields.push(FieldChange {
            created: slot.path.missing_ancestor(object),
            owner: ownership::owner(object, &slot.path),
            path: slot.path.clone(),
            before,
            after,
            ceded_to: None,
        });
    }
    if fields.is_empty() { Plan::NothingToDo("it is so already".to_owned()) } else { Plan::Change(fields) }
}
