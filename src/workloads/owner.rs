//! The controlling owner of an object, which also writes it.
//!
//! The controller of an object keeps restoring it from its owner: a change of the child is overwritten within
//! seconds, after it has cost a rollout. So the object is not a target, and the topmost owner must be changed
//! instead: by the step if its kind has a profile, otherwise by a person.

use std::fmt;

use serde_json::Value;

/// The owner that controls an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name. It is in the namespace of the object that it owns, or in none.
    pub name: String,
    /// The uid that it had when it became the owner.
    pub uid: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// The owner with `controller: true`; an object has at most one.
pub fn controlling_owner(object: &Value) -> Option<Owner> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    let controller = owners.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    let text = |field: &str| controller.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Owner { api_version: text("apiVersion"), kind: text("kind"), name: text("name"), uid: text("uid") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_controlling_owner_counts() {
        let owner = |controller: Value| json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "controller": controller});
        let object = |owners: Value| json!({"metadata": {"ownerReferences": owners}});
        assert_eq!(controlling_owner(&object(json!([owner(json!(false)), owner(Value::Null)]))), None);
        let found = controlling_owner(&object(json!([owner(json!(false)), owner(json!(true))]))).unwrap();
        assert_eq!((found.api_version.as_str(), found.to_string().as_str()), ("apps/v1", "Deployment/x"));
        for garbage in [json!({}), json!("x"), json!({"metadata": {"ownerReferences": [1, null]}})] {
            assert_eq!(controlling_owner(&garbage), None);
        }
    }
}
