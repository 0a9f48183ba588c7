//! The record of one proxy.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use http::{HeaderMap, StatusCode, request::Parts};
use tokio::sync::watch;

use super::{Call, Exchange, Fault, call};
use crate::support::object::PATIENCE;

/// All exchanges of a proxy. A clone is the same record.
#[derive(Clone)]
pub struct Record {
    started: Instant,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
    changes: watch::Sender<usize>,
}

impl Record {
    pub(super) fn start() -> Self {
        Self { started: Instant::now(), exchanges: Arc::default(), changes: watch::Sender::new(0) }
    }

    fn exchanges(&self) -> MutexGuard<'_, Vec<Exchange>> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Exchange>)) {
        change(&mut self.exchanges());
        self.changes.send_modify(|count| *count += 1);
    }

    pub(super) fn begin(&self, parts: &Parts, body: &[u8]) -> Arc<Call> {
        let body = if call::is_mutating(&parts.method) { body } else { &[] };
        let mut begun = None;
        self.change(|exchanges| {
            let call = Arc::new(Call::new(exchanges.len(), self.started.elapsed(), parts, body));
            exchanges.push(Exchange {
                call: Arc::clone(&call),
                server: None,
                client: None,
                level: None,
                fault: None,
            });
            begun = Some(call);
        });
        begun.expect("the change was made")
    }

    pub(super) fn fault(&self, call: &Call, fault: &Fault) {
        self.change(|exchanges| exchanges[call.number].fault = Some(fault.to_string()));
    }

    pub(super) fn served(&self, call: &Call, code: StatusCode, headers: &HeaderMap) {
        let level = headers.get("X-Kubernetes-PF-PriorityLevel-UID");
        let level = level.map(|uid| String::from_utf8_lossy(uid.as_bytes()).into_owned());
        self.change(|exchanges| {
            let exchange = &mut exchanges[call.number];
            (exchange.server, exchange.level) = (Some(code.as_u16()), level);
        });
    }

    pub(super) fn answered(&self, call: &Call, code: u16) {
        self.change(|exchanges| exchanges[call.number].client = Some(code));
    }

    pub fn all(&self) -> Vec<Exchange> {
        self.exchanges().clone()
    }

    /// Waits until this many exchanges satisfy the predicate, and returns the last of them.
    pub(super) async fn wait_for_nth(
        &self,
        nth: usize,
        wish: &str,
        predicate: impl Fn(&Exchange) -> bool,
    ) -> Exchange {
        let mut changes = self.changes.subscribe();
        let found = async {
            loop {
                changes.mark_unchanged();
                if let Some(exchange) = self.exchanges().iter().filter(|each| predicate(each)).nth(nth - 1) {
                    return exchange.clone();
                }
                // The sender lives in self, so this cannot fail.
                let _ = changes.changed().await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| {
            let calls: Vec<String> = self.exchanges().iter().map(ToString::to_string).collect();
            panic!("no call {wish:?} within {PATIENCE:?} among:\n{}", calls.join("\n"))
        })
    }
}
