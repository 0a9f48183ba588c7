//! The claim: at most one open Incident acts for a policy.
//!
//! # Flow
//! The controller claims a name with a nonce in the policy's status, creates
//! the Incident with the nonce as annotation, and fills in its uid. A person's
//! Incident is claimed with name and uid in one write.
//!
//! # Guarantees
//! Every step is a guarded write, so two controllers cannot both succeed. A
//! claim with a uid is cleared only after a live read has shown that its
//! Incident is gone, is another one or is closed.

use std::sync::Arc;

use firebreak_engine::change::cut;
use firebreak_engine::detect::{Detection, Opening};
use firebreak_engine::incident::Closing;
use jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use super::record::{self, Recorded};
use crate::api::{ActiveIncident, Incident, IncidentSpec, PolicyRef, RemediationPolicy, names};
use crate::controller::Operator;
use crate::controller::error::Error;
use crate::controller::queue::Name;
use crate::kubernetes::retry;

/// Who acts for a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody.
    None,
    /// An Incident that is about to be created, or was just created.
    Announced {
        /// Its name.
        name: String,
        /// Its nonce.
        nonce: String,
    },
    /// An open Incident.
    Held {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// An Incident that is closed or gone: the claim is to be cleared.
    Over {
        /// Whether it closed because no rule held any more. If not, a person
        /// ended it, and the rules that held then open nothing until they were False.
        recovered: bool,
        /// When it closed, if it is still there to say so.
        ended_at: Option<Timestamp>,
    },
}

impl Claim {
    /// When the Incident closed whose claim is over.
    pub fn ended_at(&self) -> Option<Timestamp> {
        match self {
            Self::Over { ended_at, .. } => *ended_at,
            Self::None | Self::Announced { .. } | Self::Held { .. } => None,
        }
    }
}

/// Reads whose the claim is. A claim that looks as if it were over is looked at live.
///
/// # Errors
/// The API server gives no answer, so it is not known.
pub async fn observe(operator: &Operator, name: &Name, policy: &RemediationPolicy) -> Result<Claim, Error> {
    let active = policy.status.as_ref().and_then(|status| status.active_incident.clone());
    let Some(active) = active else {
        return Ok(match unclaimed(operator, name) {
            Some(incident) => {
                Claim::Held { name: incident.name_any(), uid: incident.uid().unwrap_or_default() }
            }
            None => Claim::None,
        });
    };
    let Some(uid) = active.uid else {
        return Ok(Claim::Announced { name: active.name, nonce: active.nonce.unwrap_or_default() });
    };
    let held = Claim::Held { name: active.name.clone(), uid: uid.clone() };
    let seen = operator.incident(&Name::new(name.namespace.clone(), active.name.clone()));
    if seen.is_some_and(|incident| incident.uid().as_ref() == Some(&uid) && !incident.is_closed()) {
        return Ok(held);
    }
    let api = incidents(operator, &name.namespace);
    let live = retry::find(&active.name, || api.get(&active.name)).await?;
    Ok(match live.filter(|incident| incident.uid().as_ref() == Some(&uid)) {
        Some(incident) if incident.is_closed() => {
            Claim::Over { recovered: recovered(&incident), ended_at: incident.closed_at() }
        }
        Some(_) => held,
        None => Claim::Over { recovered: false, ended_at: None },
    })
}

/// The open Incident that has the first right to a claim that nobody has: one
/// that had the claim of a policy of this name before that policy was made
/// anew, then the oldest that a person applied. One that was announced and never
/// claimed has none: it closes.
fn unclaimed(operator: &Operator, policy: &Name) -> Option<Arc<Incident>> {
    let mut open = operator.incidents_of(policy);
    open.retain(|incident| may_claim(incident));
    open.into_iter()
        .min_by_key(|incident| (!had_claim(incident), incident.creation_timestamp(), incident.name_any()))
}

/// Whether no Incident has the claim of the policy.
pub fn is_free(policy: &RemediationPolicy) -> bool {
    policy.status.as_ref().is_none_or(|status| status.active_incident.is_none())
}

/// Whether it is one of those of which one gets a claim that nobody has.
pub fn may_claim(incident: &Incident) -> bool {
    !incident.is_closed()
        && incident.metadata.deletion_timestamp.is_none()
        && (had_claim(incident) || !incident.annotations().contains_key(names::NONCE))
}

