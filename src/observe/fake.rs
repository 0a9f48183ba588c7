//! An API server in memory, as far as list and watch go. Time is tokio's, which tests pause.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

type Line = Result<Frame<Bytes>, std::io::Error>;
type Lines = StreamBody<BoxStream<'static, Line>>;

/// How requests are answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer {
    Normal,
    Code(u16),
    /// Watches with this code, lists as usual.
    WatchCode(u16),
    /// Requests whose URL contains the text with this code, others as usual.
    CodeIn(&'static str, u16),
    /// As usual, but with this delay.
    Slow(Duration),
    /// Not at all; open watches stay open and are silent.
    Silence,
}

pub(super) const NODES: &str = "/api/v1/nodes";

/// The server. Clones are the same one.
#[derive(Clone)]
pub(super) struct Fake(Arc<Mutex<World>>);

struct World {
    objects: BTreeMap<(String, String), Value>,
    history: Vec<(u64, String, Value)>,
    version: u64,
    /// Watches from an older version are answered 410.
    oldest: u64,
    answer: Answer,
    /// Number, collection and stream.
    watchers: Vec<(u64, String, UnboundedSender<Line>)>,
    requests: Vec<String>,
}

impl Fake {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(World {
            objects: BTreeMap::new(),
            history: Vec::new(),
            version: 1,
            oldest: 0,
            answer: Answer::Normal,
            watchers: Vec::new(),
            requests: Vec::new(),
        })))
    }

    pub(super) fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { fake.serve(request.uri().clone()).await }
        });
        Client::new(service, "default")
    }

    pub(super) fn answer(&self, answer: Answer) {
        self.world().answer = answer;
    }

    /// Creates or changes an object in a collection such as `/api/v1/nodes`.
    pub(super) fn put(&self, collection: &str, name: &str, mut object: Value) {
        let mut world = self.world();
        world.version += 1;
        if let Some(metadata) = object.get_mut("metadata") {
            metadata["resourceVersion"] = json!(world.version.to_string());
        }
        let key = (collection.to_owned(), name.to_owned());
        let type_ = if world.objects.insert(key, object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
        world.happened(collection, json!({"type": type_, "object": object}));
    }

    pub(super) fn delete(&self, collection: &str, name: &str) {
        let mut world = self.world();
        world.version += 1;
        let mut object = world.objects.remove(&(collection.to_owned(), name.to_owned())).unwrap();
        object["metadata"]["resourceVersion"] = json!(world.version.to_string());
        world.happened(collection, json!({"type": "DELETED", "object": object}));
    }

    /// Forgets the past: a watch from before now must list again.
    pub(super) fn compact(&self) {
        let mut world = self.world();
        world.version += 1;
        world.oldest = world.version;
    }

    /// Ends all watches, as a restart of the server does.
    pub(super) fn hang_up(&self) {
        self.world().watchers.clear();
    }

    pub(super) fn open_watches(&self) -> usize {
        let mut world = self.world();
        world.watchers.retain(|(_, _, sender)| !sender.is_closed());
        world.watchers.len()
    }

    /// The requests whose URL contains a text.
    pub(super) fn requests(&self, containing: &str) -> Vec<String> {
        self.world().requests.iter().filter(|url| url.contains(containing)).cloned().collect()
    }

    pub(super) fn lists(&self) -> usize {
        let world = self.world();
        world.requests.iter().filter(|url| !url.contains("watch=true")).count()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    async fn serve(&self, uri: Uri) -> Result<Response<Lines>, std::io::Error> {
        let url = uri.to_string();
        let watch = url.contains("watch=true");
        let answer = {
            let mut world = self.world();
            world.requests.push(url.clone());
            world.answer
        };
        if let Answer::Slow(delay) = answer {
            tokio::time::sleep(delay).await;
        }
        match answer {
            Answer::Silence => std::future::pending().await,
            Answer::Code(code) => Ok(refuse(code)),
            Answer::WatchCode(code) if watch => Ok(refuse(code)),
            Answer::CodeIn(text, code) if url.contains(text) => Ok(refuse(code)),
            Answer::Normal | Answer::WatchCode(_) | Answer::CodeIn(..) | Answer::Slow(_) if watch => {
                Ok(self.watch(&uri))
            }
            Answer::Normal | Answer::WatchCode(_) | Answer::CodeIn(..) | Answer::Slow(_) => {
                Ok(self.list(&uri))
            }
        }
    }

    fn list(&self, uri: &Uri) -> Response<Lines> {
        let world = self.world();
        let collection = uri.path();
        let limit: usize = parameter(uri, "limit").parse().unwrap_or(usize::MAX);
        let from: usize = parameter(uri, "continue").parse().unwrap_or_default();
        let all: Vec<&Value> =
            world.objects.iter().filter(|((of, _), _)| of == collection).map(|(_, object)| object).collect();
        let end = from.saturating_add(limit).min(all.len());
        let next = if end < all.len() { end.to_string() } else { String::new() };
        let metadata = json!({"resourceVersion": world.version.to_string(), "continue": next});
        respond(200, Some(json!({"metadata": metadata, "items": all[from..end]})), None)
    }

    fn watch(&self, uri: &Uri) -> Response<Lines> {
        let from: u64 = parameter(uri, "resourceVersion").parse().unwrap();
        let seconds: u64 = parameter(uri, "timeoutSeconds").parse().unwrap();
        let collection = uri.path().to_owned();
        let (sender, receiver) = unbounded_channel();
        let mut world = self.world();
        if from < world.oldest {
            let gone = json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"});
            return respond(200, Some(json!({"type": "ERROR", "object": gone})), None);
        }
        for (version, of, event) in &world.history {
            if *version > from && *of == collection {
                sender.send(line(event)).unwrap();
            }
        }
        let number = world.requests.len() as u64;
        world.watchers.push((number, collection, sender));
        let fake = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            let mut world = fake.world();
            if world.answer != Answer::Silence {
                world.watchers.retain(|(other, _, _)| *other != number);
            }
        });
        respond(200, None, Some(receiver))
    }
}

impl World {
    fn happened(&mut self, collection: &str, event: Value) {
        if self.answer != Answer::Silence {
            for (_, _, sender) in self.watchers.iter().filter(|(_, of, _)| of == collection) {
                let _ = sender.send(line(&event));
            }
        }
        self.history.push((self.version, collection.to_owned(), event));
    }
}

fn parameter(uri: &Uri, name: &str) -> String {
    let query = uri.query().unwrap_or_default();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next().unwrap_or_default()
}

fn line(event: &Value) -> Line {
    // The type first, as the server writes it.
    let text = format!("{{\"type\":{},\"object\":{}}}\n", event["type"], event["object"]);
    Ok(Frame::data(Bytes::from(text)))
}

fn refuse(code: u16) -> Response<Lines> {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        _ => "InternalError",
    };
    let status = json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason,
                        "message": format!("the server says {code}")});
    respond(code, Some(status), None)
}

fn respond(code: u16, body: Option<Value>, mut receiver: Option<UnboundedReceiver<Line>>) -> Response<Lines> {
    let mut first = body.map(|body| {
        if body.get("type").is_some() { line(&body) } else { Ok(Frame::data(Bytes::from(body.to_string()))) }
    });
    let stream = futures::stream::poll_fn(move |context| match (first.take(), &mut receiver) {
        (Some(first), _) => std::task::Poll::Ready(Some(first)),
        (None, Some(receiver)) => receiver.poll_recv(context),
        (None, None) => std::task::Poll::Ready(None),
    });
    let mut response = Response::new(StreamBody::new(stream.boxed()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}
