//! Writes an Incident's status before any effect is carried out.
//!
//! # Guarantees
//! Only this file constructs a [`RecordedIncident`], and no effect can be carried out without
//! one. The status is written as a whole, with the resourceVersion that the decision
//! was based on, so the Incident itself serializes two controllers. The
//! finalizer is added before the first intent is recorded, and that status
//! write carries the version that adding it returned.

use firebreak_engine::decide::Decision;
use firebreak_engine::incident::{IncidentState, PolicySnapshot};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::translate;
use crate::api::{Incident, names};
use crate::controller::error::Error;
use crate::controller::stored;

/// A decision whose next state is recorded.
pub struct RecordedIncident {
    decision: Decision,
    incident: Incident,
}

impl RecordedIncident {
    /// The decision.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The Incident as it is now.
    pub fn incident(&self) -> &Incident {
        &self.incident
    }

    /// Takes both apart.
    pub fn into_parts(self) -> (Decision, Incident) {
        (self.decision, self.incident)
    }
}

/// Records a decision.
///
/// # Errors
/// Someone else wrote the Incident, or the API server rejected it.
/// Then no effect may be carried out.
pub async fn record(
    api: &Api<Incident>,
    mut incident: Incident,
    decision: Decision,
    now: Timestamp,
) -> Result<RecordedIncident, Error> {
    if decision.next.owes_anything() && !has_finalizer(&incident) {
        incident = set_finalizer(api, &incident, Finalizer::Added).await?;
    }
    let incident = write(api, incident, &decision.next, now).await?;
    Ok(RecordedIncident { decision, incident })
}

/// Records the policy of an Incident that names none.
///
/// # Errors
/// Someone else wrote the Incident, or the API server rejected it.
pub async fn chosen(
    api: &Api<Incident>,
    incident: Incident,
    policy: String,
    now: Timestamp,
) -> Result<Incident, Error> {
    let mut state = incident.state();
    state.policy = Some(PolicySnapshot { name: policy, ..PolicySnapshot::default() });
    state.held = None;
    write(api, incident, &state, now).await
}

/// Records that the Incident waits for the policy with this uid, which no controller has looked at since it was created.
/// Every decision about the Incident that was made before is refused by the version that this moves.
///
/// # Errors
/// Someone else wrote the Incident, or the API server rejected it.
pub async fn waiting(
    api: &Api<Incident>,
    incident: Incident,
    policy: String,
    now: Timestamp,
) -> Result<Incident, Error> {
    let mut state = incident.state();
    state.awaited_policy = Some(policy);
    write(api, incident, &state, now).await
}

/// Records that the present spec of a closed Incident was seen.
///
/// # Errors
/// Someone else wrote the Incident, or the API server rejected it.
pub async fn seen(api: &Api<Incident>, incident: Incident, now: Timestamp) -> Result<Incident, Error> {
    let state = incident.state();
    write(api, incident, &state, now).await
}

async fn write(
    api: &Api<Incident>,
    mut incident: Incident,
    state: &IncidentState,
    now: Timestamp,
) -> Result<Incident, Error> {
    let status = translate::status(&incident, state, now);
    if incident.status.as_ref() == Some(&status) {
        return Ok(incident);
    }
    incident.status = Some(status);
    stored::replace_status(api, &mut incident).await?;
    Ok(incident)
}

/// Removes the finalizer when nothing is outstanding any more.
///
/// # Errors
/// Someone else wrote the Incident, or the API server rejected it.
pub async fn release(api: &Api<Incident>, incident: &Incident, state: &IncidentState) -> Result<(), Error> {
    if state.resolved_at.is_some() && !state.owes_anything() && has_finalizer(incident) {
        set_finalizer(api, incident, Finalizer::Removed).await?;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Finalizer {
    Added,
    Removed,
}

/// Whether the finalizer keeps the Incident until nothing is outstanding.
pub fn has_finalizer(incident: &Incident) -> bool {
    incident.finalizers().iter().any(|finalizer| finalizer == names::FINALIZER)
}

async fn set_finalizer(
    api: &Api<Incident>,
    incident: &Incident,
    wanted: Finalizer,
) -> Result<Incident, Error> {
    let mut finalizers: Vec<&str> =
        incident.finalizers().iter().map(String::as_str).filter(|name| *name != names::FINALIZER).collect();
    if wanted == Finalizer::Added {
        finalizers.push(names::FINALIZER);
    }
    let patch = json!({"metadata": {
        "finalizers": finalizers,
        "resourceVersion": incident.resource_version(),
    }});
    let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
    Ok(api.patch(&incident.name_any(), &params, &Patch::Merge(&patch)).await?)
}
