//! One policy: watch → observe → decide (look, decide again) → record → act.
//!
//! What is decided, and why two controllers never let two Incidents act for one policy:
//! [`firebreak_engine::decide_policy`].

pub mod act;
mod notices;
pub mod observe;
pub mod record;
pub mod survey;
pub mod translate;
mod unreadable;
pub mod watch;

use std::time::Duration;

use firebreak_engine::decide_policy::{Creation, PolicyDecision};
use firebreak_engine::facts::Reading;
use firebreak_engine::rules::Rules;
use jiff::Timestamp;
use kube::{Api, ResourceExt};

use self::observe::Known;
use self::watch::Subscription;
use super::alerts::Standing;
use super::error::Error;
use super::memory::PolicyMemory;
use super::queue::{Key, Name};
use super::seen::Seen;
use super::{Operator, Passed, alerts};
use crate::api::RemediationPolicy;

/// Decisions in one pass; after that other policies get their turn.
const ROUNDS: usize = 10;

/// Runs one pass over one policy. Returns when to run the next.
///
/// # Errors
/// The pass could not be completed; repeating it loses nothing.
pub async fn pass(operator: &Operator, name: &Name) -> Result<Passed, Error> {
    let mut policy = match operator.policies.get(name) {
        Some(Seen::Object(policy)) => policy.as_ref().clone(),
        Some(Seen::Undecodable { why, .. }) => {
            operator.hub.unsubscribe(&name.into());
            operator.inbox.forget(name);
            record::undecodable(operator, name, &why).await?;
            return Ok(Passed::undecided());
        }
        None => {
            forget(operator, name);
            return Ok(Passed::undecided());
        }
    };
    if !operator.incidents.is_primed() {
        // An Incident that is already open must be seen before another one may be opened.
        return Ok(Passed::undecided_for(Duration::from_millis(100)));
    }
    let parsed = operator.rules(&policy);
    let rules = parsed.as_ref().as_ref().ok().map(AsRef::as_ref);
    let mut creation = None;
    for _ in 0..ROUNDS {
        let subscription = match parsed.as_ref() {
            Ok(rules) => watch::subscribe(operator, name, &policy, rules).await,
            Err(faults) => {
                operator.hub.unsubscribe(&name.into());
                Subscription::refused(faults.clone())
            }
        };
        let heard = alerts::take_in(operator, name, &policy, rules);
        if rules.is_some_and(|rules| is_starting(operator, name, rules)) {
            // The first readings are on their way, and the hub notifies when they arrive.
            return Ok(Passed::undecided_for(Duration::from_secs(1)));
        }
        let now = Timestamp::now();
        let check_again = subscription.check_again;
        let known = Known { subscription, alerts: heard.alerts };
        let mut facts = observe::facts(operator, name, &policy, rules, known, creation.take(), now);
        let decision = observe::decide(operator, name, rules, &mut facts, now).await?;
        if !decision.unaware.is_empty() {
            return Ok(make_aware(operator, name, &decision));
        }
        operator.memories.edit_policy(name, |memory| memory.worst = decision.urgency.into());
        operator
            .context
            .metrics
            .signal_errors
            .with_label_values(&["rule"])
            .inc_by(decision.rule_errors.len() as u64);
        // What is recorded may lead further: the expected value of a signal, for one, depends on which rules held before.
        let has_moved = facts.state.as_ref() != Some(&decision.next);
        let accepted = notices::accepted(facts.state.as_ref(), &decision.next);
        let before = facts.state.take().map(|state| state.alerts).unwrap_or_default();
        let recorded = record::record(operator, policy, decision, now).await?;
        match alerts::standing(operator, name, &before, recorded.policy()).await? {
            Standing::Current => {}
            Standing::Outdated(newer) => {
                policy = *newer;
                continue;
            }
            // The watch is about to show it.
            Standing::Gone => return Ok(Passed::undecided()),
        }
        alerts::settle(operator, name, &before, &facts.alerts);
        // Only now: what the clocks and the windows missed is not to be forgotten.
        operator.memories.edit_policy(name, |memory| memory.assessed |= rules.is_some());
        notices::say(operator, recorded.policy(), accepted);
        creation = act::act(operator, &recorded).await?;
        let is_settled = match &creation {
            Some(Creation::Created(_)) => true,
            Some(Creation::AlreadyExists | Creation::Refused) => false,
            None => !has_moved,
        };
        if is_settled {
            let wake = recorded.decision().wake_at.map(until);
            let again = wake.into_iter().chain(check_again).chain(heard.again).min();
            return Ok(Passed::decided(recorded.policy(), again));
        }
        policy = recorded.into_policy();
    }
    Ok(Passed::undecided_for(Duration::ZERO))
}

/// How long it is until then.
fn until(at: Timestamp) -> Duration {
    // A moment later, so that the clock is certainly past it.
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default() + Duration::from_millis(5)
}

/// Makes the Incidents due that must record first that they wait for this policy. The watch may not have shown them.
/// Returns when to look again whether they have.
fn make_aware(operator: &Operator, name: &Name, decision: &PolicyDecision) -> Passed {
    for incident in &decision.unaware {
        let key = Key::Incident(Name::new(name.namespace.clone(), incident.clone()));
        let urgency = operator.urgency(&key);
        operator.queue.nudge(key, urgency);
    }
    Passed { again: decision.wake_at.map(until), decided: None }
}

/// A policy was deleted, and its watches end.
fn forget(operator: &Operator, name: &Name) {
    operator.hub.unsubscribe(&name.into());
    operator.inbox.forget(name);
    operator.context.metrics.signals(&name.to_string(), &[]);
    operator.memories.forget_policy(name);
}

/// Whether the first readings of a policy's signals are still on their way:
/// for a short while that is no reason to call them Unknown.
fn is_starting(operator: &Operator, name: &Name, rules: &Rules) -> bool {
    operator.memories.edit_policy(name, PolicyMemory::awaits_first_readings)
        && operator.hub.readings(&name.into(), rules).values().any(Reading::is_not_read_yet)
}

/// The typed API of the policies of a namespace, as the operator.
pub fn api(operator: &Operator, policy: &RemediationPolicy) -> Api<RemediationPolicy> {
    Api::namespaced(operator.context.client.clone(), &policy.namespace().unwrap_or_default())
}
