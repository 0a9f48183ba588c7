//! The Applications of Argo CD that the objects name which it applies.

use firebreak_engine::gitops::argo::{Application, ApplicationId};
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
    /// These have its name. There are several if several Argo CDs run in the cluster.
    These(Vec<Application>),
    /// This one has its name, in the usual namespace. Whether others have it is not known, for this reason.
    Usual(Application, String),
    /// There is none, as far as the text says.
    None(String),
    /// The cluster has no Applications at all. Argo CD may run in another cluster.
    NotServed,
    /// It is not known, for this reason.
    Unread(String),
}

impl Found {
    /// The Application that applies an object: the only one of the name, otherwise the only one whose status lists the object.
    ///
    /// # Errors
    /// For people: why that is not known.
    pub fn of(&self, object: &Value) -> Result<&Application, String> {
        match self {
            Self::These(all) => match all.as_slice() {
                [one] => Ok(one),
                all => {
                    let mut that_have_it = all.iter().filter(|application| application.has(object));
                    if let (Some(one), None) = (that_have_it.next(), that_have_it.next()) {
                        return Ok(one);
                    }
                    let places: Vec<&str> = all.iter().map(Application::namespace).collect();
                    Err(format!(
                        "there is one in each of the namespaces {}, and not exactly one of them lists the object in its \
                         status",
                        places.join(", ")
                    ))
                }
            },
            Self::Usual(one, _) if one.has(object) => Ok(one),
            Self::Usual(one, why) => Err(format!(
                "{} does not list the object in its status, and you may not list all namespaces ({why})",
                one.called()
            )),
            Self::None(place) => Err(format!("there is none {place}")),
            Self::NotServed => Err("this cluster has no Applications".to_owned()),
            Self::Unread(why) => Err(why.clone()),
        }
    }
}

/// Finds an Application: in the namespace that its objects name, otherwise in all namespaces, otherwise in the usual one.
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
        Read::Found(object) => Found::These(vec![Application::of(&object)]),
        Read::Gone => Found::None(format!("in namespace {namespace}")),
        Read::Refused(why) | Read::Failed(why) => Found::Unread(why),
    }
}

async fn anywhere(client: &Client, kind: &ServedKind, name: &str) -> Found {
    let fields = format!("metadata.name={name}");
    let scope = Scope { namespace: "", labels: "", fields: &fields };
    let nowhere = || Found::None("in any namespace".to_owned());
    match live_read::list(client, kind, scope, &|object| Some(Application::of(&object))).await {
        Read::Found(all) => {
            if all.is_empty() {
                nowhere()
            } else {
                Found::These(all)
            }
        }
        Read::Gone => nowhere(),
        Read::Failed(why) => Found::Unread(why),
        // Not everybody may list all namespaces.
        Read::Refused(why) => match named(client, kind, USUAL, name).await {
            Found::None(_) => Found::Unread(format!(
                "it is not in namespace {USUAL}, and you may not list all namespaces ({why})"
            )),
            Found::These(mut one) => match one.pop() {
                Some(one) => Found::Usual(one, why),
                None => nowhere(),
            },
            found => found,
        },
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

    /// An object that Argo CD applies.
    fn chat() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "chat", "namespace": "serving"}})
    }

    /// The namespace of the Application that applies it, or why that is not known.
    fn meant(found: &Found) -> Result<String, String> {
        found.of(&chat()).map(|one| one.namespace().to_owned())
    }

    fn listing_chat(item: &Value) -> Value {
        let mut item = item.clone();
        let listed = json!({"group": "apps", "version": "v1", "kind": "Deployment", "namespace": "serving",
            "name": "chat"});
        item["status"] = json!({"resources": [listed]});
        item
    }

    #[tokio::test]
    async fn the_only_application_of_the_name_is_meant_or_the_only_one_that_lists_the_object() {
        let one = found((None, "web"), &[(ALL, 200, of(&["ops"]))]).await;
        assert_eq!(meant(&one), Ok("ops".to_owned()));
        let mut all = of(&["ops", "argocd", "team"]);
        let nobody = found((None, "web"), &[(ALL, 200, all.clone())]).await;
        let why = meant(&nobody).unwrap_err();
        assert!(why.contains("namespaces ops, argocd, team"), "the usual namespace proves nothing: {why}");
        all["items"][2] = listing_chat(&all["items"][2]);
        let listed = found((None, "web"), &[(ALL, 200, all.clone())]).await;
        assert_eq!(meant(&listed), Ok("team".to_owned()));
        all["items"][0] = listing_chat(&all["items"][0]);
        let both = found((None, "web"), &[(ALL, 200, all)]).await;
        assert!(meant(&both).is_err(), "{both:?}");
        let none = found((None, "web"), &[(ALL, 200, of(&[]))]).await;
        assert!(matches!(none, Found::None(_)), "{none:?}");
    }

    #[tokio::test]
    async fn who_may_not_list_all_namespaces_may_still_read_the_usual_one() {
        let item = of(&["argocd"])["items"][0].clone();
        let listed = [(ALL, 403, refused()), (IN_ARGOCD, 200, listing_chat(&item))];
        assert_eq!(meant(&found((None, "web"), &listed).await), Ok("argocd".to_owned()));
        let another = found((None, "web"), &[(ALL, 403, refused()), (IN_ARGOCD, 200, item)]).await;
        let why = meant(&another).unwrap_err();
        assert!(why.contains("argocd/web does not list the object") && why.contains("you may not"), "{why}");
        let elsewhere = found((None, "web"), &[(ALL, 403, refused()), (IN_ARGOCD, 404, absent())]).await;
        assert!(matches!(&elsewhere, Found::Unread(why) if why.contains("you may not")), "{elsewhere:?}");
        let nowhere = found((None, "web"), &[(ALL, 403, refused()), (IN_ARGOCD, 403, refused())]).await;
        assert!(matches!(&nowhere, Found::Unread(why) if why == "you may not"), "{nowhere:?}");
    }

    #[tokio::test]
    async fn an_application_that_is_named_with_its_namespace_is_read_there() {
        let item = of(&["team"])["items"][0].clone();
        let one = found((Some("team"), "web"), &[("/namespaces/team/applications/web", 200, item)]).await;
        assert_eq!(meant(&one), Ok("team".to_owned()));
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
