//! Collects the facts for a decision about a policy, and performs the live reads that it requests.

use std::collections::BTreeMap;

use firebreak_engine::alerts::ReceivedAlerts;
use firebreak_engine::decide_policy::{
    Creation, IncidentFact, PolicyDecision, PolicyFacts, PolicyLook, decide_policy,
};
use firebreak_engine::expression::FieldValue;
use firebreak_engine::facts::Reading;
use firebreak_engine::rules::{Limits, Rules};
use jiff::{SignedDuration, Timestamp};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::translate;
use super::unreadable::{self, Unreadable};
use super::watch::Subscription;
use crate::api::{Incident, RemediationPolicy};
use crate::controller::Operator;
use crate::controller::error::Error;
use crate::controller::queue::Name;
use crate::controller::refusal::Refusal;
use crate::kubernetes::guarded::Guarded;
use crate::kubernetes::retry;

/// Incidents of one page of a list: one may have more than a megabyte.
const PAGE: u32 = 50;

/// What the pass has found out about the signals of a policy.
pub struct Known {
    /// What keeps the policy from reading them.
    pub subscription: Subscription,
    /// The alerts that were sent to it.
    pub alerts: Vec<ReceivedAlerts>,
}

/// The facts without any live read.
pub fn facts(
    operator: &Operator,
    name: &Name,
    policy: &RemediationPolicy,
    rules: Option<&Rules>,
    Known { subscription, alerts }: Known,
    creation: Option<Creation>,
    now: Timestamp,
) -> PolicyFacts {
    let signals = rules.map(|rules| operator.hub.readings(&name.into(), rules)).unwrap_or_default();
    show_signals(operator, name, &signals);
    let memory = operator.memories.policy(name);
    let incidents = operator.incidents.of_policy(name);
    let open = incidents.iter().filter(|incident| !incident.is_closed());
    PolicyFacts {
        uid: policy.uid().unwrap_or_default(),
        created_at: policy.creation_timestamp().map(|time| time.0),
        state: translate::state(policy).cloned(),
        faults: subscription.faults,
        access: subscription.access,
        warning: subscription.warning,
        uncounted: subscription.uncounted,
        unjudged: subscription.unjudged,
        signals,
        alerts,
        clocks_broken: !memory.assessed && operator.clocks_are_broken(now),
        began: Some(operator.began(now)),
        unwatched: if memory.assessed { SignedDuration::ZERO } else { operator.unwatched(now) },
        asked: policy.asked(),
        open: open.map(|incident| translate::incident(incident)).collect(),
        // The watch may be slower than the next pass.
        creation: creation.or_else(|| memory.created.map(Creation::Created)),
        refusal: memory.refused,
        nonce: format!("{:032x}", fastrand::u128(..)),
        ..PolicyFacts::new(policy.name_any(), Limits::of(&policy.spec.policy))
    }
}

/// Decides, and performs the live reads that the decision requests.
///
/// # Errors
/// The API server gives no answer, so the facts are not known.
pub async fn decide(
    operator: &Operator,
    name: &Name,
    rules: Option<&Rules>,
    facts: &mut PolicyFacts,
    now: Timestamp,
) -> Result<PolicyDecision, Error> {
    let api = incidents_of(operator, name);
    let mut unreadable = Vec::new();
    loop {
        let mut decision = decide_policy(facts, rules, now);
        match decision.look {
            None => {
                unreadable::say(&mut decision, &unreadable, &name.namespace);
                return Ok(decision);
            }
            Some(PolicyLook::Incidents) => {
                let mut all = list(operator, name, &mut unreadable).await?;
                unreadable::excuse(&mut all, &unreadable, &facts.uid);
                facts.reads.all = Some(all);
            }
            Some(PolicyLook::Incident(incident)) => {
                let found = retry::find(&incident, || api.get(&incident)).await?;
                let found = found.map(|found| readable(found, &mut unreadable)).transpose()?;
                facts.reads.incidents.insert(incident, found.as_ref().map(translate::incident));
            }
        }
    }
}

/// The Incidents of the namespace, so that one that does not decode hides no other.
fn incidents_of(operator: &Operator, policy: &Name) -> Api<Guarded<Incident>> {
    Api::namespaced(operator.context.client.clone(), &policy.namespace)
}

/// All Incidents of a policy, read live.
async fn list(
    operator: &Operator,
    policy: &Name,
    unreadable: &mut Vec<Unreadable>,
) -> Result<Vec<IncidentFact>, Error> {
    let api = incidents_of(operator, policy);
    let mut found = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = retry::read(|| api.list(&page)).await?;
        for item in listed.items {
            let incident = readable(item, unreadable)?;
            if incident.policy_name() == Some(&policy.name) {
                found.push(translate::incident(&incident));
            }
        }
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// The Incident, as much of it as can be read, unless a newer release wrote it.
fn readable(found: Guarded<Incident>, unreadable: &mut Vec<Unreadable>) -> Result<Incident, Error> {
    match Refusal::of_guarded(&found) {
        Some(refusal) => Err(refusal.into()),
        None => Ok(unreadable::read(found, unreadable)),
    }
}

/// The values as metrics.
fn show_signals(operator: &Operator, name: &Name, signals: &BTreeMap<String, Reading>) {
    let mut shown = Vec::new();
    for (signal, reading) in signals {
        let Reading::Known { values } = reading else { continue };
        for (field, value) in values {
            match value {
                #[expect(clippy::cast_precision_loss, reason = "counts of objects are far below 2^52")]
                FieldValue::Int(number) => shown.push((signal.as_str(), field.as_str(), *number as f64)),
                FieldValue::Double(number) => shown.push((signal.as_str(), field.as_str(), *number)),
                FieldValue::Boolean(truth) => {
                    shown.push((signal.as_str(), field.as_str(), f64::from(u8::from(*truth))));
                }
                FieldValue::Map(_) => {}
            }
        }
    }
    operator.context.metrics.signals(&name.to_string(), &shown);
}
