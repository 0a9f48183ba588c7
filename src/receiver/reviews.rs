//! Who sends alerts, and to which policies it may send them, according to the API server.
//!
//! Alertmanager sends the token of a ServiceAccount. A TokenReview says whose it is, and a SubjectAccessReview says whether that
//! account has the verb `create` on `alerts.firebreak.dev` with the name of the policy. Both answers are kept for a short
//! while, so that many messages are not many reviews. Tokens are kept only as digests.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::refusal::Refusal;
use crate::kubernetes::retry;

/// How long an answer counts. A token that was revoked, or a right that was taken away, is refused so much later.
const COUNTS_FOR: Duration = Duration::from_secs(60);
/// How long a refusal counts: so soon a new right is noticed.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// How many answers of each kind are kept.
const MOST: usize = 256;
/// Reviews in flight.
const AT_ONCE: usize = 4;

type Sender = [u8; 32];

/// What the API server has said of senders.
pub struct Reviews {
    client: Client,
    /// The user of a token; none for one that it does not accept.
    users: Mutex<Kept<Sender, Option<UserInfo>>>,
    /// Whether a sender may send alerts to the policy of this namespace and name.
    rights: Mutex<Kept<(Sender, String, String), bool>>,
    turns: Semaphore,
}

impl Reviews {
    /// Asks as the operator.
    pub fn new(client: Client) -> Self {
        Self { client, users: Mutex::default(), rights: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }

    /// Whether who has this token may send alerts to a policy.
    ///
    /// # Errors
    /// It may not, or the API server does not say.
    pub async fn allow(&self, token: &str, namespace: &str, policy: &str) -> Result<(), Refusal> {
        let sender: Sender = Sha256::digest(token).into();
        let user = self.user(sender, token).await?.ok_or(Refusal::BadToken)?;
        let about = (sender, namespace.to_owned(), policy.to_owned());
        if self.may(&about, &user).await? {
            return Ok(());
        }
        let (_, namespace, policy) = about;
        Err(Refusal::Forbidden { user: user.username.unwrap_or_default(), namespace, policy })
    }

    async fn user(&self, sender: Sender, token: &str) -> Result<Option<UserInfo>, Refusal> {
        if let Some(known) = find(&self.users, &sender) {
            return Ok(known);
        }
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await.map_err(|_| Refusal::Busy)?;
        // Somebody else may have asked meanwhile.
        if let Some(known) = find(&self.users, &sender) {
            return Ok(known);
        }
        let question = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: None },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let answer = retry::read(|| async { reviews.create(&PostParams::default(), &question).await }).await;
        let status = answer.map_err(|error| unanswered("TokenReview", &error))?.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true));
        keep(&self.users, sender, user.clone(), if user.is_some() { COUNTS_FOR } else { REFUSED_FOR });
        Ok(user)
    }

    async fn may(&self, about: &(Sender, String, String), user: &UserInfo) -> Result<bool, Refusal> {
        if let Some(known) = find(&self.rights, about) {
            return Ok(known);
        }
        let _turn = self.turns.acquire().await.map_err(|_| Refusal::Busy)?;
        if let Some(known) = find(&self.rights, about) {
            return Ok(known);
        }
        let (_, namespace, policy) = about;
        let question = question(user, namespace, policy);
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = retry::read(|| async { reviews.create(&PostParams::default(), &question).await }).await;
        let answer = answer.map_err(|error| unanswered("SubjectAccessReview", &error))?;
        let is_allowed = answer.status.is_some_and(|status| status.allowed);
        keep(&self.rights, about.clone(), is_allowed, if is_allowed { COUNTS_FOR } else { REFUSED_FOR });
        Ok(is_allowed)
    }
}

fn question(user: &UserInfo, namespace: &str, policy: &str) -> SubjectAccessReview {
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                verb: Some("create".to_owned()),
                group: Some("firebreak.dev".to_owned()),
                resource: Some("alerts".to_owned()),
                namespace: Some(namespace.to_owned()),
                name: Some(policy.to_owned()),
                ..ResourceAttributes::default()
            }),
            non_resource_attributes: None,
        },
        ..SubjectAccessReview::default()
    }
}

fn unanswered(review: &str, error: &kube::Error) -> Refusal {
    tracing::warn!(
        review,
        why = retry::explain(error),
        "cannot find out who sends alerts; it must try again"
    );
    Refusal::NotReviewed
}

