//! Argo CD: how to see that it applies an object, and what keeps its values from being restored.
//!
//! - `tracking`: whether it applies an object, and for which Application.
//! - `applied`: how many of the objects that a policy may change it applies.
//! - `coverage`: whether an Application leaves the fields alone that a step changes.
//! - `lacks`: what it lacks.
//! - `replace`: whether a sync replaces an object, and drops the undo record with it.
//! - `place`: places in an object, as Applications write them.

mod applied;
mod coverage;
mod lacks;
mod place;
mod replace;
mod tracking;

use serde_json::{Value, json};

pub use self::applied::Applied;
pub use self::coverage::{Answer, Application, Field};
pub use self::lacks::Lacks;
pub use self::replace::Replaces;
pub use self::tracking::{ApplicationId, By, Tracking};
use super::is_pause;
use crate::change::FieldChange;
use crate::id;
use crate::path::{FieldPath, Segment};

/// The option with which Argo CD leaves ignored fields alone when it applies an object.
const RESPECTS: &str = "RespectIgnoreDifferences=true";

/// What people must add to the Application of this object, if Argo CD applies it.
pub(super) fn warning(object: &Value, fields: &[FieldChange]) -> Option<String> {
    let Tracking { application, by } = Tracking::of(object)?;
    let entry = ignore_differences(object, &expressions(fields));
    let add = format!("with syncOption {RESPECTS}: ignoreDifferences: [{entry}]");
    let restores = "may restore its own values at once, which then stay";
    let may = |by: &By| format!("Argo CD may apply it: {by}. If it does, it {restores}.");
    let warning = match (&by, application) {
        (By::Annotation | By::OwnLabel | By::InstanceAndManager(_), Some(application)) => {
            format!(
                "Argo CD applies it ({by}) and {restores}. Add this to its Application {application}, {add}"
            )
        }
        (_, Some(application)) => {
            format!("{} If there is an Application {application}, add this to it, {add}", may(&by))
        }
        (_, None) => format!("{} Add this to its Application, {add}", may(&by)),
    };
    Some(match Replaces::of_object(object) {
        Some(replaces) => format!("{warning}. Also {replaces}"),
        None => warning,
    })
}

/// Whether Argo CD surely applies it.
pub(super) fn is_tracked(object: &Value) -> bool {
    Tracking::of(object).is_some_and(|tracking| tracking.is_sure())
}

/// The group of an object; empty for the core group.
fn group(object: &Value) -> &str {
    id::group(text(object, "/apiVersion"))
}

/// The fields as jq expressions.
fn expressions(fields: &[FieldChange]) -> Vec<String> {
    fields.iter().filter(|field| !is_pause(&field.path)).map(|field| jq(&field.path)).collect()
}

/// A text of an object; empty if it has none there.
fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The entry for an object.
fn ignore_differences(object: &Value, expressions: &[String]) -> Value {
    let text = |pointer: &str| text(object, pointer);
    let mut entry = json!({
        "group": group(object), "kind": text("/kind"), "name": text("/metadata/name"),
        "jqPathExpressions": expressions,
    });
    let namespace = text("/metadata/namespace");
    if !namespace.is_empty() {
        entry["namespace"] = json!(namespace);
    }
    entry
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
    use super::tracking::{INSTANCE, OWN_LABEL, TRACKING_ID};
    use super::*;

    fn field(path: &str) -> FieldChange {
        FieldChange {
            path: path.parse().unwrap(),
            before: None,
            after: None,
            created: None,
            owner: None,
            ceded_to: None,
            beside: None,
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
    fn an_object_that_a_sync_replaces_would_lose_its_record() {
        let options = "argocd.argoproj.io/sync-options";
        let annotations = json!({TRACKING_ID: "web:apps/Deployment:n/x", options: "Replace=true"});
        let text = warning(&object(json!({"name": "x", "annotations": annotations})), &[]).unwrap();
        assert!(text.contains(&format!("Also remove Replace=true from the annotation {options}")), "{text}");
        let plain = json!({TRACKING_ID: "web:apps/Deployment:n/x"});
        let text = warning(&object(json!({"name": "x", "annotations": plain})), &[]).unwrap();
        assert!(!text.contains("Replace"), "{text}");
    }

    #[test]
    fn an_application_that_nothing_names_is_not_named() {
        let entries = json!([{"manager": "argocd-controller", "operation": "Apply"}]);
        let text = warning(&object(json!({"name": "x", "managedFields": entries})), &[]).unwrap();
        assert!(text.starts_with("Argo CD may apply it: its field manager argocd-controller"), "{text}");
        assert!(text.contains("Add this to its Application, with"), "{text}");
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
