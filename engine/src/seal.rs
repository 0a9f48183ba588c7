//! Values that never leave their object.
//!
//! The value of a variable may be a secret, and so may the value of an argument that a change removes. Only the object itself
//! has it: in its field, and in its undo record during the change. Plan, status and report have a seal in its place: the
//! sha256 of the value, which shows whether a field has the value without telling it. Before a value is written, its seal
//! is opened with the object that the write is for.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::change::FieldChange;
use crate::flag;
use crate::path::FieldPath;
use crate::value::of_field;

/// The only member of a seal.
const MEMBER: &str = "sha256";

/// The seal of a value. That of a seal is itself.
pub fn seal(value: &Value) -> Value {
    if is_seal(value) {
        return value.clone();
    }
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let digest: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ MEMBER: digest })
}

/// Whether a value is sealed.
pub fn is_seal(value: &Value) -> bool {
    let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let only = |map: &Map<String, Value>| {
        map.len() == 1 && map.get(MEMBER).and_then(Value::as_str).is_some_and(is_digest)
    };
    value.as_object().is_some_and(only)
}

/// Whether a value in this field that the policy does not set may be a secret: a variable, or an argument that the change,
/// or one whose field it takes over, removes.
fn is_confidential(field: &FieldChange) -> bool {
    let was_removed = |before: &Value| is_seal(before) || flag::is_removed(before);
    let is_removed = || field.after.is_none() || field.before.as_ref().is_some_and(was_removed);
    field.path.is_variable() || field.path.is_flag() && is_removed()
}

/// The field with every value sealed that must not leave the object. What the policy itself sets is no secret.
#[must_use]
pub fn sealed(mut field: FieldChange) -> FieldChange {
    if is_confidential(&field) {
        field.before = field.before.map(|before| seal(&of_field(&field.path, &before)));
    }
    field
}

/// What is stored as the present value of a field instead of the one that was sent.
pub fn stored(field: &FieldChange, value: Value) -> Value {
    if is_confidential(field) { seal(&value) } else { value }
}

/// The value that a field of the object is to get: a sealed one is on the object itself, in its undo record or in the field.
/// None if it is on neither.
pub fn opened(object: &Value, path: &FieldPath, value: &Value) -> Option<Value> {
    if !is_seal(value) {
        return Some(value.clone());
    }
    let fits = |found: &Value| seal(&of_field(path, found)) == *value && !is_seal(found);
    let loans = crate::undo::record(object).ok().flatten().map(|record| record.loans).unwrap_or_default();
    let recorded = loans.into_iter().flat_map(|loan| loan.fields).filter(|field| field.path == *path);
    let mut recorded = recorded.flat_map(|field| [field.before, field.after]).flatten();
    recorded
        .find(fits)
        .or_else(|| path.read(object).filter(|found| fits(found)).map(std::borrow::Cow::into_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(path: &str, before: Option<Value>, after: Option<Value>) -> FieldChange {
        FieldChange {
            path: path.parse().unwrap(),
            before,
            after,
            created: None,
            owner: None,
            ceded_to: None,
            beside: None,
        }
    }

    #[test]
    fn a_seal_is_the_sha256_of_the_text_and_sealing_it_again_changes_nothing() {
        // printf %s secret | sha256sum
        let expected = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        let seal_of_it = seal(&json!("secret"));
        assert_eq!(seal_of_it, json!({"sha256": expected}));
        assert_eq!(seal(&seal_of_it), seal_of_it);
        assert!(is_seal(&seal_of_it) && !is_seal(&json!({"sha256": "x"})) && !is_seal(&json!("secret")));
    }

    #[test]
    fn variables_and_removed_arguments_are_sealed_and_what_the_policy_sets_is_shown() {
        let before = Some(json!("secret"));
        let hidden = Some(seal(&json!("secret")));
        let table = [
            ("/spec/containers/[name=a]/env/[name=TOKEN]/value", Some(json!("new")), &hidden),
            ("/spec/containers/[name=a]/args/[flag=--token]", None, &hidden),
            ("/spec/containers/[name=a]/args/[flag=--token]", Some(json!("new")), &before),
            ("/spec/containers/[name=a]/image", Some(json!("new")), &before),
        ];
        // A later step sets the argument that an earlier one has removed, and takes over what was before.
        let removed = json!({"words": ["--token=secret"], "at": 1, "between": ["--key=other", null]});
        let path = "/spec/containers/[name=a]/args/[flag=--token]";
        let taken_over = sealed(field(path, Some(removed.clone()), Some(json!("new"))));
        assert!(taken_over.before.as_ref().is_some_and(is_seal), "{taken_over:?}");
        assert_eq!(sealed(taken_over.clone()), taken_over);
        for (path, after, expected) in table {
            let sealed = sealed(field(path, before.clone(), after.clone()));
            assert_eq!((&sealed.before, &sealed.after), (expected, &after), "{path}");
        }
    }

    #[test]
    fn a_seal_is_opened_with_the_field_of_the_object_or_not_at_all() {
        let path = "/spec/env/[name=TOKEN]/value".parse().unwrap();
        let object = |value: &str| json!({"spec": {"env": [{"name": "TOKEN", "value": value}]}});
        let hidden = seal(&json!("secret"));
        assert_eq!(opened(&object("secret"), &path, &hidden), Some(json!("secret")));
        assert_eq!(opened(&object("other"), &path, &hidden), None);
        assert_eq!(opened(&object("other"), &path, &json!("plain")), Some(json!("plain")));
    }
}
