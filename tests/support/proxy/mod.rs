//! A proxy between an operator and the API server that records the requests of the
//! operator and injects the faults that a test wants.
//!
//! Plain HTTP on loopback towards the operator, TLS towards the server. It adds no
//! credentials: the operator's token and the users that it impersonates pass
//! through, so that the server checks the operator's own permissions.
//!
//! A mutating request, once forwarded, is completed even if the operator is
//! gone, so the record shows for certain what the server did.

mod answer;
mod call;
mod fault;
mod record;
mod stream;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use kube::client::ConfigExt;
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::AbortHandle};

use self::{answer::Body, stream::Interferences};
pub use self::{
    call::{Call, Exchange},
    fault::{Fault, Matched, Moment, Refusal, Rule},
    record::Record,
    stream::{Delivery, InForce},
};

/// How long an operator that has seen a reply may live if it writes nothing more.
const LAST_BREATH: Duration = Duration::from_millis(300);

/// A broken connection, in the form that hyper expects.
#[derive(Debug, thiserror::Error)]
#[error("the proxy breaks the connection")]
pub struct Broken;

type Forward =
    dyn Fn(Request<Full<Bytes>>) -> BoxFuture<'static, Result<Response<Incoming>, String>> + Send + Sync;

/// The proxy. It stops when this is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: AbortHandle,
}

struct Shared {
    forward: Box<Forward>,
    server: Uri,
    record: Record,
    rules: Mutex<Vec<Rule>>,
    interferences: Arc<Interferences>,
    victim: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
    /// Counts the deaths of the operator. Requests from before a death are not forwarded any more.
    deaths: watch::Sender<usize>,
    /// The operator dies at its next write.
    condemned: AtomicBool,
    /// The operator was killed and not started again, so no connection is accepted.
    closed: AtomicBool,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.deaths.send_modify(|count| *count += 1);
    }
}

impl Proxy {
    /// Starts a proxy in front of the server of the configuration, whose credentials it does not use.
    pub async fn start(config: &kube::Config) -> Self {
        let mut anonymous = kube::Config::new(config.cluster_url.clone());
        anonymous.root_cert.clone_from(&config.root_cert);
        let connector = anonymous.rustls_https_connector().expect("a TLS configuration");
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let shared = Arc::new(Shared {
            forward: Box::new(move |request| {
                let answer = client.request(request);
                Box::pin(async { answer.await.map_err(|error| error.to_string()) })
            }),
            server: config.cluster_url.clone(),
            record: Record::start(),
            rules: Mutex::default(),
            interferences: Interferences::new(),
            victim: Mutex::default(),
            deaths: watch::Sender::new(0),
            condemned: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        let address = listener.local_addr().expect("the listener is bound");
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self { shared, address, accepting }
    }

    /// The address that the operator takes for the API server.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets what [`Fault::Kill`] does.
    pub fn on_kill(&self, kill: impl Fn() + Send + Sync + 'static) {
        *self.shared.victim.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(kill));
    }

    /// Breaks all open connections: their requests are not forwarded any more.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Breaks all connections and accepts none: the operator is dead.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Accepts connections of the successor of an operator that was killed.
    pub fn open(&self) {
        self.shared.closed.store(false, Ordering::SeqCst);
    }

    /// From now on the rule applies. If several rules match the same call, the oldest wins.
    pub fn on(&self, rule: Rule) -> Matched {
        let matched = rule.matched();
        self.shared.rules().push(rule);
        matched
    }

    pub fn forget_rules(&self) {
        self.shared.rules().clear();
    }

    /// Freezes matching watches, the open ones too, until the result is dropped: no
    /// event arrives, no connection ends.
    pub fn freeze(&self, matches: impl Fn(&Call) -> bool + Send + Sync + Clone + 'static) -> InForce {
        self.shared.interferences.freeze(matches)
    }

    /// Decides about every event of every watch until the result is dropped.
    pub fn on_event(&self, judge: impl Fn(&Call, &Value) -> Delivery + Send + Sync + 'static) -> InForce {
        self.shared.interferences.judge(judge)
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Exchange> {
        self.shared.record.all()
    }

    /// The writes so far, see [`Call::is_write`].
    pub fn writes(&self) -> Vec<Exchange> {
        self.calls().into_iter().filter(|exchange| exchange.call.is_write()).collect()
    }

    /// The record itself, which outlives the proxy.
    pub fn record(&self) -> Record {
        self.shared.record.clone()
    }

    /// Waits for an exchange that satisfies the predicate, including those so far.
    pub async fn wait_for(&self, wish: &str, predicate: impl Fn(&Exchange) -> bool) -> Exchange {
        self.wait_for_nth(1, wish, predicate).await
    }

    /// Waits until this many exchanges satisfy the predicate, and returns the last of them.
    pub async fn wait_for_nth(
        &self,
        nth: usize,
        wish: &str,
        predicate: impl Fn(&Exchange) -> bool,
    ) -> Exchange {
        self.shared.record.wait_for_nth(nth, wish, predicate).await
    }
}

impl Shared {
    fn rules(&self) -> std::sync::MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        self.condemned.store(false, Ordering::SeqCst);
        self.deaths.send_modify(|count| *count += 1);
    }

    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// First cut, then kill: the process may run for another moment, but reaches no server.
    fn kill(&self) {
        self.close();
        if let Some(kill) = &*self.victim.lock().unwrap_or_else(PoisonError::into_inner) {
            kill();
        }
    }

    fn fault(&self, call: &Call) -> Option<Fault> {
        if call.is_write() && self.condemned.load(Ordering::SeqCst) {
            return Some(Fault::Kill(Moment::BeforeSend));
        }
        // Every rule counts the call, also when an older one hits it.
        let faults: Vec<Fault> = self.rules().iter().filter_map(|rule| rule.judge(call)).collect();
        faults.into_iter().next()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((connection, _)) = listener.accept().await else { continue };
        if shared.closed.load(Ordering::SeqCst) {
            continue;
        }
        let shared = Arc::clone(&shared);
        let mut deaths = shared.deaths.subscribe();
        tokio::spawn(async move {
            let service = service_fn(|request| serve(Arc::clone(&shared), request));
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(connection), service);
            tokio::select! {
                // Death first, so that no request of a dead operator is started.
                biased;
                _ = deaths.changed() => {}
                // An error is a broken connection, caused by a fault or by the operator's end.
                _ = served => {}
            }
        });
    }
}

