//! Clients that act as a tenant's ServiceAccount.
//!
//! # Flow
//! [`Impersonation::client`] wraps the base client, so that all identities share its connections,
//! and verifies the wrapped client once: the server must say that its user is the ServiceAccount.
//! Only then is the client returned and cached.
//!
//! # Guarantees
//! An empty `Impersonate-User` would act as the operator itself; [`ServiceAccountRef`] cannot be
//! constructed from an empty or malformed name. A header that is lost or overridden on the way (a proxy, an
//! `as` in the kubeconfig) is detected by the verification. Only `Impersonate-User` is sent: the server adds
//! the ServiceAccount's groups itself, and no permission to impersonate groups is needed.
//!
//! # Caveats
//! The client is verified once. The server checks permissions at every request.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderName, HeaderValue, Request};
use kube::Client;
use kube::client::Body;
use tokio::sync::OnceCell;

use super::access::who_am_i;
use super::retry;

const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");

/// The name of a ServiceAccount that exists or might exist. Never empty, never malformed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceAccountRef {
    namespace: String,
    name: String,
}

/// Why a text cannot name a ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadServiceAccount {
    /// Not a DNS label.
    #[error("{0:?} is not a valid namespace name")]
    Namespace(String),
    /// Not a DNS subdomain.
    #[error("{0:?} is not a valid ServiceAccount name")]
    Name(String),
}

impl ServiceAccountRef {
    /// A ServiceAccount in a namespace.
    ///
    /// # Errors
    /// When the API server would not accept a name.
    pub fn new(namespace: &str, name: &str) -> Result<Self, BadServiceAccount> {
        if !is_dns_label(namespace) {
            return Err(BadServiceAccount::Namespace(namespace.to_owned()));
        }
        if !is_dns_subdomain(name) {
            return Err(BadServiceAccount::Name(name.to_owned()));
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name in that namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user name that the API server knows it by.
    #[must_use]
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

impl fmt::Display for ServiceAccountRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Whether a text is a DNS label, as every namespace's name is.
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_label_of_any_length(text)
}

/// Whether a text is a DNS subdomain, as the names of most objects are.
#[must_use]
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label_of_any_length)
}

fn is_dns_label_of_any_length(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
}

/// Why there is no client for a ServiceAccount.
#[derive(Debug, thiserror::Error)]
pub enum ImpersonateError {
    /// The operator lacks the permission.
    #[error(
        "Firebreak may not impersonate ServiceAccount {account}: the operator's ClusterRole needs verb \
            impersonate on \
         serviceaccounts with {name} in resourceNames",
        name = account.name
    )]
    NotAllowed {
        /// The account to impersonate.
        account: ServiceAccountRef,
    },
    /// The server identified the client as someone else, so using it would be a confused deputy.
    #[error(
        "the API server identified the client for ServiceAccount {account} as {actual:?}; the client is \
        not used"
    )]
    SomebodyElse {
        /// The account to impersonate.
        account: ServiceAccountRef,
        /// The user name in the server's answer.
        actual: String,
    },
    /// The server could not be asked.
    #[error(
        "cannot ask the API server who the client for ServiceAccount {account} is: {}",
        retry::explain(source)
    )]
    Unproven {
        /// The account to impersonate.
        account: ServiceAccountRef,
        /// What went wrong.
        source: Box<kube::Error>,
    },
    /// The name does not fit into a header. [`ServiceAccountRef`] makes this impossible.
    #[error("the name of ServiceAccount {account} is not a valid header value")]
    Header {
        /// The account to impersonate.
        account: ServiceAccountRef,
    },
}

/// Returns verified clients and caches them. Cheap to clone.
#[derive(Clone)]
pub struct Impersonation {
    base: Client,
    proven: Arc<Mutex<BTreeMap<ServiceAccountRef, Arc<OnceCell<Client>>>>>,
}

impl Impersonation {
    /// Impersonates over the connections of this client.
    #[must_use]
    pub fn new(base: Client) -> Self {
        Self { base, proven: Arc::default() }
    }

    /// The client of a ServiceAccount. The first call verifies it with the server; a failure is not
    /// cached.
    ///
    /// # Errors
    /// When the server does not say that the client is this ServiceAccount.
    pub async fn client(&self, account: &ServiceAccountRef) -> Result<Client, ImpersonateError> {
        let cell = {
            let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(proven.entry(account.clone()).or_default())
        };
        let client = cell
            .get_or_try_init(|| async {
                let client = wrap(&self.base, account)?;
                prove(&client, account).await?;
                Ok(client)
            })
            .await;
        match client {
            Ok(client) => Ok(client.clone()),
            Err(error) => {
                // Policies name ServiceAccounts, so unusable ones must not accumulate.
                let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
                if proven.get(account).is_some_and(|cell| !cell.initialized()) {
                    proven.remove(account);
                }
                Err(error)
            }
        }
    }

