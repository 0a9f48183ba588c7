//! Factors and percentages are taken of the value before the first loan of the Incident.
//!
//! # Guarantees
//! Whichever steps change a field, in whichever order and round, and whatever object leads to it: a relative action
//! sets it to the same number every time, so nothing is multiplied twice. A value that someone else has written since
//! is no new start: it is the value to restore, but not the one to multiply.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::Deciding;
use crate::action::{Plan, Values};
use crate::change::{Change, FieldChange, FirstValue};
use crate::facts::Target;
use crate::path::FieldPath;
use crate::reason::Reason;
use crate::rules::Step;
use crate::seal;
use crate::value::whole;

impl Deciding<'_> {
    /// The plan of a relative action on an object that this Incident, or one whose loans it adopts, may have changed.
    pub(super) fn plan_of_first_values(
        &self,
        step: &Step,
        target: &Target,
        known: Option<&Change>,
        adopted: &[FieldChange],
    ) -> Plan {
        let on_live = step.action.plan(target, known);
        let mut first = self.first_values(&target.id.uid);
        first.retain(|first| target.slots.fields.iter().any(|slot| slot.path == first.path));
        let of_orphans = adopted.iter().filter(|old| !first.iter().any(|first| first.path == old.path));
        let of_orphans = of_orphans
            .map(|old| FirstValue { path: old.path.clone(), value: old.before.clone() })
            .collect::<Vec<_>>();
        first.extend(of_orphans);
        // What keeps the object as it is from being changed does so whatever it was before.
        if first.is_empty() || matches!(on_live, Plan::Refused { .. }) {
            return on_live;
        }
        let mut fields = match step.action.plan(&as_first(target, &first), known) {
            Plan::Change(fields) => fields,
            plan @ (Plan::Operate(_) | Plan::NothingToDo(_) | Plan::Refused { .. }) => return plan,
        };
        let mut as_it_is = None;
        for field in std::mem::take(&mut fields) {
            match goes_further(step.action.descriptor().values, target, &field) {
                Ok(true) => fields.push(on_the_live_object(target, field)),
                Ok(false) => {
                    as_it_is.get_or_insert_with(|| why_it_stays(target, &field));
                }
                Err(why) => return Plan::Refused { reason: Reason::NotANumber, message: why },
            }
        }
        match as_it_is {
            Some(why) if fields.is_empty() => Plan::NothingToDo(why),
            Some(_) | None => Plan::Change(fields),
        }
    }

    /// The values before the first loan of this Incident, for the fields of this object that it has lent.
    pub(super) fn first_values(&self, target_uid: &str) -> Vec<FirstValue> {
        let is_of_it = |change: &&Change| change.target.uid == target_uid && change.was_lent();
        let mut changes: Vec<&Change> = self.next.changes.iter().filter(is_of_it).collect();
        changes.sort_by_key(|change| change.joined_at);
        let noted =
            changes.iter().filter_map(|change| change.loan()).flat_map(|loan| loan.first.iter().cloned());
        let mut values: Vec<FirstValue> = Vec::new();
        for first in noted.chain(changes.iter().flat_map(|change| change.first_values())) {
            if !values.iter().any(|known| known.path == first.path) {
                values.push(first);
            }
        }
        values
    }
}

/// The object as if nothing had been lent.
fn as_first(target: &Target, first: &[FirstValue]) -> Target {
    let mut object = (*target.object).clone();
    for FirstValue { path, value } in first {
        let opened = value.as_ref().map(|value| seal::opened(&target.object, path, value));
        // A field that no longer fits, or whose value only an object that has changed since had, stays as it is.
        if let Some(value) = opened.map_or(Some(None), |opened| opened.map(Some)) {
            let _ = path.write(&mut object, value);
        }
    }
    Target { object: Arc::new(object), ..target.clone() }
}

/// Whether the new value is further in the direction of the action than the current one. The error is for people.
fn goes_further(values: Values, target: &Target, field: &FieldChange) -> Result<bool, String> {
    let absent = absent(target, &field.path);
    let number = |value: Option<&Value>| match value {
        None | Some(Value::Null) => Ok(absent),
        Some(value) => match whole(value) {
            // Where the kind has a number for an absent field, 0 is like absent.
            Some(number) if number <= 0 => Ok(absent.or(Some(number))),
            Some(number) => Ok(Some(number)),
            None => Err(format!("{} is not a whole number", field.path)),
        },
    };
    let now = number(field.path.read(&target.object).as_deref())?;
    let after = number(field.after.as_ref())?;
    Ok(match (now, after) {
        (Some(now), Some(after)) if values == Values::Multiples => after > now,
        (Some(now), Some(after)) => after < now,
        // There is no limit to raise, or none that a lower one could replace.
        (None, _) | (_, None) => false,
    })
}

/// The number that counts while the field is absent.
fn absent(target: &Target, path: &FieldPath) -> Option<i64> {
    target.slots.fields.iter().find(|slot| slot.path == *path)?.number_if_absent()
}

