use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::observe::fold::{Fold, Judge, Of, digests};

/// The beginning of the time of these tests, in seconds; a multiple of all roundings here.
const BEGAN: i64 = 1_800_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(BEGAN + second).unwrap()
}

/// Events that count for a minute, so that dates are whole seconds.
fn events() -> Of<Events> {
    Of {
        kind: Events { window: Window(jiff::SignedDuration::from_secs(60)), fields: String::new() },
        names: Default::default(),
    }
}

/// An Event as a component writes it that counts in the Event itself.
fn event(uid: &str, count: u32, first: i64, last: i64) -> String {
    json!({"metadata": {"uid": uid, "name": uid}, "count": count, "firstTimestamp": at(first).to_string(),
        "lastTimestamp": at(last).to_string(), "eventTime": null, "source": {"component": "kubelet"}})
    .to_string()
}

/// The same as a component writes it that counts in a series.
fn series(uid: &str, count: u32, first: i64, last: i64) -> String {
    json!({"metadata": {"uid": uid, "name": uid}, "eventTime": at(first).to_string(), "firstTimestamp": null,
        "lastTimestamp": null, "reportingComponent": "default-scheduler",
        "series": {"count": count, "lastObservedTime": at(last).to_string()}})
    .to_string()
}

/// How many there are at this second, and how many more there may be.
fn seen(of: &Of<Events>, fold: &dyn Fold, second: i64) -> (i64, i64) {
    let values: BTreeMap<String, FieldValue> = of.values(fold.counts(), at(second));
    let int = |field: &str| match values.get(field) {
        Some(FieldValue::Int(number)) => *number,
        None => 0,
        other => panic!("{other:?}"),
    };
    (int("count"), int(UNDATED))
}

#[test]
fn each_growth_counts_for_the_window_from_when_it_is_seen() {
    let (of, read) = (events(), BTreeSet::from([COUNT.to_owned()]));
    let mut fold = of.fold();
    fold.put(&event("a", 3, 0, 0), at(0));
    assert_eq!(seen(&of, fold.as_ref(), 1), (3, 0));
    assert!(fold.put(&event("a", 40, 0, 30), at(30)).changed);
    assert!(!fold.put(&event("a", 40, 0, 30), at(31)).changed, "nothing has happened since");
    assert_eq!(seen(&of, fold.as_ref(), 59), (40, 0));
    assert_eq!(of.changes_at(fold.counts(), &read, at(31)), Some(at(60)));
    assert_eq!(seen(&of, fold.as_ref(), 60), (37, 0));
    assert_eq!(of.changes_at(fold.counts(), &read, at(60)), Some(at(90)));
    assert_eq!(seen(&of, fold.as_ref(), 90), (0, 0));
    assert_eq!(of.changes_at(fold.counts(), &read, at(90)), None);
}

#[test]
fn a_series_has_no_upper_bound_until_its_component_must_have_written_the_rest() {
    let (of, read) = (events(), BTreeSet::from([COUNT.to_owned()]));
    let mut fold = of.fold();
    // The scheduler writes the first occurrence, which is no series yet, and the second one, and is silent.
    let mut single: Value = serde_json::from_str(&series("a", 1, 0, 0)).unwrap();
    single["series"] = Value::Null;
    fold.put(&single.to_string(), at(0));
    assert_eq!(seen(&of, fold.as_ref(), 0), (1, 0));
    fold.put(&series("a", 2, 0, 10), at(11));
    assert_eq!(seen(&of, fold.as_ref(), 11), (2, UNBOUNDED));
    assert_eq!(seen(&of, fold.as_ref(), 70), (0, UNBOUNDED), "the storm may go on");
    assert_eq!(of.changes_at(fold.counts(), &read, at(70)), Some(at(10 + 1800 + 60)));
    assert_eq!(seen(&of, fold.as_ref(), 10 + 1800 + 59), (0, UNBOUNDED));
    assert_eq!(seen(&of, fold.as_ref(), 10 + 1800 + 60), (0, 0));
    // It writes at last: the last one is dated, and the others were somewhere in the meantime.
    fold.put(&series("a", 502, 0, 1700), at(1810));
    assert_eq!(seen(&of, fold.as_ref(), 1810), (0, UNBOUNDED), "all of them are over");
    fold.put(&series("a", 512, 0, 1800), at(1811));
    assert_eq!(seen(&of, fold.as_ref(), 1811), (1, UNBOUNDED));
    assert_eq!(seen(&of, fold.as_ref(), 1800 + 1860), (0, 0));
    // It goes on, and the API server forgets it.
    fold.put(&series("a", 513, 0, 4000), at(4000));
    assert_eq!(seen(&of, fold.as_ref(), 4001), (1, UNBOUNDED));
    fold.remove(&series("a", 513, 0, 4000)).unwrap();
    assert_eq!(seen(&of, fold.as_ref(), 4001), (0, 0));
}

