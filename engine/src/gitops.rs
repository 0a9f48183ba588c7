//! Tools that enforce the state in Git, and how to pause them for a loan.
//!
//! Flux can be paused for one object, so the pause is a field of the loan like
//! any other. Argo CD and Helm cannot be paused for one object, so people are warned
//! and told what to configure.

use serde_json::{Value, json};

use crate::change::FieldChange;
use crate::id::TargetId;
use crate::ownership;
use crate::path::{FieldPath, Segment};
use crate::undo::annotation;

/// The type of the timeline entry and the reason in a plan for a [`warning`].
pub const WARNING: &str = "GitOpsWarning";

const FLUX: &str = "kustomize.toolkit.fluxcd.io/name";
const FLUX_PAUSE: &str = "kustomize.toolkit.fluxcd.io/reconcile";
const PAUSED: &str = "disabled";
const ARGO_ANNOTATION: &str = "argocd.argoproj.io/tracking-id";
const ARGO_LABEL: &str = "argocd.argoproj.io/instance";
const HELM_LABEL: &str = "app.kubernetes.io/managed-by";

/// The field that pauses Flux for this object; none if Flux does not apply the object or is already paused.
pub fn pause(object: &Value) -> Option<FieldChange> {
    label(object, FLUX)?;
    let before = annotation(object, FLUX_PAUSE).map(|text| json!(text));
    let after = json!(PAUSED);
    let path = FieldPath::keys(["metadata", "annotations", FLUX_PAUSE]).ok()?;
    (before.as_ref() != Some(&after)).then(|| FieldChange {
        owner: ownership::owner(object, &path),
        path,
        before,
        after: Some(after),
        created: None,
        ceded_to: None,
    })
}

/// Whether this field pauses Flux: it stays for as long as any loan of the object does.
pub fn is_pause(path: &FieldPath) -> bool {
    path.segments().last() == Some(&Segment::Key(FLUX_PAUSE.to_owned()))
}

/// How a person ends the pause for an object whose change is kept.
pub fn ends_pause(target: &TargetId) -> String {
    format!(
        "Flux stays paused for it; otherwise Flux would revert the kept values. Once Git has the new \
         values, end the pause with \
         `kubectl annotate {} {}{} {FLUX_PAUSE}-`",
        target.kind.to_lowercase(),
        target.name,
        target.namespace_flag()
    )
}

/// What people must know, and configure, if these fields of the object are changed.
pub fn warning(object: &Value, fields: &[FieldChange]) -> Option<String> {
    if annotation(object, ARGO_ANNOTATION).is_some() || label(object, ARGO_LABEL).is_some() {
        return Some(format!(
            "Argo CD applies it and may restore its own values at once, which then stay. Add this to its \
             Application, with syncOption RespectIgnoreDifferences=true: ignoreDifferences: [{}]",
            ignore_differences(object, fields)
        ));
    }
    let helm = label(object, HELM_LABEL) == Some("Helm");
    helm.then(|| {
        "it belongs to a Helm release: a `helm upgrade` before all changes are reverted restores Helm's \
         values, which then stay"
            .to_owned()
    })
}

fn ignore_differences(object: &Value, fields: &[FieldChange]) -> Value {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let api_version = text("/apiVersion");
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let expressions: Vec<String> =
        fields.iter().filter(|field| !is_pause(&field.path)).map(|field| jq(&field.path)).collect();
    json!({
        "group": group, "kind": text("/kind"), "name": text("/metadata/name"),
        "namespace": text("/metadata/namespace"), "jqPathExpressions": expressions,
    })
}

/// The path as a jq expression. A flag becomes the list that contains it.
fn jq(path: &FieldPath) -> String {
    let mut expression = ".".to_owned();
    for segment in path.segments() {
        expression.push_str(&match segment {
            Segment::Key(key) => format!("[{}]", json!(key)),
            Segment::Element { key, value } => {
                format!("[] | select(.[{}] == {}) | .", json!(key), json!(value))
            }
            Segment::Flag(_) => String::new(),
        });
    }
    expression
}

fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(path: &str) -> FieldChange {
        FieldChange {
            path: path.parse().unwrap(),
            before: None,
            after: None,
            created: None,
            owner: None,
            ceded_to: None,
        }
    }

    #[test]
    fn flux_is_paused_where_it_applies_the_object_and_only_once() {
        let of_flux = json!({"metadata": {"labels": {FLUX: "apps"}}});
        let field = pause(&of_flux).unwrap();
        assert_eq!((field.before, field.after), (None, Some(json!("disabled"))));
        let enabled = json!({"metadata": {"labels": {FLUX: "apps"}, "annotations": {FLUX_PAUSE: "enabled"}}});
        assert_eq!(pause(&enabled).unwrap().before, Some(json!("enabled")));
        let paused = json!({"metadata": {"labels": {FLUX: "apps"}, "annotations": {FLUX_PAUSE: "disabled"}}});
        assert_eq!(pause(&paused), None);
        assert_eq!(pause(&json!({"metadata": {}})), None);
    }

    #[test]
    fn the_command_that_ends_the_pause_names_a_namespace_only_where_there_is_one() {
        let pod = TargetId::pod("", "gpu-1".to_owned(), String::new());
        let node = TargetId { kind: "Node".to_owned(), ..pod };
        assert!(
            ends_pause(&node).contains("`kubectl annotate node gpu-1 kustomize."),
            "{}",
            ends_pause(&node)
        );
        let model = TargetId { namespace: "llm".to_owned(), ..node };
        assert!(ends_pause(&model).contains(" gpu-1 -n llm kustomize."), "{}", ends_pause(&model));
    }

    #[test]
    fn argo_gets_the_entry_to_add_and_helm_a_warning() {
        let limit = [field("/spec/template/spec/containers/[name=main]/resources/limits/nvidia.com~1gpu")];
        let object =
            |metadata: Value| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata});
        let argo = object(json!({"name": "x", "namespace": "n", "annotations": {ARGO_ANNOTATION: "app:x"}}));
        let text = warning(&argo, &limit).unwrap();
        let expression = r#".[\"spec\"][\"template\"][\"spec\"][\"containers\"][] | select(.[\"name\"] == \"main\") | .[\"resources\"][\"limits\"][\"nvidia.com/gpu\"]"#;
        assert!(text.contains(expression) && text.contains("\"group\":\"apps\""), "{text}");
        let helm = object(json!({"labels": {HELM_LABEL: "Helm"}}));
        assert!(warning(&helm, &limit).unwrap().contains("helm upgrade"));
        assert_eq!(warning(&object(json!({})), &limit), None);
    }
}
