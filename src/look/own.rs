//! Live reads that the operator makes under its own name: other Incidents, the
//! brake, and the namespace of the Incident.

use firebreak_engine::facts::{Brake, Look, LookResult, Own};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;

use super::brake::BrakeOf;
use super::holder::Holders;
use crate::kubernetes::retry;

/// What the operator can tell about itself and about others.
#[derive(Clone, Copy)]
pub struct OwnReads<'a> {
    /// Incidents that have a loan on a target.
    pub holders: Holders<'a>,
    /// The brake; none where nothing is written anyway.
    pub brake: Option<BrakeOf<'a>>,
    /// The namespace of the Incident.
    pub namespace: &'a str,
}

impl OwnReads<'_> {
    /// Performs one of these reads.
    pub async fn look(&self, look: &Look) -> LookResult {
        match look {
            Look::Holder(incident) => LookResult::Own(Own::Holder(self.holders.holder(incident).await)),
            Look::Brake => LookResult::Own(Own::Brake(self.brake().await)),
            Look::Namespace => self.own_namespace().await,
            Look::Step(_) | Look::Object(_) => {
                LookResult::Failed { why: "targets are read as the ServiceAccount".to_owned() }
            }
        }
    }

    async fn brake(&self) -> Brake {
        match &self.brake {
            Some(brake) => brake.read().await,
            None => Brake::Off,
        }
    }

    async fn own_namespace(&self) -> LookResult {
        let api: Api<Namespace> = Api::all(self.holders.client.clone());
        match retry::find(self.namespace, || api.get(self.namespace)).await {
            Ok(found) => LookResult::Own(Own::Namespace {
                terminating: found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()),
            }),
            Err(error) => {
                let why = retry::explain(&error);
                LookResult::Failed { why: format!("namespace {} cannot be read: {why}", self.namespace) }
            }
        }
    }
}