    /// Drops every ServiceAccount that is no longer used.
    pub fn retain(&self, used: impl Fn(&ServiceAccountRef) -> bool) {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner).retain(|account, _| used(account));
    }
}

/// A client over the base client's connections whose requests carry the ServiceAccount's name.
fn wrap(base: &Client, account: &ServiceAccountRef) -> Result<Client, ImpersonateError> {
    let user = HeaderValue::from_str(&account.user())
        .map_err(|_| ImpersonateError::Header { account: account.clone() })?;
    let base = base.clone();
    let acting = tower::service_fn(move |mut request: Request<Body>| {
        let base = base.clone();
        request.headers_mut().insert(IMPERSONATE_USER, user.clone());
        async move { base.send(request).await }
    });
    Ok(Client::new(acting, account.namespace.clone()))
}

async fn prove(client: &Client, account: &ServiceAccountRef) -> Result<(), ImpersonateError> {
    let actual = who_am_i(client).await.map_err(|error| refusal(error, account))?;
    if actual == account.user() {
        Ok(())
    } else {
        Err(ImpersonateError::SomebodyElse { account: account.clone(), actual })
    }
}

/// A 403 is about the impersonation if it names serviceaccounts; otherwise the review itself
/// was rejected for the ServiceAccount.
fn refusal(error: kube::Error, account: &ServiceAccountRef) -> ImpersonateError {
    let account = account.clone();
    let impersonation_refused = matches!(&error, kube::Error::Api(status)
        if status.code == 403 && status.message.contains("cannot impersonate"));
    if impersonation_refused {
        ImpersonateError::NotAllowed { account }
    } else {
        ImpersonateError::Unproven { account, source: Box::new(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Response, StatusCode};
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn responder() -> ServiceAccountRef {
        ServiceAccountRef::new("llm", "firebreak-responder").unwrap()
    }

    /// A server that answers every review with what `answer` makes of the impersonated user.
    fn server(asked: &Arc<AtomicUsize>, answer: fn(&str) -> (u16, serde_json::Value)) -> Impersonation {
        let asked = Arc::clone(asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            asked.fetch_add(1, Ordering::SeqCst);
            let user = request.headers().get(IMPERSONATE_USER).cloned();
            async move {
                let user = user.map(|u| u.to_str().unwrap_or("").to_owned());
                let (code, body) = answer(&user.unwrap_or_default());
                let mut response = Response::new(Body::from(body.to_string().into_bytes()));
                *response.status_mut() = StatusCode::from_u16(code)?;
                Ok::<_, tower::BoxError>(response)
            }
        });
        Impersonation::new(Client::new(service, "default"))
    }

    fn honest(user: &str) -> (u16, serde_json::Value) {
        (201, json!({"metadata": {}, "status": {"userInfo": {"username": user}}}))
    }

    #[test]
    fn a_name_that_the_server_would_not_accept_cannot_be_built() {
        for (namespace, name) in [
            ("", "sa"),
            ("llm", ""),
            ("llm", "a:b"),
            ("a.b", "sa"),
            ("llm", "A"),
            ("llm", "a..b"),
            ("-llm", "sa"),
            ("llm", "sa\r\nx: y"),
        ] {
            assert!(ServiceAccountRef::new(namespace, name).is_err(), "{namespace}/{name}");
        }
        assert!(ServiceAccountRef::new(&"n".repeat(64), "sa").is_err());
        assert!(ServiceAccountRef::new("llm", "my.sa-1").is_ok());
        assert_eq!(responder().user(), "system:serviceaccount:llm:firebreak-responder");
    }

    #[tokio::test]
    async fn a_client_is_proven_once_and_then_kept() {
        let asked = Arc::default();
        let impersonation = server(&asked, honest);
        for _ in 0..3 {
            impersonation.client(&responder()).await.unwrap();
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);

        impersonation.retain(|_| false);
        impersonation.client(&responder()).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_client_that_is_taken_for_the_operator_is_refused() {
        let impersonation =
            server(&Arc::default(), |_| honest("system:serviceaccount:firebreak-system:firebreak"));
        let Err(error) = impersonation.client(&responder()).await else {
            panic!("the client was handed out");
        };
        assert!(matches!(error, ImpersonateError::SomebodyElse { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_refused_impersonation_names_the_rule_and_is_asked_again_later() {
        let asked = Arc::default();
        let impersonation = server(&asked, |_| {
            let message = "serviceaccounts \"firebreak-responder\" is forbidden: User \"x\" cannot \
                impersonate \
                           resource \"serviceaccounts\" in API group \"\" in the namespace \"llm\"";
            (
                403,
                json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": message}),
            )
        });
        for _ in 0..2 {
            let Err(error) = impersonation.client(&responder()).await else {
                panic!("the client was handed out");
            };
            assert!(matches!(error, ImpersonateError::NotAllowed { .. }), "{error}");
            assert!(error.to_string().contains("firebreak-responder in resourceNames"), "{error}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}
