//! What became of the Incident that a loan on an object names.
//!
//! Read live and as the operator: the ServiceAccount of one policy need not see
//! the Incidents of another. Where it cannot be read it counts as open, because
//! a change that is still wanted must not be adopted.

use std::collections::BTreeSet;

use firebreak_engine::change::ChangeState;
use firebreak_engine::facts::Holder;
use firebreak_engine::id::ChangeId;
use kube::{Api, Client, ResourceExt};

use super::super::policy::claim::is_closed;
use crate::api::Incident;
use crate::kubernetes::names::is_name;
use crate::kubernetes::retry;

/// Who reads Incidents, and where.
#[derive(Clone, Copy)]
pub struct Holders<'a> {
    /// The operator's own client.
    pub client: &'a Client,
    /// Where it looks after Incidents; empty means everywhere.
    pub namespaces: &'a [String],
}

impl Holders<'_> {
    /// What became of `namespace/name/uid`.
    pub async fn holder(&self, incident: &str) -> Holder {
        let mut parts = incident.split('/');
        let (Some(namespace), Some(name), Some(uid), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Holder::Unknown("the undo record does not say which Incident it is".to_owned());
        };
        if !self.namespaces.is_empty() && !self.namespaces.iter().any(|watched| watched == namespace) {
            return Holder::Unknown(format!("this operator does not watch the namespace {namespace}"));
        }
        if !is_name(namespace) || !is_name(name) {
            return Holder::Unknown("the undo record names no possible Incident".to_owned());
        }
        let api: Api<Incident> = Api::namespaced(self.client.clone(), namespace);
        match retry::find(name, || api.get(name)).await {
            Ok(None) => Holder::Gone,
            Ok(Some(found)) if found.uid().as_deref() != Some(uid) => Holder::Gone,
            Ok(Some(found)) if is_closed(&found) => Holder::Over { ended: ended(&found) },
            Ok(Some(_)) => Holder::Open,
            Err(error) => {
                let why = retry::explain(&error);
                Holder::Unknown(format!("Incident {namespace}/{name} cannot be read: {why}"))
            }
        }
    }
}

/// The loans that a closed Incident lists as ended.
pub fn ended(incident: &Incident) -> BTreeSet<ChangeId> {
    let changes = incident.status.iter().flat_map(|status| &status.state.changes);
    changes
        .filter(|change| {
            matches!(change.state, ChangeState::Reverted | ChangeState::Ceded | ChangeState::Kept)
        })
        .map(|change| change.id.clone())
        .collect()
}
