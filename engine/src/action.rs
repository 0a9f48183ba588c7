//! What an action would change in one object: slots in, field changes out.
//! Each action is one pure function from the slots of an object to new values.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::change::{Change, FieldChange};
use crate::facts::{Part, Role, ScaledBy, Slot, Target};
use crate::ownership;
use crate::path::FieldPath;
use crate::policy::Placement;
use crate::reason::Reason;
use crate::rules::{Action, Reduction};
use crate::value::{is_zero, same, whole};

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
        reason: Reason,
        /// For people: what is wrong and what to do.
        message: String,
    },
}

/// What the action means for this object. `known` is the entry of the object in the journal, if it has
/// one: what its first intent allowed binds all later ones, so that a relative change never compounds.
pub fn plan(action: &Action, target: &Target, known: Option<&Change>) -> Plan {
    let plan = of_action(action, target, known);
    let restarts =
        matches!(plan, Plan::Change(_)) && target.slots.metadata_propagates && !action.may_restart();
    if restarts {
        let message = format!(
            "labels and annotations of the {} reach its pods, so the undo record alone would restart them; \
             allowRestart: true accepts that",
            target.id.kind
        );
        return refused(Reason::RestartsPods, message);
    }
    plan
}

fn of_action(action: &Action, target: &Target, known: Option<&Change>) -> Plan {
    match (action, target.part) {
        (_, Part::Retired) => scale(target, 0),
        (Action::CpuFallback { quantization, placement, .. }, Part::Target) => {
            cpu_fallback(target, quantization.as_deref(), *placement)
        }
        (Action::RaiseAutoscalerLimit { factor, ceiling, .. }, Part::Target) => raise_autoscaler_limit(
            target,
            *factor,
            known.and_then(|known| known.loan().and_then(|loan| loan.ceiling)).unwrap_or(*ceiling),
        ),
        (Action::SchedulerFallback { from, to, .. }, Part::Target) => scheduler_fallback(target, from, to),
        (Action::ReduceBatch { reduction, .. }, Part::Target) => {
            reduce_batch(target, *reduction, known.map(Change::fields).unwrap_or_default())
        }
        (Action::Scale { replicas, .. }, Part::Target) => match &target.scaled_by {
            ScaledBy::Nobody => scale(target, *replicas),
            ScaledBy::Autoscaler(who) => refused(
                Reason::OwnedByAutoscaler,
                format!(
                    "{who} sets its replicas and would undo the change; raise the limit of {who} instead"
                ),
            ),
            ScaledBy::Unknown(why) => refused(
                Reason::AutoscalerUnknown,
                format!("whether an autoscaler sets its replicas is not known: {why}"),
            ),
        },
    }
}

/// Accelerator requests and limits to "0", quantization where the kind has it,
/// and no placement that only accelerator nodes satisfy.
fn cpu_fallback(target: &Target, quantization: Option<&str>, placement: Placement) -> Plan {
    let object = &target.object;
    let slots = &target.slots;
    if let Some(refused) = obstacle(target, &Role::Accelerator) {
        return refused;
    }
    let uses_accelerator = slots
        .fields
        .iter()
        .any(|slot| slot.role == Role::Accelerator && !is_zero(slot.path.read(object).as_deref()));
    if !uses_accelerator {
        return Plan::NothingToDo("it asks for no accelerator".to_owned());
    }
    if placement == Placement::Release
        && let Some(pin) = slots.pins.first()
    {
        return refused(
            Reason::PinnedToAccelerator,
            format!("{pin}: without its accelerator it could not start anywhere"),
        );
    }
    let wanted = slots.fields.iter().filter_map(|slot| {
        let after = match &slot.role {
            Role::Accelerator => Some(json!("0")),
            Role::QuantizationEnabled => Some(Value::Bool(true)).filter(|_| quantization.is_some())?.into(),
            Role::QuantizationPrecision => Some(json!(quantization?)),
            Role::Placement { released } => {
                Some(released.clone()).filter(|_| placement == Placement::Release)?
            }
            Role::AutoscalerLimit
            | Role::Scheduler
            | Role::BatchSize
            | Role::MaxConcurrency
            | Role::Replicas => return None,
        };
        Some((slot, after))
    });
    changes(object, wanted)
}

/// The highest number that the autoscaler may set, times `factor` and at most `ceiling`.
fn raise_autoscaler_limit(target: &Target, factor: i64, ceiling: i64) -> Plan {
    if let Some(refused) = obstacle(target, &Role::AutoscalerLimit) {
        return refused;
    }
    let mut wanted = Vec::new();
    let mut as_it_is = "it has no autoscaler limit".to_owned();
    for slot in target.slots.of(&Role::AutoscalerLimit) {
        match Number::at(slot, &target.object) {
            Number::Absent => {}
            Number::Is(before) if before <= 0 => {}
            Number::Is(before) => {
                let after = before.saturating_mul(factor).min(ceiling);
                if after > before {
                    wanted.push((slot, like(&slot.path, &target.object, after)));
                } else {
                    as_it_is = format!("its limit of {before} is not below the ceiling of {ceiling}");
                }
            }
            Number::Odd(refused) => return refused,
        }
    }
    if wanted.is_empty() {
        return Plan::NothingToDo(as_it_is);
    }
    changes(&target.object, wanted.into_iter())
}

