//! Whose turn it is at one endpoint.
//!
//! # Guarantees
//! An endpoint that answers gets a few requests at a time, of which one account has at most two, so that nobody keeps the
//! others from it. One that has not answered the last request, or none yet, gets one at a time, until it answers: also
//! those that were sent before must have ended.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::select_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::Unanswered;

/// Requests at once to an endpoint that answers.
const AT_ONCE: u32 = 4;
/// Those of one account.
const OF_ONE: usize = 2;

/// The turns at one endpoint.
#[derive(Debug)]
pub(super) struct Gate {
    is_silent: AtomicBool,
    any: Semaphore,
    /// What each account may have. Those that have nothing are not in it.
    shares: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

impl Default for Gate {
    fn default() -> Self {
        let any = Semaphore::new(AT_ONCE as usize);
        Self { is_silent: AtomicBool::new(true), any, shares: Mutex::default() }
    }
}

/// A turn. It ends when it is dropped.
#[derive(Debug)]
pub struct Turn<'g> {
    gate: &'g Gate,
    _any: Option<SemaphorePermit<'g>>,
    _share: Option<OwnedSemaphorePermit>,
}

impl Turn<'_> {
    /// Sends the requests of this turn, which all together may take this long. Then the turn ends.
    ///
    /// # Errors
    /// They take longer, or have failed.
    pub async fn send<T>(
        self,
        within: Duration,
        requests: impl Future<Output = Result<T, Unanswered>>,
    ) -> Result<T, Unanswered> {
        timeout(within, requests).await.unwrap_or_else(|_| {
            self.gate.was_silent();
            Err(Unanswered::NoAnswer(format!("it did not answer within {} ms", within.as_millis())))
        })
    }
}

