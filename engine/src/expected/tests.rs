use super::*;

const WITHIN: SignedDuration = SignedDuration::from_mins(15);

/// A signal, and the time.
struct World {
    expected: Expected,
    now: Timestamp,
    kept_by_rule: bool,
    in_force: bool,
    idle: i64,
    unwatched: SignedDuration,
    writes: usize,
    due: Option<Timestamp>,
    last: Option<i64>,
}

fn world() -> World {
    World {
        expected: Expected::of("nodes"),
        now: Timestamp::from_second(1_767_225_600).unwrap(),
        kept_by_rule: false,
        in_force: false,
        idle: 0,
        unwatched: SignedDuration::ZERO,
        writes: 0,
        due: None,
        last: None,
    }
}

impl World {
    fn sees(&mut self, present: impl Into<Option<i64>>) -> Option<i64> {
        self.asked(present, None)
    }

    fn asked(&mut self, present: impl Into<Option<i64>>, asked: Option<&ExpectRequest>) -> Option<i64> {
        let present = present.into();
        let sight = Sight {
            present,
            kept_by_rule: self.kept_by_rule,
            in_force: self.in_force,
            idle: self.idle,
            asked,
            within: WITHIN,
            now: self.now,
        };
        self.expected = self.expected.after_absence(std::mem::take(&mut self.unwatched), self.now);
        let before = self.expected.clone();
        // What counts before and after it is recorded is the same, unless a number is accepted.
        let counted =
            before.highest(WITHIN, present, self.idle, self.now).max(present.filter(|present| *present > 0));
        let due = self.expected.follow(&sight);
        assert!(due.is_none_or(|due| due > self.now), "it is woken again at once");
        (self.due, self.last) = (due, present);
        assert!(self.expected.peaks.len() <= 16, "{:?}", self.expected);
        let is_staircase =
            |pair: &[Peak]| pair[0].value > pair[1].value && pair[0].last_seen <= pair[1].last_seen;
        assert!(self.expected.peaks.windows(2).all(is_staircase), "{:?}", self.expected);
        if before.accepted == self.expected.accepted && before.frozen_since.is_none() {
            assert_eq!(
                self.expected.highest(WITHIN, present, self.idle, self.now),
                counted,
                "{before:?} {:?}",
                self.expected
            );
        }
        self.writes += usize::from(before != self.expected);
        let recorded = self.expected.clone();
        self.expected.follow(&sight);
        assert_eq!(self.expected, recorded, "the same sight a second time is no news");
        self.expected.highest(WITHIN, present, self.idle, self.now)
    }

    /// Time passes, and nothing else.
    fn pass(&mut self, seconds: i64) -> &mut Self {
        let until = self.now + SignedDuration::from_secs(seconds);
        while let Some(due) = self.due.filter(|due| *due < until) {
            self.now = due;
            self.sees(self.last);
        }
        self.now = until;
        self
    }
}

#[test]
fn a_number_that_stays_the_same_is_written_once_and_a_higher_one_at_once() {
    let mut world = world();
    for _ in 0..1000 {
        assert_eq!(world.sees(8), Some(8));
        world.pass(60);
    }
    assert_eq!(world.writes, 1);
    assert_eq!(world.sees(9), Some(9));
    assert_eq!(world.writes, 2);
}

#[test]
fn the_highest_number_counts_for_the_window_and_leaves_at_the_end_of_a_bucket() {
    let mut world = world();
    world.sees(8);
    world.pass(3600).sees(5);
    world.pass(300).sees(3);
    assert_eq!(world.pass(599).sees(3), Some(8), "it was there 15 min ago");
    assert_eq!(world.pass(62).sees(3), Some(5));
    assert_eq!(world.pass(300).sees(3), Some(3));
}

#[test]
fn what_was_never_there_is_not_expected_and_what_is_gone_for_long_is_zero() {
    let mut world = world();
    assert_eq!(world.sees(0), None);
    assert_eq!(world.sees(None), None);
    assert_eq!(world.writes, 0);
    world.sees(2);
    world.pass(60).sees(0);
    assert_eq!(world.pass(1000).sees(0), Some(0));
}

#[test]
fn a_number_that_moves_all_the_time_is_written_at_most_twice_in_a_bucket() {
    let mut world = world();
    for second in 0..3600 {
        world.pass(1).sees(7 + second % 2);
    }
    assert!(world.writes <= 2 * 61, "{} writes", world.writes);
}

