//! Where the claim goes, and how an Incident stands to it.

use super::*;

#[test]
fn the_claim_goes_where_the_facts_lead() {
    struct Case {
        what: &'static str,
        state: PolicyState,
        ready: i64,
        edit: fn(&mut PolicyFacts),
        second: i64,
        /// The claim afterwards: name, uid, revoked.
        claim: Option<(&'static str, Option<&'static str>, bool)>,
        creates: bool,
    }
    let gpu = "gpu-1";
    let uid = Some("uid-gpu-1");
    let cases = [
        Case {
            what: "a crash came between the announcement and the creation",
            state: announced(),
            ready: 5,
            edit: |_| {},
            second: 0,
            claim: Some((gpu, None, false)),
            creates: true,
        },
        Case {
            what: "no rule asks for the announced Incident any more",
            state: announced(),
            ready: 8,
            edit: |_| {},
            second: 0,
            claim: Some((gpu, None, true)),
            creates: false,
        },
        Case {
            what: "only a rule holds that waits for False",
            state: PolicyState { waiting_for: vec!["Degraded".to_owned()], ..announced() },
            ready: 5,
            edit: |_| {},
            second: 0,
            claim: Some((gpu, None, true)),
            creates: false,
        },
        Case {
            what: "the API server refuses it",
            state: announced(),
            ready: 5,
            edit: |facts| facts.creation = Some(Creation::Refused),
            second: 0,
            claim: Some((gpu, None, true)),
            creates: false,
        },
        Case {
            what: "it was refused, and the write that revokes it was lost",
            state: announced(),
            ready: 5,
            edit: |facts| facts.refusal = Some(Refusal { at: at(0), why: "quota".to_owned() }),
            second: 29,
            claim: Some((gpu, None, true)),
            creates: false,
        },
        Case {
            what: "somebody else has taken the name",
            state: announced(),
            ready: 5,
            edit: |facts| {
                facts.creation = Some(Creation::AlreadyExists);
                facts.reads = reads("gpu-1", Some(incident("gpu-1", Some("another"))));
            },
            second: 0,
            claim: Some((gpu, None, true)),
            creates: false,
        },
        Case {
            what: "it was created, and the watch is slower than the next pass",
            state: announced(),
            ready: 5,
            edit: |facts| {
                facts.state = Some(decided(facts, 0).next);
                facts.creation = Some(Creation::Created(incident("gpu-1", Some("n"))));
            },
            second: 0,
            claim: Some((gpu, None, false)),
            creates: false,
        },
        Case {
            what: "the one that was created last is an older one",
            state: announced(),
            ready: 5,
            edit: |facts| facts.creation = Some(Creation::Created(incident("gpu-0", Some("m")))),
            second: 0,
            claim: Some((gpu, None, false)),
            creates: true,
        },
        Case {
            what: "an earlier request made it, and its uid has time",
            state: PolicyState { rules: decided(&facts(5, announced()), 0).next.rules, ..announced() },
            ready: 5,
            edit: |facts| {
                let known = decided(facts, 0).next;
                facts.state = Some(known);
                facts.creation = Some(Creation::AlreadyExists);
                facts.reads = reads("gpu-1", Some(incident("gpu-1", Some("n"))));
            },
            second: 0,
            claim: Some((gpu, None, false)),
            creates: false,
        },
        Case {
            what: "something is to be written, and the uid goes with it",
            state: announced(),
            ready: 5,
            edit: |facts| facts.open = vec![incident("gpu-1", Some("n"))],
            second: 0,
            claim: Some((gpu, uid, false)),
            creates: false,
        },
        Case {
            what: "the Incident is being deleted, and waits for its uid to be recorded",
            state: announced(),
            ready: 5,
            edit: |facts| {
                facts.state = Some(decided(facts, 0).next);
                facts.open = vec![IncidentFact { deleting: true, ..incident("gpu-1", Some("n")) }];
            },
            second: 0,
            claim: Some((gpu, uid, false)),
            creates: false,
        },
        Case {
            what: "the revoked one exists after all",
            state: revoked(),
            ready: 8,
            edit: |facts| facts.reads = reads("gpu-1", Some(incident("gpu-1", Some("n")))),
            second: 0,
            claim: Some((gpu, uid, false)),
            creates: false,
        },
        Case {
            what: "the revoked one was never created",
            state: revoked(),
            ready: 5,
            edit: |facts| facts.reads = reads("gpu-1", None),
            second: 0,
            claim: None,
            creates: false,
        },
        Case {
            what: "the Incident is open",
            state: bound(),
            ready: 8,
            edit: |facts| facts.open = vec![incident("gpu-1", Some("n"))],
            second: 0,
            claim: Some((gpu, uid, false)),
            creates: false,
        },
        Case {
            what: "the watch has not shown the Incident, which is open",
            state: bound(),
            ready: 8,
            edit: |facts| facts.reads = reads("gpu-1", Some(incident("gpu-1", Some("n")))),
            second: 0,
            claim: Some((gpu, uid, false)),
            creates: false,
        },
        Case {
            what: "another Incident has the name",
            state: bound(),
            ready: 8,
            edit: |facts| {
                let other = IncidentFact { uid: "other".to_owned(), ..incident("gpu-1", None) };
                facts.reads = reads("gpu-1", Some(other));
            },
            second: 0,
            claim: None,
            creates: false,
        },
        Case {
            what: "a person's Incident is claimed with its uid",
            state: PolicyState::default(),
            ready: 5,
            edit: |facts| {
                facts.open = vec![incident("stray", Some("n")), incident("hand", None)];
                facts.reads = reads("hand", Some(incident("hand", None)));
            },
            second: 0,
            claim: Some(("hand", Some("uid-hand"), false)),
            creates: false,
        },
        Case {
            what: "an Incident that the watch still shows is over",
            state: PolicyState::default(),
            ready: 8,
            edit: |facts| {
                facts.open = vec![incident("hand", None)];
                facts.reads =
                    reads("hand", Some(IncidentFact { resolved_at: Some(at(0)), ..incident("hand", None) }));
            },
            second: 0,
            claim: None,
            creates: false,
        },
        Case {
            what: "one that was refused is not asked for again at once",
            state: PolicyState::default(),
            ready: 5,
            edit: |facts| facts.refusal = Some(Refusal { at: at(0), why: "quota".to_owned() }),
            second: 29,
            claim: None,
            creates: false,
        },
    ];
    for case in cases {
        let mut facts = facts(case.ready, case.state);
        (case.edit)(&mut facts);
        let decision = decided(&facts, case.second);
        assert_eq!(decision.look, None, "{}", case.what);
        let active = decision.next.active_incident.as_ref();
        let found = active.map(|active| (active.name.as_str(), active.uid.as_deref(), active.revoked));
        assert_eq!(found, case.claim, "{}", case.what);
        assert_eq!(decision.create.is_some(), case.creates, "{}", case.what);
        if let Some(wake) = decision.wake_at {
            assert!(wake > at(case.second), "{}: it is woken again at once", case.what);
        }
    }
}

