//! Closed Incidents are not kept forever: 30 days, and the newest 50 of each policy.
//!
//! # Guarantees
//! An Incident is never deleted while it has outstanding changes, a policy's claim names it, or its end still counts
//! for the policy's guardrails. An Incident from a manifest is never deleted: applied again, it would be a new one and
//! respond. Each deletion follows a live read: uid and resourceVersion are preconditions. Reports stay.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use firebreak_engine::rules::Limits;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt};

use super::Operator;
use super::error::Error;
use super::queue::Name;
use super::seen::Seen;
use crate::api::Incident;
use crate::kubernetes::retry;

/// How long a closed Incident is kept.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How many closed Incidents of one policy are kept.
const KEPT: usize = 50;
/// How often closed Incidents are checked while none closes.
const EVERY: Duration = Duration::from_secs(600);
/// How long after one closes: all that close by then are checked together.
const AFTER_ONE_CLOSED: Duration = Duration::from_secs(1);
/// How often while not everything was seen once.
const AT_THE_START: Duration = Duration::from_secs(1);

/// A closed Incident.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Closed {
    name: Name,
    /// The policy whose response it was, if it had one.
    policy: Option<String>,
    at: Timestamp,
    /// Whether anything keeps it: an outstanding change, a finalizer, or a claim.
    is_needed: bool,
}

/// How long the end of a response counts for the guardrails of its policy; none while that is not known.
type Counts<'a> = &'a dyn Fn(&Name) -> Option<SignedDuration>;

/// The closed Incidents that may be deleted, the oldest first.
fn may_go(closed: Vec<Closed>, counts: Counts<'_>, now: Timestamp) -> Vec<Name> {
    let mut of_policy: BTreeMap<(String, Option<String>), Vec<Closed>> = BTreeMap::new();
    for one in closed {
        of_policy.entry((one.name.namespace.clone(), one.policy.clone())).or_default().push(one);
    }
    let mut going = Vec::new();
    for ((namespace, policy), mut closed) in of_policy {
        let policy = policy.map(|policy| Name::new(namespace, policy));
        let Some(counts) = policy.map_or(Some(SignedDuration::ZERO), |policy| counts(&policy)) else {
            continue;
        };
        closed.sort_by(|one, other| (other.at, &other.name).cmp(&(one.at, &one.name)));
        let is_over = |(position, one): &(usize, Closed)| {
            let age = now.duration_since(one.at);
            !one.is_needed && age >= counts && (age >= KEPT_FOR || *position >= KEPT)
        };
        going.extend(closed.into_iter().enumerate().filter(is_over).map(|(_, one)| (one.at, one.name)));
    }
    going.sort();
    going.into_iter().map(|(_, name)| name).collect()
}

/// Deletes old Incidents: when this process starts to lead, whenever an Incident closes, and every ten minutes.
pub(super) async fn run(operator: &Operator) {
    let mut leadership = operator.context.leadership.clone();
    loop {
        leadership.gained().await;
        let is_primed = operator.policies.is_primed() && operator.incidents.is_primed();
        if is_primed {
            sweep(operator).await;
        }
        tokio::select! {
            () = tokio::time::sleep(if is_primed { EVERY } else { AT_THE_START }) => {}
            () = operator.an_incident_closed.notified() => tokio::time::sleep(AFTER_ONE_CLOSED).await,
        }
    }
}

async fn sweep(operator: &Operator) {
    let mut gone = 0;
    for name in may_go(closed(operator), &|policy| counts_for(operator, policy), Timestamp::now()) {
        if !operator.context.leadership.leads() {
            break;
        }
        match delete(operator, &name).await {
            Ok(Deletion::Done) => gone += 1,
            Ok(Deletion::StillNeeded) => {}
            Err(error) if error.is_gone() => {}
            Err(error) => tracing::warn!(
                incident = %name, %error,
                "cannot delete an old closed Incident; retrying later"
            ),
        }
    }
    if gone > 0 {
        operator.context.metrics.incidents_collected.inc_by(gone);
        tracing::info!(gone, "deleted old closed Incidents; their reports stay");
    }
}

/// The closed Incidents as last seen.
fn closed(operator: &Operator) -> Vec<Closed> {
    let claims: BTreeSet<String> = operator
        .policies
        .all()
        .iter()
        .filter_map(|(_, policy)| policy.status.as_ref()?.state.active_incident.as_ref()?.uid.clone())
        .collect();
    let closed = |(name, incident): (Name, std::sync::Arc<Incident>)| {
        let at = incident.status.as_ref()?.state.resolved_at?;
        let is_claimed = incident.uid().is_some_and(|uid| claims.contains(&uid));
        let policy = incident.policy_name().map(str::to_owned);
        Some(Closed { name, policy, at, is_needed: is_claimed || is_needed(&incident) })
    };
    operator.incidents.all().into_iter().filter_map(closed).collect()
}

fn is_needed(incident: &Incident) -> bool {
    let is_open = incident
        .status
        .as_ref()
        .is_none_or(|status| status.state.resolved_at.is_none() || status.state.owes_anything());
    // An Incident that is being deleted waits for someone else's finalizer.
    is_open || !incident.finalizers().is_empty() || incident.metadata.deletion_timestamp.is_some()
}

/// Annotations of tools that recreate a missing object.
const DECLARED: [&str; 3] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "argocd.argoproj.io/tracking-id",
    "meta.helm.sh/release-name",
];

/// Whether it comes from a manifest that a tool or a person may apply again. The cached state does not
/// say so, so this takes a live read.
fn is_declared(live: &Incident) -> bool {
    let is_applied = |entry: &ManagedFieldsEntry| entry.operation.as_deref() == Some("Apply");
    live.managed_fields().iter().any(is_applied)
        || DECLARED.iter().any(|name| live.annotations().contains_key(*name))
}

