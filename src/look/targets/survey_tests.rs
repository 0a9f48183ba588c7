use firebreak_engine::facts::ListingRead;
use serde_json::json;

use super::super::list_to_judge;
use super::*;
use crate::kubernetes::discovery::Discovery;
use crate::workloads::Profiles;

/// A Deployment of Argo CD, as it is in a list.
fn deployment(name: &str, metadata: &Value) -> Value {
    let named = json!({"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1"});
    let mut object = json!({"metadata": named, "spec": {"replicas": 1}});
    for (key, value) in metadata.as_object().unwrap() {
        object["metadata"][key] = value.clone();
    }
    object
}

fn resources(group_version: &str, plural: &str, kind: &str, namespaced: &Value) -> Value {
    let resource = json!({"name": plural, "singularName": "", "namespaced": namespaced, "kind": kind,
        "verbs": ["get", "list", "patch"]});
    json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": [resource]})
}

/// A model that owns Deployments, and that Argo CD applies.
fn owner() -> Value {
    json!({"apiVersion": "inference.llm-d.io/v1alpha1", "kind": "LLMDeployment", "metadata": {"name": "model",
        "namespace": "ns", "uid": "of-model", "labels": {"argocd.argoproj.io/instance": "web"}}})
}

fn refused_with(code: u16) -> (u16, Value) {
    (code, json!({"kind": "Status", "code": code, "message": "no"}))
}

/// What a cluster has.
#[derive(Clone)]
struct Cluster {
    /// Its Deployments, or the code with which it answers each list of them.
    deployments: Result<Vec<Value>, u16>,
    /// The code with which it answers a read of the model, if that is an error.
    owner: Option<u16>,
    /// Its only namespace, or the code with which it answers a read of it.
    namespace: Result<Value, u16>,
    /// What a list of Deployments must accept.
    accept: &'static str,
    /// Where the list of Deployments continues. That is never answered.
    more: &'static str,
}

impl Cluster {
    fn of(deployments: Result<Vec<Value>, u16>) -> Self {
        let namespace = Ok(json!({"metadata": {"name": "ns"}}));
        Self { deployments, owner: None, namespace, accept: "as=PartialObjectMetadataList", more: "" }
    }

    /// None if there is no answer.
    fn answer(&self, uri: &http::Uri, accept: &str) -> Option<(u16, Value)> {
        Some(match uri.path() {
            "/api/v1" => (200, resources("v1", "namespaces", "Namespace", &json!(false))),
            "/api/v1/namespaces/ns" => match &self.namespace {
                Ok(namespace) => (200, namespace.clone()),
                Err(code) => refused_with(*code),
            },
            "/apis/apps/v1" => (200, resources("apps/v1", "deployments", "Deployment", &json!(true))),
            "/apis/inference.llm-d.io/v1alpha1" => {
                let group = "inference.llm-d.io/v1alpha1";
                (200, resources(group, "llmdeployments", "LLMDeployment", &json!(true)))
            }
            path if path.ends_with("/llmdeployments/model") => match self.owner {
                Some(code) => refused_with(code),
                None => (200, owner()),
            },
            _ if uri.query().is_some_and(|query| query.contains("continue=")) => return None,
            path => {
                assert!(path.ends_with("/deployments"), "nobody asks for {path}");
                assert!(accept.contains(self.accept), "{accept}");
                match &self.deployments {
                    Ok(items) => {
                        let metadata = json!({"continue": self.more});
                        (
                            200,
                            json!({"kind": "PartialObjectMetadataList", "metadata": metadata, "items": items}),
                        )
                    }
                    Err(code) => refused_with(*code),
                }
            }
        })
    }

    fn client(self) -> Client {
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let accept = request.headers().get("accept").and_then(|accept| accept.to_str().ok());
            let answer = self.answer(request.uri(), accept.unwrap_or_default());
            async move {
                let Some((code, body)) = answer else { return std::future::pending().await };
                let mut response =
                    http::Response::new(kube::client::Body::from(body.to_string().into_bytes()));
                *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
                Ok::<_, tower::BoxError>(response)
            }
        });
        Client::new(service, "default")
    }

    async fn surveyed(self) -> Result<(String, Reach), String> {
        let (rules, client) = (rules(), self.client());
        let (discovery, profiles) = (Discovery::new(client.clone()), Profiles::built_in().unwrap());
        let kinds = Kinds { discovery: &discovery, profiles: &profiles };
        let found = survey(kinds, &client, "ns", &rules, Duration::from_secs(600)).await?;
        Ok((found.applied.warning(), found.reach))
    }
}

