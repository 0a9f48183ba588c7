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

#[test]
fn in_observe_an_incident_says_so_also_if_none_of_its_steps_has_a_target() {
    let open_text = |mode: &str| {
        let given = Fixture::pinned().policy(|policy| policy["mode"] = serde_json::json!(mode));
        let given = given.listed("one", Vec::new()).listed("two", Vec::new());
        let decided =
            crate::decide::decide(&given.facts, Some(&given.rules), super::super::fixture::at(1000));
        let steps: Vec<_> = decided.next.steps.iter().map(|step| step.reason.clone()).collect();
        assert_eq!(steps, [Some(Reason::NoTargets), Some(Reason::NoTargets)], "{mode}");
        assert!(
            decided.why.iter().all(|why| why.message == "no object matches its targets"),
            "it is about the plan"
        );
        let ready = crate::phase::conditions(&decided.next).into_iter().find(|fact| fact.type_ == "Ready");
        ready.unwrap().message
    };
    let why = "no object matches its targets";
    assert_eq!(
        open_text("Observe"),
        format!("nothing has been changed; step one: the policy is in Observe, and {why}")
    );
    assert!(!open_text("Enforce").contains("Observe"));
}

#[test]
fn people_are_told_to_pin_a_severity_for_which_a_step_is() {
    let said = |severities: [&[&str]; 2], mode: &str| {
        let given = Fixture::quiet().policy(|policy| {
            policy["mode"] = serde_json::json!(mode);
            for (at, levels) in severities.iter().enumerate() {
                policy["steps"][at]["severities"] = serde_json::json!(levels);
            }
        });
        let decided = crate::decide::decide(&given.facts, Some(&given.rules), super::super::fixture::at(1));
        decided.next.held.unwrap().message
    };
    let pin = |level: &str| format!("-p '{{\"spec\":{{\"severity\":\"{level}\"}}}}'`");
    let enforced = said([&["P3", "P2"], &["P3"]], "Enforce");
    assert!(
        enforced.contains("To respond anyway, pin the severity: `kubectl patch incident outage"),
        "{enforced}"
    );
    assert!(enforced.contains(&pin("P2")), "{enforced}");
    assert!(said([&["P3"], &[]], "Enforce").contains(&pin("P0")));
    let observed = said([&["P1"], &["P3"]], "Observe");
    assert!(
        observed.contains("nothing is changed. To see the plan anyway") && observed.contains(&pin("P1")),
        "{observed}"
    );
    assert!(!observed.contains("respond anyway"), "{observed}");
}
