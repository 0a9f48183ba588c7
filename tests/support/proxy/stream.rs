//! Watches: their events pass through line by line, unless a test interferes.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{Stream, StreamExt, stream};
use http_body_util::BodyStream;
use hyper::body::{Bytes, Incoming};
use serde_json::Value;
use tokio::sync::watch;

use super::Call;

/// What happens to an event of a watch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delivery {
    Pass,
    /// The operator does not get it, ever.
    Swallow,
    /// The operator gets it twice.
    Twice,
}

type Matches = Box<dyn Fn(&Call) -> bool + Send + Sync>;
type Judge = Box<dyn Fn(&Call, &Value) -> Delivery + Send + Sync>;

/// A lasting interference with watches, including those that are already open.
struct Interference {
    id: usize,
    /// A frozen watch does not end, either.
    freezes: Option<Matches>,
    judge: Judge,
}

/// All interferences of one proxy. The number changes when the list does.
pub(super) struct Interferences {
    list: Mutex<Vec<Interference>>,
    changes: watch::Sender<usize>,
}

/// As long as this lives, the interference is in force.
pub struct InForce {
    all: Arc<Interferences>,
    id: usize,
}

impl Drop for InForce {
    fn drop(&mut self) {
        self.all.edit(|list| list.retain(|each| each.id != self.id));
    }
}

impl Interferences {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { list: Mutex::default(), changes: watch::Sender::new(0) })
    }

    fn edit(&self, edit: impl FnOnce(&mut Vec<Interference>)) {
        edit(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_modify(|count| *count += 1);
    }

    /// Swallows all events of matching watches and keeps their connections open.
    pub(super) fn freeze(
        self: &Arc<Self>,
        matches: impl Fn(&Call) -> bool + Send + Sync + Clone + 'static,
    ) -> InForce {
        let swallow = matches.clone();
        self.add(
            Some(Box::new(matches)),
            Box::new(move |call, _| if swallow(call) { Delivery::Swallow } else { Delivery::Pass }),
        )
    }

    pub(super) fn judge(
        self: &Arc<Self>,
        judge: impl Fn(&Call, &Value) -> Delivery + Send + Sync + 'static,
    ) -> InForce {
        self.add(None, Box::new(judge))
    }

    fn add(self: &Arc<Self>, freezes: Option<Matches>, judge: Judge) -> InForce {
        let id = *self.changes.borrow() + 1;
        self.edit(|list| list.push(Interference { id, freezes, judge }));
        InForce { all: Arc::clone(self), id }
    }

    fn delivery(&self, call: &Call, line: &[u8]) -> Delivery {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.is_empty() {
            return Delivery::Pass;
        }
        let event: Value = serde_json::from_slice(line).unwrap_or_default();
        let verdicts = list.iter().map(|each| (each.judge)(call, &event));
        verdicts.fold(Delivery::Pass, |so_far, next| if next == Delivery::Pass { so_far } else { next })
    }

    fn frozen(&self, call: &Call) -> bool {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().any(|each| each.freezes.as_ref().is_some_and(|matches| matches(call)))
    }

    async fn until_thawed(&self, call: &Call) {
        let mut changes = self.changes.subscribe();
        while self.frozen(call) {
            // The sender lives in self, so this cannot fail.
            let _ = changes.changed().await;
        }
    }
}

/// The lines of a watch. It ends where the server's stream ends, with or without an error:
/// a watch that breaks off is an ordinary thing.
pub(super) fn lines(
    body: Incoming,
    call: Arc<Call>,
    interferences: Arc<Interferences>,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let state = (BodyStream::new(body), Vec::new(), call, interferences);
    stream::unfold(state, |(mut body, mut buffer, call, interferences)| async move {
        loop {
            let mut out = Vec::new();
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                match interferences.delivery(&call, &line) {
                    Delivery::Pass => out.extend(line),
                    Delivery::Swallow => {}
                    Delivery::Twice => out.extend(line.repeat(2)),
                }
            }
            if !out.is_empty() {
                return Some((Ok(Bytes::from(out)), (body, buffer, call, interferences)));
            }
            match body.next().await {
                Some(Ok(frame)) => buffer.extend(frame.into_data().unwrap_or_default()),
                Some(Err(_)) | None => {
                    interferences.until_thawed(&call).await;
                    return None;
                }
            }
        }
    })
}