/// Answers, each until it is too old.
struct Kept<K, V>(BTreeMap<K, (Instant, V)>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

fn find<K: Ord, V: Clone>(kept: &Mutex<Kept<K, V>>, key: &K) -> Option<V> {
    let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.0.get(key).filter(|(until, _)| *until > Instant::now()).map(|(_, value)| value.clone())
}

/// Keeps an answer. If there are too many, the one that would be too old first gives way.
fn keep<K: Ord + Clone, V>(kept: &Mutex<Kept<K, V>>, key: K, value: V, length: Duration) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.0.len() >= MOST {
        let first = kept.0.iter().min_by_key(|(_, (until, _))| *until).map(|(key, _)| key.clone());
        first.into_iter().for_each(|first| drop(kept.0.remove(&first)));
    }
    kept.0.insert(key, (Instant::now() + length, value));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// An API server that knows tokens that begin with `good`, and lets alice send alerts to `gpu` in `llm`. It records what it
    /// was asked.
    fn server() -> (Client, Arc<Mutex<Vec<Value>>>) {
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let record = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            let record = Arc::clone(&record);
            async move {
                let body = request.into_body().collect_bytes().await?;
                let mut review: Value = serde_json::from_slice(&body)?;
                record.lock().unwrap().push(review.clone());
                review["status"] = match review["spec"]["token"].as_str() {
                    Some(token) if token.starts_with("good") => json!({
                        "authenticated": true,
                        "user": {"username": "alice", "uid": "u", "groups": ["g"], "extra": {"k": ["v"]}},
                    }),
                    Some(_) => json!({"authenticated": false, "error": "s3cret"}),
                    None => {
                        let about = &review["spec"]["resourceAttributes"];
                        json!({"allowed": about["namespace"] == "llm" && about["name"] == "gpu"})
                    }
                };
                Ok::<_, tower::BoxError>(Response::new(Body::from(review.to_string().into_bytes())))
            }
        });
        (Client::new(service, "default"), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn who_may_send_alerts_to_a_policy_is_asked_once_a_minute() {
        let (client, asked) = server();
        let reviews = Reviews::new(client);
        for _ in 0..50 {
            assert_eq!(reviews.allow("good", "llm", "gpu").await, Ok(()));
        }
        let questions = asked.lock().unwrap().clone();
        assert_eq!(questions.len(), 2, "a TokenReview and a SubjectAccessReview: {questions:?}");
        let spec = &questions[1]["spec"];
        assert_eq!(
            (&spec["user"], &spec["groups"], &spec["extra"]),
            (&json!("alice"), &json!(["g"]), &json!({"k": ["v"]}))
        );
        let about = json!({"verb": "create", "group": "firebreak.dev", "resource": "alerts", "namespace": "llm", "name": "gpu"});
        assert_eq!(spec["resourceAttributes"], about);
        tokio::time::advance(COUNTS_FOR).await;
        assert_eq!(reviews.allow("good", "llm", "gpu").await, Ok(()));
        assert_eq!(asked.lock().unwrap().len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_counts_for_a_moment_and_only_for_what_was_asked() {
        let (client, asked) = server();
        let reviews = Reviews::new(client);
        for _ in 0..9 {
            assert_eq!(reviews.allow("bad", "llm", "gpu").await, Err(Refusal::BadToken));
        }
        assert_eq!(asked.lock().unwrap().len(), 1, "nobody is asked what an unknown user may do");
        for (namespace, policy) in [("llm", "other"), ("other", "gpu")] {
            let (user, namespace, policy) = ("alice".to_owned(), namespace.to_owned(), policy.to_owned());
            let why = reviews.allow("good", &namespace, &policy).await;
            assert_eq!(why, Err(Refusal::Forbidden { user, namespace, policy }));
        }
        assert_eq!(reviews.allow("good", "llm", "gpu").await, Ok(()));
        tokio::time::advance(REFUSED_FOR).await;
        let before = asked.lock().unwrap().len();
        assert_eq!(reviews.allow("bad", "llm", "gpu").await, Err(Refusal::BadToken));
        assert_eq!(asked.lock().unwrap().len(), before + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn no_number_of_tokens_makes_it_grow() {
        let (client, _) = server();
        let reviews = Reviews::new(client);
        for number in 0..3 * MOST {
            assert!(reviews.allow(&format!("good {number}"), "llm", "gpu").await.is_ok());
        }
        assert_eq!(reviews.users.lock().unwrap().0.len(), MOST);
        assert_eq!(reviews.rights.lock().unwrap().0.len(), MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_answer_it_is_not_known_who_sends() {
        let service = tower::service_fn(|_: Request<Body>| async {
            let status = json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no"});
            let answer = Response::builder().status(403).body(Body::from(status.to_string().into_bytes()));
            Ok::<_, tower::BoxError>(answer?)
        });
        let reviews = Reviews::new(Client::new(service, "default"));
        assert_eq!(reviews.allow("good", "llm", "gpu").await, Err(Refusal::NotReviewed));
    }
}
