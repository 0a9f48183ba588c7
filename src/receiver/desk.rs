//! Takes requests, refuses what it can at once, and hands the rest to the controller.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use firebreak_engine::alerts::{Extent, Message};
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use kube::Client;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::delivery::{Answer, Delivery};
use super::message;
use super::refusal::{Refusal, RequestCounter, Taken};
use super::reviews::Reviews;
use crate::kubernetes::lease::Leadership;

/// The longest body, in bytes: some thousand alerts.
const LONGEST: usize = 1024 * 1024;
/// Bodies that are in memory. Parsed, one has a few times its length.
const BODIES: usize = 4;
/// How long a body may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);
/// How long a message waits for its turn, and how long for its record.
const WAITS: Duration = Duration::from_secs(10);

/// Takes requests.
pub struct Desk {
    leadership: Leadership,
    reviews: Reviews,
    counter: RequestCounter,
    deliveries: mpsc::Sender<Delivery>,
    bodies: Arc<Semaphore>,
}

/// Where a message belongs.
struct Address {
    namespace: String,
    policy: String,
}

impl Address {
    /// The policy in `/api/v1/namespaces/NS/policies/NAME/alerts`. Names need no escapes, so none are understood.
    fn of(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/api/v1/namespaces/")?.strip_suffix("/alerts")?;
        let (namespace, policy) = rest.split_once("/policies/")?;
        let is_name = |name: &str| {
            let fits =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
            (1..=253).contains(&name.len()) && name.bytes().all(fits)
        };
        (is_name(namespace) && is_name(policy))
            .then(|| Self { namespace: namespace.to_owned(), policy: policy.to_owned() })
    }
}

impl Desk {
    /// A desk that hands messages over to `deliveries` while this process leads.
    pub fn new(
        client: Client,
        leadership: Leadership,
        counter: RequestCounter,
        deliveries: mpsc::Sender<Delivery>,
    ) -> Self {
        let bodies = Arc::new(Semaphore::new(BODIES));
        Self { leadership, reviews: Reviews::new(client), counter, deliveries, bodies }
    }

    /// Answers a request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
    {
        let result = self.take(request).await;
        self.counter.count(result.as_ref());
        match result {
            Ok(Taken::Whole) => Response::new(Full::default()),
            Ok(Taken::InPart(told)) => Response::new(Full::from(told + "\n")),
            Err(refusal) => refusal.response(),
        }
    }

    /// 200 if it returns no refusal.
    async fn take<B>(&self, request: Request<B>) -> Result<Taken, Refusal>
    where
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
    {
        let (head, body) = request.into_parts();
        let address = Address::of(head.uri.path()).ok_or(Refusal::Path)?;
        if head.method != Method::POST {
            return Err(Refusal::Method);
        }
        let token = token(&head).ok_or(Refusal::NoToken)?;
        if !self.leadership.leads() {
            return Err(Refusal::NotLeading);
        }
        self.reviews.allow(token, &address.namespace, &address.policy).await?;
        let room = self.room().await?;
        let length =
            head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let body = match length {
            Some(length) if length > LONGEST as u64 => Err(Refusal::TooLarge(LONGEST)),
            Some(_) | None => read(body).await,
        };
        if let Err(Refusal::TooLarge(_)) = &body {
            self.note_oversized(address, room);
            return Err(Refusal::TooLarge(LONGEST));
        }
        let (message, unread) = message::parse(&body?).map_err(Refusal::Malformed)?;
        let Address { namespace, policy } = &address;
        let told = unread.map(|why| {
            tracing::warn!(
                namespace,
                policy,
                why,
                "an alert cannot be read; its signals count it as one that may fire"
            );
            format!("recorded; {why}")
        });
        self.deliver(address, message, room).await?;
        Ok(told.map_or(Taken::Whole, Taken::InPart))
    }

    /// The policy learns that it has missed alerts. Nobody waits for the record, because the sender is refused anyway.
    fn note_oversized(&self, Address { namespace, policy }: Address, room: OwnedSemaphorePermit) {
        let message = Message { alerts: Vec::new(), extent: Extent::Oversized };
        let (answer, _) = oneshot::channel();
        // If the way is full, the next attempt of the sender is noted.
        let _ = self.deliveries.try_send(Delivery { namespace, policy, message, answer, room });
    }

    /// Room for one body.
    async fn room(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let turn = timeout(WAITS, Arc::clone(&self.bodies).acquire_owned()).await;
        // The semaphore is never closed.
        turn.map_err(|_| Refusal::Busy)?.map_err(|_| Refusal::Busy)
    }

    async fn deliver(
        &self,
        address: Address,
        message: Message,
        room: OwnedSemaphorePermit,
    ) -> Result<(), Refusal> {
        let (answer, answered) = oneshot::channel();
        let Address { namespace, policy } = address;
        let delivery = Delivery { namespace, policy, message, answer, room };
        self.deliveries.try_send(delivery).map_err(|_| Refusal::Busy)?;
        match timeout(WAITS, answered).await {
            Ok(Ok(Answer::Recorded)) => Ok(()),
            Ok(Ok(Answer::NoPolicy)) => Err(Refusal::NoPolicy),
            Ok(Ok(Answer::NoSignal)) => Err(Refusal::NoSignal),
            Ok(Ok(Answer::NotAccepted)) => Err(Refusal::NotAccepted),
            Ok(Ok(Answer::Undecodable)) => Err(Refusal::Undecodable),
            Ok(Ok(Answer::NotLeading)) => Err(Refusal::NotLeading),
            Ok(Ok(Answer::Full)) => Err(Refusal::Busy),
            Ok(Err(_)) | Err(_) => Err(Refusal::NotRecorded),
        }
    }
}

/// The token of the sender.
fn token(head: &Parts) -> Option<&str> {
    let (scheme, token) = head.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

async fn read<B>(body: B) -> Result<Bytes, Refusal>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
{
    let collected = timeout(ARRIVES_WITHIN, Limited::new(body, LONGEST).collect()).await;
    match collected.map_err(|_| Refusal::Slow)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge(LONGEST)),
        Err(_) => Err(Refusal::Malformed("it ended too early".to_owned())),
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
