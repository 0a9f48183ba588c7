//! The timeline keeps its newest entries, and the one with which the present withdrawal began: people and traces have to
//! know since when changes are being reverted, however much happens meanwhile.

use jiff::Timestamp;

use super::{Closing, IncidentState, TimelineEntry};

/// The number of entries that the timeline keeps.
const KEPT: usize = 100;
/// The type of the entry with which a withdrawal begins, in waves or at once.
pub const WITHDRAWAL_STARTED: &str = "WithdrawalStarted";

impl IncidentState {
    /// Adds an entry to the timeline, and drops the oldest one if there are too many.
    pub fn tell(&mut self, entry: TimelineEntry) {
        self.timeline.push(entry);
        while self.timeline.len() > KEPT {
            let oldest = usize::from(self.start_of_withdrawal() == Some(0));
            self.timeline.remove(oldest);
        }
    }

    /// Whether changes are reverted, all of them or those of some steps. Changes that a person keeps are not.
    pub fn is_reverting(&self) -> bool {
        self.withdrawal.is_some() || self.closing.is_some_and(|closing| closing != Closing::Kept)
    }

    /// When the present withdrawal began.
    pub fn withdrawing_since(&self) -> Option<Timestamp> {
        self.start_of_withdrawal().map(|index| self.timeline[index].at)
    }

    fn start_of_withdrawal(&self) -> Option<usize> {
        let started = self.timeline.iter().rposition(|entry| entry.type_ == WITHDRAWAL_STARTED);
        started.filter(|_| self.is_reverting())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(second: i64, type_: &str) -> TimelineEntry {
        let at = Timestamp::from_second(second).unwrap();
        TimelineEntry { at, type_: type_.to_owned(), message: String::new() }
    }

    fn seconds(state: &IncidentState) -> Vec<i64> {
        state.timeline.iter().map(|entry| entry.at.as_second()).collect()
    }

    #[test]
    fn the_newest_entries_are_kept_and_the_start_of_the_present_withdrawal() {
        let mut state = IncidentState { closing: Some(Closing::Withdrawn), ..IncidentState::default() };
        state.tell(entry(0, "Opened"));
        state.tell(entry(1, WITHDRAWAL_STARTED));
        (2..=150).for_each(|second| state.tell(entry(second, "DriftSeen")));
        let kept: Vec<i64> = std::iter::once(1).chain(52..=150).collect();
        assert_eq!(seconds(&state), kept);
        assert_eq!(state.withdrawing_since().map(Timestamp::as_second), Some(1));

        state.closing = None;
        state.tell(entry(151, "Relapse"));
        assert_eq!(seconds(&state), (52..=151).collect::<Vec<_>>(), "it is over");
        assert_eq!(state.withdrawing_since(), None);
    }
}
