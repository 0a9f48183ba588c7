//! What is counted of pods, and for how long.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::observe::fold::{Fold, Judge, Of};
use crate::observe::kinds::tests::fields;

const START: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

/// Ten minutes, so that dates are rounded up to ten seconds.
fn pods() -> Pods {
    Pods { window: Window(SignedDuration::from_mins(10)) }
}

fn fold() -> Box<dyn Fold> {
    Of { kind: pods(), names: BTreeSet::new() }.fold()
}

/// A pod that was created at the start, with this status.
fn pod(name: &str, status: Value) -> Value {
    json!({
        "metadata": {"name": name, "uid": name, "resourceVersion": "1", "creationTimestamp": at(0).to_string()},
        "status": status,
    })
}

fn with(phase: &str, containers: Value) -> Value {
    json!({"phase": phase, "containerStatuses": containers})
}

fn waiting(reason: &str, restarts: u32) -> Value {
    json!([{"ready": false, "restartCount": restarts, "state": {"waiting": {"reason": reason}}}])
}

fn running(ready: bool, restarts: u32) -> Value {
    json!([{"ready": ready, "restartCount": restarts, "state": {"running": {"startedAt": at(0).to_string()}}}])
}

/// A container that runs again after it was killed for its memory.
fn killed(finished_at: Timestamp, restarts: u32) -> Value {
    let mut containers = running(true, restarts);
    containers[0]["lastState"] = json!({"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": finished_at.to_string()}});
    containers
}

fn unplaced(reason: &str) -> Value {
    json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": reason}]})
}

fn put(fold: &mut dyn Fold, pod: &Value, at: Timestamp) -> bool {
    let put = fold.put(&pod.to_string(), at);
    assert!(put.readable, "{pod}");
    put.changed
}

/// The fields of the reading that are not 0.
fn shown(fold: &dyn Fold, now: Timestamp) -> Vec<(String, i64)> {
    let values = pods().values(fold.counts(), now).into_iter().map(|(field, value)| match value {
        FieldValue::Int(number) => (field, number),
        other => panic!("{field} is {other:?}"),
    });
    values.filter(|(_, number)| *number != 0).collect()
}

/// The fields that are not 0 of a reading of pods with these statuses, right at the start.
fn read(statuses: &[Value]) -> Vec<(String, i64)> {
    let mut fold = fold();
    for (number, status) in statuses.iter().enumerate() {
        put(fold.as_mut(), &pod(&number.to_string(), status.clone()), at(0));
    }
    shown(fold.as_ref(), at(0))
}

fn are(expected: &[(&str, i64)]) -> Vec<(String, i64)> {
    expected.iter().map(|(field, number)| ((*field).to_owned(), *number)).collect()
}

fn int(fold: &dyn Fold, field: &str, now: Timestamp) -> i64 {
    let found = shown(fold, now).into_iter().find(|(name, _)| name == field);
    found.map_or(0, |(_, number)| number)
}

#[test]
fn pods_are_counted_by_phase() {
    let statuses = ["Running", "Running", "Pending", "Failed", "Succeeded", "Unknown"]
        .map(|phase| with(phase, json!([])))
        .into_iter()
        .chain([json!({}), Value::Null]);
    let found = read(&statuses.collect::<Vec<_>>());
    assert_eq!(found, are(&[("failed", 1), ("pending", 1), ("running", 2), ("total", 8)]));
}

#[test]
fn every_field_is_there_also_without_a_pod() {
    let values = pods().values(fold().counts(), at(0));
    assert_eq!(values.len(), 10);
    assert!(values.values().all(|value| *value == FieldValue::Int(0)), "{values:?}");
}

#[test]
fn only_a_pod_without_a_node_is_unschedulable_and_one_behind_a_gate_waits_on_purpose() {
    assert_eq!(
        read(&[unplaced("Unschedulable")]),
        are(&[("pending", 1), ("total", 1), ("unschedulable", 1)])
    );
    assert_eq!(read(&[unplaced("SchedulingGated")]), are(&[("total", 1)]));
    let mut placed = unplaced("Unschedulable");
    placed["conditions"][0]["status"] = json!("True");
    assert_eq!(read(&[placed]), are(&[("pending", 1), ("total", 1)]));
}

