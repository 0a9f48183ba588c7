//! What to do about one policy, given everything that was observed.
//!
//! [`decide_policy`] is total, like [`crate::decide::decide`]: it never fails, never waits, and never reads the
//! time. It returns the policy's next state, which must be recorded before the Incident that it wants may be created,
//! and it may ask for live reads first.
//!
//! - [`claim`]: which Incident may act, and why no two ever do.
//! - `detect`: whether a rule asks for an Incident; rules that wait for False; the cooldown.
//! - `responses`: the recent responses follow the claim.
//! - `conditions`: what people see.
//! - `choose`: chooses the policy of an Incident that names none.

mod choose;
pub mod claim;
mod conditions;
mod detect;
mod facts;
mod responses;
mod state;
#[cfg(test)]
mod tests;

use jiff::Timestamp;

pub use self::choose::{Candidate, choose_policy};
pub use self::claim::{Claim, Tenure, incident_name};
use self::claim::{Fate, bind, uid_due};
use self::conditions::conditions;
pub use self::conditions::{NO_SEVERITY_RULES, PolicyReason, says};
use self::detect::{Detection, Watch, detect};
pub use self::facts::{Access, Creation, IncidentFact, PolicyFacts, PolicyLook, PolicyReads, Refusal};
use self::responses::{follow, told_by};
pub use self::state::{ActiveIncident, PolicyState};
use crate::phase::ConditionFact;
use crate::policy::Severity;
use crate::rules::Rules;
use crate::severity::{earliest, keep_texts};

/// What to do about a policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyDecision {
    /// A live read that the decision still needs. While there is one, nothing else in it counts.
    pub look: Option<PolicyLook>,
    /// Incidents that must first record that they wait for this policy. While there is one, nothing else in the
    /// decision counts but `wake_at`: they are made due, and what they record makes the policy due again.
    pub unaware: Vec<String>,
    /// The state to record before anything is performed.
    pub next: PolicyState,
    /// The conditions to record with it.
    pub conditions: Vec<ConditionFact>,
    /// The Incident to create once `next` is recorded.
    pub create: Option<NewIncident>,
    /// When to decide again even if nothing changes.
    pub wake_at: Option<Timestamp>,
    /// Why nothing is opened although a rule is true.
    pub why: Option<String>,
    /// The worst level whose rule is true now, whether or not the rule holds yet.
    pub urgency: Option<Severity>,
    /// Expressions that failed.
    pub rule_errors: Vec<String>,
}

/// An Incident to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIncident {
    /// Its name.
    pub name: String,
    /// Its nonce, which identifies it as the one that the claim announces.
    pub nonce: String,
    /// Why it is opened, for people.
    pub summary: String,
}