#[test]
fn what_cannot_be_known_from_a_watch_is_read_live() {
    let of = |name: &str| Some(PolicyLook::Incident(name.to_owned()));
    assert_eq!(decided(&facts(8, bound()), 0).look, of("gpu-1"), "it may be over");
    assert_eq!(decided(&facts(8, revoked()), 0).look, of("gpu-1"), "it may exist after all");
    let taken = PolicyFacts { creation: Some(Creation::AlreadyExists), ..facts(5, announced()) };
    assert_eq!(decided(&taken, 0).look, of("gpu-1"), "it may be ours");
    let by_hand = PolicyFacts { open: vec![incident("hand", None)], ..facts(8, PolicyState::default()) };
    assert_eq!(decided(&by_hand, 0).look, of("hand"), "it may be closed by now");
    let recreated = PolicyFacts { state: None, ..facts(8, PolicyState::default()) };
    assert_eq!(decided(&recreated, 0).look, Some(PolicyLook::Incidents));
}

#[test]
fn an_incident_acts_by_its_uid_or_by_its_nonce_once_that_is_confirmed() {
    let ours = incident("gpu-1", Some("n"));
    let stray = incident("stray", Some("other"));
    let hand = incident("hand", None);
    let back = IncidentFact { had_claim: true, ..incident("back", Some("old")) };
    let lost = |by: Option<&str>, superseded| Tenure::Lost { by: by.map(str::to_owned), superseded };
    let vacant = PolicyState::default();
    let cases = [
        ("its uid", &ours, Some(bound()), Tenure::Bound),
        ("its nonce", &ours, Some(announced()), Tenure::Announced),
        ("its nonce, revoked", &ours, Some(revoked()), Tenure::Revoked),
        ("nobody has looked at the policy", &ours, None, Tenure::Pending),
        ("another nonce", &stray, Some(announced()), lost(Some("gpu-1"), true)),
        ("another one's, which is revoked", &stray, Some(revoked()), lost(Some("gpu-1"), true)),
        ("a second one by hand", &hand, Some(bound()), lost(Some("gpu-1"), false)),
        ("a free claim", &hand, Some(vacant.clone()), Tenure::Vacant),
        ("a free claim, announced in vain", &stray, Some(vacant.clone()), lost(None, true)),
        ("the policy was created again", &back, Some(vacant), Tenure::Vacant),
        ("and another one was quicker", &back, Some(bound()), lost(Some("gpu-1"), true)),
    ];
    for (what, incident, policy, wanted) in cases {
        assert_eq!(Tenure::of(incident, policy.as_ref()), wanted, "{what}");
    }
}

#[test]
fn a_status_of_the_release_before_reads_as_the_claim_that_it_was() {
    let cases = [
        (r#"{"name": "a", "nonce": "n"}"#, Claim::Announced { name: "a", nonce: "n" }),
        (r#"{"name": "a", "nonce": "n", "uid": "u"}"#, Claim::Bound { name: "a", uid: "u" }),
        (r#"{"name": "a", "uid": "u"}"#, Claim::Bound { name: "a", uid: "u" }),
    ];
    for (text, claim) in cases {
        let active: ActiveIncident = serde_json::from_str(text).unwrap();
        assert_eq!(Claim::of(&active), claim, "{text}");
        assert_eq!(
            serde_json::to_value(&active).unwrap(),
            serde_json::from_str::<serde_json::Value>(text).unwrap()
        );
    }
}