#[test]
fn a_container_that_waits_after_a_crash_or_without_an_image_is_counted_by_its_pod() {
    for reason in IMAGE_FAILS {
        let found = read(&[with("Pending", waiting(reason, 0))]);
        assert_eq!(found, are(&[("imagePullBackOff", 1), ("pending", 1), ("total", 1)]), "{reason}");
    }
    let mut two = waiting("CrashLoopBackOff", 3);
    two.as_array_mut().unwrap().extend(waiting("CrashLoopBackOff", 4).as_array().unwrap().clone());
    let running = are(&[("crashLooping", 1), ("running", 1), ("total", 1)]);
    assert_eq!(read(&[with("Running", two)]), running);
    let first = json!({"phase": "Pending", "initContainerStatuses": waiting("CrashLoopBackOff", 1),
                       "containerStatuses": waiting("PodInitializing", 0)});
    assert_eq!(read(&[first]), are(&[("crashLooping", 1), ("pending", 1), ("total", 1)]));
    assert_eq!(
        read(&[with("Pending", waiting("ContainerCreating", 0))]),
        are(&[("pending", 1), ("total", 1)])
    );
}

#[test]
fn a_pod_that_is_deleted_or_has_succeeded_is_not_sick() {
    let mut fold = fold();
    let statuses = [
        unplaced("Unschedulable"),
        with("Running", waiting("CrashLoopBackOff", 3)),
        with("Running", killed(at(0), 1)),
        with("Pending", waiting("ImagePullBackOff", 0)),
        with("Failed", json!([])),
    ];
    for (number, status) in statuses.iter().enumerate() {
        let mut pod = pod(&number.to_string(), status.clone());
        put(fold.as_mut(), &pod, at(0));
        pod["metadata"]["deletionTimestamp"] = json!(at(1).to_string());
        put(fold.as_mut(), &pod, at(1));
    }
    assert_eq!(shown(fold.as_ref(), at(1)), are(&[("total", 5)]));
    let done = with("Succeeded", killed(at(0), 1));
    assert_eq!(read(&[done]), are(&[("total", 1)]));
}

#[test]
fn a_pod_crash_loops_also_while_it_tries_again_until_it_is_ready() {
    let mut fold = fold();
    let mut see = |containers: Value| {
        put(fold.as_mut(), &pod("p", with("Running", containers)), at(0));
        int(fold.as_ref(), "crashLooping", at(0))
    };
    assert_eq!(see(running(false, 0)), 0);
    assert_eq!(see(waiting("CrashLoopBackOff", 1)), 1);
    assert_eq!(see(running(false, 1)), 1, "it loads its model, and may crash again");
    assert_eq!(see(waiting("CrashLoopBackOff", 2)), 1);
    assert_eq!(see(running(true, 2)), 0);
    assert_eq!(see(running(false, 2)), 0, "not ready is no crash");
}

#[test]
fn a_sidecar_crash_loops_though_the_other_containers_are_ready() {
    let mut fold = fold();
    let mut see = |sidecar: Value| {
        let finished = json!({"ready": true, "restartCount": 0, "state": {"terminated": {"reason": "Completed", "exitCode": 0}}});
        let mut status = with("Running", running(true, 0));
        status["initContainerStatuses"] = json!([finished, sidecar[0]]);
        put(fold.as_mut(), &pod("p", status), at(0));
        int(fold.as_ref(), "crashLooping", at(0))
    };
    assert_eq!(see(waiting("CrashLoopBackOff", 1)), 1);
    assert_eq!(see(running(false, 1)), 1, "it runs between two crashes");
    assert_eq!(see(running(true, 1)), 0);
}

#[test]
fn restarts_count_from_when_they_are_seen_until_the_window_is_over() {
    let mut fold = fold();
    let mut see = |restarts, seconds| {
        put(fold.as_mut(), &pod("p", with("Running", running(true, restarts))), at(seconds));
    };
    see(7, 0);
    see(9, 101);
    see(10, 109);
    see(11, 301);
    let seen = |seconds| int(fold.as_ref(), "restarts", at(seconds));
    assert_eq!(seen(301), 4, "not the seven from before it was seen");
    // Dates are rounded up to ten seconds: 110 and 310.
    assert_eq!([seen(709), seen(710), seen(909), seen(910)], [4, 1, 1, 0]);
    let due = |seconds| pods().changes_at(fold.counts(), &fields(&["restarts"]), at(seconds));
    assert_eq!([due(301), due(710), due(910)], [Some(at(710)), Some(at(910)), None]);
}

