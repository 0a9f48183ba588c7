//! Whether Argo CD applies an object, how that is known, and for which Application.

use std::fmt;

use serde_json::Value;

use crate::gitops::{helm, label};
use crate::ownership;
use crate::undo::annotation;

/// How Argo CD tracks objects by default, since version 3.
pub(super) const TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";
/// The label that installations commonly use in place of the default one.
pub(super) const OWN_LABEL: &str = "argocd.argoproj.io/instance";
/// The label by which it tracks objects by default before version 3. Charts and operators set it, too.
pub(super) const INSTANCE: &str = "app.kubernetes.io/instance";
/// How the names of its field managers start.
const MANAGER: &str = "argocd-";

/// An Application of Argo CD, as the objects that it applies name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApplicationId {
    /// Its namespace; none if it is in the namespace of Argo CD.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl ApplicationId {
    /// In another namespace than its own, Argo CD writes `namespace_name`. No name has an underscore.
    fn of(instance: &str) -> Self {
        match instance.split_once('_') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Self { namespace: Some(namespace.to_owned()), name: name.to_owned() }
            }
            _ => Self { namespace: None, name: instance.to_owned() },
        }
    }
}

impl fmt::Display for ApplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// How it is known that Argo CD applies an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The annotation that names the object itself.
    Annotation,
    /// The label of Argo CD.
    OwnLabel,
    /// The label that others set, too, and a field manager of Argo CD.
    InstanceAndManager(String),
    /// Only the label that others set, too.
    InstanceAlone,
    /// Only a field manager of Argo CD. Installations may use a label of their own, so the Application is not known.
    ManagerAlone(String),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Annotation => write!(f, "tracked by the annotation {TRACKING_ID}"),
            Self::OwnLabel => write!(f, "tracked by the label {OWN_LABEL}"),
            Self::InstanceAndManager(manager) => {
                write!(f, "tracked by the label {INSTANCE}; its field manager {manager} writes the object")
            }
            Self::InstanceAlone => write!(f, "only the label {INSTANCE} says so, which others set, too"),
            Self::ManagerAlone(manager) => write!(
                f,
                "its field manager {manager} writes the object, and nothing that Firebreak knows names the Application"
            ),
        }
    }
}

/// An object that Argo CD applies, or may apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracking {
    /// The Application, if the object names it.
    pub application: Option<ApplicationId>,
    /// How that is known.
    pub by: By,
}

impl Tracking {
    /// Whether Argo CD surely applies it.
    pub fn is_sure(&self) -> bool {
        match self.by {
            By::Annotation | By::OwnLabel | By::InstanceAndManager(_) => true,
            By::InstanceAlone | By::ManagerAlone(_) => false,
        }
    }

    /// What the object says about it; none if it says nothing.
    pub fn of(object: &Value) -> Option<Self> {
        let manager = ownership::managers(object).find(|manager| manager.starts_with(MANAGER));
        let by = |instance: &str, by| Some(Self { application: Some(ApplicationId::of(instance)), by });
        let manager_alone =
            |manager: Option<String>| Some(Self { application: None, by: By::ManagerAlone(manager?) });
        if let Some(id) = annotation(object, TRACKING_ID) {
            let mut parts = id.splitn(2, ':');
            let instance = parts.next().unwrap_or_default();
            // An operator has copied it from the object that Argo CD applies.
            let is_copy = parts.next().is_some_and(|named| names_another(named, object));
            return if is_copy { manager_alone(manager) } else { by(instance, By::Annotation) };
        }
        if let Some(instance) = label(object, OWN_LABEL) {
            return by(instance, By::OwnLabel);
        }
        match (label(object, INSTANCE), manager) {
            (Some(instance), Some(manager)) => by(instance, By::InstanceAndManager(manager)),
            // Then the label is from the chart, or from the manifest that Flux applies.
            (Some(_), None) if helm::is_released(object) || helm::is_of_flux(object) => None,
            (Some(instance), None) => by(instance, By::InstanceAlone),
            (None, manager) => manager_alone(manager),
        }
    }
}

/// Whether the rest of a tracking id, `group/Kind:namespace/name`, names another object than this one. What is not
/// written like that names none.
fn names_another(named: &str, object: &Value) -> bool {
    let Some((kind, name)) = named.split_once(':') else { return false };
    let (Some((group, kind)), Some((_, name))) = (kind.split_once('/'), name.split_once('/')) else {
        return false;
    };
    let text = |pointer: &str| super::text(object, pointer);
    // For a cluster-scoped object, the id has the namespace of the destination of the Application.
    (group, kind, name) != (super::group(object), text("/kind"), text("/metadata/name"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_application_in_another_namespace_than_argo_cd_is_named_with_it() {
        let id = |instance: &str| ApplicationId::of(instance).to_string();
        assert_eq!((id("web"), id("team-a_web")), ("web".to_owned(), "team-a/web".to_owned()));
        assert_eq!((id("_web"), id("web_")), ("_web".to_owned(), "web_".to_owned()));
    }

    #[test]
    fn a_field_manager_of_argo_cd_without_a_label_that_is_known_says_possibly() {
        let object = |labels: Value, manager: &str| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x", "labels": labels,
                "managedFields": [{"manager": manager, "operation": "Apply"}]}})
        };
        let of_own_key =
            Tracking::of(&object(json!({"example.com/app": "web"}), "argocd-controller")).unwrap();
        assert!(!of_own_key.is_sure() && of_own_key.application.is_none(), "{of_own_key:?}");
        assert!(of_own_key.by.to_string().contains("argocd-controller"), "{of_own_key:?}");
        assert_eq!(Tracking::of(&object(json!({"example.com/app": "web"}), "kubectl")), None);
        let mut copied = object(json!({}), "argocd-controller");
        copied["metadata"]["annotations"] =
            json!({TRACKING_ID: "web:serving.kserve.io/InferenceService:n/x"});
        assert_eq!(Tracking::of(&copied).unwrap().application, None);
    }

    /// Whether Argo CD applies a Deployment with this tracking id.
    fn applies(id: &str) -> bool {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "x", "namespace": "n", "annotations": {TRACKING_ID: id}}});
        Tracking::of(&object).is_some()
    }

    #[test]
    fn a_copy_of_a_tracking_id_on_another_object_says_nothing() {
        assert!(applies("web:apps/Deployment:n/x"));
        assert!(!applies("web:serving.kserve.io/InferenceService:n/x"), "KServe copies annotations");
        assert!(!applies("web:apps/Deployment:n/y"));
        for not_as_argo_cd_writes_it in ["web", "web:x", "web:x:y"] {
            assert!(applies(not_as_argo_cd_writes_it));
        }
    }
}
