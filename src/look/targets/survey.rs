//! The objects that the steps of a policy may change, whatever `where` says now, and that Argo CD applies.
//!
//! Read in quiet times, as the policy's ServiceAccount, so it costs no more than lists: of each object only what names
//! it is kept, and only if Argo CD applies it or if another object controls it, which is changed instead.

use std::collections::BTreeMap;
use std::sync::Arc;

use firebreak_engine::gitops::argo::{Applied, Tracking};
use firebreak_engine::id::TargetId;
use firebreak_engine::incident::IncidentState;
use firebreak_engine::rules::{Rules, Step};
use firebreak_engine::selector::Namespaces;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use kube::Client;
use serde_json::Value;

use super::owners::{owner_of, topmost};
use super::scope::{is_named, names_to_look_up};
use super::{Kinds, LISTS, Reader, Unread, found};
use crate::actuator::live_read::{self, Scope};
use crate::kubernetes::discovery::ServedKind;
use crate::workloads;

/// Owners that are read. An object may have an owner of its own, so there may be thousands.
const OWNERS: usize = 64;

/// The objects that Argo CD applies, by their uid.
type Seen = BTreeMap<String, (TargetId, Tracking)>;

/// What is kept of the objects in the scope of a step.
#[derive(Default)]
struct InScope {
    /// Those that Argo CD applies.
    tracked: Vec<(TargetId, Tracking)>,
    /// Those that another object controls: one of each owner is enough.
    owned: BTreeMap<String, Arc<Value>>,
}

/// One object of a list, as far as it is kept.
enum Kept {
    Tracked(TargetId, Tracking),
    Owned(String, Arc<Value>),
}

/// Lists the objects of all steps. What was refused is left out, and the result says that it is not all.
///
/// # Errors
/// There was no conclusive answer, so nothing is known.
pub async fn survey(
    kinds: Kinds<'_>,
    client: &Client,
    namespace: &str,
    rules: &Rules,
) -> Result<Applied, String> {
    let state = IncidentState::default();
    let reader = Reader::new(kinds, client, namespace, &state, &rules.steps);
    let mut seen = Seen::new();
    let mut applied = Applied::default();
    for step in once_per_scope(&rules.steps) {
        match reader.in_scope(step).await {
            Ok(in_scope) => {
                if in_scope.owned.len() > OWNERS {
                    applied.is_not_all();
                }
                let owners = reader.owners_of_argo(in_scope.owned).await;
                seen.extend(in_scope.tracked.into_iter().chain(owners).map(|one| (one.0.uid.clone(), one)));
            }
            Err(Unread::Refused(_)) => applied.is_not_all(),
            Err(Unread::Failed(why)) => return Err(why),
        }
    }
    seen.into_values().for_each(|(id, tracking)| applied.add(id, &tracking));
    Ok(applied)
}

/// The steps without those that change the same objects as an earlier one.
fn once_per_scope(steps: &[Step]) -> Vec<&Step> {
    let mut once: Vec<&Step> = Vec::new();
    for step in steps {
        let is_same = |other: &&Step| {
            other.targets().scope == step.targets().scope
                && other.action.kind().before() == step.action.kind().before()
        };
        if !once.iter().any(is_same) {
            once.push(step);
        }
    }
    once
}

impl Reader<'_> {
    /// What is kept of the objects in the scope of a step, and of those that it changes first.
    async fn in_scope(&self, step: &Step) -> Result<InScope, Unread> {
        let (kind, labels) = self.scope_of(step).await?;
        let scope = &step.targets().scope;
        let keep = |object: Arc<Value>| if is_named(scope, &object) { kept(&object) } else { None };
        let names = names_to_look_up(&scope.names);
        let places = Namespaces::of(scope.namespaces.as_ref()).places(self.namespace);
        let lists: Vec<BoxFuture<'_, Result<Vec<Kept>, Unread>>> = places
            .iter()
            .flat_map(|place| names.iter().map(move |name| (place, *name)))
            .map(|(place, name)| self.list_in(&kind, &labels, place, name, &keep).boxed())
            .collect();
        let listed: Vec<Vec<Kept>> = stream::iter(lists).buffered(LISTS).try_collect().await?;
        let mut in_scope = InScope::default();
        for kept in listed.into_iter().flatten() {
            match kept {
                Kept::Tracked(id, tracking) => in_scope.tracked.push((id, tracking)),
                Kept::Owned(uid, object) => {
                    in_scope.owned.entry(uid).or_insert(object);
                }
            }
        }
        for named in step.action.kind().before() {
            let place = named.object.namespace.as_deref().unwrap_or(self.namespace);
            let kind = self.resolve(&named.object.api_version, &named.object.kind).await?;
            let object = found(live_read::named(self.client, &kind, place, &named.object.name).await)?;
            in_scope.tracked.extend(object.as_ref().and_then(tracked));
        }
        Ok(in_scope)
    }

    async fn list_in(
        &self,
        kind: &ServedKind,
        labels: &str,
        namespace: &str,
        name: Option<&str>,
        keep: &(dyn Fn(Arc<Value>) -> Option<Kept> + Sync),
    ) -> Result<Vec<Kept>, Unread> {
        let fields = name.map(|name| format!("metadata.name={name}")).unwrap_or_default();
        let scope = Scope { namespace, labels, fields: &fields };
        found(live_read::list(self.client, kind, scope, keep).await).map(Option::unwrap_or_default)
    }

    /// The topmost owners of these objects that Argo CD applies. One that cannot be read is not changed either.
    async fn owners_of_argo(&self, owned: BTreeMap<String, Arc<Value>>) -> Vec<(TargetId, Tracking)> {
        let children: Vec<Arc<Value>> = owned.into_values().take(OWNERS).collect();
        let owners = self.owners(children.iter().filter_map(|child| owner_of(child)).collect()).await;
        let known = |owner: &&Arc<Value>| self.profile(owner).is_some();
        let owners = children.iter().filter_map(|child| topmost(child, &owners)).filter(known);
        owners.filter_map(|owner| tracked(owner)).collect()
    }
}