#[test]
fn growth_of_a_series_counts_if_all_of_it_is_within_the_window() {
    let of = events();
    let mut fold = of.fold();
    fold.put(&series("a", 2, 0, 10), at(10));
    fold.put(&series("a", 32, 0, 40), at(50));
    assert_eq!(seen(&of, fold.as_ref(), 50), (32, UNBOUNDED));
    assert_eq!(seen(&of, fold.as_ref(), 69), (31, UNBOUNDED), "without the first one");
    assert_eq!(seen(&of, fold.as_ref(), 70), (1, UNBOUNDED), "the window cuts the growth");
    assert_eq!(seen(&of, fold.as_ref(), 100), (0, UNBOUNDED));
    let digest = |fold: &dyn Fold| digests::<Events>(fold).next().unwrap().between.len();
    for growth in 1..1_000 {
        fold.put(&series("a", 32 + 3 * growth, 0, 100 + i64::from(growth)), at(100 + i64::from(growth)));
    }
    assert!((50..=60).contains(&digest(fold.as_ref())), "{}", digest(fold.as_ref()));
}

#[test]
fn of_an_event_that_began_before_the_window_nobody_knows_how_many_are_in_it() {
    let of = events();
    let mut fold = of.fold();
    // The first look, for example after a restart: 40 occurrences, the last one 10 seconds ago.
    fold.put(&event("a", 40, -1_000, -10), at(0));
    assert_eq!(seen(&of, fold.as_ref(), 0), (1, 38), "the last one, and any of those between");
    fold.put(&event("a", 42, -1_000, 20), at(20));
    assert_eq!(seen(&of, fold.as_ref(), 20), (3, 38));
    assert_eq!(seen(&of, fold.as_ref(), 50), (2, 0), "what was before the first look is over");
    assert_eq!(seen(&of, fold.as_ref(), 80), (0, 0));
}

#[test]
fn an_event_within_the_window_counts_whole_until_its_first_occurrence_leaves_it() {
    let of = events();
    let mut fold = of.fold();
    fold.put(&event("a", 10, -50, -5), at(0));
    assert_eq!(seen(&of, fold.as_ref(), 9), (10, 0));
    assert_eq!(seen(&of, fold.as_ref(), 10), (1, 8), "the first one is out, the last one is in");
    assert_eq!(seen(&of, fold.as_ref(), 55), (0, 0));
    // Of two, both dates are known.
    fold.put(&event("b", 2, 50, 80), at(100));
    assert_eq!([seen(&of, fold.as_ref(), 109), seen(&of, fold.as_ref(), 110)], [(2, 0), (1, 0)]);
}

#[test]
fn after_a_restart_there_are_neither_fewer_nor_more_than_may_be() {
    // When a series has grown, and to how many. One fold sees all of it, the other one begins at some second.
    let growth = [(0, 1), (7, 2), (20, 5), (45, 9), (70, 20), (95, 21)];
    let of = events();
    for begins in 0..150 {
        let (mut steady, mut fresh) = (of.fold(), of.fold());
        for (second, count) in growth.iter().filter(|(second, _)| *second <= begins) {
            steady.put(&event("a", *count, 0, *second), at(*second));
        }
        let (last, count) = growth.iter().rfind(|(second, _)| *second <= begins).unwrap();
        fresh.put(&event("a", *count, 0, *last), at(begins));
        for now in begins..200 {
            if let Some((_, count)) = growth.iter().find(|(second, _)| *second == now && now > begins) {
                steady.put(&event("a", *count, 0, now), at(now));
                fresh.put(&event("a", *count, 0, now), at(now));
            }
            let (truth, doubt) = seen(&of, steady.as_ref(), now);
            let (least, more) = seen(&of, fresh.as_ref(), now);
            assert_eq!(doubt, 0);
            assert!(
                least <= truth && truth <= least + more,
                "{begins} {now}: {least} and {more}, not {truth}"
            );
        }
    }
}

