//! Argo CD: how to see that it applies an object, and the entry that keeps its values from being restored.

use serde_json::{Value, json};

use super::{helm, is_pause, label};
use crate::change::FieldChange;
use crate::ownership;
use crate::path::{FieldPath, Segment};
use crate::undo::annotation;

/// How Argo CD tracks objects by default, since version 3.
const TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";
/// The label that installations commonly use in place of the default one.
const OWN_LABEL: &str = "argocd.argoproj.io/instance";
/// The label by which it tracks objects by default before version 3. Charts and operators set it, too.
const INSTANCE: &str = "app.kubernetes.io/instance";
/// How the names of its field managers start.
const MANAGER: &str = "argocd-";

/// How sure it is that Argo CD applies an object.
enum Tracked {
    /// It does. The name of the Application, and how that is known.
    Surely(String, String),
    /// A label says so that others set, too.
    Possibly(String),
}

/// What people must add to the Application of this object, if Argo CD applies it.
pub(super) fn warning(object: &Value, fields: &[FieldChange]) -> Option<String> {
    let entry = ignore_differences(object, fields);
    let add = format!("with syncOption RespectIgnoreDifferences=true: ignoreDifferences: [{entry}]");
    Some(match tracked(object)? {
        Tracked::Surely(application, how) => format!(
            "Argo CD applies it ({how}) and may restore its own values at once, which then stay. Add this to \
             its Application {application}, {add}"
        ),
        Tracked::Possibly(application) => format!(
            "Argo CD may apply it: only the label {INSTANCE} says so, which others set, too. If it does, it may \
             restore its own values at once, which then stay. If there is an Application {application}, add \
             this to it, {add}"
        ),
    })
}

/// Whether Argo CD surely applies it.
pub(super) fn is_tracked(object: &Value) -> bool {
    matches!(tracked(object), Some(Tracked::Surely(..)))
}

fn tracked(object: &Value) -> Option<Tracked> {
    if let Some(id) = annotation(object, TRACKING_ID) {
        let application = id.split(':').next().unwrap_or(id).to_owned();
        return Some(Tracked::Surely(application, format!("tracked by the annotation {TRACKING_ID}")));
    }
    if let Some(application) = label(object, OWN_LABEL) {
        let how = format!("tracked by the label {OWN_LABEL}");
        return Some(Tracked::Surely(application.to_owned(), how));
    }
    let application = label(object, INSTANCE)?.to_owned();
    let manager = ownership::managers(object).find(|manager| manager.starts_with(MANAGER));
    match manager {
        Some(manager) => {
            let how =
                format!("tracked by the label {INSTANCE}; its field manager {manager} writes the object");
            Some(Tracked::Surely(application, how))
        }
        // Then the label is from the chart, or from the manifest that Flux applies.
        None if helm::is_released(object) || helm::is_of_flux(object) => None,
        None => Some(Tracked::Possibly(application)),
    }
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

    fn object(metadata: Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata})
    }

    #[test]
    fn people_get_the_entry_to_add_and_the_application_to_add_it_to() {
        let limit = [
            field("/spec/template/spec/containers/[name=main]/resources/limits/nvidia.com~1gpu"),
            field("/metadata/annotations/kustomize.toolkit.fluxcd.io~1reconcile"),
        ];
        let tracked = json!({TRACKING_ID: "app:apps/Deployment:n/x"});
        let text =
            warning(&object(json!({"name": "x", "namespace": "n", "annotations": tracked})), &limit).unwrap();
        let expression = r#"[".[\"spec\"][\"template\"][\"spec\"][\"containers\"][] | select(.[\"name\"] == \"main\") | .[\"resources\"][\"limits\"][\"nvidia.com/gpu\"]"]"#;
        assert!(text.contains(expression) && text.contains("\"group\":\"apps\""), "{text}");
        assert!(text.contains("its Application app, with"), "{text}");
    }

    #[test]
    fn a_label_is_told_from_an_annotation_and_a_label_that_charts_set_from_one_that_argo_cd_wrote() {
        let said = |metadata: Value| warning(&object(metadata), &[]);
        let by_own_label = said(json!({"labels": {OWN_LABEL: "web"}})).unwrap();
        assert!(by_own_label.contains("tracked by the label argocd.argoproj.io/instance"), "{by_own_label}");
        for operation in ["Apply", "Update"] {
            let entries = json!([{"manager": "argocd-controller", "operation": operation}]);
            let text = said(json!({"labels": {INSTANCE: "web"}, "managedFields": entries})).unwrap();
            assert!(text.contains("tracked by the label app.kubernetes.io/instance; "), "{text}");
            assert!(text.contains("argocd-controller") && text.contains("Application web"), "{text}");
        }
        let alone = said(json!({"labels": {INSTANCE: "web"}})).unwrap();
        assert!(alone.starts_with("Argo CD may apply it: only the label"), "{alone}");
    }

    #[test]
    fn the_label_of_a_release_or_of_an_object_of_flux_is_not_from_argo_cd() {
        for (labels, annotations) in [
            (json!({INSTANCE: "web"}), json!({"meta.helm.sh/release-name": "web"})),
            (json!({INSTANCE: "web", "helm.toolkit.fluxcd.io/name": "web"}), json!({})),
            (json!({INSTANCE: "web", "kustomize.toolkit.fluxcd.io/name": "apps"}), json!({})),
            (json!({}), json!({})),
        ] {
            let metadata = json!({"labels": labels, "annotations": annotations});
            assert_eq!(warning(&object(metadata.clone()), &[]), None, "{metadata}");
        }
    }
}
