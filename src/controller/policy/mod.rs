//! One policy: observe → detect → record → open.

pub mod claim;
pub mod record;
pub mod responses;
pub mod translate;
pub mod watch;

use std::time::Duration;

use firebreak_engine::detect::{Detection, PolicyFacts, detect};
use firebreak_engine::rules::Rules;
use jiff::Timestamp;
use kube::{Api, ResourceExt};

use self::claim::Claim;
use self::responses::{Turn, follow};
use self::translate::Standing;
use super::Operator;
use super::error::Error;
use super::queue::Name;
use super::seen::Seen;
use crate::api::RemediationPolicy;

/// How long an Incident that was refused is not asked for again.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// Looks at one policy. Returns when to look again.
///
/// # Errors
/// The pass could not be completed; nothing is lost by trying again.
pub async fn pass(operator: &Operator, name: &Name) -> Result<Option<Duration>, Error> {
    let policy = match operator.policies.get(name) {
        Some(Seen::Object(policy)) => policy,
        Some(Seen::Undecodable { raw, why }) => {
            operator.hub.unsubscribe(&name.into());
            record::undecodable(operator, name, &raw, &why).await?;
            return Ok(None);
        }
        None => {
            operator.forget_policy(name);
            return Ok(None);
        }
    };
    if !operator.incidents.is_primed() {
        // One that is open already must be seen before another one may be opened.
        return Ok(Some(Duration::from_millis(100)));
    }
    let policy = responses::recall(operator, name, &policy).await?;
    let rules = operator.rules(&policy);
    let now = Timestamp::now();
    let standing = match rules.as_ref() {
        Ok(rules) => watch::standing(operator, name, &policy, rules).await,
        Err(faults) => {
            operator.hub.unsubscribe(&name.into());
            Standing::invalid(faults.clone())
        }
    };
    let claim = claim::observe(operator, name, &policy).await?;
    let Ok(rules) = rules.as_ref() else {
        record::record(operator, &policy, &standing, None, &claim, now).await?;
        return Ok(standing.check_again);
    };
    if operator.is_starting(name, rules) {
        // The first readings are on their way, and the hub says when they are there.
        return Ok(Some(Duration::from_secs(1)));
    }
    let mut detection = run_detection(operator, name, &policy, rules, &claim, now);
    let mut standing = standing;
    if let Some((at, why)) = operator.policy_memory(name).refused {
        let wait = REFUSED_FOR.saturating_sub(at.elapsed());
        if !wait.is_zero() {
            detection.open = None;
            standing.check_again = standing.check_again.into_iter().chain([wait]).min();
        }
        standing.cannot_open = Some(why);
    }
    operator.remember_policy(name, |memory| memory.assessed = true);
    let recorded = record::record(operator, &policy, &standing, Some(&detection), &claim, now).await?;
    operator.nudge_incidents_of(name);
    if matches!(claim, Claim::None | Claim::Announced { .. }) {
        claim::complete(operator, recorded, &detection).await?;
    }
    let left = |at: Timestamp| Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
    let wake = detection.wake_at.map(left);
    Ok([wake.map(|wake| wake + Duration::from_millis(5)), standing.check_again].into_iter().flatten().min())
}

fn run_detection(
    operator: &Operator,
    name: &Name,
    policy: &RemediationPolicy,
    rules: &Rules,
    claim: &Claim,
    now: Timestamp,
) -> Detection {
    let signals = operator.hub.readings(&name.into(), rules);
    show_signals(operator, name, &signals);
    let status = policy.status.clone().unwrap_or_default();
    let baselines = status.expected.iter().map(|entry| (entry.signal.clone(), entry.value)).collect();
    let assessed = operator.policy_memory(name).assessed;
    let active = status.active_incident.as_ref().filter(|_| !matches!(claim, Claim::Over { .. }));
    let responses = follow(&Turn { old: &status, active, ended_at: claim.ended_at(), now }, &rules.limits);
    let detection = detect(
        &PolicyFacts {
            previous: &status.rules,
            signals: &signals,
            baselines: &baselines,
            waiting_for: &status.waiting_for,
            responses: &responses,
            incident_open: matches!(claim, Claim::Held { .. } | Claim::Announced { .. }),
            clocks_broken: !assessed && operator.clocks_are_broken(now),
        },
        rules,
        now,
    );
    let errors = detection.assessment.rule_errors.len();
    operator.context.metrics.signal_errors.with_label_values(&["rule"]).inc_by(errors as u64);
    detection
}

/// The values as metrics.
fn show_signals(
    operator: &Operator,
    name: &Name,
    signals: &std::collections::BTreeMap<String, firebreak_engine::facts::Reading>,
) {
    use firebreak_engine::expression::FieldValue;
    use firebreak_engine::facts::Reading;
    let mut shown = Vec::new();
    for (signal, reading) in signals {
        let Reading::Known { values } = reading else { continue };
        for (field, value) in values {
            match value {
                #[expect(clippy::cast_precision_loss, reason = "counts of objects are far below 2^52")]
                FieldValue::Int(number) => shown.push((signal.as_str(), field.as_str(), *number as f64)),
                FieldValue::Double(number) => shown.push((signal.as_str(), field.as_str(), *number)),
                FieldValue::Map(_) => {}
            }
        }
    }
    operator.context.metrics.signals(&name.to_string(), &shown);
}

/// The typed API of the policies of a namespace, as the operator.
pub fn api(operator: &Operator, policy: &RemediationPolicy) -> Api<RemediationPolicy> {
    Api::namespaced(operator.context.client.clone(), &policy.namespace().unwrap_or_default())
}
