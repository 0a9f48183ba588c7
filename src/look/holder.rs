//! The state of the Incident that a loan on an object names.
//!
//! Read live and as the operator: the ServiceAccount of one policy need not see
//! the Incidents of another. An Incident that cannot be read counts as open, because
//! a change that is still wanted must not be adopted.

use firebreak_engine::facts::Holder;
use kube::{Api, Client, ResourceExt};

use crate::api::Incident;
use crate::kubernetes::names::is_name;
use crate::kubernetes::retry;

/// The client that reads Incidents, and where.
#[derive(Clone, Copy)]
pub struct Holders<'a> {
    /// The operator's own client.
    pub client: &'a Client,
    /// The namespaces of Incidents that it watches; empty means all.
    pub namespaces: &'a [String],
}

impl Holders<'_> {
    /// The state of `namespace/name/uid`.
    pub async fn holder(&self, incident: &str) -> Holder {
        let mut parts = incident.split('/');
        let (Some(namespace), Some(name), Some(uid), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Holder::Unknown("the undo record does not name its Incident".to_owned());
        };
        if !self.namespaces.is_empty() && !self.namespaces.iter().any(|watched| watched == namespace) {
            return Holder::Unknown(format!("this operator does not watch the namespace {namespace}"));
        }
        if !is_name(namespace) || !is_name(name) {
            return Holder::Unknown("the undo record names no valid Incident".to_owned());
        }
        let api: Api<Incident> = Api::namespaced(self.client.clone(), namespace);
        match retry::find(name, || api.get(name)).await {
            Ok(None) => Holder::Gone,
            Ok(Some(found)) if found.uid().as_deref() != Some(uid) => Holder::Gone,
            Ok(Some(found)) if found.is_closed() => Holder::Over { ended: found.ended_loans() },
            Ok(Some(_)) => Holder::Open,
            Err(error) => {
                let why = retry::explain(&error);
                Holder::Unknown(format!("Incident {namespace}/{name} cannot be read: {why}"))
            }
        }
    }
}