/// As long as the end of a response counts for `maxIncidents` or `cooldown`, its Incident keeps that fact
/// in case the policy is created again. Nothing is known about a policy that does not decode.
fn counts_for(operator: &Operator, policy: &Name) -> Option<SignedDuration> {
    let spec = match operator.policies.get(policy) {
        Some(Seen::Object(policy)) => policy.spec.policy.clone(),
        Some(Seen::Undecodable { .. }) => return None,
        None => Default::default(),
    };
    let limits = Limits::of(&spec);
    Some(limits.max_incidents_per.max(limits.cooldown))
}

enum Deletion {
    Done,
    StillNeeded,
}

/// Deletes the Incident with this name, if a live read shows that nothing needs it.
async fn delete(operator: &Operator, name: &Name) -> Result<Deletion, Error> {
    let api: Api<Incident> = Api::namespaced(operator.context.client.clone(), &name.namespace);
    let Some(live) = retry::find(&name.name, || api.get(&name.name)).await? else {
        return Ok(Deletion::StillNeeded);
    };
    let seen = operator.incidents.object(name).and_then(|incident| incident.uid());
    if is_needed(&live) || is_declared(&live) || live.uid() != seen {
        return Ok(Deletion::StillNeeded);
    }
    let same = Preconditions { uid: live.uid(), resource_version: live.resource_version() };
    api.delete(&name.name, &DeleteParams { preconditions: Some(same), ..DeleteParams::background() }).await?;
    Ok(Deletion::Done)
}

/// Reports that an Incident is closed, so that an older one may be deleted.
pub(super) fn consider(operator: &Operator, incident: &Incident) {
    if !is_needed(incident) {
        operator.an_incident_closed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    /// Closed this many seconds ago.
    fn closed(name: &str, policy: Option<&str>, ago: i64) -> Closed {
        let policy = policy.map(str::to_owned);
        Closed { name: Name::new("ns", name), policy, at: at(-ago), is_needed: false }
    }

    /// The Incidents that are deleted if the end of a response counts for an hour.
    fn going(closed: Vec<Closed>) -> Vec<String> {
        going_if(closed, Some(SignedDuration::from_hours(1)))
    }

    fn going_if(closed: Vec<Closed>, counts: Option<SignedDuration>) -> Vec<String> {
        may_go(closed, &|_| counts, at(0)).into_iter().map(|name| name.name).collect()
    }

    /// This many Incidents of one policy, the oldest first, all older than an hour.
    fn many(count: i64) -> Vec<Closed> {
        (0..count).map(|n| closed(&format!("i-{n:02}"), Some("p"), 2 * HOUR + count - n)).collect()
    }

    #[test]
    fn one_is_kept_for_thirty_days() {
        let list = vec![closed("young", Some("p"), 30 * DAY - 1), closed("old", Some("p"), 30 * DAY)];
        assert_eq!(going(list), ["old"]);
    }

    #[test]
    fn of_one_policy_the_newest_fifty_are_kept() {
        assert_eq!(going(many(50)), Vec::<String>::new());
        assert_eq!(going(many(53)), ["i-00", "i-01", "i-02"]);
        let mut two = many(50);
        two.extend(many(50).into_iter().map(|one| Closed { policy: Some("q".to_owned()), ..one }));
        two.extend(many(50).into_iter().map(|one| Closed { policy: None, ..one }));
        let elsewhere = |one: Closed| Closed { name: Name::new("other", one.name.name), ..one };
        two.extend(many(50).into_iter().map(elsewhere));
        assert_eq!(going(two), Vec::<String>::new(), "policies and namespaces count for themselves");
    }

    #[test]
    fn those_without_a_policy_count_together() {
        let without: Vec<Closed> = many(51).into_iter().map(|one| Closed { policy: None, ..one }).collect();
        assert_eq!(going(without), ["i-00"]);
    }

    #[test]
    fn none_goes_while_its_end_counts_for_the_guardrails() {
        assert_eq!(going_if(many(51), Some(SignedDuration::from_secs(2 * HOUR + 51))), ["i-00"]);
        assert_eq!(going_if(many(51), Some(SignedDuration::from_secs(2 * HOUR + 52))), Vec::<String>::new());
        let old = vec![closed("old", Some("p"), 31 * DAY)];
        assert_eq!(going_if(old.clone(), Some(SignedDuration::from_hours(32 * 24))), Vec::<String>::new());
        assert_eq!(going_if(old, None), Vec::<String>::new(), "nothing is known of its policy");
    }

    #[test]
    fn one_that_is_needed_stays_and_counts() {
        let mut list = many(52);
        list[0].is_needed = true;
        assert_eq!(going(list), ["i-01"]);
        let old = Closed { is_needed: true, ..closed("old", Some("p"), 31 * DAY) };
        assert_eq!(going(vec![old]), Vec::<String>::new());
    }

    #[test]
    fn one_that_comes_from_a_manifest_is_known_by_whoever_applied_it() {
        let with = |metadata: serde_json::Value| -> Incident {
            serde_json::from_value(json!({"metadata": metadata, "spec": {}})).unwrap()
        };
        let by = |operation: &str| with(json!({"managedFields": [{"manager": "m", "operation": operation}]}));
        assert!(is_declared(&by("Apply")));
        assert!(!is_declared(&by("Update")), "kubectl create, `firebreak open` and the operator itself");
        for name in DECLARED {
            assert!(is_declared(&with(json!({"annotations": {name: "x"}}))), "{name}");
        }
    }

    #[test]
    fn one_that_closes_in_the_future_is_the_newest() {
        let mut list = many(50);
        list.push(closed("ahead", Some("p"), -HOUR));
        assert_eq!(going(list), ["i-00"]);
    }
}
