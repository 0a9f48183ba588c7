//! A bound on how often something is done: a token bucket.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Allows at most so many a second, and as many at once after a second of rest.
#[derive(Debug)]
pub struct Rate {
    /// The time that each one costs.
    each: Duration,
    /// Until when all that was allowed is paid for.
    paid_until: Mutex<Instant>,
}

impl Rate {
    /// At most so many a second.
    pub fn per_second(most: u32) -> Self {
        Self { each: Duration::from_secs(1) / most, paid_until: Mutex::new(Instant::now()) }
    }

    /// Whether one more is allowed now. If so, it counts.
    pub fn allows(&self) -> bool {
        let now = Instant::now();
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (*paid_until).max(now) + self.each;
        let is_allowed = next <= now + Duration::from_secs(1);
        if is_allowed {
            *paid_until = next;
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_allowed_and_then_each_has_to_wait() {
        let rate = Rate::per_second(10);
        let allowed = || (0..99).filter(|_| rate.allows()).count();
        assert_eq!(allowed(), 10);
        tokio::time::advance(Duration::from_millis(99)).await;
        assert_eq!(allowed(), 0);
        tokio::time::advance(Duration::from_millis(201)).await;
        assert_eq!(allowed(), 3);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(allowed(), 10, "rest is not saved up");
    }
}
