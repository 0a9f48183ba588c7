//! The Applications of Argo CD that the objects name which it applies.

use std::sync::Arc;

use firebreak_engine::gitops::argo::ApplicationId;
use kube::Client;
use serde_json::Value;

use crate::actuator::live_read::{self, Read, Scope};
use crate::kubernetes::discovery::{Discovery, ResolveError, ServedKind};
use crate::kubernetes::names::is_name;

/// The kind of Argo CD, with its group and version.
const APPLICATION: (&str, &str) = ("argoproj.io/v1alpha1", "Application");
/// The namespace that the manuals of Argo CD install it into.
const USUAL: &str = "argocd";

/// What is known of an Application.
#[derive(Clone, Debug)]
pub enum Found {
    /// This one.
    One {
        /// Its namespace.
        namespace: String,
        /// All of it.
        object: Arc<Value>,
    },
    /// There are several of its name, in these namespaces, and nothing says which one is meant.
    Several(Vec<String>),
    /// There is none, as far as the text says.
    None(String),
    /// The cluster has no Applications at all. Argo CD may run in another cluster.
    NotServed,
    /// It is not known, for this reason.
    Unread(String),
}

/// Finds an Application: in the namespace that its objects name, else in all namespaces, else in the usual one.
pub async fn find(client: &Client, discovery: &Discovery, id: &ApplicationId) -> Found {
    let is_usable = |name: &String| is_name(name);
    if !is_usable(&id.name) || !id.namespace.as_ref().is_none_or(is_usable) {
        return Found::Unread("what the object names is no name of an Application".to_owned());
    }
    let kind = match discovery.resolve(APPLICATION.0, APPLICATION.1).await {
        Ok(kind) => kind,
        Err(ResolveError::NotFound { .. }) => return Found::NotServed,
        Err(error @ (ResolveError::Malformed(_) | ResolveError::Unreachable { .. })) => {
            return Found::Unread(error.to_string());
        }
    };
    match &id.namespace {
        Some(namespace) => named(client, &kind, namespace, &id.name).await,
        None => anywhere(client, &kind, &id.name).await,
    }
}

async fn named(client: &Client, kind: &ServedKind, namespace: &str, name: &str) -> Found {
    match live_read::named(client, kind, namespace, name).await {
        Read::Found(object) => Found::One { namespace: namespace.to_owned(), object: Arc::new(object) },
        Read::Gone => Found::None(format!("in namespace {namespace}")),
        Read::Refused(why) | Read::Failed(why) => Found::Unread(why),
    }
}

async fn anywhere(client: &Client, kind: &ServedKind, name: &str) -> Found {
    let fields = format!("metadata.name={name}");
    let scope = Scope { namespace: "", labels: "", fields: &fields };
    match live_read::list(client, kind, scope, &Some).await {
        Read::Found(all) => the_one(all),
        Read::Gone => Found::None("in any namespace".to_owned()),
        Read::Failed(why) => Found::Unread(why),
        // Not everybody may list all namespaces.
        Read::Refused(why) => match named(client, kind, USUAL, name).await {
            Found::None(_) => Found::Unread(format!(
                "it is not in namespace {USUAL}, and you may not list all namespaces ({why})"
            )),
            found => found,
        },
    }
}

