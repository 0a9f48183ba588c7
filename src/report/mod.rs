//! The report of an Incident: its timeline and changes as Markdown, in the shape
//! of a runbook's incident report, and the ConfigMap that keeps it.
//!
//! Pure: no client and no clock. What only people know (impact, root cause,
//! lessons) is left for them to fill in, and marked so.

mod escape;
mod markdown;
mod sections;
mod table;

use firebreak_engine::id::IncidentId;
use firebreak_engine::incident::IncidentState;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::names;

pub use markdown::markdown;

/// The key of the ConfigMap under which the report is.
pub const KEY: &str = "report.md";

/// The largest report, in bytes. A ConfigMap holds at most 1 MiB in all.
/// Tables are cut so that no report is longer.
pub const LONGEST: usize = 900_000;

/// What a report is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Which Incident.
    pub incident: &'a IncidentId,
    /// What a person said is the matter.
    pub summary: Option<&'a str>,
    /// All that is known about it.
    pub state: &'a IncidentState,
    /// When the report is written.
    pub now: Timestamp,
}

/// The name of the ConfigMap with the report of the Incident of this name.
pub fn name(incident: &str) -> String {
    format!("{incident}-report")
}

/// The ConfigMap with the report. It has no owner, so it outlives the Incident.
pub fn config_map(subject: &Subject<'_>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name(&subject.incident.name),
            "namespace": subject.incident.namespace,
            "labels": {
                names::MANAGED_BY: names::MANAGER,
                names::INCIDENT: subject.incident.uid,
            },
        },
        "data": { KEY: markdown(subject) },
    })
}

#[cfg(test)]
mod tests;
