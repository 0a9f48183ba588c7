//! Live reads with the operator's own permissions: other Incidents, the
//! brake, and the namespace of the Incident.

use firebreak_engine::facts::{Brake, Looked, NamespaceRead, OwnLook};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;

use super::brake::BrakeReader;
use super::holder::Holders;
use crate::kubernetes::retry;

/// What the operator reads about itself and about others.
#[derive(Clone, Copy)]
pub struct OwnReads<'a> {
    /// Incidents that have a loan on a target.
    pub holders: Holders<'a>,
    /// The brake; none if nothing is written anyway.
    pub brake: Option<&'a BrakeReader>,
    /// The namespace of the Incident.
    pub namespace: &'a str,
}

impl OwnReads<'_> {
    /// Performs these reads.
    pub async fn look(&self, looks: Vec<OwnLook>) -> Looked {
        let mut looked = Looked::default();
        for look in looks {
            match look {
                OwnLook::Holder(incident) => {
                    let holder = self.holders.holder(&incident).await;
                    looked.holders.insert(incident, holder);
                }
                OwnLook::Brake => looked.brake = Some(self.brake().await),
                OwnLook::Namespace => looked.namespace = Some(self.own_namespace().await),
            }
        }
        looked
    }

    async fn brake(&self) -> Brake {
        match &self.brake {
            Some(brake) => brake.read_fresh().await.brake,
            None => Brake::Off,
        }
    }

    async fn own_namespace(&self) -> NamespaceRead {
        let api: Api<Namespace> = Api::all(self.holders.client.clone());
        match retry::find(self.namespace, || api.get(self.namespace)).await {
            Ok(Some(namespace)) if namespace.metadata.deletion_timestamp.is_none() => NamespaceRead::Stays,
            Ok(_) => NamespaceRead::Terminating,
            Err(error) => {
                let why = retry::explain(&error);
                NamespaceRead::Unknown(format!("namespace {} cannot be read: {why}", self.namespace))
            }
        }
    }
}