/// Decides. `rules` is the policy if it is Accepted.
pub fn decide_policy(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> PolicyDecision {
    attempt(facts, rules, now)
        .unwrap_or_else(|look| PolicyDecision { look: Some(look), ..PolicyDecision::default() })
}

/// The decision, or the live read that it needs.
fn attempt(facts: &PolicyFacts, rules: Option<&Rules>, now: Timestamp) -> Result<PolicyDecision, PolicyLook> {
    let before = match &facts.state {
        Some(state) => state.clone(),
        // It is new, or it was deleted and created again: then its Incidents tell of its responses. They are read
        // live, because what a watch has not shown yet would be missing for good.
        None => {
            let all = facts.reads.all.as_ref().ok_or(PolicyLook::Incidents)?;
            let unaware = claim::unaware(all, &facts.uid);
            if !unaware.is_empty() {
                let wake_at = Some(claim::aware_by(now));
                return Ok(PolicyDecision { unaware, wake_at, ..PolicyDecision::default() });
            }
            PolicyState { recent_responses: told_by(all), ..PolicyState::default() }
        }
    };
    let fate = Fate::of(&before, facts, now)?;
    let ended_at = match &fate {
        Fate::Over { ended_at, .. } => *ended_at,
        Fate::Vacant
        | Fate::Next(_)
        | Fate::Awaited
        | Fate::Hopeless
        | Fate::Created(_)
        | Fate::NeverCreated
        | Fate::Open => None,
    };
    let detection = rules.map(|rules| {
        let kept = before.active_incident.as_ref().filter(|_| fate.is_open());
        let responses = follow(&before, kept, ended_at, &facts.limits, now);
        detect(&Watch { facts, state: &before, responses: &responses, fate: &fate, now }, rules)
    });
    let detection = detection.as_ref();
    let follow_up = |active: Option<ActiveIncident>| {
        let mut next = PolicyState {
            recent_responses: follow(&before, active.as_ref(), ended_at, &facts.limits, now),
            active_incident: active,
            alerts: facts.alerts.clone(),
            ..before.clone()
        };
        if let Some(detection) = detection {
            take_in(&mut next, detection);
        }
        next
    };
    let mut uid_at = None;
    let mut create = None;
    let old = before.active_incident.clone();
    let next = match &fate {
        Fate::Open => follow_up(old),
        Fate::Next(incident) => follow_up(Some(bind(incident))),
        Fate::NeverCreated => follow_up(None),
        // Without rules it is not known which of them hold, and they belong in the same write.
        Fate::Over { .. } => follow_up(old.filter(|_| detection.is_none())),
        Fate::Created(incident) => {
            let unbound = follow_up(old);
            uid_at = uid_due(&unbound, incident).filter(|due| *due > now && unbound == before);
            if uid_at.is_some() { unbound } else { follow_up(Some(bind(incident))) }
        }
        Fate::Awaited | Fate::Hopeless => {
            let hopeful = matches!(fate, Fate::Awaited);
            let asks = detection.and_then(|found| found.asks.as_ref()).filter(|_| hopeful);
            create = asks.zip(old.as_ref()).map(|(opening, active)| NewIncident::of(opening, active));
            let revoked = create.is_none();
            follow_up(old.map(|active| ActiveIncident { revoked, ..active }))
        }
        Fate::Vacant => {
            let may_ask = facts.refusal.as_ref().is_none_or(|refusal| !refusal.stands_at(now));
            let opens = detection.and_then(|found| found.opens.as_ref()).filter(|_| may_ask);
            let announced = opens.map(|_| announce(facts, now));
            create = opens.zip(announced.as_ref()).map(|(opening, active)| NewIncident::of(opening, active));
            follow_up(announced)
        }
    };
    let asks_again = facts.refusal.as_ref().map(Refusal::until).filter(|until| *until > now);
    let wake_at = detection.and_then(|found| found.wake_at);
    // The uid of an Incident that is about to be created is recorded when it exists.
    let uid_at = uid_at.or_else(|| create.as_ref().map(|_| claim::uid_after(now)));
    Ok(PolicyDecision {
        look: None,
        unaware: Vec::new(),
        conditions: conditions(rules, facts, detection, &next),
        next,
        create,
        wake_at: earliest(wake_at, earliest(uid_at, asks_again)),
        why: detection.and_then(|found| found.why_not.clone()),
        urgency: detection.and_then(Detection::urgency),
        rule_errors: detection.map(|found| found.assessment.rule_errors.clone()).unwrap_or_default(),
    })
}

/// The claim of an Incident that will be created.
fn announce(facts: &PolicyFacts, now: Timestamp) -> ActiveIncident {
    let name = incident_name(&facts.name, now);
    ActiveIncident { name, nonce: Some(facts.nonce.clone()), uid: None, revoked: false }
}

impl NewIncident {
    fn of(opening: &detect::Opening, active: &ActiveIncident) -> Self {
        Self {
            name: active.name.clone(),
            nonce: active.nonce.clone().unwrap_or_default(),
            summary: format!("{}: {}", opening.reason, opening.evidence),
        }
    }
}

/// Takes the result of the detection into the state.
fn take_in(next: &mut PolicyState, detection: &Detection) {
    let found = &detection.assessment;
    let (mut rules, mut signals) = (found.rules.clone(), found.signals.clone());
    keep_texts(&next.rules, &mut rules, &next.signals, &mut signals);
    if rules != next.rules || signals != next.signals {
        (next.rules, next.signals) = (found.rules.clone(), found.signals.clone());
    }
    next.waiting_for.clone_from(&detection.waiting_for);
    next.expected.clone_from(&detection.expected);
    next.expect_requested_at = detection.requested_at;
}