/// The same change of the field as it is now.
fn on_the_live_object(target: &Target, field: FieldChange) -> FieldChange {
    FieldChange {
        before: field.path.read(&target.object).filter(|value| !value.is_null()).map(Cow::into_owned),
        created: field.path.missing_ancestor(&target.object),
        ..field
    }
}

/// Why the value stays, for people.
fn why_it_stays(target: &Target, field: &FieldChange) -> String {
    let text = |value: Option<&Value>| value.map_or_else(|| "absent".to_owned(), Value::to_string);
    format!(
        "{} is {}; before the first change of this Incident it was {}, of which this step makes {}",
        field.path,
        text(field.path.read(&target.object).as_deref()),
        text(field.before.as_ref()),
        text(field.after.as_ref()),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{Fixture, at, field, live};
    use super::*;
    use crate::change::ChangeState;
    use crate::facts::{Absent, Role, Slot, Slots};

    const LIMIT: &str = "/spec/maxReplicas";
    const BATCH: &str = "/spec/batchSize";

    fn with_fields(state: ChangeState, fields: Vec<FieldChange>) -> impl FnOnce(&mut Change) {
        move |change| {
            change.set_fields(fields);
            if state != ChangeState::Failed {
                change.set_applied_at(at(1));
            }
        }
    }

    /// What was before the first loan, by the journal.
    fn first(given: &Fixture) -> Vec<(String, Option<Value>)> {
        let values = given.deciding().first_values("uid-a");
        values.into_iter().map(|first| (first.path.to_string(), first.value)).collect()
    }

    #[test]
    fn what_was_before_the_first_loan_is_known_however_it_ended() {
        for state in [ChangeState::Applied, ChangeState::Reverted, ChangeState::Ceded, ChangeState::Unclear] {
            let fields = vec![field(LIMIT, &json!(4), &json!(8)), field(BATCH, &json!(null), &json!(2))];
            let given = Fixture::pinned().change_with("one", "a", state, with_fields(state, fields));
            let expected = [(LIMIT.to_owned(), Some(json!(4))), (BATCH.to_owned(), None)];
            assert_eq!(first(&given), expected, "{state:?}");
        }
        // It was never applied, so nothing was lent.
        let fields = vec![field(LIMIT, &json!(4), &json!(8))];
        let state = ChangeState::Failed;
        let failed = Fixture::pinned().change_with("one", "a", state, with_fields(state, fields));
        assert_eq!(first(&failed), []);
    }

    #[test]
    fn a_value_that_someone_wrote_between_two_loans_is_not_the_first_one() {
        let mut change = Fixture::pinned()
            .change_with("two", "a", ChangeState::Applied, |change| {
                change.set_fields(vec![field(LIMIT, &json!(6), &json!(16))]);
                change.joined_at = Some(at(0));
            })
            .facts
            .state
            .changes
            .remove(0);
        let values = [FirstValue { path: LIMIT.parse().unwrap(), value: Some(json!(4)) }];
        change.note_first_values(&values);
        change.note_first_values(&[FirstValue { value: Some(json!(5)), ..values[0].clone() }]);
        assert_eq!(change.loan().unwrap().first, values);
        // The other one joined later.
        let given = Fixture::pinned().with(|facts| facts.state.changes.push(change)).change_with(
            "one",
            "a",
            ChangeState::Applied,
            |change| {
                change.set_fields(vec![field(LIMIT, &json!(7), &json!(8))]);
                change.joined_at = Some(at(9));
            },
        );
        assert_eq!(first(&given), [(LIMIT.to_owned(), Some(json!(4)))]);
    }

    #[test]
    fn a_value_is_only_ever_moved_in_the_direction_of_the_action() {
        let path: FieldPath = LIMIT.parse().unwrap();
        let slot = |absent: Option<i64>| Slot {
            role: Role::AutoscalerLimit,
            path: path.clone(),
            out_of_bounds: None,
            absent: absent.map(Absent::Is),
        };
        let target = |now: Value, absent| Target {
            object: Arc::new(json!({"spec": {"maxReplicas": now}})),
            slots: Slots { fields: vec![slot(absent)], ..Slots::default() },
            ..live("a")
        };
        let further = |values, now: Value, absent, after| {
            goes_further(values, &target(now, absent), &field(LIMIT, &json!(4), &json!(after)))
        };
        assert_eq!(further(Values::Multiples, json!(8), None, 16), Ok(true));
        assert_eq!(further(Values::Multiples, json!(8), None, 8), Ok(false));
        assert_eq!(further(Values::Multiples, json!("12"), None, 8), Ok(false));
        assert_eq!(further(Values::Shares, json!(8), None, 4), Ok(true));
        assert_eq!(further(Values::Shares, json!(3), None, 4), Ok(false));
        // Someone has removed the field since.
        assert_eq!(further(Values::Multiples, json!(null), Some(100), 8), Ok(false));
        assert_eq!(further(Values::Multiples, json!(0), Some(100), 8), Ok(false));
        assert_eq!(further(Values::Multiples, json!(null), Some(4), 8), Ok(true));
        assert_eq!(further(Values::Shares, json!(null), None, 4), Ok(false));
        assert!(further(Values::Shares, json!("auto"), None, 4).is_err());
    }
}