/// The only one, or the one in the usual namespace.
fn the_one(mut all: Vec<Arc<Value>>) -> Found {
    let namespace = |object: &Value| {
        object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let place = all.iter().position(|object| namespace(object) == USUAL);
    match (all.len(), place) {
        (0, _) => Found::None("in any namespace".to_owned()),
        (1, _) | (_, Some(_)) => {
            let object = all.swap_remove(place.unwrap_or_default());
            Found::One { namespace: namespace(&object), object }
        }
        _ => Found::Several(all.iter().map(|object| namespace(object)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// A cluster that serves Applications, and answers these paths with these codes and objects.
    fn cluster(answers: &[(&'static str, u16, Value)], serves: &[&str]) -> Client {
        let resources: Vec<Value> = serves
            .iter()
            .map(|kind| {
                json!({"name": format!("{}s", kind.to_lowercase()), "singularName": "", "namespaced": true,
                    "kind": kind, "verbs": ["get", "list"]})
            })
            .collect();
        let list = json!({"kind": "APIResourceList", "groupVersion": APPLICATION.0, "resources": resources});
        let answers: Vec<_> = answers.to_vec();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let path = request.uri().path().strip_prefix("/apis/argoproj.io/v1alpha1").unwrap_or("/other");
            let known = answers.iter().find(|(known, _, _)| *known == path);
            let (code, body) = match (path, known) {
                ("", _) => (200, list.clone()),
                (_, Some((_, code, body))) => (*code, body.clone()),
                (path, None) => panic!("nobody asks for {path}"),
            };
            async move {
                let mut response = http::Response::new(Body::from(body.to_string().into_bytes()));
                *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
                Ok::<_, tower::BoxError>(response)
            }
        });
        Client::new(service, "default")
    }

    async fn found(id: (Option<&str>, &str), answers: &[(&'static str, u16, Value)]) -> Found {
        let client = cluster(answers, &["Rollout", "Application"]);
        find(&client, &Discovery::new(client.clone()), &application(id)).await
    }

    fn application((namespace, name): (Option<&str>, &str)) -> ApplicationId {
        ApplicationId { namespace: namespace.map(str::to_owned), name: name.to_owned() }
    }

    fn of(namespaces: &[&str]) -> Value {
        let one = |namespace: &&str| json!({"metadata": {"name": "web", "namespace": namespace, "uid": "u"}});
        json!({"kind": "ApplicationList", "metadata": {}, "items": namespaces.iter().map(one).collect::<Vec<_>>()})
    }

    fn refused() -> Value {
        json!({"kind": "Status", "code": 403, "message": "you may not"})
    }

    fn absent() -> Value {
        json!({"kind": "Status", "code": 404, "reason": "NotFound", "message": "no", "details": {"name": "web"}})
    }

    const ALL: &str = "/applications";
    const IN_ARGOCD: &str = "/namespaces/argocd/applications/web";

    #[tokio::test]
    async fn the_only_application_of_the_name_is_meant_or_the_one_in_the_usual_namespace() {
        for (there, meant) in [(&["ops"][..], "ops"), (&["ops", "argocd", "team"][..], "argocd")] {
            let found = found((None, "web"), &[(ALL, 200, of(there))]).await;
            assert!(matches!(&found, Found::One { namespace, .. } if namespace == meant), "{found:?}");
        }
        let several = found((None, "web"), &[(ALL, 200, of(&["ops", "team"]))]).await;
        assert!(matches!(&several, Found::Several(places) if *places == ["ops", "team"]), "{several:?}");
        let none = found((None, "web"), &[(ALL, 200, of(&[]))]).await;
        assert!(matches!(none, Found::None(_)), "{none:?}");
    }

    #[tokio::test]
    async fn who_may_not_list_all_namespaces_may_still_read_the_usual_one() {
        let item = of(&["argocd"])["items"][0].clone();
        let one = found((None, "web"), &[(ALL, 403, refused()), (IN_ARGOCD, 200, item)]).await;
        assert!(matches!(&one, Found::One { namespace, .. } if namespace == "argocd"), "{one:?}");
        let elsewhere = found((None, "web"), &[(ALL, 403, refused()), (IN_ARGOCD, 404, absent())]).await;
        assert!(matches!(&elsewhere, Found::Unread(why) if why.contains("you may not")), "{elsewhere:?}");
        let nowhere = found((None, "web"), &[(ALL, 403, refused()), (IN_ARGOCD, 403, refused())]).await;
        assert!(matches!(&nowhere, Found::Unread(why) if why == "you may not"), "{nowhere:?}");
    }

    #[tokio::test]
    async fn an_application_that_is_named_with_its_namespace_is_read_there() {
        let item = of(&["team"])["items"][0].clone();
        let one = found((Some("team"), "web"), &[("/namespaces/team/applications/web", 200, item)]).await;
        assert!(matches!(&one, Found::One { namespace, .. } if namespace == "team"), "{one:?}");
        let none =
            found((Some("team"), "web"), &[("/namespaces/team/applications/web", 404, absent())]).await;
        assert!(matches!(&none, Found::None(place) if place == "in namespace team"), "{none:?}");
    }

    #[tokio::test]
    async fn a_cluster_without_argo_cd_and_a_name_that_is_none_are_told_from_an_application_that_is_absent() {
        let client = cluster(&[], &["Rollout"]);
        let found = find(&client, &Discovery::new(client.clone()), &application((None, "web"))).await;
        assert!(matches!(found, Found::NotServed), "{found:?}");
        let client = cluster(&[], &["Application"]);
        for id in [(None, "a/b"), (None, ""), (Some("a?"), "web")] {
            let found = find(&client, &Discovery::new(client.clone()), &application(id)).await;
            assert!(matches!(found, Found::Unread(_)), "{found:?}");
        }
    }
}
