//! Whose turn it is at one endpoint.
//!
//! # Guarantees
//! An endpoint that answers gets a few requests at a time. One that has not answered the last request gets one at a time,
//! until it answers again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::Unanswered;

/// Requests at once to an endpoint that answers.
const AT_ONCE: usize = 4;

/// The turns at one endpoint.
#[derive(Debug)]
pub(super) struct Gate {
    is_silent: AtomicBool,
    any: Semaphore,
    single: Mutex<()>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { is_silent: AtomicBool::new(false), any: Semaphore::new(AT_ONCE), single: Mutex::default() }
    }
}

/// A turn. It ends when it is dropped.
struct Turn<'g> {
    _any: Option<SemaphorePermit<'g>>,
    _single: Option<MutexGuard<'g, ()>>,
}

impl Gate {
    /// Sends a request when it is its turn.
    ///
    /// # Errors
    /// It was not its turn within this time, or the request has failed.
    pub(super) async fn pass<T>(
        &self,
        within: Duration,
        request: impl Future<Output = Result<T, Unanswered>>,
    ) -> Result<T, Unanswered> {
        let Ok(_turn) = timeout(within, self.turn()).await else {
            return Err(Unanswered::NoAnswer("it has not answered the requests before".to_owned()));
        };
        let result = request.await;
        let is_silent = matches!(result, Err(Unanswered::NoAnswer(_)));
        self.is_silent.store(is_silent, Ordering::Relaxed);
        result
    }

    async fn turn(&self) -> Turn<'_> {
        let single = if self.is_silent.load(Ordering::Relaxed) {
            let single = self.single.lock().await;
            // It may have answered whoever had the turn before.
            Some(single).filter(|_| self.is_silent.load(Ordering::Relaxed))
        } else {
            None
        };
        // The semaphore is never closed.
        Turn { _any: self.any.acquire().await.ok(), _single: single }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use futures::future::join_all;
    use tokio::time::sleep;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Sends requests that each take a second. Returns how many there were at once at most.
    async fn crowd(gate: &Gate, answer: impl Fn() -> Result<(), Unanswered>) -> usize {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let one = || async {
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            sleep(Duration::from_secs(1)).await;
            now.fetch_sub(1, Ordering::Relaxed);
            answer()
        };
        join_all((0..20).map(|_| gate.pass(LONG, one()))).await;
        most.load(Ordering::Relaxed)
    }

    fn silence() -> Result<(), Unanswered> {
        Err(Unanswered::NoAnswer("silence".to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_does_not_answer_gets_one_request_at_a_time_until_it_answers() {
        let gate = Gate::default();
        assert_eq!(crowd(&gate, || Ok(())).await, AT_ONCE);
        gate.pass(LONG, async { silence() }).await.unwrap_err();
        assert_eq!(crowd(&gate, silence).await, 1);
        gate.pass(LONG, async { Ok(()) }).await.unwrap();
        assert_eq!(crowd(&gate, || Ok(())).await, AT_ONCE);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_a_turn_does_not_wait_for_ever() {
        let gate = Gate::default();
        gate.pass(LONG, async { silence() }).await.unwrap_err();
        let hangs = gate.pass(LONG, std::future::pending::<Result<(), Unanswered>>());
        let waits = gate.pass(Duration::from_secs(5), async { Ok(()) });
        tokio::select! {
            biased;
            _ = hangs => panic!("it hangs"),
            waited = waits => assert!(matches!(waited, Err(Unanswered::NoAnswer(_)))),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_endpoint_rejects_is_an_answer() {
        let gate = Gate::default();
        gate.pass(LONG, async { silence() }).await.unwrap_err();
        let rejected = async { Err::<(), _>(Unanswered::unusable("Rejected", "no")) };
        gate.pass(LONG, rejected).await.unwrap_err();
        assert_eq!(crowd(&gate, || Ok(())).await, AT_ONCE);
    }
}