#[test]
fn a_count_of_restarts_that_begins_again_takes_nothing_away() {
    let mut fold = fold();
    for (restarts, seconds) in [(5, 0), (6, 10), (0, 20), (1, 30)] {
        put(fold.as_mut(), &pod("p", with("Running", running(true, restarts))), at(seconds));
    }
    assert_eq!(int(fold.as_ref(), "restarts", at(30)), 2);
}

#[test]
fn restarts_of_all_containers_count_and_go_with_their_pod() {
    let mut fold = fold();
    let both = |first: u32, main: u32| {
        let mut status = with("Running", running(true, main));
        status["initContainerStatuses"] = running(true, first);
        pod("p", status)
    };
    put(fold.as_mut(), &both(0, 0), at(0));
    put(fold.as_mut(), &both(1, 2), at(10));
    assert_eq!(int(fold.as_ref(), "restarts", at(10)), 3);
    fold.remove(&both(1, 2).to_string()).unwrap();
    assert_eq!(shown(fold.as_ref(), at(10)), []);
    assert_eq!(pods().changes_at(fold.counts(), &fields(&["restarts"]), at(10)), None);
}

#[test]
fn a_new_list_keeps_what_was_seen_and_dates_what_it_missed() {
    let mut before = fold();
    put(before.as_mut(), &pod("p", with("Running", running(true, 0))), at(0));
    put(before.as_mut(), &pod("p", with("Running", waiting("CrashLoopBackOff", 1))), at(60));
    let mut after = fold();
    put(after.as_mut(), &pod("p", with("Running", running(false, 3))), at(120));
    after.succeed(before.as_ref());
    let expected = [("crashLooping", 1), ("restarts", 3), ("running", 1), ("total", 1)];
    assert_eq!(shown(after.as_ref(), at(120)), are(&expected));
    assert_eq!(int(after.as_ref(), "restarts", at(660)), 2);
    // Without a digest from before nothing is known of the past, as after a restart of the operator.
    let mut restarted = fold();
    put(restarted.as_mut(), &pod("p", with("Running", running(false, 3))), at(120));
    assert_eq!(shown(restarted.as_ref(), at(120)), are(&[("running", 1), ("total", 1)]));
}

#[test]
fn a_kill_counts_for_the_window_from_when_it_is_seen() {
    let mut fold = fold();
    put(fold.as_mut(), &pod("p", with("Running", running(true, 0))), at(0));
    // The clock of the node is an hour behind.
    let kill = pod("p", with("Running", killed(at(-3600), 1)));
    put(fold.as_mut(), &kill, at(100));
    assert!(!put(fold.as_mut(), &kill, at(500)), "it is the same kill");
    let seen = |fold: &dyn Fold, seconds| int(fold, "oomKilled", at(seconds));
    assert_eq!([seen(fold.as_ref(), 699), seen(fold.as_ref(), 700)], [1, 0]);
    put(fold.as_mut(), &pod("p", with("Running", killed(at(-3000), 2))), at(800));
    assert_eq!([seen(fold.as_ref(), 1399), seen(fold.as_ref(), 1400)], [1, 0]);
}

#[test]
fn a_kill_counts_on_after_the_container_has_ended_otherwise() {
    let mut fold = fold();
    put(fold.as_mut(), &pod("p", with("Running", running(true, 0))), at(0));
    put(fold.as_mut(), &pod("p", with("Running", killed(at(100), 1))), at(100));
    put(fold.as_mut(), &pod("p", with("Running", waiting("CrashLoopBackOff", 2))), at(130));
    let seen = |seconds| int(fold.as_ref(), "oomKilled", at(seconds));
    assert_eq!([seen(699), seen(700)], [1, 0]);
}

#[test]
fn an_older_kill_of_another_container_is_no_new_one() {
    let mut fold = fold();
    let of = |containers: [Value; 2]| json!([containers[0][0], containers[1][0]]);
    let both = of([killed(at(-7200), 1), killed(at(-3600), 1)]);
    put(fold.as_mut(), &pod("p", with("Running", both)), at(0));
    let one = of([killed(at(-7200), 1), waiting("CrashLoopBackOff", 2)]);
    put(fold.as_mut(), &pod("p", with("Running", one)), at(10));
    assert_eq!(int(fold.as_ref(), "oomKilled", at(10)), 0);
}

