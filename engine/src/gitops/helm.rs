//! Helm: what the next upgrade of the release of an object does to a change.

use serde_json::Value;

use super::{PAUSES, argo, label};
use crate::ownership;
use crate::undo::{MANAGER, annotation};

/// The label of the objects of a Flux `HelmRelease`, with its name.
pub(super) const RELEASE: &str = "helm.toolkit.fluxcd.io/name";
const RELEASE_NAMESPACE: &str = "helm.toolkit.fluxcd.io/namespace";
/// Only Helm itself sets it. A chart that another tool renders has the label below.
const RELEASE_NAME: &str = "meta.helm.sh/release-name";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What the next upgrade does.
const RESTORES: &str = "restores the values that the chart sets, which then stay";

/// What people must know if the object belongs to a release.
pub(super) fn warning(object: &Value) -> Option<String> {
    if let Some(name) = label(object, RELEASE) {
        let namespace = label(object, RELEASE_NAMESPACE).unwrap_or_default();
        return Some(format!(
            "the HelmRelease {name} of Flux applies it. Flux does not correct the object while it is changed, but an \
             upgrade of the release before all changes are reverted {RESTORES}. `flux suspend helmrelease {name} -n \
             {namespace}` prevents that"
        ));
    }
    let is_of_argo = argo::is_tracked(object);
    let is_labelled = label(object, MANAGED_BY) == Some("Helm") && !is_of_argo;
    (is_released(object) || is_labelled).then(|| {
        let upgrade = "it belongs to a Helm release: a `helm upgrade` before all changes are reverted";
        format!("{upgrade} {}", effect(object))
    })
}

/// What an upgrade does, by the way in which Helm has applied the object so far.
fn effect(object: &Value) -> String {
    let conflicts = format!(
        "fails with a conflict with the field manager `{MANAGER}`, and with --force-conflicts {RESTORES}"
    );
    let has = |manager: &str| ownership::managers(object).any(|name| name == manager);
    match (has("helm/Apply"), has("helm/Update")) {
        (true, _) => conflicts,
        (false, true) => RESTORES.to_owned(),
        (false, false) => format!("{RESTORES}; with server-side apply it {conflicts}"),
    }
}

/// Whether Helm has released it.
pub(super) fn is_released(object: &Value) -> bool {
    annotation(object, RELEASE_NAME).is_some()
}

/// Whether a controller of Flux applies it.
pub(super) fn is_of_flux(object: &Value) -> bool {
    PAUSES.iter().any(|pause| label(object, pause.applied).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(metadata: Value) -> String {
        warning(&json!({"metadata": metadata})).unwrap_or_default()
    }

    #[test]
    fn the_warning_says_what_the_next_upgrade_does() {
        let of = |operation: &str| {
            let entries = json!([{"manager": "helm", "operation": operation}]);
            said(json!({"annotations": {RELEASE_NAME: "chat"}, "managedFields": entries}))
        };
        let by_helm_3 = of("Update");
        assert!(
            by_helm_3.contains("reverted restores the values") && !by_helm_3.contains("conflict"),
            "{by_helm_3}"
        );
        let by_server = of("Apply");
        assert!(
            by_server.contains("reverted fails with a conflict with the field manager `firebreak`"),
            "{by_server}"
        );
        let unknown = said(json!({"labels": {MANAGED_BY: "Helm"}}));
        assert!(unknown.contains("restores") && unknown.contains("conflict"), "{unknown}");
        assert_eq!(said(json!({"labels": {MANAGED_BY: "kustomize"}})), "");
    }

    #[test]
    fn a_helm_release_of_flux_is_named_with_the_command_that_suspends_it() {
        let labels = json!({RELEASE: "chat", RELEASE_NAMESPACE: "flux-system", MANAGED_BY: "Helm"});
        let text = said(json!({"labels": labels, "annotations": {RELEASE_NAME: "chat"}}));
        assert!(text.contains("`flux suspend helmrelease chat -n flux-system`"), "{text}");
        assert!(text.contains("restores") && !text.contains("conflict"), "{text}");
    }
}
