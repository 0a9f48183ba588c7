//! What ends late: a long withdrawal, and steps that did not help.

use super::*;

#[test]
fn a_withdrawal_goes_on_however_much_happens_meanwhile() {
    let mut response = Response::opened();
    response.next(100, |state| {
        state.closing = Some(Closing::Withdrawn);
        state.tell(entry(100, WITHDRAWAL_STARTED));
    });
    for second in 101..=250 {
        assert_eq!(names(response.next(second, |state| state.tell(entry(second, "Drift")))), [""; 0]);
    }
    // A status of which nobody knows when it began ends nothing either.
    let forget = |state: &mut IncidentState| {
        assert_eq!(state.timeline.remove(0), entry(100, WITHDRAWAL_STARTED), "it was kept");
    };
    assert_eq!(names(response.next(251, forget)), [""; 0]);
    response.next(252, |state| state.timeline.insert(0, entry(100, WITHDRAWAL_STARTED)));
    let spans = response.next(260, |state| state.resolved_at = Some(at(260)));
    assert_eq!(names(spans), ["Incident gpu-loss", "withdrawal"]);
    assert_eq!(times(&spans[1]), (at(100), at(260)));
    assert_eq!(spans[1].id, SpanId::of("uid-1", &["withdrawal", &at(100).to_string()]));
    assert_eq!(response.told.wrong, Vec::<String>::new());
}

#[test]
fn a_step_that_did_not_help_is_told_when_the_incident_closes() {
    for (state_of_step, outcome, end, error) in [
        (StepState::Failed, "failed", at(13), Some("StepFailed")),
        (StepState::Returned, "reverted", at(15), None),
        (StepState::Applied, "notVerified", at(20), None),
    ] {
        let mut response = Response::opened();
        response.next(10, |state| {
            let mut change = change("chat");
            change.intend(version(1), at(10));
            state.changes.push(change);
            let step = StepStatus {
                name: "one".to_owned(),
                started_at: Some(at(10)),
                state: StepState::Applying,
                ..StepStatus::default()
            };
            state.steps.push(step);
        });
        response.next(13, |state| state.changes[0].applied(at(13)));
        response.next(15, |state| {
            state.steps[0].state = state_of_step;
            state.steps[0].finished_at = (state_of_step == StepState::Returned).then(|| at(15));
        });
        assert_eq!(response.newest, [], "{outcome}");
        let spans = response.next(20, |state| state.resolved_at = Some(at(20)));
        let step = spans.iter().find(|span| span.name == "step one").unwrap();
        assert_eq!((attribute(step, "firebreak.outcome"), step.end), (outcome, end));
        assert_eq!(step.error.as_deref(), error);
    }
}
