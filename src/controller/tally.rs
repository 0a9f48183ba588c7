//! How many Incidents are open, what holds them, how many changes are in force, and how many policies are Ready, for the
//! metrics. When an object changes, it is counted again, and no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use firebreak_engine::decide_policy::PolicyReason;
use firebreak_engine::phase::Phase;
use firebreak_engine::policy::{Mode, Severity};
use firebreak_engine::reason::{MovesOn, Reason};
use firebreak_engine::verdict::Verdict;
use jiff::Timestamp;
use kube::Resource;

use crate::api::condition::ConditionType;
use crate::api::{Incident, RemediationPolicy};
use crate::telemetry::metrics::Metrics;

/// How many objects there are of each sort.
#[derive(Debug)]
struct Counts<K>(BTreeMap<K, usize>);

impl<K: Ord + Clone> Counts<K> {
    fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// An object is now of another sort, or of none. Tells the new count of each sort that has changed.
    fn moved(&mut self, before: Option<K>, now: Option<K>, mut tell: impl FnMut(&Self, &K, usize)) {
        if before == now {
            return;
        }
        if let Some(sort) = before {
            let count = self.0.get(&sort).map_or(0, |count| count.saturating_sub(1));
            match count {
                0 => self.0.remove(&sort),
                count => self.0.insert(sort.clone(), count),
            };
            tell(self, &sort, count);
        }
        if let Some(sort) = now {
            let count = self.0.get(&sort).map_or(1, |count| count + 1);
            self.0.insert(sort.clone(), count);
            tell(self, &sort, count);
        }
    }
}

/// The counts of Incidents, and their metrics.
#[derive(Debug)]
pub struct Tally {
    metrics: Arc<Metrics>,
    open: Counts<(Option<Severity>, Phase)>,
    held: Counts<(Option<Severity>, ConditionType, Reason)>,
    opened: Counts<(Option<Severity>, Timestamp)>,
    in_force: i64,
}

impl Tally {
    /// The counts of no Incident.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, open: Counts::new(), held: Counts::new(), opened: Counts::new(), in_force: 0 }
    }

    /// An Incident changed from one state to the other; none where it does not exist.
    pub fn moved(&mut self, before: Option<&Incident>, now: Option<&Incident>) {
        let metrics = &self.metrics;
        self.open.moved(before.and_then(place), now.and_then(place), |_, (severity, phase), count| {
            metrics.incidents(&level(*severity), phase.name(), count);
        });
        let (was, is) = (before.and_then(hold), now.and_then(hold));
        self.held.moved(was, is, |_, (severity, condition, reason), count| {
            metrics.incidents_held(&level(*severity), condition.name(), reason.name(), count);
        });
        self.opened.moved(before.and_then(opening), now.and_then(opening), |all, (severity, _), _| {
            let from = (*severity, Timestamp::MIN);
            let oldest = all.0.range(from..).next().filter(|((of, _), _)| of == severity);
            metrics.oldest_incident(&level(*severity), oldest.map(|((_, at), _)| at.as_second()));
        });
        let gained = in_force(now) - in_force(before);
        if gained != 0 {
            self.in_force += gained;
            self.metrics.changes_outstanding.set(self.in_force);
        }
    }

    /// So many Incidents do not decode.
    pub fn not_decoded(&self, count: usize) {
        self.metrics.undecodable_objects(&Incident::kind(&()), count);
    }
}

fn level(severity: Option<Severity>) -> String {
    severity.map_or_else(|| "none".to_owned(), |level| level.to_string())
}

/// None once it is closed, and before anything is known about it.
fn place(incident: &Incident) -> Option<(Option<Severity>, Phase)> {
    let status = incident.status.as_ref().filter(|status| status.state.resolved_at.is_none())?;
    Some((status.state.severity, status.phase.unwrap_or(Phase::Open)))
}

/// What holds it, and the condition that says so. A reason of another release is not told apart from others of them,
/// because only the table bounds their number.
fn hold(incident: &Incident) -> Option<(Option<Severity>, ConditionType, Reason)> {
    let (severity, _) = place(incident)?;
    let reason = &incident.status.as_ref()?.state.held.as_ref()?.reason;
    let condition = match reason.moves_on() {
        MovesOn::Itself => ConditionType::Reconciling,
        MovesOn::Person | MovesOn::Nothing => ConditionType::Stalled,
    };
    let reason = match reason {
        Reason::Other(_) => Reason::Other("Other".to_owned()),
        known => known.clone(),
    };
    Some((severity, condition, reason))
}

