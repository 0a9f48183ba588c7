//! How long something that happened counts, and the dates from which it does.
//!
//! Dates are whole seconds, rounded up to a sixtieth of the window, so that an object to which something happens for ever has
//! few of them.

use firebreak_engine::period::after;
use jiff::{SignedDuration, Timestamp};

/// The parts of a window to which dates are rounded up.
const PARTS: i64 = 60;
/// More dates than this of one object are never within the window.
const MOST_DATES: usize = PARTS as usize + 2;

/// How long something counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window(pub SignedDuration);

impl Window {
    /// This second, rounded up to a part of the window.
    pub(super) fn rounded(self, second: u32) -> u32 {
        // At most PARTS of them are a window.
        let part = (self.0.as_secs() + PARTS - 1) / PARTS;
        second.checked_next_multiple_of(u32::try_from(part.max(1)).unwrap_or(1)).unwrap_or(second)
    }

    /// Until when something counts that has this date.
    pub(super) fn counts_until(self, date: u32) -> Timestamp {
        after(moment(date), self.0)
    }

    /// Whether it counts at this moment.
    pub(super) fn counts_still(self, date: u32, now: Timestamp) -> bool {
        self.counts_until(date) > now
    }

    /// Dates to this moment how often something has happened, the newest last, and drops what is certainly over.
    pub(super) fn date(self, dates: &mut Vec<(u32, u32)>, more: u32, at: Timestamp) {
        if more == 0 {
            return;
        }
        let date = self.rounded(second(at));
        match dates.last_mut().filter(|(last, _)| *last == date) {
            Some((_, count)) => *count = count.saturating_add(more),
            None => dates.push((date, more)),
        }
        dates.drain(..dates.len().saturating_sub(MOST_DATES));
    }
}

/// A moment in whole seconds.
pub(super) fn second(at: Timestamp) -> u32 {
    u32::try_from(at.as_second()).unwrap_or_default()
}

/// The beginning of a second.
pub(super) fn moment(second: u32) -> Timestamp {
    Timestamp::from_second(second.into()).unwrap_or_default()
}
