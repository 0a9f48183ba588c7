//! The report of an Incident: its timeline and changes as Markdown, in the shape
//! of a runbook's incident report, and the ConfigMap that keeps it.
//!
//! Pure: no client and no clock. A template renders it from the [`view`](crate::view). The shipped template
//! leaves what only people know (impact, root cause, lessons) for them to fill in, and marks it.

mod escape;
mod template;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::names;
use crate::view::IncidentView;

pub use template::{ReportTemplate, TemplateError};

/// The key of the report in the ConfigMap.
pub const KEY: &str = "report.md";

/// The largest report, in bytes. A ConfigMap holds at most 1 MiB in all.
/// The shipped template cuts its tables so that no report is longer.
pub const LONGEST: usize = 900_000;

/// A report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its text, as Markdown.
    pub text: String,
    /// Why it was rendered with the shipped template instead of the configured one.
    pub problem: Option<String>,
}

/// The report as of now. If the configured template fails on this Incident, people still get their report,
/// in the shipped form.
///
/// # Errors
/// The shipped template fails too, which is a bug.
pub fn markdown(
    template: &ReportTemplate,
    incident: &IncidentView,
    now: Timestamp,
) -> Result<Report, TemplateError> {
    template.render(incident, now).map(|text| Report { text, problem: None }).or_else(|error| {
        let text = ReportTemplate::shipped()?.render(incident, now)?;
        let problem = format!("the report has the shipped form, because its template fails: {error}");
        Ok(Report { text, problem: Some(problem) })
    })
}

/// The name of the ConfigMap with the report of the Incident of this name.
pub fn name(incident: &str) -> String {
    format!("{incident}-report")
}

/// The ConfigMap with the report. It has no owner, so it outlives the Incident.
pub fn config_map(incident: &IncidentView, text: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name(&incident.name),
            "namespace": incident.namespace,
            "labels": {
                names::MANAGED_BY: names::MANAGER,
                names::INCIDENT: incident.uid,
            },
        },
        "data": { KEY: text },
    })
}

#[cfg(test)]
mod tests;
