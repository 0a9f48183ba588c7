//! Protocols that are broken on purpose: a proof that does not catch them proves nothing.

use firebreak_engine::change::{Change, ChangeState};
use firebreak_engine::decide::{Decision, decide};
use firebreak_engine::effect::{Act, Effect, Write};
use firebreak_engine::facts::{Facts, ObjectRead, Revision};
use firebreak_engine::reason::Reason;
use firebreak_engine::rules::Rules;
use firebreak_engine::story::world::Decide;
use firebreak_engine::undo;
use firebreak_engine::verdict::Verdict;
use jiff::Timestamp;

use crate::faults::{Driver, run};

/// The first seed that catches the mutant.
fn caught_by(mutant: Decide, driver: Driver) -> Option<(u64, String)> {
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..3000).find_map(|seed| run(seed, mutant, driver).err().map(|story| (seed, story)));
    let _ = std::panic::take_hook();
    found
}

fn assert_caught(name: &str, mutant: Decide, driver: Driver) {
    let (seed, story) = caught_by(mutant, driver).unwrap_or_else(|| panic!("{name} was not caught"));
    println!("{name}: seed {seed}: {}", story.lines().next().unwrap_or_default());
}

/// An intent is given up without a fence.
fn without_fence(facts: &Facts, rules: Option<&Rules>, now: Timestamp) -> Decision {
    let mut decision = decide(facts, rules, now);
    let fenced: Vec<_> =
        decision.effects.iter().filter(|e| e.act == Act::Fence).map(|e| e.change.clone()).collect();
    decision.effects.retain(|effect| effect.act != Act::Fence);
    for change in decision.next.changes.iter_mut().filter(|change| fenced.contains(&change.id)) {
        change.set_fence(None);
        change.stand(ChangeState::Skipped, Reason::Withdrawn, "given up");
    }
    decision
}

/// An unknown answer counts as a rejection, and the change as not made.
fn unknown_is_no(facts: &Facts, rules: Option<&Rules>, now: Timestamp) -> Decision {
    let mut decision = decide(facts, rules, now);
    for change in decision.next.changes.iter_mut().filter(|change| change.state == ChangeState::Unclear) {
        change.stand(ChangeState::Failed, Reason::Timeout, "no answer");
    }
    decision.effects.retain(|effect| {
        decision.next.changes.iter().any(|c| c.id == effect.change && c.state != ChangeState::Failed)
    });
    decision
}

/// A value is reverted without checking whether it is still ours.
fn returns_blindly(facts: &Facts, rules: Option<&Rules>, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    for (target, found) in &mut facts.looked.objects {
        let ObjectRead::Found(read) = found else { continue };
        let Some(change) = facts.state.changes.iter().find(|change| change.target == *target) else {
            continue;
        };
        if !change.is_in_force() {
            continue;
        }
        let mut object = (*read.object).clone();
        for field in change.fields() {
            let _ = field.path.write(&mut object, field.after.clone());
        }
        read.object = object.into();
    }
    decide(&facts, rules, now)
}

/// A change is recorded as reverted when the request was sent, not when a read shows it.
fn forgets_returns(facts: &Facts, rules: Option<&Rules>, now: Timestamp) -> Decision {
    let mut decision = decide(facts, rules, now);
    let sent: Vec<_> =
        decision.effects.iter().filter(|e| e.act == Act::Return).map(|e| e.change.clone()).collect();
    for change in decision.next.changes.iter_mut().filter(|change| sent.contains(&change.id)) {
        change.returned();
    }
    decision
}

/// A conflict counts as the echo of our own write.
fn conflict_is_applied(facts: &Facts, rules: Option<&Rules>, now: Timestamp) -> Decision {
    let mut decision = decide(facts, rules, now);
    for change in &mut decision.next.changes {
        if change.state == ChangeState::Intended && change.reason == Some(Reason::Conflict) {
            change.applied(now);
        }
    }
    decision
}

/// The incident is closed while something is still in force.
fn closes_early(facts: &Facts, rules: Option<&Rules>, now: Timestamp) -> Decision {
    let mut decision = decide(facts, rules, now);
    if decision.next.closing.is_some() {
        decision.next.resolved_at = Some(now);
    }
    decision
}

/// Field ownership is not handed back.
fn keeps_ownership(facts: &Facts, rules: Option<&Rules>, now: Timestamp) -> Decision {
    let mut decision = decide(facts, rules, now);
    let sent: Vec<_> =
        decision.effects.iter().filter(|e| e.act == Act::HandBack).map(|e| e.change.clone()).collect();
    decision.effects.retain(|effect| effect.act != Act::HandBack);
    for change in decision.next.changes.iter_mut().filter(|change| sent.contains(&change.id)) {
        change.returned();
    }
    decision
}