#[test]
fn a_steady_decline_needs_no_more_room_than_there_is() {
    let mut world = world();
    for minute in 0..90 {
        let present = 1000 - minute * 10;
        let highest = world.pass(60).sees(present).unwrap();
        let oldest = if minute > 17 { present + 170 } else { 1000 };
        assert!((present + 140.min(minute * 10)..=oldest).contains(&highest), "{minute}: {highest}");
    }
}

#[test]
fn the_window_stands_still_while_a_rule_is_true_and_goes_on_afterwards() {
    let mut world = world();
    world.sees(8);
    world.pass(600).kept_by_rule = true;
    assert_eq!(world.sees(3), Some(8));
    assert_eq!(world.pass(23 * 3600).sees(3), Some(8));
    world.kept_by_rule = false;
    assert_eq!(world.sees(3), Some(8));
    assert_eq!(world.pass(800).sees(3), Some(8));
    assert_eq!(world.pass(200).sees(3), Some(3));
}

#[test]
fn the_window_stands_still_while_the_number_is_not_known() {
    let mut world = world();
    world.sees(8);
    world.pass(600).sees(3);
    world.pass(60).sees(None);
    assert_eq!(world.pass(48 * 3600).sees(None), Some(8));
    assert_eq!(world.sees(3), Some(8));
    assert_eq!(world.pass(600).sees(3), Some(8));
    assert_eq!(world.pass(400).sees(3), Some(3));
}

#[test]
fn a_loss_while_nobody_watched_counts_from_the_moment_when_it_is_seen() {
    let mut world = world();
    world.sees(8);
    world.pass(48 * 3600).unwatched = SignedDuration::from_hours(48);
    assert_eq!(world.sees(2), Some(8));
    assert_eq!(world.pass(899).sees(2), Some(8));
}

#[test]
fn the_window_does_not_age_while_nobody_watches() {
    for unwatched in [SignedDuration::from_mins(30), SignedDuration::MAX] {
        let mut world = world();
        world.sees(8);
        world.pass(3600).sees(5);
        world.pass(300);
        world.now += SignedDuration::from_mins(30);
        world.unwatched = unwatched;
        assert_eq!(world.sees(5), Some(8), "{unwatched}");
        assert_eq!(world.pass(500).sees(5), Some(8), "{unwatched}");
        assert_eq!(world.pass(500).sees(5), Some(5), "{unwatched}");
    }
}

#[test]
fn a_day_after_the_loss_the_present_number_is_accepted_unless_a_change_is_in_force() {
    let mut world = world();
    world.sees(12);
    world.pass(3600).kept_by_rule = true;
    assert_eq!(world.sees(4), Some(12));
    world.in_force = true;
    assert_eq!(world.pass(24 * 3600).sees(4), Some(12));
    assert_eq!(world.expected.accepted, None);
    world.in_force = false;
    assert_eq!(world.pass(60).sees(4), Some(4));
    assert_eq!(world.expected.accepted.as_ref().map(|it| (it.value, it.at)), Some((4, world.now)));
    assert_eq!(world.pass(3600).sees(12), Some(12));
}

#[test]
fn a_pool_that_is_accepted_as_empty_was_once_there() {
    let mut world = world();
    world.sees(3);
    world.kept_by_rule = true;
    world.pass(60).sees(0);
    assert_eq!(world.pass(24 * 3600).sees(0), Some(0));
}

#[test]
fn what_is_parked_is_not_expected_and_what_starts_again_is() {
    let mut world = world();
    (world.idle, world.now) = (2, world.now);
    assert_eq!(world.sees(3), Some(3), "it was off from the start");
    world.pass(20).idle = 3;
    assert_eq!(world.sees(2), Some(2));
    assert_eq!(world.pass(20).sees(1), Some(2), "one is gone");
    world.pass(600).idle = 2;
    assert_eq!(world.sees(1), Some(2), "one that was off is gone");
    world.pass(60).idle = 0;
    assert_eq!(world.sees(4), Some(4));
}

#[test]
fn many_that_are_parked_and_started_all_the_time_are_written_at_most_twice_in_a_bucket() {
    let mut world = world();
    for second in 0..3600 {
        world.pass(1).idle = second % 5;
        assert_eq!(world.sees(10 - second % 5), Some(10 - second % 5));
    }
    assert!(world.writes <= 6 * 61, "{} writes", world.writes);
}