fn opening(incident: &Incident) -> Option<(Option<Severity>, Timestamp)> {
    let (severity, _) = place(incident)?;
    Some((severity, incident.status.as_ref()?.state.opened_at?))
}

fn in_force(incident: Option<&Incident>) -> i64 {
    incident.and_then(|incident| incident.status.as_ref()).map_or(0, |status| status.changes_in_force.into())
}

/// The counts of policies, and their metric.
#[derive(Debug)]
pub struct PolicyTally {
    metrics: Arc<Metrics>,
    policies: Counts<(&'static str, &'static str, &'static str)>,
}

impl PolicyTally {
    /// The counts of no policy.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, policies: Counts::new() }
    }

    /// A policy changed from one state to the other; none where it does not exist.
    pub fn moved(&mut self, before: Option<&RemediationPolicy>, now: Option<&RemediationPolicy>) {
        let metrics = &self.metrics;
        self.policies.moved(before.map(readiness), now.map(readiness), |_, (mode, ready, reason), count| {
            metrics.policies(mode, ready, reason, count);
        });
    }

    /// So many policies do not decode.
    pub fn not_decoded(&self, count: usize) {
        self.metrics.undecodable_objects(&RemediationPolicy::kind(&()), count);
    }
}

/// The mode, and the condition Ready with its reason.
fn readiness(policy: &RemediationPolicy) -> (&'static str, &'static str, &'static str) {
    let mode = match policy.spec.policy.mode {
        Mode::Observe => "Observe",
        Mode::Enforce => "Enforce",
    };
    let conditions = policy.status.iter().flat_map(|status| &status.conditions);
    let Some(ready) = conditions.into_iter().find(|condition| condition.type_ == ConditionType::Ready.name())
    else {
        return (mode, "Unknown", "NotAssessed");
    };
    let reason = PolicyReason::ALL.iter().map(|reason| reason.name()).find(|name| *name == ready.reason);
    let status = match ready.status {
        Verdict::True => "True",
        Verdict::False => "False",
        Verdict::Unknown => "Unknown",
    };
    (mode, status, reason.unwrap_or("Other"))
}

#[cfg(test)]
mod tests {
    use firebreak_engine::incident::Held;
    use serde_json::json;

    use super::*;

    fn incident(phase: &str, in_force: u32, resolved: bool) -> Incident {
        let resolved = resolved.then_some("2026-03-01T10:00:00Z");
        serde_json::from_value(json!({
            "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "i"}, "spec": {},
            "status": {"phase": phase, "severity": "P0", "changesInForce": in_force, "resolvedAt": resolved},
        }))
        .unwrap()
    }

    fn shown(metrics: &Metrics, families: &[&str]) -> Vec<String> {
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        let is_ours = |line: &&str| families.iter().any(|family| line.starts_with(family));
        text.lines().filter(is_ours).map(str::to_owned).collect()
    }

    fn held(severity: &str, reason: &str, opened: &str) -> Incident {
        let mut incident = incident("Held", 0, false);
        let state = &mut incident.status.as_mut().unwrap().state;
        state.severity = Some(serde_json::from_value(json!(severity)).unwrap());
        state.held = Some(Held::new(Reason::from(reason), "why"));
        state.opened_at = Some(opened.parse().unwrap());
        incident
    }