/// Two steps with the same targets.
fn rules() -> Rules {
    let targets = json!({"apiVersion": "apps/v1", "kind": "Deployment", "where": "true"});
    let step = |name: &str| json!({"name": name, "action": {"cpuFallback": {"targets": targets}}});
    let spec = json!({"steps": [step("first"), step("second")]});
    Rules::parse(&serde_json::from_value(spec).unwrap()).unwrap()
}

async fn surveyed(deployments: Result<Vec<Value>, u16>) -> Result<String, String> {
    Cluster::of(deployments).surveyed().await.map(|(told, _)| told)
}

/// Two Deployments of the model, to which its operator has copied the label.
fn owned() -> Vec<Value> {
    let reference = json!({"apiVersion": "inference.llm-d.io/v1alpha1", "kind": "LLMDeployment", "name": "model",
        "uid": "of-model", "controller": true});
    let owned = json!({"ownerReferences": [reference], "labels": {"argocd.argoproj.io/instance": "web"}});
    ["one", "two"].map(|name| deployment(name, &owned)).to_vec()
}

fn of_argo(name: &str) -> Value {
    deployment(name, &json!({"annotations": {"argocd.argoproj.io/tracking-id": "web"}}))
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
    assert!(told.contains("applies 1 (Deployment ns/chat) and possibly 1 (Deployment ns/chart), "), "{told}");
}

#[tokio::test]
async fn an_owner_that_argo_cd_applies_counts_once_for_all_that_it_owns() {
    let told = surveyed(Ok(owned())).await.unwrap();
    assert!(told.contains("Argo CD applies 1 (LLMDeployment ns/model), "), "{told}");
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_gives_no_answer_is_not_taken_for_one_that_argo_cd_does_not_apply() {
    let cluster = |owner| Cluster { owner: Some(owner), ..Cluster::of(Ok(owned())) };
    assert!(cluster(503).surveyed().await.is_err());
    assert_eq!(cluster(403).surveyed().await, Ok((String::new(), Reach::All)), "it is not changed either");
}

#[tokio::test]
async fn what_is_in_an_exempt_namespace_does_not_count() {
    let annotations = json!({"firebreak.dev/exempt": "true"});
    let namespace = json!({"metadata": {"name": "ns", "annotations": annotations}});
    let cluster = Cluster { namespace: Ok(namespace), ..Cluster::of(Ok(vec![of_argo("chat")])) };
    assert_eq!(cluster.surveyed().await, Ok((String::new(), Reach::All)));
    let unread = Cluster { namespace: Err(403), ..Cluster::of(Ok(vec![of_argo("chat")])) };
    let (told, _) = unread.surveyed().await.unwrap();
    assert!(told.contains("Argo CD applies 1 (Deployment ns/chat)"), "{told}");
}

#[tokio::test]
async fn who_may_not_read_namespaces_may_still_judge_what_is_in_them() {
    let deployments = Ok(vec![of_argo("chat")]);
    let cluster = Cluster { namespace: Err(403), accept: "", ..Cluster::of(deployments) };
    let client = cluster.client();
    let (discovery, profiles) = (Discovery::new(client.clone()), Profiles::built_in().unwrap());
    let kinds = Kinds { discovery: &discovery, profiles: &profiles };
    let mut listings = list_to_judge(kinds, &client, "ns", &rules()).await;
    let Some(ListingRead::Listed(listing)) = listings.remove("first") else {
        panic!("not listed: {listings:?}")
    };
    assert_eq!(listing.targets.len(), 1, "{listing:?}");
    assert!(!listing.targets[0].exempt);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_in_time_is_kept() {
    let cluster = Cluster { more: "there", ..Cluster::of(Ok(vec![of_argo("chat")])) };
    let (told, reach) = cluster.surveyed().await.unwrap();
    assert_eq!(reach, Reach::InTime);
    assert!(told.contains("applies at least 1 (Deployment ns/chat)"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_listed_says_nothing() {
    assert_eq!(surveyed(Err(403)).await, Ok(String::new()));
    assert!(surveyed(Err(503)).await.is_err());
}
