//! Which resource serves a kind, whether the kind is namespaced, and what the resource can do.
//!
//! The server is asked for one group version at a time, and the answer is cached for a while. A missing kind
//! is an answer too: it is typed, and cached only briefly, so that a policy works soon after someone
//! installs the CRD that it needs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::GroupVersion;
use kube::core::discovery::{ApiCapabilities, ApiResource, Scope};
use kube::{Api, Client};
use tokio::time::Instant;

use super::{built_in, retry};

/// How long a found resource is cached.
const FOUND_FOR: Duration = Duration::from_secs(600);
/// How long a missing kind is cached.
const ABSENT_FOR: Duration = Duration::from_secs(10);
/// The maximum number of cached group versions. Policies name them, so the cache must be bounded. A full cache is
/// emptied, which costs one request for each kind that is still used.
const MAX_REMEMBERED: usize = 256;

/// A kind that the cluster serves.
#[derive(Clone, Debug)]
pub struct ServedKind {
    /// What kube's dynamic API needs.
    pub resource: ApiResource,
    /// Whether the kind is namespaced.
    pub namespaced: bool,
    /// `get`, `list`, `watch`, `patch`, …
    pub verbs: Vec<String>,
    /// `status`, `scale`, …
    pub subresources: Vec<String>,
}

impl ServedKind {
    /// Whether the resource has a verb.
    #[must_use]
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    /// Whether the resource has a subresource.
    #[must_use]
    pub fn has(&self, subresource: &str) -> bool {
        self.subresources.iter().any(|known| known == subresource)
    }
}

/// The paths of the numbers of replicas of a kind, such as `.spec.replicas`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// The desired number.
    pub spec: String,
    /// The present number.
    pub status: String,
}

/// Why a kind could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The cluster does not serve it: the CRD is not installed, or not in this version.
    #[error("the cluster does not serve {kind} in {api_version}; {}", advice(api_version, kind))]
    NotFound {
        /// As requested.
        api_version: String,
        /// As requested.
        kind: String,
    },
    /// The text is no `group/version`.
    #[error("{0:?} is not an apiVersion")]
    Malformed(String),
    /// The cluster could not be asked, so nothing is known.
    #[error("cannot discover the kinds of {api_version}: {}", retry::explain(source))]
    Unreachable {
        /// As requested.
        api_version: String,
        /// What went wrong.
        source: Box<kube::Error>,
    },
}

/// What to do about a kind that the cluster does not serve.
fn advice(api_version: &str, kind: &str) -> String {
    let meant =
        built_in::fault(api_version, kind).and_then(|_| built_in::meant(api_version, kind, built_in::all()));
    meant.unwrap_or_else(|| "check that its CRD is installed".to_owned())
}

/// Resolves kinds and caches the answers. Cheap to clone.
#[derive(Clone)]
pub struct Discovery {
    client: Client,
    remembered: Arc<Mutex<BTreeMap<String, Remembered>>>,
}

#[derive(Clone)]
struct Remembered {
    at: Instant,
    /// Empty when the group version is not served at all.
    kinds: Arc<Vec<ServedKind>>,
}

impl Remembered {
    /// The answer for a kind, unless it is too old.
    fn answer(&self, kind: &str) -> Option<Option<ServedKind>> {
        let found = self.kinds.iter().find(|served| served.resource.kind == kind);
        let believed = if found.is_some() { FOUND_FOR } else { ABSENT_FOR };
        (self.at.elapsed() < believed).then(|| found.cloned())
    }
}