/// The name and nonce under which a new Incident is announced.
pub fn announce(policy: &RemediationPolicy, opening: &Opening) -> ActiveIncident {
    let name = names::incident(&policy.name_any(), Timestamp::now());
    tracing::info!(policy = policy.name_any(), incident = name, reason = opening.reason, "opens an Incident");
    ActiveIncident { name, nonce: Some(format!("{:032x}", fastrand::u128(..))), uid: None }
}

/// Creates the announced Incident if it is not there, and fills in its uid. An
/// announcement that nobody wants any more is cleared.
///
/// # Errors
/// A write was refused or lost; the next pass goes on from what is there.
pub async fn complete(operator: &Operator, recorded: Recorded, detection: &Detection) -> Result<(), Error> {
    let policy = recorded.into_policy();
    let status = policy.status.clone().unwrap_or_default();
    let Some(ActiveIncident { name, nonce: Some(nonce), uid: None }) = status.active_incident else {
        return Ok(());
    };
    let api = incidents(operator, &policy.namespace().unwrap_or_default());
    let incident = if detection.assessment.holds() {
        let created = create(&api, &policy, &name, &nonce, detection).await;
        let refused = created.as_ref().err().filter(|error| error.is_refusal()).map(|error| {
            cut(&format!("the API server refuses the Incident that a rule asks for: {error}"), 1024)
        });
        let policy_name = Name::new(policy.namespace().unwrap_or_default(), policy.name_any());
        operator.remember_policy(&policy_name, |memory| {
            memory.refused = refused.clone().map(|why| (Instant::now(), why));
        });
        // A claim for an Incident that is not to be would keep a person's out as well.
        if refused.is_some() { None } else { created? }
    } else {
        announced(&api, &name, &nonce).await?
    };
    let active = incident.and_then(|incident| incident.uid()).map(|uid| ActiveIncident {
        name,
        nonce: Some(nonce),
        uid: Some(uid),
    });
    record::claim(operator, policy, active).await
}

/// The Incident that was announced, if it was created.
async fn announced(api: &Api<Incident>, name: &str, nonce: &str) -> Result<Option<Incident>, Error> {
    let existing = retry::find(name, || api.get(name)).await?;
    Ok(existing
        .filter(|incident| incident.annotations().get(names::NONCE).is_some_and(|other| other == nonce)))
}

async fn create(
    api: &Api<Incident>,
    policy: &RemediationPolicy,
    name: &str,
    nonce: &str,
    detection: &Detection,
) -> Result<Option<Incident>, Error> {
    let rule = detection.assessment.rules.iter().find(|rule| rule.holds);
    let summary = rule.map(|rule| format!("{}: {}", rule.reason, rule.evidence));
    let mut incident = Incident::new(
        name,
        IncidentSpec {
            policy_ref: Some(PolicyRef { name: policy.name_any() }),
            summary,
            ..IncidentSpec::default()
        },
    );
    incident.metadata.namespace = policy.namespace();
    incident.labels_mut().insert(names::POLICY.to_owned(), policy.name_any());
    incident.labels_mut().insert(names::MANAGED_BY.to_owned(), names::MANAGER.to_owned());
    // From the start, so that the first intent need not wait for a write that adds it.
    incident.finalizers_mut().push(names::FINALIZER.to_owned());
    incident.annotations_mut().insert(names::NONCE.to_owned(), nonce.to_owned());
    let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, &incident).await {
        Ok(incident) => Ok(Some(incident)),
        // An earlier try of ours was lost, or somebody has taken the name: then the claim is given up.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let existing = retry::find(name, || api.get(name)).await?;
            Ok(existing.filter(|incident| {
                incident.annotations().get(names::NONCE).is_some_and(|other| other == nonce)
            }))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether it had its policy's claim at some time: only then is the policy noted in its state.
pub fn had_claim(incident: &Incident) -> bool {
    incident
        .status
        .as_ref()
        .and_then(|status| status.state.policy.as_ref())
        .is_some_and(|p| !p.uid.is_empty())
}

fn recovered(incident: &Incident) -> bool {
    incident.status.as_ref().is_some_and(|status| status.state.closing == Some(Closing::Recovered))
}

fn incidents(operator: &Operator, namespace: &str) -> Api<Incident> {
    Api::namespaced(operator.context.client.clone(), namespace)
}
