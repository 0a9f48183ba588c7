use super::super::course::Course;
use super::super::fixture::{Fixture, NOW, at};
use super::*;
use crate::incident::{Closing, Held};

fn open(edit: impl FnOnce(&mut Change)) -> Fixture {
    Fixture::pinned().change_with("one", "a", ChangeState::Intended, |change| {
        change.joined_at = Some(at(NOW - 10));
        edit(change);
    })
}

fn gives_up(given: &Fixture, course: &Course) -> bool {
    let mut deciding = given.deciding();
    deciding.permits = course.permits();
    deciding.gives_up(&given.facts.state.changes[0]).is_some()
}

#[test]
fn an_intent_is_given_up_after_its_retries_its_time_or_with_the_response() {
    let fresh = open(|_| {});
    assert!(!gives_up(&fresh, &Course::Climb));
    assert!(gives_up(&fresh, &Course::Withdraw(Closing::Withdrawn)));
    assert!(gives_up(&open(|change| change.tries = 200), &Course::Climb));
    assert!(gives_up(&open(|change| change.joined_at = Some(at(NOW - 121))), &Course::Climb));
    assert!(gives_up(&open(|change| change.set_fence(Some("nonce".to_owned()))), &Course::Climb));
    // To give up is to write.
    let rest = Course::Rest(Held::new(Reason::Paused, ""));
    assert!(!gives_up(&open(|change| change.tries = 200), &rest));
}

#[test]
fn a_change_that_was_given_up_has_a_reason_that_a_person_can_act_on() {
    use ChangeState::{Intended, Unclear};
    for (state, before, after) in [
        (Unclear, None, Reason::Timeout),
        (Unclear, Some(Reason::GivenUp), Reason::Timeout),
        (Unclear, Some(Reason::FenceRefused), Reason::Timeout),
        (Intended, Some(Reason::FenceRefused), Reason::Refused),
        (Intended, Some(Reason::Refused), Reason::Refused),
    ] {
        let given = open(|change| (change.state, change.reason) = (state, before.clone()));
        let mut change = given.facts.state.changes[0].clone();
        let mut deciding = given.deciding();
        deciding.permits = Course::Climb.permits();
        deciding.abandon(&mut change, "no answer");
        let found = (change.state, change.reason.clone());
        assert_eq!(found, (ChangeState::Failed, Some(after)), "{state:?} {before:?}");
    }
}
