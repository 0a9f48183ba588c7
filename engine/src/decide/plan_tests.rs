use super::super::fixture::{Fixture, live};
use super::*;

#[test]
fn an_object_that_was_read_to_be_watched_is_not_changed_before_it_was_read_for_that() {
    let given = Fixture::pinned();
    let mut deciding = given.deciding();
    let step = deciding.ladder[0].clone();
    let target = Target { purpose: Purpose::Watch, exempt: true, ..live("a") };
    assert_eq!(deciding.consider(&step, &target), None);
    assert!(deciding.wake_at.is_some(), "it is read again soon");
    let target = Target { purpose: Purpose::Change, ..target };
    let plan = deciding.consider(&step, &target);
    assert!(matches!(plan, Some(Plan::Refused { reason: Reason::Exempt, .. })), "{plan:?}");
}