async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Broken> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let call = shared.record.begin(&parts, &body);
    let fault = shared.fault(&call);
    if let Some(fault) = &fault {
        shared.record.fault(&call, fault);
    }
    match &fault {
        Some(Fault::DropRequest) => return Err(Broken),
        Some(Fault::Answer(refusal)) => return Ok(answer::refuse(&shared.record, &call, *refusal)),
        Some(Fault::Silence) => return std::future::pending().await,
        Some(Fault::Gone) => return Ok(answer::gone(&shared.record, &call)),
        Some(Fault::Delay(delay)) => tokio::time::sleep(*delay).await,
        Some(Fault::First(hook)) => hook(Arc::clone(&call)).await,
        Some(Fault::Kill(Moment::BeforeSend)) => {
            shared.kill();
            return Err(Broken);
        }
        Some(
            Fault::LoseReply
            | Fault::CutReply
            | Fault::AnswerAfter(_)
            | Fault::SilenceAfter
            | Fault::Kill(Moment::ReplyLost | Moment::ReplySeen),
        )
        | None => {}
    }

    let forwarded = forwarded(&shared.server, parts, body);
    if call.is_watch() || call.query.contains("follow=true") {
        return stream_through(&shared, &call, forwarded).await;
    }
    // A separate task, which continues if the operator hangs up.
    let asking = tokio::spawn({
        let (shared, call) = (Arc::clone(&shared), Arc::clone(&call));
        async move { ask(&shared, &call, forwarded).await }
    });
    let (code, headers, reply) = asking.await.map_err(|_| Broken)??;

    match fault {
        Some(Fault::LoseReply) => return Err(Broken),
        Some(Fault::CutReply) => return Ok(answer::cut_in_half(&reply, headers, code)),
        Some(Fault::AnswerAfter(refusal)) => return Ok(answer::refuse(&shared.record, &call, refusal)),
        Some(Fault::SilenceAfter) => return std::future::pending().await,
        Some(Fault::Kill(Moment::ReplyLost)) => {
            shared.kill();
            return Err(Broken);
        }
        Some(Fault::Kill(Moment::ReplySeen)) => condemn(&shared),
        Some(
            Fault::DropRequest
            | Fault::Answer(_)
            | Fault::Silence
            | Fault::Gone
            | Fault::Delay(_)
            | Fault::First(_)
            | Fault::Kill(Moment::BeforeSend),
        )
        | None => {}
    }
    shared.record.answered(&call, code.as_u16());
    Ok(answer::whole(code, headers, reply))
}

/// The operator dies at its next write, or soon if it writes no more.
fn condemn(shared: &Arc<Shared>) {
    shared.condemned.store(true, Ordering::SeqCst);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        tokio::time::sleep(LAST_BREATH).await;
        if shared.condemned.load(Ordering::SeqCst) {
            shared.kill();
        }
    });
}

/// The request as the server gets it: for its address, without what belongs to one connection.
fn forwarded(server: &Uri, parts: http::request::Parts, body: Bytes) -> Request<Full<Bytes>> {
    let mut target = server.clone().into_parts();
    target.path_and_query = parts.uri.into_parts().path_and_query;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = parts.method;
    *request.uri_mut() = Uri::from_parts(target).expect("the server's address with a path");
    *request.headers_mut() = parts.headers;
    for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        request.headers_mut().remove(name);
    }
    request
}

/// The whole answer of the server.
async fn ask(
    shared: &Shared,
    call: &Call,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, HeaderMap, Bytes), Broken> {
    let answer = (shared.forward)(request).await.map_err(|_| Broken)?;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    shared.record.served(call, parts.status, &parts.headers);
    Ok((parts.status, parts.headers, body))
}

async fn stream_through(
    shared: &Shared,
    call: &Arc<Call>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Body>, Broken> {
    let (parts, body) = (shared.forward)(request).await.map_err(|_| Broken)?.into_parts();
    shared.record.served(call, parts.status, &parts.headers);
    shared.record.answered(call, parts.status.as_u16());
    let lines = stream::lines(body, Arc::clone(call), Arc::clone(&shared.interferences));
    Ok(answer::streamed(parts.status, parts.headers, lines))
}