/// What uses the broken scheduler uses the other one.
fn scheduler_fallback(target: &Target, from: &str, to: &str) -> Plan {
    if let Some(refused) = obstacle(target, &Role::Scheduler) {
        return refused;
    }
    let uses_it =
        |slot: &&Slot| slot.path.read(&target.object).as_deref().and_then(Value::as_str) == Some(from);
    let wanted: Vec<_> =
        target.slots.of(&Role::Scheduler).filter(uses_it).map(|slot| (slot, Some(json!(to)))).collect();
    if wanted.is_empty() {
        return Plan::NothingToDo(format!("it does not use the scheduler {from}"));
    }
    changes(&target.object, wanted.into_iter())
}

/// Batch size and concurrency go down; what is lower already stays. `first` are the fields of the first
/// intent: hundredths of them are not taken again.
fn reduce_batch(target: &Target, reduction: Reduction, first: &[FieldChange]) -> Plan {
    let mut wanted = Vec::new();
    let mut without_value = None;
    for role in [Role::BatchSize, Role::MaxConcurrency] {
        let to = match reduction {
            Reduction::To { batch_size, max_concurrency } => {
                let to = if role == Role::BatchSize { batch_size } else { max_concurrency };
                let Some(to) = to else { continue };
                Some(to)
            }
            Reduction::Percent(_) => None,
        };
        match (obstacle(target, &role), to) {
            (Some(refused), Some(_)) => return refused,
            // Hundredths are for whatever the kind has.
            (Some(refused), None) => {
                without_value.get_or_insert(refused);
                continue;
            }
            (None, _) => {}
        }
        for slot in target.slots.fields.iter().filter(|slot| slot.role == role) {
            let after = match (Number::at(slot, &target.object), reduction) {
                (Number::Odd(refused), _) => return refused,
                (Number::Absent, Reduction::To { .. }) => to,
                (Number::Absent, Reduction::Percent(_)) => {
                    let text = format!(
                        "{} is not set, so a percentage of it is not known; give a number",
                        slot.path
                    );
                    without_value = Some(refused(Reason::NoValue, text));
                    continue;
                }
                (Number::Is(before), Reduction::To { .. }) => to.filter(|to| before <= 0 || *to < before),
                (Number::Is(before), Reduction::Percent(percent)) => {
                    let floor = first.iter().find(|field| field.path == slot.path);
                    let floor = floor.and_then(|field| whole(field.after.as_ref()?)).unwrap_or(1);
                    Some((before.saturating_mul(percent) / 100).max(floor)).filter(|after| *after < before)
                }
            };
            if let Some(after) = after {
                wanted.push((slot, like(&slot.path, &target.object, after)));
            }
        }
    }
    match without_value {
        Some(refused) if wanted.is_empty() => refused,
        Some(_) | None => changes(&target.object, wanted.into_iter()),
    }
}

/// The number of replicas.
fn scale(target: &Target, replicas: i64) -> Plan {
    if let Some(refused) = obstacle(target, &Role::Replicas) {
        return refused;
    }
    let mut wanted = Vec::new();
    for slot in target.slots.of(&Role::Replicas) {
        match Number::at(slot, &target.object) {
            Number::Odd(refused) => return refused,
            Number::Is(before) if before == replicas => {}
            Number::Is(_) | Number::Absent => wanted.push((slot, like(&slot.path, &target.object, replicas))),
        }
    }
    changes(&target.object, wanted.into_iter())
}

/// Why the object has no field of this role that could be changed; none if it has.
fn obstacle(target: &Target, role: &Role) -> Option<Plan> {
    let obstacle = target.slots.obstacles.iter().find(|obstacle| obstacle.role == *role)?;
    Some(refused(Reason::NotApplicable, format!("{}: {}", role.name(), obstacle.why)))
}

fn refused(reason: Reason, message: String) -> Plan {
    Plan::Refused { reason, message }
}

/// The number in a field.
enum Number {
    /// The field is not there.
    Absent,
    /// So much.
    Is(i64),
    /// Something else is there.
    Odd(Plan),
}

impl Number {
    fn at(slot: &Slot, object: &Value) -> Self {
        match slot.path.read(object).as_deref() {
            None | Some(Value::Null) => Self::Absent,
            Some(value) => match whole(value) {
                Some(number) => Self::Is(number),
                None => {
                    Self::Odd(refused(Reason::NotANumber, format!("{} is not a whole number", slot.path)))
                }
            },
        }
    }
}

/// A number in the way in which the field is written: as text where it is text, and in a new flag.
fn like(path: &FieldPath, object: &Value, number: i64) -> Option<Value> {
    let is_text = path.read(object).map_or(path.is_flag(), |value| value.is_string());
    Some(if is_text { json!(number.to_string()) } else { json!(number) })
}

/// The field changes that give these slots these values.
fn changes<'a>(object: &Value, wanted: impl Iterator<Item = (&'a Slot, Option<Value>)>) -> Plan {
    let mut fields = Vec::new();
    for (slot, after) in wanted {
        let before = slot.path.read(object).filter(|value| !value.is_null()).map(Cow::into_owned);
        if same(&slot.path, before.as_ref(), after.as_ref()) {
            continue;
        }
        if let Some(problem) = &slot.out_of_bounds {
            return Plan::Refused {
                reason: Reason::OutOfBounds,
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

#[cfg(test)]
#[path = "action_tests.rs"]
mod tests;
