//! Who the user of a client is and what they may do, according to the server, before anything is tried.
//!
//! It sends a SelfSubjectAccessReview through the client itself: a SubjectAccessReview by the
//! operator would not know the groups that may have the permissions of the ServiceAccount. The answer
//! is for the status; the server checks every request again.

use std::collections::BTreeSet;
use std::fmt;

use firebreak_engine::signal;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};

use super::impersonate::ServiceAccountRef;
use super::retry;

/// Requests in flight at once.
const CONCURRENT: usize = 8;

/// One permission that an account may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// `get`, `list`, `patch`, …
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The plural, with a subresource as `deployments/scale`.
    pub resource: String,
    /// None for cluster-scoped kinds, and for all namespaces.
    pub namespace: Option<String>,
    /// None for all names.
    pub name: Option<String>,
}

impl Right {
    /// To use an endpoint of the operator's configuration in a policy of this namespace.
    pub fn to_use(endpoint: &str, namespace: &str) -> Self {
        Self {
            verb: "use".to_owned(),
            group: "firebreak.dev".to_owned(),
            resource: "endpoints".to_owned(),
            namespace: Some(namespace.to_owned()),
            name: Some(endpoint.to_owned()),
        }
    }

    /// To ask a Service through the proxy of the API server. The name has the port.
    pub fn to_proxy(service: &str, namespace: &str) -> Self {
        Self {
            verb: "get".to_owned(),
            group: String::new(),
            resource: "services/proxy".to_owned(),
            namespace: Some(namespace.to_owned()),
            name: Some(service.to_owned()),
        }
    }

    /// To list the usage of `nodes` or `pods`; without a namespace in the whole cluster.
    pub fn to_list_metrics(resource: &str, namespace: &str) -> Self {
        Self {
            verb: "list".to_owned(),
            group: signal::Metrics::GROUP.to_owned(),
            resource: resource.to_owned(),
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            name: None,
        }
    }

    fn split(&self) -> (&str, Option<&str>) {
        match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource)),
            None => (&self.resource, None),
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (resource, subresource) = self.split();
        write!(f, "{} {resource}", self.verb)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(subresource) = subresource {
            write!(f, "/{subresource}")?;
        }
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => f.write_str(" (cluster-wide)"),
        }
    }
}

/// The name under which the API server knows the client's user.
///
/// # Errors
/// When the server cannot be asked, or rejects the request.
pub async fn who_am_i(client: &Client) -> Result<String, kube::Error> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let question = SelfSubjectReview::default();
    // A review changes nothing, so it may be repeated although it is a POST.
    let answer = retry::read(|| async { reviews.create(&PostParams::default(), &question).await }).await?;
    let user = answer.status.and_then(|status| status.user_info);
    Ok(user.and_then(|user| user.username).unwrap_or_default())
}

/// Whether there certainly is no such ServiceAccount, asked as the user of the command line: the API server lets a client
/// impersonate one that does not exist. Without an answer it counts as one that exists.
pub async fn is_missing(user: &Client, account: &ServiceAccountRef) -> bool {
    let accounts: Api<ServiceAccount> = Api::namespaced(user.clone(), account.namespace());
    matches!(retry::find(account.name(), || accounts.get_metadata(account.name())).await, Ok(None))
}

/// The permissions that the client's user lacks, sorted, each once.
///
/// # Errors
/// When the server cannot be asked; then nothing is known.
pub async fn lacking(
    client: &Client,
    needed: impl IntoIterator<Item = Right>,
) -> Result<Vec<Right>, kube::Error> {
    let needed: BTreeSet<Right> = needed.into_iter().collect();
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answers: Vec<Option<Right>> = stream::iter(needed)
        .map(|right| {
            let reviews = reviews.clone();
            async move {
                let allowed = is_allowed(&reviews, &right).await?;
                Ok::<_, kube::Error>((!allowed).then_some(right))
            }
        })
        .buffered(CONCURRENT)
        .try_collect()
        .await?;
    Ok(answers.into_iter().flatten().collect())
}

async fn is_allowed(reviews: &Api<SelfSubjectAccessReview>, right: &Right) -> Result<bool, kube::Error> {
    let question = question(right);
    // A review changes nothing, so it may be repeated although it is a POST.
    let answer = retry::read(|| async { reviews.create(&PostParams::default(), &question).await }).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

fn question(right: &Right) -> SelfSubjectAccessReview {
    let (resource, subresource) = right.split();
    SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: Some(right.verb.clone()),
                group: Some(right.group.clone()),
                resource: Some(resource.to_owned()),
                subresource: subresource.map(str::to_owned),
                namespace: right.namespace.clone(),
                name: right.name.clone(),
                ..ResourceAttributes::default()
            }),
            non_resource_attributes: None,
        },
        ..SelfSubjectAccessReview::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube::client::Body;

    fn right(verb: &str, group: &str, resource: &str, namespace: Option<&str>) -> Right {
        Right {
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            namespace: namespace.map(Into::into),
            name: None,
        }
    }

    /// A server that allows everything but `patch`.
    fn server() -> Client {
        let service = tower::service_fn(|request: Request<Body>| async move {
            let question = request.into_body().collect_bytes().await?;
            let mut review: serde_json::Value = serde_json::from_slice(&question)?;
            let verb = review["spec"]["resourceAttributes"]["verb"].clone();
            review["status"] = serde_json::json!({ "allowed": verb != "patch" });
            Ok::<_, tower::BoxError>(Response::new(Body::from(review.to_string().into_bytes())))
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn only_what_is_lacking_is_named_once_and_in_words() {
        let needed = [
            right("list", "", "nodes", None),
            right("patch", "inference.llm-d.io", "llmdeployments", Some("team-b")),
            right("patch", "", "nodes", None),
            right("patch", "", "nodes", None),
        ];
        let lacking = lacking(&server(), needed).await.unwrap();
        let text: Vec<String> = lacking.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            ["patch nodes (cluster-wide)", "patch llmdeployments.inference.llm-d.io in namespace team-b"]
        );
    }

    #[tokio::test]
    async fn a_service_account_is_missing_only_if_the_server_says_so() {
        let account = ServiceAccountRef::new("llm", "firebreak-responder").unwrap();
        let answers = async |code: u16| {
            let service = tower::service_fn(move |_: Request<Body>| async move {
                let reason = if code == 404 { "NotFound" } else { "Forbidden" };
                let status = serde_json::json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason,
                    "message": "no", "details": {"name": "firebreak-responder"}});
                let answer =
                    Response::builder().status(code).body(Body::from(status.to_string().into_bytes()));
                Ok::<_, tower::BoxError>(answer?)
            });
            is_missing(&Client::new(service, "default"), &account).await
        };
        assert!(answers(404).await);
        assert!(!answers(403).await, "the user may not know");
    }

    #[test]
    fn a_subresource_is_asked_for_as_such() {
        let scale = right("patch", "apps", "deployments/scale", Some("llm"));
        assert_eq!(scale.to_string(), "patch deployments.apps/scale in namespace llm");
        let attributes = question(&scale).spec.resource_attributes.unwrap();
        assert_eq!(attributes.resource.as_deref(), Some("deployments"));
        assert_eq!(attributes.subresource.as_deref(), Some("scale"));
    }
}
