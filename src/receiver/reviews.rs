//! Who sends alerts, and to which policies it may send them, according to the API server.
//!
//! Alertmanager sends the token of a ServiceAccount. A TokenReview says whose it is, and a SubjectAccessReview says whether that
//! account has the verb `create` on `alerts.firebreak.dev` with the name of the policy. Both answers are kept for a short
//! while, so that many messages are not many reviews. Tokens are kept only as digests.
//!
//! Whoever reaches the port can send any number of random tokens and names, so only a few questions a second are asked that the
//! API server has not answered with yes before. Senders that it knows do not wait for that.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::memory::{Memory, Unknown};
use super::rate::Rate;
use super::refusal::Refusal;
use crate::kubernetes::retry;

/// Reviews in flight.
const AT_ONCE: usize = 4;
/// Questions a second of each kind that were never answered with yes.
const NEW_PER_SECOND: u32 = 10;
/// How long a question waits for its turn, and how long for its answer. No question is repeated; the sender repeats its message.
const WAITS: Duration = Duration::from_secs(5);

type Sender = [u8; 32];

/// A sender, and the namespace and the name of a policy.
type About = (Sender, String, String);

/// What the API server has said of senders.
pub struct Reviews {
    client: Client,
    /// The user of a token.
    users: Memory<Sender, UserInfo>,
    /// Whether a sender may send alerts to a policy.
    rights: Memory<About, ()>,
    turns: Semaphore,
    new_users: Rate,
    new_rights: Rate,
}

impl Reviews {
    /// Asks as the operator.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            users: Memory::default(),
            rights: Memory::default(),
            turns: Semaphore::new(AT_ONCE),
            new_users: Rate::per_second(NEW_PER_SECOND),
            new_rights: Rate::per_second(NEW_PER_SECOND),
        }
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
        let _turn = match self.known_or_turn(&self.users, &self.new_users, &sender).await? {
            Next::Known(answer) => return Ok(answer),
            Next::Ask(turn) => turn,
        };
        let question = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: None },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let answer = answered("TokenReview", reviews.create(&PostParams::default(), &question)).await?;
        let status = answer.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true));
        self.users.keep(sender, user.clone());
        Ok(user)
    }

    async fn may(&self, about: &About, user: &UserInfo) -> Result<bool, Refusal> {
        let _turn = match self.known_or_turn(&self.rights, &self.new_rights, about).await? {
            Next::Known(answer) => return Ok(answer.is_some()),
            Next::Ask(turn) => turn,
        };
        let (_, namespace, policy) = about;
        let question = question(user, namespace, policy);
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer =
            answered("SubjectAccessReview", reviews.create(&PostParams::default(), &question)).await?;
        let is_allowed = answer.status.is_some_and(|status| status.allowed);
        self.rights.keep(about.clone(), is_allowed.then_some(()));
        Ok(is_allowed)
    }

    /// What is known, or a turn to ask.
    async fn known_or_turn<K: Ord + Clone, V: Clone>(
        &self,
        memory: &Memory<K, V>,
        new: &Rate,
        key: &K,
    ) -> Result<Next<'_, V>, Refusal> {
        if let Ok(answer) = memory.recall(key) {
            return Ok(Next::Known(answer));
        }
        let turn = timeout(WAITS, self.turns.acquire()).await.map_err(|_| Refusal::Busy)?;
        // The semaphore is never closed.
        let turn = turn.map_err(|_| Refusal::Busy)?;
        // Somebody else may have asked meanwhile.
        match memory.recall(key) {
            Ok(answer) => Ok(Next::Known(answer)),
            Err(Unknown::New) if !new.allows() => Err(Refusal::Busy),
            Err(Unknown::New | Unknown::Lapsed) => Ok(Next::Ask(turn)),
        }
    }
}

/// What to do about a question.
enum Next<'a, V> {
    /// The answer is known; none is a refusal.
    Known(Option<V>),
    /// Ask while this is held.
    Ask(SemaphorePermit<'a>),
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

/// What the API server answers in time.
async fn answered<T>(
    review: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Refusal> {
    let why = match timeout(WAITS, request).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => retry::explain(&error),
        Err(_) => format!("no answer within {} s", WAITS.as_secs()),
    };
    tracing::warn!(review, why, "cannot find out who sends alerts; it must try again");
    Err(Refusal::NotReviewed)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;
    use crate::receiver::memory::{COUNTS_FOR, MOST, REFUSED_FOR};

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
            let refused = reviews.allow(&format!("good {number}"), "llm", "other").await;
            assert!(matches!(refused, Err(Refusal::Forbidden { .. })), "{refused:?}");
            assert_eq!(reviews.allow(&format!("bad {number}"), "llm", "gpu").await, Err(Refusal::BadToken));
            tokio::time::advance(Duration::from_millis(200)).await;
        }
        assert_eq!(reviews.users.len(), (MOST, MOST));
        assert_eq!(reviews.rights.len(), (MOST, MOST));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_questions_is_not_asked_and_keeps_nobody_out_who_is_known() {
        let (client, asked) = server();
        let reviews = Reviews::new(client);
        assert_eq!(reviews.allow("good", "llm", "gpu").await, Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        let flood = async |round: u32| {
            for number in 0..99 {
                let why = reviews.allow(&format!("bad {round} {number}"), "llm", "gpu").await.unwrap_err();
                assert_eq!(why, if number < NEW_PER_SECOND { Refusal::BadToken } else { Refusal::Busy });
            }
            for number in 0..99 {
                let policy = format!("other {round} {number}");
                let why = reviews.allow("good", "llm", &policy).await.unwrap_err();
                assert_eq!(why == Refusal::Busy, number >= NEW_PER_SECOND, "{why:?}");
            }
        };
        for round in 0..99 {
            flood(round).await;
            assert_eq!(reviews.allow("good", "llm", "gpu").await, Ok(()), "also when the answer has lapsed");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let asked = asked.lock().unwrap().len();
        assert!((99 * 20..99 * 20 + 9).contains(&asked), "{asked}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_long_for_an_api_server_that_does_not_answer() {
        let service = tower::service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, tower::BoxError>>()
        });
        let reviews = Reviews::new(Client::new(service, "default"));
        let ask = |token| reviews.allow(token, "llm", "gpu");
        let all = timeout(3 * WAITS, futures::future::join_all(["a", "b", "c", "d", "e"].map(ask))).await;
        let all = all.unwrap();
        assert!(all.iter().all(|why| matches!(why, Err(Refusal::NotReviewed | Refusal::Busy))), "{all:?}");
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
