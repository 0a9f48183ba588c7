//! reduceBatch: models process less at once.

use serde::{Deserialize, Serialize};

use super::edit::{Number, changes, like, obstacle, refused};
use super::targets::ALL;
use super::{Autoscalers, Descriptor, Fields, Kind, Plan, Pods, Reach, Room, Targets, Values, Yields};
use crate::change::{Change, FieldChange};
use crate::facts::{Absent, Role, Slot, Target};
use crate::policy::Revert;
use crate::reason::Reason;
use crate::rules::Faults;
use crate::selector::TargetsSpec;
use crate::value::whole;

/// Lowers the batch size and the concurrency of models. A lower value stays. Set `batchSize`,
/// `maxConcurrency` or both, or set `percent` for both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.percent) != (has(self.batchSize) || has(self.maxConcurrency))", "message": "either percent or at least one of batchSize and maxConcurrency must be set"}
])))]
#[serde(rename_all = "camelCase")]
pub struct ReduceBatchSpec {
    /// The objects to change. `where` defaults to `true`.
    pub targets: TargetsSpec,
    /// The maximum number of requests in one batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100_000)))]
    pub batch_size: Option<u32>,
    /// The maximum number of concurrent requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100_000)))]
    pub max_concurrency: Option<u32>,
    /// Percentage of the current value, rounded down, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 99)))]
    pub percent: Option<u32>,
}

/// Reduces the batch size and the concurrency of models.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ReduceBatch {
    /// Which objects.
    pub targets: Targets,
    /// By how much.
    pub reduction: Reduction,
}

/// The new batch size and concurrency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// These values; a value that is not set stays.
    To {
        /// Requests in one batch.
        batch_size: Option<i64>,
        /// Requests at once.
        max_concurrency: Option<i64>,
    },
    /// This percentage of the current values.
    Percent(i64),
}

impl ReduceBatch {
    pub(super) fn parse(spec: &ReduceBatchSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        Some(Self {
            reduction: reduction(spec, field, faults)?,
            targets: Targets::parse(&spec.targets, ALL, field, faults)?,
        })
    }
}

fn reduction(spec: &ReduceBatchSpec, field: &str, faults: &mut Faults) -> Option<Reduction> {
    match (spec.percent, spec.batch_size, spec.max_concurrency) {
        (Some(percent), None, None) => Some(Reduction::Percent(i64::from(percent))),
        (None, batch_size, max_concurrency) if batch_size.or(max_concurrency).is_some() => {
            Some(Reduction::To {
                batch_size: batch_size.map(i64::from),
                max_concurrency: max_concurrency.map(i64::from),
            })
        }
        (None, _, _) | (Some(_), _, _) => {
            let problem = "either percent or at least one of batchSize and maxConcurrency must be set";
            faults.add(field, problem);
            None
        }
    }
}

impl Kind for ReduceBatch {
    fn targets(&self) -> &Targets {
        &self.targets
    }

    fn targets_mut(&mut self) -> &mut Targets {
        &mut self.targets
    }

    fn descriptor(&self) -> Descriptor {
        let values = match self.reduction {
            Reduction::Percent(_) => Values::Shares,
            Reduction::To { .. } => Values::Absolute,
        };
        Descriptor {
            yields: Yields::Loans,
            pods: Pods::Replaces,
            values,
            autoscalers: Autoscalers::Ignored,
            reach: Reach::Namespaces,
            fields: Fields::Profile,
            room: Room::AsItIs,
            revert: Revert::OnRecovery,
        }
    }

    fn plan(&self, target: &Target, known: Option<&Change>) -> Plan {
        match reduce_batch(target, self.reduction, known.map(Change::fields).unwrap_or_default()) {
            Plan::NothingToDo(_) => Plan::NothingToDo("it already has this value, or a lower one".to_owned()),
            plan => plan,
        }
    }
}

/// Reduces batch size and concurrency; a value that is already lower stays. `first` are the fields of the first
/// intent, of which no further percentage is taken.
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
            // A percentage applies to whichever fields the kind has.
            (Some(refused), None) => {
                without_value.get_or_insert(refused);
                continue;
            }
            (None, _) => {}
        }
        for slot in target.slots.fields.iter().filter(|slot| slot.role == role) {
            let number = match (Number::at(slot, &target.object), slot.number_if_absent()) {
                (Number::Absent, Some(number)) => Number::Is(number),
                (number, _) => number,
            };
            let after = match (number, reduction) {
                (Number::Odd(why), _) => return refused(Reason::NotANumber, why),
                (Number::Absent, Reduction::To { .. }) => {
                    if let Some(why) = to.and_then(|to| may_enlarge(slot, to)) {
                        without_value.get_or_insert(refused(Reason::NotApplicable, why));
                        continue;
                    }
                    to
                }
                (Number::Absent, Reduction::Percent(_)) => {
                    let text = format!(
                        "{} is not set, so a percentage of it cannot be computed; set a number",
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

/// Why this number might be higher than the one that counts while the field is absent, for people; none if it is not.
fn may_enlarge(slot: &Slot, to: i64) -> Option<String> {
    let at_least = match slot.absent {
        Some(Absent::Unlimited) => return None,
        Some(Absent::AtLeast(number)) => number.max(1),
        // No batch is smaller than 1.
        Some(Absent::Is(_)) | None => 1,
    };
    (to > at_least).then(|| {
        format!(
            "{}: {} is not set, and its default is only known to be at least {at_least}, so {to} might be more; set a number \
             there, or one of at most {at_least} in the step",
            slot.role.name(),
            slot.path
        )
    })
}
