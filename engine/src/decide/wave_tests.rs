use super::super::fixture::{Fixture, NOW, at, live};
use super::*;
use crate::change::SitsOut;
use crate::facts::Target;
use crate::id::ResourceVersion;
use crate::incident::Withdrawal;

fn given(states: &[ChangeState]) -> Fixture {
    let names = ["a", "b", "c", "d"];
    let withdrawal = Withdrawal {
        because: Because::Recovered,
        step: Some("one".to_owned()),
        waves: 1,
        wave: Vec::new(),
        healthy_at: None,
    };
    let changed = |given: Fixture, (state, name): (&ChangeState, &str)| given.change("one", name, *state);
    let given = states.iter().zip(names).fold(Fixture::quiet(), changed);
    given
        .policy(|policy| policy["recovery"]["maxAtOnce"] = 2.into())
        .with(|facts| facts.state.withdrawal = Some(withdrawal))
}

/// The sizes of waves that begin one after the other.
fn sizes(given: &Fixture, which: Candidates, waves: u16) -> usize {
    let step = given.rules.steps[0].clone();
    let mut deciding = given.deciding();
    deciding.next.withdrawal.as_mut().unwrap().waves = waves;
    let candidates = deciding.next.changes.iter().map(|change| change.id.clone()).collect();
    deciding.begin_wave(&step, which, candidates);
    deciding.wave().len()
}

#[test]
fn the_first_object_goes_back_alone_and_so_does_one_that_was_stuck() {
    let given = given(&[ChangeState::Applied; 4]);
    assert_eq!(sizes(&given, Candidates::Fresh, 0), 1);
    assert_eq!(sizes(&given, Candidates::Fresh, 1), 2, "recovery.maxAtOnce");
    assert_eq!(sizes(&given, Candidates::Stuck, 1), 1);
}

#[test]
fn what_goes_back_because_its_step_failed_is_in_no_wave() {
    for (other, again, of_wave) in
        [(ChangeState::Skipped, Again::Possible, 1), (ChangeState::Failed, Again::AfterPause, 0)]
    {
        let given = Fixture::quiet()
            .policy(|policy| policy["steps"][0]["onFailure"] = "Revert".into())
            .change("one", "a", ChangeState::Applied)
            .change("one", "b", other);
        let mut deciding = given.deciding();
        let _ = deciding.take_back(Because::Recovered, &given.rules.steps[..1], at(NOW));
        assert_eq!((deciding.next.changes[0].again(), deciding.wave().len()), (again, of_wave), "{other:?}");
    }
}

#[test]
fn a_wave_of_which_nothing_is_back_does_not_count() {
    for (state, waves) in [(ChangeState::Reverted, 1), (ChangeState::Ceded, 0)] {
        let mut given = given(&[state]);
        let id = given.facts.state.changes[0].id.clone();
        given.facts.state.withdrawal.as_mut().unwrap().wave = vec![id];
        let mut deciding = given.deciding();
        deciding.end_wave();
        let withdrawal = deciding.next.withdrawal.unwrap();
        assert_eq!((withdrawal.waves, withdrawal.wave.len()), (waves, 0), "{state:?}");
    }
}

#[test]
fn what_can_be_reverted_no_more_is_left_out_of_the_wave() {
    let mut given = given(&[ChangeState::Applied, ChangeState::Applied]);
    let ids: Vec<ChangeId> = given.facts.state.changes.iter().map(|change| change.id.clone()).collect();
    given.facts.state.changes[0].explain(Some((Reason::CannotPutBack, "forbidden".to_owned())));
    given.facts.state.withdrawal.as_mut().unwrap().wave.clone_from(&ids);
    let mut deciding = given.deciding();
    deciding.leave_what_is_stuck();
    assert_eq!(deciding.wave(), ids[1..]);
    let step = given.rules.steps[0].clone();
    let (fresh, _) = deciding.candidates(&step, Candidates::Fresh, at(NOW));
    let (stuck, _) = deciding.candidates(&step, Candidates::Stuck, at(NOW));
    assert_eq!((fresh, stuck), (vec![ids[1].clone()], vec![ids[0].clone()]));
}

#[test]
fn a_pace_that_could_not_be_reverted_goes_back_before_everything_else() {
    let stuck = |retry: i64| {
        move |change: &mut Change| {
            change.applied(at(0));
            change.begin_return(ResourceVersion::try_from("2".to_owned()).unwrap(), at(NOW - 60));
            change.template_is_back(at(NOW - 60));
            change.set_again(Again::Possible);
            change.explain(Some((Reason::CannotPutBack, "forbidden".to_owned())));
            change.retry_at = Some(at(retry));
        }
    };
    let begun = |retry| {
        let given = given(&[]).change("two", "a", ChangeState::Applied);
        let given = given.change_with("one", "b", ChangeState::Applied, stuck(retry));
        let mut deciding = given.deciding();
        let newest_first: Vec<Step> = given.rules.steps.iter().rev().cloned().collect();
        let _ = deciding.begin_next_wave(&newest_first, at(NOW));
        let wave = deciding.wave();
        let of_wave = deciding.next.changes.iter().filter(|change| wave.contains(&change.id));
        of_wave.map(|change| change.target.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!((begun(NOW), begun(NOW + 1)), (vec!["b".to_owned()], vec!["a".to_owned()]));
}

#[test]
fn what_is_off_goes_back_last_and_is_named() {
    let mut given = given(&[ChangeState::Applied, ChangeState::Applied]);
    let ids: Vec<ChangeId> = given.facts.state.changes.iter().map(|change| change.id.clone()).collect();
    given.facts.state.changes[0].sit_out(SitsOut::new(Reason::Idle, "it is parked"));
    let step = given.rules.steps[0].clone();
    let mut deciding = given.deciding();
    deciding.next.withdrawal.as_mut().unwrap().waves = 0;
    deciding.begin_wave(&step, Candidates::Fresh, ids.clone());
    assert_eq!(deciding.wave(), ids[1..]);
    let changes = deciding.next.changes.clone();
    let text = deciding.told_of_wave(&step, &changes.iter().collect::<Vec<_>>());
    assert!(text.ends_with("Deployment serving/a (it is parked)"), "{text}");
    assert!(!deciding.has_shown_enough(&step, &[&changes[0]], &WaveHealth::Healthy), "b may still show it");
    assert!(deciding.has_shown_enough(&step, &[&changes[1]], &WaveHealth::Healthy));
}

#[test]
fn an_object_that_was_off_in_between_gives_the_others_of_its_wave_no_more_time() {
    let returned = |change: &mut Change| {
        change.applied(at(NOW - 3600));
        change.note_health(Verdict::True, None, at(NOW - 3600));
        change.state = ChangeState::Reverting;
        change.record_is_gone(at(NOW - 900));
        change.returned();
    };
    let given = Fixture::quiet()
        .change_with("one", "a", ChangeState::Intended, returned)
        .change_with("one", "b", ChangeState::Intended, |change| {
            returned(change);
            change.sit_out(SitsOut::new(Reason::Idle, "it is parked"));
            change.take_part(Verdict::False, at(NOW - 10));
        })
        .listed("one", vec![Target { healthy: Verdict::False, ..live("a") }, live("b")]);
    let step = given.rules.steps[0].clone();
    let mut deciding = given.deciding();
    let changes = deciding.next.changes.clone();
    let back: Vec<&Change> = changes.iter().collect();
    let health = deciding.wave_health(&step, &back);
    let judged = deciding.judge_wave(&step, &back, &health);
    assert!(matches!(judged, Judged::Open(Wave::Relapsed(_))), "a had its time");
}
