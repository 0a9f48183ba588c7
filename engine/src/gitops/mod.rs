//! Tools that enforce the state in Git, and how to pause them for a loan.
//!
//! Flux can be paused for one object, so the pause is a field of the loan like
//! any other. Argo CD and Helm cannot be paused for one object, so people are warned
//! and told what to configure.

pub mod argo;
mod helm;

use serde_json::{Value, json};

use crate::change::FieldChange;
use crate::id::TargetId;
use crate::ownership;
use crate::path::{FieldPath, Segment};
use crate::undo::annotation;

/// The type of the timeline entry and the reason in a plan for a [`warning`].
pub const WARNING: &str = "GitOpsWarning";

/// What pauses a controller of Flux for one object.
struct Pause {
    /// The label of the objects that it applies.
    applied: &'static str,
    /// The annotation that pauses it. It also counts as a label.
    key: &'static str,
}

/// The controllers of Flux: of Kustomizations, and of `HelmReleases`, whose drift detection is paused.
const PAUSES: [Pause; 2] = [
    Pause { applied: "kustomize.toolkit.fluxcd.io/name", key: "kustomize.toolkit.fluxcd.io/reconcile" },
    Pause { applied: helm::RELEASE, key: "helm.toolkit.fluxcd.io/driftDetection" },
];
const PAUSED: &str = "disabled";

/// The fields that pause Flux for this object; none if Flux does not apply the object or is already paused.
pub fn pauses(object: &Value) -> Vec<FieldChange> {
    PAUSES.iter().filter_map(|pause| pause.of(object)).collect()
}

impl Pause {
    fn of(&self, object: &Value) -> Option<FieldChange> {
        label(object, self.applied)?;
        let before = annotation(object, self.key);
        let is_paused = [before, label(object, self.key)]
            .into_iter()
            .flatten()
            .any(|value| value.eq_ignore_ascii_case(PAUSED));
        let path = FieldPath::keys(["metadata", "annotations", self.key]).ok()?;
        (!is_paused).then(|| FieldChange {
            owner: ownership::owner(object, &path),
            path,
            before: before.map(|text| json!(text)),
            after: Some(json!(PAUSED)),
            created: None,
            ceded_to: None,
            beside: None,
        })
    }
}

/// The annotation of a path that pauses Flux.
fn pause_of(path: &FieldPath) -> Option<&'static str> {
    let Some(Segment::Key(key)) = path.segments().last() else { return None };
    PAUSES.iter().map(|pause| pause.key).find(|pause| pause == key)
}

/// Whether this field pauses Flux: it stays for as long as any loan of the object does.
pub fn is_pause(path: &FieldPath) -> bool {
    pause_of(path).is_some()
}

/// How a person ends the pauses among these fields for an object whose change is kept; none if there are none.
pub fn ends_pause(target: &TargetId, fields: &[FieldChange]) -> Option<String> {
    let keys: Vec<String> =
        fields.iter().filter_map(|field| pause_of(&field.path)).map(|key| format!(" {key}-")).collect();
    (!keys.is_empty()).then(|| {
        format!(
            "Flux stays paused for it; otherwise Flux would revert the kept values. Once Git has the new \
             values, end the pause with \
             `kubectl annotate {} {}{}{}`",
            target.kind.to_lowercase(),
            target.name,
            target.namespace_flag(),
            keys.concat()
        )
    })
}

/// What people must know, and configure, if these fields of the object are changed.
pub fn warning(object: &Value, fields: &[FieldChange]) -> Option<String> {
    let all: Vec<String> =
        [argo::warning(object, fields), helm::warning(object)].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join("; "))
}

fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLUX: &str = PAUSES[0].applied;
    const FLUX_PAUSE: &str = PAUSES[0].key;
    const DRIFT: &str = PAUSES[1].key;

    /// The only pause of this object.
    fn pause(object: &Value) -> Option<FieldChange> {
        let mut all = pauses(object);
        assert!(all.len() < 2, "{all:?}");
        all.pop()
    }

    #[test]
    fn flux_is_paused_where_it_applies_the_object_and_only_once() {
        for Pause { applied, key } in PAUSES {
            let of_flux = json!({"metadata": {"labels": {applied: "apps"}}});
            let field = pause(&of_flux).unwrap();
            assert_eq!((field.before, field.after), (None, Some(json!("disabled"))));
            assert!(is_pause(&field.path), "{key}");
            let enabled = json!({"metadata": {"labels": {applied: "apps"}, "annotations": {key: "enabled"}}});
            assert_eq!(pause(&enabled).unwrap().before, Some(json!("enabled")));
            let paused = json!({"metadata": {"labels": {applied: "apps"}, "annotations": {key: "Disabled"}}});
            assert_eq!(pause(&paused), None);
            let by_label = json!({"metadata": {"labels": {applied: "apps", key: "disabled"}}});
            assert_eq!(pause(&by_label), None);
        }
        assert_eq!(pause(&json!({"metadata": {}})), None);
        let both = json!({"metadata": {"labels": {FLUX: "apps", helm::RELEASE: "chat"}}});
        assert_eq!(pauses(&both).len(), 2);
    }

    #[test]
    fn the_command_that_ends_the_pause_names_a_namespace_only_where_there_is_one() {
        let pod = TargetId::pod("", "gpu-1".to_owned(), String::new());
        let node = TargetId { kind: "Node".to_owned(), ..pod };
        let fields = pauses(&json!({"metadata": {"labels": {FLUX: "apps"}}}));
        let text = ends_pause(&node, &fields).unwrap();
        assert!(text.contains("`kubectl annotate node gpu-1 kustomize."), "{text}");
        let model = TargetId { namespace: "llm".to_owned(), ..node };
        let both = pauses(&json!({"metadata": {"labels": {FLUX: "apps", helm::RELEASE: "chat"}}}));
        let text = ends_pause(&model, &both).unwrap();
        assert!(text.contains(&format!(" gpu-1 -n llm {FLUX_PAUSE}- {DRIFT}-`")), "{text}");
        assert_eq!(ends_pause(&model, &[]), None);
    }

    #[test]
    fn an_object_of_argo_cd_from_a_chart_is_not_one_of_helm_and_both_are_warned_of_where_both_apply() {
        let object = |labels: Value, annotations: Value| json!({"metadata": {"labels": labels, "annotations": annotations}});
        let tracked = json!({"argocd.argoproj.io/tracking-id": "app:x"});
        let chart = object(json!({"app.kubernetes.io/managed-by": "Helm"}), tracked.clone());
        let text = warning(&chart, &[]).unwrap();
        assert!(text.contains("Argo CD") && !text.contains("upgrade"), "{text}");
        let mut released = tracked;
        released["meta.helm.sh/release-name"] = json!("chat");
        let text = warning(&object(json!({}), released), &[]).unwrap();
        assert!(text.contains("Argo CD") && text.contains("upgrade"), "{text}");
        assert_eq!(warning(&object(json!({}), json!({})), &[]), None);
    }
}