impl Gate {
    /// Waits for a turn, at most this long. It counts for that one of the accounts that has the fewest.
    ///
    /// # Errors
    /// It was not its turn within this time.
    pub(super) async fn turn(&self, accounts: &[&str], within: Duration) -> Result<Turn<'_>, Unanswered> {
        let turn = async { Turn { gate: self, _share: self.share(accounts).await, _any: self.any().await } };
        let busy = |_| {
            let within = within.as_millis();
            Unanswered::Busy(format!("it is busy with other requests: there was no turn within {within} ms"))
        };
        timeout(within, turn).await.map_err(busy)
    }

    /// The endpoint has answered.
    pub(super) fn has_answered(&self) {
        self.is_silent.store(false, Ordering::Relaxed);
    }

    /// The endpoint has not answered.
    pub(super) fn was_silent(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
    }

    /// A place of its own at an endpoint that answers, and all places at one that is silent.
    async fn any(&self) -> Option<SemaphorePermit<'_>> {
        loop {
            let is_silent = self.is_silent.load(Ordering::Relaxed);
            let places = if is_silent { AT_ONCE } else { 1 };
            // The semaphore is never closed.
            let permit = self.any.acquire_many(places).await.ok();
            // Meanwhile it may have answered others, or may have begun not to.
            if self.is_silent.load(Ordering::Relaxed) == is_silent {
                return permit;
            }
        }
    }

    async fn share(&self, accounts: &[&str]) -> Option<OwnedSemaphorePermit> {
        let mut found: Vec<Arc<Semaphore>> = {
            let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
            shares.retain(|_, share| Arc::strong_count(share) > 1);
            let share = |account: &&str| {
                let share = shares.entry((*account).to_owned());
                Arc::clone(share.or_insert_with(|| Arc::new(Semaphore::new(OF_ONE))))
            };
            accounts.iter().map(share).collect()
        };
        found.sort_by_key(|share| Reverse(share.available_permits()));
        let waits: Vec<_> = found.into_iter().map(|share| Box::pin(share.acquire_owned())).collect();
        // To nobody, nobody is unfair.
        if waits.is_empty() { None } else { select_all(waits).await.0.ok() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures::future::join_all;
    use tokio::time::sleep;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn silence() -> Result<(), Unanswered> {
        Err(Unanswered::NoAnswer("silence".to_owned()))
    }

    /// Sends a request in its turn.
    async fn pass<T>(
        gate: &Gate,
        account: &str,
        within: Duration,
        request: impl Future<Output = Result<T, Unanswered>>,
    ) -> Result<T, Unanswered> {
        let request = async {
            let result = request.await;
            match &result {
                Ok(_) => gate.has_answered(),
                Err(_) => gate.was_silent(),
            }
            result
        };
        gate.turn(&[account], within).await?.send(within, request).await
    }

    /// Sends requests of many accounts, or of one, that each take a second. Returns how many there were at once at most.
    async fn crowd(
        gate: &Gate,
        account: impl Fn(usize) -> String,
        answer: impl Fn() -> Result<(), Unanswered>,
    ) -> usize {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let one = || async {
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            sleep(Duration::from_secs(1)).await;
            now.fetch_sub(1, Ordering::Relaxed);
            answer()
        };
        let all: Vec<String> = (0..20).map(account).collect();
        join_all(all.iter().map(|account| pass(gate, account, LONG, one()))).await;
        most.load(Ordering::Relaxed)
    }

    fn many(at: usize) -> String {
        at.to_string()
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_does_not_answer_gets_one_request_at_a_time_until_it_answers() {
        let gate = Gate::default();
        assert_eq!(crowd(&gate, many, silence).await, 1, "before the first answer");
        assert_eq!(crowd(&gate, many, || Ok(())).await, AT_ONCE as usize);
        gate.was_silent();
        assert_eq!(crowd(&gate, many, silence).await, 1);
        gate.has_answered();
        assert_eq!(crowd(&gate, many, || Ok(())).await, AT_ONCE as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_at_a_time_holds_as_soon_as_silence_begins() {
        let gate = Gate::default();
        gate.has_answered();
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        // The first one fails after a second; the others that were sent with it hang for longer.
        let request = |at: u64| {
            let (gate, now, most) = (&gate, &now, &most);
            async move {
                let account = at.to_string();
                let request = async {
                    let here = now.fetch_add(1, Ordering::Relaxed) + 1;
                    if gate.is_silent.load(Ordering::Relaxed) {
                        most.fetch_max(here, Ordering::Relaxed);
                    }
                    sleep(Duration::from_secs(if at == 0 { 1 } else { 5 })).await;
                    now.fetch_sub(1, Ordering::Relaxed);
                    silence()
                };
                pass(gate, &account, LONG * 10, request).await
            }
        };
        join_all((0..20).map(request)).await;
        assert_eq!(most.into_inner(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_account_leaves_turns_to_others() {
        let gate = Gate::default();
        gate.has_answered();
        let greedy = crowd(&gate, |_| "greedy".to_owned(), || Ok(()));
        let other = async {
            let began = tokio::time::Instant::now();
            pass(&gate, "other", LONG, async { Ok(()) }).await.unwrap();
            began.elapsed()
        };
        assert_eq!(tokio::join!(greedy, other), (OF_ONE, Duration::ZERO));
        assert_eq!(gate.shares.lock().unwrap().len(), 2);
        drop(gate.turn(&[], LONG).await.unwrap());
        assert!(gate.shares.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_accounts_share_counts_for_the_one_that_has_the_fewest() {
        let gate = Gate::default();
        gate.has_answered();
        let first = gate.turn(&["a"], LONG).await.unwrap();
        let _second = gate.turn(&["a"], LONG).await.unwrap();
        let _shared = gate.turn(&["a", "b"], Duration::from_secs(1)).await.unwrap();
        assert_eq!(gate.turn(&["a"], Duration::from_secs(1)).await.unwrap_err().kind(), "Busy");
        drop(first);
        gate.turn(&["a"], Duration::from_secs(1)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_a_turn_does_not_wait_for_ever_and_is_told_that_nothing_was_sent() {
        let gate = Gate::default();
        let hangs = pass(&gate, "a", LONG, std::future::pending::<Result<(), Unanswered>>());
        let waits = pass(&gate, "b", Duration::from_secs(5), async { Ok(()) });
        tokio::select! {
            biased;
            _ = hangs => panic!("it hangs"),
            waited = waits => assert_eq!(waited.unwrap_err().kind(), "Busy"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_requests_of_a_turn_together_have_one_limit() {
        let gate = Gate::default();
        gate.has_answered();
        let began = tokio::time::Instant::now();
        let two = async {
            sleep(Duration::from_secs(3)).await;
            sleep(Duration::from_secs(3)).await;
            Ok(())
        };
        let late = gate.turn(&["a"], LONG).await.unwrap().send(Duration::from_secs(5), two).await;
        assert_eq!(late, Err(Unanswered::NoAnswer("it did not answer within 5000 ms".to_owned())));
        assert_eq!(began.elapsed(), Duration::from_secs(5));
        assert!(gate.is_silent.load(Ordering::Relaxed));
    }
}
