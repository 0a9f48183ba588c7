//! A policy that was deleted and created again, while its Incidents are open.

use super::*;

/// A new policy that has listed these Incidents, of which the watch has shown none.
fn recreated(all: Vec<IncidentFact>) -> PolicyFacts {
    PolicyFacts {
        uid: "new".to_owned(),
        state: None,
        reads: PolicyReads { all: Some(all), ..PolicyReads::default() },
        ..facts(5, PolicyState::default())
    }
}

/// One that responded under the policy before.
fn responding(name: &str) -> IncidentFact {
    IncidentFact { had_claim: true, knows: Some("old".to_owned()), ..incident(name, Some("n")) }
}

/// One that waits for this policy.
fn awaiting(policy: &str, incident: IncidentFact) -> IncidentFact {
    IncidentFact { knows: Some(policy.to_owned()), ..incident }
}

#[test]
fn it_recalls_its_responses_and_its_open_incident_which_the_watch_has_not_shown() {
    let older = IncidentFact { created_at: at(-9), ..incident("hand", None) };
    let next = decided(&recreated(vec![older, responding("gpu-1")]), 5).next;
    assert_eq!(next.active_incident, Some(claim_of("gpu-1", Some("n"), Some("uid-gpu-1"))));
    assert_eq!(next.recent_responses, [response("gpu-1", Some("uid-gpu-1"), 0)]);
}

#[test]
fn an_incident_that_acts_keeps_the_claim_while_it_is_being_deleted() {
    let deleting = IncidentFact { deleting: true, ..responding("gpu-1") };
    let next = decided(&recreated(vec![deleting.clone()]), 5).next;
    assert_eq!(next.active_incident, Some(claim_of("gpu-1", Some("n"), Some("uid-gpu-1"))));
    assert_eq!(Tenure::of(&deleting, Some(&PolicyState::default())), Tenure::Vacant);
}

#[test]
fn it_decides_nothing_before_every_incident_that_may_be_about_to_act_waits_for_it() {
    let hand = || incident("hand", None);
    let stray = || incident("stray", Some("n"));
    let over = || IncidentFact { resolved_at: Some(at(1)), ..stray() };
    let deleting = || IncidentFact { deleting: true, ..hand() };
    let cases = [
        ("nothing is recorded", vec![hand(), stray()], vec!["hand", "stray"]),
        ("they wait for another one", vec![awaiting("old", hand())], vec!["hand"]),
        ("one waits for it", vec![awaiting("new", hand()), stray()], vec!["stray"]),
        ("all wait for it", vec![awaiting("new", hand()), awaiting("new", stray())], vec![]),
        ("one has the right to the claim", vec![responding("gpu-1"), hand(), stray()], vec![]),
        (
            "that one is closed",
            vec![IncidentFact { resolved_at: Some(at(1)), ..responding("a") }, hand()],
            vec!["hand"],
        ),
        ("they start nothing any more", vec![over(), deleting()], vec![]),
        ("there is none", vec![], vec![]),
    ];
    for (what, all, unaware) in cases {
        let decision = decided(&recreated(all), 5);
        assert_eq!(decision.unaware, unaware, "{what}");
        assert_eq!(decision.look, None, "{what}");
        if !unaware.is_empty() {
            assert_eq!((decision.create, decision.wake_at), (None, Some(at(7))), "{what}");
        }
    }
}

#[test]
fn once_they_wait_for_it_the_line_is_as_ever() {
    let decision = decided(&recreated(vec![awaiting("new", incident("stray", Some("n")))]), 5);
    assert!(decision.create.is_some(), "an Incident whose announcement led nowhere cannot get the claim");
    let hand = awaiting("new", incident("hand", None));
    let decision = decided(&recreated(vec![hand]), 5);
    assert_eq!(decision.next.active_incident, Some(claim_of("hand", None, Some("uid-hand"))));
}

#[test]
fn an_incident_believes_no_view_of_another_policy_than_the_one_that_it_knows() {
    let new = incident("gpu-1", Some("n"));
    assert!(!new.knows_another("old") && !new.knows_another("new"), "it knows none");
    let waiting = awaiting("new", new);
    assert!(waiting.knows_another("old") && !waiting.knows_another("new"));
}

#[test]
fn only_what_gives_an_incident_the_claim_counts_as_the_watch_has_shown_it() {
    let lost = Tenure::Lost { by: None, superseded: false };
    let all = [Tenure::Bound, Tenure::Announced, Tenure::Revoked, Tenure::Pending, Tenure::Vacant, lost];
    let counts: Vec<bool> = all.iter().map(Tenure::counts_as_seen).collect();
    assert_eq!(counts, [true, true, true, false, false, false]);
    let may_close: Vec<bool> = all.iter().map(Tenure::may_close).collect();
    assert_eq!(may_close, [true, false, false, true, true, true], "its uid is to be recorded first");
}
