//! Which objects the targets of a step select. In memory, it does what an API
//! server and the reader of targets do.

use serde_json::Value;

use crate::policy::TargetsSpec;

/// Whether the object has the right kind, name, namespace and labels.
/// `own` is the namespace of the policy; without it, every namespace counts as its own.
pub(super) fn describes(scope: &TargetsSpec, object: &Value, own: Option<&str>) -> bool {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (name, namespace) = (text("/metadata/name"), text("/metadata/namespace"));
    let is_placed = match &scope.namespaces {
        None => own.is_none_or(|own| own == namespace),
        Some(namespaces) => namespaces.all || namespaces.names.iter().any(|wanted| wanted == namespace),
    };
    text("/apiVersion") == scope.api_version
        && text("/kind") == scope.kind
        && (scope.names.is_empty() || scope.names.iter().any(|wanted| wanted == name))
        && is_placed
        && scope.selector.as_ref().is_none_or(|selector| selector.selects(object))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is_described(scope: Value, own: Option<&str>) -> bool {
        let mut whole = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
        super::super::server::merge(&mut whole, &scope);
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "chat", "namespace": "serving", "labels": {"tier": "gold"}},
        });
        describes(&serde_json::from_value(whole).unwrap(), &object, own)
    }

    #[test]
    fn version_kind_and_name_must_be_the_ones() {
        assert!(is_described(json!({}), None));
        assert!(is_described(json!({"names": ["search", "chat"]}), None));
        for other in [json!({"apiVersion": "apps/v2"}), json!({"kind": "Job"}), json!({"names": ["search"]})]
        {
            assert!(!is_described(other.clone(), None), "{other}");
        }
    }

    #[test]
    fn without_namespaces_the_policys_own_is_meant() {
        assert!(is_described(json!({}), Some("serving")));
        assert!(!is_described(json!({}), Some("ops")));
        assert!(is_described(json!({"namespaces": {"all": true}}), Some("ops")));
        assert!(is_described(json!({"namespaces": {"names": ["serving"]}}), Some("ops")));
        assert!(!is_described(json!({"namespaces": {"names": ["ops"]}}), Some("serving")));
    }

    #[test]
    fn labels_are_compared_as_an_api_server_does() {
        let by = |labels: Value| is_described(json!({"selector": {"matchLabels": labels}}), None);
        assert!(by(json!({"tier": "gold"})));
        assert!(!by(json!({"tier": "tin"})) && !by(json!({"tier": "gold", "team": "a"})));
        let met = |key: &str, operator: &str, values: Value| {
            let requirement = json!([{"key": key, "operator": operator, "values": values}]);
            is_described(json!({"selector": {"matchExpressions": requirement}}), None)
        };
        assert!(met("tier", "In", json!(["gold"])) && !met("team", "In", json!(["a"])));
        assert!(!met("tier", "NotIn", json!(["gold"])) && met("team", "NotIn", json!(["a"])));
        assert!(met("tier", "Exists", json!([])) && !met("team", "Exists", json!([])));
        assert!(!met("tier", "DoesNotExist", json!([])) && met("team", "DoesNotExist", json!([])));
    }
}
