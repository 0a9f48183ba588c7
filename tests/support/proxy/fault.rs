//! Faults that the proxy injects, and the rules that say when.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;

use super::Call;

/// What goes wrong with a request.
#[derive(Clone)]
pub enum Fault {
    /// The connection breaks before the server sees the request.
    DropRequest,
    /// The server acts and answers, and the connection breaks instead of the answer.
    LoseReply,
    /// The server acts and answers, and the connection breaks in the middle of the answer.
    CutReply,
    /// The operator gets this answer, and the server never sees the request.
    Answer(Refusal),
    /// The server acts, and the operator gets this answer instead of the server's.
    AnswerAfter(Refusal),
    /// The server never sees the request, no answer comes, the connection stays open.
    Silence,
    /// The server acts, no answer comes, the connection stays open.
    SilenceAfter,
    /// A watch starts with 410 Gone, as when its version was compacted away.
    Gone,
    /// The request waits before it is forwarded.
    Delay(Duration),
    /// This is done before the request is forwarded, for example by a writer in the gap.
    First(Hook),
    /// The operator is killed.
    Kill(Moment),
}

/// When the operator dies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moment {
    /// The server never sees the request.
    BeforeSend,
    /// The server has acted, and the operator has not seen the answer.
    ReplyLost,
    /// The operator has seen the answer, and cannot write anything after it.
    ReplySeen,
}

/// An answer of an API server that did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refusal {
    pub code: u16,
    pub retry_after: Option<u32>,
}

/// Something to do at a request.
pub type Hook = Arc<dyn Fn(Arc<Call>) -> BoxFuture<'static, ()> + Send + Sync>;

impl Fault {
    /// 409, 500, 504 …, and the server never sees the request.
    pub fn answer(code: u16) -> Self {
        Self::Answer(Refusal { code, retry_after: None })
    }

    /// 504 …, and the server did what was asked.
    pub fn answer_after(code: u16) -> Self {
        Self::AnswerAfter(Refusal { code, retry_after: None })
    }

    /// 429 with a `Retry-After`.
    pub fn too_many(retry_after: u32) -> Self {
        Self::Answer(Refusal { code: 429, retry_after: Some(retry_after) })
    }

    /// Does this before the request is forwarded.
    pub fn first<F>(hook: impl Fn(Arc<Call>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::First(Arc::new(move |call| Box::pin(hook(call))))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DropRequest => write!(f, "request dropped"),
            Self::LoseReply => write!(f, "reply lost"),
            Self::CutReply => write!(f, "reply cut"),
            Self::Answer(refusal) => write!(f, "{} instead", refusal.code),
            Self::AnswerAfter(refusal) => write!(f, "{} after it was done", refusal.code),
            Self::Silence => write!(f, "silence"),
            Self::SilenceAfter => write!(f, "silence after it was done"),
            Self::Gone => write!(f, "410 in the stream"),
            Self::Delay(delay) => write!(f, "{delay:?} late"),
            Self::First(_) => write!(f, "something came first"),
            Self::Kill(moment) => write!(f, "killed, {moment:?}"),
        }
    }
}

/// A fault, the calls that match it, and which of these it affects.
pub struct Rule {
    matches: Box<dyn Fn(&Call) -> bool + Send + Sync>,
    fault: Fault,
    /// The matching calls that are affected, counted from 1.
    hits: std::ops::RangeInclusive<usize>,
    seen: Arc<AtomicUsize>,
}

/// How many calls a rule has matched, whether affected or not.
#[derive(Clone)]
pub struct Matched(Arc<AtomicUsize>);

impl Matched {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Rule {
    /// For every matching call.
    pub fn each(matches: impl Fn(&Call) -> bool + Send + Sync + 'static, fault: Fault) -> Self {
        Self { matches: Box::new(matches), fault, hits: 1..=usize::MAX, seen: Arc::default() }
    }

    /// For the n-th matching call, counted from 1.
    pub fn nth(n: usize, matches: impl Fn(&Call) -> bool + Send + Sync + 'static, fault: Fault) -> Self {
        Self { hits: n..=n, ..Self::each(matches, fault) }
    }

    /// For this many matching calls, from the first.
    pub fn first(
        count: usize,
        matches: impl Fn(&Call) -> bool + Send + Sync + 'static,
        fault: Fault,
    ) -> Self {
        Self { hits: 1..=count, ..Self::each(matches, fault) }
    }

    pub(super) fn matched(&self) -> Matched {
        Matched(Arc::clone(&self.seen))
    }

    /// Counts the call if it matches; returns the fault if the call is affected.
    pub(super) fn judge(&self, call: &Call) -> Option<Fault> {
        if !(self.matches)(call) {
            return None;
        }
        let nth = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        self.hits.contains(&nth).then(|| self.fault.clone())
    }
}