/// An operation that was recorded by a process that died is sent again.
fn sends_again_after_a_crash(facts: &Facts, rules: Option<&Rules>, now: Timestamp) -> Decision {
    let mut decision = decide(facts, rules, now);
    for change in &mut decision.next.changes {
        let was = facts.state.changes.iter().find(|known| known.id == change.id);
        let is_lost = was.is_some_and(|was| was.state == ChangeState::Intended) && change.needs_settlement();
        if !is_lost
            || !facts.outcomes.is_empty()
            || decision.effects.iter().any(|e| e.target == change.target)
        {
            continue;
        }
        change.intend_operation(now);
        let Some(request) = change.request(&facts.incident) else { continue };
        decision.effects.push(Effect {
            change: change.id.clone(),
            target: change.target.clone(),
            act: Act::Operate(request.operation),
            write: Write::Operation(request),
        });
    }
    decision
}

/// An operation is sent while the journal still says that it is only planned.
fn sends_before_it_records(facts: &Facts, rules: Option<&Rules>, now: Timestamp) -> Decision {
    let mut decision = decide(facts, rules, now);
    let is_sent = |change: &Change| decision.effects.iter().any(|effect| effect.change == change.id);
    for change in decision.next.changes.iter_mut().filter(|change| change.as_operation().is_some()) {
        if is_sent(change) {
            change.state = ChangeState::Planned;
        }
    }
    decision
}

/// An operation whose answer was lost counts as carried out.
fn unclear_is_done(facts: &Facts, rules: Option<&Rules>, now: Timestamp) -> Decision {
    let mut decision = decide(facts, rules, now);
    for change in decision.next.changes.iter_mut().filter(|change| change.needs_settlement()) {
        change.done(now);
    }
    decision
}

/// A restart whose answer was lost, and whose value someone has replaced since, is sent again.
fn restarts_again(facts: &Facts, rules: Option<&Rules>, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    for change in facts.state.changes.iter_mut().filter(|change| change.operation_write().is_some()) {
        change.requests_are_dead();
    }
    for found in facts.looked.objects.values_mut() {
        if let ObjectRead::Found(read) = found {
            read.revision = Revision::NotAsked;
        }
    }
    decide(&facts, rules, now)
}

/// The pace of a rollout goes back with its template.
fn returns_pace_with_template(facts: &Facts, rules: Option<&Rules>, now: Timestamp) -> Decision {
    let mut decision = decide(facts, rules, now);
    for effect in decision.effects.iter_mut().filter(|effect| effect.act == Act::Return) {
        let Some(ObjectRead::Found(read)) = facts.looked.objects.get(&effect.target) else { continue };
        let Some(change) = decision.next.changes.iter().find(|change| change.id == effect.change) else {
            continue;
        };
        let Write::Patch(patch) = &effect.write else { continue };
        if *patch.base() == read.version
            && let Ok(whole) = undo::return_patch(&read.object, &change.id, change.fields())
        {
            effect.write = Write::Patch(whole);
        }
    }
    decision
}

/// The pace of a rollout goes back before its template has rolled out.
fn awaits_no_rollout(facts: &Facts, rules: Option<&Rules>, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    for found in facts.looked.objects.values_mut() {
        let ObjectRead::Found(read) = found else { continue };
        read.rollout = (Verdict::True, String::new());
    }
    decide(&facts, rules, now)
}

#[test]
fn every_mutant_of_the_decision_is_caught() {
    let mutants: [(&str, Decide); 13] = [
        ("restarts again after a lost answer", restarts_again),
        ("returns the pace with the template", returns_pace_with_template),
        ("awaits no rollout", awaits_no_rollout),
        ("without a fence", without_fence),
        ("unknown is no", unknown_is_no),
        ("returns blindly", returns_blindly),
        ("forgets returns", forgets_returns),
        ("conflict is applied", conflict_is_applied),
        ("closes early", closes_early),
        ("keeps ownership", keeps_ownership),
        ("sends an operation again after a crash", sends_again_after_a_crash),
        ("sends an operation before it is recorded", sends_before_it_records),
        ("takes an unclear operation for done", unclear_is_done),
    ];
    for (name, mutant) in mutants {
        assert_caught(name, mutant, Driver::Sound);
    }
}

#[test]
fn every_mutant_of_the_driver_is_caught() {
    assert_caught("acts although the record failed", decide, Driver::ActsUnrecorded);
    assert_caught("reads the version just before the write", decide, Driver::GuardsLate);
    assert_caught("sends without a guard", decide, Driver::Unguarded);
    assert_caught("forgets answers on a conflict", decide, Driver::ForgetsAnswers);
}