#[test]
fn a_new_list_goes_on_with_what_was_seen_before() {
    let of = events();
    let mut before = of.fold();
    before.put(&event("a", 3, -1_000, 0), at(0));
    before.put(&event("a", 13, -1_000, 10), at(10));
    let mut listed = of.fold();
    listed.put(&event("a", 20, -1_000, 15), at(40));
    listed.put(&event("new", 1, 39, 39), at(40));
    listed.succeed(before.as_ref());
    let expected = (1 + 10 + 7 + 1, 1);
    assert_eq!(seen(&of, listed.as_ref(), 41), expected);
}

#[test]
fn our_own_events_never_count() {
    let of = events();
    let mut fold = of.fold();
    // As the API server answers for core/v1 what the operator writes with events.k8s.io/v1.
    let mut ours: Value = serde_json::from_str(&series("ours", 5, 0, 0)).unwrap();
    ours["reportingComponent"] = json!(REPORTING_CONTROLLER);
    ours["source"] = json!({});
    fold.put(&ours.to_string(), at(0));
    let mut of_source: Value = serde_json::from_str(&event("of-source", 5, 0, 0)).unwrap();
    of_source["source"] = json!({"component": REPORTING_CONTROLLER});
    fold.put(&of_source.to_string(), at(0));
    assert_eq!(seen(&of, fold.as_ref(), 0), (0, 0));
}

#[test]
fn more_events_than_there_is_room_for_are_unknown_for_the_window() {
    let of = events();
    let mut fold = of.fold();
    for number in 0..Events::MOST {
        fold.put(&event(&format!("e{number}"), 1, 0, 0), at(0));
    }
    assert_eq!(seen(&of, fold.as_ref(), 0), (10_000, 0));
    assert!(fold.put(&event("one-more", 1, 5, 5), at(5)).changed);
    assert_eq!(seen(&of, fold.as_ref(), 5), (10_000, UNBOUNDED));
    // One of those that are kept still counts, and the API server forgets it.
    fold.remove(&event("e0", 1, 0, 0)).unwrap();
    assert_eq!(seen(&of, fold.as_ref(), 64).1, UNBOUNDED);
    assert_eq!(seen(&of, fold.as_ref(), 65), (0, 0));
    fold.put(&event("another", 1, 66, 66), at(66));
    assert_eq!(seen(&of, fold.as_ref(), 66), (1, 0), "there is room again");
}

#[test]
fn clocks_that_are_ahead_and_events_without_times_are_dated_to_now() {
    let of = events();
    let mut fold = of.fold();
    fold.put(&event("ahead", 1, 500, 500), at(0));
    fold.put(&json!({"metadata": {"uid": "bare", "name": "bare"}}).to_string(), at(0));
    assert_eq!([seen(&of, fold.as_ref(), 59), seen(&of, fold.as_ref(), 60)], [(2, 0), (0, 0)]);
}

#[test]
fn of_many_occurrences_by_a_clock_that_is_ahead_only_one_is_known_to_be_in_the_window() {
    let of = events();
    for (first, last) in [(400, 500), (500, 500), (-10, 1)] {
        let mut fold = of.fold();
        fold.put(&event("ahead", 40, first, last), at(0));
        assert_eq!(seen(&of, fold.as_ref(), 0), (1, 39), "{first} {last}");
        fold.put(&event("ahead", 42, first, last + 5), at(5));
        assert_eq!(seen(&of, fold.as_ref(), 59), (3, 39), "{first} {last}");
        assert_eq!(seen(&of, fold.as_ref(), 60), (2, 0), "{first} {last}");
    }
}

#[test]
fn the_api_server_selects_what_it_can() {
    let fields = |events: Value| {
        let spec = json!({"signals": [{"name": "s", "events": events}]});
        let rules = firebreak_engine::rules::Rules::parse(&serde_json::from_value(spec).unwrap()).unwrap();
        let firebreak_engine::signal::SignalKind::Events(events) = &rules.signals[0].kind else { panic!() };
        Events::of(events).fields
    };
    assert_eq!(fields(json!({"reason": "FailedMount"})), "reason=FailedMount");
    let all = json!({"reason": "FailedMount", "type": "Warning", "kind": "Pod"});
    assert_eq!(fields(all), "reason=FailedMount,type=Warning,involvedObject.kind=Pod");
}
