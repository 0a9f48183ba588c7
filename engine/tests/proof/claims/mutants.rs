//! Claim protocols that are broken on purpose: a proof that does not catch them proves nothing.

use firebreak_engine::decide_policy::{
    ActiveIncident, Claim, Creation, PolicyDecision, PolicyFacts, decide_policy,
};
use firebreak_engine::rules::Rules;
use jiff::Timestamp;

use super::recreated::tell;
use super::{DecidePolicy, Driver, run};

fn assert_caught(name: &str, mutant: DecidePolicy, driver: Driver) {
    std::panic::set_hook(Box::new(|_| {}));
    let in_a_storm = || (0..6000).find_map(|seed| run(seed, mutant, driver).err());
    let found = tell(mutant, driver).err().or_else(in_a_storm);
    let _ = std::panic::take_hook();
    let story = found.unwrap_or_else(|| panic!("{name} was not caught"));
    println!("{name}: {}", story.lines().next().unwrap_or_default());
}

/// An announcement is cleared at once, without being revoked first.
fn clears_without_revoking(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> PolicyDecision {
    let mut decision = decide_policy(facts, rules, now);
    if let Claim::Revoked { name, .. } = decision.next.claim() {
        let name = name.to_owned();
        decision.next.recent_responses.retain(|one| one.name != name || one.uid.is_some());
        decision.next.active_incident = None;
    }
    decision
}

/// Any Incident with the announced name counts as the announced one.
fn takes_any_incident_of_the_name(
    facts: &PolicyFacts,
    rules: Option<&Rules>,
    now: Timestamp,
) -> PolicyDecision {
    let mut facts = facts.clone();
    let claim = facts.state.as_ref().map(|state| state.claim());
    let nonce = match claim {
        Some(Claim::Announced { nonce, .. } | Claim::Revoked { nonce, .. }) => Some(nonce.to_owned()),
        Some(Claim::Vacant | Claim::Bound { .. }) | None => None,
    };
    if nonce.is_some() {
        for incident in facts.reads.incidents.values_mut().flatten() {
            incident.nonce.clone_from(&nonce);
        }
    }
    decide_policy(&facts, rules, now)
}

/// A claim is cleared because the watch does not show its Incident.
fn trusts_what_is_not_seen(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> PolicyDecision {
    let mut facts = facts.clone();
    if let Some(Claim::Bound { name, uid }) = facts.state.as_ref().map(|state| state.claim())
        && !facts.open.iter().any(|incident| incident.uid == uid)
    {
        facts.reads.incidents.insert(name.to_owned(), None);
    }
    decide_policy(&facts, rules, now)
}

/// A response that a person has ended starts again at once.
fn waits_for_nothing(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> PolicyDecision {
    let mut decision = decide_policy(facts, rules, now);
    decision.next.waiting_for.clear();
    decision
}

/// An Incident that was rejected keeps the claim.
fn keeps_a_refused_claim(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> PolicyDecision {
    let mut decision = decide_policy(facts, rules, now);
    let is_refused = facts.creation == Some(Creation::Refused) || facts.refusal.is_some();
    if is_refused && let Some(active) = &mut decision.next.active_incident {
        *active = ActiveIncident { uid: Some("never-created".to_owned()), revoked: false, ..active.clone() };
    }
    decision
}

/// The end of a response is not recorded.
fn forgets_the_cooldown(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> PolicyDecision {
    let mut decision = decide_policy(facts, rules, now);
    decision.next.recent_responses.iter_mut().for_each(|one| one.ended_at = None);
    decision
}

/// Responses are not remembered once they have ended.
fn forgets_responses(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> PolicyDecision {
    let mut decision = decide_policy(facts, rules, now);
    let last = decision.next.recent_responses.len().saturating_sub(1);
    decision.next.recent_responses.drain(..last);
    decision
}

/// A policy that was created again takes only those open Incidents into account that the watch has shown.
fn forms_the_line_from_the_watch(
    facts: &PolicyFacts,
    rules: Option<&Rules>,
    now: Timestamp,
) -> PolicyDecision {
    let mut facts = facts.clone();
    if let Some(all) = &mut facts.reads.all {
        let is_seen = |uid: &str| facts.open.iter().any(|incident| incident.uid == uid);
        all.retain(|incident| incident.is_closed() || is_seen(&incident.uid));
    }
    decide_policy(&facts, rules, now)
}

/// A policy that was created again does not wait until its Incidents wait for it.
fn waits_for_no_incident(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> PolicyDecision {
    let mut facts = facts.clone();
    for incident in facts.reads.all.iter_mut().flatten() {
        incident.knows = Some(facts.uid.clone());
    }
    decide_policy(&facts, rules, now)
}

/// A policy that was created again does not bind to an Incident that is being deleted, although it acts.
fn passes_over_what_is_deleted(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> PolicyDecision {
    let mut facts = facts.clone();
    if let Some(all) = &mut facts.reads.all {
        all.retain(|incident| incident.is_closed() || !incident.deleting);
    }
    decide_policy(&facts, rules, now)
}

#[test]
fn every_mutant_of_the_claim_is_caught() {
    let mutants: [(&str, DecidePolicy); 10] = [
        ("clears without revoking", clears_without_revoking),
        ("takes any Incident of the name", takes_any_incident_of_the_name),
        ("trusts what is not seen", trusts_what_is_not_seen),
        ("waits for nothing", waits_for_nothing),
        ("keeps a refused claim", keeps_a_refused_claim),
        ("forgets the cooldown", forgets_the_cooldown),
        ("forgets responses", forgets_responses),
        ("forms the line from the watch", forms_the_line_from_the_watch),
        ("waits for no Incident", waits_for_no_incident),
        ("passes over what is deleted", passes_over_what_is_deleted),
    ];
    for (name, mutant) in mutants {
        assert_caught(name, mutant, Driver::Sound);
    }
}

#[test]
fn every_mutant_of_the_claims_driver_is_caught() {
    assert_caught("creates although nothing is recorded", decide_policy, Driver::CreatesUnrecorded);
    assert_caught("trusts an announcement that the watch has shown", decide_policy, Driver::TrustsTheWatch);
    assert_caught("closes before the uid is recorded", decide_policy, Driver::ClosesUnbound);
    assert_caught("acts by a policy that is deleted", decide_policy, Driver::TrustsAnyPolicy);
    assert_caught("never records that an Incident waits", decide_policy, Driver::NeverAware);
}
