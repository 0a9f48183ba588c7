//! Creates the Incident that a recorded decision wants.

use firebreak_engine::change::cut;
use firebreak_engine::decide_policy::{Creation, NewIncident, Refusal};
use jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, ResourceExt};

use super::record::RecordedPolicy;
use super::translate;
use crate::api::{Incident, IncidentSpec, PolicyRef, RemediationPolicy, names};
use crate::controller::Operator;
use crate::controller::error::Error;
use crate::controller::queue::Name;

/// Creates the Incident, and returns the result; none if there is none to create.
///
/// # Errors
/// The result is not known; the next pass continues from what exists.
pub async fn act(operator: &Operator, recorded: &RecordedPolicy) -> Result<Option<Creation>, Error> {
    let Some(new) = &recorded.decision().create else { return Ok(None) };
    let policy = recorded.policy();
    let name = Name::new(policy.namespace().unwrap_or_default(), policy.name_any());
    tracing::info!(policy = %name, incident = new.name, why = new.summary, "opens an Incident");
    let api: Api<Incident> = Api::namespaced(operator.context.client.clone(), &name.namespace);
    let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
    let (creation, refusal) = match api.create(&params, &incident(policy, new)).await {
        Ok(incident) => (Creation::Created(translate::incident(&incident)), None),
        Err(error) => match Error::from(error) {
            Error::Conflict => (Creation::AlreadyExists, None),
            error if error.is_refusal() => {
                let why = format!("the API server rejects the Incident that a rule calls for: {error}");
                let refusal = Refusal { at: Timestamp::now(), why: cut(&why, 1024) };
                (Creation::Refused, Some(refusal))
            }
            error => return Err(error),
        },
    };
    operator.memories.edit_policy(&name, |memory| {
        memory.refused = refusal;
        if let Creation::Created(incident) = &creation {
            memory.created = Some(incident.clone());
        }
    });
    Ok(Some(creation))
}

fn incident(policy: &RemediationPolicy, new: &NewIncident) -> Incident {
    let mut incident = Incident::new(
        &new.name,
        IncidentSpec {
            policy_ref: Some(PolicyRef { name: policy.name_any() }),
            summary: Some(new.summary.clone()),
            ..IncidentSpec::default()
        },
    );
    incident.metadata.namespace = policy.namespace();
    incident.labels_mut().insert(names::POLICY.to_owned(), policy.name_any());
    incident.labels_mut().insert(names::MANAGED_BY.to_owned(), names::MANAGER.to_owned());
    // From the start, so that the first intent need not wait for a write that adds it, and so that the Incident
    // cannot be deleted before it is closed.
    incident.finalizers_mut().push(names::FINALIZER.to_owned());
    incident.annotations_mut().insert(names::NONCE.to_owned(), new.nonce.clone());
    incident
}
