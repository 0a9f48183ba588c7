//! What a change was made beside: fields that it left alone, and which its own must fit.

use serde_json::Value;

use crate::change::{Beside, FieldChange, cut};
use crate::ownership;
use crate::path::FieldPath;
use crate::value::{quantity, same, whole};

/// Notes, in each field of a change, the fields of its group that the change leaves alone, as they are in the object.
pub fn note_beside(object: &Value, fields: &mut [FieldChange]) {
    let changed: Vec<FieldPath> = fields.iter().map(|field| field.path.clone()).collect();
    for field in fields {
        let partner = field.path.partner().filter(|partner| !changed.contains(partner));
        field.beside = partner.map(|path| Beside { value: read(object, &path), path });
    }
}

/// Marks the fields whose old value does not fit what somebody has set beside it since.
pub(super) fn cede_beside(object: &Value, fields: &mut [FieldChange]) -> bool {
    let mut newly = false;
    for field in fields.iter_mut().filter(|field| field.ceded_to.is_none()) {
        let (Some(beside), Some(before)) = (&field.beside, &field.before) else { continue };
        let now = read(object, &beside.path);
        if same(&beside.path, now.as_ref(), beside.value.as_ref()) || fits(&field.path, before, now.as_ref())
        {
            continue;
        }
        let writer = ownership::writer(object, &beside.path);
        let owner = format!("{writer}, because the old value does not fit {} any more", beside.path);
        field.ceded_to = Some(cut(&owner, 512));
        newly = true;
    }
    newly
}

/// Whether the value is valid, and means what it meant, beside this one of the other field.
fn fits(path: &FieldPath, value: &Value, beside: Option<&Value>) -> bool {
    let Some(beside) = beside else { return true };
    // What is off has no effect, whatever it would do. A maximum of 0 is none, where it is valid at all.
    let is_unlimited = |number: &Value| !path.is_quantity() && whole(number) == Some(0);
    if *beside == Value::Bool(false) || is_unlimited(if path.is_lower() { beside } else { value }) {
        return true;
    }
    let (least, most) = if path.is_lower() { (value, beside) } else { (beside, value) };
    if path.is_device() {
        return quantity(value).is_some() && quantity(value) == quantity(beside);
    }
    let numbers = match path.is_quantity() {
        true => quantity(least).zip(quantity(most)),
        false => whole(least).zip(whole(most)).map(|(least, most)| (least.into(), most.into())),
    };
    numbers.is_some_and(|(least, most)| least <= most)
}

fn read(object: &Value, path: &FieldPath) -> Option<Value> {
    path.read(object).filter(|value| !value.is_null()).map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// To whom a field is ceded that had this value, where the object was so when it was changed, and is so now.
    fn ceded(path: &str, before: Value, then: &Value, now: &Value) -> Option<String> {
        let mut fields = [FieldChange {
            path: path.parse().unwrap(),
            before: Some(before),
            after: Some(json!("x")),
            created: None,
            owner: None,
            ceded_to: None,
            beside: None,
        }];
        note_beside(then, &mut fields);
        assert!(fields[0].beside.is_some(), "{path}");
        cede_beside(now, &mut fields);
        fields[0].ceded_to.clone()
    }

    #[test]
    fn a_field_is_ceded_if_its_old_value_does_not_fit_what_was_set_beside_it() {
        let gpus = |requests: Value| json!({"limits": {"nvidia.com/gpu": "0"}, "requests": requests});
        let memory = |requests: Value| json!({"limits": {"memory": "0"}, "requests": requests});
        let range = |least: i64| json!({"minReplicas": least, "maxReplicas": 8});
        let precision = |precision: &str| json!({"enabled": true, "precision": precision});
        for (path, before, then, now, is_ceded) in [
            (
                "/limits/nvidia.com~1gpu",
                json!("1"),
                gpus(json!({})),
                gpus(json!({"nvidia.com/gpu": "2"})),
                true,
            ),
            (
                "/limits/nvidia.com~1gpu",
                json!(2),
                gpus(json!({})),
                gpus(json!({"nvidia.com/gpu": "2"})),
                false,
            ),
            (
                "/limits/memory",
                json!("4Gi"),
                memory(json!({"memory": "1Gi"})),
                memory(json!({"memory": "8Gi"})),
                true,
            ),
            (
                "/limits/memory",
                json!("4Gi"),
                memory(json!({"memory": "1Gi"})),
                memory(json!({"memory": "4096Mi"})),
                false,
            ),
            (
                "/limits/memory",
                json!("4Gi"),
                memory(json!({"memory": "8Gi"})),
                memory(json!({"memory": "8Gi"})),
                false,
            ),
            ("/maxReplicas", json!(4), range(1), range(6), true),
            ("/maxReplicas", json!(4), range(1), range(4), false),
            ("/minReplicas", json!(4), json!({"maxReplicas": 8}), json!({"maxReplicas": 3}), true),
            ("/enabled", json!(false), precision("int8"), precision("int4"), true),
            ("/enabled", json!(false), precision("int8"), precision("int8"), false),
            ("/enabled", json!(false), precision("int8"), json!({"enabled": true}), false),
            ("/precision", json!("fp8"), precision("int8"), json!({"enabled": false}), false),
            ("/maxReplicas", json!(0), json!({"minReplicas": 1}), json!({"minReplicas": 2}), false),
        ] {
            assert_eq!(ceded(path, before, &then, &now).is_some(), is_ceded, "{path}: {then} {now}");
        }
    }

    #[test]
    fn the_pace_of_a_rollout_and_what_is_changed_as_well_is_not_noted() {
        let field = |path: &str| FieldChange {
            path: path.parse().unwrap(),
            before: None,
            after: Some(json!(0)),
            created: None,
            owner: None,
            ceded_to: None,
            beside: None,
        };
        let mut fields =
            [field("/maxSurge"), field("/limits/cpu"), field("/requests/cpu"), field("/replicas")];
        note_beside(&json!({"maxUnavailable": 1}), &mut fields);
        assert!(fields.iter().all(|field| field.beside.is_none()), "{fields:?}");
    }
}