#[test]
fn a_request_of_a_person_begins_the_window_anew() {
    let mut world = world();
    world.sees(12);
    world.kept_by_rule = true;
    let asked = ExpectRequest { value: 4, at: world.now };
    assert_eq!(world.pass(60).asked(4, Some(&asked)), Some(4));
    assert_eq!(world.pass(60).sees(8), Some(8));
    let higher = ExpectRequest { value: 20, at: world.now };
    assert_eq!(world.pass(60).asked(4, Some(&higher)), Some(20));
}

#[test]
fn what_an_earlier_release_has_stored_counts_as_the_last_number() {
    let mut world = world();
    world.expected = serde_json::from_str(r#"{"signal": "nodes", "value": 8}"#).unwrap();
    assert_eq!(world.expected.highest(WITHIN, None, 0, world.now), Some(8));
    assert_eq!(world.sees(2), Some(8));
    let stored = serde_json::to_value(&world.expected).unwrap();
    assert!(
        stored["value"] == 8 && stored["peaks"][0]["value"] == 8,
        "the earlier release reads it, too: {stored}"
    );
    assert_eq!(world.pass(1100).sees(2), Some(2));
    let empty: Expected = serde_json::from_str(r#"{"signal": "nodes", "value": 0}"#).unwrap();
    assert_eq!(empty.highest(WITHIN, None, 0, world.now), None);
}

#[test]
fn only_the_time_in_which_somebody_watched_and_the_number_was_known_counts_for_the_day_after_a_loss() {
    let mut world = world();
    world.sees(8);
    world.pass(3600).kept_by_rule = true;
    assert_eq!(world.sees(0), Some(8));
    world.now += SignedDuration::from_hours(48);
    world.unwatched = SignedDuration::from_hours(48);
    assert_eq!(world.sees(0), Some(8), "nobody watched");
    world.now += SignedDuration::from_secs(60);
    world.sees(None);
    assert_eq!(world.pass(48 * 3600).sees(None), Some(8));
    assert_eq!(world.sees(0), Some(8), "the number was not known");
    assert_eq!(world.pass(23 * 3600).sees(0), Some(8));
    assert_eq!(world.pass(3600).sees(0), Some(0));
    assert_eq!(world.expected.accepted.as_ref().map(|it| it.value), Some(0));
}

#[test]
fn what_is_new_and_off_or_was_sick_all_along_lowers_nothing() {
    let mut world = world();
    world.sees(8);
    world.pass(3600).kept_by_rule = true;
    assert_eq!(world.sees(5), Some(8), "three are sick");
    world.pass(600).idle = 2;
    assert_eq!(world.sees(5), Some(8), "two new ones are off, or two sick ones are parked");
    world.pass(600).idle = 3;
    assert_eq!(world.sees(4), Some(7), "one that was well is parked");
    world.pass(600);
    assert_eq!(world.sees(3), Some(7), "one is lost");
    world.pass(600).idle = 4;
    assert_eq!(world.sees(3), Some(7), "and parked after that");
}

#[test]
fn what_is_parked_again_after_it_was_gone_or_accepted_is_no_loss() {
    let mut world = world();
    world.sees(8);
    world.pass(3600).idle = 3;
    assert_eq!(world.sees(5), Some(5));
    world.pass(20).idle = 1;
    assert_eq!(world.sees(5), Some(5), "two that were off are gone");
    world.pass(20).idle = 3;
    assert_eq!(world.sees(3), Some(3), "two others are parked");
    let asked = ExpectRequest { value: 3, at: world.now };
    world.pass(3600).idle = 0;
    world.asked(3, Some(&asked));
    world.pass(20).idle = 1;
    assert_eq!(world.sees(2), Some(2));
}

#[test]
fn what_an_earlier_release_has_stored_is_without_what_is_off() {
    let stored = || serde_json::from_str::<Expected>(r#"{"signal": "models", "value": 8}"#).unwrap();
    assert_eq!(stored().highest(WITHIN, Some(5), 3, world().now), Some(5));
    let mut world = world();
    (world.expected, world.idle) = (stored(), 3);
    world.sees(None);
    assert!(!world.expected.is_empty(), "it waits until the number is known");
    assert_eq!(world.pass(60).sees(5), Some(5));
    assert_eq!(world.expected.peaks.len(), 1);
}