    #[test]
    fn what_holds_an_incident_is_counted_under_the_condition_that_says_so() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut tally = Tally::new(Arc::clone(&metrics));
        let at = "2026-03-01T10:00:00Z";
        let stalled = held("P0", "LadderUsedUp", at);
        tally.moved(None, Some(&stalled));
        tally.moved(None, Some(&held("P1", "VerifyUnknown", at)));
        for number in 0..3 {
            tally.moved(None, Some(&held("P2", &format!("FromAnotherRelease{number}"), at)));
        }
        let family = ["firebreak_incidents_held{"];
        assert_eq!(
            shown(&metrics, &family),
            [
                "firebreak_incidents_held{condition=\"Reconciling\",reason=\"VerifyUnknown\",severity=\"P1\"} 1",
                "firebreak_incidents_held{condition=\"Stalled\",reason=\"LadderUsedUp\",severity=\"P0\"} 1",
                "firebreak_incidents_held{condition=\"Stalled\",reason=\"Other\",severity=\"P2\"} 3",
            ]
        );
        tally.moved(Some(&stalled), Some(&incident("Monitoring", 0, false)));
        assert_eq!(shown(&metrics, &family).len(), 2, "the reason that holds nothing any more is not shown");
    }

    #[test]
    fn the_oldest_open_incident_of_each_severity_is_known() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut tally = Tally::new(Arc::clone(&metrics));
        let (first, second) =
            (held("P0", "Paused", "1970-01-01T00:01:40Z"), held("P0", "Paused", "1970-01-01T00:05:00Z"));
        tally.moved(None, Some(&second));
        tally.moved(None, Some(&first));
        tally.moved(None, Some(&held("P3", "Paused", "1970-01-01T00:00:07Z")));
        let shown = || shown(&metrics, &["firebreak_incidents_oldest_opened_timestamp_seconds{"]);
        let line = |severity: &str, at: i64| {
            format!("firebreak_incidents_oldest_opened_timestamp_seconds{{severity=\"{severity}\"}} {at}")
        };
        assert_eq!(shown(), [line("P0", 100), line("P3", 7)]);
        tally.moved(Some(&first), Some(&incident("Resolved", 0, true)));
        assert_eq!(shown(), [line("P0", 300), line("P3", 7)]);
        tally.moved(Some(&second), None);
        assert_eq!(shown(), [line("P3", 7)]);
    }

    fn policy(mode: &str, status: serde_json::Value) -> RemediationPolicy {
        serde_json::from_value(json!({
            "apiVersion": "firebreak.dev/v1alpha1", "kind": "RemediationPolicy", "metadata": {"name": "p"},
            "spec": {"mode": mode}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_policy_is_counted_by_its_condition_ready() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut tally = PolicyTally::new(Arc::clone(&metrics));
        let says = |status: &str, reason: &str| {
            json!({"conditions": [{"type": "Ready", "status": status, "reason": reason,
                "lastTransitionTime": "2026-03-01T10:00:00Z"}]})
        };
        let new = policy("Enforce", serde_json::Value::Null);
        tally.moved(None, Some(&new));
        tally.moved(None, Some(&policy("Observe", says("True", "Watching"))));
        tally.moved(None, Some(&policy("Observe", says("False", "FromAnotherRelease"))));
        let shown = || shown(&metrics, &["firebreak_policies{"]);
        let [other, watching] = [
            "firebreak_policies{mode=\"Observe\",ready=\"False\",reason=\"Other\"} 1",
            "firebreak_policies{mode=\"Observe\",ready=\"True\",reason=\"Watching\"} 1",
        ];
        let unknown = "firebreak_policies{mode=\"Enforce\",ready=\"Unknown\",reason=\"NotAssessed\"} 1";
        assert_eq!(shown(), [unknown, other, watching]);
        tally.moved(Some(&new), Some(&policy("Enforce", says("False", "Forbidden"))));
        let forbidden = "firebreak_policies{mode=\"Enforce\",ready=\"False\",reason=\"Forbidden\"} 1";
        assert_eq!(shown(), [forbidden, other, watching]);
    }

    #[test]
    fn an_incident_is_counted_where_it_is_and_no_longer_where_it_was() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut tally = Tally::new(Arc::clone(&metrics));
        let shown = || shown(&metrics, &["firebreak_incidents{", "firebreak_changes"]);
        let (open, monitoring) = (incident("Open", 0, false), incident("Monitoring", 3, false));
        tally.moved(None, Some(&open));
        tally.moved(None, Some(&open));
        tally.moved(Some(&open), Some(&monitoring));
        let expected = [
            "firebreak_changes_outstanding 3",
            "firebreak_incidents{phase=\"Monitoring\",severity=\"P0\"} 1",
            "firebreak_incidents{phase=\"Open\",severity=\"P0\"} 1",
        ];
        assert_eq!(shown(), expected);
        tally.moved(Some(&monitoring), Some(&incident("Resolved", 0, true)));
        tally.moved(Some(&open), None);
        assert_eq!(shown(), ["firebreak_changes_outstanding 0"], "a place without Incidents is not shown");
    }
}