impl Discovery {
    /// Uses this client. Every authenticated user may do this.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, remembered: Arc::default() }
    }

    /// Finds the resource that serves a kind.
    ///
    /// # Errors
    /// [`ResolveError::NotFound`] if the cluster does not serve it, another one if that is not known.
    pub async fn resolve(&self, api_version: &str, kind: &str) -> Result<ServedKind, ResolveError> {
        let group_version = parse(api_version)?;
        let remembered = self.lock().get(api_version).cloned();
        let answer = match remembered.and_then(|remembered| remembered.answer(kind)) {
            Some(answer) => answer,
            None => {
                let kinds = self.ask(api_version, &group_version).await?;
                kinds.into_iter().find(|served| served.resource.kind == kind)
            }
        };
        answer.ok_or_else(|| ResolveError::NotFound {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        })
    }

    /// The paths of the numbers of replicas of a kind, from the scale subresource of its definition. None for
    /// a built-in kind.
    ///
    /// # Errors
    /// The definition cannot be read. The operator needs `get` on `customresourcedefinitions`.
    pub async fn scale_paths(&self, kind: &ServedKind) -> Result<Option<ScalePaths>, kube::Error> {
        let name = format!("{}.{}", kind.resource.plural, kind.resource.group);
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let definition = retry::find(&name, || definitions.get(&name)).await?;
        let versions = definition.map(|definition| definition.spec.versions).unwrap_or_default();
        let version = versions.into_iter().find(|version| version.name == kind.resource.version);
        let scale = version.and_then(|version| version.subresources).and_then(|all| all.scale);
        Ok(scale
            .map(|scale| ScalePaths { spec: scale.spec_replicas_path, status: scale.status_replicas_path }))
    }

    async fn ask(
        &self,
        api_version: &str,
        group_version: &GroupVersion,
    ) -> Result<Vec<ServedKind>, ResolveError> {
        let asked =
            retry::read(|| async { kube::discovery::pinned_group(&self.client, group_version).await }).await;
        let kinds = match asked {
            Ok(group) => group.versioned_resources(&group_version.version).into_iter().map(served).collect(),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.code == 404 => Vec::new(),
            Err(error) => {
                return Err(ResolveError::Unreachable {
                    api_version: api_version.to_owned(),
                    source: Box::new(error),
                });
            }
        };
        self.remember(api_version, &kinds);
        Ok(kinds)
    }

    fn remember(&self, api_version: &str, kinds: &[ServedKind]) {
        let mut remembered = self.lock();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        let entry = Remembered { at: Instant::now(), kinds: Arc::new(kinds.to_vec()) };
        remembered.insert(api_version.to_owned(), entry);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Remembered>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks the characters too, because both halves become part of a URL.
fn parse(api_version: &str) -> Result<GroupVersion, ResolveError> {
    let malformed = || ResolveError::Malformed(api_version.to_owned());
    let harmless = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-./".contains(&byte);
    if !api_version.bytes().all(harmless) || api_version.contains("..") {
        return Err(malformed());
    }
    let parsed: GroupVersion = api_version.parse().map_err(|_| malformed())?;
    if parsed.version.is_empty()
        || parsed.version.contains('/')
        || api_version.starts_with('/')
        || api_version.starts_with('.')
    {
        return Err(malformed());
    }
    Ok(parsed)
}

fn served((resource, capabilities): (ApiResource, ApiCapabilities)) -> ServedKind {
    ServedKind {
        resource,
        namespaced: capabilities.scope == Scope::Namespaced,
        verbs: capabilities.operations,
        subresources: capabilities
            .subresources
            .into_iter()
            .map(|(subresource, _)| subresource.plural)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::json;
    use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

    struct Server {
        code: Arc<AtomicU16>,
        asked: Arc<AtomicUsize>,
        discovery: Discovery,
    }

    /// A server of `apps/v1` that answers with a code that the test sets.
    fn server(code: u16) -> Server {
        let code = Arc::new(AtomicU16::new(code));
        let asked: Arc<AtomicUsize> = Arc::default();
        let (answers, counts) = (Arc::clone(&code), Arc::clone(&asked));
        let service = tower::service_fn(move |_: Request<Body>| {
            counts.fetch_add(1, Ordering::SeqCst);
            let code = answers.load(Ordering::SeqCst);
            async move {
                let body = if code == 200 {
                    json!({"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [
                        {"name": "deployments", "singularName": "", "namespaced": true, "kind": "Deployment",
                         "verbs": ["get", "list", "patch"]},
                        {"name": "deployments/scale", "singularName": "", "namespaced": true, "kind": "Scale",
                         "group": "autoscaling", "version": "v1", "verbs": ["get", "patch"]},
                    ]})
                    .to_string()
                } else {
                    "404 page not found\n".to_owned()
                };
                let mut response = Response::new(Body::from(body.into_bytes()));
                *response.status_mut() = StatusCode::from_u16(code)?;
                Ok::<_, tower::BoxError>(response)
            }
        });
        Server { code, asked, discovery: Discovery::new(Client::new(service, "default")) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_is_resolved_once_and_then_remembered() {
        let server = server(200);
        for _ in 0..3 {
            let found = server.discovery.resolve("apps/v1", "Deployment").await.unwrap();
            assert_eq!(found.resource.plural, "deployments");
            assert!(found.namespaced && found.can("patch") && found.has("scale"));
            assert!(!found.can("delete"));
        }
        assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_group_is_not_found_and_works_soon_after_it_appears() {
        let server = server(404);
        let error = server.discovery.resolve("apps/v1", "Deployment").await.unwrap_err();
        assert!(matches!(error, ResolveError::NotFound { .. }), "{error}");

        server.code.store(200, Ordering::SeqCst);
        assert!(server.discovery.resolve("apps/v1", "Deployment").await.is_err());
        assert_eq!(server.asked.load(Ordering::SeqCst), 1, "absence is remembered briefly");

        tokio::time::advance(ABSENT_FOR).await;
        assert!(server.discovery.resolve("apps/v1", "Deployment").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_kind_in_a_known_group_is_asked_for_again() {
        let server = server(200);
        server.discovery.resolve("apps/v1", "Deployment").await.unwrap();
        tokio::time::advance(ABSENT_FOR).await;
        let error = server.discovery.resolve("apps/v1", "Rocket").await.unwrap_err();
        assert!(matches!(error, ResolveError::NotFound { .. }), "{error}");
        assert_eq!(server.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_kind_of_kubernetes_is_misspelled_and_of_others_not_installed() {
        let server = server(200);
        let why = async |api_version, kind| {
            server.discovery.resolve(api_version, kind).await.unwrap_err().to_string()
        };
        assert_eq!(
            why("apps/v1", "Deploymnet").await,
            "the cluster does not serve Deploymnet in apps/v1; did you mean Deployment?"
        );
        server.code.store(404, Ordering::SeqCst);
        let missing = why("inference.llm-d.io/v1alpha1", "LLMDeployment").await;
        assert!(missing.ends_with("; check that its CRD is installed"), "{missing}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_fails_says_nothing_about_the_kind() {
        let server = server(503);
        let error = server.discovery.resolve("apps/v1", "Deployment").await.unwrap_err();
        assert!(matches!(error, ResolveError::Unreachable { .. }), "{error}");
    }

    #[tokio::test]
    async fn an_api_version_that_would_leave_its_place_in_the_url_is_refused() {
        let server = server(200);
        for text in ["", "apps/v1/x", "../v1", "apps/..", "apps/v1?x=y", "/v1", "a%2fb/v1", "apps/"] {
            let error = server.discovery.resolve(text, "Deployment").await.unwrap_err();
            assert!(matches!(error, ResolveError::Malformed(_)), "{text}: {error}");
        }
        assert_eq!(server.asked.load(Ordering::SeqCst), 0);
    }
}