/// What is kept of an object.
fn kept(object: &Arc<Value>) -> Option<Kept> {
    if workloads::is_exempt(object) {
        return None;
    }
    match owner_of(object) {
        Some((uid, _)) => Some(Kept::Owned(uid, Arc::new(reference(object)))),
        None => tracked(object).map(|(id, tracking)| Kept::Tracked(id, tracking)),
    }
}

/// The part of an object that names its owner.
fn reference(object: &Value) -> Value {
    let part = |pointer: &str| object.pointer(pointer).cloned().unwrap_or_default();
    serde_json::json!({"metadata": {
        "namespace": part("/metadata/namespace"), "ownerReferences": part("/metadata/ownerReferences"),
    }})
}

/// An object that Argo CD applies.
fn tracked(object: &Value) -> Option<(TargetId, Tracking)> {
    let tracking = Tracking::of(object)?;
    let id = workloads::identify(None, object).ok()?;
    (!workloads::is_exempt(object)).then_some((id, tracking))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::discovery::Discovery;
    use crate::workloads::Profiles;

    /// A Deployment of Argo CD, as it is in a list.
    fn deployment(name: &str, metadata: &Value) -> Value {
        let mut object = json!({"metadata": {"name": name, "namespace": "ns", "uid": name}});
        for (key, value) in metadata.as_object().unwrap() {
            object["metadata"][key] = value.clone();
        }
        object
    }

    fn resources(group_version: &str, plural: &str, kind: &str) -> Value {
        let resource = json!({"name": plural, "singularName": "", "namespaced": true, "kind": kind,
            "verbs": ["get", "list", "patch"]});
        json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": [resource]})
    }

    /// A model that owns Deployments, and that Argo CD applies.
    fn owner() -> Value {
        json!({"apiVersion": "inference.llm-d.io/v1alpha1", "kind": "LLMDeployment", "metadata": {"name": "model",
            "namespace": "ns", "uid": "of-model", "labels": {"argocd.argoproj.io/instance": "web"}}})
    }

    /// A cluster whose only Deployments are these, or that answers each list of them with this code.
    fn cluster(deployments: Result<Vec<Value>, u16>) -> Client {
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let path = request.uri().path().trim_start_matches("/apis/").to_owned();
            let (code, body) = match (path.as_str(), &deployments) {
                ("apps/v1", _) => (200, resources("apps/v1", "deployments", "Deployment")),
                ("inference.llm-d.io/v1alpha1", _) => {
                    (200, resources("inference.llm-d.io/v1alpha1", "llmdeployments", "LLMDeployment"))
                }
                (path, _) if path.ends_with("/llmdeployments/model") => (200, owner()),
                (_, Ok(items)) => (200, json!({"kind": "DeploymentList", "metadata": {}, "items": items})),
                (_, Err(code)) => (*code, json!({"kind": "Status", "code": code, "message": "no"})),
            };
            async move {
                let mut response =
                    http::Response::new(kube::client::Body::from(body.to_string().into_bytes()));
                *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
                Ok::<_, tower::BoxError>(response)
            }
        });
        Client::new(service, "default")
    }

    async fn surveyed(deployments: Result<Vec<Value>, u16>) -> Result<String, String> {
        let targets = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
        let step = |name: &str| json!({"name": name, "action": {"cpuFallback": {"targets": targets}}});
        let spec = json!({"steps": [step("first"), step("second")]});
        let rules = Rules::parse(&serde_json::from_value(spec).unwrap()).unwrap();
        let client = cluster(deployments);
        let (discovery, profiles) = (Discovery::new(client.clone()), Profiles::built_in().unwrap());
        let kinds = Kinds { discovery: &discovery, profiles: &profiles };
        survey(kinds, &client, "ns", &rules).await.map(|applied| applied.warning())
    }

    #[tokio::test]
    async fn an_object_counts_once_whatever_its_health_unless_it_is_exempt() {
        let of_argo = json!({"argocd.argoproj.io/tracking-id": "web"});
        let mut exempt = of_argo.clone();
        exempt["firebreak.dev/exempt"] = json!("true");
        let told = surveyed(Ok(vec![
            deployment("chat", &json!({"annotations": of_argo})),
            deployment("exempt", &json!({"annotations": exempt})),
            deployment("by-hand", &json!({})),
            deployment("chart", &json!({"labels": {"app.kubernetes.io/instance": "web"}})),
        ]));
        let told = told.await.unwrap();
        assert!(
            told.contains("applies 1 (Deployment ns/chat) and possibly 1 (Deployment ns/chart), "),
            "{told}"
        );
    }

    #[tokio::test]
    async fn an_owner_that_argo_cd_applies_counts_once_for_all_that_it_owns() {
        let reference = json!({"apiVersion": "inference.llm-d.io/v1alpha1", "kind": "LLMDeployment", "name": "model",
            "uid": "of-model", "controller": true});
        // An operator may copy the label to what it owns. The owner is changed instead.
        let owned = json!({"ownerReferences": [reference], "labels": {"argocd.argoproj.io/instance": "web"}});
        let told = surveyed(Ok(vec![deployment("one", &owned), deployment("two", &owned)])).await.unwrap();
        assert!(told.contains("Argo CD applies 1 (LLMDeployment ns/model), "), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_listed_says_nothing() {
        assert_eq!(surveyed(Err(403)).await, Ok(String::new()));
        assert!(surveyed(Err(503)).await.is_err());
    }
}
