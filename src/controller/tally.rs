//! How many Incidents are open and how many changes are in force, for the metrics. When an Incident changes, it is
//! counted again, and no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use firebreak_engine::phase::Phase;
use firebreak_engine::policy::Severity;

use crate::api::Incident;
use crate::telemetry::metrics::Metrics;

/// The counts, and their metrics.
#[derive(Debug)]
pub struct Tally {
    metrics: Arc<Metrics>,
    open: BTreeMap<Place, usize>,
    in_force: i64,
}

/// The group in which an open Incident is counted.
type Place = (Option<Severity>, Phase);

impl Tally {
    /// The counts of no Incident.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, open: BTreeMap::new(), in_force: 0 }
    }

    /// An Incident changed from one state to the other; none where it does not exist.
    pub fn moved(&mut self, before: Option<&Incident>, now: Option<&Incident>) {
        let places = [before.and_then(place), now.and_then(place)];
        if places[0] != places[1] {
            let [left, entered] = places;
            if let Some(place) = left {
                let count = self.open.get(&place).map_or(0, |count| count.saturating_sub(1));
                self.count(place, count);
            }
            if let Some(place) = entered {
                let count = self.open.get(&place).map_or(1, |count| count + 1);
                self.count(place, count);
            }
        }
        let gained = in_force(now) - in_force(before);
        if gained != 0 {
            self.in_force += gained;
            self.metrics.changes_outstanding.set(self.in_force);
        }
    }

    fn count(&mut self, place: Place, count: usize) {
        if count == 0 {
            self.open.remove(&place);
        } else {
            self.open.insert(place, count);
        }
        let severity = place.0.map_or_else(|| "none".to_owned(), |level| level.to_string());
        self.metrics.incidents(&severity, place.1.name(), count);
    }
}

/// None once it is closed, and before anything is known about it.
fn place(incident: &Incident) -> Option<Place> {
    let status = incident.status.as_ref().filter(|status| status.state.resolved_at.is_none())?;
    Some((status.state.severity, status.phase.unwrap_or(Phase::Open)))
}

fn in_force(incident: Option<&Incident>) -> i64 {
    incident.and_then(|incident| incident.status.as_ref()).map_or(0, |status| status.changes_in_force.into())
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn an_incident_is_counted_where_it_is_and_no_longer_where_it_was() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut tally = Tally::new(Arc::clone(&metrics));
        let shown = || {
            let text = String::from_utf8(metrics.render().unwrap()).unwrap();
            let is_ours = |line: &&str| {
                line.starts_with("firebreak_incidents{") || line.starts_with("firebreak_changes")
            };
            text.lines().filter(is_ours).map(str::to_owned).collect::<Vec<_>>()
        };
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