#[test]
fn a_kill_from_before_the_pod_was_seen_counts_by_its_own_time_but_never_from_the_future() {
    let seen = |finished_at| {
        let mut fold = fold();
        put(fold.as_mut(), &pod("p", with("Running", killed(finished_at, 1))), at(1000));
        [1000, 1099, 1100, 1599, 1600].map(|seconds| int(fold.as_ref(), "oomKilled", at(seconds)))
    };
    assert_eq!(seen(at(500)), [1, 1, 0, 0, 0]);
    assert_eq!(seen(at(400)), [0, 0, 0, 0, 0]);
    assert_eq!(seen(at(99_999)), [1, 1, 1, 1, 0]);
}

#[test]
fn a_pod_that_was_killed_and_not_started_again_counts_too() {
    let containers =
        json!([{"state": {"terminated": {"reason": "OOMKilled", "finishedAt": at(0).to_string()}}}]);
    assert_eq!(read(&[with("Failed", containers)]), are(&[("failed", 1), ("oomKilled", 1), ("total", 1)]));
    let untimed = json!([{"state": {"terminated": {"reason": "OOMKilled", "finishedAt": null}}}]);
    assert_eq!(read(&[with("Failed", untimed)]), are(&[("failed", 1), ("total", 1)]));
}

#[test]
fn the_oldest_pending_pod_is_as_old_as_its_wait() {
    let mut fold = fold();
    let mut young = pod("young", with("Pending", json!([])));
    young["metadata"]["creationTimestamp"] = json!(at(200).to_string());
    put(fold.as_mut(), &pod("old", with("Pending", json!([]))), at(0));
    put(fold.as_mut(), &young, at(200));
    let age = |fold: &dyn Fold, seconds| int(fold, "oldestPendingSeconds", at(seconds));
    assert_eq!(age(fold.as_ref(), 250), 250);
    put(fold.as_mut(), &pod("old", with("Running", json!([]))), at(250));
    assert_eq!(age(fold.as_ref(), 250), 50);
    assert_eq!(age(fold.as_ref(), 100), 0, "the clock of the operator is behind");
}

#[test]
fn a_pod_that_a_gate_held_back_waits_from_its_release() {
    let mut fold = fold();
    put(fold.as_mut(), &pod("p", unplaced("SchedulingGated")), at(0));
    assert!(!put(fold.as_mut(), &pod("p", unplaced("SchedulingGated")), at(3000)));
    put(fold.as_mut(), &pod("p", unplaced("Unschedulable")), at(3600));
    put(fold.as_mut(), &pod("p", with("Pending", json!([]))), at(3610));
    assert_eq!(int(fold.as_ref(), "oldestPendingSeconds", at(3630)), 30);
}

#[test]
fn a_pending_pod_is_looked_at_every_second_and_later_every_ten() {
    let mut fold = fold();
    put(fold.as_mut(), &pod("p", with("Pending", json!([]))), at(0));
    let next = |seconds| {
        pods().changes_at(fold.counts(), &fields(&["oldestPendingSeconds"]), at(seconds)).unwrap().as_second()
            - START
    };
    assert_eq!([0, 1, 59, 60, 61, 70, 299, 300, 301].map(next), [1, 2, 60, 61, 70, 71, 300, 301, 310]);
    assert_eq!(next(-5), 1, "the clock of the operator is behind");
}

#[test]
fn what_no_longer_counts_is_dropped_however_long_a_pod_restarts() {
    let mut fold = fold();
    for restarts in 0..5000 {
        let seconds = i64::from(restarts) * 30;
        put(fold.as_mut(), &pod("p", with("Running", killed(at(seconds), restarts))), at(seconds));
    }
    let now = at(4999 * 30);
    assert_eq!(fold.counts().dated(RESTARTS).count(), 20);
    assert_eq!((int(fold.as_ref(), "restarts", now), int(fold.as_ref(), "oomKilled", now)), (20, 1));
    fold.remove(&pod("p", json!({})).to_string()).unwrap();
    assert_eq!(shown(fold.as_ref(), now), []);
}

#[test]
fn signals_with_different_windows_share_no_watch() {
    let other = Pods { window: Window(SignedDuration::from_mins(5)) };
    assert!(pods().identity().is_some() && pods().identity() != other.identity());
}
