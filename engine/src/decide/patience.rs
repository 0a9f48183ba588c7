//! How long to wait before a retry, how many targets are retried at once, and why an intent failed that was given up.

use jiff::SignedDuration;

use super::Deciding;
use crate::change::{Change, ChangeState};
use crate::id::digest;
use crate::period::after;
use crate::reason::Reason;

/// The number of targets that are retried at once after the first conflict; halved with each further one.
const CONFLICT_BATCH: usize = 16;
/// The longest Retry-After that is respected.
pub(super) const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(60);

impl Deciding<'_> {
    /// How many targets that met a conflict are retried at once: fewer each
    /// time, down to one, so that the gap between read and write gets short.
    pub(super) fn turns_after_conflicts(&self) -> usize {
        let open = self.next.changes.iter().filter(|change| change.is_open_intent());
        let worst = open.map(|change| change.conflicts()).max().unwrap_or(0);
        (CONFLICT_BATCH >> worst.min(8)).max(1)
    }

    /// Counts an unsuccessful try and waits before the next.
    pub(super) fn try_later(&self, change: &mut Change, at_least: SignedDuration) {
        change.tries = change.tries.saturating_add(1);
        change.retry_at = Some(after(self.now, at_least.min(LONGEST_WAIT).max(backoff(change))));
    }

    /// Counts a write that was too late and waits a moment.
    pub(super) fn met_a_conflict(&self, change: &mut Change) {
        change.count_conflict();
        let wait = jitter(change, 20 * i64::from(change.conflicts().min(20)));
        change.retry_at = Some(after(self.now, wait));
    }
}

/// Why an intent that was given up has failed. The reasons of a fence are about work in progress, and replace what the API
/// server answered.
pub(super) fn reason_of_failure(change: &Change) -> Reason {
    match &change.reason {
        Some(Reason::FenceRefused) if change.state == ChangeState::Intended => Reason::Refused,
        Some(Reason::GivenUp | Reason::FenceRefused) | None => Reason::Timeout,
        Some(reason) => reason.clone(),
    }
}

/// From half a second, doubled with each try, to half a minute, with jitter.
pub(super) fn backoff(change: &Change) -> SignedDuration {
    let base = 500_i64 << change.tries.min(6);
    SignedDuration::from_millis(base.min(30_000)) + jitter(change, base / 2)
}

/// A moment, longer with each request, for a write that came too late: its object moves.
pub(super) fn soon(change: &Change) -> SignedDuration {
    SignedDuration::from_millis(1) + jitter(change, 20 * i64::from(change.tries.min(20)))
}

/// Up to this many milliseconds, different for each change and try, the same for
/// the same facts.
fn jitter(change: &Change, most: i64) -> SignedDuration {
    let seed = digest(&[change.id.as_str(), &change.tries.to_string(), &change.conflicts().to_string()]);
    let number = i64::from_str_radix(&seed[..8], 16).unwrap_or(0);
    SignedDuration::from_millis(number % most.max(1))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, NOW, at};
    use super::*;

    fn open() -> Fixture {
        Fixture::pinned().change_with("one", "a", ChangeState::Intended, |change| {
            change.joined_at = Some(at(NOW - 10));
        })
    }

    #[test]
    fn tries_wait_longer_each_time_and_never_for_more_than_a_minute() {
        let given = open();
        let mut change = given.facts.state.changes[0].clone();
        for tries in 0..=u8::MAX {
            change.tries = tries;
            let wait = backoff(&change);
            assert!(wait >= SignedDuration::from_millis(500) && wait <= LONGEST_WAIT, "{tries}: {wait}");
            assert_eq!(wait, backoff(&change), "the same facts lead to the same decision");
        }
    }

    #[test]
    fn targets_that_met_a_conflict_are_tried_in_smaller_batches_down_to_one() {
        for (conflicts, batch) in [(0, 16), (1, 8), (2, 4), (4, 1), (200, 1)] {
            let mut given = open();
            for _ in 0..conflicts {
                let deciding = given.deciding();
                let mut change = given.facts.state.changes[0].clone();
                deciding.met_a_conflict(&mut change);
                given.facts.state.changes[0] = change;
            }
            assert_eq!(given.deciding().turns_after_conflicts(), batch, "{conflicts}");
        }
    }
}
